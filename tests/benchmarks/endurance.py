"""What only time shows: many readers while runs go on, and months of runs.

python tests/benchmarks/endurance.py load --seconds 60 --readers 50
python tests/benchmarks/endurance.py soak --days 120
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil
import time_machine
import uvicorn

from etl.config import Config
from etl.load.store import open_inventory
from etl.report.inventory import open_published
from etl.service import Service
from etl.simulator import Account, Simulator
from etl.web.app import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = (
    ("GET", "/", None),
    ("GET", "/changes", None),
    ("GET", "/api/status", None),
    ("GET", "/api/changes?limit=100", None),
    ("GET", "/v1/files?limit=100", None),
    ("GET", "/metrics", None),
    ("POST", "/api/query", {"sql": "select purpose, count(*), sum(bytes) from files group by all"}),
)
WEIGHTS = (4, 2, 4, 3, 4, 2, 1)
"""How often each is asked: pages and lists by all, SQL by few."""

RUNS_PER_DAY = 4


@dataclass
class Load:
    """What the readers saw."""

    seconds: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    def told(self) -> str:
        ordered = sorted(self.seconds)
        at = {percent: ordered[len(ordered) * percent // 100] for percent in (50, 99)}
        return (
            f"{len(ordered)} answers, {len(self.failed)} failed, median {at[50] * 1000:.0f} ms, p99 {at[99] * 1000:.0f}"
            f" ms, slowest {ordered[-1] * 1000:.0f} ms; {len(self.runs)} runs: {', '.join(sorted(set(self.runs)))}"
            + "".join(f"\n{failed}" for failed in self.failed[:10])
        )


def load(seconds: float, readers: int, files: int = 20_000) -> Load:
    """Let readers ask all the time while a run follows the other; files change between runs."""
    found = Load()
    with tempfile.TemporaryDirectory() as folder, _served(Path(folder), files) as (url, account):
        asyncio.run(_read(url, account, readers, time.monotonic() + seconds, found))
        with open_published(Path(folder) / "inventory.duckdb") as inventory:
            found.runs = inventory.query("select status from runs").read_all()["status"].to_pylist()
    return found


@contextmanager
def _served(folder: Path, files: int) -> Iterator[tuple[str, Account]]:
    account = Account(files, seed=1)
    with Simulator({"sk-load": account}) as simulator:
        (folder / "inventory.yaml").write_text(
            f"store: {folder}/inventory.duckdb\nschedule: every 2s\ncredentials:\n"
            f'  - {{name: acme, type: openai, base_url: "{simulator.url}", api_key: "${{KEY}}"}}\n'
        )
        command = (
            "-c",
            "from etl.cli import main; main()",
            "-c",
            str(folder / "inventory.yaml"),
            "serve",
            "--port",
            "0",
        )
        environment = {**os.environ, "KEY": "sk-load"}
        path = folder / "log"
        with (
            path.open("w") as log,
            subprocess.Popen((sys.executable, *command), env=environment, stderr=log) as process,
        ):
            try:
                yield _url(path), account
            finally:
                process.terminate()
                process.wait(30)


def _url(path: Path) -> str:
    """Return where it serves, once the first run is over."""
    for _ in range(300):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        if any(event["event"] == "run" for event in events):
            return str(next(event["url"] for event in events if event["event"] == "serving"))
        time.sleep(0.1)
    raise RuntimeError(path.read_text())


async def _read(url: str, account: Account, readers: int, until: float, found: Load) -> None:
    async with httpx.AsyncClient(
        base_url=url, timeout=30, trust_env=False, limits=httpx.Limits(max_connections=None)
    ) as client:
        await asyncio.gather(_work(account, until), *(_reader(client, seed, until, found) for seed in range(readers)))


async def _work(account: Account, until: float) -> None:
    while time.monotonic() < until:
        account.add(20)
        account.change(20)
        account.delete(20)
        account.gone.clear()
        await asyncio.sleep(1)


async def _reader(client: httpx.AsyncClient, seed: int, until: float, found: Load) -> None:
    """Ask one thing after another, with the pause of somebody who reads."""
    chance = random.Random(seed)  # noqa: S311 - the same load each time
    while time.monotonic() < until:
        method, path, body = chance.choices(ASKED, WEIGHTS)[0]
        began = time.monotonic()
        try:
            status = (await client.request(method, path, json=body)).status_code
        except httpx.HTTPError as error:
            found.failed.append(f"{path}: {error!r}")
        else:
            found.seconds.append(time.monotonic() - began)
            found.failed += [f"{path}: {status}"] if status != httpx.codes.OK else []
        await asyncio.sleep(chance.uniform(0.5, 1.5))


@dataclass(frozen=True)
class Reading:
    """The process and the store after some simulated days."""

    day: int
    memory: int
    handles: int
    threads: int
    store: int
    changes: int

    def told(self) -> str:
        return (
            f"day {self.day:>4}: {self.memory / 1e6:6.1f} MB, {self.handles} handles, {self.threads} threads,"
            f" store {self.store / 1e6:6.2f} MB, {self.changes} changes"
        )


def soak(days: int, files: int = 2_000, changes: int = 20) -> list[Reading]:
    """Run a service over simulated days; read it after each tenth of them."""
    account = Account(files, seed=1)
    began = datetime.now(UTC)
    readings = []
    with tempfile.TemporaryDirectory() as folder, Simulator({"sk-soak": account}) as simulator:
        credential = {"name": "acme", "type": "openai", "base_url": simulator.url, "api_key": "sk-soak"}
        http = {"requests_per_second": 10_000}
        config = Config.model_validate(
            {"store": Path(folder) / "inventory.duckdb", "credentials": [credential], "http": http}
        )
        with (
            open_inventory(config) as store,
            Service(config, lambda: config, store) as service,
            _answering(service) as client,
        ):
            for turn in range(days * RUNS_PER_DAY):
                with time_machine.travel(began + timedelta(days=turn / RUNS_PER_DAY)):
                    _turn(service, client, account, changes if turn % RUNS_PER_DAY == 0 else 0)
                simulator.requests.clear()
                if (turn + 1) % (days * RUNS_PER_DAY // 10) == 0:
                    readings.append(_reading(turn // RUNS_PER_DAY + 1, Path(str(store.path))))
    return readings


@contextmanager
def _answering(service: Service) -> Iterator[httpx.Client]:
    """Answer for a service in this process."""
    settings = uvicorn.Config(create_app(service), port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def _turn(service: Service, client: httpx.Client, account: Account, changes: int) -> None:
    account.add(changes)
    account.change(changes)
    account.delete(changes)
    account.gone.clear()
    run = service.sync([], "schedule").result(60)
    if run.status != "complete":
        raise RuntimeError(run)
    for method, path, _ in ASKED:
        if method == "GET":
            client.get(path).raise_for_status()


def _reading(day: int, store: Path) -> Reading:
    process = psutil.Process()
    with open_published(store.with_name("inventory.duckdb")) as inventory:
        changes = inventory.query("select count(*) as n from file_changes").read_all()["n"][0].as_py()
    return Reading(
        day, process.memory_info().rss, process.num_fds(), process.num_threads(), store.stat().st_size, changes
    )


def main() -> None:
    """Run what the command line asks for, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["load", "soak"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = [load(given.seconds, given.readers)] if given.what == "load" else soak(given.days)
    print(json.dumps([asdict(one) for one in found]) if given.json else "\n".join(one.told() for one in found))


if __name__ == "__main__":
    main()
