"""The store as a file: opening, migrating, publishing, and what stands in the way."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from etl.config import Config
from etl.errors import ConfigError, StoreBusy, StoreError
from etl.load import store as store_module
from etl.load.embedded import Embedded
from etl.load.publish import publish
from etl.load.store import Store, open_inventory
from etl.places import Lake, Place
from etl.report.inventory import edition
from etl.transform.listing import Listing
from etl.transform.record import SCHEMA
from etl.transform.words import Verdict

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MORE_THAN_FEW = 25


def config(path: Path, **credential: object) -> Config:
    """Name one credential whose provider is never asked."""
    one = {"name": "a", "type": "openai", "base_url": "http://127.0.0.1:9/v1", **credential}
    return Config.model_validate({"store": path, "credentials": [one]})


def listing(*files: dict[str, object], at: datetime = NOW) -> Listing:
    """Make a complete listing of these files."""
    table = pa.Table.from_pylist(list(files), SCHEMA)
    return Listing("a", Verdict.COMPLETE, at, at, table)


def run(conf: Config, found: Listing) -> store_module.Outcome:
    """Apply one listing as a run of its own, and publish."""
    with open_inventory(conf) as store:
        started = store.begin(conf, "cli")
        [outcome] = store.apply(started, store.compare([(conf.credentials[0], found)]))
        store.finish(started, [outcome])
        store.publish()
    return outcome


def rows(path: Place, sql: str) -> list[tuple[object, ...]]:
    """Ask the published database."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def many(**fields: object) -> list[dict[str, object]]:
    """Make more files than the brake counts as few."""
    return [{"file_id": f"f{number}", **fields} for number in range(MORE_THAN_FEW)]


def test_a_fresh_store_publishes_every_table_and_view(tmp_path: Path) -> None:
    conf = config(tmp_path / "deep" / "inventory.duckdb")
    run(conf, listing({"file_id": "f1", "bytes": 5}))
    names = "select table_name from information_schema.tables order by 1"
    assert [name for (name,) in rows(conf.store, names)] == [
        "change_totals",
        "credentials",
        "file_changes",
        "file_history",
        "files",
        "freshness",
        "held_deletions",
        "listings",
        "quota_use",
        "rejected_records",
        "rule_results",
        "runs",
        "schema_versions",
        "unique_files",
    ]
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == [
        "inventory.duckdb",
        "inventory.writer.duckdb",
        "inventory.writer.lock",
    ]


def test_nothing_is_written_in_a_format_that_duckdb_1_4_cannot_open(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing({"file_id": "f1"}))
    with duckdb.connect() as connection:
        connection.execute(f"attach '{conf.store}' as published (read_only)")
        [(tags,)] = connection.execute(
            "select tags from duckdb_databases() where database_name = 'published'"
        ).fetchall()
    assert tags["storage_version"].startswith("v1.4.0")


def test_every_table_view_and_column_says_what_it_means(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing({"file_id": "f1"}))
    silent = """
    select table_name, column_name from duckdb_columns() where not internal and comment is null
    union all
    select table_name, null from duckdb_tables() where comment is null
    union all
    select view_name, null from duckdb_views() where not internal and comment is null
    union all
    select function_name, null from duckdb_functions() where database_name = 'inventory' and comment is null
    """
    assert rows(conf.store, silent) == []


def test_a_store_of_the_first_version_is_taken_up_with_what_its_log_adds_up_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    log = """
    insert into file_changes by name
    select row_number() over () as change_id, 'run' as run_id, '2026-11-23'::timestamptz + to_days(day) as observed_at,
        'a' as credential, file_id, change, reason, bytes
    from (values
        (0, 'f1', 'baseline', null, 5), (0, 'f2', 'baseline', null, null), (1, 'f1', 'updated', null, 7),
        (1, 'f3', 'created', null, 3), (2, 'f1', 'deleted', 'missing', 7), (2, 'f3', 'deleted', 'expired', 3),
        (3, 'f1', 'restored', null, 9)
    ) as log (day, file_id, change, reason, bytes)
    """
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "_migrations", lambda: ["migrations/0001_inventory"])
        patch.setattr(Embedded, "scripts", ())
        with Store(conf.store) as store:
            store._connection.execute(log)
    with Store(conf.store) as store:
        store.publish()
    totals = "select day(observed_at), change, reason, changes, files, bytes from change_totals order by all"
    assert rows(conf.store, totals) == [
        (23, "baseline", None, 2, 2, 5),
        (24, "created", None, 1, 1, 3),
        (24, "updated", None, 1, 0, 2),
        (25, "deleted", "expired", 1, -1, -3),
        (25, "deleted", "missing", 1, -1, -7),
        (26, "restored", None, 1, 1, 9),
    ]


