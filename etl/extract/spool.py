"""The records of one listing as they come: in memory, and where they take too much of it, in a file."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, Self

import duckdb
import pyarrow as pa
import pyarrow.ipc

from etl.errors import NoRoom
from etl.transform.record import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SHARE = 8
"""A listing keeps this part of the memory limit to itself, and so does the count of its ids."""


_MANY = 50_000


class Spool:
    """Batches in `SCHEMA`, in the order they came; a context manager, which tables taken from it outlive.

    Args:
        folder: Where the file is made, which has no name there: it goes with the process, however that ends.
        memory_limit: Bytes that the whole process should take; None keeps all in memory.
    """

    def __init__(self, folder: Path | None = None, memory_limit: int | None = None) -> None:
        self._folder = folder
        self._limit = memory_limit
        self._kept: list[pa.RecordBatch] = []
        self._size = 0
        self._file: IO[bytes] | None = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            with suppress(OSError):  # what is not on the disk yet is wanted by nobody
                self._file.close()

    def append(self, batch: pa.RecordBatch) -> None:
        """Take a batch in; NoRoom where it cannot be kept, and then all is dropped."""
        self._kept.append(batch)
        self._size += batch.nbytes
        if self._limit and self._size > self._limit / _SHARE:
            try:
                self._spill()
            except OSError as error:
                self.__exit__()
                self._kept, self._size, self._file = [], 0, None
                raise NoRoom(f"its records do not fit beside the store: {error.strerror}; make room there") from None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        yield from self.table().to_batches()

    def table(self) -> pa.Table:
        """Return all that was taken in; what lies in the file is mapped, not read."""
        kept = pa.Table.from_batches(self._kept, SCHEMA)
        if self._file is None:
            return kept
        with pa.ipc.open_stream(pa.memory_map(f"/dev/fd/{self._file.fileno()}")) as stream:
            return pa.concat_tables([stream.read_all(), kept])

    def is_distinct(self) -> bool:
        """Tell whether certainly no file_id comes twice; of many, DuckDB counts several times as fast as a set."""
        ids = self.table().select(["file_id"])
        if len(ids) < _MANY:
            return len(set(ids["file_id"].to_pylist())) == len(ids)
        with duckdb.connect() as connection:
            if self._limit:
                connection.execute("set memory_limit = ?", [f"{self._limit // _SHARE}B"])
                connection.execute("set temp_directory = ?", [str(self._folder or tempfile.gettempdir())])
            [(found,)] = connection.from_arrow(ids).aggregate("count(distinct hash(file_id))").fetchall()
        return bool(found == len(ids))

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed in __exit__
            self._stream = pa.ipc.new_stream(self._file, SCHEMA)
        for batch in self._kept:
            self._stream.write_batch(batch)
        self._file.flush()
        self._kept.clear()
        self._size = 0
