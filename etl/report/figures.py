"""The standing questions about the inventory, answered in plain Python: what pages and reports show.

Only active credentials count in sums. Sizes are bytes, times are UTC; what is not known is None.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from etl.errors import ConfigError
from etl.transform.words import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.report.inventory import Inventory

Row = dict[str, Any]

STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
"""What time is cut into."""

_MOST_STEPS = 180
"""Longer spans are cut into longer steps, but for days."""


@dataclass(frozen=True)
class Step:
    """A stretch of time: what changed in it, and what was there at its end."""

    at: datetime
    """When it begins."""
    files: int
    """Once for each credential that sees it, as `files_as_of` counts."""
    bytes: int
    """Of the files whose size is known."""
    changes: dict[str, int]
    """How many, by kind; a kind that did not occur is missing."""


@dataclass(frozen=True)
class History:
    """The whole change log, summed up."""

    step: str
    """minute, hour or day."""
    steps: tuple[Step, ...]
    """Without gaps, oldest first."""

    def since(self, moment: datetime) -> History:
        """Return the part that ends after a moment."""
        return History(self.step, tuple(step for step in self.steps if step.at + STEPS[self.step] > moment))


@dataclass(frozen=True)
class Overview:
    """What the first page of a report tells."""

    now: datetime
    since: datetime
    totals: Row
    """files, bytes, unknown_sizes, stale_files, shared_files, oldest."""
    changes: list[Row]
    """What changed since `since`: change, reason, changes, and the bytes that it added."""
    storage: dict[str, list[Row]]
    """By provider, purpose, credential, and `label KEY` of each key: name, files, bytes, unknown_sizes, stale_files."""
    overlaps: list[Row]
    """What several credentials see: credentials, files, bytes, unknown_sizes."""
    quotas: list[Row]
    """How full accounts of known limits are, the fullest first; `used` is 1 where one is full."""
    rules: list[Row]
    """What the rules found at the end of the latest run: rule, state (kept, broken, unchecked), offenders, ..."""
    credentials: list[Row]
    """The rows of `status`, each with `listings`: the latest, oldest first."""
    held: list[Row]
    expiring: list[Row]
    largest: list[Row]
    oldest: list[Row]
    duplicates: list[Row]

    @property
    def changed(self) -> dict[str, int]:
        """How many changes there were, by kind."""
        sums: dict[str, int] = defaultdict(int)
        for row in self.changes:
            sums[row["change"]] += row["changes"]
        return dict(sums)

    @property
    def expired(self) -> int:
        """How many of the deleted files were past their time."""
        return sum(row["changes"] for row in self.changes if row["reason"] == "expired")

    def states(self) -> dict[str, int]:
        """Count the active credentials by state: fresh, stale, held."""
        told = [row["state"] for row in self.credentials]
        return {state: told.count(state) for state in ("fresh", "stale", "held")}


def overview(
    inventory: Inventory, since: datetime, *, now: datetime | None = None, days: int = 7, limit: int = 10
) -> Overview:
    """Answer what the first page asks.

    Args:
        inventory: The published database.
        since: Where the period begins whose changes are counted.
        now: The time it is.
        days: How soon a file must expire to be shown.
        limit: Rows of each list of files.
    """
    now = now or datetime.now(UTC)
    inventory.make("shown_now")
    inventory.make("current_files")
    return Overview(
        now=now,
        since=since,
        totals=ask(inventory, "totals")[0],
        changes=ask(inventory, "changed", since=since),
        storage=storage(inventory),
        overlaps=ask(inventory, "overlaps"),
        quotas=ask(inventory, "quotas"),
        rules=ask(inventory, "rules"),
        credentials=credentials(inventory),
        held=held(inventory),
        expiring=ask(inventory, "expiring", now=now, until=now + timedelta(days=days), limit=limit),
        largest=ask(inventory, "largest", limit=limit),
        oldest=ask(inventory, "oldest", limit=limit),
        duplicates=ask(inventory, "duplicates", limit=limit),
    )


def ask(inventory: Inventory, question: str, **params: Any) -> list[Row]:
    """Return the answer to a standing question as rows."""
    rows: list[Row] = inventory.ask(question, **params).read_all().to_pylist()
    return rows


def history(inventory: Inventory, until: datetime | None = None) -> History:
    """Sum the change log of active credentials up, step by step, until now.

    An update counts the bytes it added to the version before it, a deletion those of that version.
    """
    until = until or datetime.now(UTC)
    [observed] = ask(inventory, "observed")
    if observed["first"] is None:
        return History("day", ())
    step = _step(until - observed["first"])
    sums: dict[datetime, list[Row]] = defaultdict(list)
    for row in ask(inventory, "history", width=STEPS[step] // timedelta(microseconds=1)):
        sums[row["at"]].append(row)
    return History(step, tuple(_cumulated(sums, STEPS[step], max(until, observed["last"]))))


def _step(span: timedelta) -> str:
    return next((name for name, length in STEPS.items() if span <= length * _MOST_STEPS), "day")


def _cumulated(sums: dict[datetime, list[Row]], length: timedelta, until: datetime) -> list[Step]:
    steps, files, size, at = [], 0, 0, min(sums)
    while at <= until:
        rows = sums.get(at, [])
        files += sum(row["files"] for row in rows)
        size += sum(row["bytes"] for row in rows)
        steps.append(Step(at, files, size, {row["change"]: row["changes"] for row in rows}))
        at += length
    return steps


def storage(inventory: Inventory) -> dict[str, list[Row]]:
    """Return who and what takes the room, biggest first; needs the table that `overview` makes."""
    kinds: dict[str, list[Row]] = {"provider": [], "purpose": [], "credential": []}
    for row in ask(inventory, "storage"):
        kinds.setdefault(row.pop("kind"), []).append(row)
    return kinds


@dataclass(frozen=True)
class Former:
    """What was there at an earlier time; what a first listing found later counts: it was there before we looked."""

    totals: Row
    storage: dict[str, list[Row]]


def former(inventory: Inventory, since: datetime) -> Former:
    """Return the totals and the storage of an earlier time, to tell growth from."""
    inventory.make("shown_then", since=since)
    inventory.make("current_files")
    return Former(ask(inventory, "totals")[0], storage(inventory))


def grown(now: dict[str, list[Row]], then: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Add to each row of storage how many files and bytes it has more than then; what is empty now comes last."""
    return {kind: _grown(rows, then.get(kind, [])) for kind, rows in now.items()}


