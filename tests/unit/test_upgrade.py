"""Stores that earlier versions wrote: opened, kept as they were, and brought up to date; `tests/stores` holds them."""

import logging
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from etl.config import Config
from etl.errors import StoreError
from etl.load import embedded
from etl.load import store as store_module
from etl.load.keep import contents
from etl.load.store import Store
from etl.report.inventory import open_published
from etl.sync import sync

STORES = Path(__file__).parents[1] / "stores"
NEWEST = len(store_module._migrations())
OLDER = range(1, NEWEST)
STEPS = ("migrations/0002_reports", "migrations/0003_expiry", "migrated", "comments")

DIE = """
import os, signal, sys
from etl.load import keep, store

step, path = sys.argv[1:]
run, copy = store.Store._sql, keep.shutil.copyfile

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(source, target):
    target.write_bytes(source.read_bytes()[:20_000])
    die()

def sql(self, name, **params):
    run(self, name, **params)
    if name == step:
        die()

store.Store._sql = sql
if step == "half a copy":
    keep.shutil.copyfile = half
if step == "committed":
    store.Store.publish = die
store.Store(path).__enter__()
"""
"""Open a store, and be killed by the system once a step is done."""


def older(folder: Path, version: int) -> Path:
    """Lay out a store of that version; return the path of its published database."""
    for name in ("inventory.writer.duckdb", "inventory.duckdb"):
        shutil.copyfile(STORES / f"v{version}.duckdb", folder / name)
    return folder / "inventory.duckdb"


def rows(path: Path, columns: dict[str, list[str]] | None = None) -> dict[str, tuple[list[str], list[Any]]]:
    """Every row of every table, or of these columns of these tables."""
    with duckdb.connect(str(path), read_only=True) as connection:
        asked = columns or {
            name: [column for (column, *_) in connection.execute(f"describe {name}").fetchall()]
            for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()
        }
        return {
            name: (
                names,
                connection.execute(f"select {', '.join(map(as_text, names))} from {name} order by all").fetchall(),
            )
            for name, names in asked.items()
        }


def as_text(column: str) -> str:
    return f'"{column}"::varchar'


