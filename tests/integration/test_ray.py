"""Fetching on a Ray cluster brings what threads bring, whatever happens to its workers and nodes."""

import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any

import httpx
import psutil
import pytest

from etl.config import Config
from etl.extract.cluster import Cluster, Later
from etl.load.store import Outcome, Run, open_inventory
from etl.simulator import FAULTS, Account, Simulator
from etl.simulator.faults import each_record, refusal
from etl.simulator.server import Fault, Request
from etl.simulator.wire import Reply
from etl.sync import sync
from etl.transform.listing import Listing

from .conftest import HTTP, Lab, Row, behind, direct

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed here: run make test")

CANARY = "c4n4ry-0123456789"
SOON = 25
"""Seconds, at most, for a node to begin a task, and to be lost."""

TASK = "ray::fetch_all"
ONE: Row = {  # of 127.0.0.1, Ray makes an address that others can reach
    "num_cpus": 1,
    "node_ip_address": "127.0.0.2",
    "object_store_memory": 80_000_000,
}
WAIT = 60.0


class Nodes:
    """A cluster of two nodes of one processor on this machine."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster  # noqa: PLC0415 - may be missing

        self.folder = folder
        folder.mkdir()
        self.cluster = Cluster()
        self.cluster.add_node(**ONE, include_dashboard=False, temp_dir=str(folder))
        self.cluster.connect()
        self.add()

    def add(self) -> None:
        """Let another node join."""
        self.second = self.cluster.add_node(**ONE)

    def lose(self) -> None:
        """Kill the second node."""
        self.cluster.remove_node(self.second, allow_graceful=False)

    def stop(self) -> None:
        import ray  # noqa: PLC0415 - the same

        ray.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with (
        pytest.MonkeyPatch.context() as patch,
        TemporaryDirectory(prefix="ray-", dir="/tmp") as folder,  # a short path, as sockets need it
    ):
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        patch.setenv("RAY_health_check_period_ms", "500")
        patch.setenv("RAY_health_check_failure_threshold", "4")
        patch.setenv("RAY_TMPDIR", folder)
        nodes = Nodes(Path(folder, "ray"))
        yield nodes
        nodes.stop()


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def on_ray(nodes: Nodes, lab: Lab, shared: Path) -> Iterator[Lab]:
    """A lab whose runs leave nothing in the shared folder."""
    yield lab
    assert nodes.folder.exists()
    assert list(shared.rglob("*")) == []


def workers() -> list[psutil.Process]:
    """The processes of this test's cluster that fetch right now."""
    children = psutil.Process().children(recursive=True)
    return [one for one in children if _title(one) == TASK]


