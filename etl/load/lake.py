"""The store as a DuckLake: Parquet files, and a catalogue of them that many hosts write to and read."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from contextlib import closing, contextmanager, suppress
from ctypes import py_object, pythonapi
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from etl.errors import ConfigError, NothingPublished, StoreError, redact
from etl.load.alone import Alone
from etl.load.embedded import NOTHING
from etl.load.guard import Guard
from etl.load.home import mended, whole

try:
    import psycopg
    from psycopg.conninfo import make_conninfo

    from etl.load.leases import Leases, connect, reaching
except ImportError:
    raise ConfigError("a store on DuckLake needs more; run: pip install 'llm-file-inventory[lake]'") from None

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etl.places import Lake

T = TypeVar("T")

_WITH_TABLES = 2
"""The snapshot that has all tables; the first is empty, the second has the one that tells which are there."""

_TRIES = 5
"""Of a commit that met another one, which the lock around commits leaves to those who write without asking for it."""


_SETTINGS = """
set ducklake_max_retry_count = 0;
set timezone = 'UTC';
set enable_progress_bar = false;
set preserve_insertion_order = false;
"""

_SHUT = """
set python_enable_replacements = false;
set allowed_directories = [{folder}];
set enable_external_access = false;
"""


class InLake:
    """The lake, for writing: each transaction is refused where another one was committed since it began."""

    scripts: tuple[str, ...] = ("comments", "partitions")
    closing: tuple[str, ...] = ()
    checks: tuple[str, ...] = ("sound",)
    upkeep: tuple[str, ...] = ("upkeep",)

    def __init__(self, lake: Lake) -> None:
        self.path = lake
        self.upkeep_every = lake.ducklake.upkeep.every
        self.keeps = lake.ducklake.upkeep.keep_snapshots
        self.keeper = Leases(lake) if lake.url else Alone(lake.catalog.with_suffix(".lock"))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Attach the lake; make it if need be."""
        connection = _open(self.path)
        _attach(self.path, connection, "store")
        connection.execute(_SETTINGS)
        connection.execute("set temp_directory = ?", [f"{tempfile.gettempdir()}/file-inventory-{os.getpid()}.tmp"])
        return connection

    def whole(self, connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
        """Do all of it in one transaction when it is this process's turn, or nothing."""

        def expect() -> None:
            connection.execute("select count(*) from schema_versions")  # the transaction reads what is there now ...
            self.keeper.expect()  # ... and what is ours still is, so that nobody wrote to that before

        retrying = Retrying(
            retry=retry_if_exception(_conflicts), stop=stop_after_attempt(_TRIES), wait=wait_random(0, 1), reraise=True
        )
        with self.keeper.turn():
            for attempt in retrying:
                with attempt:
                    done = whole(connection, work, expect)
        return done

    def told(self, error: duckdb.Error) -> str:
        """Say what went wrong, without secrets."""
        return f"{self.path} cannot be read or written: {_told(error, self.path)}"

    def close(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let go of the lake.

        Where its catalogue went away in the middle of a statement, DuckDB may call all that it has open invalid;
        closing that would end the process, so it stays as it is.
        """
        with suppress(duckdb.Error):
            try:
                connection.execute("select 1")
            except duckdb.FatalException:
                pythonapi.Py_IncRef(py_object(connection))
                return
        connection.close()

    def publish(self) -> None:
        """Every commit is there for readers."""

    def keep(self, version: int) -> str:
        """Return where the lake as it was before an upgrade can still be read."""
        return f"its snapshots, with schema {version}"

    def drop_older(self, version: int) -> None:
        """Upkeep removes old snapshots."""


class Snapshot:
    """The newest snapshot of a lake, for reading: whoever opens it stays on it."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake

    def version(self) -> tuple[int, int]:
        """Tell one snapshot from another; NothingPublished where there is none."""
        return self._newest()[0], 0

    def published_at(self) -> datetime:
        """Tell when it was committed; NothingPublished where nothing was."""
        return self._newest()[1]

    def connect(self, **limits: str | int) -> duckdb.DuckDBPyConnection:
        """Attach it as `inventory`."""
        snapshot, _ = self._newest()
        connection = _open(self._lake, **limits)
        _attach(self._lake, connection, "lake", f"read_only, snapshot_version {snapshot}")
        with self._read():
            connection.execute("attach ':memory:' as inventory; use inventory")
            for (statement,) in connection.execute(_script("shown")).fetchall():
                connection.execute(statement)
        return connection

    def lost(self, error: Exception) -> StoreError | None:
        """Say where something else went wrong than what was asked: the catalogue was lost, or a file."""
        return self._unreadable(error) if _LOST.search(str(error)) else None

    def shut(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let nothing but the lake's own files be opened from now on."""
        connection.execute(_SHUT.format(folder=_quoted(self._lake.data_path)))

    def seal(self, connection: duckdb.DuckDBPyConnection) -> Callable[[str], None]:
        """Let what is asked from now on do nothing but look; return what refuses SQL that would do more."""
        with self._read():
            guard = Guard(connection)
            connection.execute("set enable_progress_bar = false; set temp_directory = ''")
            self.shut(connection)
            connection.execute("set lock_configuration = true")
        return guard

    def _newest(self) -> tuple[int, datetime]:
        try:
            found = _in_postgres(self._lake) if self._lake.url else _in_file(self._lake)
        except (psycopg.Error, sqlite3.Error) as error:
            raise self._unreadable(error) from None
        if not found or found[0] < _WITH_TABLES:
            raise NothingPublished(f"{self._lake}: {NOTHING}")
        return found

    @contextmanager
    def _read(self) -> Iterator[None]:
        try:
            yield
        except duckdb.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> StoreError:
        return StoreError(f"{self._lake} cannot be read: {_told(error, self._lake)}")


def _in_postgres(lake: Lake) -> tuple[int, datetime] | None:
    found: tuple[int, datetime] | None = None
    with closing(connect(lake)) as session, suppress(psycopg.errors.UndefinedTable):
        found = session.execute(_script("catalog/snapshot")).fetchone()
    return found


def _in_file(lake: Lake) -> tuple[int, datetime] | None:
    if not lake.catalog.exists():
        return None
    with closing(sqlite3.connect(f"{lake.catalog.absolute().as_uri()}?mode=ro", uri=True)) as catalog:
        if not catalog.execute("select 1 from sqlite_master where name = 'ducklake_snapshot'").fetchone():
            return None
        snapshot, at = catalog.execute(_script("catalog/snapshot")).fetchone()
    return snapshot, datetime.fromisoformat(at).astimezone(UTC)


def _script(name: str) -> str:
    return resources.files("etl.load").joinpath("sql", f"{name}.sql").read_text()


_FROM_POSTGRES = re.compile(
    r'(?:Failed to execute query ".*": ERROR:\s+|Unable to connect to Postgres at ".*": )([^\n]+)', re.DOTALL
)
_FROM_CATALOG = re.compile(r"Failed to (?:commit|flush|execute|prepare|describe).*: (\w[^\n]+)", re.DOTALL)
_CONFLICT = re.compile("duplicate key|UNIQUE constraint|[Cc]onflict|database is locked")
_LOST = re.compile(
    "from DuckLake|DuckLake transaction|Failed to (?:execute|prepare)|Unable to connect|server closed the connection"
    "|terminating connection|consuming input failed|unsuccessful query result|transaction is aborted"
    "|INTERNAL Error|database has been invalidated"
)
"""What DuckDB says, in many ways, where a catalogue went away."""


def _conflicts(error: BaseException) -> bool:
    return isinstance(error, duckdb.TransactionException) and bool(_CONFLICT.search(_cause(error)))


def _told(error: Exception, lake: Lake) -> str:
    cause = _cause(error)
    told = mended(cause)
    if told == cause and _LOST.search(str(error)):
        told = f"{cause}; try again once its catalogue can be reached"
    return redact(told, lake.secrets())


def _cause(error: BaseException) -> str:
    """Return what went wrong in one line; where the catalogue said it, that stands after all of the SQL for it."""
    text = str(error).strip()
    said = _FROM_POSTGRES.search(text) or _FROM_CATALOG.search(text)
    return said[1] if said else text.splitlines()[0]


def _open(lake: Lake, **limits: Any) -> duckdb.DuckDBPyConnection:
    """Open a database in memory that knows how to reach the lake."""
    connection = duckdb.connect(config=limits)
    try:
        for extension in _needed(lake):
            connection.execute(f"load {_quoted(_packaged(extension))}")
        for secret in _secrets(lake):
            connection.execute(secret)
    except duckdb.Error as error:
        connection.close()
        raise StoreError(f"{lake} cannot be opened: {_told(error, lake)}") from None
    return connection


def _attach(lake: Lake, connection: duckdb.DuckDBPyConnection, name: str, options: str = "") -> None:
    try:
        connection.execute(f"attach 'ducklake:lake' as {name} {f'({options})' if options else ''}; use {name}")
    except duckdb.Error as error:
        connection.close()
        raise StoreError(f"{lake} cannot be opened: {_told(error, lake)}") from None


def _needed(lake: Lake) -> Iterator[str]:
    yield "ducklake"
    yield "postgres_scanner" if lake.url else "sqlite_scanner"
    if lake.data_path.startswith("s3://"):
        yield "httpfs"


def _packaged(extension: str) -> str:
    """Return the path of an extension that is installed as a package; else the name by which DuckDB knows its own."""
    try:
        folder = resources.files(f"duckdb_extension_{extension}")
    except ModuleNotFoundError:
        return extension
    return str(folder.joinpath("extensions", f"v{duckdb.__version__}", f"{extension}.duckdb_extension"))


def _secrets(lake: Lake) -> Iterator[str]:
    """Yield what tells DuckDB how to reach the lake: what it is told this way, it shows to nobody."""
    options = {"data_path": lake.data_path, "metadata_path": f"sqlite:{lake.catalog.absolute()}"}
    how = ""
    if lake.url:
        known = reaching(lake)
        named = {"host": "host", "port": "port", "user": "user", "password": "password", "dbname": "database"}
        yield _secret("catalog", "postgres", {named[key]: value for key, value in known.items() if key in named})
        options["metadata_path"] = make_conninfo(**{key: value for key, value in known.items() if key not in named})
        how = ", metadata_parameters map {'TYPE': 'postgres', 'SECRET': 'catalog'}"
    yield _secret("lake", "ducklake", options, how)
    if settings := lake.ducklake.s3:
        yield _secret("files", "s3", settings.revealed())


def _secret(name: str, kind: str, options: dict[str, Any], more: str = "") -> str:
    told = "".join(f", {key} {_quoted(str(value))}" for key, value in options.items())
    return f"create secret {name} (type {kind}{told}{more})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
