"""OpenTelemetry: a trace and metrics of every run, where the standard OTEL_* environment variables ask for them.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/

Everything is made after the fact from what a run tells of itself, so that nothing is measured twice.
"""

from __future__ import annotations

import logging
import os
import re
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from etl.errors import redact
from etl.load.store import Run
from etl.transform.words import Change, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime

    from etl.load.store import Outcome

log = logging.getLogger(__name__)

NAME = "file_inventory"
FLUSH = 1.5
"""Seconds for the last spans and metrics to leave when the service stops."""

WARN = 3600.0
"""Seconds between two warnings that the collector takes nothing."""

BUCKETS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds that a listing takes."""

_SIGNALS = ("TRACES", "METRICS")


class Telemetry(Protocol):
    """Takes what happens."""

    def note(self, event: Outcome | Run, secrets: Iterable[str] = ()) -> None:
        """Make spans and metrics of a run and its listings; no span shows a secret."""


class Silent:
    """Tells nobody."""

    def note(self, event: Outcome | Run, secrets: Iterable[str] = ()) -> None:
        """Do nothing."""


def wanted(env: Mapping[str, str]) -> set[str]:
    """Return which signals the environment asks for: TRACES, METRICS."""
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return set()
    return {signal for signal in _SIGNALS if _is_wanted(signal, env)}


def _is_wanted(signal: str, env: Mapping[str, str]) -> bool:
    exporter = env.get(f"OTEL_{signal}_EXPORTER", "").strip().lower()
    named = env.get("OTEL_EXPORTER_OTLP_ENDPOINT") or env.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    return exporter == "otlp" or (not exporter and bool(named))


@contextmanager
def telling() -> Iterator[Telemetry]:
    """Set OpenTelemetry up as the environment asks, and send what is left on leaving, in bounded time."""
    signals = wanted(os.environ)
    if not signals:
        yield Silent()
    elif not _installed():
        log.warning("OTEL_* variables ask for telemetry; install it with: pip install 'llm-file-inventory[otel]'")
        yield Silent()
    else:
        _hush()
        sender = _OpenTelemetry(signals)
        try:
            yield sender
        finally:
            sender.close()


def _installed() -> bool:
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:
        return False


class _OpenTelemetry:
    def __init__(self, signals: set[str]) -> None:
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - an extra that may be missing
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - the same

        resource = _resource()
        self._traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._metrics = MeterProvider(
            _readers() if "METRICS" in signals else (), resource=resource, shutdown_on_exit=False, views=_views()
        )
        if "TRACES" in signals:
            self._traces.add_span_processor(_processor())
        self._tracer = self._traces.get_tracer(NAME)
        meter = self._metrics.get_meter(NAME)
        self._listings = meter.create_counter(f"{NAME}.listings", "{listing}", "Listings, by verdict.")
        self._records = meter.create_counter(f"{NAME}.records", "{file}", "Files listed.")
        self._changes = meter.create_counter(f"{NAME}.changes", "{change}", "Changes logged, by kind.")
        self._retries = meter.create_counter(f"{NAME}.retries", "{request}", "Requests sent once more.")
        self._duration = meter.create_histogram(f"{NAME}.listing.duration", "s", "How long listings take.")

    def note(self, event: Outcome | Run, secrets: Iterable[str] = ()) -> None:
        if isinstance(event, Run):
            self._trace(event, frozenset(secrets))
            for outcome in event.listings:
                self._count(outcome)

    def close(self) -> None:
        """Send what is left; a collector that hangs is left behind."""
        ends = [Thread(target=end, daemon=True) for end in (self._traces.shutdown, self._metrics.shutdown)]
        for thread in ends:
            thread.start()
        deadline = monotonic() + FLUSH
        for thread in ends:
            thread.join(max(0, deadline - monotonic()))

    def _trace(self, run: Run, secrets: frozenset[str]) -> None:
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - an extra that may be missing

        told = {"run_id": run.run_id, "trigger": run.trigger, "status": run.status}
        span = self._tracer.start_span(
            f"{NAME}.run", attributes=_attributes(told | run.totals), start_time=_nanoseconds(run.started_at)
        )
        for outcome in run.listings:
            self._trace_listing(outcome, set_span_in_context(span), secrets)
        if run.status == Verdict.FAILED:
            span.set_status(_error("no credential could be listed"))
        span.end(_nanoseconds(run.finished_at))

    def _trace_listing(self, outcome: Outcome, parent: Any, secrets: frozenset[str]) -> None:
        names = ("run_id", "credential", "status", "reason", "pages", "requests", "retries", "records")
        told = {name: getattr(outcome, name) for name in (*names, *Change, "held", "rejected", "bytes_received")}
        span = self._tracer.start_span(
            f"{NAME}.listing", parent, attributes=_attributes(told), start_time=_nanoseconds(outcome.started_at)
        )
        if outcome.status not in {Verdict.COMPLETE, Verdict.HELD}:
            span.set_status(_error(redact(outcome.error or outcome.status, secrets)))
        span.end(_nanoseconds(outcome.finished_at))

    def _count(self, outcome: Outcome) -> None:
        credential = {f"{NAME}.credential": outcome.credential}
        verdict = credential | {f"{NAME}.status": str(outcome.status)}
        self._listings.add(1, verdict)
        self._records.add(outcome.records, credential)
        self._retries.add(outcome.retries, credential)
        for change in Change:
            self._changes.add(getattr(outcome, change), credential | {f"{NAME}.change": str(change)})
        self._duration.record((outcome.finished_at - outcome.started_at).total_seconds(), verdict)


def _attributes(told: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{NAME}.{name}": value for name, value in told.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1_000


def _error(description: str) -> Any:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra that may be missing

    return Status(StatusCode.ERROR, description)


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra that may be missing

    found = Resource.create()
    if str(found.attributes.get("service.name", "unknown_service")).startswith("unknown_service"):
        return found.merge(Resource({"service.name": "file-inventory"}))
    return found


def _processor() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra

    return BatchSpanProcessor(OTLPSpanExporter())


def _readers() -> Any:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415 - an extra
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415 - an extra

    return [PeriodicExportingMetricReader(OTLPMetricExporter())]


def _views() -> Any:
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View  # noqa: PLC0415 - an extra

    return [
        View(instrument_name=f"{NAME}.listing.duration", aggregation=ExplicitBucketHistogramAggregation(BUCKETS)),
    ]


class _Once(logging.Handler):
    """Makes one warning an hour of all that OpenTelemetry has to say."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._quiet_until = 0.0
        self._hidden = _headers(os.environ)

    def emit(self, record: logging.LogRecord) -> None:
        if monotonic() >= self._quiet_until:
            self._quiet_until = monotonic() + WARN
            log.warning("OpenTelemetry cannot send", extra={"error": redact(record.getMessage(), self._hidden)})


def _headers(env: Mapping[str, str]) -> set[str]:
    """Return the values of the headers that exporters send: keys of the collector."""
    texts = [value for name, value in env.items() if re.fullmatch(r"OTEL_EXPORTER_OTLP_(\w+_)?HEADERS", name)]
    pairs = (pair.partition("=")[2].strip() for text in texts for pair in text.split(","))
    return {value for value in pairs if value}


def _hush() -> None:
    """Let OpenTelemetry speak through us alone, also on the threads that it leaves behind."""
    logger = logging.getLogger("opentelemetry")
    logger.propagate = False
    logger.handlers = [_Once()]