def _title(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return " ".join(process.cmdline()).strip()
    return ""


def accounts(simulator: Simulator, count: int, files: int = 40) -> list[Row]:
    for number in range(count):
        simulator.accounts[f"sk-{CANARY}-{number}"] = Account(files + number, seed=number)
    return [direct(simulator, token, name=f"c{number:02}") for number, token in enumerate(simulator.accounts)]


def ray_config(lab: Lab, shared: Path, credentials: list[Row], **http: Any) -> Config:
    settings = {"address": "auto", "shared": shared}
    return lab.config(*credentials, http=HTTP | {"attempts": 2} | http, ray=settings)


def told(run: Run) -> list[Row]:
    """What a run tells of its listings, but for when."""
    left_out = {"run_id", "started_at", "finished_at"}
    rows = [{name: value for name, value in asdict(one).items() if name not in left_out} for one in run.listings]
    return sorted(rows, key=lambda row: str(row["credential"]))


def bare(rows: list[Row]) -> list[Row]:
    left_out = {
        "last_complete_at",
        "run_id",
        "first_seen_at",
        "changed_at",
        "observed_at",
        "change_id",
        "last_attempt_at",
    }
    return sorted(({key: value for key, value in row.items() if key not in left_out} for row in rows), key=repr)


MIXED = (
    "page2_500",
    "null_last_id",
    "short_list",
    "empty",
    "null_id",
    "word_bytes",
    "drop_field",
    "rate_limited",
    "unauthorized",
    "cycle",
    "duplicate_rows",
    "not_json",
    "cut",
    "array",
)


def test_every_verdict_is_the_same_as_on_threads(
    on_ray: Lab, tmp_path: Path, shared: Path, simulator: Simulator
) -> None:
    simulator.page_limit = 20
    credentials = accounts(simulator, len(MIXED) + 6)
    simulator.accounts["sk-way"] = Account(10)
    credentials.append(behind(simulator.url, simulator, "sk-way", name="way"))
    on_cluster = ray_config(on_ray, shared, credentials)
    (tmp_path / "other").mkdir()
    other = Lab(tmp_path / "other", [])
    on_threads = on_cluster.model_copy(update={"ray": None, "store": other.path})
    results = []
    for lab, config in ((other, on_threads), (on_ray, on_cluster)):
        simulator.reset()
        first = lab.sync(config)
        simulator.reset()
        simulator.faults |= dict(zip(simulator.accounts, (FAULTS[name] for name in MIXED), strict=False))
        simulator.faults["sk-way"] = refusal(500, "listFiles is not supported by this provider")
        second = lab.sync(config)
        published = lab.published()
        tables = [bare(getattr(published, name)) for name in ("files", "changes", "rejected", "held", "credentials")]
        results.append((told(first), told(second), tables))
    assert results[0] == results[1]
    assert {row["status"] for row in results[1][1]} == {"complete", "held", "incomplete", "failed", "unsupported"}


def test_a_list_that_comes_short_once_is_fetched_once_more_and_deletes_nothing(
    on_ray: Lab, shared: Path, simulator: Simulator
) -> None:
    credentials = accounts(simulator, 3, files=100)
    config = ray_config(on_ray, shared, credentials)
    on_ray.sync(config)
    first, short = True, FAULTS["empty"]

    def once(request: Request, reply: Reply) -> Reply:
        nonlocal first
        was_first, first = first, False
        return short(request, reply) if was_first else reply

    simulator.faults[f"sk-{CANARY}-1"] = once
    run = on_ray.sync(config)
    assert [(one["status"], one["deleted"], one["requests"]) for one in told(run)] == [
        ("complete", 0, 1),
        ("complete", 0, 2),
        ("complete", 0, 1),
    ]


def test_what_a_killed_worker_had_in_hand_is_fetched_anew_until_it_has_been_tried_often_enough(
    on_ray: Lab, shared: Path, simulator: Simulator
) -> None:
    credentials = accounts(simulator, 12)
    config = ray_config(on_ray, shared, credentials, workers=4)
    deaths, lock = [], Lock()

    def poison(_request: Request, reply: Reply) -> Reply:
        with lock:
            for worker in workers():
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
                    deaths.append(worker.pid)
        return reply

    simulator.faults[f"sk-{CANARY}-3"] = poison
    run = on_ray.sync(config)
    assert [(one["credential"], one["error"]) for one in told(run) if one["status"] != "complete"] == [
        ("c03", "Ray did not fetch it: 4 times, its worker was lost (WorkerCrashedError)")
    ]
    assert run.totals["records"] == sum(40 + number for number in range(12) if number != 3)
    assert len(deaths) >= 4


def test_a_node_that_is_lost_with_its_tasks_costs_a_retry(
    on_ray: Lab, nodes: Nodes, shared: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    again, lost = Cluster._again, []

    def note(cluster: Cluster, task: Any, error: Exception) -> None:
        lost.extend(task.waiting)
        again(cluster, task, error)

    monkeypatch.setattr(Cluster, "_again", note)
    credentials = accounts(simulator, 16)
    on_ray.sync(ray_config(on_ray, shared, credentials[:1]))
    raylet = nodes.second.all_processes["raylet"][0].process.pid
    struck, gone, lock = Event(), Event(), Lock()

    def lose() -> None:
        working = psutil.Process(raylet).children()
        nodes.lose()
        for worker in working:  # each would go by itself, but may end its task first
            with suppress(psutil.Error):
                worker.kill()
        gone.set()

    def strike(_request: Request, reply: Reply) -> Reply:
        """Answer nobody before the second node has something in hand, and is lost."""
        until = time.monotonic() + SOON
        while not struck.is_set() and time.monotonic() < until:
            with lock:
                if not struck.is_set() and asks(raylet, simulator):
                    struck.set()
                    Thread(target=lose).start()
            time.sleep(0.05)
        gone.wait(SOON)
        return reply

    simulator.faults = dict.fromkeys(simulator.accounts, strike)
    run = on_ray.sync(ray_config(on_ray, shared, credentials, workers=4, read_timeout="60s"))
    nodes.add()
    assert struck.is_set()
    assert (run.status, run.totals["complete"]) == ("complete", 16)
    assert run.totals["records"] == sum(40 + number for number in range(16))
    assert lost
    assert len(simulator.requests) >= 17


def asks(raylet: int, simulator: Simulator) -> bool:
    """Tell whether a worker of that node has a connection to the provider."""
    port = httpx.URL(simulator.url).port
    for worker in psutil.Process(raylet).children():
        with suppress(psutil.Error):
            if any(getattr(one.raddr, "port", None) == port for one in worker.net_connections("tcp")):
                return True
    return False


def test_two_nodes_together_keep_to_what_one_host_and_one_credential_may_be_asked(
    on_ray: Lab, shared: Path, simulator: Simulator
) -> None:
    simulator.page_limit = 10
    simulator.latency = 0.2
    credentials = accounts(simulator, 32)
    arrivals: dict[str | None, list[float]] = defaultdict(list)
    seen: set[int] = set()

    def note(request: Request, reply: Reply) -> Reply:
        arrivals[request.account].append(time.monotonic())
        if len(arrivals[request.account]) == 2:
            seen.update(one.pid for one in workers())
        return reply

    simulator.faults = dict.fromkeys(simulator.accounts, note)
    run = on_ray.sync(ray_config(on_ray, shared, credentials, per_host=6, workers=8))
    assert run.status == "complete"
    assert len(seen) >= 2
    every = sorted(moment for moments in arrivals.values() for moment in moments)
    assert len(every) == run.totals["requests"]
    assert most_within(every, 0.2) <= 6  # each takes as long
    assert most_within(every, 1.0) <= 30
    assert most_within(every, 1.0) >= 18  # and the turns are used
    arrivals.clear()
    simulator.latency, simulator.page_limit = 0.0, 5
    on_ray.sync(ray_config(on_ray, shared, credentials[:10], per_host=100, requests_per_second=3))
    assert max(most_within(moments[3:], 0.8) for moments in arrivals.values()) == 3  # the first ones make connections


def most_within(moments: list[float], seconds: float) -> int:
    return max(bisect_left(moments, start + seconds) - number for number, start in enumerate(moments))


def test_a_run_that_is_told_to_stop_ends_in_time(on_ray: Lab, shared: Path, simulator: Simulator) -> None:
    credentials = accounts(simulator, 20)
    stalled = Event()

    def stall(_request: Request, reply: Reply) -> Reply:
        stalled.set()
        return Reply(body=reply.body, stall=0)

    simulator.faults = dict.fromkeys(list(simulator.accounts)[4:], stall)
    config = ray_config(on_ray, shared, credentials, read_timeout="60s", per_host=50)
    stop = Event()
    with open_inventory(config) as store:
        outcomes: list[Outcome] = []

        def note(outcome: Outcome) -> None:
            outcomes.append(outcome)
            if len(outcomes) == 4:
                stop.set()

        run = sync(config, store, on_outcome=note, stop=stop)
    assert stalled.is_set()
    assert (run.status, run.totals["complete"]) == ("interrupted", 4)
    told_at = max(outcome.finished_at for outcome in outcomes)
    assert (run.finished_at - told_at).total_seconds() < 10
    until = time.monotonic() + WAIT
    while workers() and time.monotonic() < until:
        time.sleep(0.1)
    assert workers() == []


def test_no_secret_is_in_a_listing_a_log_or_the_title_or_environment_of_a_process(
    on_ray: Lab, nodes: Nodes, shared: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = accounts(simulator, 6)
    tokens = list(simulator.accounts)
    echo: Fault = each_record(lambda record: record | {"filename": f"of {tokens[0]}", "bytes": tokens[0]})
    simulator.faults = {tokens[0]: echo, tokens[1]: FAULTS["unauthorized"], tokens[2]: FAULTS["not_json"]}
    held = b""

    def read(future: Later, timeout: float | None = None) -> Listing:
        nonlocal held
        held += b"".join(path.read_bytes() for path in shared.rglob("*") if path.is_file())
        return result(future, timeout)

    result = Later.result
    monkeypatch.setattr(Later, "result", read)
    on_ray.sync(ray_config(on_ray, shared, credentials))
    assert b"PAR1" in held
    assert CANARY.encode() not in held
    logs = [path for path in nodes.folder.rglob("*") if path.is_file()]
    assert len(logs) > 10
    assert [path for path in logs if CANARY.encode() in path.read_bytes()] == []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            assert CANARY not in str((process.cmdline(), process.environ()))


@pytest.mark.usefixtures("lab")
def test_a_ray_that_is_started_for_one_run_leaves_nothing_and_shows_nothing(tmp_path: Path) -> None:
    code = """
import os, signal, psutil
from etl import Config, open_inventory, sync
from etl.simulator import Account, Simulator

def main():
    with Simulator({"sk-1": Account(30)}) as simulator:
        credentials = [{"name": "acme", "type": "openai", "base_url": simulator.url, "api_key": "sk-1"}]
        config = Config.model_validate({"store": "i.duckdb", "credentials": credentials, "ray": {"address": "local"}})
        before = signal.getsignal(signal.SIGTERM)
        with open_inventory(config) as store:
            run = sync(config, store, on_outcome=lambda _: print(dashboards()))
        print(run.totals["records"], signal.getsignal(signal.SIGTERM) == before)
        print([one.cmdline() for one in psutil.Process().children(recursive=True) if one.status() != "zombie"])

def dashboards():
    ports = {each.laddr.port for one in psutil.Process().children(recursive=True) for each in one.net_connections()}
    return ports & {8265, 10001}

main()
"""
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"HOME": str(tmp_path), "TMPDIR": "/tmp"}  # noqa: S108 - sockets need a short path
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "set()\n30 True\n[]\n"), done.stderr
    assert done.stderr == ""
    assert not (tmp_path / ".ray").exists()