def shape(path: Path) -> list[tuple[Any, ...]]:
    """All that a database is but its rows, and how its views are worded."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute("""
            select table_name, column_name, data_type, is_nullable, comment from duckdb_columns() where not internal
            union all select 'view', view_name, null, null, comment from duckdb_views() where not internal
            union all select 'table', table_name, null, null, comment from duckdb_tables()
            union all select 'macro', function_name, macro_definition, null, comment from duckdb_functions()
                where database_name = current_database() and not internal
            order by all
        """).fetchall()


def settled(path: Path) -> dict[str, tuple[list[str], list[Any]]]:
    """What a store holds, but for when it was upgraded."""
    held = rows(path)
    names, versions = held.pop("schema_versions")
    return held | {"schema_versions": (names[:1], [row[:1] for row in versions])}


def killed(step: str, store: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIE, step, store], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_every_version_has_a_store_that_it_wrote() -> None:
    assert sorted(path.stem for path in STORES.glob("*.duckdb")) == [f"v{number}" for number in range(1, NEWEST + 1)]


@pytest.mark.parametrize("version", [*OLDER, NEWEST])
def test_no_row_of_an_older_store_is_lost_or_altered(tmp_path: Path, version: int) -> None:
    published = older(tmp_path, version)
    before = rows(published)
    with Store(published) as store:
        store.publish()
    names = {name: columns for name, (columns, _) in before.items()}
    after = rows(published, names)
    versions = after["schema_versions"][1]
    assert [number for number, _ in versions] == [str(number) for number in range(1, NEWEST + 1)]
    after["schema_versions"] = (after["schema_versions"][0], versions[:version])
    assert after == before
    assert all(held for name, (_, held) in before.items() if name != "rule_results")


@pytest.mark.parametrize("version", OLDER)
def test_an_upgraded_store_is_built_like_a_new_one(tmp_path: Path, version: int) -> None:
    (tmp_path / "new").mkdir()
    new, old = tmp_path / "new" / "inventory.duckdb", older(tmp_path, version)
    for published in (new, old):
        with Store(published) as store:
            store.publish()
    assert shape(old) == shape(new)


@pytest.mark.parametrize("version", OLDER)
def test_what_the_log_adds_up_to_is_the_same_whenever_it_was_added(tmp_path: Path, version: int) -> None:
    published = older(tmp_path, version)
    with Store(published) as store:
        store.publish()
    assert rows(published)["change_totals"] == rows(STORES / f"v{NEWEST}.duckdb")["change_totals"]


@pytest.mark.parametrize("version", OLDER)
def test_an_upgraded_store_goes_on(tmp_path: Path, version: int) -> None:
    published = older(tmp_path, version)
    credential = {"name": "acme", "type": "openai", "base_url": "http://127.0.0.1:9/v1", "http": {"attempts": 1}}
    config = Config.model_validate({"store": published, "credentials": [credential]})
    with Store(published) as store:
        assert sync(config, store).status == "failed"
        assert store.approve("acme") == 2
    with open_published(published) as inventory:
        gone = inventory.query("select file_id from file_changes where change = 'deleted' and run_id = 'run-3'")
        assert sorted(gone.read_all()["file_id"].to_pylist()) == ["f2", "f3"]


@pytest.mark.parametrize("version", OLDER)
def test_an_older_store_is_kept_as_it_was_and_one_line_says_so(
    tmp_path: Path, version: int, caplog: pytest.LogCaptureFixture
) -> None:
    published = older(tmp_path, version)
    before = rows(published)
    with caplog.at_level(logging.INFO), Store(published):
        pass
    kept = tmp_path / f"inventory.v{version}.duckdb"
    assert rows(kept) == before
    assert caplog.messages == [
        f"the store was upgraded from schema {version} to {NEWEST}; as it was before, it is kept in {kept}"
    ]
    caplog.clear()
    with Store(published):
        pass
    assert caplog.messages == []


def test_readers_see_an_upgraded_store_before_the_next_run(tmp_path: Path) -> None:
    published = older(tmp_path, 1)
    with pytest.raises(StoreError, match="written by an older File Inventory; run: file-inventory sync"):
        asked(published)
    with Store(published):
        pass
    assert asked(published) == []


def asked(published: Path) -> list[dict[str, Any]]:
    with open_published(published) as inventory:
        told: list[dict[str, Any]] = inventory.ask("quotas").read_all().to_pylist()
        return told


def test_a_whole_copy_is_not_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = older(tmp_path, 1)
    shutil.copyfile(STORES / "v1.duckdb", tmp_path / "inventory.v1.duckdb")
    monkeypatch.setattr(shutil, "copyfile", pytest.fail)
    monkeypatch.setattr(embedded, "publish", lambda *_: None)
    with Store(published):
        pass
    assert contents(tmp_path / "inventory.v1.duckdb") == contents(STORES / "v1.duckdb")


@pytest.mark.parametrize("spoiled", ["cut short", "no database", "of another time"])
def test_a_copy_that_is_not_whole_is_made_anew(tmp_path: Path, spoiled: str) -> None:
    published, kept = older(tmp_path, 1), tmp_path / "inventory.v1.duckdb"
    whole = published.read_bytes()
    kept.write_bytes({"cut short": whole[:-20_000], "no database": b"no database"}.get(spoiled, whole))
    if spoiled == "of another time":
        with duckdb.connect(str(kept)) as connection:
            connection.execute("update files set bytes = 1 where file_id = 'f2'")
    with Store(published):
        pass
    assert contents(kept) == contents(STORES / "v1.duckdb")


def test_only_the_newest_copy_is_kept(tmp_path: Path) -> None:
    published = older(tmp_path, 2)
    shutil.copyfile(STORES / "v1.duckdb", tmp_path / "inventory.v1.duckdb")
    with Store(published):
        pass
    assert [path.name for path in tmp_path.glob("inventory.v*.duckdb")] == ["inventory.v2.duckdb"]


def test_a_file_that_only_has_the_name_of_a_copy_stays(tmp_path: Path) -> None:
    published = older(tmp_path, 2)
    (tmp_path / "inventory.v1.duckdb").write_text("mine")
    with Store(published):
        pass
    assert (tmp_path / "inventory.v1.duckdb").read_text() == "mine"


def test_a_copy_that_differs_stops_the_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (STORES / "v2.duckdb").read_bytes()
    published = older(tmp_path, 1)
    monkeypatch.setattr(shutil, "copyfile", lambda _, target: target.write_bytes(other))
    with pytest.raises(StoreError, match=r"the copy does not hold what .* holds, so that is not upgraded"):
        Store(published).__enter__()
    assert contents(tmp_path / "inventory.writer.duckdb") == contents(STORES / "v1.duckdb")
    assert list(tmp_path.glob("*fresh")) == []


def test_a_copy_that_cannot_be_written_stops_the_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = older(tmp_path, 1)

    def full(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(StoreError, match="kept there as it was, so it is not upgraded: No space left on device"):
        Store(published).__enter__()
    assert contents(tmp_path / "inventory.writer.duckdb") == contents(STORES / "v1.duckdb")


@pytest.mark.parametrize("step", ["checkpoint", "half a copy", *STEPS, "committed"])
def test_a_process_killed_while_it_upgrades_leaves_a_store_that_upgrades_at_the_next_start(
    tmp_path: Path, step: str
) -> None:
    published = older(tmp_path, 1)
    killed(step, published)
    with Store(published) as store:
        store.publish()
    (tmp_path / "undisturbed").mkdir()
    undisturbed = older(tmp_path / "undisturbed", 1)
    with Store(undisturbed) as store:
        store.publish()
    assert settled(published) == settled(undisturbed)
    assert shape(published) == shape(undisturbed)
    assert contents(tmp_path / "inventory.v1.duckdb") == contents(STORES / "v1.duckdb")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("inventory.duckdb", "inventory.writer.duckdb", "inventory.writer.lock", "inventory.v1.duckdb"),
        "undisturbed",
    }