def test_opening_twice_in_one_process_is_refused_and_names_it(tmp_path: Path) -> None:
    with (
        Store(tmp_path / "inventory.duckdb"),
        pytest.raises(StoreBusy, match=rf"process {os.getpid()} \(.*\) since .*; wait for it, or stop it"),
    ):
        Store(tmp_path / "inventory.duckdb").__enter__()
    with Store(tmp_path / "inventory.duckdb"):
        pass


def test_a_writers_database_held_open_by_hand_is_reported_with_its_process(tmp_path: Path) -> None:
    with Store(tmp_path / "inventory.duckdb"):
        pass
    code = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(tmp_path / "inventory.writer.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "open\n"
        with pytest.raises(StoreBusy, match=rf"is open in .*python.* \(process {process.pid}\); close it there"):
            Store(tmp_path / "inventory.duckdb").__enter__()
        process.stdin.close()
    with Store(tmp_path / "inventory.duckdb"):
        pass


def test_a_damaged_store_is_refused_with_one_sentence_and_left_as_it_is(tmp_path: Path) -> None:
    damaged = tmp_path / "inventory.writer.duckdb"
    damaged.write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match=r"inventory\.writer\.duckdb cannot be opened: [^\n]+$"):
        Store(tmp_path / "inventory.duckdb").__enter__()
    assert damaged.read_bytes() == b"this is no database" * 1000


def test_a_damaged_store_says_how_to_go_back_to_what_was_published_last(tmp_path: Path) -> None:
    conf = config(tmp_path / "it's the inventory.duckdb")
    run(conf, listing({"file_id": "f1"}))
    Path(str(Store(conf.store).path)).write_bytes(b"")
    with pytest.raises(StoreError, match="go back to what was published last: ") as told:
        Store(conf.store).__enter__()
    _, _, command = str(told.value).partition("published last: ")
    subprocess.run(command, shell=True, check=True)  # noqa: S602 - as a person would
    assert run(conf, listing({"file_id": "f1"}, {"file_id": "f2"})).created == 1


def test_a_store_is_made_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_path: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Store(tmp_path / "inventory.duckdb").__enter__()
    assert not (tmp_path / "inventory.writer.duckdb").exists()
    with Store(tmp_path / "inventory.duckdb"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"inventory.writer.duckdb", "inventory.writer.lock"}


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path / "inventory.duckdb"):
        pass
    with duckdb.connect(str(tmp_path / "inventory.writer.duckdb")) as connection:
        connection.execute("insert into schema_versions values (99, now())")
    with pytest.raises(StoreError, match="written by a newer File Inventory"):
        Store(tmp_path / "inventory.duckdb").__enter__()


def test_a_failed_migration_leaves_the_store_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store(tmp_path / "inventory.duckdb"):
        pass
    migrations = store_module._migrations()
    monkeypatch.setattr(store_module, "_migrations", lambda: [*migrations, "migrations/0001_inventory"])
    with pytest.raises(StoreError, match="already exists"):
        Store(tmp_path / "inventory.duckdb").__enter__()
    monkeypatch.undo()
    with Store(tmp_path / "inventory.duckdb") as store:
        assert store._row("schema_version") == {"version": len(migrations)}


def test_a_place_where_nothing_can_be_kept_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file: the store cannot be kept there: "):
        Store(tmp_path / "file" / "inventory.duckdb").__enter__()


def test_a_copy_that_fails_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    (tmp_path / "published").write_text("old")
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "missing", tmp_path / "published")
    assert [path.name for path in tmp_path.iterdir()] == ["published"]
    assert (tmp_path / "published").read_text() == "old"


def test_a_listing_that_cannot_be_applied_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing({"file_id": "f1"}))
    apply = Store._sql

    def fail_late(self: Store, name: str, **params: object) -> None:
        apply(self, name, **params)
        if name == "listing":
            raise duckdb.IOException("No space left on device")

    monkeypatch.setattr(Store, "_sql", fail_late)
    with pytest.raises(StoreError, match="No space left on device"):
        run(conf, listing({"file_id": "f2"}))
    monkeypatch.undo()
    assert rows(conf.store, "select file_id from files") == [("f1",)]
    outcome = run(conf, listing({"file_id": "f1"}, {"file_id": "f3"}))
    assert (outcome.created, outcome.unchanged, outcome.deleted) == (1, 1, 0)
    assert rows(conf.store, "select change, file_id from file_changes order by change_id") == [
        ("baseline", "f1"),
        ("created", "f3"),
    ]
    assert rows(conf.store, "select status from runs order by all") == [
        ("complete",),
        ("complete",),
        ("interrupted",),
    ]


