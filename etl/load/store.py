"""The store: what writes the inventory, wherever it is kept.

A run begins, compares each listing with what is known, applies it in one transaction, and finishes.
The SQL is in `sql/`; nothing here builds SQL from strings.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from math import inf
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import ConfigError, NothingHeld, StoreBusy, StoreError, nearest
from etl.load.home import home
from etl.load.keep import summed
from etl.providers import WorkspaceCredential
from etl.transform.record import INSTANT, SCHEMA, SET_ASIDE
from etl.transform.words import Change, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from etl.config import Config
    from etl.places import Place
    from etl.providers import Credential
    from etl.transform.listing import Listing

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Started:
    """A run that has begun."""

    run_id: str
    trigger: str
    started_at: datetime


@dataclass(frozen=True)
class Difference:
    """What a listing would change, before it is decided whether it may."""

    listing: Listing
    credential: Credential
    all_new: bool
    """Whether no file of this credential was ever seen, so that all that is listed is new, and not compared."""
    touched: int
    """Files that are new, differ, or are missing; none is counted where all are new."""
    held: int
    """Files whose deletion waits for a person since an earlier listing."""
    missing: int
    """Known files, within the listing's scope, that it lacks."""
    known: int
    """Known files within its scope."""
    expired: int
    """Those of the missing whose time had passed: they are expected to be gone, and raise no doubt."""
    first: bool
    """Whether no listing of this credential was complete before."""
    scope: str | None
    """Which files the last listing that was judged could show, as JSON."""

    @property
    def unexpected(self) -> int:
        """How many files are missing before their time."""
        return self.missing - self.expired

    @property
    def rejected_before(self) -> bool:
        """Whether a person kept files that were missing, and no listing had them since."""
        return (self.scope or "").startswith(REJECTED)

    @property
    def scope_changed(self) -> bool:
        """Whether the configuration, or only its keys, changed since the last listing."""
        return self._last_scope not in (None, json.loads(self.credential.scope()))

    @property
    def elsewhere(self) -> bool:
        """Whether the configuration changed which files can be seen, not only its keys."""
        if not self.scope_changed:
            return False
        before, now = self._last_scope, json.loads(self.credential.scope())
        return not isinstance(before, dict) or before | {"keys": None} != now | {"keys": None}

    @property
    def _last_scope(self) -> Any:
        scope = json.loads(self.scope or "null")
        return scope["rejected"] if self.rejected_before else scope

    @property
    def strange(self) -> bool:
        """Whether none of the files known before is listed, but others are: most likely another account answers."""
        complete = self.listing.status is Verdict.COMPLETE
        replaced = self.missing == self.known and self.known - self.expired >= STRANGE
        return complete and replaced and len(self.listing.files) > 0

    @property
    def baseline(self) -> bool:
        """Whether what is new was there before we looked."""
        return self.first or self.elsewhere or self.strange

    @property
    def doubtful(self) -> bool:
        """Whether so much is missing that the listing should be fetched once more."""
        brake = self.credential.brake
        complete = self.listing.status is Verdict.COMPLETE
        return complete and not self.listing.rechecked and (self.strange or self._exceeds(brake.recheck_percent))

    @property
    def doubt(self) -> str | None:
        """Why the deletions must wait for a person, if they must."""
        if self.unexpected and self.rejected_before:
            return "files whose deletion was rejected are still missing"
        if self.unexpected and self.scope_changed:
            changed = "configuration" if self.elsewhere else "key"
            return (
                f"the {changed} of this credential changed, and {self.missing} files may lie outside what it lists now"
            )
        if self.unexpected and not len(self.listing.files):
            return f"the list is empty where {self.known} files were"
        if self.strange:
            return f"none of the {self.known} files known before is listed, but others are: is this another account?"
        if self._exceeds(self.credential.brake.hold_percent):
            return f"{self.missing} of {self.known} files are missing"
        return None

    def _exceeds(self, percent: float) -> bool:
        known = self.known - self.expired
        return self.unexpected > self.credential.brake.count and self.unexpected * 100 > percent * known


@dataclass(frozen=True)
class Outcome:
    """A row of `listings`: what a listing brought."""

    run_id: str
    credential: str
    status: str
    reason: str | None
    started_at: datetime
    finished_at: datetime
    pages: int
    requests: int
    retries: int
    bytes_received: int
    records: int
    baseline: int
    created: int
    updated: int
    deleted: int
    restored: int
    unchanged: int
    held: int
    rejected: int
    first_id: str | None
    last_id: str | None
    scope: str
    error: str | None


