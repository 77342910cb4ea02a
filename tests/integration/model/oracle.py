"""What an inventory must say, worked out in plain Python from the contract alone; nothing of the product is used."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Row = dict[str, Any]

TOLD = ("filename", "bytes", "purpose", "status", "status_details", "created_at", "expires_at")
"""Columns that the simulated provider tells; any of them that differs makes a version."""
STRANGE = 5
"""So many known files are never all replaced between two listings of one account."""
LIVES = {"gemini": timedelta(hours=48), "cohere": timedelta(days=30)}
KINDS = ("baseline", "created", "updated", "deleted", "restored")


@dataclass(frozen=True)
class Settings:
    """How a credential is configured."""

    key: str
    host: int = 0
    purpose: str | None = None
    provider: str | None = None
    count: int = 20

    @property
    def place(self) -> tuple[object, ...]:
        """What decides which files it shows, but for its key."""
        return self.host, self.purpose, self.provider

    @property
    def scope(self) -> tuple[object, ...]:
        """The same with its key: another one may be another account."""
        return self.place, self.key

    def wants(self, record: Row) -> bool:
        return self.purpose is None or record["purpose"] in {None, self.purpose}


@dataclass(frozen=True)
class Shown:
    """What one listing shows, and whether its end is proven."""

    verdict: str
    records: list[Row] = field(default_factory=list)
    """As the provider words them."""
    unreadable: list[Row] = field(default_factory=list)

    def rows(self, provider: str | None) -> dict[str, Row]:
        return {record["id"]: _row(record, provider) for record in self.records}

    @property
    def present(self) -> set[str]:
        """What is there, though it cannot be read."""
        return {record["id"] for record in self.unreadable if record["id"] is not None}

    def and_again(self, second: Shown) -> Shown:
        """Only what both lack is gone; a second one that is not complete confirms nothing."""
        again = {record["id"] for record in second.records}
        records = [*second.records, *(record for record in self.records if record["id"] not in again)]
        unreadable = {json.dumps(record): record for record in self.unreadable + second.unreadable}
        verdict = "complete" if second.verdict == "complete" else "incomplete"
        return Shown(verdict, records, list(unreadable.values()))


@dataclass
class Known:
    """What is known of one credential."""

    settings: Settings
    files: dict[str, Row] = field(default_factory=dict)
    log: list[Row] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    """Runs that first held the deletion of a file, by its id."""
    unread: set[str] = field(default_factory=set)
    added: Counter[tuple[str, str, str | None]] = field(default_factory=Counter)
    """Bytes that each kind of change brought, by column of the totals."""
    active: bool = True
    attempted: datetime | None = None
    as_of: datetime | None = None
    verdict: str | None = None
    seen_by: Settings | str | None = None
    """The settings of the last listing that was judged; `mixed` where later pages came from another place."""
    refused: bool = False
    """Whether a person kept files that no listing had since."""

    def look(self, show: Callable[[int], Shown], clock: datetime) -> Shown:
        """List; list again what lacks too much to be believed at once."""
        first = show(1)
        if first.verdict != "complete":
            return first
        missing, known = self._missing(first, clock)
        percent = 10
        much = missing > self.settings.count and missing * 100 > percent * known
        return first.and_again(show(2)) if much or self._strange(first, clock) else first

    def take(self, shown: Shown, run_id: str, clock: datetime, at: datetime) -> Counter[str]:
        """Apply what a listing proves; return what it did."""
        told = self._told(shown)
        doubt = self._doubt(shown, clock)
        baseline = self._new_ground(shown, clock)
        counts: Counter[str] = Counter(records=len(told), rejected=len(shown.unreadable))
        came = self._came(told)
        for key, row in told.items():
            counts[self._seen(key, row, came, "baseline" if baseline else "created", run_id, at)] += 1
        for key in self.held.keys() & (told.keys() | shown.present):
            del self.held[key]
        if shown.verdict == "complete":
            for key in self._lacking(shown):
                if doubt or key in self.held:
                    self.held.setdefault(key, run_id)
                    counts["held"] += 1
                else:
                    self._delete(key, run_id, at)
                    counts["deleted"] += 1
        self.unread |= {json.dumps(record, sort_keys=True) for record in shown.unreadable}
        self._judged("held" if counts["held"] and shown.verdict == "complete" else shown.verdict, at)
        return counts

    def approve(self, at: datetime) -> int:
        run_id = max(self.held.values())
        for key in self.held:
            self._delete(key, run_id, at)
        if self.verdict == "held":
            self.as_of = self.attempted
        held, self.held = len(self.held), {}
        return held

    def reject(self) -> int:
        held, self.held = len(self.held), {}
        self.refused = True
        return held

    def was(self, moment: datetime) -> Iterable[Row]:
        """The files as they were known at a time, by the log."""
        latest: dict[str, Row] = {}
        first: dict[str, datetime] = {}
        for entry in self.log:
            if entry["observed_at"] <= moment:
                latest[entry["file_id"]] = entry
                first.setdefault(entry["file_id"], entry["observed_at"])
        for key, entry in latest.items():
            if entry["change"] != "deleted":
                row = {name: entry[name] for name in ("file_id", "provider", *TOLD, "extra")}
                yield row | {"first_seen_at": first[key], "changed_at": entry["observed_at"]}

    def history(self) -> Iterable[Row]:
        """Every version with its validity."""
        versions: dict[str, list[Row]] = {}
        for entry in self.log:
            versions.setdefault(entry["file_id"], []).append(entry)
        for entries in versions.values():
            ends = [entry["observed_at"] for entry in entries[1:]]
            for entry, until in zip_longest(entries, ends):
                if entry["change"] != "deleted":
                    version = {name: value for name, value in entry.items() if name not in {"observed_at", "reason"}}
                    yield version | {"valid_from": entry["observed_at"], "valid_to": until}

    def _lacking(self, shown: Shown) -> list[str]:
        there = {record["id"] for record in shown.records} | shown.present
        return [key for key, row in self.files.items() if key not in there and self.settings.wants(row)]

    def _missing(self, shown: Shown, clock: datetime) -> tuple[int, int]:
        """Files that are gone before their time, and how many were known to be there."""
        lacking = self._lacking(shown)
        expired = sum(self._is_due(self.files[key], clock) for key in lacking)
        return len(lacking) - expired, sum(map(self.settings.wants, self.files.values())) - expired

    def _is_due(self, row: Row, clock: datetime) -> bool:
        """Whether a file is expected to be gone: its time has passed, and it was not listed a day after that."""
        outlived = self.as_of is not None and _expired(row, self.as_of - timedelta(days=1))
        return _expired(row, clock) and not outlived

    def _strange(self, shown: Shown, clock: datetime) -> bool:
        missing, known = self._missing(shown, clock)
        return shown.verdict == "complete" and known == missing >= STRANGE and bool(shown.records)

    def _doubt(self, shown: Shown, clock: datetime) -> bool:
        missing, known = self._missing(shown, clock)
        half = 50
        much = missing > self.settings.count and missing * 100 > half * known
        moved = self.seen_by == "mixed" or (
            isinstance(self.seen_by, Settings) and self.seen_by.scope != self.settings.scope
        )
        return bool(missing) and (self.refused or moved or not shown.records or much or self._strange(shown, clock))

    def _new_ground(self, shown: Shown, clock: datetime) -> bool:
        """Whether what is new was most likely there before we looked."""
        last = self.seen_by
        elsewhere = last == "mixed" or (isinstance(last, Settings) and last.place != self.settings.place)
        return self.as_of is None or elsewhere or self._strange(shown, clock)

    def _told(self, shown: Shown) -> dict[str, Row]:
        """What is shown, with what the API stopped telling of every file as it was known."""
        rows = shown.rows(self.settings.provider)
        both = rows.keys() & self.files.keys()
        for name in TOLD:
            lost = sum(self.files[key][name] is not None for key in both)
            if all(row[name] is None for row in rows.values()) and lost > self.settings.count and 2 * lost > len(both):
                for key in both:
                    rows[key][name] = self.files[key][name]
        return rows

    def _came(self, told: dict[str, Row]) -> set[str]:
        """What the API tells of every file now, and told of none before."""
        both = told.keys() & self.files.keys()
        return {
            name
            for name in TOLD
            if len(both) > self.settings.count
            and all(self.files[key][name] is None and told[key][name] is not None for key in both)
        }

    def _seen(self, key: str, row: Row, came: set[str], new: str, run_id: str, at: datetime) -> str:
        before = self.files.get(key)
        if before is None:
            earlier = [entry for entry in self.log if entry["file_id"] == key]
            first = earlier[0]["observed_at"] if earlier else at
            self.files[key] = row | {"first_seen_at": first, "changed_at": at}
            kind = "restored" if earlier else new
            self._note(kind, row, run_id, at, row["bytes"] or 0)
            return kind
        changed = [name for name in TOLD if row[name] != before[name]]
        grown = (row["bytes"] or 0) - (before["bytes"] or 0)
        if real := [name for name in changed if name not in came]:
            self.files[key] = row | {"first_seen_at": before["first_seen_at"], "changed_at": at}
            self._note("updated", row, run_id, at, grown, fields=real)
            return "updated"
        self.files[key] = before | {name: row[name] for name in changed}
        self.added[run_id, "updated", None] += grown
        return "unchanged"

    def _delete(self, key: str, run_id: str, at: datetime) -> None:
        row = self.files.pop(key)
        last = {name: row[name] for name in ("file_id", "provider", *TOLD, "extra")}
        reason = "expired" if _expired(row, at) else "missing"
        self._note("deleted", last, run_id, at, -(row["bytes"] or 0), reason=reason)

    def _note(
        self,
        change: str,
        row: Row,
        run_id: str,
        at: datetime,
        grown: int,
        *,
        reason: str | None = None,
        fields: list[str] | None = None,
    ) -> None:
        entry = {"run_id": run_id, "observed_at": at, "change": change, "reason": reason, "changed_fields": fields}
        self.log.append(entry | row)
        self.added[run_id, change, reason] += grown

    def _judged(self, verdict: str, at: datetime) -> None:
        self.attempted, self.verdict = at, verdict
        if verdict == "complete":
            self.as_of = at
        if verdict in {"complete", "held"}:
            self.seen_by, self.refused = self.settings, False
        elif verdict == "incomplete":
            last = self.seen_by
            same = last is None or (isinstance(last, Settings) and last.scope == self.settings.scope)
            self.seen_by = self.settings if same else "mixed"


def _row(record: Row, provider: str | None) -> Row:
    unknown = {name: value for name, value in record.items() if name not in {"id", "object", *TOLD}}
    told = {name: record.get(name) for name in TOLD}
    told |= {name: _instant(told[name]) for name in ("created_at", "expires_at")}
    extra = json.dumps(unknown, separators=(",", ":")) if unknown else None
    return {"file_id": record["id"], "provider": provider} | told | {"extra": extra}


def _instant(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _expired(row: Row, moment: datetime) -> bool:
    until: datetime | None = row["expires_at"]
    if until is None and row["provider"] in LIVES and row["created_at"]:
        until = row["created_at"] + LIVES[row["provider"]]
    return until is not None and until <= moment
