"""What a lake adds: writers and readers on many hosts, none of whom applies twice or reads what is none of theirs."""

import json
import os
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from etl.config import Config, load_config
from etl.errors import ConfigError, QueryError, StoreBusy, StoreError
from etl.load.store import Store, open_inventory
from etl.places import Lake, Upkeep
from etl.report.inventory import Published, export, open_published
from etl.simulator import Account, Simulator
from etl.sync import sync
from etl.web.query import limited

from .conftest import HTTP, TOKEN, Lab, Row, direct
from .hosts import Host, many, names
from .model.machine import Inventory
from .serving import serving
from .test_model import STEPS

if TYPE_CHECKING:
    from conftest import Lakes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


PASSWORD = "the-lakes-password"
FILES = """
select * exclude (first_seen_at, changed_at, created_at, expires_at), created_at::varchar, expires_at::varchar
from {} order by credential, file_id
"""


@pytest.fixture
def lake(lakes: "Lakes", tmp_path: Path) -> Lake:
    return lakes.new(tmp_path / "lake")


@pytest.fixture
def shared(lab: Lab, lake: Lake) -> Lab:
    """The usual lab, with its inventory in a lake."""
    lab.place = lake
    return lab


def rows(place: Lake | Path, sql: str) -> list[Row]:
    with open_published(place) as inventory:
        found: list[Row] = inventory.query(sql).read_all().to_pylist()
    return found


# What readers may do


LOOKS = (
    "select count(*) from files",
    "with big as (from files where bytes > 10) select purpose, sum(bytes) from big group by all",
    "from files_as_of(now())",
    "select * from inventory.file_changes where change = 'baseline'",
    "from range(3)",
    "describe files",
    "show tables",
    "select table_name from information_schema.tables",
    "select labels->>'team' from credentials",
    "select filename, last_complete_at from files join credentials on name = credential",
    "from unique_files join freshness on freshness.credential in credentials",
)
DOES_MORE = (
    "from duckdb_secrets()",
    "from lake.files",
    "from lake.files at (version => 2)",
    "from files at (version => 2)",
    "from duckdb_databases",
    "from pragma_database_list",
    "select count(*) from __ducklake_metadata_lake.public.ducklake_snapshot",
    "select count(*) from __ducklake_metadata_lake.ducklake_snapshot",
    "from postgres_query('__ducklake_metadata_lake', 'select 1')",
    "from postgres_scan('host=127.0.0.1 user=postgres', 'public', 'ducklake_snapshot')",
    "select (select count(*) from postgres_scan('', 'a', 'b'))",
    "from files where exists (from read_text('/etc/hostname'))",
    "from '/etc/hostname'",
    'with "{folder}x.csv" as (select 1) from (from "{folder}x.csv")',
    "from read_text('{folder}**')",
    "from query('from duckdb_secrets()')",
    "from query_table('files')",
    "from ducklake_expire_snapshots('lake', older_than => now())",
    "call ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "copy (select 1) to '{folder}mine.csv'",
    "insert into files select * from files",
    "delete from files",
    "create table mine as select 1",
    "attach 'postgres:' as mine",
    "install spatial",
    "load spatial",
    "set memory_limit = '1GB'",
    "detach inventory",
    "select 1; drop table files",
    "select 1; from duckdb_secrets()",
    "describe __ducklake_metadata_lake.public.ducklake_snapshot",
    "pivot files on purpose using count(*)",
    "selec 1",
)


@pytest.fixture(scope="module")
def filled(lakes: "Lakes", tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Config, Simulator]]:
    """A lake in which a run was made; tests only read it."""
    folder = tmp_path_factory.mktemp("filled")
    lake = lakes.new(folder / "lake")
    with Simulator({TOKEN: Account(30, seed=1)}) as simulator:
        config = Config.model_validate({"store": lake, "http": HTTP, "credentials": [direct(simulator)]})
        with open_inventory(config) as store:
            sync(config, store)
        yield lake, config, simulator


@pytest.mark.parametrize("sql", LOOKS)
def test_whoever_reads_may_look(filled: tuple[Lake, Config, Simulator], sql: str) -> None:
    rows(filled[0], sql)


