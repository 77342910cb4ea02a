"""The API over HTTP: what it answers, and that nothing sent to it is answered with a fault of its own."""

import asyncio
import io
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import msgspec
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import StoreError
from etl.load.store import Run
from etl.simulator import Account, Simulator
from etl.web import api

from .conftest import Lab, Row, direct, quickly
from .serving import Site, serving

RUNAWAY = "select count(*) from range(100000000) a, range(100000) b where a.range * b.range % 7 = 3"


@pytest.fixture(scope="module")
def account() -> Account:
    return Account(60)


@pytest.fixture(scope="module")
def site(account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Simulator({"sk-acme": account}) as simulator, quickly():
        lab = Lab(tmp_path_factory.mktemp("api"), [])
        config = lab.config(
            direct(simulator, "sk-acme"),
            direct(simulator, "sk-no", name="refused"),
            serve={"query_rows": 50, "query_timeout": "20s"},
        )
        lab.sync(config, "acme")
        with serving(config) as site:
            yield site


def ask(site: Site, sql: str, **more: Any) -> Row:
    answer = site.client.post("/api/query", json={"sql": sql} | more)
    assert answer.status_code == 200, answer.text
    body: Row = answer.json()
    return body


def error(site: Site, method: str, path: str, **sent: Any) -> tuple[int, str]:
    answer = site.client.request(method, path, **sent)
    fault = answer.json()["error"]
    assert set(fault) == {"message", "type", "param", "code"}
    assert "Traceback" not in answer.text
    return answer.status_code, fault["message"]


@pytest.mark.embedded
def test_a_query_answers_columns_and_exact_rows(site: Site) -> None:
    sql = "select 9007199254740993::hugeint * $by as big, '2026-11-23 12:30:15.5+01'::timestamptz as at, null as none"
    answer = ask(site, sql, parameters={"by": 10**18})
    assert answer.pop("seconds") > 0
    assert answer == {
        "columns": [
            {"name": "big", "type": "decimal128(38, 0)"},
            {"name": "at", "type": "timestamp[us, tz=UTC]"},
            {"name": "none", "type": "null"},
        ],
        "rows": [[9007199254740993 * 10**18, "2026-11-23T11:30:15.500000Z", None]],
        "row_count": 1,
        "truncated": False,
    }


def test_a_query_takes_lists_as_parameters(site: Site) -> None:
    assert ask(site, "select list_contains($of, 2) as found", parameters={"of": [1, 2]})["rows"] == [[True]]


def test_more_rows_than_allowed_are_cut_off_and_said_so(site: Site) -> None:
    whole, cut = ask(site, "from range(50)"), ask(site, "from range(51)")
    assert (whole["row_count"], whole["truncated"]) == (50, False)
    assert (cut["row_count"], cut["truncated"], cut["rows"][-1]) == (50, True, [49])


@pytest.mark.parametrize("kind", ["ndjson", "csv", "parquet", "arrow"])
def test_a_query_answers_in_other_formats(site: Site, kind: str) -> None:
    sql = "select range as n, 'ü' as text from range(60)"
    answer = site.client.post("/api/query", json={"sql": sql, "format": kind})
    assert answer.headers["content-type"] == api.MEDIA[kind]
    assert (answer.headers["x-row-count"], answer.headers["x-truncated"]) == ("50", "true")
    readers: dict[str, Callable[[bytes], Any]] = {
        "ndjson": lambda body: [json.loads(line) for line in body.splitlines()],
        "csv": lambda body: [
            {"n": int(n), "text": text} for n, text in (line.split(",") for line in body.decode().splitlines()[1:])
        ],
        "parquet": lambda body: pq.read_table(io.BytesIO(body)).to_pylist(),
        "arrow": lambda body: pa.ipc.open_stream(body).read_all().to_pylist(),
    }
    assert readers[kind](answer.content) == [{"n": n, "text": "ü"} for n in range(50)]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("selec 1", "Parser Error"),
        ("select * from nowhere", "nowhere"),
        ("delete from files", ""),
        ("from read_csv('/etc/passwd')", ""),
        ("select \0", ""),
        ("select $a", ""),
        ("(" * 5_000 + "1" + ")" * 5_000, ""),
        ("", "sql: "),
    ],
)
def test_sql_that_is_refused_is_a_wrong_request(site: Site, sql: str, words: str) -> None:
    status, message = error(site, "POST", "/api/query", json={"sql": sql})
    assert status == 400
    assert words in message


