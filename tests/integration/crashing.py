"""Runs that end badly: killed at one step or after a while, or without room on the disk.

As a program it makes such runs: each in a process of its own, forked from one that has loaded everything.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from etl.config import Config
from etl.errors import StoreError
from etl.load.store import Store, open_inventory
from etl.report.inventory import open_published
from etl.simulator import Account, Simulator
from etl.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etl.places import Place

FAILED = 5
"""Exit status of a run that told why it could not go on."""


class Crew:
    """Makes runs that end badly; a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def run(self, config: Config, **order: Any) -> tuple[int, str]:
        """Run once and return its exit status, negative where it was killed, and what it said.

        `step` kills it before that step, `after` when so many seconds have passed; `room` is the largest file in bytes
        that it may write.
        """
        assert self._process.stdin
        assert self._process.stdout
        settings = {"store": str(config.store), "http": config.http.model_dump(mode="json", exclude_unset=True)}
        credentials = [
            {"name": one.name, "type": one.type, "base_url": one.base_url, "api_key": secret}
            for one in config.credentials
            for secret in one.secrets()
        ]
        line = json.dumps({"config": settings | {"credentials": credentials}} | order)
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        status, said = json.loads(self._process.stdout.readline())
        return int(status), str(said)


FILES = "select credential, file_id, bytes, status from files order by all"
LOG = "select credential, file_id, change, reason, bytes from file_changes order by all"


def told(place: Place) -> list[dict[str, Any]]:
    """Return the files and the change log that are published."""
    with open_published(place) as inventory:
        return [row for sql in (FILES, LOG) for row in inventory.query(sql).read_all().to_pylist()]


def synced(config: Config) -> str:
    """Run once more, as anybody would."""
    with open_inventory(config) as store:
        return str(sync(config, store).status)


class Stage(NamedTuple):
    """An inventory that a run is about to bring up to date, and what it should then tell."""

    crew: Crew
    config: Config
    folder: Path
    before: list[dict[str, Any]]
    expected: list[dict[str, Any]]
    steps: list[str]
    """What a run does that is left alone."""

    def at(self, folder: Path, *, copied: bool = True) -> Config:
        """Return a configuration of a copy of the inventory, or of none."""
        if copied:
            shutil.copytree(self.folder, folder)
        return self.config.model_copy(update={"store": folder / "inventory.duckdb"})

    def is_made_good(self, config: Config) -> bool:
        """Whether readers see nothing half-done, and one more run brings all to what it should be."""
        whole = told(config.store) in (self.before, self.expected)
        return synced(config) == "complete" and whole and told(config.store) == self.expected


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Set the stage: two credentials, three pages each, and something of everything to be found out."""
    accounts = {name: Account(300, seed=seed) for seed, name in enumerate(("acme-1", "acme-2"))}
    with Simulator(accounts, page_limit=100) as simulator, Crew() as crew:
        credentials = [
            {"name": name, "type": "openai", "base_url": simulator.url, "api_key": f"{name}"} for name in accounts
        ]
        store = folder / "before" / "inventory.duckdb"
        http = {"requests_per_second": 10_000}
        config = Config.model_validate({"store": store, "http": http, "credentials": credentials})
        synced(config)
        before = told(store)
        for account in accounts.values():
            account.delete(3)
            account.add(2)
            account.change(4)
        stage = Stage(crew, config, store.parent, before, [], [])
        uncrashed = stage.at(folder / "uncrashed")
        status, said = crew.run(uncrashed)
        assert status == 0, said
        yield stage._replace(expected=told(uncrashed.store), steps=said.split("\n"))


def main() -> None:
    """Make one run for each line."""
    for line in sys.stdin:
        order = json.loads(line)
        hearing, telling = os.pipe()
        child = os.fork()
        if not child:
            os._exit(_run(order, telling))
        os.close(telling)
        if after := order.get("after"):
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        with os.fdopen(hearing) as said:
            sys.stdout.write(json.dumps([os.waitstatus_to_exitcode(status), said.read()]) + "\n")
        sys.stdout.flush()


def _run(order: dict[str, Any], telling: int) -> int:
    config = Config.model_validate(order["config"])
    steps = _count_steps(order.get("step"))
    if room := order.get("room"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
    try:
        with open_inventory(config) as store:
            sync(config, store)
    except StoreError as error:
        os.write(telling, str(error).encode())
        return FAILED
    except BaseException as error:  # noqa: BLE001 - told to the one who asked
        os.write(telling, f"unforeseen: {error!r}".encode())
        return 1
    os.write(telling, "\n".join(steps).encode())
    return 0


def _count_steps(last: int | None) -> list[str]:
    """Name every step that writes; kill this process before the one of this number."""
    steps: list[str] = []

    def step(name: str) -> None:
        if len(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        steps.append(name)

    sql, whole = Store._sql, Store._whole
    copyfile, fsync, replaced = shutil.copyfile, os.fsync, Path.replace

    def told_sql(store: Store, name: str, **params: Any) -> None:
        step(name)
        sql(store, name, **params)

    def told_whole(store: Store, work: Callable[[], Any]) -> Any:
        step("begin")
        done = whole(store, lambda: [work(), step("commit")][0])  # type: ignore[func-returns-value]
        step("committed")
        return done

    def told_copy(source: Path, target: Path) -> None:
        step("copy")
        copyfile(source, target)

    def told_fsync(handle: int) -> None:
        step("fsync")
        fsync(handle)

    def told_replace(path: Path, target: Path) -> Path:
        step("replace")
        replaced(path, target)
        step("replaced")
        return Path(target)

    told = {"_sql": told_sql, "_whole": told_whole}
    for name, method in told.items():
        setattr(Store, name, method)
    for place, name, function in (
        (shutil, "copyfile", told_copy),
        (os, "fsync", told_fsync),
        (Path, "replace", told_replace),
    ):
        setattr(place, name, function)
    return steps


if __name__ == "__main__":
    main()