def _grown(now: list[Row], then: list[Row]) -> list[Row]:
    was = {row["name"]: row for row in then}
    names = {row["name"] for row in now}
    empty = {"files": 0, "bytes": None, "unknown_sizes": 0, "stale_files": 0}
    gone = [{"name": row["name"]} | empty for row in then if row["name"] not in names]
    return [row | growth(row, was.get(row["name"], empty)) for row in (*now, *gone)]


def growth(now: Row, then: Row) -> Row:
    """Return how many files and bytes of known size there are more than then."""
    return {
        "more_files": now["files"] - then["files"],
        "more_bytes": (now["bytes"] or 0) - (then["bytes"] or 0),
    }


def credentials(inventory: Inventory, listings: int = 30) -> list[Row]:
    """Return the state of every credential, with its latest listings, oldest first."""
    recent: dict[str, list[Row]] = defaultdict(list)
    for row in ask(inventory, "recent_listings", listings=listings):
        recent[row["credential"]].append(row)
    return [row | {"listings": recent[row["credential"]]} for row in ask(inventory, "status")]


def held(inventory: Inventory, preview: int = 20) -> list[Row]:
    """Return what waits for a person, by credential: files, bytes, unknown_sizes, error, and the biggest files."""
    return ask(inventory, "held", preview=preview)


@dataclass(frozen=True)
class Filter:
    """Which changes to show; None lets all through, but for `change`, where it leaves the baseline out."""

    credential: str | None = None
    change: str | None = None
    since: datetime | None = None
    text: str | None = None
    """Part of a filename in any case, or a whole file id."""
    before: int | None = None
    """Only changes with a smaller change_id: the next page."""

    def __post_init__(self) -> None:
        if self.change and self.change not in {*Change}:
            raise ConfigError(f"{self.change} is no kind of change; known are {', '.join(Change)}")


def latest_changes(inventory: Inventory, wanted: Filter, limit: int = 50) -> list[Row]:
    """Return changes, the latest first."""
    return ask(inventory, "latest_changes", **vars(wanted), limit=limit)


@dataclass(frozen=True)
class Version:
    """One entry of a file's history."""

    row: Row
    """The change and the record after it; of a deletion, as last known."""
    differences: list[tuple[str, Any, Any]] = field(default_factory=list)
    """Field, old value, new value."""


RECORD = (
    "filename",
    "bytes",
    "purpose",
    "status",
    "status_details",
    "mime_type",
    "created_at",
    "expires_at",
    "provider",
)
"""The fields of a record, as people want to read them."""


def versions(inventory: Inventory, credential: str, file_id: str) -> list[Version]:
    """Return all that happened to a file, the latest first.

    Raises:
        ConfigError: The credential never had such a file.
    """
    inventory.expect_credential(credential)
    rows = ask(inventory, "file_versions", credential=credential, file_id=file_id)
    if not rows:
        raise ConfigError(f"{credential} has no file {file_id}, now or before")
    before: Sequence[Row | None] = [None, *rows]
    told = [Version(row, _differences(was, row)) for was, row in zip(before, rows, strict=False)]
    return told[::-1]


def _differences(was: Row | None, row: Row) -> list[tuple[str, Any, Any]]:
    if was is None or row["change"] == Change.DELETED:
        return []
    fields = row["changed_fields"] or [name for name in RECORD if was[name] != row[name]]
    return [(name, was[name], row[name]) for name in fields if name in row]


def run(inventory: Inventory, run_id: str, limit: int = 200) -> Row:
    """Return a run, with its `listings` and the first `rejected` records.

    Raises:
        ConfigError: There is no such run.
    """
    found = ask(inventory, "run", run_id=run_id)
    if not found:
        raise ConfigError(f"there is no run {run_id}{_latest_run(inventory)}")
    listings = ask(inventory, "run_listings", run_id=run_id)
    return decoded(found[0]) | {
        "listings": listings,
        "rejected": ask(inventory, "run_rejected", run_id=run_id, limit=limit),
    }


def _latest_run(inventory: Inventory) -> str:
    latest = ask(inventory, "runs", before=None, limit=1)
    return f"; the latest is {latest[0]['run_id']}" if latest else ""


def runs(inventory: Inventory, before: datetime | None = None, limit: int = 50) -> list[Row]:
    """Return runs with their totals, the latest first."""
    return [decoded(row) for row in ask(inventory, "runs", before=before, limit=limit)]


def decoded(row: Row) -> Row:
    """Read the columns that hold JSON."""
    return row | {name: json.loads(row[name] or "{}") for name in ("totals", "labels") if name in row}


def credential(inventory: Inventory, name: str) -> Row:
    """Return a credential as configured, with its `state`.

    Raises:
        ConfigError: None of that name was ever configured.
    """
    inventory.expect_credential(name)
    [state] = [row for row in ask(inventory, "status") if row["credential"] == name]
    return decoded(ask(inventory, "credential", credential=name)[0]) | {"state": state}
