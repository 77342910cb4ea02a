"""Run the command line in processes that die when told to: `python dying.py` reads an order a line, as JSON.

Every process is a fork of this one, which has imported everything, so that it begins at once. An order says which
arguments to run, and `at`: the point before which the process kills itself, counted from 1, or `before`: its name; or
`after`: so many seconds after its start it is sent `signal`; and `limit`: no file may grow beyond so many bytes. The
answer, a line of JSON, has the status of the process (below 0: the signal that ended it), what it printed, and the
points that it came to.
"""

import importlib
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from etl.cli import main
from etl.load import embedded

LONGEST = 60
"""Seconds that a process may take."""


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
    """Make a point of every statement, commit, close, copy, sync, removal and rename."""
    connect = embedded._connect
    embedded._connect = lambda *places: Connection(connect(*places), point)  # type: ignore[assignment]

    def before(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*args: Any, **more: Any) -> Any:
            point(name)
            return real(*args, **more)

        setattr(owner, name, call)

    for owner, name in ((shutil, "copyfile"), (os, "fsync"), (Path, "chmod"), (Path, "unlink"), (Path, "replace")):
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
            os.kill(process, order["signal"])
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
