import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import duckdb
import pytest

from etl.config import Config, Serve
from etl.errors import QueryError, StoreError
from etl.load.store import open_inventory
from etl.report.inventory import open_published
from etl.web import query
from etl.web.query import AT_ONCE, TooManyQueries, limited

SERVE = Serve.model_validate({"query_timeout": "30s", "query_memory": "64MB"})
HASTY = Serve.model_validate({"query_timeout": "1s", "query_memory": "64MB"})
STORE = {"inventory.duckdb", "inventory.writer.duckdb", "inventory.writer.lock"}
RUNAWAYS = {
    "while it is run": "select count(*) from range(100000000) a, range(100000) b where a.range * b.range % 7 = 3",
    "while it is read": "select * from range(100000000000)",
    "recursive": "with recursive r as (select 1 n union all select n + 1 from r) select count(*) from r",
}
BOMBS = {
    "sorted": "select range, repeat('x', 1000) from range(100000000) order by 2, 1 desc",
    "listed": "select list(range order by range desc) from range(100000000)",
    "in one step": "select range(1000000000)",
    "in one value": "select repeat('x', 2000000000)",
    "kept": "create temp table t as select range, md5(range::varchar) from range(100000000); from t",
}
FORBIDDEN = {
    "a file": "from read_csv('{file}')",
    "text": "from read_text('{file}')",
    "bytes": "from read_blob('{file}')",
    "JSON": "from read_json('{file}')",
    "lines of JSON": "from read_ndjson_objects('{file}')",
    "Parquet": "from read_parquet('{file}')",
    "what Parquet tells of itself": "from parquet_metadata('{file}')",
    "what CSV looks like": "from sniff_csv('{file}')",
    "a name that is a file": "from '{file}'",
    "a file behind a query": "from query('from read_text(''{file}'')')",
    "a file behind a serialized query": (
        "from json_execute_serialized_sql(json_serialize_sql('from read_text(''{file}'')'))"
    ),
    "a file behind a macro": "create temp macro f() as table from read_text('{file}'); from f()",
    "its own file": "from read_blob('{published}')",
    "the file of another": "from read_duckdb('{file}')",
    "a copy over the log": "copy (select 1) to '{published}.wal'",
    "bytes over the log": "copy (select 'x'::blob) to '{published}.wal' (format blob)",
    "a copy over itself": "copy (select 1) to '{published}'",
    "a copy to where sorting spills": "copy (select 1) to '{published}.tmp/x.csv'",
    "a copy that is explained": "explain analyze copy (select 1) to '{published}.wal'",
    "a copy that is prepared": "prepare p as copy (select 1) to '{published}.wal'; execute p",
    "a copy in a query": "with x as (copy (select 1) to '{published}.wal') from x",
    "a copy of it all": "attach ':memory:' as m; copy from database inventory to m; export database '{file}.d'",
    "a copy into it": "copy held_deletions from '{file}'",
    "an import": "import database '{file}.d'",
    "itself, to write": "attach '{published}' as again",
    "a database where sorting spills": "attach '{published}.tmp/x.duckdb' as more",
    "the list of files": "from glob('/*')",
    "a database": "attach '{file}'",
    "a copy": "copy (select 1) to '{file}.csv'",
    "an export": "export database '{file}.d'",
    "an install": "install httpfs",
    "an install from elsewhere": "install httpfs from 'http://127.0.0.1:{port}'",
    "an update": "update extensions",
    "a loaded file": "load '{file}'",
    "an extension": "load httpfs",
    "a table": "create table t as select 1",
    "an insert": "insert into held_deletions values ('r', 'c', 'f')",
    "a deletion": "delete from files",
    "an update of rows": "update files set bytes = 0",
    "a merge": "merge into held_deletions using files on true when not matched then insert",
    "a truncation": "truncate files",
    "a column": "alter table files add column x int",
    "a view gone": "drop view freshness",
    "a comment": "comment on table files is 'x'",
    "more memory": "set memory_limit = '64GB'",
    "more time": "reset threads",
    "a pragma": "pragma temp_directory = '{file}'",
    "room on the disk": "set temp_directory = '{file}.d'",
    "the right to files": "set enable_external_access = true",
    "the right to one file": "set allowed_paths = ['{file}']",
    "files again": "reset disabled_filesystems",
    "settings again": "set lock_configuration = false",
    "extensions from anybody": "set allow_unsigned_extensions = true",
    "a profile": "set profiling_output = '{file}.d'",
    "a log": "call enable_logging(storage_path = '{file}.d')",
    "a secret that stays": "create persistent secret s (type http)",
    "the environment": "select getenv('HOME')",
    "a host": "from read_csv('http://127.0.0.1:{port}/x.csv')",
    "a bucket": "from read_csv('s3://127.0.0.1:{port}/x.csv')",
    "python": "from duckdb",
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "inventory.duckdb"
    credential = {"name": "acme", "type": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": "sk-acme"}
    with open_inventory(Config.model_validate({"store": path, "credentials": [credential]})) as store:
        store.publish()
    return path


@pytest.fixture
def deadline() -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < 25


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("sql", RUNAWAYS.values(), ids=RUNAWAYS)
def test_ends_what_takes_too_long(published: Path, sql: str) -> None:
    with pytest.raises(QueryError, match="took longer than 1 s and was ended"), limited(published, HASTY) as inventory:
        for _ in inventory.query(sql):
            pass


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("sql", BOMBS.values(), ids=BOMBS)
def test_ends_what_takes_too_much_memory(published: Path, sql: str) -> None:
    with pytest.raises(QueryError, match="more than 64MB of memory"), limited(published, SERVE) as inventory:
        for _ in inventory.query(sql):
            pass


@pytest.mark.usefixtures("deadline")
def test_ends_what_nobody_waits_for(published: Path) -> None:
    runaway = RUNAWAYS["while it is run"]
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(QueryError, match="nobody waited for it"))
        inventory = stack.enter_context(limited(published, SERVE))
        threading.Timer(0.1, inventory.end).start()
        inventory.query(runaway)


@pytest.mark.parametrize("sql", FORBIDDEN.values(), ids=FORBIDDEN)
def test_lets_nothing_be_done_but_reading(published: Path, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("canary\n1\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        asked = sql.format(file=secret, port=listener.getsockname()[1], published=published)
        with pytest.raises(QueryError) as caught, limited(published, SERVE) as inventory:
            inventory.query(asked).read_all()
        with pytest.raises(TimeoutError):
            listener.accept()
    assert "canary" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [secret]
    assert {path.name for path in published.parent.iterdir()} == STORE


def test_no_function_of_duckdb_reads_a_file_or_leaves_one(published: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    with open_published(published) as inventory:
        functions = "select distinct function_name as name from duckdb_functions() where function_type = 'table'"
        names = inventory.query(functions).read_all()["name"].to_pylist()
    assert {"read_text", "glob", "sniff_csv"} <= set(names)
    for name in names:
        for argument in (tmp_path / "secret", f"{published}.wal"):
            with open_published(published) as inventory, suppress(QueryError, duckdb.Error):
                assert "canary" not in str(inventory.query(f"from {name}('{argument}')").read_all())
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]
    assert {path.name for path in published.parent.iterdir()} == STORE


def test_reads_what_is_asked(published: Path) -> None:
    with limited(published, SERVE) as inventory:
        assert inventory.query("select 1 + 1 as two").read_all().to_pylist() == [{"two": 2}]


def test_takes_parameters(published: Path) -> None:
    with limited(published, SERVE) as inventory:
        answer = inventory.query("select $a || $b[2] as told, $c is null as nothing", a="x", b=["y", "z"], c=None)
        assert answer.read_all().to_pylist() == [{"told": "xz", "nothing": True}]


def test_knows_nothing_of_the_environment(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with limited(published, SERVE) as inventory:
        pid = inventory._process.pid
        assert b"sk-canary" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_leaves_no_process_behind(published: Path) -> None:
    with limited(published, SERVE) as inventory:
        inventory.query("select * from range(100000000)")
    assert inventory._process.returncode is not None


def test_says_what_fails_while_it_is_read(published: Path) -> None:
    with pytest.raises(QueryError, match="Conversion Error"), limited(published, SERVE) as inventory:
        for _ in inventory.query("select if(range = 90000, 'x', '1')::int from range(100000)"):
            pass


def test_leaves_other_faults_alone(published: Path) -> None:
    for fault in (BrokenPipeError("gone"), duckdb.Error("odd"), ValueError("odd")):
        with pytest.raises(type(fault)), limited(published, SERVE):
            raise fault


def test_lets_a_few_run_at_once_and_the_next_wait(published: Path) -> None:
    hasty = HASTY.model_copy(update={"query_timeout": 0.1})
    with ExitStack() as turns:
        for _ in range(AT_ONCE):
            turns.enter_context(limited(published, SERVE))
        with pytest.raises(TooManyQueries, match="4 queries are running"), limited(published, hasty):
            pass
    with limited(published, SERVE) as inventory:
        assert inventory.query("select 1").read_all().num_rows == 1


def test_gives_the_turn_back_where_nothing_is_published(tmp_path: Path) -> None:
    for _ in range(AT_ONCE + 1):
        with pytest.raises(StoreError), limited(tmp_path / "none.duckdb", SERVE):
            pass
    assert query._turns._value == AT_ONCE
