import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import duckdb
import pytest

from etl.config import Config, Serve
from etl.errors import QueryError, StoreError
from etl.load.store import open_inventory
from etl.web import query
from etl.web.query import AT_ONCE, TooManyQueries, limited

SERVE = Serve.model_validate({"query_timeout": "1s", "query_memory": "64MB"})
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
    "the list of files": "from glob('/*')",
    "a database": "attach '{file}'",
    "a copy": "copy (select 1) to '{file}.csv'",
    "an export": "export database '{file}.d'",
    "an install": "install httpfs",
    "a loaded file": "load '{file}'",
    "an extension": "load httpfs",
    "a table": "create table t as select 1",
    "an insert": "insert into held_deletions values ('r', 'c', 'f')",
    "a deletion": "delete from files",
    "more memory": "set memory_limit = '64GB'",
    "more time": "reset threads",
    "a pragma": "pragma temp_directory = '{file}'",
    "a host": "from read_csv('http://127.0.0.1:{port}/x.csv')",
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
    assert time.monotonic() - started < 5


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("sql", RUNAWAYS.values(), ids=RUNAWAYS)
def test_ends_what_takes_too_long(published: Path, sql: str) -> None:
    with pytest.raises(QueryError, match="took longer than 1 s and was ended"), limited(published, SERVE) as inventory:
        for _ in inventory.query(sql):
            pass


@pytest.mark.usefixtures("deadline")
@pytest.mark.parametrize("sql", BOMBS.values(), ids=BOMBS)
def test_ends_what_takes_too_much_memory(published: Path, sql: str) -> None:
    patient = SERVE.model_copy(update={"query_timeout": 30})
    with pytest.raises(QueryError, match="more than 64MB of memory"), limited(published, patient) as inventory:
        for _ in inventory.query(sql):
            pass


@pytest.mark.usefixtures("deadline")
def test_ends_what_nobody_waits_for(published: Path) -> None:
    patient = SERVE.model_copy(update={"query_timeout": 30})
    runaway = RUNAWAYS["while it is run"]
    with ExitStack() as stack:
        stack.enter_context(pytest.raises(QueryError, match="nobody waited for it"))
        inventory = stack.enter_context(limited(published, patient))
        threading.Timer(0.1, inventory.end).start()
        inventory.query(runaway)


@pytest.mark.parametrize("sql", FORBIDDEN.values(), ids=FORBIDDEN)
def test_lets_nothing_be_done_but_reading(published: Path, tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("canary\n1\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        with pytest.raises(QueryError) as caught, limited(published, SERVE) as inventory:
            inventory.query(sql.format(file=secret, port=listener.getsockname()[1])).read_all()
        with pytest.raises(TimeoutError):
            listener.accept()
    assert "canary" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [secret]


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
    hasty = SERVE.model_copy(update={"query_timeout": 0.1})
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
