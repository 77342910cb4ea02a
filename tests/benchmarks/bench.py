"""Measure the main job: speed, memory and growth, beside the floor and beside other tools, in one run.

The floor is fetching the same pages in sequence with the same HTTP client, and decoding them. Each case runs in a
process of its own, the simulated provider in another. Machines are noisy: compare ratios, not seconds. The figures go
to `results/bench.json` beside this file.

    python tests/benchmarks/bench.py            everything, about a quarter of an hour
    python tests/benchmarks/bench.py --quick    less of everything, under two minutes
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from operator import ge, le
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from provider import provider
from rivals import RIVALS, rival

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "bench.json"
MB = 1_000_000


class Row(NamedTuple):
    """A line of the table."""

    case: str
    figure: float
    unit: str
    relation: str = ""
    """<= or >=, where there is something to reach."""
    to_reach: float | None = None

    @property
    def reached(self) -> bool | None:
        """Whether it is what is to be reached."""
        if self.to_reach is None:
            return None
        return bool({"<=": le, ">=": ge}[self.relation](self.figure, self.to_reach))

    def __str__(self) -> str:
        goal = "" if self.to_reach is None else f"{self.relation} {self.to_reach:,g}"
        verdict = {None: "", True: "reached", False: "NOT REACHED"}[self.reached]
        return f"{self.case:<66} {self.figure:>12,.2f} {self.unit:<10} {goal:>12}  {verdict}"


def main() -> None:
    """Run every case, print a table as it grows, keep the figures."""
    quick = "--quick" in sys.argv
    rows = []
    began = time.perf_counter()
    for row in everything(quick=quick):
        print(row, flush=True)
        rows.append(row)
    minutes = (time.perf_counter() - began) / 60
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    kept = [row._asdict() | {"reached": row.reached} for row in rows]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"when": when, "minutes": minutes, "machine": machine, "rows": kept}, indent=1) + "\n"
    )
    missed = sum(row.reached is False for row in rows)
    print(f"{sum(row.reached is True for row in rows)} reached, {missed} not reached, in {minutes:.1f} minutes")


def everything(*, quick: bool) -> Iterator[Row]:
    """Run the cases, each when its turn comes."""
    yield from start()
    if quick:
        yield from speed(100_000)
        yield from many(200)
        yield from beside(1_000_000)
        yield from year(100_000, 30)
        return
    yield from speed(100_000)
    yield from speed(1_000_000, rivals=True)
    yield from large(10_000_000)
    yield from many(1000)
    yield from beside(10_000_000)
    yield from year(1_000_000, 365)


def start() -> Iterator[Row]:
    """Time the command itself, each time in a new process."""
    with tempfile.TemporaryDirectory() as folder, provider(100) as one:
        config = _config(folder, one.url)
        _command("sync", config=config)
        for words, most in ((("--help",), 0.3), (("query", "select 1"), 0.6)):
            best = min(_command(*words, config=config) for _ in range(5))
            yield Row(f"{' '.join(words)}, from a new process", best, "s", "<=", most)


def speed(size: int, *, rivals: bool = False) -> Iterator[Row]:
    """A first load, a run without changes, and one with few; what others take for the same."""
    million = size >= 1_000_000
    with provider(size) as one:
        floor = _case("floor", one.url, size)[0]
        found: dict[str, dict[str, Any]] = {}
        for case in _case("runs", one.url, size):
            quicker = found.get(case["case"], case)["seconds"] >= case["seconds"]
            found |= {case["case"]: case} if quicker else {}
        one.change(0.001)
        _case("floor", one.url, size)  # now its pages are made
        changed = _case("again", one.url, size)[-1]
        yield Row(f"{size:,} files: floor", floor["seconds"], "s")
        cases = (
            ("first load", found["first"], 4.0, 250_000),
            ("nothing changed", found["unchanged"], 2.0, 500_000),
            ("0.1 % changed", changed, 2.2, None),
        )
        for name, case, floors, rate in cases:
            ratio, to_reach = case["seconds"] / floor["seconds"], (("<=", floors) if million else ("", None))
            yield Row(f"{size:,} files: {name}", ratio, "x floor", *to_reach)
            if rate:
                yield Row(
                    f"{size:,} files: {name}", size / case["seconds"], "files/s", *((">=", rate) if million else ())
                )
        peak = max(case["peak"] for case in (*found.values(), changed)) / MB
        yield Row(f"{size:,} files: most memory", peak, "MB", "<=", 450 if million else 200)
        if rivals:
            yield from _beside_rivals(one.url)


def _beside_rivals(url: str) -> Iterator[Row]:
    """Compare whole processes, twice each: into nothing, then with nothing changed."""
    with tempfile.TemporaryDirectory() as folder:
        config = _config(folder, url)
        ours = [_command("sync", config=config) for _ in range(2)]
    yield Row("the command itself: first load", ours[0], "s")
    yield Row("the command itself: nothing changed", ours[1], "s")
    best = [float("inf"), float("inf")]
    for name, to_reach in RIVALS.items():
        taken = rival(name, url)
        if taken is None:
            yield Row(f"{name} is not installed", 0, "")
            continue
        for nth, (what, least) in enumerate(zip(("first load", "nothing changed"), to_reach, strict=True)):
            ratio = taken[nth] / ours[nth]
            yield Row(f"{name}: {what}, {taken[nth]:.1f} s", ratio, "x ours", *((">=", least) if least else ()))
            best[nth] = min(best[nth], ratio)
    yield Row("the fastest of them: first load", best[0], "x ours", ">=", 2)
    yield Row("the fastest of them: nothing changed", best[1], "x ours", ">=", 4)


def large(size: int) -> Iterator[Row]:
    """A listing that does not fit into the memory that is configured."""
    with provider(size, large=True) as one:
        [case] = _case("large", one.url, size)
    yield Row(f"{size:,} files with memory_limit: 1.5GB: time", case["seconds"], "s")
    yield Row(f"{size:,} files with memory_limit: 1.5GB: most memory", case["anonymous"] / MB, "MB", "<=", 1500)


def many(credentials: int) -> Iterator[Row]:
    """Many credentials far away: the workers should wait for nothing but the network."""
    latency, workers = 0.2, 16
    with provider(1000, keys=credentials, latency=latency) as one:
        for case in _case("many", one.url, credentials):
            share = 100 * credentials * latency / workers / case["seconds"]
            to_reach = (">=", 90) if credentials >= 1000 else ()
            yield Row(
                f"{credentials} credentials, 1,000 files each, 200 ms: {case['case']}", share, "% of ideal", *to_reach
            )


def beside(others: int) -> Iterator[Row]:
    """A small credential in a large inventory, and how that is published."""
    with provider(10_000) as one:
        alone, among, copied = _case("beside", one.url, others)
    name = f"10,000 files among {others:,} others"
    for part in ("seconds", "unpublished"):
        what = "whole run" if part == "seconds" else "without publishing"
        allowed = 1.5 * alone[part] + 0.3
        yield Row(f"{name}: {what} (alone {alone[part]:.2f} s)", among[part], "s", "<=", round(allowed, 2))
    yield Row(
        f"publish a store of {copied['bytes'] / 1e9:.2f} GB", copied["seconds"] / copied["bytes"] * 1e9, "s/GB", "<=", 1
    )


def year(size: int, runs: int) -> Iterator[Row]:
    """Daily runs with 0.1 % of changes each: neither time nor space may grow with what has been."""
    second, last, grown = _case("year", "", size, runs)
    name = f"{size:,} files, run {runs} of a daily history"
    yield Row(name, last["seconds"] / second["seconds"], "x run 2", "<=", 1.3)
    yield Row(f"{name}: store grown by", grown["bytes"] / grown["changes"], "B/change")


def _config(folder: str, url: str) -> Path:
    path = Path(folder) / "inventory.yaml"
    credential = {"name": "bench", "type": "openai", "base_url": url, "api_key": "${KEY}"}
    said = {"store": f"{folder}/inventory.duckdb", "credentials": [credential], "http": {"requests_per_second": 1e6}}
    path.write_text(json.dumps(said))
    return path


def _command(*words: str, config: Path) -> float:
    command = [str(Path(sys.executable).with_name("file-inventory")), "--config", str(config), *words]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"KEY": "sk-simulated"})
    return time.perf_counter() - began


def _case(kind: str, url: str, *sizes: int) -> list[dict[str, Any]]:
    """Run a case of `cases.py`; return what it reports."""
    command = [sys.executable, str(HERE / "cases.py"), kind, url, *map(str, sizes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main()