@dataclass(frozen=True)
class Run:
    """One cycle over a set of credentials: a row of `runs`, and its listings."""

    run_id: str
    trigger: str
    started_at: datetime
    finished_at: datetime
    status: str
    """complete: every listing was; failed: none brought anything; partial: neither; interrupted: stopped before."""
    totals: dict[str, int]
    listings: tuple[Outcome, ...]


@dataclass(frozen=True)
class RuleResult:
    """What one rule of the configuration found: a row of `rule_results`."""

    rule: str
    severity: str
    """warning or critical."""
    message: str
    """What it means, and what to do, in the operator's words."""
    offenders: int | None
    """Rows that break it; None where it could not be checked."""
    examples: tuple[str, ...] = ()
    """The first offenders, as `column=value` texts."""
    error: str | None = None
    """Why it could not be checked."""

    @property
    def state(self) -> str:
        """kept, broken or unchecked."""
        return "unchecked" if self.offenders is None else "broken" if self.offenders else "kept"


class Store:
    """What writes the inventory; a context manager that keeps other writers out, or off what this one lists.

    Args:
        place: The published database, beside which the writer works in `NAME.writer.duckdb`; or a lake.
        memory_limit: Bytes that the whole process should take; DuckDB takes half of it, and spills the rest.

    Raises:
        StoreBusy: Another process writes to this store.
        StoreError: It cannot be opened.
    """

    def __init__(self, place: str | Place, *, memory_limit: int | None = None) -> None:
        self._home = home(Path(place) if isinstance(place, str) else place)
        self._keeper = self._home.keeper
        self._memory_limit = memory_limit
        self.path = self._home.path
        """Where what is not published yet can be read."""
        self._open: duckdb.DuckDBPyConnection | None = None
        self._kept_up = -inf

    def __enter__(self) -> Self:
        self._keeper.open()
        try:
            with self._keeper.turn():
                self._migrate()
            self._close_interrupted()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._keeper.close()

    def announce(self, url: str) -> None:
        """Tell other writers that a service at this URL does their work for them."""
        self._keeper.announce(url)

    def lead(self) -> bool:
        """Tell whether this process keeps the schedule: of those that serve one lake, one does."""
        return self._keeper.lead()

    @contextmanager
    def leased(self, names: Sequence[str]) -> Iterator[set[str]]:
        """Take these credentials, until each is applied; give those that no other process lists.

        Raises:
            StoreBusy: Others list all of them.
        """
        ours = self._keeper.take(names)
        try:
            self._tell_skipped(names, ours)
            yield ours
        except BaseException:
            self._close()  # what cannot be reached any more is opened anew by the next
            raise
        finally:
            self._keeper.free(*names)

    def _tell_skipped(self, names: Sequence[str], ours: set[str]) -> None:
        others = [self._keeper.who(name) for name in names if name not in ours]
        if others and not ours:
            raise StoreBusy("; ".join(others[:3]))
        for told in others:
            log.warning("%s; it is skipped", told)

    def now(self) -> datetime:
        """Return the time, which never goes behind what the store holds, even if the clock was set back."""
        latest = self._row("latest")["microseconds"]
        return max(datetime.now(UTC), datetime.fromtimestamp(0, UTC) + timedelta(microseconds=latest + 1))

    def found_in(self, workspace: str) -> dict[str, str | None]:
        """Return the slugs of the active credentials that were found in a workspace, each with who holds its files."""
        rows = self._query("found_in", workspace=workspace).to_pylist()
        return {row["name"].removeprefix(f"{workspace}."): row["provider"] for row in rows}

    def costs(self) -> dict[str, float]:
        """Return the seconds that the last listing of each credential took."""
        return {row["credential"]: row["seconds"] for row in self._query("costs").to_pylist()}

    def begin(self, config: Config, trigger: str) -> Started:
        """Note the start of a run and the credentials as configured."""
        started_at = self.now()
        run_id = f"{started_at:%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(2)}"
        started = Started(run_id, trigger, started_at)
        self._keeper.begin(run_id)

        def note() -> None:
            self._sql("configured")
            self._sql("begin_run", **asdict(started))

        with self._table("configured", _configured(config)):
            self._whole(note)
        return started

    def configure(self, config: Config) -> None:
        """Note the credentials as configured, anew: more of them were found."""
        with self._table("configured", _configured(config)):
            self._whole(lambda: self._sql("configured"))

    def compare(self, found: Sequence[tuple[Credential, Listing]]) -> list[Difference]:
        """Find what listings would change, each of another credential; it stays at hand until the next call.

        A field that goes for every file stays as it was known; one that comes for every file is taken over
        without a change: both are news about the API, not about the files.
        """
        with self._table("batch", _batch(found)):
            new = set(self._query("nothing_known")["credential"].to_pylist())
            news = self._differ(found, new)
            if gone := _signed("-", news):
                found = [(credential, self._completed(listing, gone)) for credential, listing in found]
                news = self._differ(found, new)
            if came := _signed("+", news):
                with self._table("came", pa.table({"credential": list(came), "fields": list(came.values())})):
                    self._sql("came")
            counts = {row.pop("credential"): row for row in self._query("counts").to_pylist()}
        return [
            Difference(listing, credential, all_new=credential.name in new, **counts[credential.name])
            for credential, listing in found
        ]

    def _differ(self, found: Sequence[tuple[Credential, Listing]], new: set[str]) -> dict[str, list[str]]:
        """Find the differences; return the fields that came (+) or went (-) for every one of many files, by name."""
        known = [listing for _, listing in found if listing.credential not in new]
        tracking = [credential.name for credential, _ in found if credential.track_extra]
        with self._table("listed", _listed(known)), self._table("present", _present(known)):
            self._sql("difference", tracking=tracking)
            return {row["credential"]: row["fields"] for row in self._query("api_fields").to_pylist()}

    def _completed(self, listing: Listing, gone: dict[str, list[str]]) -> Listing:
        if listing.credential not in gone:
            return listing
        with self._table("listed", listing.files):
            files = self._query("completed", credential=listing.credential, gone=gone[listing.credential])
        return replace(listing, files=files.cast(listing.files.schema))

    def apply(self, started: Started, differences: Sequence[Difference]) -> list[Outcome]:
        """Apply differences that were found last, all of them whole or none at all; the others are dropped."""
        listings = [difference.listing for difference in differences]

        def apply() -> list[Outcome]:
            counts = self._decide(started, differences)
            outcomes = [_outcome(one, started, Counter(counts.get(one.credential.name))) for one in differences]
            if any(one.all_new for one in differences):
                self._sql("first", run_id=started.run_id)
            if counts:
                self._sql("apply", run_id=started.run_id)
            if any(outcome.deleted for outcome in outcomes):
                self._sql("delete", run_id=started.run_id)
            if any(outcome.rejected for outcome in outcomes):
                self._sql("rejected", run_id=started.run_id)
            with self._table("outcomes", _outcomes(outcomes)):
                self._sql("listing")
            return outcomes

        with (
            self._table("batch", _decisions(started, differences)),
            self._table("listed", _listed(listings)),
            self._table("present", _present(listings)),
            self._table("bad", _bad(listings)),
        ):
            outcomes = self._whole(apply)
        # On the lease of a workspace those found in it are listed.
        done = [one.credential for one in differences if not isinstance(one.credential, WorkspaceCredential)]
        self._keeper.free(*(credential.name for credential in done))
        return outcomes

    def _decide(self, started: Started, differences: Sequence[Difference]) -> dict[str, dict[str, int]]:
        """Decide on every difference; return how many there are of each kind, by credential."""
        if any(one.held for one in differences):
            self._sql("came_back")
        if not any(one.touched for one in differences):
            return {}
        self._sql("decide", run_id=started.run_id)
        return {row.pop("credential"): row for row in self._query("decided_counts").to_pylist()}

    def finish(self, started: Started, outcomes: Sequence[Outcome], *, interrupted: bool = False) -> Run:
        """Note the end of a run, and sum it up; others can open the database until more is written."""
        finished_at = max([self.now(), *(outcome.finished_at for outcome in outcomes)])
        run = _run(started, finished_at, outcomes, "interrupted" if interrupted else _status(outcomes))
        self._whole(lambda: self._sql("finish_run", **asdict(run) | {"totals": json.dumps(run.totals)}))
        self._expect_sound(run)
        self._close()
        return run

    def _expect_sound(self, run: Run) -> None:
        for check in self._home.checks:
            if breach := self._row(check, run_id=run.run_id)["breach"]:
                raise StoreError(f"{self.path} is not sound: {breach}; believe nothing of run {run.run_id}")

    def judge(self, run: Run, results: Sequence[RuleResult]) -> None:
        """Note what the rules found at the end of a run."""

        def note() -> None:
            for result in results:
                self._sql("rule_result", run_id=run.run_id, **asdict(result))

        self._whole(note)

    def approve(self, name: str) -> int:
        """Carry out the held deletions of a credential; return how many."""

        def decide() -> int:
            held = self._held(name)
            self._sql("approved", credential=name)
            self._sql("decided", credential=name)
            with self._table("batch", pa.table({"credential": [name], "observed_at": [self.now()]})):
                self._sql("delete", run_id=held["run_id"])
            return int(held["files"])

        return self._decided(name, decide)

    def reject(self, name: str) -> int:
        """Keep the files whose deletions are held; return how many. A listing that lacks them is held again."""

        def decide() -> int:
            held = self._held(name)
            self._sql("decided", credential=name)
            self._sql("rejected_before", credential=name)
            return int(held["files"])

        return self._decided(name, decide)

    def _decided(self, name: str, decide: Callable[[], int]) -> int:
        with self.leased([name]):
            files = self._whole(decide)
        self.publish()
        return files

    def shift(self, seconds: float) -> None:
        """Move all that is known into the past: a demonstration's history."""
        self._whole(lambda: self._sql("shift", seconds=seconds))

    def keep_up(self) -> None:
        """Keep the store small and quick; readers and writers go on beside it."""
        for script in self._home.upkeep:
            with self._keeper.turn():
                self._sql(script, before=datetime.now(UTC) - timedelta(seconds=self._home.keeps))
        self._kept_up = monotonic()

    @property
    def upkeep_due(self) -> bool:
        """Whether this process did no upkeep for so long that it is time."""
        return monotonic() - self._kept_up > self._home.upkeep_every

    def take_over(self, other: Store) -> dict[str, int]:
        """Take over all that another store holds, or nothing; return the rows of each table.

        Raises:
            StoreError: This one holds another inventory, or what arrived is not what was sent.
        """
        sent = other._digests()
        held = self._digests()
        if any(rows for rows, _ in held.values()) and held != sent:
            raise StoreError(f"{self.path} holds another inventory; move into an empty store")

        def take() -> None:
            for name in sent:
                with self._table("moving", other._connection.table(name).to_arrow_reader(100_000)):
                    self._connection.execute(f"insert into {name} by name from moving")
            if self._digests() != sent:
                raise StoreError(f"not every row arrived in {self.path} as it was; nothing was moved")

        if held != sent:
            self._whole(take)
        self.publish()
        return {name: rows for name, (rows, _) in sent.items()}

    def _digests(self) -> dict[str, tuple[int, int]]:
        """Return for every table how many rows it has, and a hash of them all."""
        names = self._query("tables")["table_name"].to_pylist()
        with self._told():
            return {name: summed(self._connection.table(name)) for name in names}

    def publish(self) -> None:
        """Give readers what the store holds now."""
        self._settle()
        self._home.publish()

    def _settle(self) -> None:
        for script in self._home.closing:
            self._sql(script)
        self._close()

    def _held(self, name: str) -> dict[str, Any]:
        held = self._row("held", credential=name)
        known = self._query("names")["name"].to_pylist()
        if name not in known:
            raise ConfigError(f"the inventory has no credential {name}{nearest(name, known)}")
        if not held["files"]:
            raise NothingHeld(f"no deletions of {name} are held; see: file-inventory status")
        return held

    def _close_interrupted(self) -> None:
        """Note that the runs which nobody works on any more were interrupted."""
        running = self._query("running")["run_id"].to_pylist()
        if abandoned := self._keeper.abandoned(running):
            self._whole(lambda: self._sql("interrupted", now=self.now(), run_ids=abandoned))

    def _migrate(self) -> None:
        known = _migrations()
        self._sql("schema_versions")
        version = self._row("schema_version")["version"]
        if version > len(known):
            raise StoreError(
                f"{self.path} was written by a newer File Inventory (schema {version}, this one knows {len(known)});"
                " upgrade this one"
            )
        if version == len(known):
            return
        if version:
            self._settle()
            kept = self._home.keep(version)

        def upgrade() -> None:
            for number, name in enumerate(known[version:], start=version + 1):
                self._sql(name)
                self._sql("migrated", version=number)
            for script in self._home.scripts:
                self._sql(script)

        self._whole(upgrade)
        if version:
            self.publish()
            self._home.drop_older(version)
            log.warning(
                "the store was upgraded from schema %d to %d; as it was before, it is kept in %s",
                version,
                len(known),
                kept,
            )

    @property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        if self._open is None:
            self._open = self._home.connect()
            if self._memory_limit:
                self._open.execute("set memory_limit = ?", [f"{self._memory_limit // 2}B"])
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._home.close(self._open)
            self._open = None

    def _whole(self, work: Callable[[], T]) -> T:
        """Write all of it, or nothing, when it is this process's turn."""
        with self._told():
            return self._home.whole(self._connection, work)

    @contextmanager
    def _table(self, name: str, table: pa.Table) -> Iterator[None]:
        connection = self._connection
        with self._told():
            connection.register(name, table)
        try:
            yield
        finally:
            with suppress(duckdb.Error):  # in a transaction that was aborted, nothing can be done any more
                connection.unregister(name)

    def _sql(self, name: str, **params: Any) -> None:
        with self._told():
            for statement in self._connection.extract_statements(_text(name)):
                self._connection.execute(statement, {key: params[key] for key in statement.named_parameters})

    def _row(self, name: str, **params: Any) -> dict[str, Any]:
        """Run one query and return its only row."""
        self._sql(name, **params)
        names = [column[0] for column in self._connection.description or ()]
        with self._told():
            [row] = self._connection.fetchall()
        return dict(zip(names, row, strict=True))

    def _query(self, name: str, **params: Any) -> pa.Table:
        with self._told():
            [statement] = self._connection.extract_statements(_text(name))
            return self._connection.sql(statement, params=params).to_arrow_table()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise StoreError(self._home.told(error)) from None


