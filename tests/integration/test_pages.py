"""The pages over a real store."""

import html
import re
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from etl.config import Config
from etl.report.inventory import open_published
from etl.web import pages
from etl.web.app import create_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it wishes for a successor of httpx
    from starlette.testclient import TestClient


@pytest.fixture(autouse=True)
def _as_it_was(keeper: Any, story: Any) -> None:
    keeper.config = story.config
    keeper.asked.clear()


@pytest.fixture
def browser(keeper: Any) -> Iterator[TestClient]:
    with TestClient(create_app(keeper), base_url="http://127.0.0.1", headers={"accept": "text/html"}) as client:
        yield client


def rows(config: Config, sql: str) -> list[dict[str, Any]]:
    with open_published(config.store) as inventory:
        found: list[dict[str, Any]] = inventory.query(sql).read_all().to_pylist()
    return found


def links(text: str) -> set[str]:
    return {html.unescape(link) for link in re.findall(r'href="(/[^"]*)"', text)}


def test_every_link_leads_to_a_page(browser: TestClient) -> None:
    todo, seen = ["/"], {"/"}
    while todo:
        answer = browser.get(todo.pop())
        assert answer.status_code == 200, (answer.url, answer.text)
        if "html" not in answer.headers["content-type"] or len(seen) > 120:
            continue
        new = links(answer.text) - seen
        seen |= new
        todo += new
    kinds = {"/credentials/doomed", "/runs", "/changes", "/sql", "/static/style.css", "/static/favicon.svg"}
    assert kinds < seen


def test_the_dashboard_tells_the_sums_and_what_waits(browser: TestClient, story: Any) -> None:
    text = browser.get("/").text
    [unique] = rows(story.config, "select count(*) as files from unique_files")
    assert f"<dd>{unique['files']:,}</dd>" in text
    assert "Approve 70 deletions" in text
    assert 'class="chip stale"' in text
    assert "the baseline" in text.lower()
    assert "known only through stale credentials" in text


def test_hostile_names_are_shown_and_do_nothing(browser: TestClient, hostile_names: dict[str, str]) -> None:
    text = browser.get("/credentials/hostile?text=").text + browser.get("/credentials/hostile?offset=50").text
    assert "<script>window" not in text
    assert "<img" not in text
    assert "\u202e" not in text
    assert "\x1b" not in text
    for shown in (r"invoice\u202efdp.exe", r"\x00\x1b[31m\nnext.txt", "{{ 7 * 7 }}", hostile_names["rtl"]):
        assert shown in html.unescape(text)


def test_every_id_is_reached(browser: TestClient, odd_ids: tuple[str, ...]) -> None:
    for odd in (odd for odd in odd_ids if "%" not in odd):  # the client decodes twice
        answer = browser.get(f"/credentials/hostile/files/{quote(odd, safe='')}")
        assert answer.status_code == 200
        assert f"<bdi>{html.escape(odd)}</bdi>" in answer.text


def test_a_file_page_tells_its_whole_life(browser: TestClient, story: Any) -> None:
    [back] = rows(
        story.config, "select file_id from file_changes where change = 'restored' and credential = 'search-dev' limit 1"
    )
    text = browser.get(f"/credentials/search-dev/files/{back['file_id']}").text
    assert [text.index(f'"kind {kind}"') for kind in ("restored", "deleted", "baseline")] == sorted(
        text.index(f'"kind {kind}"') for kind in ("restored", "deleted", "baseline")
    )
    assert "a complete listing lacked it" in text
    [changed] = rows(
        story.config, "select file_id from file_changes where change = 'updated' and credential = 'search-dev' limit 1"
    )
    assert "status: <del>" in browser.get(f"/credentials/search-dev/files/{changed['file_id']}").text


def test_a_run_tells_what_was_set_aside(browser: TestClient, story: Any) -> None:
    [run] = rows(story.config, "select distinct run_id from rejected_records")
    text = browser.get(f"/runs/{run['run_id']}").text
    assert "1 records could not be read" in text
    assert "unauthorized" in text or "refused" in text


def test_changes_are_filtered_and_paged(browser: TestClient) -> None:
    text = browser.get("/changes?kind=baseline").text
    [older] = [link for link in links(text) if "before=" in link]
    assert text.count('class="kind baseline"') == 50
    following = browser.get(older).text
    assert following.count('class="kind baseline"') == 50
    assert "baseline" not in re.findall(r'class="kind (\w+)"', browser.get("/changes").text)
    assert (
        re.findall(r'class="kind (\w+)"', browser.get("/changes?kind=deleted&credential=search-prod").text)
        == ["deleted"] * 4
    )
    assert "No change matches" in browser.get("/changes?text=nowhere-to-be-found").text


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/credentials/serch-prod", 404, "did you mean search-prod?"),
        ("/credentials/doomed/files/nowhere", 404, "doomed has no file nowhere"),
        ("/runs/never", 404, "there is no run never; the latest is"),
        ("/changes?kind=moved", 404, "moved is no kind of change"),
        ("/changes?since=soon", 404, "soon is no time"),
        ("/nowhere", 404, "nothing at this address"),
        ("/changes?before=x", 400, "before"),
        ("/sql/download?q=select&format=csv", 400, "Parser Error"),
    ],
)
def test_errors_are_pages(browser: TestClient, path: str, status: int, sentence: str) -> None:
    answer = browser.get(path)
    assert (answer.status_code, sentence in html.unescape(answer.text)) == (status, True), answer.text
    assert "<h1>" in answer.text


