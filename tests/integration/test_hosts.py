"""A host that is lost with all that it holds, without a word: others go on, and it writes nothing more."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Self

import pytest

from etl.places import Lake
from etl.report.inventory import open_published
from etl.simulator import Simulator

from .conftest import ADDED_UP, Row
from .hosts import Host, many

if TYPE_CHECKING:
    from conftest import Lakes

BUSY = 3
NETWORK = f"10.231.{os.getpid() % 256}"
NEAR, FAR = f"{NETWORK}.1", f"{NETWORK}.2"

PROVIDER = """
import sys, time
from etl.simulator import Account, Simulator
with Simulator({"sk-team-0": Account(12, seed=0)}, latency=float(sys.argv[1])) as provider:
    print(provider.url, flush=True)
    while not provider.requests:
        time.sleep(0.05)
    print("asked", flush=True)
    sys.stdin.read()
"""


class Cable:
    """Another host, as a network namespace, and the cable to it; a context manager."""

    def __init__(self) -> None:
        self._name = f"far-{os.getpid()}"
        self._end = f"v{os.getpid()}"
        self.at = ["ip", "netns", "exec", self._name]

    def __enter__(self) -> Self:
        far = ["-n", self._name]
        self._ip("netns", "add", self._name)
        self._ip("link", "add", self._end, "type", "veth", "peer", "name", "cable", "netns", self._name)
        for place, end, address in (([], self._end, NEAR), (far, "cable", FAR)):
            self._ip(*place, "addr", "add", f"{address}/24", "dev", end)
            self._ip(*place, "link", "set", end, "up")
        self._ip(*far, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._ip("netns", "del", self._name)

    def cut(self) -> None:
        self._ip("link", "set", self._end, "down")

    def mend(self) -> None:
        self._ip("link", "set", self._end, "up")

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True)  # noqa: S607 - the system's own


@pytest.fixture
def cable() -> Iterator[Cable]:
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("only root can make another host, with ip of iproute2")
    with Cable() as cable:
        yield cable


@pytest.fixture
def near(cable: Cable, lakes: "Lakes", tmp_path: Path, simulator: Simulator) -> Iterator[tuple[Host, Lake, Lake]]:
    """The host that goes on, after its first run, and the lake that it shares: as it reaches it, and as others do."""
    assert cable.at
    with TemporaryDirectory(prefix="near-") as folder, type(lakes)(Path(folder), NEAR) as reachable:
        lake = reachable.new(tmp_path / "lake")
        host = Host(tmp_path / "near", lake, many(simulator, 1))
        assert host.run("sync")[0] == 0
        url = str(lake.url).replace("@/", f"@{NEAR}/").partition("?")[0]
        yield host, lake, Lake.model_validate({"ducklake": {"catalog": url, "data_path": lake.data_path}})


@contextmanager
def provided(cable: Cable, latency: float) -> Iterator[tuple[list[Row], IO[str]]]:
    """Yield a credential of a provider that stands beside the far host, and where it says that it was asked."""
    command = [*cable.at, sys.executable, "-c", PROVIDER, str(latency)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as provider:
        assert provider.stdout
        url = provider.stdout.readline().strip()
        try:
            yield [{"name": "team-0", "type": "openai", "base_url": url, "api_key": "sk-team-0"}], provider.stdout
        finally:
            provider.kill()


def test_what_a_lost_host_holds_is_free_within_half_a_minute(
    cable: Cable, near: tuple[Host, Lake, Lake], tmp_path: Path
) -> None:
    host, lake, afar = near
    with provided(cable, latency=6) as (credentials, asked):
        lost = Host(tmp_path / "far", afar, credentials, at=cable.at)
        listing = lost.start("sync")
        assert asked.readline() == "asked\n"
        cable.cut()
        began = time.monotonic()
        assert host.run("sync")[0] == BUSY
        reading = lost.start("status")
        wait_until(lambda: host.run("sync")[0] == 0)
        assert time.monotonic() - began < 40
        for process in (listing, reading):
            _, complained = process.communicate(timeout=150)
            assert process.returncode == 1
            sys.stdout.write(complained)
            assert "catalogue" in complained
            assert len(complained.splitlines()) == 1
    is_sound(lake, host)


def test_a_host_that_is_lost_at_any_moment_of_a_run_keeps_nobody_waiting(
    cable: Cable, near: tuple[Host, Lake, Lake], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    host, lake, afar = near
    chance = random.Random(1)  # noqa: S311 - repeatable is wanted
    with provided(cable, latency=0) as (credentials, _):
        far = Host(tmp_path / "far", afar, credentials, at=cable.at)
        began = time.monotonic()
        assert far.run("sync")[0] == 0
        took = time.monotonic() - began
        for _ in range(1 + pytestconfig.getoption("rounds") // 10):
            lost = far.start("sync")
            time.sleep(chance.uniform(0.4, 1) * took)
            cable.cut()
            began = time.monotonic()
            wait_until(lambda: host.run("sync")[0] == 0)
            assert time.monotonic() - began < 40
            lost.communicate(timeout=150)
            assert lost.returncode in {0, 1}
            cable.mend()
    is_sound(lake, host)


def wait_until(done: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if done():
            return
        time.sleep(0.2)
    pytest.fail(f"it did not come within {seconds} s")


def is_sound(lake: Lake, host: Host) -> None:
    """Nothing was applied twice, and no run goes on."""
    assert host.run("sync")[0] == 0
    with open_published(lake) as inventory:

        def rows(sql: str) -> list[Row]:
            found: list[Row] = inventory.query(sql).read_all().to_pylist()
            return found

        assert rows(ADDED_UP) == []
        assert rows("select count(*) as n, count(distinct file_id) as d from files") == [{"n": 12, "d": 12}]
        assert rows("from file_changes where change not in ('baseline', 'updated')") == []
        assert rows("select count(*) as n from file_changes where change = 'baseline'") == [{"n": 12}]
        assert rows("from runs where status not in ('complete', 'interrupted')") == []
