"""Runs that are killed, disks that are full, files that are damaged: the next run makes it good, or says what to do."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from etl.places import Lake
from etl.report.inventory import open_published
from etl.simulator import FAULTS, Account, Simulator

from .conftest import Lab
from .dying import Ended, Runner

if TYPE_CHECKING:
    from conftest import Lakes

    from etl.places import Place

KEYS = {"ONE": "sk-one", "TWO": "sk-two", "THREE": "sk-three"}
FILES = 40
HELD = 30
BOUNDARIES = ("commit", "after commit", "close", "copyfile", "replace")
"""Where a run is killed here; `make crash` kills it before every single step."""

ODD_ENTRIES = """
select credential, file_id, change, before
from (
    select *, lag(change) over (partition by credential, file_id order by change_id) as before from file_changes
)
where (before is null and change not in ('baseline', 'created'))
    or (before = 'deleted' and change <> 'restored')
    or (before <> 'deleted' and change not in ('updated', 'deleted'))
union all
select credential, file_id, 'held twice', null from held_deletions group by all having count(*) > 1
union all
select null, null, 'not as of now', null from (from files_as_of(now()) except from files)
union all
select run_id, credential, 'listed twice', null from listings group by all having count(*) > 1
union all
select credential, change, 'counted otherwise', null
from (
    select credential, run_id, change, 1 as logged, 0 as counted from file_changes
    union all
    select credential, run_id, change, 0, changes from change_totals
)
group by credential, run_id, change having sum(logged) <> sum(counted)
union all
select null, null, 'adds up otherwise', null
from (select sum(files) as files, sum(bytes) as bytes from change_totals) as totals
where totals.files <> (select count(*) from files) or totals.bytes <> (select sum(bytes) from files)
"""
"""What no log may say, however a run ended."""


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with Runner(KEYS) as runner:
        yield runner


class Wreck:
    """A store to which bad things happen, and the accounts that it should tell of."""

    def __init__(self, folder: Path, simulator: Simulator, runner: Runner, lakes: "Lakes | None") -> None:
        self.folder = folder
        self.simulator = simulator
        self.runner = runner
        self.lakes = lakes
        """Where it is a lake; a file where this is None."""
        self.published = folder / "inventory.duckdb"
        self.store = folder / "inventory.writer.duckdb"
        self.wal = folder / "inventory.writer.duckdb.wal"
        self.place: Place = self.published
        self.changes: Counter[tuple[str, str]] = Counter()
        """What must be in the log, each once, by credential and kind."""
        self.random = random.Random(1)  # noqa: S311 - repeatable is wanted
        self.accounts = {name: Account(FILES, seed=place) for place, name in enumerate(("one", "two", "three"))}
        simulator.accounts |= {f"sk-{name}": account for name, account in self.accounts.items()}
        self.config = folder.parent / "inventory.yaml"
        self.anew()
        for name in self.accounts:
            self.changes[name, "baseline"] = FILES

    def _configure(self) -> None:
        credentials = [
            {"name": name, "type": "openai", "base_url": self.simulator.url, "api_key": f"${{{name.upper()}}}"}
            for name in self.accounts
        ]
        http = {"requests_per_second": 10_000, "attempts": 2}
        store: Any = str(self.place)
        if isinstance(self.place, Lake):
            store = {"ducklake": {"catalog": "${LAKE_CATALOG}", "data_path": self.place.data_path}}
        self.config.write_text(json.dumps({"store": store, "http": http, "credentials": credentials}))

    def run(self, *arguments: str, **order: Any) -> Ended:
        environment = {"LAKE_CATALOG": self.place.url} if isinstance(self.place, Lake) else {}
        words = ("--config", str(self.config), *(arguments or ("sync",)))
        return self.runner.run(*words, environment=environment, **order)

    def live(self) -> None:
        """Let one known file of each account go, another change, one go that is there, and a new one come."""
        for name in ("one", "two"):
            account = self.accounts[name]
            account.remove(next(iter(account.files)))
            account.change(1)
            account.add(1)
            for kind in ("deleted", "updated", "created"):
                self.changes[name, kind] += 1

    def hold(self) -> None:
        """Let so many files go that their deletion waits for a person."""
        self.accounts["three"].delete(HELD)

    def made_good(self, held: int = HELD) -> None:
        """Run undisturbed; then the inventory is the truth, and nothing was logged, held or counted twice."""
        ended = self.run()
        assert (ended.status in {0, 1}, ended.err) == (True, ""), ended.err
        self.is_true(held)

    def is_true(self, held: int = HELD) -> None:
        with self.reading() as rows:
            found = {(row["credential"], row["file_id"]) for row in rows("from files")}
            there = {(name, key) for name, account in self.accounts.items() for key in account.files}
            assert found >= there
            assert {name for name, _ in found - there} <= {"three"}
            assert len(found - there) == held
            logged = rows("select credential, change, count(*) as entries from file_changes group by all")
            assert {(row["credential"], row["change"]): row["entries"] for row in logged} == self.changes
            assert len(rows("from held_deletions")) == held
            assert rows("from runs where status = 'running'") == []

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Read the published database, which is whole."""
        with open_published(self.place) as inventory:

            def rows(sql: str) -> list[dict[str, Any]]:
                found: list[dict[str, Any]] = inventory.query(sql).read_all().to_pylist()
                return found

            assert rows(ODD_ENTRIES) == []
            yield rows

    def is_whole(self) -> None:
        """What readers open is whole, though it may be of the run before."""
        with self.reading() as rows:
            assert len(rows("from files")) == len(self.accounts) * FILES

    def anew(self) -> None:
        """Begin with a store that is not there yet."""
        if self.lakes:
            self.place = self.lakes.new(self.folder / "lake", empty=True)
        else:
            self.put({})
        self._configure()

    def kept(self) -> Any:
        """Keep what the store is now, for `put`."""
        if self.lakes and isinstance(self.place, Lake):
            return self.lakes.copied(self.place, self.folder.parent / "kept")
        return self.files()

    def put(self, kept: Any) -> None:
        """Put the store back to what it was."""
        if self.lakes:
            self.place = self.lakes.copied(kept, self.folder / "lake")
            self._configure()
            return
        for path in self.folder.iterdir():
            path.unlink()
        for name, content in kept.items():
            (self.folder / name).write_bytes(content)

    def files(self) -> dict[str, bytes]:
        """The folder, where the store is a file."""
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}


