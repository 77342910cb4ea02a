"""What tests of whole runs share: a store of their own, configurations for it, and the rows it publishes."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from etl.config import Config
from etl.errors import StoreError
from etl.extract.http import Http
from etl.load.store import Outcome, Run, open_inventory
from etl.report.inventory import open_published
from etl.simulator import Simulator
from etl.sync import sync

if TYPE_CHECKING:
    from conftest import Lakes

    from etl.places import Place

collect_ignore = [] if find_spec("duckdb_extension_ducklake") else ["test_lake.py", "test_hosts.py"]

Row = dict[str, Any]

TOKEN = "sk-the-key-of-acme"
HTTP = {"requests_per_second": 10_000, "read_timeout": "10s", "max_page_bytes": 4_000_000}
"""No pacing, and an early end of what stalls or floods."""

TABLES = {
    "credentials": "from credentials order by name",
    "runs": "from runs order by started_at",
    "listings": "from listings order by started_at, credential",
    "files": "from files order by credential, file_id",
    "as_of_now": "from files_as_of(now()) order by credential, file_id",
    "changes": "from file_changes order by change_id",
    "held": "from held_deletions order by credential, file_id",
    "rejected": "from rejected_records order by run_id, credential, page, position",
    "freshness": "from freshness order by credential",
}


ADDED_UP = """
select 'holds' as what, files.credential, files.files, totals.files, files.bytes, totals.bytes
from (select credential, count(*) as files, coalesce(sum(bytes), 0) as bytes from files group by credential) as files
full join (
    select credential, sum(files) as files, sum(bytes) as bytes from change_totals group by credential
) as totals using (credential)
where coalesce(files.files, 0) <> coalesce(totals.files, 0) or coalesce(files.bytes, 0) <> coalesce(totals.bytes, 0)
union all
select
    coalesce(logged.change, totals.change), coalesce(logged.credential, totals.credential),
    logged.changes, totals.changes, null, null
from (select credential, change, reason, observed_at, count(*) as changes from file_changes group by all) as logged
full join (from change_totals where changes > 0) as totals
    on totals.credential = logged.credential and totals.change = logged.change
    and totals.reason is not distinct from logged.reason and totals.observed_at = logged.observed_at
where logged.changes is distinct from totals.changes
"""
"""Where the totals are not what the files and the change log add up to: nowhere, after any test."""


class Published:
    """Whole rows of the published database at one moment."""

    def __init__(self, tables: dict[str, list[Row]]) -> None:
        self.credentials = tables["credentials"]
        self.runs = tables["runs"]
        self.listings = tables["listings"]
        self.files = tables["files"]
        self.as_of_now = tables["as_of_now"]
        self.changes = tables["changes"]
        self.held = tables["held"]
        self.rejected = tables["rejected"]
        self.freshness = tables["freshness"]

    def of(self, name: str) -> "Published":
        """Only the rows of one credential."""
        return Published(
            {
                table: [row for row in rows if row.get("credential", row.get("name", name)) == name]
                for table, rows in vars(self).items()
            }
        )

    def log(self, *kinds: str) -> list[Row]:
        """The change log but for what was there before we looked, or only these kinds of change."""
        return [row for row in self.changes if row["change"] in kinds or (not kinds and row["change"] != "baseline")]


class Lab:
    """One store, synced and read as users do."""

    lakes: "Lakes | None" = None
    """Where every lab keeps its inventory; a file of its own where this is None."""

    def __init__(self, folder: Path, waits: list[float]) -> None:
        self.path = folder / "inventory.duckdb"
        self.place: Place = self.lakes.new(folder / "lake") if self.lakes else self.path
        self.waits = waits
        """Seconds that the HTTP layer would have slept."""

    def config(self, *credentials: Row, **settings: Any) -> Config:
        return Config.model_validate({"store": self.place, "http": HTTP, "credentials": credentials} | settings)

    def sync(self, config: Config, *names: str) -> Run:
        with open_inventory(config) as store:
            return sync(config, store, names)

    def listing(self, config: Config) -> Outcome:
        """Sync the one credential there is."""
        (outcome,) = self.sync(config).listings
        return outcome

    def approve(self, config: Config, name: str = "acme") -> int:
        with open_inventory(config) as store:
            return store.approve(name)

    def reject(self, config: Config, name: str = "acme") -> int:
        with open_inventory(config) as store:
            return store.reject(name)

    def rows(self, sql: str, **params: Any) -> list[Row]:
        """Ask the published database."""
        with open_published(self.place) as inventory:
            rows: list[Row] = inventory.query(sql, **params).read_all().to_pylist()
        return rows

    def published(self) -> Published:
        with open_published(self.place) as inventory:
            return Published({name: inventory.query(sql).read_all().to_pylist() for name, sql in TABLES.items()})


@pytest.fixture(scope="session", autouse=True)
def _in_lakes(request: pytest.FixtureRequest) -> None:
    """Keep the inventories of all tests in lakes where that is asked for."""
    if request.config.getoption("--store") == "lake":
        Lab.lakes = request.getfixturevalue("lakes")


@contextmanager
def quickly() -> Iterator[list[float]]:
    """Let no wait of the HTTP layer take time; note how long each would have been.

    Nobody is spoken to but 127.0.0.1: no proxy is asked, and no certificates are loaded, which takes long.
    """
    waited: list[float] = []
    pause = Http.pause

    def note(self: Http, seconds: float) -> None:
        if seconds:
            waited.append(seconds)
        pause(self, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Http, "pause", note)
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", "nowhere")
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(name)
        yield waited


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with quickly() as waits:
        lab = Lab(tmp_path, waits)
        yield lab
        with suppress(StoreError):  # nothing was published, or what was is spoilt
            assert lab.rows(ADDED_UP) == []


def direct(simulator: Simulator, token: str = TOKEN, **settings: Any) -> Row:
    """A credential of an OpenAI-compatible server."""
    return {"name": "acme", "type": "openai", "base_url": simulator.url, "api_key": token} | settings


def behind(gateway: str, simulator: Simulator, token: str = TOKEN, **settings: Any) -> Row:
    """A credential of the same server behind a Portkey gateway, by provider and custom host."""
    route = {"provider": "openai", "authorization": token, "custom_host": simulator.url}
    return {"name": "acme", "type": "portkey", "base_url": gateway} | route | settings


def inline(gateway: str, simulator: Simulator, token: str = TOKEN, **settings: Any) -> Row:
    """The same, by a config that is sent along."""
    route = {"config": {"provider": "openai", "api_key": token, "custom_host": simulator.url}}
    return {"name": "acme", "type": "portkey", "base_url": gateway} | route | settings


def record(file: Row, provider: str | None = None) -> Row:
    """The columns of a record for what the provider shows as `file`."""
    return {
        "file_id": file["id"],
        "provider": provider,
        "filename": file["filename"],
        "bytes": file["bytes"],
        "purpose": file["purpose"],
        "status": file["status"],
        "status_details": file["status_details"],
        "mime_type": None,
        "created_at": instant(file["created_at"]),
        "expires_at": instant(file.get("expires_at")),
        "extra": None,
    }


def stored(files: Iterable[Row], seen: datetime, credential: str = "acme", provider: str | None = None) -> list[Row]:
    """The rows of `files`, all first seen at one moment and never changed since."""
    rows = [
        {"credential": credential} | record(file, provider) | {"first_seen_at": seen, "changed_at": seen}
        for file in files
    ]
    return sorted(rows, key=lambda row: str(row["file_id"]))


def instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
