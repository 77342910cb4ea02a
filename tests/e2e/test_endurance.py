"""A short look at what only time shows; `make endure` takes the time."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[1] / "benchmarks/endurance.py"


def found(*arguments: str) -> list[dict[str, Any]]:
    """What it finds in a process of its own, which has no memory, handle or thread of other tests."""
    command = [sys.executable, str(PATH), *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    told: list[dict[str, Any]] = json.loads(done.stdout)
    return told


def test_no_run_fails_a_reader_and_no_reader_fails_a_run() -> None:
    [load] = found("load", "--seconds", "6", "--readers", "10")
    assert load["failed"] == []
    assert len(load["seconds"]) > 20
    assert len(load["runs"]) >= 2
    assert set(load["runs"]) == {"complete"}


def test_memory_and_handles_stay_while_the_store_grows_with_changes_only() -> None:
    readings = found("soak", "--days", "10")
    early, late = readings[2], readings[-1]
    assert late["memory"] < early["memory"] * 1.25
    assert abs(late["handles"] - early["handles"]) <= 2
    assert abs(late["threads"] - early["threads"]) <= 12  # a pool grows to what was ever asked at once
    grown = late["store"] - early["store"]
    assert grown < 500 * (late["changes"] - early["changes"]) + 1_000_000  # DuckDB grows by blocks of 256 kB