def open_inventory(config: Config) -> Store:
    """Open the store that a configuration names, for writing; use it in a `with`."""
    return Store(config.store, memory_limit=config.memory_limit)


@cache
def _text(name: str) -> str:
    return resources.files("etl.load").joinpath("sql", f"{name}.sql").read_text()


def _migrations() -> list[str]:
    names = sorted(file.name for file in resources.files("etl.load").joinpath("sql", "migrations").iterdir())
    return [f"migrations/{name.removesuffix('.sql')}" for name in names]


def _configured(config: Config) -> pa.Table:
    return pa.table(
        {
            "name": [credential.name for credential in config.credentials],
            "type": [credential.type for credential in config.credentials],
            "provider": pa.array([credential.file_provider for credential in config.credentials], pa.string()),
            "base_url": [credential.base_url for credential in config.credentials],
            "workspace": pa.array([credential.found_in for credential in config.credentials], pa.string()),
            "labels": [json.dumps(credential.labels, sort_keys=True) for credential in config.credentials],
            "key_fingerprint": pa.array([credential.fingerprint() for credential in config.credentials], pa.string()),
            "stale_after": [credential.stale_after for credential in config.credentials],
            "quota_files": pa.array([credential.quota.files for credential in config.credentials], pa.int64()),
            "quota_bytes": pa.array([credential.quota.bytes for credential in config.credentials], pa.int64()),
        }
    )


