"""What the figures count, on small inventories made by hand and on change logs made at random."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import pairwise
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.report import figures
from etl.report.figures import STEPS, Filter
from etl.report.inventory import Inventory

START = datetime(2026, 3, 1, 7, 30, 11, tzinfo=UTC)
NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
SIZES = st.none() | st.integers(0, 5)
Row = tuple[Any, ...]


MIGRATIONS = [
    file.read_text()
    for file in sorted(resources.files("etl.load").joinpath("sql", "migrations").iterdir(), key=lambda file: file.name)
]


@pytest.fixture(scope="module")
def empty() -> Iterator[Inventory]:
    """An inventory of two active credentials, a and b, that see one account, and of one given up, c."""
    labels = {"a": {"team": "x", "env": "prod"}, "b": {"team": "y"}, "c": {"team": "z"}}
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("set timezone = 'UTC'; set enable_progress_bar = false")
        for migration in MIGRATIONS:
            connection.execute(migration)
        for name, own in labels.items():
            connection.execute(
                "insert into credentials (name, type, provider, base_url, labels, active, stale_after, last_attempt_at,"
                " last_complete_at) values (?, 'openai', 'openai', 'https://x', ?, ?, 3600, ?, ?)",
                [name, json.dumps(own), name != "c", NOW, NOW],
            )
        yield Inventory(connection)


def fill(inventory: Inventory, table: str, rows: list[Row]) -> None:
    """Replace what a table holds; with the change log, what it adds up to, as the migration does that counts it."""
    inventory.connection.execute(f"delete from {table}")
    if rows:
        inventory.connection.executemany(f"insert into {table} values ({', '.join('?' * len(rows[0]))})", rows)
    if table == "file_changes":
        _, count, *_ = inventory.connection.extract_statements(MIGRATIONS[1])
        inventory.connection.execute("delete from change_totals")
        inventory.connection.execute(count)


def change(number: int, at: datetime, credential: str, file_id: str, kind: str, size: int | None, *fields: str) -> Row:
    told = (kind, None, list(fields) or None, "openai", f"{file_id}.txt", size, "batch", "processed")
    return (number, "run", at, credential, file_id, *told, None, None, None, None, None)


def file(credential: str, file_id: str, size: int | None, purpose: str = "batch", **told: Any) -> Row:
    name = told.get("filename", f"{file_id}.txt")
    times = (told.get("created_at", START), told.get("expires_at"))
    return (credential, file_id, "openai", name, size, purpose, "processed", None, None, *times, None, START, START)


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """Let files come, change, go and come back, as a store logs it."""
    log: list[Row] = []
    there: dict[tuple[str, str], int | None] = {}
    before: set[tuple[str, str]] = set()
    at = START
    unit = draw(st.sampled_from([timedelta(seconds=20), timedelta(hours=5), timedelta(days=3)]))
    for number in range(draw(st.integers(1, 25))):
        at += draw(st.integers(0, 3)) * unit
        key = (draw(st.sampled_from("abc")), draw(st.sampled_from(["f1", "f2", "f3"])))
        size, fields = draw(SIZES), list[str]()
        # A size that an API begins to tell for all files is known from then on, though no change says so.
        taken_over = key in there and there[key] is None and draw(st.booleans())
        if key in there and draw(st.booleans()):
            known = there.pop(key)
            kind, size = "deleted", size if taken_over else known
        elif key in there:
            kind, fields = "updated", ["status"] if taken_over or size == there[key] else ["bytes"]
            there[key] = size
        else:
            kind = "restored" if key in before else draw(st.sampled_from(["baseline", "created"]))
            there[key] = size
        before.add(key)
        log.append(change(number, at, *key, kind, size, *fields))
    return log


@settings(deadline=None, max_examples=80)
@given(log=logs())
def test_the_history_ends_every_step_with_what_was_there_then(empty: Inventory, log: list[Row]) -> None:
    fill(empty, "file_changes", log)
    last = log[-1][2]
    history = figures.history(empty, last)
    eventful = [step for step in history.steps if step.changes]
    then = "select count(*), coalesce(sum(bytes), 0) from files_as_of($t) where credential <> 'c'"
    for step in {*(one.at for one in (*eventful, *history.steps[::40], *history.steps[-1:]))}:
        [shown] = [one for one in history.steps if one.at == step]
        end = step + STEPS[history.step] - timedelta(microseconds=1)
        assert empty.connection.execute(then, {"t": end}).fetchone() == (shown.files, shown.bytes)
    counted = Counter(kind for _, _, _, credential, _, kind, *_ in log if credential != "c")
    assert sum((Counter(step.changes) for step in history.steps), Counter()) == counted
    assert {after.at - before.at for before, after in pairwise(history.steps)} <= {STEPS[history.step]}


@pytest.mark.parametrize(("days", "step"), [(0.1, "minute"), (6, "hour"), (8, "day"), (2000, "day")])
def test_the_longer_the_history_the_longer_its_steps(empty: Inventory, days: float, step: str) -> None:
    fill(empty, "file_changes", [change(0, START, "a", "f", "baseline", 1)])
    assert figures.history(empty, START + timedelta(days=days)).step == step


def test_a_history_of_nothing_is_empty(empty: Inventory) -> None:
    fill(empty, "file_changes", [])
    assert figures.history(empty).steps == ()


@pytest.fixture
def stocked(empty: Inventory) -> Inventory:
    """What a and b both see, what only one of them sees, what is of unknown size, and what only c saw."""
    rows = [
        *(file(name, "shared", 100) for name in "abc"),
        file("a", "mine", 40, expires_at=NOW + timedelta(days=2), filename="same.txt"),
        file("b", "yours", 40, "vision", expires_at=NOW + timedelta(days=20), filename="same.txt"),
        file("b", "late", None, "vision", created_at=None, expires_at=NOW - timedelta(days=1)),
        file("c", "lost", 7000),
    ]
    fill(empty, "files", rows)
    return empty


def test_a_file_that_several_credentials_see_counts_once_and_inactive_ones_count_nothing(stocked: Inventory) -> None:
    totals = figures.overview(stocked, START, now=NOW).totals
    assert (totals["files"], totals["bytes"], totals["unknown_sizes"], totals["shared_files"]) == (4, 180, 1, 1)


def test_storage_is_shared_out_by_every_way_to_tell_files_apart(stocked: Inventory) -> None:
    told = {
        kind: {row["name"]: (row["files"], row["bytes"], row["unknown_sizes"]) for row in rows}
        for kind, rows in figures.overview(stocked, START, now=NOW).storage.items()
    }
    assert told == {
        "provider": {"openai": (4, 180, 1)},
        "purpose": {"batch": (2, 140, 0), "vision": (2, 40, 1)},
        "credential": {"a": (2, 140, 0), "b": (3, 140, 1)},
        "label team": {"x": (2, 140, 0), "y": (3, 140, 1)},
        "label env": {"prod": (2, 140, 0), None: (3, 140, 1)},
    }


def test_what_active_credentials_hold_is_what_unique_files_tells(stocked: Inventory) -> None:
    figures.overview(stocked, START, now=NOW)
    columns = "provider, file_id, filename, bytes, purpose, created_at, expires_at"
    told = f"select {columns} from unique_files where list_has_any(credentials, ['a', 'b']) order by all"
    found = stocked.query(f"select {columns} from current_files order by all").read_all()
    assert found == stocked.query(told).read_all()


def test_one_file_seen_twice_is_no_duplicate(stocked: Inventory) -> None:
    [twice] = figures.overview(stocked, START, now=NOW).duplicates
    assert (twice["filename"], twice["files"], twice["spare_bytes"]) == ("same.txt", 2, 40)
    assert twice["credentials"] == ["a", "b"]


def test_what_should_have_gone_is_told_with_what_goes_soon(stocked: Inventory) -> None:
    expiring = figures.overview(stocked, START, now=NOW).expiring
    assert [(row["file_id"], row["overdue"]) for row in expiring] == [("late", True), ("mine", False)]


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (Filter(), [4, 3, 2, 1]),
        (Filter(change="baseline"), [0]),
        (Filter(credential="b"), [4]),
        (Filter(since=START + timedelta(days=3)), [4, 3]),
        (Filter(before=3), [2, 1]),
        (Filter(text="F2.T"), [4, 2]),
        (Filter(text="f1"), [3, 1]),
        (Filter(text="%"), []),
    ],
)
def test_changes_are_filtered_and_paged(empty: Inventory, wanted: Filter, numbers: list[int]) -> None:
    told = [("a", "f1", "baseline"), ("a", "f1", "updated"), ("a", "f2", "created"), ("a", "f1", "deleted")]
    log = [change(n, START + timedelta(days=n), *one, 1) for n, one in enumerate([*told, ("b", "f2", "created")])]
    fill(empty, "file_changes", log)
    assert [row["change_id"] for row in figures.latest_changes(empty, wanted)] == numbers


def test_a_file_that_came_back_tells_what_changed_while_it_was_gone(empty: Inventory) -> None:
    at = [START + timedelta(days=day) for day in range(4)]
    log = [
        change(0, at[0], "a", "f", "created", 1),
        change(1, at[1], "a", "f", "updated", 2, "bytes"),
        change(2, at[2], "a", "f", "deleted", 2),
        change(3, at[3], "a", "f", "restored", 5),
    ]
    fill(empty, "file_changes", log)
    told = figures.versions(empty, "a", "f")
    assert [(one.row["change"], one.differences) for one in told] == [
        ("restored", [("bytes", 2, 5)]),
        ("deleted", []),
        ("updated", [("bytes", 1, 2)]),
        ("created", []),
    ]
    assert [one.row["valid_to"] for one in told] == [None, at[3], at[2], at[1]]
