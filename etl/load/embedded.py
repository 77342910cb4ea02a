"""The store as a database file: one writer, and a copy for readers after each run."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, TypeVar

import duckdb

from etl.errors import NothingPublished, StoreBusy, StoreError
from etl.load.alone import Alone
from etl.load.home import mended, whole
from etl.load.keep import drop_older, keep, kept_at
from etl.load.publish import publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")

_ATTACH = "attach '{path}' as store (storage_version 'v1.4.0', row_group_size 30720); use store"
"""Written for readers from DuckDB 1.4 on; small row groups let both cores write, and reads skip more.

With `_READ` the one SQL text with a value in it: DuckDB takes no parameter here.
"""

_READ = "attach '{path}' as inventory (read_only); use inventory"
"""Attached to a database of its own, since DuckDB gives the second who opens a file in one process the instance of the
first: its settings, and its copy, though another one was published since.
"""

_SEAL = """
set enable_progress_bar = false;
set python_enable_replacements = false;
set temp_directory = '';
set enable_external_access = false;
set disabled_filesystems = 'LocalFileSystem';
set lock_configuration = true;
"""
"""Without external access DuckDB still reads and writes beside what is attached (its WAL) and in its temp directory:
so nothing spills there, and no file at all is opened any more.
"""


class Embedded:
    """The writer's database, `NAME.writer.duckdb` beside what is published."""

    scripts: tuple[str, ...] = ("comments", "comments_of_views")
    """What is run after an upgrade."""
    closing: tuple[str, ...] = ("checkpoint",)
    """What is run before the database is closed to be copied."""
    checks: tuple[str, ...] = ()
    """What is asked at the end of a run, to be sure."""
    upkeep: tuple[str, ...] = ()
    """What is run from time to time."""
    upkeep_every = inf
    keeps = 0.0

    def __init__(self, published: Path) -> None:
        self.published = published
        self.path = published.with_suffix(f".writer{published.suffix}")
        self.keeper = Alone(self.path.with_suffix(".lock"))

    def connect(self) -> duckdb.DuckDBPyConnection:
        """Open the writer's database; make it if need be."""
        return _connect(self.path, self.published)

    def whole(self, connection: duckdb.DuckDBPyConnection, work: Callable[[], T]) -> T:
        """Do all of it in one transaction, or nothing."""
        return whole(connection, work, self.keeper.expect)

    def told(self, error: duckdb.Error) -> str:
        """Say what went wrong, and how it is mended where that is known."""
        return f"{self.path} cannot be read or written: {_told(error, self.path, self.published)}"

    def close(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Close the database, so that it can be copied."""
        connection.close()

    def publish(self) -> None:
        """Copy the database, which must be closed, to where readers open it."""
        try:
            publish(self.path, self.published)
        except OSError as error:
            raise StoreError(f"{self.published}: the inventory cannot be published there: {error.strerror}") from None

    def keep(self, version: int) -> str:
        """Keep a copy of the database, which must be closed, as it is; return where that is."""
        kept = kept_at(self.published, version)
        keep(self.path, kept)
        return str(kept)

    def drop_older(self, version: int) -> None:
        """Remove what was kept before earlier upgrades."""
        drop_older(self.published, version)


class Copy:
    """The copy that is published."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def version(self) -> tuple[int, int]:
        """Tell one published copy from another; NothingPublished where there is none."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            raise NothingPublished(f"{self._path}: {NOTHING}") from None
        except OSError as error:
            raise StoreError(f"{self._path} cannot be opened: {error.strerror}") from None
        return status.st_ino, status.st_mtime_ns

    def published_at(self) -> datetime:
        """Tell when it was published; NothingPublished where nothing is."""
        return datetime.fromtimestamp(self.version()[1] / 1e9, UTC)

    def connect(self, **limits: str | int) -> duckdb.DuckDBPyConnection:
        """Open it, attached as `inventory`."""
        self.version()
        connection = duckdb.connect(config={"temp_directory": f"{self._path}.tmp", **limits})
        try:
            connection.execute(_READ.format(path=str(self._path).replace("'", "''")))
        except duckdb.Error as error:
            connection.close()
            raise StoreError(f"{self._path} cannot be opened: {str(error).splitlines()[0]}") from None
        return connection

    def shut(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Let nothing else be opened from now on."""
        connection.execute("set python_enable_replacements = false; set enable_external_access = false")

    def seal(self, connection: duckdb.DuckDBPyConnection) -> Callable[[str], None]:
        """Let what is asked from now on do nothing but look, whatever the SQL; return what refuses SQL."""
        connection.execute(_SEAL)
        return lambda _: None

    def lost(self, _error: Exception) -> StoreError | None:
        """Say where something else went wrong than what was asked, which is not looked for in a file."""
        return None


NOTHING = "nothing is published there yet; run: file-inventory sync"


def _connect(path: Path, published: Path) -> duckdb.DuckDBPyConnection:
    try:
        connection = duckdb.connect(config={"temp_directory": f"{path}.tmp"})
        if not path.exists():
            _create(connection, path)
        connection.execute(_attach(path))
    except (duckdb.Error, OSError) as error:
        if holder := re.search(r"lock is held in (.+?) \(PID (\d+)\)", str(error)):
            raise StoreBusy(f"{path} is open in {holder[1]} (process {holder[2]}); close it there first") from None
        raise StoreError(f"{path} cannot be opened: {_told(error, path, published)}") from None
    connection.execute("set timezone = 'UTC'; set enable_progress_bar = false; set preserve_insertion_order = false")
    return connection


def _create(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Make an empty store in one step: half of one could never be opened."""
    fresh = path.with_name(f".{path.name}.fresh")
    fresh.unlink(missing_ok=True)
    connection.execute(_attach(fresh))
    connection.execute("use memory; detach store")
    fresh.replace(path)


def _attach(path: Path) -> str:
    return _ATTACH.format(path=str(path).replace("'", "''"))


_DAMAGED = re.compile("not a valid DuckDB database|Could not read enough bytes|[Cc]orrupt")


def _told(error: duckdb.Error | OSError, path: Path, published: Path) -> str:
    """Say what went wrong with the store, and how it is mended where that is known."""
    told = mended(str(error).splitlines()[0])
    if not _DAMAGED.search(told):
        return told
    if not published.exists():
        return f"{told}; move it away, and the next run begins anew"
    last, store, log = (shlex.quote(str(place)) for place in (published, path, f"{path}.wal"))
    back = f"rm -f {store} {log} && cp {last} {store} && chmod u+w {store}"
    return f"{told}; go back to what was published last: {back}"
