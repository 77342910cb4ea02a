"""Measure the main job: speed and memory of a run, beside the floor of fetching and decoding the same pages.

Each case runs in a process of its own against the simulator in another; the figures go to
`results/bench.json` beside this file. Machines are noisy: compare ratios within one run.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results") / "bench.json"
KEY = "sk-simulated"


def main() -> None:
    """Run every case, print a table, keep the figures."""
    sizes = [int(size) for size in sys.argv[1:]] or [100_000, 1_000_000]
    rows = [case for size in sizes for case in measure(size)]
    print(f"{'files':>9}  {'case':<10}  {'seconds':>7}  {'records/s':>9}  {'x floor':>7}  {'peak MB':>7}")
    for row in rows:
        print(
            f"{row['files']:>9,}  {row['case']:<10}  {row['seconds']:>7.2f}  {row['records_per_second']:>9,.0f}"
            f"  {row['floors']:>7.2f}  {row['peak_mb']:>7.0f}"
        )
    RESULTS.parent.mkdir(exist_ok=True)
    machine = {"cpus": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine()}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    RESULTS.write_text(json.dumps({"when": when, "machine": machine, "rows": rows}, indent=1) + "\n")


def measure(size: int) -> list[dict[str, Any]]:
    """Return the cases of one size."""
    command = [sys.executable, "-m", "etl.simulator", "--files", str(size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            assert simulator.stdout
            url = simulator.stdout.readline().strip()
            worker = [sys.executable, __file__, "--worker", url]
            cases = [json.loads(line) for kind in ("floor", "sync") for line in _output([*worker, kind])]
        finally:
            simulator.terminate()
    floor = cases[0]["seconds"]
    for case in cases:
        case |= {"files": size, "records_per_second": size / case["seconds"], "floors": case["seconds"] / floor}
    return cases


def _output(command: list[str]) -> list[str]:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()


def worker(url: str, kind: str) -> None:
    """Measure inside a process of its own; one JSON line a case."""
    (floor if kind == "floor" else runs)(url)


def floor(url: str) -> None:
    """Fetch and decode all pages in sequence, and nothing else."""
    import httpx
    import msgspec

    headers = {"authorization": f"Bearer {KEY}"}
    params: dict[str, str | int] = {"limit": 10_000, "order": "asc"}
    with httpx.Client(headers=headers, timeout=60) as client:
        for _ in range(2):  # the first time, the simulator makes its pages
            start = time.perf_counter()
            params.pop("after", None)
            page = {"has_more": True}
            while page["has_more"]:
                page = msgspec.json.decode(client.get(f"{url}/files", params=params).content)
                params["after"] = page["last_id"]
        _report("floor", time.perf_counter() - start)


def runs(url: str) -> None:
    """Sync twice, from listing to publishing: into an empty inventory, then with nothing changed."""
    import etl.extract.fetch  # noqa: F401 - imports belong to start-up, not to a run
    from etl import Config, open_inventory, sync

    unlimited = {"requests_per_second": 1_000_000}
    credential = {"name": "bench", "type": "openai", "base_url": url, "api_key": KEY, "http": unlimited}
    with tempfile.TemporaryDirectory() as folder:
        config = Config.model_validate({"store": f"{folder}/inventory.duckdb", "credentials": [credential]})
        for case in ("first", "unchanged"):
            with open_inventory(config) as store:
                start = time.perf_counter()
                run = sync(config, store)
                seconds = time.perf_counter() - start
            assert run.status == "complete", run
            _report(case, seconds)


def _report(case: str, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"case": case, "seconds": seconds, "peak_mb": peak}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(*sys.argv[2:])
    else:
        main()
