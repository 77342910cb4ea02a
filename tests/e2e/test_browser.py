"""The pages in a real browser: nothing fails, nothing leaves the host, everyone can use them."""

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from etl.report import ReportFormat
from etl.report.inventory import moment, open_published
from etl.report.report import report, written
from etl.web.app import create_app

ARGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
SQL = "/sql?" + urlencode({"q": "select credential, count(*) as files, sum(bytes) as bytes from files group by all"})


@pytest.fixture(scope="module")
def url(keeper: Any) -> Iterator[str]:
    config = uvicorn.Config(create_app(keeper), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """A tab that fails the test where anything in it went wrong or left the host."""
    with browser.new_context(base_url=url, viewport=WIDE, accept_downloads=True) as context:  # type: ignore[arg-type]
        page = context.new_page()
        faults = watched(page, url)
        yield page
        assert faults == []


def lost(request: Request) -> bool:
    """Tell a request that failed from one that was given up because the page was left."""
    return request.failure != "net::ERR_ABORTED"


def watched(page: Page, url: str) -> list[str]:
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "requestfailed", lambda request: faults.append(f"{request.url}: {request.failure}") if lost(request) else None
    )
    page.on("request", lambda request: None if request.url.startswith((url, "data:")) else faults.append(request.url))
    page.on("response", lambda response: faults.append(response.url) if response.status >= 400 else None)
    return faults


@pytest.fixture(scope="module")
def paths(story: Any) -> dict[str, str]:
    with open_published(story.config.store) as inventory:
        ask = "select run_id, file_id from file_changes where change = 'restored' and credential = 'search-prod'"
        [row, *_] = inventory.query(ask).read_all().to_pylist()
    return {
        "overview": "/?since=7d",
        "changes": "/changes?kind=baseline",
        "credential": "/credentials/hostile?offset=50",
        "held": "/credentials/doomed",
        "file": f"/credentials/search-prod/files/{row['file_id']}",
        "runs": "/runs",
        "run": f"/runs/{row['run_id']}",
        "sql": SQL,
        "login": "/login",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_everyone_can_use_every_page(
    browser: Browser, url: str, paths: dict[str, str], scheme: Any, size: Any, shots: Any
) -> None:
    with browser.new_context(base_url=url, viewport=size, color_scheme=scheme) as context:
        page = context.new_page()
        faults = watched(page, url)
        for name, path in paths.items():
            page.goto(path)
            shots(page, f"{name}-{size['width']}-{scheme}")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} scrolls sideways"
            found = Axe().run(page).response["violations"]
            serious = [
                (one["id"], one["nodes"][0]["html"][:150], one["nodes"][0]["failureSummary"][:200])
                for one in found
                if one["impact"] in {"serious", "critical"}
            ]
            assert serious == [], path
        assert faults == []


def test_hostile_names_do_nothing(page: Page, odd_ids: tuple[str, ...]) -> None:
    for path in (
        "/",
        "/changes?kind=baseline&credential=hostile",
        "/credentials/hostile",
        "/credentials/hostile?offset=50",
    ):
        page.goto(path)
        assert page.evaluate("window.hacked") is None
    for odd in odd_ids:
        page.goto(f"/credentials/hostile/files/{quote(odd, safe='')}")
        expect(page.locator("dd.name bdi")).to_have_text(odd)


def test_sql_runs_by_keyboard_and_is_downloaded(page: Page) -> None:
    page.goto("/sql")
    page.get_by_label("DuckDB SQL").fill("select 42 as answer")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("cell", name="42")).to_be_visible()
    assert urlsplit(page.url).query == "q=select+42+as+answer"
    with page.expect_download() as download:
        page.get_by_role("link", name="csv").click()
    assert download.value.suggested_filename == "inventory.csv"
    assert download.value.path().read_text() == "answer\n42\n"


def test_tables_are_sorted(page: Page) -> None:
    page.goto("/sql?" + urlencode({"q": "select * from (values (2), (10), (1)) t(n)"}))
    page.get_by_role("button", name="n", exact=True).click()
    assert page.locator("tbody td").all_inner_texts() == ["1", "2", "10"]
    page.get_by_role("button", name="n", exact=True).click()
    assert page.locator("tbody td").all_inner_texts() == ["10", "2", "1"]


def test_a_newer_run_is_told(page: Page) -> None:
    page.clock.install()
    page.goto("/")
    expect(page.locator("#fresh")).to_be_hidden()
    page.evaluate("document.body.dataset.version = 'older'")
    page.clock.run_for(11_000)
    expect(page.locator("#fresh")).to_be_visible()


def test_the_keyboard_is_enough(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="24h")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/?since=24h")


def test_a_person_decides_without_javascript(browser: Browser, url: str) -> None:
    with browser.new_context(base_url=url, java_script_enabled=False) as context:
        page = context.new_page()
        faults = watched(page, url)
        page.goto("/")
        page.get_by_text("Preview of doomed").click()
        expect(page.get_by_role("region", name="Files of doomed that would be deleted")).to_be_visible()
        page.get_by_role("button", name="Approve 70 deletions").click()
        expect(page.get_by_text("The held deletions were carried out.")).to_be_visible()
        expect(page.get_by_role("button", name="Approve 70 deletions")).to_have_count(0)
        page.get_by_role("button", name="Sync all").click()
        expect(page.get_by_text("A run is queued")).to_be_visible()
        assert faults == []


@pytest.fixture
def shots(request: pytest.FixtureRequest) -> Any:
    """Keep pictures of the pages where --shots says; nowhere else."""
    folder = request.config.getoption("--shots")
    return lambda page, name: page.screenshot(path=f"{folder}/{name}.png", full_page=True) if folder else None


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_everyone_can_read_the_report_from_a_file(
    browser: Browser, story: Any, size: Any, shots: Any, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    with open_published(story.config.store) as inventory:
        path.write_text(written(report(inventory, moment("7d")), ReportFormat.HTML))
    with browser.new_context(viewport=size, offline=True) as context:
        page = context.new_page()
        faults = watched(page, path.as_uri())
        page.goto(path.as_uri())
        shots(page, f"report-{size['width']}")
        serious = [one for one in Axe().run(page).response["violations"] if one["impact"] in {"serious", "critical"}]
        assert serious == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert len(page.pdf()) > 10_000
        assert faults == []