def _batch(found: Sequence[tuple[Credential, Listing]]) -> pa.Table:
    """Tell what is to be known of each listing when it is compared."""
    rows = [
        {
            "credential": credential.name,
            "purpose": credential.purpose,
            "few": credential.brake.count,
            "told": [name for name in files.column_names if files[name].null_count < len(files)],
            "files": len(files),
            "observed_at": listing.finished_at,
        }
        for credential, listing in found
        for files in [listing.files]
    ]
    return pa.Table.from_pylist(rows, _BATCH)


_BATCH = pa.schema(
    [
        ("credential", pa.string()),
        ("purpose", pa.string()),
        ("few", pa.int64()),
        ("told", pa.list_(pa.string())),
        ("files", pa.int64()),
        ("observed_at", INSTANT),
    ]
)


def _decisions(started: Started, differences: Sequence[Difference]) -> pa.Table:
    """Tell what is to be known of each listing when it is applied."""
    rows = [
        {
            "credential": one.credential.name,
            "all_new": one.all_new,
            "first": one.baseline,
            "complete": one.listing.status is Verdict.COMPLETE,
            "hold": one.doubt is not None,
            "observed_at": max(one.listing.finished_at, started.started_at),
        }
        for one in differences
    ]
    return pa.Table.from_pylist(rows)


