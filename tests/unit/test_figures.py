"""The standing questions, against what the simulated provider knows to be true."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.errors import ConfigError
from etl.report import figures
from etl.report.inventory import Inventory, open_published

EPOCH = datetime.fromtimestamp(0, UTC)


@pytest.fixture
def inventory(story: Any) -> Iterator[Inventory]:
    with open_published(story.config.store) as inventory:
        yield inventory


@pytest.fixture
def overview(inventory: Inventory) -> figures.Overview:
    return figures.overview(inventory, EPOCH)


@pytest.fixture
def truth(story: Any) -> list[dict[str, Any]]:
    """What is known of every account: what it holds, and, where deletions are held, what it held."""
    accounts = story.simulator.accounts
    known = {name: list(account.files.values()) for name, account in accounts.items()}
    known["doomed"] += list(accounts["doomed"].gone.values())
    return [file | {"account": name} for name, files in known.items() for file in files]


def test_totals_count_each_file_once(overview: figures.Overview, truth: list[dict[str, Any]]) -> None:
    totals = overview.totals
    assert totals["files"] == len(truth)
    assert totals["bytes"] == sum(file["bytes"] for file in truth)
    assert totals["shared_files"] == sum(file["account"] == "search" for file in truth)
    assert totals["stale_files"] == sum(file["account"] in {"old", "refused", "doomed"} for file in truth)
    assert totals["oldest"] == datetime.fromtimestamp(min(file["created_at"] for file in truth), UTC)


def test_storage_is_told_by_whom_and_for_what(overview: figures.Overview, truth: list[dict[str, Any]]) -> None:
    purposes, teams = Counter[str](), Counter[str]()
    for file in truth:
        purposes[file["purpose"]] += file["bytes"]
        teams[file["account"]] += file["bytes"]
    assert {row["name"]: row["bytes"] for row in overview.storage["purpose"]} == purposes
    assert {row["name"]: row["bytes"] for row in overview.storage["label team"]} == teams
    env = {row["name"]: row["files"] for row in overview.storage["label env"]}
    assert env == {"prod": len(truth), "dev": sum(file["account"] == "search" for file in truth)}
    credentials = {row["name"]: row["bytes"] for row in overview.storage["credential"]}
    assert credentials["search-prod"] == credentials["search-dev"] == teams["search"]


def test_lists_of_files_are_the_extremes(overview: figures.Overview, truth: list[dict[str, Any]]) -> None:
    largest = sorted((file["bytes"] for file in truth), reverse=True)[:10]
    assert [row["bytes"] for row in overview.largest] == largest
    oldest = sorted(file["created_at"] for file in truth)[:10]
    assert [int(row["created_at"].timestamp()) for row in overview.oldest] == oldest
    named = Counter((file["filename"], file["bytes"]) for file in truth)
    assert {(row["filename"], row["bytes"]) for row in overview.duplicates} == {
        key for key, count in named.items() if count > 1
    }
    due = (overview.now + timedelta(days=7)).timestamp()
    expiring = {file["id"] for file in truth if file.get("expires_at", due) < due}
    assert {row["file_id"] for row in overview.expiring} <= expiring
    assert {row["total"] for row in overview.expiring} <= {len(expiring)}


def test_changes_are_counted_by_kind(story: Any, overview: figures.Overview, inventory: Inventory) -> None:
    rows = inventory.query("select change from file_changes").read_all()["change"].to_pylist()
    assert overview.changed == Counter(rows)
    assert overview.states() == {"fresh": 4, "stale": 2, "held": 1}
    assert [len(row["listings"]) for row in overview.credentials] == [4] * 7
    [held] = overview.held
    gone = story.simulator.accounts["doomed"].gone.values()
    assert (held["credential"], held["files"], held["bytes"]) == ("doomed", 70, sum(file["bytes"] for file in gone))
    assert [row["bytes"] for row in held["preview"]] == sorted((file["bytes"] for file in gone), reverse=True)[:20]


def test_history_agrees_with_files_as_of_any_time(inventory: Inventory) -> None:
    history = figures.history(inventory)
    ask = "select count(*) as files, coalesce(sum(bytes), 0)::bigint as bytes from files_as_of($ts)"
    for step in history.steps[:: max(1, len(history.steps) // 20)] + history.steps[-1:]:
        end = step.at + figures.STEPS[history.step] - timedelta(microseconds=1)
        [there] = inventory.query(ask, ts=end).read_all().to_pylist()
        assert (step.files, step.bytes) == (there["files"], there["bytes"]), step.at
    gaps = {later.at - before.at for before, later in zip(history.steps, history.steps[1:], strict=False)}
    assert gaps == {figures.STEPS[history.step]}


def test_changes_are_filtered(inventory: Inventory) -> None:
    deleted = figures.latest_changes(inventory, figures.Filter("search-prod", "deleted"))
    assert len(deleted) == 4
    name = deleted[0]["filename"]
    assert figures.latest_changes(inventory, figures.Filter(change="deleted", text=name.upper()[2:-2]))
    assert figures.latest_changes(inventory, figures.Filter(text=deleted[0]["file_id"]))[0]["change"] == "deleted"
    assert figures.latest_changes(inventory, figures.Filter(since=datetime.now(UTC) + timedelta(days=1))) == []
    with pytest.raises(ConfigError, match="moved is no kind of change"):
        figures.Filter(change="moved")


def test_versions_tell_old_and_new(inventory: Inventory) -> None:
    [changed, *_] = figures.latest_changes(inventory, figures.Filter("search-prod", "updated"))
    versions = figures.versions(inventory, "search-prod", changed["file_id"])
    updated, first = versions[-2:]
    assert (first.row["change"], first.differences, first.row["valid_to"]) == (
        "baseline",
        [],
        updated.row["observed_at"],
    )
    told = {field: (old, new) for field, old, new in updated.differences}
    assert told["status"] == (first.row["status"], updated.row["status"])
    with pytest.raises(ConfigError, match="has no file nowhere"):
        figures.versions(inventory, "search-prod", "nowhere")


def test_runs_are_whole(inventory: Inventory) -> None:
    runs = figures.runs(inventory)
    assert [run["totals"]["credentials"] for run in runs] == [7, 7, 7, 7]
    shown = figures.run(inventory, runs[0]["run_id"])
    assert {row["credential"]: row["status"] for row in shown["listings"]}["refused"] == "failed"
    assert figures.runs(inventory, before=runs[0]["started_at"]) == runs[1:]
