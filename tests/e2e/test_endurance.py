"""A short look at what only time shows; `make endure` takes the time."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[1] / "benchmarks/endurance.py"


@pytest.fixture(scope="module")
def endurance() -> ModuleType:
    spec = importlib.util.spec_from_file_location("endurance", PATH)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["endurance"] = module
    spec.loader.exec_module(module)
    return module


def test_no_run_fails_a_reader_and_no_reader_fails_a_run(endurance: ModuleType) -> None:
    found = endurance.load(seconds=6, readers=10, files=2_000)
    assert found.failed == []
    assert len(found.seconds) > 20
    assert len(found.runs) >= 2
    assert set(found.runs) == {"complete"}


def test_memory_and_handles_stay_while_the_store_grows_with_changes_only(endurance: ModuleType) -> None:
    readings = endurance.soak(days=10)
    early, late = readings[2], readings[-1]
    assert late.memory < early.memory * 1.25
    assert abs(late.handles - early.handles) <= 2
    assert abs(late.threads - early.threads) <= 3
    grown = late.store - early.store
    assert grown < 500 * (late.changes - early.changes) + 1_000_000  # DuckDB grows by blocks of 256 kB
