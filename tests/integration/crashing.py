"""An inventory that a run is about to bring up to date, and may be killed in, or find no room."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from etl.config import Config, load_config
from etl.load.store import open_inventory
from etl.report.inventory import open_published
from etl.simulator import Account, Simulator
from etl.sync import sync

from .dying import Ended, Runner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.places import Place

KEYS = {"ONE": "sk-one", "TWO": "sk-two"}

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
    """Two credentials of three pages each, and something of everything to be found out."""

    runner: Runner
    folder: Path
    before: list[dict[str, Any]]
    expected: list[dict[str, Any]]
    """What a run that is left alone makes of it."""
    points: int
    """At which such a run could be killed."""

    def at(self, folder: Path) -> Config:
        """Return the configuration of a copy of the inventory."""
        shutil.copytree(self.folder, folder)
        return _config(folder, json.loads((folder / "inventory.yaml").read_text()))

    def run(self, config: Config, **order: Any) -> Ended:
        """Run as a process that may be told to die."""
        path = Path(str(config.store)).with_name("inventory.yaml")
        return self.runner.run("--config", str(path), "sync", **order)

    def is_made_good(self, config: Config) -> bool:
        """Whether readers see nothing half-done, and one more run brings all to what it should be."""
        whole = told(config.store) in (self.before, self.expected)
        return synced(config) == "complete" and whole and told(config.store) == self.expected


@contextmanager
def staged(folder: Path) -> Iterator[Stage]:
    """Set the stage."""
    accounts = {key: Account(300, seed=seed) for seed, key in enumerate(KEYS.values())}
    with Simulator(accounts, page_limit=100) as simulator, Runner(KEYS) as runner:
        before = folder / "before"
        before.mkdir(parents=True)
        credentials = [
            {"name": f"acme-{name.lower()}", "type": "openai", "base_url": simulator.url, "api_key": f"${{{name}}}"}
            for name in KEYS
        ]
        config = _config(before, {"http": {"requests_per_second": 10_000}, "credentials": credentials})
        synced(config)
        known = told(config.store)
        for account in accounts.values():
            account.delete(3)
            account.add(2)
            account.change(4)
        stage = Stage(runner, before, known, [], 0)
        alone = stage.at(folder / "alone")
        ended = stage.run(alone)
        assert ended.status == 0, ended.err
        yield stage._replace(expected=told(alone.store), points=len(ended.points.splitlines()))


def _config(folder: Path, settings: dict[str, Any]) -> Config:
    path = folder / "inventory.yaml"
    path.write_text(json.dumps(settings | {"store": str(folder / "inventory.duckdb")}))
    return load_config(path, env=KEYS)
