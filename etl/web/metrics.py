"""What is measured, named as https://prometheus.io/docs/practices/naming/ asks.

No series has a purpose for a label: providers and their users make purposes up, so nothing bounds how many there are.
SQL and the API answer for them. What is not known has no sample, never 0.
"""

from __future__ import annotations

import shutil
import time
from array import array
from bisect import bisect
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import product
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, PlatformCollector, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from etl.errors import FileInventoryError, NothingPublished
from etl.load.embedded import Embedded
from etl.load.home import shown
from etl.load.store import Outcome, Run
from etl.report.inventory import open_published, published_at
from etl.transform.words import Change, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from prometheus_client import Metric

    from etl.config import Config
    from etl.places import Place
    from etl.web.control import Control

Row = dict[str, Any]

OF_CREDENTIALS = {
    "credential_stale": "1 where the last complete listing is older than stale_after, or there is none.",
    "last_attempt_timestamp_seconds": "When the last listing ended, whatever its verdict.",
    "last_complete_timestamp_seconds": "When the last complete listing ended; absent where there is none.",
    "last_listing_duration_seconds": "How long the last listing took.",
    "files": "Files that are there now; absent before any were listed.",
    "known_bytes": "Size of the files whose size is known; absent where none is.",
    "files_of_unknown_size": "Files whose size the provider does not tell.",
    "expiring_files": "Files that expire within alerts.expiring_within, 7 days unless configured.",
    "held_deletions": "Deletions that wait for approve or reject.",
}
"""Gauges of every configured credential; but for the two that depend on the time, a column has the name."""

OF_TOTALS = {
    "unique_files": "Files of all configured credentials, each counted once however many see it.",
    "unique_known_bytes": "Size of those whose size is known; absent where none is.",
}

OF_LISTINGS = {
    "records": ("records_listed", "Files listed, whether new or known."),
    "requests": ("requests", "Requests sent to providers and gateways, retries among them."),
    "retries": ("retries", "Requests sent again after a failure."),
    "bytes_received": ("received_bytes", "Bytes received in answers."),
    "rejected": ("rejected_records", "Records set aside as unreadable, anew in every listing that has them."),
}
"""Counters by credential: the field of an outcome that they sum, their name, what they mean."""

STATUSES = ("complete", "partial", "failed", "interrupted")
TRIGGERS = ("schedule", "api")
"""Of runs."""

SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600)
"""From a small account to the limit that a listing has by default."""

CLOCK_WRONG = 3600
"""Seconds; a listing further in the future is none. The view `freshness` says the same."""


class Metrics:
    """All that is measured of one service, in a registry of its own."""

    def __init__(self, control: Control) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Info("file_inventory_build", "What is running.", registry=self.registry).info(
            {"version": version("llm-file-inventory")}
        )
        self.activity = Activity(control, self.registry)
        self.registry.register(Standing(control))


class Activity:
    """What happened since the service started, counted as it is told."""

    def __init__(self, control: Control, registry: CollectorRegistry) -> None:
        self._control = control
        self._lock = Lock()
        self._names: set[str] = set()
        counter = partial(Counter, namespace="file_inventory", registry=registry)
        histogram = partial(Histogram, namespace="file_inventory", buckets=SECONDS, registry=registry)
        self._sums = {field: counter(name, meaning, ["credential"]) for field, (name, meaning) in OF_LISTINGS.items()}
        self._listings = counter("listings", "Listings, by verdict.", ["credential", "verdict"])
        self._changes = counter("changes", "Entries of the change log, by kind.", ["credential", "change"])
        self._runs = counter("runs", "Runs, by status and by who asked.", ["status", "trigger"])
        for labels in product(STATUSES, TRIGGERS):
            self._runs.labels(*labels)
        self._listing_seconds = histogram("listing_duration_seconds", "How long listings took.")
        self._run_seconds = histogram("run_duration_seconds", "How long runs took.")
        self.keep()

    def keep(self, *found: str) -> None:
        """Have series of the configured credentials alone, and of those found; of a new one from 0 on."""
        with self._lock:
            config = self._control.config
            names = set(filter(config.configures, {*self._names, *found}))
            names |= {credential.name for credential in config.credentials}
            for series, labels in self._series(self._names - names):
                series.remove(*labels)
            for series, labels in self._series(names - self._names):
                series.labels(*labels)
            self._names = names

    def note(self, event: Outcome | Run) -> None:
        """Count a listing or a run."""
        seconds = (event.finished_at - event.started_at).total_seconds()
        if isinstance(event, Run):
            self._runs.labels(event.status, event.trigger).inc()
            self._run_seconds.observe(seconds)
        else:
            self._listing_seconds.observe(seconds)
            self._count(event)

    def _count(self, outcome: Outcome) -> None:
        self.keep(outcome.credential)
        if (name := outcome.credential) not in self._names:
            return  # taken out of the configuration while it was listed
        self._listings.labels(name, outcome.status).inc()
        for change in Change:
            self._changes.labels(name, change).inc(getattr(outcome, change))
        for field, series in self._sums.items():
            series.labels(name).inc(getattr(outcome, field))

    def _series(self, names: Iterable[str]) -> Iterator[tuple[Counter, tuple[str, ...]]]:
        for name in names:
            yield from ((series, (name,)) for series in self._sums.values())
            yield from ((self._listings, (name, verdict)) for verdict in Verdict)
            yield from ((self._changes, (name, change)) for change in Change)


@dataclass(frozen=True)
class Reading:
    """What one published copy holds."""

    copy: tuple[int, int] | None
    """None where nothing is published."""
    credentials: list[Row]
    totals: Row
    rules: list[Row]