@pytest.fixture
def wreck(tmp_path: Path, runner: Runner) -> Iterator[Wreck]:
    """A store after its first run; some deletions wait for a person once it runs again."""
    folder = tmp_path / "data"
    folder.mkdir()
    with Simulator(page_limit=20) as simulator:
        wreck = Wreck(folder, simulator, runner, Lab.lakes)
        ended = wreck.run()
        assert (ended.status, ended.err) == (0, "")
        wreck.hold()
        yield wreck


def one_sentence(ended: Ended) -> str:
    """What a failed command says: one line, and no traceback."""
    assert ended.status == 1, ended.err + ended.points
    assert "Traceback" not in ended.err
    [line] = ended.err.splitlines()
    return line


def mended(wreck: Wreck, told: str) -> None:
    """Do as told."""
    command = re.search(r"(rm -f .+ && cp .+ && chmod .+)$", told)
    assert command, told
    subprocess.run(["sh", "-c", command[1]], check=True)  # noqa: S607 - as a person would
    wreck.made_good()


def test_a_run_that_is_killed_at_any_boundary_is_made_good_by_the_next(
    wreck: Wreck, pytestconfig: pytest.Config
) -> None:
    wreck.live()
    points = wreck.run().points.splitlines()
    everywhere = pytestconfig.getoption("--kills") >= len(points)
    wreck.is_true()
    for at, point in enumerate(points, start=1):
        if everywhere or point in BOUNDARIES:
            wreck.live()
            ended = wreck.run(at=at)
            assert ended.status == -signal.SIGKILL, (point, ended)
            wreck.is_whole()
            wreck.made_good()
    if wreck.lakes:
        return
    assert sorted(path.name for path in wreck.folder.iterdir()) == [
        "inventory.duckdb",
        "inventory.writer.duckdb",
        "inventory.writer.lock",
    ]


