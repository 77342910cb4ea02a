"""Measure fetching on a Ray cluster: many credentials of a slow provider, on one and on two workers.

The floor is what the provider takes: credentials x latency / listings in flight. Threads of one process are beside it.
Each case runs in a process of its own, the simulator in another; the figures go to `results/cluster.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results") / "cluster.json"
KEY = "sk-simulated"


def main() -> None:
    """Run every case, print a table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--credentials", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=100, help="files of each credential")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds that each answer takes")
    parser.add_argument("--threads", type=int, default=16, help="listings that a worker fetches side by side")
    parser.add_argument("--case", nargs=2, metavar=("WORKERS", "URL"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        case(args, int(args.case[0]), args.case[1])
        return
    print(f"{args.credentials:,} credentials x {args.files} files, {args.latency} s an answer")
    print(f"{'where':<10}  {'in flight':>9}  {'start s':>7}  {'seconds':>7}  {'floor s':>7}  {'x floor':>7}")
    rows = [measure(args, workers) for workers in (0, 1, 2)]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"cpus": os.cpu_count(), "asked": vars(args), "rows": rows}, indent=1) + "\n")


def measure(args: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Return one case; no worker means threads of one process."""
    command = [sys.executable, "-m", "etl.simulator", "--files", str(args.files), "--latency", str(args.latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        try:
            assert simulator.stdout
            url = simulator.stdout.readline().strip()
            again = [sys.executable, __file__, *sys.argv[1:], "--case", str(workers), url]
            told = subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True).stdout
        finally:
            simulator.terminate()
    row: dict[str, Any] = json.loads(told.splitlines()[-1])
    row["floor"] = args.credentials * args.latency / row["in_flight"]
    where = f"{workers} worker{'s' * (workers > 1)}" if workers else "threads"
    print(
        f"{where:<10}  {row['in_flight']:>9}  {row['start']:>7.1f}  {row['seconds']:>7.1f}  {row['floor']:>7.1f}"
        f"  {row['seconds'] / row['floor']:>7.2f}",
        flush=True,
    )
    return row


def case(args: argparse.Namespace, workers: int, url: str) -> None:
    """Measure inside a process of its own, from the first credential to the last listing that was read."""
    from concurrent.futures import as_completed

    from etl import Config
    from etl.extract.engine import engine
    from etl.extract.http import Http

    in_flight = args.threads * max(1, workers)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        start = time.perf_counter()
        if workers:
            join(workers, folder)
        names = [f"credential-{number}" for number in range(args.credentials)]
        config = Config.model_validate(
            {
                "credentials": [{"name": name, "type": "openai", "base_url": url, "api_key": KEY} for name in names],
                "http": {"workers": args.threads, "per_host": in_flight, "requests_per_second": 1_000_000},
                "ray": {"address": "auto", "shared": f"{folder}/shared"} if workers else None,
            }
        )
        with Http(config) as http, engine(config, http, dict) as fetching:
            begun = time.perf_counter()
            done = as_completed(fetching.fetch(config.credentials))
            files = sum(len(future.result().files) for future in done)
            seconds = time.perf_counter() - begun
    assert files == args.credentials * args.files, files
    print(json.dumps({"workers": workers, "in_flight": in_flight, "start": begun - start, "seconds": seconds}))


def join(workers: int, folder: str) -> None:
    """Start a Ray of so many workers."""
    os.environ |= {"RAY_AUTH_TOKEN": "benchmark" * 8, "RAY_USAGE_STATS_ENABLED": "0"}
    import ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "configure_logging": False}
    ray.init(num_cpus=workers, object_store_memory=100 * 2**20, _temp_dir=folder, **quiet)


if __name__ == "__main__":
    main()