def _listed(listings: Sequence[Listing]) -> pa.Table:
    """Put the records of several listings together, each with its credential, and number them."""
    rows = pa.concat_tables([_LISTED.empty_table(), *(_named(listing) for listing in listings)])
    return rows.append_column("nth", pc.cumulative_sum(pa.repeat(1, len(rows))))


_NAME = pa.dictionary(pa.int8(), pa.string())
_LISTED = pa.schema([pa.field("credential", _NAME), *SCHEMA])


def _named(listing: Listing) -> pa.Table:
    first = pa.repeat(pa.scalar(0, pa.int8()), len(listing.files))
    return listing.files.add_column(0, "credential", pa.DictionaryArray.from_arrays(first, [listing.credential]))


def _present(listings: Sequence[Listing]) -> pa.Table:
    """Name the files that are there although their records cannot be read."""
    found = [(one.credential, bad.file_id) for one in listings for bad in one.rejected if bad.file_id is not None]
    rows = [{"credential": name, "file_id": file_id} for name, file_id in found]
    return pa.Table.from_pylist(rows, pa.schema([("credential", pa.string()), ("file_id", pa.string())]))


def _bad(listings: Sequence[Listing]) -> pa.Table:
    rows = [{"credential": one.credential} | asdict(bad) for one in listings for bad in one.rejected]
    return pa.Table.from_pylist(rows, pa.schema([("credential", pa.string()), *SET_ASIDE]))