def test_an_answer_takes_only_so_much_memory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MOST_ANSWERED", 1_000_000)
    for kind in ("json", "ndjson", "csv", "arrow"):
        body = {"sql": "select md5(range::varchar).repeat(2000) from range(50)", "format": kind}
        status, message = error(site, "POST", "/api/query", json=body)
        assert (status, message) == (400, "the answer is larger than 1 MB; ask for fewer rows or columns")


def test_a_query_that_nobody_waits_for_is_ended(site: Site) -> None:
    body = json.dumps({"sql": RUNAWAY}).encode()
    head = (
        f"POST /api/query HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    )
    with socket.create_connection(("127.0.0.1", site.port)) as asker:
        asker.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_until(lambda: len(queries()) == 1)
        time.sleep(0.5)
        assert len(queries()) == 1
    left = time.monotonic()
    wait_until(lambda: not queries())
    assert time.monotonic() - left < 1.5


def queries() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if asks(child)]


def asks(process: psutil.Process) -> bool:
    try:
        return "etl.web.query" in process.cmdline()
    except psutil.Error:  # it has ended by now
        return False


def wait_until(seen: Any) -> None:
    until = time.monotonic() + 10
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.02)


HOSTILE = {
    "no JSON": b"{",
    "text": b"select 1",
    "null": b"null",
    "a list": b"[]",
    "nothing": b"",
    "not UTF-8": b'{"sql": "\xff"}',
    "lone surrogate": b'{"sql": "select \'\\ud800\'"}',
    "lone surrogate as parameter": b'{"sql": "select $a", "parameters": {"a": "\\ud800"}}',
    "lone surrogate as name": b'{"sql": "select $a", "parameters": {"\\ud800": 1}}',
    "huge int": b'{"sql": "select $a", "parameters": {"a": 1' + b"0" * 400 + b"}}",
    "giant int": b'{"sql": "select $a", "parameters": {"a": 1' + b"0" * 5000 + b"}}",
    "huge float": b'{"sql": "select $a", "parameters": {"a": 1e999}}',
    "not a number": b'{"sql": "select $a", "parameters": {"a": NaN}}',
    "deep": b'{"sql": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep parameter": b'{"sql": "select $a", "parameters": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}",
    "unknown key": b'{"sql": "select 1", "limit": 1}',
    "wrong format": b'{"sql": "select 1", "format": "table"}',
    "parameter of no use": b'{"sql": "select 1", "parameters": {"a": 1}}',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_no_body_is_answered_with_a_fault_of_the_service(site: Site, body: bytes) -> None:
    status, _ = error(site, "POST", "/api/query", content=body, headers={"content-type": "application/json"})
    assert status == 400


def test_nul_in_a_parameter_is_text(site: Site) -> None:
    assert ask(site, "select $a as a", parameters={"a": "a\0b"})["rows"] == [["a\0b"]]


def test_other_content_is_refused(site: Site) -> None:
    assert error(site, "POST", "/api/query", content=b"<sql/>", headers={"content-type": "text/xml"})[0] == 400


def test_a_large_body_is_refused_whether_its_length_is_told_or_not(site: Site) -> None:
    large = json.dumps({"sql": "x" * 1_000_000}).encode()
    assert error(site, "POST", "/api/query", content=large) == (413, "the body is larger than 1 MB")
    assert error(site, "POST", "/api/query", content=iter([large])) == (413, "the body is larger than 1 MB")


def test_the_state_is_that_of_the_command_and_more(site: Site) -> None:
    state = site.client.get("/api/status").json()
    assert state["running"] is state["next_run"] is None
    assert state["published_at"].endswith("Z")
    acme, refused = state["credentials"]
    assert (acme["credential"], acme["state"], acme["files"]) == ("acme", "fresh", 60)
    assert (refused["credential"], refused["state"], refused["bytes"]) == ("refused", "stale", None)


def test_a_run_is_waited_for_and_told_whole(site: Site) -> None:
    answer = site.client.post("/api/sync?wait=true", json={"credentials": ["acme"]})
    told = msgspec.json.decode(answer.content, type=Run)
    assert (told.status, told.trigger, told.listings[0].records) == ("complete", "api", 60)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Run) == told
    kept = site.client.get(f"/api/runs/{told.run_id}").json()
    assert msgspec.convert(kept, Run) == told