def test_sql_is_run_and_shared(browser: TestClient) -> None:
    text = browser.get("/sql", params={"q": "select range as n, null as nothing from range(1500)"}).text
    assert "The first 1,000 rows" in text
    assert '<span class="unknown">NULL</span>' in text
    wrong = browser.get("/sql", params={"q": "select nonsense"})
    assert (wrong.status_code, "Binder Error" in wrong.text) == (400, True)
    odd = browser.get("/sql", params={"q": "select 'infinity'::timestamp as a, {'b': [1]} as s, interval 1 day as i"})
    assert odd.status_code == 200


def test_every_example_runs(browser: TestClient) -> None:
    found = [link for link in links(browser.get("/sql").text) if link.startswith("/sql?q=")]
    assert len(found) >= 10
    for link in found:
        assert browser.get(link).status_code == 200, link


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "arrow"])
def test_results_are_downloaded(browser: TestClient, kind: str) -> None:
    answer = browser.get("/sql/download", params={"q": "select 1 as one", "format": kind})
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == f'attachment; filename="inventory.{kind}"'
    starts = {"csv": b"one\n1\n", "json": b"[", "parquet": b"PAR1", "arrow": b"\xff\xff\xff\xff"}
    assert answer.content.startswith(starts[kind])


def test_downloads_are_cut_where_the_configuration_says(keeper: Any, browser: TestClient) -> None:
    keeper.config = keeper.config.model_copy(
        update={"serve": keeper.config.serve.model_copy(update={"query_rows": 15_000})}
    )
    answer = browser.get("/sql/download", params={"q": "from range(100000)"})
    assert len(answer.text.splitlines()) == 15_001


def test_runs_are_queued(browser: TestClient, keeper: Any) -> None:
    assert browser.post("/sync", follow_redirects=False).headers["location"] == "/?notice=queued"
    one = browser.post("/sync", data={"credential": "doomed"}, follow_redirects=False)
    assert one.headers["location"] == "/credentials/doomed?notice=queued"
    assert browser.post("/sync", data={"credential": "dommed"}).status_code == 404
    assert keeper.asked == [((), "api"), (("doomed",), "api")]


def test_other_sites_decide_nothing(browser: TestClient, keeper: Any) -> None:
    assert browser.post("/sync", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert keeper.asked == []


def test_forms_are_short(browser: TestClient) -> None:
    assert browser.post("/sync", data={"credential": "x" * 200_000}).status_code == 413


@pytest.mark.parametrize(
    "target", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "x"]
)
def test_a_login_leads_nowhere_else(keeper: Any, browser: TestClient, target: str) -> None:
    serve = keeper.config.serve.model_copy(update={"token": SecretStr("the-token")})
    keeper.config = keeper.config.model_copy(update={"serve": serve})
    sent = browser.get("/runs", follow_redirects=False)
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?next=%2Fruns")
    assert browser.post("/login", data={"token": "wrong", "next": target}).status_code == 401
    answer = browser.post("/login", data={"token": "the-token", "next": target}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert "the-token" not in answer.headers["set-cookie"]
    assert browser.get("/runs").status_code == 200
    browser.post("/logout")
    assert browser.get("/runs", follow_redirects=False).status_code == 303


def test_before_the_first_run_pages_say_what_to_do(keeper: Any, tmp_path: Path) -> None:
    keeper.config = keeper.config.model_copy(update={"store": tmp_path / "other.duckdb"})
    with TestClient(create_app(keeper), base_url="http://127.0.0.1", headers={"accept": "text/html"}) as client:
        answer = client.get("/")
    assert answer.status_code == 200
    assert "Nothing is published yet" in answer.text
    assert "The first run starts" in answer.text


def test_a_person_decides(browser: TestClient, story: Any) -> None:
    answer = browser.post("/credentials/doomed/approve", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/?notice=approved")
    assert rows(story.config, "select count(*) as n from files where credential = 'doomed'") == [{"n": 10}]
    text = browser.get("/?notice=approved").text
    assert "were carried out" in text
    assert "Approve 70" not in text
    again = browser.post("/credentials/doomed/reject")
    assert "no deletions of doomed are held" in again.text


def test_a_decision_during_a_run_is_not_waited_for_for_ever(
    browser: TestClient, keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: Future[int] = Future()
    monkeypatch.setattr(pages, "PATIENCE", 0.05)
    monkeypatch.setattr(keeper, "approve", lambda _name: waiting)
    answer = browser.post("/credentials/doomed/approve", follow_redirects=False)
    assert answer.headers["location"] == "/?notice=decided"
    assert "your decision is carried out after it" in browser.get("/?notice=decided").text
    waiting.cancel()
    stopped = browser.post("/credentials/doomed/approve")
    assert stopped.status_code == 503
    assert "the service is stopping; decide again when it is back" in stopped.text


def test_an_answer_is_worked_out_once_for_each_copy_however_many_ask() -> None:
    remembered, worked = pages.Remembered(), []

    def work() -> int:
        time.sleep(0.02)
        worked.append(1)
        return len(worked)

    def ask(copy: int) -> int:
        inventory: Any = SimpleNamespace(copy=copy)
        return remembered.get(inventory, "files", work)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, [1] * 20)) == {1}
        assert set(pool.map(ask, [2] * 20)) == {2}
