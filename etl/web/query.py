"""The SQL of callers, each in a process of its own: it may use so much time and memory, and holds no secret.

DuckDB's memory limit and its interrupt do not reach all that SQL can do (`select range(1_000_000_000)` allocates 8 GB
in one step), so the system keeps the limits; what ends there leaves the service and its writer unharmed.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, cast

import pyarrow as pa

from etl.errors import FileInventoryError, QueryError, StoreError
from etl.places import as_place, told_to_process
from etl.report.inventory import open_published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.config import Serve
    from etl.places import Place

AT_ONCE = 4
"""Queries that run side by side; the next ones wait."""

_ROOM = 400 << 20
"""Bytes that a process needs beside what DuckDB counts."""

_REFUSED, _UNREADABLE = 2, 3
"""Exit statuses of a process that has said in a sentence why not; with the second, the same may be asked again."""

_turns = threading.BoundedSemaphore(AT_ONCE)


class TooManyQueries(QueryError):
    """Others ask already, and went on asking."""


class Query:
    """A process that answers one query; `limited` makes it."""

    def __init__(self, path: Place, serve: Serve) -> None:
        self._limits = {"path": told_to_process(path), "memory": serve.query_memory, "seconds": serve.query_timeout}
        self._fate: str | None = None
        kept = {name: os.environ[name] for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ}
        pipe = subprocess.PIPE
        command = [sys.executable, "-P", "-m", "etl.web.query"]
        self._process = subprocess.Popen(command, env=kept, stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603 - our own

    def query(self, sql: str, /, **params: Any) -> pa.RecordBatchReader:
        """Run one SQL text and stream its result; parameters are what JSON can say.

        Raises:
            QueryError: It is refused, took too long or too much; also later, while the result is read.
            StoreError: The inventory cannot be read any more; also later.
        """
        try:
            with self._pipe("stdin") as asked:
                asked.write(json.dumps(self._limits | {"sql": sql, "params": params}).encode())
            stream = pa.ipc.open_stream(self._pipe("stdout"))
        except (pa.ArrowException, OSError):
            raise self._fault() from None
        return pa.RecordBatchReader.from_batches(stream.schema, self._batches(stream))

    def end(self, why: str = "the query was ended, since nobody waited for it") -> None:
        """End the query at once; for another thread than the one that reads."""
        self._fate = self._fate or why
        self._process.kill()

    def close(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        with self._process:  # closes the pipes and waits
            pass

    def _pipe(self, name: str) -> IO[bytes]:
        return cast("IO[bytes]", getattr(self._process, name))

    def _batches(self, stream: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
        """Pass the batches on; a stream that merely stops is no whole result."""
        try:
            yield from stream
        except (pa.ArrowException, OSError):
            raise self._fault() from None
        if self._process.wait():
            raise self._fault()

    def _fault(self) -> QueryError | StoreError:
        said = self._pipe("stderr").read().decode(errors="replace").strip()
        status = self._process.wait()
        if status == _UNREADABLE:
            return StoreError(said)
        told = status == _REFUSED and not said.startswith("Out of Memory")
        needed = f"the query needs more than {self._limits['memory']} of memory; ask for less, or aggregate first"
        return QueryError(self._fate or (said if told else needed))


@contextmanager
def limited(path: Place, serve: Serve) -> Iterator[Query]:
    """Give a turn to run one query within the limits of `serve`.

    Raises:
        TooManyQueries: No turn came within `serve.query_timeout`.
        StoreError: Nothing has been published.
    """
    if not _turns.acquire(timeout=serve.query_timeout):
        raise TooManyQueries(f"{AT_ONCE} queries are running, and none ended soon enough; ask again in a moment")
    try:
        with open_published(path):
            query = Query(path, serve)
        late = f"the query took longer than {serve.query_timeout:g} s and was ended; ask for less, or aggregate first"
        timer = threading.Timer(serve.query_timeout, query.end, [late])
        timer.start()
        try:
            yield query
        finally:
            timer.cancel()
            query.close()
    finally:
        _turns.release()


def main() -> None:
    """Read a query from standard input and write its result, as an Arrow stream, to standard output."""
    asked = json.load(sys.stdin)
    memory, seconds = _bytes(asked["memory"]) + _ROOM, int(asked["seconds"]) + 1
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (2 * seconds, 2 * seconds))  # should nobody be left to end it
    try:
        _answer(asked)
    except (FileInventoryError, pa.ArrowException, OSError) as error:
        sys.stderr.write(_sentence(error))
        sys.exit(_UNREADABLE if isinstance(error, StoreError) else _REFUSED)


def _answer(asked: dict[str, Any]) -> None:
    limits = {"memory_limit": asked["memory"], "threads": 2, "temp_directory": ""}
    with open_published(as_place(asked["path"]), **limits) as inventory:
        result = inventory.query(asked["sql"], **asked["params"])
        with pa.ipc.new_stream(sys.stdout.buffer, result.schema) as sink:
            for batch in result:
                sink.write_batch(batch)


def _bytes(memory: str) -> int:
    number, unit = cast("re.Match[str]", re.fullmatch(r"([\d.]+)\s*([KMGT]).*", memory.strip().upper())).groups()
    return int(float(number) * 1024 ** (1 + "KMGT".index(unit)))


def _sentence(error: Exception) -> str:
    """Say what is wrong without DuckDB's advice on settings, which a caller cannot change."""
    return str(error).split("\nPossible solutions", maxsplit=1)[0].split("\n\nStack Trace", maxsplit=1)[0][:10_000]


if __name__ == "__main__":
    main()
