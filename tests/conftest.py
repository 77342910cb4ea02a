"""What all tests share: a clean environment, a simulated provider, the real gateway."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any, Self

import httpx
import pytest
import time_machine

from etl.config import Config
from etl.errors import FileInventoryError
from etl.load.store import Outcome, Run, Store, open_inventory
from etl.places import Lake
from etl.simulator import FAULTS, Account, Simulator
from etl.sync import sync

START_GATEWAY = Path(__file__).parent / "gateway/node_modules/@portkey-ai/gateway/build/start-server.js"
SCRUBBED = ("FILE_INVENTORY_", "PORTKEY_", "OPENAI_")
SECONDS_TO_START = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    asked = os.environ.get("NO_SKIPS") == "1"
    parser.addoption("--no-skips", action="store_true", default=asked, help="a skipped test is a failed test")
    parser.addoption("--kills", type=int, default=15, help="so many runs are killed at random moments")
    parser.addoption(
        "--store", choices=["file", "lake"], default="file", help="what the inventories of tests are kept in"
    )
    parser.addoption("--rounds", type=int, default=2, help="so often a leader dies, and hosts write side by side")
    parser.addoption("--shots", metavar="DIR", help="keep pictures of the pages there")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --no-skips is set: {report.longreprtext or report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean(os.environ).keys():
        monkeypatch.delenv(name)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would reach into the tests: settings, keys, proxies."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(SCRUBBED) and not name.lower().endswith("_proxy")
    }


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    other = "embedded" if config.getoption("--store") == "lake" else "lake"
    items[:] = [item for item in items if not item.get_closest_marker(other)]


class Lakes:
    """A PostgreSQL of the tests' own, and the lakes in it; a context manager.

    It listens on a socket in its folder; and where it is given an address of this machine, there.
    """

    def __init__(self, folder: Path, address: str = "") -> None:
        self.folder = folder
        self._count = 0
        owner = "postgres" if os.geteuid() == 0 else None
        if owner:
            shutil.chown(folder, owner, owner)
        programs = max(Path("/usr/lib/postgresql").glob("*/bin"))
        data = folder / "data"
        made: list[str | Path] = [programs / "initdb", "--auth=trust", "--username=postgres", "--no-sync", "-D", data]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL, user=owner, group=owner)
        if address:
            (data / "pg_hba.conf").write_text("local all all trust\nhost all all samenet trust\n")
        options = {
            "listen_addresses": address,
            "unix_socket_directories": folder,
            "fsync": "off",
            "shared_buffers": "32MB",
        }
        settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command: list[str | Path] = [programs / "postgres", "-D", data, *settings]
        self._start = partial(subprocess.Popen, command, stderr=subprocess.DEVNULL, user=owner, group=owner)

    def __enter__(self) -> Self:
        self.start()
        self.sql("create database fresh", "postgres", tries=100)
        with Store(self._place("fresh", self.folder / "unused")):
            pass
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(signal.SIGINT)

    def start(self) -> None:
        """Start it, for the first time or after `stop`."""
        self._process = self._start()
        deadline = time.monotonic() + SECONDS_TO_START
        while not (self.folder / ".s.PGSQL.5432").exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGQUIT) -> None:
        """End it; at once, as a crash does."""
        self._process.send_signal(number)
        self._process.wait()

    def sql(self, sql: str, database: str, tries: int = 1) -> list[Any]:
        """Run one statement; PostgreSQL may still be starting, or a session of a database may not have ended yet."""
        import psycopg  # noqa: PLC0415 - there where a lake is tested

        for left in reversed(range(tries)):
            try:
                with psycopg.connect(self.url(database), autocommit=True) as session:
                    cursor = session.execute(sql)
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if not left:
                    raise
                time.sleep(0.1)
        return []

    def url(self, database: str) -> str:
        return f"postgresql://postgres:the-lakes-password@/{database}?host={self.folder}"

    def _place(self, database: str, data_path: Path) -> Lake:
        return Lake.model_validate({"ducklake": {"catalog": self.url(database), "data_path": str(data_path)}})

    def cut(self) -> None:
        """End every session, as a server that is started anew does."""
        self.sql(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and pid <> pg_backend_pid()",
            "postgres",
        )

    def new(self, folder: Path, *, empty: bool = False) -> Lake:
        """Make a lake without files, whose data is to be in that folder; or only its database."""
        if not empty:
            return self._made("fresh", folder)
        self._count += 1
        database = f"lake_{self._count}"
        self.sql(f"create database {database}", "postgres")
        return self._place(database, folder)

    def copied(self, lake: Lake, folder: Path) -> Lake:
        """Copy a lake, which nobody uses; its data into a folder inside that one."""
        copy = self._made(database_of(lake), folder / f"{self._count}")
        shutil.copytree(lake.data_path, copy.data_path)
        return copy

    def _made(self, template: str, folder: Path) -> Lake:
        self._count += 1
        database = f"lake_{self._count}"
        self.sql(f"create database {database} template {template}", "postgres", tries=100)
        place = self._place(database, folder)
        self.sql(f"update ducklake_metadata set value = '{place.data_path}' where key = 'data_path'", database)
        return place


def database_of(lake: Lake) -> str:
    """Name the database that holds the catalogue of a lake."""
    return str(lake.url).rpartition("?")[0].rpartition("/")[2]


@pytest.fixture(scope="session")
def lakes() -> Iterator[Lakes]:
    if not any(Path("/usr/lib/postgresql").glob("*/bin")) or not find_spec("duckdb_extension_ducklake"):
        pytest.skip("PostgreSQL or .lake is missing: run make lake")
    with TemporaryDirectory(prefix="lakes-") as folder, Lakes(Path(folder)) as running:
        yield running


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider without accounts."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """Base URL of a real Portkey gateway."""
    node = shutil.which("node")
    if not node or not START_GATEWAY.exists():
        pytest.skip("node or tests/gateway/node_modules missing: run make test")
    port = free_port()
    with subprocess.Popen(
        [node, str(START_GATEWAY), "--headless", f"--port={port}"],
        env=clean(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(process, f"http://127.0.0.1:{port}/")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    """Return once the process answers; a gateway that does not come up fails the tests that need it."""
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False, timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the gateway did not answer at {url}; exit status {process.poll()}")


HOSTILE = {
    "markup": "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>.pdf",
    "bidi": "invoice\u202efdp.exe",
    "control": "tab\there\x00\x1b[31m\nnext.txt",
    "long": "x" * 700 + ".jsonl",
    "rtl": "تقرير-سنوي.pdf",
    "template": "{{ 7 * 7 }}{% include 'base.html' %}'; drop table files; --",
}
"""Names that a page must show as they are, and do nothing else with, by what is odd about them."""

ODD_IDS = (
    "file/with/slashes",
    "file with spaces",
    "file?query#fragment",
    "file-ünïcode-名前",
    "file%2Fescaped",
    "a/../b",
)


@dataclass(frozen=True)
class Story:
    """A published inventory in which much has happened, and the provider behind it."""

    config: Config
    simulator: Simulator

    def sync(self, *names: str, days_ago: float = 0) -> Run:
        with time_machine.travel(datetime.now(UTC) - timedelta(days=days_ago)), open_inventory(self.config) as store:
            return sync(self.config, store, names)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """Six days: files come, change and go; one credential fails, one is stale, one is held; some names are hostile."""
    tokens = ("search", "support", "doomed", "refused", "old", "hostile")
    accounts = {token: Account(80, seed=seed) for seed, token in enumerate(tokens)}
    hostile = accounts["hostile"]
    ids = list(hostile.files)
    for name, key in zip(HOSTILE.values(), ids, strict=False):
        hostile.files[key] |= {"filename": name}
    for odd, key in zip(ODD_IDS, ids[10:], strict=False):
        hostile.files[odd] = hostile.files.pop(key) | {"id": odd}
    with Simulator(accounts, page_limit=30) as simulator, pytest.MonkeyPatch.context() as patch:
        for name in os.environ.keys() - clean(os.environ).keys():
            patch.delenv(name)
        story = Story(_configured(simulator, tmp_path_factory.mktemp("story")), simulator)
        story.sync(days_ago=6)
        accounts["search"].add(5)
        accounts["search"].change(7)
        accounts["search"].delete(3)
        story.sync(days_ago=5)
        simulator.faults |= {"refused": FAULTS["unauthorized"], "old": FAULTS["page2_500"]}
        accounts["search"].restore(2)
        accounts["doomed"].delete(70)
        simulator.faults["support"] = FAULTS["word_bytes"]
        story.sync(days_ago=1)
        accounts["search"].delete(1)
        story.sync()
        yield story


def _configured(simulator: Simulator, folder: Path) -> Config:
    names = {"search-prod": "search", "search-dev": "search", "support-bot": "support", "doomed": "doomed"}
    names |= {"refused": "refused", "old": "old", "hostile": "hostile"}
    credentials = [
        {
            "name": name,
            "type": "openai",
            "base_url": simulator.url,
            "api_key": token,
            "provider": "openai" if token != "old" else "azure-openai",
            "labels": {"team": token, "env": "dev" if name.endswith("dev") else "prod"},
        }
        for name, token in names.items()
    ]
    http = {"requests_per_second": 10_000, "attempts": 1}
    return Config.model_validate({"store": folder / "inventory.duckdb", "http": http, "credentials": credentials})


class Keeper:
    """A service without schedule and pages: it writes at once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.running: str | None = None
        self.alive = True
        self.stopping = Event()
        self.asked: list[tuple[tuple[str, ...], str]] = []

    def next_run(self) -> datetime | None:
        return datetime.now(UTC) + timedelta(minutes=15)

    def sync(self, names: Sequence[str], trigger: str) -> "Future[Run]":
        for name in names:
            self.config.credential(name)
        self.asked.append((tuple(names), trigger))
        return Future()

    def approve(self, name: str) -> "Future[int]":
        return self._decided(lambda store: store.approve(name))

    def reject(self, name: str) -> "Future[int]":
        return self._decided(lambda store: store.reject(name))

    def observe(self, observer: Callable[[Outcome | Run], None]) -> None:
        pass

    def _decided(self, decide: Callable[[Store], int]) -> "Future[int]":
        future: Future[int] = Future()
        try:
            with open_inventory(self.config) as store:
                future.set_result(decide(store))
        except FileInventoryError as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def keeper(story: Story) -> Keeper:
    return Keeper(story.config)


@pytest.fixture(scope="session")
def hostile_names() -> dict[str, str]:
    return HOSTILE


@pytest.fixture(scope="session")
def odd_ids() -> tuple[str, ...]:
    return ODD_IDS