class Standing(Collector):
    """How things stand, from the published database, which is read once for each copy that is published."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._lock = Lock()
        self._reading: Reading | None = None

    def describe(self) -> list[Metric]:
        """Ask nothing while being registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every gauge; what only a published inventory tells has no sample without one."""
        config = self._control.config
        reading = self._read(config.store)
        ready = bool(reading and reading.copy) and self._control.alive and not self._control.stopping.is_set()
        yield _gauge("ready", "1 where the inventory can be read, and the service is alive and not stopping.", ready)
        yield from _of_service(self._control)
        yield from _of_store(config.store)
        if reading is None:
            return
        yield from _of_credentials(_current(reading.credentials, config, time.time()))
        yield from (_gauge(name, meaning, reading.totals.get(name)) for name, meaning in OF_TOTALS.items())
        yield from _of_rules(reading.rules, {rule.name for rule in config.rules})

    def _read(self, path: Place) -> Reading | None:
        """Read what is published, which is nothing before the first run; None where it cannot be read."""
        with self._lock, suppress(OSError, FileInventoryError):
            try:
                copy = shown(path).version()
            except NothingPublished:
                return Reading(None, [], {}, [])
            if self._reading is None or self._reading.copy != copy:
                self._reading = _reading(path, copy)
            return self._reading
        return None


def _reading(path: Place, copy: tuple[int, int]) -> Reading:
    with open_published(path, memory_limit="1GB", threads=2) as inventory:
        credentials = inventory.ask("metrics_credentials").read_all().to_pylist()
        inventory.make("shown_now")
        inventory.make("current_files")
        [totals] = inventory.ask("metrics_totals").read_all().to_pylist()
        rules = inventory.ask("rules").read_all().to_pylist()
    for row in credentials:
        row["expiries"] = array("d", row["expiries"])  # there may be a million
    return Reading(copy, credentials, totals, rules)


def _current(credentials: Iterable[Row], config: Config, now: float) -> list[Row]:
    """Return what is known of every configured credential, which may be nothing yet, and what depends on the time."""
    known = {row["credential"]: row for row in credentials}
    found = [config.credential(name) for name, row in known.items() if row["found"] and config.configures(name)]
    return [
        known.get(credential.name, {"credential": credential.name, "held_deletions": 0})
        | _timed(known.get(credential.name, {}), credential.stale_after, now, config.alerts.expiring_within)
        for credential in (*config.credentials, *found)
    ]


def _timed(row: Row, stale_after: float | None, now: float, within: float) -> Row:
    complete, expiries = row.get("last_complete_timestamp_seconds"), row.get("expiries")
    fresh = complete is not None and complete - CLOCK_WRONG <= now <= complete + (stale_after or 0)
    timed: Row = {"credential_stale": not fresh}
    if row.get("files") is not None and expiries is not None:
        timed["expiring_files"] = bisect(expiries, now + within) - bisect(expiries, now)
    return timed


def _of_credentials(rows: Sequence[Row]) -> Iterator[Metric]:
    for name, meaning in OF_CREDENTIALS.items():
        yield _labelled(name, meaning, ["credential"], (((row["credential"],), row.get(name)) for row in rows))
    verdicts = (
        ((row["credential"], verdict), row["verdict"] == verdict)
        for row in rows
        if row.get("verdict")
        for verdict in Verdict
    )
    yield _labelled("last_verdict", "1 at the verdict of the last listing.", ["credential", "verdict"], verdicts)


def _of_rules(rows: Sequence[Row], configured: set[str]) -> Iterator[Metric]:
    kept = [row for row in rows if row["rule"] in configured]
    labels = ["rule", "severity"]
    for name, meaning, told in (
        (
            "rule_offenders",
            "What breaks a rule, as of the last run; absent where it could not be checked.",
            "offenders",
        ),
        ("rule_unchecked", "1 where a rule could not be checked at the end of the last run.", "unchecked"),
    ):
        samples = (((row["rule"], row["severity"]), row[told]) for row in kept)
        yield _labelled(name, meaning, labels, samples)


def _of_service(control: Control) -> Iterator[Metric]:
    following = control.next_run()
    yield _gauge("writing", "1 while a run or a decision is written.", control.running is not None)
    yield _gauge(
        "next_run_timestamp_seconds",
        "When the schedule starts the next run; absent without a schedule.",
        following.timestamp() if following else None,
    )


def _of_store(place: Place) -> Iterator[Metric]:
    if isinstance(place, Path):
        yield from _of_files(place)
    published = None
    with suppress(FileInventoryError):
        published = published_at(place).timestamp()
    yield _gauge("published_timestamp_seconds", "When the inventory was last published.", published)


def _of_files(path: Path) -> Iterator[Metric]:
    files = {"published": path, "writer": Embedded(path).path}
    found = {name: file.stat() for name, file in files.items() if file.exists()}
    sizes = (((name,), stat.st_size) for name, stat in found.items())
    yield _labelled("store_bytes", "Size of the database that is published, and of the writer's.", ["file"], sizes)
    free = shutil.disk_usage(path.parent).free if path.parent.exists() else None
    yield _gauge("store_free_bytes", "Room on the disk of the store; publishing needs as much as it is big.", free)


def _gauge(name: str, meaning: str, value: float | None) -> Metric:
    return _labelled(name, meaning, (), [((), value)])


def _labelled(
    name: str, meaning: str, labels: Sequence[str], samples: Iterable[tuple[Sequence[str], float | None]]
) -> Metric:
    """Make a family of gauges; what is not known is left out."""
    family = GaugeMetricFamily(f"file_inventory_{name}", meaning, labels=labels)
    for values, value in samples:
        if value is not None:
            family.add_metric(values, value)
    return family
