"""Commands in processes that die when told to; as a program, what makes them.

Every process is a fork of one that has imported everything, so that it begins at once.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from etl.cli import main
from etl.load.embedded import Embedded

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

LONGEST = 60
"""Seconds that a process may take."""


@dataclass(frozen=True)
class Ended:
    """What became of a process."""

    status: int
    """Its exit status; below 0 the signal that ended it."""
    took: float
    """Seconds."""
    out: str
    err: str
    points: str
    """What it came to at which it could have been killed, each on a line."""


class Runner:
    """Starts commands that end when told to; a context manager."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def __enter__(self) -> Self:
        pipe = subprocess.PIPE
        environment = self._environment | {
            name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ
        }
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=pipe, stdout=pipe, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, *arguments: str, **order: Any) -> Ended:
        """Run a command to its end.

        `at` kills it before that point, counted from 1, `before` before the first point of that name; `after` sends it
        `signal` when so many seconds have passed; `limit` is the largest file in bytes that it may write;
        `environment` is added to its own.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"arguments": arguments} | order) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


class Connection:
    """A connection to the store whose every statement is a point to die at."""

    def __init__(self, real: duckdb.DuckDBPyConnection, point: Callable[[str], None]) -> None:
        self._real = real
        self._point = point

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, statement: Any, *params: Any) -> Any:
        words = " ".join((statement if isinstance(statement, str) else statement.query).split()[:3])
        self._point(f"statement: {words}")
        return self._real.execute(statement, *params)

    def commit(self) -> None:
        self._point("commit")
        self._real.commit()
        self._point("after commit")

    def close(self) -> None:
        self._point("close")
        self._real.close()
        self._point("after close")


def watch(point: Callable[[str], None]) -> None:
    """Make a point of every statement, commit, close, copy, sync, removal and rename, and of all that takes a lease."""
    homes: list[Any] = [Embedded]
    steps: list[tuple[Any, str]] = [
        (shutil, "copyfile"),
        (os, "fsync"),
        (Path, "chmod"),
        (Path, "unlink"),
        (Path, "replace"),
    ]
    if find_spec("duckdb_extension_ducklake"):
        homes.append(importlib.import_module("etl.load.lake").InLake)
        steps.append((importlib.import_module("psycopg").Connection, "execute"))
    for kind in homes:
        kind.connect = lambda home, connect=kind.connect: Connection(connect(home), point)

    def before(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **more: Any) -> Any:
            point(name)
            return real(*args, **more)

        setattr(owner, name, call)

    for owner, name in steps:
        before(owner, name)


def run(order: dict[str, Any], told: Path) -> None:
    """Be the process: run, and never return."""
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(told / name, os.O_WRONLY | os.O_CREAT, 0o600), number)
    points = os.open(told / "points", os.O_WRONLY | os.O_CREAT, 0o600)
    count = 0

    def point(name: str) -> None:
        nonlocal count
        count += 1
        os.write(points, f"{name}\n".encode())
        if count == order.get("at") or name == order.get("before"):
            os.kill(os.getpid(), signal.SIGKILL)

    os.environ.update(order.get("environment", {}))
    watch(point)
    if "limit" in order:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
    status = 0
    try:
        main(order["arguments"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001 - whatever it is, it is told
        traceback.print_exc()
        status = 70
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def carry_out(order: dict[str, Any]) -> dict[str, Any]:
    """Start the process, end it as ordered, and say what became of it."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder)
        started = time.monotonic()
        process = os.fork()
        if process == 0:
            run(order, told)
        if "after" in order:
            time.sleep(order["after"])
            os.kill(process, order.get("signal", signal.SIGKILL))
        status = waited(process)
        took = time.monotonic() - started
        text = {name: (told / name).read_text() for name in ("out", "err", "points") if (told / name).exists()}
        return {"status": status, "took": took, "out": "", "err": "", "points": ""} | text


def waited(process: int) -> int:
    """Return the exit status; kill what takes too long."""
    deadline = time.monotonic() + LONGEST
    while time.monotonic() < deadline:
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    raise TimeoutError(f"the process took longer than {LONGEST} s")


if __name__ == "__main__":
    for module in ("sync", "extract.fetch", "extract.discovery", "report.progress", "transform.normalise"):
        importlib.import_module(f"etl.{module}")
    for line in sys.stdin:
        sys.stdout.write(json.dumps(carry_out(json.loads(line))) + "\n")
        sys.stdout.flush()