def test_a_run_is_queued_where_nobody_waits(site: Site) -> None:
    before = site.client.get("/api/runs").json()["data"][0]["run_id"]
    answer = site.client.post("/api/sync")
    assert (answer.status_code, answer.json()) == (202, {"status": "queued"})
    wait_until(lambda: site.client.get("/api/runs").json()["data"][0]["run_id"] > before)
    assert error(site, "POST", "/api/sync", json={"credentials": ["amce"]}) == (
        404,
        "no credential is named amce; did you mean acme?",
    )


def test_what_is_not_there_is_not_found(site: Site) -> None:
    assert error(site, "GET", "/api/runs/none")[0] == 404
    assert error(site, "GET", "/api/nothing") == (404, "there is nothing at this address")
    assert error(site, "GET", "/api/query") == (405, "this address does not take that method")
    assert error(site, "POST", "/api/credentials/amce/approve")[0] == 404
    assert error(site, "POST", "/api/credentials/acme/reject") == (
        409,
        "no deletions of acme are held; see: file-inventory status",
    )


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=x", "after=x", "after=99999999999999999999", "order=up", "since=soon", "change=eaten", "page=2"],
)
def test_a_wrong_parameter_is_named(site: Site, query: str) -> None:
    status, message = error(site, "GET", f"/api/changes?{query}")
    assert status == 400
    assert message.startswith(query.partition("=")[0])


def test_the_log_is_paged_without_gap_while_it_grows(site: Site, account: Account) -> None:
    def paged(order: str) -> Iterator[int]:
        after = None
        while True:
            asked = {"limit": 7, "order": order, "change": ["baseline", "created"], "after": after}
            params: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
            body = site.client.get("/api/changes", params=params).json()
            yield from [row["change_id"] for row in body["data"]]
            if (after := body["next"]) is None:
                return
            account.add(1)
            ask_sync(site)

    known = {row["change_id"] for row in site.client.get("/api/changes?change=baseline&limit=1000").json()["data"]}
    for order in ("desc", "asc"):
        ids = list(paged(order))
        assert ids == sorted(set(ids), reverse=order == "desc")
        assert known <= set(ids)


def ask_sync(site: Site) -> None:
    assert site.client.post("/api/sync?wait=true", json={"credentials": ["acme"]}).json()["status"] == "complete"


def test_changes_and_runs_are_filtered(site: Site, account: Account) -> None:
    [gone] = account.delete(1)
    ask_sync(site)
    [row] = site.client.get("/api/changes?change=deleted&credential=acme").json()["data"]
    assert (row["file_id"], row["reason"]) == (gone, "missing")
    assert site.client.get("/api/changes?credential=refused&change=deleted").json() == {"data": [], "next": None}
    assert site.client.get("/api/changes", params={"until": "1d"}).json()["data"] == []
    runs = site.client.get("/api/runs", params={"credential": "acme", "since": "1h", "limit": 2}).json()
    assert len(runs["data"]) == 2
    assert runs["data"][0]["run_id"] == row["run_id"] > runs["data"][1]["run_id"] == runs["next"]
    older = site.client.get("/api/runs", params={"after": runs["next"], "limit": 1}).json()["data"]
    assert older[0]["run_id"] < runs["next"]


def test_held_deletions_are_decided(lab: Lab) -> None:
    account = Account(60)
    with Simulator({"sk-acme": account}) as simulator:
        config = lab.config(direct(simulator, "sk-acme"))
        lab.sync(config)
        account.delete(50)
        lab.sync(config)
        with serving(config) as site:
            assert site.client.post("/api/credentials/acme/approve").json() == {"credential": "acme", "files": 50}
            assert site.client.get("/api/status").json()["credentials"][0]["files"] == 10


def test_what_waits_when_the_service_stops_is_answered_so() -> None:
    queued: Future[int] = Future()
    queued.cancel()
    with pytest.raises(StoreError, match="the service is stopping"):
        asyncio.run(api._done(queued))


def test_a_service_that_stops_takes_no_work(lab: Lab) -> None:
    with Simulator({"sk-acme": Account(1)}) as simulator, serving(lab.config(direct(simulator, "sk-acme"))) as site:
        site.service.stop()
        assert error(site, "POST", "/api/sync") == (503, "the service is stopping; ask again when it is back")
        assert error(site, "POST", "/api/credentials/acme/approve")[0] == 503