def _outcomes(outcomes: Sequence[Outcome]) -> pa.Table:
    kinds = {"str": pa.string(), "str | None": pa.string(), "int": pa.int64(), "datetime": INSTANT}
    schema = pa.schema([(field.name, kinds[str(field.type)]) for field in fields(Outcome)])
    return pa.Table.from_pylist([asdict(outcome) for outcome in outcomes], schema)


def _signed(sign: str, found: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return the fields that came (+) or went (-), of those that did."""
    signed = {name: [field[1:] for field in named if field[0] == sign] for name, named in found.items()}
    return {name: named for name, named in signed.items() if named}


def _outcome(difference: Difference, started: Started, counts: Counter[str]) -> Outcome:
    listing = difference.listing
    if difference.all_new:
        counts["baseline" if difference.baseline else "created"] = len(listing.files)
    held = listing.status is Verdict.COMPLETE and counts["held"] > 0
    new = counts["baseline"] + counts["created"] + counts["restored"]
    return Outcome(
        run_id=started.run_id,
        credential=listing.credential,
        status=Verdict.HELD if held else listing.status,
        reason="brake" if held else listing.reason,
        started_at=max(listing.started_at, started.started_at),
        finished_at=max(listing.finished_at, started.started_at),
        pages=listing.pages,
        requests=listing.requests,
        retries=listing.retries,
        bytes_received=listing.bytes_received,
        records=len(listing.files),
        **{change: counts[change] for change in Change},
        unchanged=len(listing.files) - new - counts["updated"],
        held=counts["held"],
        rejected=len(listing.rejected),
        first_id=listing.first_id,
        last_id=listing.last_id,
        scope=difference.credential.scope(),
        error=(difference.doubt or _STILL_HELD) if held else listing.error,
    )


STRANGE = 5
"""Fewer known files than this may well all be replaced between two listings."""

REJECTED = '{"rejected":'
"""Begins a scope in which a person kept files that were missing."""

_STILL_HELD = "deletions of an earlier listing still wait for a decision"


def _status(outcomes: Sequence[Outcome]) -> str:
    verdicts = {outcome.status for outcome in outcomes}
    if verdicts == {Verdict.COMPLETE}:
        return "complete"
    return "failed" if verdicts.isdisjoint({Verdict.COMPLETE, Verdict.HELD, Verdict.INCOMPLETE}) else "partial"


def _run(started: Started, finished_at: datetime, outcomes: Sequence[Outcome], status: str) -> Run:
    summed = (
        "records",
        *Change,
        "unchanged",
        "held",
        "rejected",
        "pages",
        "requests",
        "retries",
        "bytes_received",
    )
    whole = sum(outcome.status == Verdict.COMPLETE for outcome in outcomes)
    totals = {"credentials": len(outcomes), "complete": whole}
    totals |= {str(name): sum(getattr(outcome, name) for outcome in outcomes) for name in summed}
    return Run(**asdict(started), finished_at=finished_at, status=status, totals=totals, listings=tuple(outcomes))