def test_every_column_is_compared_and_named_in_the_change(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    before = {
        "file_id": "f1",
        "provider": "openai",
        "filename": "a.txt",
        "bytes": 1,
        "purpose": "batch",
        "status": "uploaded",
        "status_details": "x",
        "mime_type": "text/plain",
        "created_at": NOW,
        "expires_at": NOW,
        "extra": "{}",
    }
    run(conf, listing(before))
    after = before | {"bytes": 2, "filename": "b.txt", "purpose": "evals", "status": "processed", "mime_type": "x"}
    after |= {"provider": "azure-openai", "status_details": None, "created_at": None, "extra": '{"a":1}'}
    after |= {"expires_at": NOW + timedelta(days=1)}
    assert run(conf, listing(after)).updated == 1
    assert rows(conf.store, "select changed_fields from file_changes where change = 'updated'") == [
        ([name for name in SCHEMA.names if name not in {"file_id", "extra"}],)
    ]
    assert rows(conf.store, "select filename, bytes, created_at, extra from files") == [("b.txt", 2, None, '{"a":1}')]


def test_unknown_fields_make_a_version_only_where_asked(tmp_path: Path) -> None:
    for track in (False, True):
        conf = config(tmp_path / f"{track}.duckdb", track_extra=track)
        run(conf, listing({"file_id": "f1", "extra": '{"a":1}'}))
        assert run(conf, listing({"file_id": "f1", "extra": '{"a":2}'})).updated == int(track)
        assert rows(conf.store, "select extra from files") == [('{"a":2}' if track else '{"a":1}',)]


def test_a_field_that_comes_for_every_file_is_taken_over_without_a_change(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing(*many()))
    new: dict[str, object] = {"file_id": "new", "status": "processed"}
    outcome = run(conf, listing(*many(status="processed"), new))
    assert (outcome.updated, outcome.created, outcome.unchanged) == (0, 1, MORE_THAN_FEW)
    assert rows(conf.store, "select distinct status from files") == [("processed",)]
    assert run(conf, listing(*many(status="processed"), new)).updated == 0
    [first, *others] = many(status="processed")
    assert run(conf, listing(first | {"status": "error"}, *others, new)).updated == 1


def test_a_field_that_goes_for_every_file_stays_as_it_was_known(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing(*many(status="processed", bytes=1)))
    new: dict[str, object] = {"file_id": "new", "bytes": 1}
    [first, *others] = many(bytes=1)
    outcome = run(conf, listing(first | {"bytes": 2}, *others, new))
    assert (outcome.updated, outcome.created, outcome.unchanged) == (1, 1, MORE_THAN_FEW - 1)
    assert rows(conf.store, "select changed_fields, status from file_changes where change = 'updated'") == [
        (["bytes"], "processed")
    ]
    assert run(conf, listing(first | {"bytes": 2}, *others, new)).updated == 0
    assert rows(conf.store, "select status, count(*) from files group by 1 order by 1") == [
        ("processed", MORE_THAN_FEW),
        (None, 1),
    ]
    assert rows(conf.store, "select count(*) from (from files except from files_as_of(now()))") == [(0,)]


def test_a_field_that_goes_for_some_files_is_a_change_of_each(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    keeps: dict[str, object] = {"file_id": "keeps", "expires_at": NOW}
    run(conf, listing(*many(expires_at=NOW), keeps))
    assert run(conf, listing(*many(), keeps)).updated == MORE_THAN_FEW


def test_a_field_that_comes_for_all_but_one_is_a_change_of_each(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing(*many()))
    [first, *others] = many(status="processed")
    assert run(conf, listing(first | {"status": None}, *others)).updated == MORE_THAN_FEW - 1


def test_a_field_that_comes_for_a_few_files_is_a_change_of_each(tmp_path: Path) -> None:
    conf = config(tmp_path / "inventory.duckdb")
    run(conf, listing({"file_id": "f1"}, {"file_id": "f2"}))
    assert run(conf, listing({"file_id": "f1", "bytes": 1}, {"file_id": "f2", "bytes": 2})).updated == 2


def test_a_lake_without_what_it_needs_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake.model_validate({"ducklake": {"catalog": "catalog.sqlite", "data_path": "lake"}})
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in ("etl.load.lake", "etl.load.leases"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for use in (lambda: Store(lake), lambda: edition(lake)):
        with pytest.raises(ConfigError, match=r"needs more; run: pip install 'llm-file-inventory\[lake\]'"):
            use()


def test_where_the_file_system_can_share_blocks_nothing_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clone(target: int, request: int, source: int) -> None:
        assert request == 0x40049409
        os.pwrite(target, os.pread(source, 100, 0), 0)

    (tmp_path / "store").write_bytes(b"all of it")
    monkeypatch.setattr("fcntl.ioctl", clone)
    monkeypatch.setattr("shutil.copyfile", pytest.fail)
    publish(tmp_path / "store", tmp_path / "published")
    assert (tmp_path / "published").read_bytes() == b"all of it"
