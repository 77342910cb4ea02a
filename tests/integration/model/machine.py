"""An inventory of three credentials that whatever may happen does happen to, beside an oracle that knows the truth."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import time_machine
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from etl.config import Config
from etl.load import embedded
from etl.load.store import Outcome, Run, Store, open_inventory
from etl.report.inventory import edition, open_published
from etl.simulator import Account, Simulator
from etl.sync import sync
from integration.conftest import quickly

from .answers import ANSWERS, PAGE
from .oracle import KINDS, Known, Row, Settings, Shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    from conftest import Lakes

    from etl.places import Place

HOUR = timedelta(hours=1)
START = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
"""Near the time that DuckDB itself reads, which nobody can set."""
STALE_AFTER = 12 * HOUR
FAST = "/dev/shm" if Path("/dev/shm").exists() else None  # noqa: S108 - memory is quicker than a disk
NAMES = ("a", "b", "c")
FIRST = {
    "a": Settings("sk-a-0", count=1),
    "b": Settings("sk-b-0", count=2, provider="cohere"),
    "c": Settings("sk-c-0", count=20),
}
LOG = "file_id, provider, filename, bytes, purpose, status, status_details, created_at, expires_at, extra"
MOMENTS = 6
"""So many past moments are looked back to after each step."""

some = st.integers(1, 4)
names = st.sampled_from(NAMES)
answers = st.sampled_from(sorted(ANSWERS))
seldom_healthy = st.one_of(st.just("healthy"), answers)


class Killed(BaseException):
    """The process ends here."""


@cache
def _world() -> tuple[Simulator, Simulator]:
    """Two hosts that show the same accounts, for as long as this process lives."""
    one, other = Simulator(page_limit=PAGE), Simulator(page_limit=PAGE)
    other.accounts, other.faults = one.accounts, one.faults
    one.__enter__()
    other.__enter__()
    return one, other


@cache
def _fresh_store() -> bytes:
    """A store in which nothing has happened: making one takes longer than most steps."""
    with tempfile.TemporaryDirectory() as folder:
        with Store(Path(folder) / "inventory.duckdb") as store:
            store._sql("checkpoint")
        return Path(str(store.path)).read_bytes()


@cache
def _config(place: Place, hosts: tuple[str, ...], configured: tuple[tuple[str, Settings], ...]) -> Config:
    credentials = [
        {
            "name": name,
            "type": "openai",
            "base_url": hosts[settings.host],
            "api_key": settings.key,
            "provider": settings.provider,
            "purpose": settings.purpose,
            "brake": {"count": settings.count},
        }
        for name, settings in configured
    ]
    http = {"requests_per_second": 10_000, "attempts": 2, "workers": 4}
    stale = f"{STALE_AFTER / HOUR:.0f}h"
    return Config.model_validate({"store": place, "stale_after": stale, "http": http, "credentials": credentials})


@contextmanager
def _without_waiting_for_disks() -> Iterator[None]:
    """Let the store use one thread, and no copy wait for its disk: both only take time here."""
    connect = embedded._connect

    def lightly(*places: Path) -> duckdb.DuckDBPyConnection:
        connection = connect(*places)
        connection.execute("set threads = 1")
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "_connect", lightly)
        patch.setattr("os.fsync", lambda _: None)
        yield


@contextmanager
def killed(at: int) -> Iterator[list[str]]:
    """End the process before its so manieth statement, commit or rename; what was on the disk then is what is left.

    Gives the methods of the store that had returned by then.
    """
    done: list[str] = []
    left: list[tuple[Path, dict[str, bytes]]] = []
    count = 0

    def step(place: Place) -> None:
        nonlocal count
        count += 1
        if count == at:
            if isinstance(place, Path):  # a lake keeps what was committed
                folder = place.parent
                left.append((folder, {path.name: path.read_bytes() for path in folder.iterdir()}))
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        _count(patch, step, done)
        with suppress(Killed):
            yield done
    for folder, files in left:
        _restore(folder, files)


def _restore(folder: Path, files: dict[str, bytes]) -> None:
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        if not (folder / name).exists() or (folder / name).read_bytes() != content:
            (folder / name).write_bytes(content)


def _count(patch: pytest.MonkeyPatch, step: Any, done: list[str]) -> None:
    written, closed, replaced = Store._sql, Store._close, Path.replace

    def _sql(store: Store, name: str, **params: object) -> None:
        if name != "sound":  # which follows the commit that ends a run
            step(store.path)
        written(store, name, **params)

    def _close(store: Store) -> None:
        closed(store)
        if store._open is None and done[-1:] == ["finish"]:
            step(store.path)

    def _replace(path: Path, target: Path) -> Path:
        step(path)
        return replaced(path, target)

    def noted(name: str) -> Any:
        method = getattr(Store, name)

        def call(store: Store, *args: object, **more: object) -> object:
            result = method(store, *args, **more)
            done.append(name)
            return result

        return call

    for name in ("begin", "apply", "finish", "publish"):
        patch.setattr(Store, name, noted(name))
    patch.setattr(Store, "_sql", _sql)
    patch.setattr(Store, "_close", _close)
    patch.setattr(Path, "replace", _replace)


class Inventory(RuleBasedStateMachine):
    """What may happen, and what must be true after it."""

    did: ClassVar[Counter[str]] = Counter()
    """What all machines of this process went through."""
    lakes: ClassVar[Lakes | None] = None
    """Where each history has an inventory of its own; a file where this is None."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(quickly())
        self.clock = self.stack.enter_context(time_machine.travel(START, tick=False))
        self.stack.enter_context(_without_waiting_for_disks())
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(dir=FAST)))
        self.path = self.folder / "inventory.duckdb"
        self.path.with_suffix(".writer.duckdb").write_bytes(_fresh_store())
        self.place: Place = self.lakes.new(self.folder / "lake") if self.lakes else self.path
        self.hosts = _world()
        self.now = START
        self.latest = self.highest = START - 10_000 * HOUR
        self.accounts: list[Account] = []
        self.behind = {name: place % 2 for place, name in enumerate(NAMES)}
        self.settings = dict(FIRST)
        self.configured = {"a", "b"}
        self.known: dict[str, Known] = {}
        self.runs: list[str] = []
        self.seen: tuple[int, int] | None = None
        """The published copy that was compared last."""
        self.published = False

    def teardown(self) -> None:
        self.stack.close()

    @initialize(seed=st.integers(0, 5), sizes=st.tuples(st.integers(0, 9), st.integers(5, 9)))
    def begin(self, seed: int, sizes: tuple[int, int]) -> None:
        start = int(START.timestamp())
        self.accounts = [Account(size, seed=seed * 2 + nth, now=start) for nth, size in enumerate(sizes)]
        self.hosts[0].accounts.clear()
        self.hosts[0].reset()
        self._connect()

    def _connect(self) -> None:
        for name, settings in self.settings.items():
            self.hosts[0].accounts[settings.key] = self.accounts[self.behind[name]]

    # What happens at the provider.

    @rule(nth=st.integers(0, 1), what=st.sampled_from(["add", "change", "delete", "restore"]), count=some)
    def files_come_and_go(self, nth: int, what: str, count: int) -> None:
        account = self.accounts[nth]
        most = {"add": count, "restore": len(account.gone)}.get(what, len(account.files))
        getattr(account, what)(min(count, most))

    @rule(nth=st.integers(0, 1), count=some)
    def files_are_added_and_change(self, nth: int, count: int) -> None:
        self.accounts[nth].add(count)
        self.accounts[nth].change(count)

    @rule(nth=st.integers(0, 1), left=st.integers(0, 2))
    def most_files_go(self, nth: int, left: int) -> None:
        self.accounts[nth].delete(max(0, len(self.accounts[nth].files) - left))

    @rule(nth=st.integers(0, 1), count=some, hours=st.integers(0, 30))
    def files_get_a_time(self, nth: int, count: int, hours: int) -> None:
        self.accounts[nth].age(min(count, len(self.accounts[nth].files)), hours * 3600)

    @rule(hours=st.integers(0, 40))
    def files_expire(self, hours: int) -> None:
        self._set_clock(self.now + hours * HOUR)
        for account in self.accounts:
            account.expire()

    @rule(name=names)
    def another_account_answers(self, name: str) -> None:
        self.behind[name] = 1 - self.behind[name]
        self._connect()

    # What happens to the configuration.

    @rule(name=names)
    def rotate_key(self, name: str) -> None:
        head, _, number = self.settings[name].key.rpartition("-")
        self._set(name, key=f"{head}-{int(number) + 1}")

    @rule(name=names, host=st.integers(0, 1), purpose=st.sampled_from([None, None, "batch", "assistants"]))
    def look_elsewhere(self, name: str, host: int, purpose: str | None) -> None:
        self._set(name, host=host, purpose=purpose)

    @rule(name=names)
    def add_or_remove_credential(self, name: str) -> None:
        self.configured ^= {name}
        self.configured |= {"a"} if not self.configured else set()

    def _set(self, name: str, **settings: Any) -> None:
        self.settings[name] = replace(self.settings[name], **settings)
        self._connect()

    # What happens to the clock.

    @rule(hours=st.integers(-60, 60), minutes=st.integers(0, 3))
    def clock_is_set(self, hours: int, minutes: int) -> None:
        self._set_clock(self.now + hours * HOUR + timedelta(minutes=minutes))

    def _set_clock(self, now: datetime) -> None:
        self.now = now
        self.clock.move_to(now)
        for account in self.accounts:
            account.now = int(now.timestamp())

    # What the product does.

    @rule(given=st.dictionaries(names, answers, max_size=2))
    def sync_badly(self, given: dict[str, str]) -> None:
        self._sync(given)

    @rule(given=seldom_healthy, name=names)
    def sync_one(self, name: str, given: str) -> None:
        name = self._one_that_is_configured(name)
        self._sync({name: given}, name)

    @rule(given=seldom_healthy, name=names, at=st.integers(1, 45))
    def kill(self, name: str, given: str, at: int) -> None:
        """End a run of one credential at any of its steps."""
        name = self._one_that_is_configured(name)
        outcomes: list[Outcome] = []
        with killed(at) as done:
            self._run({name: given}, (name,), outcomes)
        self._learn({name: given}, done, outcomes)
        self.did["killed"] += "publish" not in done

    @rule(name=names)
    @precondition(lambda self: any(known.held for known in self.known.values()))
    def approve(self, name: str) -> None:
        name = self._one_that_is_held(name)
        self.highest = max(self.highest, self.now)
        with open_inventory(self._config()) as store:
            count = store.approve(name)
            at = store._row("latest")["microseconds"]
        observed = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=at)
        self._pass(observed)
        assert count == self.known[name].approve(observed)
        self.did["approved"] += 1
        self._closed()

    @rule(name=names)
    @precondition(lambda self: any(known.held for known in self.known.values()))
    def reject(self, name: str) -> None:
        name = self._one_that_is_held(name)
        self.highest = max(self.highest, self.now)
        with open_inventory(self._config()) as store:
            assert store.reject(name) == self.known[name].reject()
        self.did["kept"] += 1
        self._closed()

    def _one_that_is_held(self, name: str) -> str:
        held = [one for one, known in self.known.items() if known.held]
        return name if name in held else held[0]

    def _one_that_is_configured(self, name: str) -> str:
        return name if name in self.configured else min(self.configured)

    def _closed(self) -> None:
        """A decision publishes, too."""
        self.runs = ["interrupted" if status == "running" else status for status in self.runs]
        self.published = True

    def _config(self) -> Config:
        configured = tuple((name, self.settings[name]) for name in NAMES if name in self.configured)
        return _config(self.place, tuple(host.url for host in self.hosts), configured)

    def _sync(self, given: dict[str, str], *only: str) -> None:
        outcomes: list[Outcome] = []
        run = self._run(given, only, outcomes)
        self._learn(given, ["begin", "finish", "publish"], outcomes)
        verdicts = {outcome.status for outcome in outcomes}
        failed = verdicts <= {"failed"}
        assert run.status == ("complete" if verdicts == {"complete"} else "failed" if failed else "partial")
        assert {outcome.credential for outcome in outcomes} == set(only or self.configured)

    def _run(self, given: dict[str, str], only: tuple[str, ...], outcomes: list[Outcome]) -> Run:
        self.did["runs"] += 1
        self.highest = max(self.highest, self.now)
        self.hosts[0].faults.clear()
        for name, answer in given.items():
            self.hosts[0].faults[self.settings[name].key] = ANSWERS[answer].fault()
        config = self._config()
        applied = Store.apply

        def apply(store: Store, *args: Any) -> list[Outcome]:
            outcomes.extend(found := applied(store, *args))
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Store, "apply", apply)
            with open_inventory(config) as store:
                return sync(config, store, only)

    def _learn(self, given: dict[str, str], done: list[str], outcomes: list[Outcome]) -> None:
        """Let the oracle see what a run saw, as far as it came."""
        self.runs = ["interrupted" if status == "running" else status for status in self.runs]
        if "begin" in done:
            for name in self.configured:
                self.known.setdefault(name, Known(self.settings[name]))
            for name, known in self.known.items():
                known.active = name in self.configured
                known.settings = self.settings[name] if known.active else known.settings
            verdicts = {outcome.status for outcome in outcomes}
            ended = "complete" if verdicts == {"complete"} else "failed" if verdicts <= {"failed"} else "partial"
            self.runs.append(ended if "finish" in done else "running")
        for outcome in outcomes:
            self._compare_listing(outcome, given.get(outcome.credential, "healthy"))
        self.published = "publish" in done

    def _compare_listing(self, outcome: Outcome, answer: str) -> None:
        known, at = self.known[outcome.credential], outcome.finished_at
        self._pass(at)

        def show(nth: int) -> Shown:
            return ANSWERS[answer].shows(self._pages(outcome.credential), nth)

        shown = known.look(show, self.now)
        counts = known.take(shown, outcome.run_id, self.now, at)
        self.did.update(counts)
        self.did[f"{known.verdict} listings"] += 1
        expected: Row = {kind: counts[kind] for kind in (*KINDS, "unchanged", "held", "records", "rejected")}
        expected["status"] = known.verdict
        told = asdict(outcome)
        found = {name: told[name] for name in expected}
        assert found == expected, f"{answer}: {found} is not {expected}; {outcome}"

    def _pages(self, name: str) -> list[list[Row]]:
        settings = self.settings[name]
        files = [file for file in self.accounts[self.behind[name]].files.values() if settings.wants(file)]
        return [files[start : start + PAGE] for start in range(0, max(1, len(files)), PAGE)]

    def _pass(self, moment: datetime) -> None:
        """Time goes on, whatever the clock says."""
        assert moment >= max(self.now, self.latest)
        assert moment - max(self.now, self.highest) < timedelta(seconds=1)
        self.latest = moment

    @invariant()
    def what_is_published_is_the_truth(self) -> None:
        self.did["steps"] += 1
        copy = edition(self.place)
        if copy is None:
            assert not self.published
            return
        if copy == self.seen:
            return
        assert self.published or self.lakes
        self.seen = copy
        with open_published(self.place, threads=1) as inventory:

            def rows(sql: str, **params: Any) -> list[Row]:
                found: list[Row] = inventory.query(sql, **params).read_all().to_pylist()
                return found

            self._compare(rows)

    def _compare(self, rows: Any) -> None:
        assert rows(f"select credential, {LOG}, first_seen_at, changed_at from files order by all") == self._files()
        self._compare_log(rows)
        assert rows("select credential, file_id, run_id from held_deletions order by all") == self._rows(
            [{"file_id": key, "run_id": run} for key, run in known.held.items()] for known in self.known.values()
        )
        self._compare_totals(rows)
        self._compare_freshness(rows)
        assert [row["status"] for row in rows("select status from runs order by run_id")] == self.runs
        assert rows("from runs where finished_at < started_at") == []
        rejected = rows("select credential, record from rejected_records")
        assert Counter(
            (row["credential"], json.dumps(json.loads(row["record"]), sort_keys=True)) for row in rejected
        ) == {(name, record): 1 for name, known in self.known.items() for record in known.unread}
        for moment in self._moments():
            was = rows(
                f"select credential, {LOG}, first_seen_at, changed_at from files_as_of($at) order by all", at=moment
            )
            assert was == self._rows(list(known.was(moment)) for known in self.known.values())

    def _compare_log(self, rows: Any) -> None:
        log = rows("from file_changes order by change_id")
        times = [row["observed_at"] for row in log]
        assert times == sorted(times)
        assert len({row["change_id"] for row in log}) == len(log)
        columns = f"credential, run_id, observed_at, change, reason, changed_fields, {LOG}"
        found = rows(f"select {columns} from file_changes order by credential, file_id, change_id")
        assert found == self._rows(known.log for known in self.known.values())
        columns = f"credential, run_id, change, changed_fields, {LOG}, valid_from, valid_to"
        found = rows(f"select {columns} from file_history order by credential, file_id, change_id")
        assert found == self._rows(list(known.history()) for known in self.known.values())

    def _compare_totals(self, rows: Any) -> None:
        sql = """
        select credential, run_id, change, reason, sum(changes)::bigint as changes, sum(files)::bigint as files,
            sum(bytes)::bigint as bytes
        from change_totals group by all having sum(changes) <> 0 or sum(bytes) <> 0
        """
        expected = {}
        for name, known in self.known.items():
            logged = Counter((entry["run_id"], entry["change"], entry["reason"]) for entry in known.log)
            for key in logged.keys() | {key for key, size in known.added.items() if size}:
                sign = {"deleted": -1, "updated": 0}.get(key[1], 1)
                expected[name, *key] = (logged[key], sign * logged[key], known.added[key])
        assert {tuple(row.values())[:4]: tuple(row.values())[4:] for row in rows(sql)} == expected

    def _compare_freshness(self, rows: Any) -> None:
        expected = [
            {
                "credential": name,
                "as_of": known.as_of,
                "verdict": known.verdict,
                "last_attempt_at": known.attempted,
                "active": known.active,
            }
            for name, known in sorted(self.known.items())
        ]
        found = rows("select now() as asked, * exclude (reason, error) from freshness order by credential")
        for row in found:
            asked, as_of = row.pop("asked"), row["as_of"]
            late = as_of is None or as_of < asked - STALE_AFTER or as_of > asked + HOUR
            assert row.pop("stale") == (row["active"] and late)
        assert found == expected

    def _files(self) -> list[Row]:
        return self._rows(list(known.files.values()) for known in self.known.values())

    def _rows(self, tables: Any) -> list[Row]:
        """The rows of every credential, by credential and file, each file's in their order."""
        found = [{"credential": name} | row for name, table in zip(self.known, tables, strict=True) for row in table]
        return sorted(found, key=lambda row: (row["credential"], row["file_id"]))

    def _moments(self) -> list[datetime]:
        """Past moments at which something changed, and just before: the last ones, the first, others by turns."""
        times = sorted({entry["observed_at"] for known in self.known.values() for entry in known.log})
        moments = [moment for time in times for moment in (time - timedelta(microseconds=1), time)]
        turn = self.did["steps"] % max(1, len(moments) // MOMENTS)
        return moments if len(moments) <= MOMENTS else [*moments[-2:], *moments[turn :: len(moments) // MOMENTS]]