def test_whoever_reads_can_do_nothing_but_look(filled: tuple[Lake, Config, Simulator]) -> None:
    lake, *_ = filled
    held = sorted(Path(lake.data_path).rglob("*"))
    with open_published(lake) as inventory:
        for sql in DOES_MORE:
            with pytest.raises(QueryError) as refused:
                inventory.query(sql.replace("{folder}", lake.data_path)).read_all()
            assert PASSWORD not in str(refused.value)
        [counted] = inventory.query("select count(*) as files from files").read_all().to_pylist()
    assert counted == {"files": 30}
    assert sorted(Path(lake.data_path).rglob("*")) == held


def test_the_lake_is_exported_like_a_file(filled: tuple[Lake, Config, Simulator], tmp_path: Path) -> None:
    written = export(filled[0], tmp_path / "out", "parquet", partitioned=True)
    assert {path.name for path in written} >= {"files", "file_changes", "runs.parquet"}


def test_a_reader_stays_on_what_it_opened(shared: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(5, seed=1)
    config = shared.config(direct(simulator))
    shared.sync(config)
    with open_published(shared.place) as inventory:
        account.add(3)
        shared.sync(config)
        assert inventory.query("select count(*) as n from files").read_all().to_pylist() == [{"n": 5}]
    assert shared.rows("select count(*) as n from files") == [{"n": 8}]


def test_files_as_of_a_time_are_what_the_lake_itself_held_then(shared: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(9, seed=1)
    config = shared.config(direct(simulator))
    times = []
    for happen in (lambda: None, lambda: account.add(2), lambda: account.delete(3), lambda: account.restore(1)):
        happen()
        account.change(2)
        shared.sync(config)
        with Store(shared.place) as store:
            times.append(store._connection.execute("select now()::varchar").fetchall()[0][0])
    assert len(times) == 4
    with Store(shared.place) as store:
        for moment in times:
            told, held = (
                store._connection.sql(FILES.format(what)).fetchall()
                for what in (f"files_as_of('{moment}')", f"files at (timestamp => '{moment}')")
            )
            assert told == held != []


# Where something is wrong


def test_readers_go_on_after_the_catalogue_went_away_at_any_moment(
    filled: tuple[Lake, Config, Simulator], lakes: "Lakes", pytestconfig: pytest.Config
) -> None:
    published, chance, told = Published(filled[0]), random.Random(1), []  # noqa: S311 - repeatable is wanted

    def ask() -> Any:
        with published.open() as inventory:
            return inventory.query("select count(*) as n from files join file_changes using (file_id)").read_all()[0][0]

    for _ in range(10 * pytestconfig.getoption("rounds")):
        cut = Timer(chance.uniform(0, 0.1), lakes.cut)
        cut.start()
        while cut.is_alive():
            with suppress(StoreError):
                ask()
        for tries in range(5):
            try:
                assert ask().as_py() == 30
                told.append(tries)
                break
            except StoreError as error:
                assert "catalogue" in str(error)  # noqa: PT017 - one of several
    assert len(told) == 10 * pytestconfig.getoption("rounds")


def test_a_wrong_password_is_told_without_it(lake: Lake) -> None:
    url = str(lake.url).replace("lake_", "no_such_")
    wrong = Lake.model_validate({"ducklake": {"catalog": url, "data_path": lake.data_path}})
    for use in (lambda: Store(wrong).__enter__(), lambda: rows(wrong, "select 1")):
        with pytest.raises(StoreError, match=r"the lake's catalogue cannot be reached: .*does not exist") as told:
            use()
        assert PASSWORD not in str(told.value)
    assert PASSWORD not in f"{lake} {lake!r} {lake.model_dump()}"


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        ({"ducklake": {"data_path": "x"}}, "store.ducklake.catalog: is missing; add it"),
        ({"ducklake": {"catalog": f"postgresql://u:{PASSWORD}@h/d", "data_path": "x"}}, "catalog: is written out; put"),
        ({"ducklake": {"catalog": "${URL}", "data_path": "x"}}, "catalog: is neither postgresql://user:password@host/"),
        (
            {"ducklake": {"catalog": "x", "datapath": "x"}},
            "ducklake.datapath: unknown key; did you mean data_path",
        ),
        ({"lake": 1}, "store.lake: unknown key; did you mean ducklake?"),
        (
            {"ducklake": {"catalog": "x", "data_path": "s3://b", "s3": {"secret_access_key": PASSWORD}}},
            "store.ducklake.s3.secret_access_key: is written out",
        ),
    ],
)
def test_a_wrong_lake_is_told_in_the_configuration(tmp_path: Path, store: Any, fault: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(json.dumps({"store": store, "credentials": [{"name": "a", "type": "openai", "api_key": "${URL}"}]}))
    with pytest.raises(ConfigError) as told:
        load_config(path, env={"URL": f"mysql://u:{PASSWORD}@h/d"})
    assert fault in str(told.value)
    assert PASSWORD not in str(told.value)


def test_no_secret_of_the_lake_is_ever_told(shared: Lab, tmp_path: Path, simulator: Simulator) -> None:
    host = Host(tmp_path / "host", shared.place, many(simulator, 1))  # type: ignore[arg-type]
    said = [host.run(*words) for words in (["sync"], ["status"], ["query", "from credentials"], ["report", "-f", "md"])]
    said += [host.run("query", sql) for sql in ("from duckdb_databases()", "from duckdb_settings()", "from nowhere")]
    assert [status for status, *_ in said] == [0, 0, 0, 0, 2, 2, 2]
    assert PASSWORD not in str(said)
    config = load_config(host.config, env=host.environment)
    assert PASSWORD in config.secrets()


# Many writers


def test_two_hosts_list_different_credentials_at_once_and_a_third_reads(
    shared: Lab, tmp_path: Path, simulator: Simulator, pytestconfig: pytest.Config
) -> None:
    credentials = many(simulator, 6)
    alone = Config.model_validate({"store": tmp_path / "alone.duckdb", "http": HTTP, "credentials": credentials})
    place = shared.place
    assert isinstance(place, Lake)
    hosts = [Host(tmp_path / f"host-{number}", place, credentials) for number in range(3)]
    for _ in range(pytestconfig.getoption("rounds")):
        for account in simulator.accounts.values():
            account.add(2)
            account.change(3)
            account.delete(2)
        working = [hosts[0].start("sync", *names(3)), hosts[1].start("sync", *names(6)[3:])]
        working.append(hosts[2].start("upkeep"))
        while any(process.poll() is None for process in working):
            status, _, complained = hosts[2].run("report", "--format", "json")
            assert status == 0 or "nothing is published" in complained, complained
        ends = [(process.communicate(), process.returncode) for process in working]
        assert [status for _, status in ends] == [0, 0, 0], ends
        with open_inventory(alone) as store:
            sync(alone, store)
        for sql in (
            FILES.format("files"),
            "select credential, change, reason, changed_fields, file_id, bytes, status from file_changes order by all",
            "select credential, change, changes, files, bytes from change_totals order by all",
            "select credential, status, records, created, updated, deleted, unchanged from listings order by all",
        ):
            assert rows(place, sql) == rows(tmp_path / "alone.duckdb", sql)
        [numbers] = rows(place, "select count(*) as n, count(distinct change_id) as d from file_changes")
        assert numbers["n"] == numbers["d"]


def test_hosts_that_come_first_at_once_make_one_lake(lakes: "Lakes", tmp_path: Path, simulator: Simulator) -> None:
    lake = lakes.new(tmp_path / "lake", empty=True)
    credentials = many(simulator, 3)
    hosts = [Host(tmp_path / f"host-{number}", lake, credentials) for number in range(3)]
    working = [host.start("sync", name) for host, name in zip(hosts, names(3), strict=True)]
    ends = [(process.communicate(), process.returncode) for process in working]
    assert [status for _, status in ends] == [0, 0, 0], ends
    assert rows(lake, "select count(*) as n, count(distinct credential) as c from files") == [{"n": 36, "c": 3}]
    assert rows(lake, "select status, count(*) as n from runs group by status") == [{"status": "complete", "n": 3}]


def test_what_is_being_listed_elsewhere_is_skipped_and_all_of_it_is_busy(
    shared: Lab, simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    config = shared.config(*many(simulator, 3))
    with open_inventory(config) as elsewhere, elsewhere.leased(names(2)):
        run = shared.sync(config)
        assert [outcome.credential for outcome in run.listings] == ["team-2"]
        assert (
            f"team-0 is being listed by {os.uname().nodename[:36]} (process {os.getpid()}); it is skipped"
            in caplog.text
        )
        with pytest.raises(StoreBusy, match="team-1 is being listed by "):
            shared.sync(config, "team-1")
    assert len(shared.sync(config).listings) == 3


def test_a_decision_waits_for_no_run_but_is_refused_beside_one(shared: Lab, simulator: Simulator) -> None:
    config = shared.config(*many(simulator, 1))
    shared.sync(config)
    with open_inventory(config) as elsewhere, elsewhere.leased(names(1)), pytest.raises(StoreBusy):
        shared.approve(config, "team-0")


def test_who_lost_the_session_writes_nothing_more(
    shared: Lab, lakes: "Lakes", simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shared.config(*many(simulator, 2))
    shared.sync(config)
    before = shared.rows("select count(*) as n from listings")
    compare = Store.compare

    def cut(store: Store, *args: Any) -> Any:
        difference = compare(store, *args)
        lakes.sql(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objsubid = 1", "postgres"
        )
        return difference

    with open_inventory(config) as store:
        with monkeypatch.context() as patch:
            patch.setattr(Store, "compare", cut)
            with pytest.raises(StoreError, match="the session with the lake's catalogue was lost"):
                sync(config, store)
        assert shared.rows("select count(*) as n from listings") == before
        run = sync(config, store)
    assert run.status == "complete"
    assert shared.rows("select status from runs order by run_id") == [
        {"status": status} for status in ("complete", "running", "complete")
    ]
    shared.sync(config)
    assert shared.rows("select status, count(*) as n from runs group by all order by all") == [
        {"status": "complete", "n": 3},
        {"status": "interrupted", "n": 1},
    ]


def test_a_catalogue_that_was_started_anew_fails_one_run_at_most(
    shared: Lab, lakes: "Lakes", simulator: Simulator
) -> None:
    config = shared.config(*many(simulator, 1))
    with open_inventory(config) as store:
        sync(config, store)
        store._connection  # noqa: B018 - open, as in the middle of something
        assert store.lead()
        lakes.cut()
        assert store.lead() or store.lead()
        with suppress(StoreError):
            sync(config, store)
        assert sync(config, store).status == "complete"


def test_a_run_of_another_host_is_not_called_interrupted(shared: Lab, simulator: Simulator) -> None:
    config = shared.config(*many(simulator, 2))
    with open_inventory(config) as elsewhere:
        elsewhere.begin(config, "cli")
        shared.sync(config)
        assert [row["status"] for row in shared.published().runs] == ["running", "complete"]
    shared.sync(config)
    assert [row["status"] for row in shared.published().runs] == ["interrupted", "complete", "complete"]


def test_a_commit_that_met_another_one_is_tried_again_on_what_is_there_then(shared: Lab, simulator: Simulator) -> None:
    config = shared.config(*many(simulator, 1))
    shared.sync(config)
    with open_inventory(config) as store, open_inventory(config) as other:
        tries: list[int] = []

        def work() -> None:
            tries.append(store._row("schema_version")["version"])
            if len(tries) == 1:
                other._connection.execute("insert into schema_versions values (77, now())")
            store._connection.execute("insert into schema_versions values ($1, now())", [max(tries) + 1])

        store._whole(work)
        assert tries == [3, 77]
        store._connection.execute("delete from schema_versions where version > 3")


def test_what_must_never_be_is_told_in_a_sentence(shared: Lab, simulator: Simulator) -> None:
    config = shared.config(*many(simulator, 1))
    shared.sync(config)
    with Store(shared.place) as store:
        store._connection.execute("insert into files from files limit 1")
    simulator.accounts["sk-team-0"].add(1)
    with pytest.raises(StoreError, match=r"is not sound: team-0 has .* twice; believe nothing of run"):
        shared.sync(config)
    shared.place = shared.path


def test_while_the_catalogue_is_away_a_service_says_so_and_then_it_goes_on(
    shared: Lab, lakes: "Lakes", simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    config = shared.config(*many(simulator, 1))
    shared.sync(config)
    with serving(config) as site:

        def until(done: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 30
            while not done():
                assert time.monotonic() < deadline
                time.sleep(0.1)

        assert site.client.get("/readyz").status_code == 200
        lakes.stop()
        try:
            until(lambda: "this service leads no more" in caplog.text)
            told = {path: site.client.get(path) for path in ("/healthz", "/readyz", "/", "/api/status", "/metrics")}
            assert [answer.status_code for answer in told.values()] == [200, 503, 503, 503, 200]
            assert "the lake cannot be read" in told["/readyz"].text
            for path in ("/", "/api/status"):
                assert "catalogue cannot be reached" in told[path].text
            assert "file_inventory_ready 0.0" in told["/metrics"].text
            assert "file_inventory_credential_stale{" not in told["/metrics"].text
            assert PASSWORD not in "".join(answer.text for answer in told.values()) + caplog.text
        finally:
            lakes.start()
        until(lambda: site.client.get("/readyz").status_code == 200 and site.service.leads)
        assert site.service.sync((), "api").result(60).status == "complete"
        assert "12 files" in site.client.get("/").text


# Upkeep


def test_upkeep_leaves_the_inventory_as_it_is_in_fewer_files(lakes: "Lakes", lab: Lab, simulator: Simulator) -> None:
    place = lakes.new(lab.path.parent / "lake")
    lab.place = place.model_copy(
        update={"ducklake": place.ducklake.model_copy(update={"upkeep": Upkeep(keep_snapshots=0.001)})}
    )
    config = lab.config(*many(simulator, 2, 50))
    for _ in range(4):
        for account in simulator.accounts.values():
            account.add(20)
            account.change(20)
        lab.sync(config)
    before, files = vars(lab.published()), list(Path(place.data_path).rglob("*.parquet"))
    config = lab.config(*many(simulator, 2, 50))
    with Store(config.store) as store:
        for _ in range(3):  # what one replaces, the next but one removes
            store.keep_up()
    assert len(list(Path(place.data_path).rglob("*.parquet"))) < len(files) / 2
    after = vars(lab.published())
    before.pop("freshness"), after.pop("freshness")
    assert after == before


# Whatever happens


def test_a_lake_equals_a_plain_model_after_every_step_of_any_history(
    lakes: "Lakes", monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    monkeypatch.setattr(Inventory, "lakes", lakes)
    few = settings(STEPS, max_examples=1 + pytestconfig.getoption("rounds") // 10, stateful_step_count=20)
    run_state_machine_as_test(Inventory, settings=few)


# An object store


@pytest.fixture
def bucket() -> Iterator[Row]:
    """Settings of an S3 server of the tests' own that has a bucket."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - slow

    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        httpx.put(f"http://{host}:{port}/inventories").raise_for_status()
        keys = {"access_key_id": "the-access-key", "secret_access_key": "the-secret-of-the-bucket"}
        yield {"endpoint": f"{host}:{port}", "region": "us-east-1", "url_style": "path", "use_ssl": False} | keys
    finally:
        server.stop()


def test_the_files_of_a_lake_may_lie_in_an_object_store(
    lakes: "Lakes", lab: Lab, bucket: Row, simulator: Simulator
) -> None:
    empty = lakes.new(Path("/unused"))
    lakes.sql(
        "update ducklake_metadata set value = 's3://inventories/ours/' where key = 'data_path'",
        str(empty.url).split("/")[3].split("?")[0],
    )
    lab.place = Lake.model_validate(
        {"ducklake": {"catalog": empty.url, "data_path": "s3://inventories/ours", "s3": bucket}}
    )
    config = lab.config(*many(simulator, 2, 50))
    for _ in range(2):
        assert lab.sync(config).status == "complete"
        for account in simulator.accounts.values():
            account.change(20)
            account.delete(1)
    lab.sync(config)
    assert lab.rows("select count(*) as n from files") == [{"n": 96}]
    with open_inventory(config) as store:
        store.keep_up()
    assert lab.rows("select count(*) as n from files") == [{"n": 96}]
    assert config.secrets() >= {"the-access-key", "the-secret-of-the-bucket", PASSWORD}
    with limited(config.store, config.serve) as query:
        assert query.query("select count(*) as n from files").read_all().to_pylist() == [{"n": 96}]
        assert query._process.args[-1] == "etl.web.query"  # type: ignore[index] # and no secret
    with open_published(config.store) as inventory:
        for sql in ("from read_text('s3://inventories/**')", "copy (select 1) to 's3://inventories/ours/x.csv'"):
            with pytest.raises(QueryError):
                inventory.query(sql)
    lab.place = lab.path  # the server ends before the lab does


# Moving


def test_an_inventory_moves_into_a_lake_and_back_and_a_second_time_does_nothing(
    shared: Lab, tmp_path: Path, simulator: Simulator
) -> None:
    credentials = many(simulator, 3)
    place = shared.place
    assert isinstance(place, Lake)
    host = Host(tmp_path / "host", place, credentials)
    there, back = tmp_path / "there.yaml", tmp_path / "back.yaml"
    for path in (there, back):
        path.write_text(json.dumps(json.loads(host.config.read_text()) | {"store": f"{path}.duckdb"}))
    for _ in range(2):
        for account in simulator.accounts.values():
            account.change(3)
            account.delete(1)
        assert host.run("--config", str(there), "sync")[0] == 0
    for source, target in ((there, host.config), (there, host.config), (host.config, back)):
        status, said, complained = host.run("--config", str(source), "migrate", "--to", str(target))
        assert (status, complained) == (0, "")
        assert "36 rows of files" in said or "33 rows of files" in said or "30 rows of files" in said, said
    for sql in ("from file_changes order by change_id", "from listings order by all", "from files order by all"):
        assert rows(place, sql) == rows(Path(f"{there}.duckdb"), sql) == rows(Path(f"{back}.duckdb"), sql)
    assert host.run("sync")[0] == 0
    status, _, complained = host.run("migrate", "--to", str(back))
    assert status == 1
    assert "holds another inventory" in complained


def test_a_move_that_is_cut_off_leaves_nothing_and_can_be_made_again(
    shared: Lab, tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = shared.config(*many(simulator, 2)).model_copy(update={"store": tmp_path / "inventory.duckdb"})
    with open_inventory(config) as store:
        sync(config, store)
    with Store(config.store) as old, Store(shared.place) as new:
        with monkeypatch.context() as patch:
            patch.setattr(new, "_digests", lambda: {"files": (0, 0)})
            with pytest.raises(StoreError, match="not every row arrived"):
                new.take_over(old)
        assert new._connection.execute("select count(*) from files").fetchall() == [(0,)]
        assert new.take_over(old)["files"] == 24


# One leads


def heard(process: subprocess.Popen[str], words: str, within: float = 60) -> float:
    """Wait until the process says it; return how long that took."""
    began = time.monotonic()
    assert process.stderr
    for line in process.stderr:
        if words in line:
            return time.monotonic() - began
        assert time.monotonic() - began < within, line
    raise AssertionError(f"it ended without saying {words}")


def test_where_the_leader_dies_another_service_takes_over(
    shared: Lab, tmp_path: Path, simulator: Simulator, pytestconfig: pytest.Config
) -> None:
    place = shared.place
    assert isinstance(place, Lake)
    often: Row = {"serve": {"port": 0}, "schedule": "every 1s", "log": {"format": "json"}}
    host = Host(tmp_path / "host", place, many(simulator, 2), **often)
    leader = host.start("serve")
    took = []
    try:
        heard(leader, '"serving"')
        for _ in range(pytestconfig.getoption("rounds")):
            follower = host.start("serve")
            heard(follower, '"serving"')
            heard(leader, "run")
            leader.kill()
            leader.communicate()
            took.append(heard(follower, "this service leads from now on", within=20))
            leader = follower
    finally:
        leader.kill()
        leader.communicate()
    assert max(took) < 10
    runs = shared.rows("select * from runs order by started_at")
    overlapping = [one for one, _ in pairwise(runs) if one["finished_at"] is None]
    assert len(overlapping) <= len(took) + 1
    [numbers] = shared.rows("select count(*) as n, count(distinct change_id) as d from file_changes")
    assert numbers == {"n": 24, "d": 24}


def test_a_catalogue_in_a_file_is_for_one_writer_and_many_readers(lab: Lab, simulator: Simulator) -> None:
    catalog = lab.path.with_name("catalog.sqlite")
    lab.place = Lake.model_validate({"ducklake": {"catalog": str(catalog), "data_path": str(lab.path.parent / "lake")}})
    config = lab.config(*many(simulator, 2))
    with pytest.raises(StoreError, match="nothing is published there yet"):
        lab.rows("from files")
    lab.sync(config)
    with open_inventory(config), pytest.raises(StoreBusy, match="another writer is at work"):
        lab.sync(config)
    with open_published(lab.place) as one, open_published(lab.place) as other:
        simulator.accounts["sk-team-0"].add(1)
        lab.sync(config)
        for inventory in (one, other):
            assert inventory.query("select count(*) as n from files").read_all().to_pylist() == [{"n": 24}]
    assert lab.rows("select count(*) as n from files") == [{"n": 25}]
    catalog.write_bytes(b"spoilt" * 100)
    with pytest.raises(StoreError, match="cannot be read: file is not a database"):
        lab.rows("from files")
