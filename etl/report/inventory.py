"""Read the published database: SQL that can only look, and the standing questions."""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import duckdb

from etl.errors import ConfigError, NothingPublished, QueryError, StoreError, nearest
from etl.load.home import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from etl.load.embedded import Copy
    from etl.load.lake import Snapshot
    from etl.places import Place

TABLES = (
    "credentials",
    "runs",
    "listings",
    "files",
    "file_changes",
    "change_totals",
    "held_deletions",
    "rejected_records",
    "rule_results",
)
"""What `export` writes."""


@dataclass(frozen=True)
class Inventory:
    """The published database, open for reading."""

    connection: duckdb.DuckDBPyConnection
    lost: Callable[[Exception], StoreError | None] = lambda _: None
    """Tells where it was not the SQL that went wrong."""
    copy: tuple[int, int] | None = None
    """Which of the copies that are published one after another it is, where that is known."""
    guard: Callable[[str], None] = lambda _: None
    """Raises QueryError where SQL does more than look."""

    def query(self, sql: str, /, **params: Any) -> pa.RecordBatchReader:
        """Run SQL and stream its result.

        Raises:
            QueryError: DuckDB refuses it, or cannot go on with it; also later, while the result is read.
            StoreError: The inventory cannot be read any more; also later.
        """
        self.guard(sql)
        return self._query(sql, **params)

    def _query(self, sql: str, /, **params: Any) -> pa.RecordBatchReader:
        import pyarrow as pa  # noqa: PLC0415 - slow

        with self._told():
            relation = self.connection.sql(sql, params=params or None)
            if relation is None:
                raise QueryError("the SQL returns no rows; write a select")
            batches = relation.to_arrow_reader(10_000)
        return pa.RecordBatchReader.from_batches(batches.schema, self._batches(batches))

    def _batches(self, batches: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        with self._told():
            yield from batches

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say in a sentence what DuckDB says; Arrow passes it on as an OSError."""
        try:
            yield
        except (duckdb.Error, OSError) as error:
            raise self.lost(error) or QueryError(_without_advice(str(error))) from None

    def ask(self, question: str, /, **params: Any) -> pa.RecordBatchReader:
        """Ask a standing question, the name of a file in `sql/`."""
        with self._known():
            return self._query(_text(question), **params)

    def make(self, script: str, /, **params: Any) -> None:
        """Run a script of `sql/` that makes what later questions read."""
        with self._known(), self._told():
            for statement in self.connection.extract_statements(_text(script)):
                self.connection.execute(statement, {name: params[name] for name in statement.named_parameters})

    @contextmanager
    def _known(self) -> Iterator[None]:
        """Say in a sentence that a standing question asks for what an older version did not keep."""
        try:
            yield
        except QueryError as error:
            if not str(error).startswith(("Catalog Error", "Binder Error")):
                raise
            raise StoreError(_OLDER) from None

    def expect_credential(self, name: str) -> None:
        """Raise ConfigError, with the nearest name, where no credential of that name was ever configured."""
        names = self.query("select name from credentials").read_all()["name"].to_pylist()
        if name not in names:
            raise ConfigError(f"the inventory has no credential {name}{nearest(name, names)}")


@contextmanager
def open_published(place: str | Place, as_of: datetime | None = None, **limits: str | int) -> Iterator[Inventory]:
    """Open the published database: no writing, no other files, no extensions, no settings.

    Args:
        place: The published database, or a lake. What is published later is seen by those who open it later.
        as_of: Show every table and view as it was then; `inventory.files` and so on are still those of now.
        limits: Settings of DuckDB for this reader, such as memory_limit and threads.

    Raises:
        NothingPublished: No run has published anything there yet.
        StoreError: It cannot be opened.
        ConfigError: Nothing was known yet at that time.
    """
    published = _shown(place)
    with published.connect(**limits) as connection:
        connection.execute("set timezone = 'UTC'")
        if as_of is not None:
            inventory = Inventory(connection, published.lost)
            _expect_known(inventory, as_of)
            inventory.make("as_of", as_of=as_of)
        yield Inventory(connection, published.lost, guard=published.seal(connection))


def _shown(place: str | Place) -> Copy | Snapshot:
    return shown(Path(place) if isinstance(place, str) else place)


def published_at(place: Place) -> datetime:
    """Tell when the inventory was published; StoreError where it was not."""
    return shown(place).published_at()


def edition(place: Place) -> tuple[int, int] | None:
    """Tell one published inventory from another; None where there is none, StoreError where that cannot be told."""
    with suppress(NothingPublished):
        return shown(place).version()
    return None


def _expect_known(inventory: Inventory, moment: datetime) -> None:
    [first] = inventory.query("select min(finished_at) as first from runs").read_all()["first"].to_pylist()
    if first is None or moment < first:
        known = f"; the first run ended at {first:%Y-%m-%d %H:%M:%S}Z" if first else ""
        raise ConfigError(f"nothing was known at {moment:%Y-%m-%d %H:%M:%S}Z{known}")


class Published:
    """The published database for many readers at once: one instance of DuckDB for each copy, cursors for readers.

    Only for standing questions: a reader's settings are not locked.
    """

    def __init__(self, place: Place, **limits: str | int) -> None:
        self._shown = shown(place)
        self._limits = limits
        self._lock = Lock()
        self._kept: tuple[tuple[int, int], duckdb.DuckDBPyConnection] | None = None

    @contextmanager
    def open(self) -> Iterator[Inventory]:
        """Read the copy that is published now, to the end, whatever is published meanwhile; StoreError without one."""
        copy, connection = self._current()
        try:
            with connection as cursor:
                cursor.execute("use inventory; set timezone = 'UTC'; set enable_progress_bar = false")
                yield Inventory(cursor, self._shown.lost, copy)
        except StoreError:
            self._kept = None  # what cannot be read any more is opened anew by the next
            raise

    def _current(self) -> tuple[tuple[int, int], duckdb.DuckDBPyConnection]:
        with self._lock:
            copy = self._shown.version()
            if self._kept is None or self._kept[0] != copy:
                connection = self._shown.connect(**self._limits)
                self._shown.shut(connection)
                self._kept = copy, connection  # the one before closes with its last reader
            return copy, self._kept[1].cursor()


_OLDER = "what is published was written by an older File Inventory; run: file-inventory sync"

MONTHS = {"files": "created_at", "file_changes": "observed_at", "listings": "started_at"}
"""Tables that may be exported by credential and month, and the month of what."""


def export(place: str | Place, folder: str | Path, kind: str, *, partitioned: bool = False) -> list[Path]:
    """Write every table of the published database into a folder.

    Args:
        place: The published database, or a lake.
        folder: Made if need be; each table in it is replaced once it is written whole.
        kind: parquet or csv.
        partitioned: Write the tables that grow as `TABLE/credential=NAME/month=2026-11/*`, as Hive does; a month that
            is not known is `unknown`.

    Returns:
        The files and folders written.

    Raises:
        StoreError: Nothing is published, or the folder cannot be written to.
    """
    folder, published = Path(folder), _shown(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with published.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            return [_export(connection.table(name), name, folder, kind, partitioned=partitioned) for name in TABLES]
    except (OSError, duckdb.Error) as error:
        raise published.lost(error) or StoreError(f"{folder}: cannot be written to: {error}") from None


def _export(table: duckdb.DuckDBPyRelation, name: str, folder: Path, kind: str, *, partitioned: bool) -> Path:
    partitioned = partitioned and name in MONTHS
    if partitioned:
        table = table.project(f"*, coalesce(strftime({MONTHS[name]}, '%Y-%m'), 'unknown') as month")
    columns = ["credential", "month"] if partitioned else None
    target = folder / (name if partitioned else f"{name}.{kind}")
    fresh = folder / f".{target.name}.fresh"
    _remove(fresh)
    try:
        write = table.write_parquet if kind == "parquet" else table.write_csv
        write(str(fresh), partition_by=columns, write_partition_columns=partitioned or None)
        _remove(target)
        fresh.replace(target)
    finally:
        _remove(fresh)
    return target


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def moment(text: str, now: datetime | None = None) -> datetime:
    """Read `24h`, `7d` as so long ago, or a date or time (UTC unless it says otherwise)."""
    if match := re.fullmatch(r"(\d+)\s*([smhdw])", text.strip()):
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}[match[2]]
        with suppress(OverflowError):
            return (now or datetime.now(UTC)) - timedelta(**{unit: int(match[1])})
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text} is no time; write how long ago (24h, 7d) or when (2026-11-23)") from None
    return read if read.tzinfo else read.replace(tzinfo=UTC)


@cache
def _text(name: str) -> str:
    return resources.files("etl.report").joinpath("sql", f"{name}.sql").read_text()


def _without_advice(message: str) -> str:
    """Keep what DuckDB says is wrong and where; drop its stack traces."""
    return message.split("\n\nStack Trace", maxsplit=1)[0].strip()