def test_a_first_run_that_is_killed_at_any_boundary_is_made_good_by_the_next(wreck: Wreck) -> None:
    wreck.anew()
    wreck.changes["three", "baseline"] = FILES - HELD
    points = wreck.run().points.splitlines()
    for at, point in enumerate(points, start=1):
        if point in BOUNDARIES:
            wreck.anew()
            assert wreck.run(at=at).status == -signal.SIGKILL
            wreck.made_good(held=0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_run_that_is_ended_at_a_random_moment_is_made_good_by_the_next(
    wreck: Wreck, pytestconfig: pytest.Config, number: signal.Signals
) -> None:
    wreck.made_good()
    took = wreck.run().took
    kills = pytestconfig.getoption("--kills") if number == signal.SIGKILL else 5
    ended: Counter[bool] = Counter()
    for _ in range(kills):
        wreck.live()
        after = wreck.random.uniform(0, took)
        ended[wreck.run(after=after, signal=number).status == -number] += 1
        wreck.is_whole()
        wreck.made_good()
    sys.stdout.write(f"{ended[True]} of {kills} runs were ended by {number.name}; {kills} made good\n")
    assert ended[True] > 0


def test_a_run_that_waits_for_a_silent_server_ends_on_sigterm(wreck: Wreck) -> None:
    wreck.made_good()
    wreck.simulator.faults["sk-two"] = FAULTS["stall"]
    wreck.live()
    assert wreck.run(after=2.0, signal=signal.SIGTERM).status == -signal.SIGTERM
    wreck.simulator.faults.clear()
    wreck.made_good()
    with wreck.reading() as rows:
        assert [row["status"] for row in rows("from runs order by run_id")][-2:] == ["interrupted", "partial"]


@pytest.mark.lake
def test_a_run_whose_catalogue_goes_away_at_a_random_moment_says_so_and_is_made_good_by_the_next(
    wreck: Wreck, pytestconfig: pytest.Config
) -> None:
    wreck.made_good()
    took = wreck.run().took
    assert wreck.lakes
    told = []
    for _ in range(pytestconfig.getoption("--kills")):
        wreck.live()
        cut = Timer(wreck.random.uniform(0, took), wreck.lakes.cut)
        cut.start()
        ended = wreck.run()
        cut.join()
        if ended.err:
            told.append(one_sentence(ended))
        wreck.is_whole()
        wreck.made_good()
    sys.stdout.write("\n".join(told))
    assert told


@pytest.mark.lake
def test_upkeep_that_is_killed_at_any_moment_leaves_the_lake_as_it_was(
    wreck: Wreck, pytestconfig: pytest.Config
) -> None:
    wreck.made_good()
    upkeep = wreck.run("upkeep")
    assert (upkeep.status, upkeep.err) == (0, "")
    points = upkeep.points.splitlines()
    orders: list[dict[str, float]] = [{"at": at} for at in range(1, len(points) + 1)]
    orders += [{"after": wreck.random.uniform(0, upkeep.took)} for _ in range(pytestconfig.getoption("--kills"))]
    for order in orders:
        wreck.live()
        wreck.made_good()
        wreck.run("upkeep", **order)
        wreck.is_true()


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_decision_that_is_killed_at_any_boundary_is_taken_whole_or_not_at_all(
    wreck: Wreck, pytestconfig: pytest.Config, decision: str
) -> None:
    wreck.made_good()
    held = wreck.kept()
    points = wreck.run(decision, "three").points.splitlines()
    everywhere = pytestconfig.getoption("--kills") >= len(points)
    for at, point in enumerate(points, start=1):
        if everywhere or point in BOUNDARIES:
            wreck.put(held)
            assert wreck.run(decision, "three", at=at).status == -signal.SIGKILL
            with wreck.reading():
                pass
            again = wreck.run(decision, "three")
            assert again.status == 0 or one_sentence(again).startswith("no deletions of three are held"), again
            if decision == "approve":
                wreck.changes["three", "deleted"] = HELD
                wreck.made_good(held=0)
            else:
                wreck.made_good()


@pytest.mark.embedded
def test_a_log_that_a_power_cut_left_short_or_damaged_is_made_good_or_told(wreck: Wreck) -> None:
    wreck.made_good()
    wreck.live()
    assert wreck.run(before="close").status == -signal.SIGKILL
    files, changes = wreck.files(), wreck.changes.copy()
    wal = files[wreck.wal.name]
    lengths = [0, 1, len(wal) - 1, *(wreck.random.randrange(len(wal)) for _ in range(5))]
    damaged = [wal[:length] for length in lengths]
    damaged += [
        wal[:-back] + bytes([wal[-back] ^ 0xFF]) + wal[len(wal) - back + 1 :] for back in (1, 8, 30, 200, len(wal) // 2)
    ]
    damaged.append(wal[: len(wal) // 2] + os.urandom(200) + wal[len(wal) // 2 + 200 :])
    for content in damaged:
        wreck.put(files | {wreck.wal.name: content})
        wreck.changes = changes.copy()
        wreck.is_whole()
        ended = wreck.run()
        if ended.err:
            mended(wreck, one_sentence(ended))
        else:
            wreck.is_true()


@pytest.mark.embedded
def test_a_damaged_store_says_how_it_is_restored_from_what_was_published(wreck: Wreck) -> None:
    wreck.made_good()
    files = wreck.files()
    store = files[wreck.store.name]
    half = len(store) // 2
    told = 0
    for content in (b"", store[:100], store[:half], os.urandom(len(store)), store[:8192] + bytes(len(store) - 8192)):
        wreck.put(files | {wreck.store.name: content})
        wreck.live()
        ended = wreck.run()
        if ended.err:
            told += 1
            mended(wreck, one_sentence(ended))
        else:
            wreck.is_true()
        files |= {wreck.published.name: wreck.published.read_bytes()}
    assert told >= 3


@pytest.mark.embedded
def test_a_store_of_a_newer_version_is_left_alone_in_one_sentence(wreck: Wreck) -> None:
    with duckdb.connect(str(wreck.store)) as connection:
        connection.execute("insert into schema_versions values (99, now())")
    before = wreck.store.read_bytes()
    assert "was written by a newer File Inventory" in one_sentence(wreck.run())
    assert wreck.store.read_bytes() == before
    wreck.is_whole()


@pytest.mark.embedded
@pytest.mark.parametrize("more", [-2_000_000, -1, 0, 4_000, 300_000])
def test_a_file_that_may_not_grow_fails_a_run_in_one_sentence_and_loses_nothing(wreck: Wreck, more: int) -> None:
    wreck.live()
    ended = wreck.run(limit=wreck.store.stat().st_size + more)
    if ended.err:
        assert "make room" in one_sentence(ended)
        wreck.is_whole()
    wreck.made_good()


@pytest.mark.embedded
def test_a_first_run_that_finds_no_room_says_so_and_the_next_begins_anew(wreck: Wreck) -> None:
    for limit in (4_096, 300_000, 1_000_000):
        wreck.put({})
        assert re.search("make room|cannot be kept there", one_sentence(wreck.run(limit=limit)))
    assert wreck.run().status == 0


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[None]:
    """Make the folder a disk of its own, where that is allowed."""
    mount = shutil.which("mount")
    command = [str(mount), "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    if not mount or os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def test_a_full_disk_fails_a_run_in_one_sentence_and_loses_nothing(wreck: Wreck) -> None:
    kept = wreck.kept()
    with mounted(wreck.folder, "size=12m"):
        wreck.put(kept)
        filler = wreck.folder / "filler"
        for left in (0, 100_000, 3_000_000):
            free = shutil.disk_usage(wreck.folder).free
            filler.write_bytes(bytes(free - left))
            wreck.live()
            ended = wreck.run()
            if ended.err:
                assert re.search("make room|cannot be published there: No space left", one_sentence(ended))
                wreck.is_whole()
            filler.unlink()
            wreck.made_good()


def test_a_folder_that_cannot_be_written_to_is_told_in_one_sentence(wreck: Wreck) -> None:
    kept = wreck.kept()
    with mounted(wreck.folder, "size=30m"):
        wreck.put(kept)
        subprocess.run(["mount", "-o", "remount,ro", str(wreck.folder)], check=True)  # noqa: S607
        assert re.search("Read-only file system", one_sentence(wreck.run()))
        wreck.is_whole()
        subprocess.run(["mount", "-o", "remount,rw", str(wreck.folder)], check=True)  # noqa: S607
        wreck.made_good()
