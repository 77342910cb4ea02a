"""The report over a history in which much has happened."""

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from etl import cli
from etl.report import ReportFormat
from etl.report.inventory import Inventory, open_published
from etl.report.report import Report, report, written


@pytest.fixture
def inventory(story: Any) -> Any:
    with open_published(story.config.store) as inventory:
        yield inventory


@pytest.fixture
def week(inventory: Inventory) -> Report:
    return report(inventory, datetime.now(UTC) - timedelta(days=7))


class Page(HTMLParser):
    """What a page holds: its text, and all it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.refers += [f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "srcset", "action"}]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_else(week: Report) -> None:
    text = written(week, ReportFormat.HTML)
    page = Page(text)
    assert page.refers == []
    assert page.tags.isdisjoint({"script", "link", "iframe", "img", "form", "button"})
    assert "url(" not in text
    assert "@import" not in text


def test_the_page_tells_what_is_held_what_changed_and_what_waits(week: Report) -> None:
    page = " ".join(Page(written(week, ReportFormat.HTML)).text.split())
    assert week.summary() in page
    assert "file-inventory approve doomed" in page
    assert "refused : last listing failed" in page or "refused: last listing failed" in page
    for heading in ("Over time", "Who and what takes the room", "Largest", "Oldest", "Possible duplicates"):
        assert heading in page


def test_the_summary_agrees_with_sql(week: Report, inventory: Inventory) -> None:
    def one(sql: str) -> Any:
        return next(iter(inventory.query(sql).read_all().to_pylist()[0].values()))

    changed = {
        kind: one(f"select count(*) from file_changes where change = '{kind}'") for kind in ("created", "deleted")
    }
    assert week.summary().startswith(f"{one('select count(*) from unique_files'):,} files are held, ")
    assert f"{changed['created']} created" in week.summary()
    assert f"{changed['deleted']} deleted" in week.summary()
    assert f"{one('select count(*) from held_deletions')} deletions wait for a person" in week.summary()


def test_hostile_names_stay_text(week: Report, hostile_names: dict[str, str]) -> None:
    page = Page(written(week, ReportFormat.HTML))
    assert "script" not in page.tags
    assert "img" not in page.tags
    markdown = written(week, ReportFormat.MARKDOWN)
    assert hostile_names["markup"] not in markdown
    assert "\x1b" not in markdown


def test_markdown_holds_whole_tables(week: Report) -> None:
    lines = written(week, ReportFormat.MARKDOWN).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert {line.count(" | ") for line in tables if not line.startswith("| ---")} <= {3, 4}
    assert lines[2] == week.summary()
    assert "| doomed | held |" in "\n".join(lines)


def test_json_tells_the_same_in_numbers(week: Report) -> None:
    told = json.loads(written(week, ReportFormat.JSON))
    assert told["summary"] == week.summary()
    assert told["overview"]["totals"]["files"] == week.overview.totals["files"]
    assert told["growth"] == week.growth
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", told["since"])


def test_a_period_without_changes_says_so(inventory: Inventory) -> None:
    quiet = report(inventory, datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) + timedelta(hours=2))
    assert "In the period, nothing changed." in quiet.summary()
    assert quiet.notable == []
    assert "No change matches." in written(quiet, ReportFormat.HTML)


@pytest.mark.parametrize("kind", [*ReportFormat])
def test_the_command_writes_each_kind(story: Any, tmp_path: Path, kind: str) -> None:
    config = tmp_path / "inventory.yaml"
    config.write_text(f"store: {story.config.store}\n")
    target = tmp_path / f"report.{kind}"
    with pytest.raises(SystemExit) as left:
        cli.main(["--config", str(config), "report", "--since", "30d", "--format", kind, "--output", str(target)])
    assert left.value.code == 0
    assert "files are held" in target.read_text()
