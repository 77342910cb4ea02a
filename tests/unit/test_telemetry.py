"""Telemetry reaches a collector whole, and a collector in trouble troubles nobody."""

import gzip
import logging
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from etl import telemetry
from etl.load.store import Outcome, Run

START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
SECRET = "Zq/r+8W==5RaJd"

GOOD = Outcome(
    run_id="run-1",
    credential="acme",
    status="complete",
    reason=None,
    started_at=START,
    finished_at=START + timedelta(seconds=1.5),
    pages=2,
    requests=3,
    retries=1,
    bytes_received=10_000,
    records=120,
    baseline=0,
    created=4,
    updated=0,
    deleted=2,
    restored=0,
    unchanged=116,
    held=0,
    rejected=1,
    first_id="file-1",
    last_id="file-120",
    scope="{}",
    error=None,
)
BAD = replace(GOOD, credential="beta", status="failed", reason="refused", error=f"answered 401 to {SECRET}", records=0)
RUN = Run("run-1", "schedule", START, START + timedelta(seconds=2), "partial", {"records": 120}, (GOOD, BAD))


class Collector:
    """Keeps what is posted, by path."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                packed = self.headers.get("content-encoding") == "gzip"
                received.append((self.path, gzip.decompress(body) if packed else body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def spans(self) -> list[Any]:
        requests = [ExportTraceServiceRequest.FromString(body) for path, body in self.received if path == "/v1/traces"]
        return [s for r in requests for group in r.resource_spans for scope in group.scope_spans for s in scope.spans]

    def metrics(self) -> dict[str, Any]:
        bodies = [body for path, body in self.received if path == "/v1/metrics"]
        last = ExportMetricsServiceRequest.FromString(bodies[-1])
        return {m.name: m for group in last.resource_metrics for scope in group.scope_metrics for m in scope.metrics}

    def services(self) -> set[str]:
        requests = [ExportTraceServiceRequest.FromString(body) for path, body in self.received if path == "/v1/traces"]
        return {values(group.resource.attributes)["service.name"] for r in requests for group in r.resource_spans}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    thread = Thread(target=collector.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    try:
        yield collector
    finally:
        collector.server.shutdown()
        thread.join()
        collector.server.server_close()


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def told(*events: Outcome | Run) -> float:
    """Tell of events, and return how long leaving took, in seconds."""
    with telemetry.telling() as sender:
        for event in events:
            sender.note(event, {SECRET})
        began = time.monotonic()
    return time.monotonic() - began


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def test_a_run_is_a_span_with_one_for_each_listing(collector: Collector) -> None:
    told(GOOD, BAD, RUN)
    spans = {values(span.attributes).get("file_inventory.credential", "run"): span for span in collector.spans()}
    assert {name: span.name for name, span in spans.items()} == {
        "run": "file_inventory.run",
        "acme": "file_inventory.listing",
        "beta": "file_inventory.listing",
    }
    assert values(spans["run"].attributes) == {
        "file_inventory.run_id": "run-1",
        "file_inventory.trigger": "schedule",
        "file_inventory.status": "partial",
        "file_inventory.records": 120,
    }
    assert {span.parent_span_id for span in spans.values()} == {b"", spans["run"].span_id}
    times = (spans["acme"].start_time_unix_nano, spans["acme"].end_time_unix_nano)
    assert times == (nanoseconds(START), nanoseconds(START + timedelta(seconds=1.5)))
    assert (spans["acme"].status.code, spans["beta"].status.code) == (0, 2)
    assert spans["beta"].status.message == "answered 401 to [redacted]"
    assert collector.services() == {"file-inventory"}
    assert SECRET.encode() not in b"".join(body for _, body in collector.received)


def test_the_service_may_be_named(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "files-of-acme")
    told(RUN)
    assert collector.services() == {"files-of-acme"}


def test_metrics_count_what_runs_do(collector: Collector) -> None:
    told(RUN, RUN)
    metrics = collector.metrics()
    assert {name: metric.unit for name, metric in metrics.items()} == {
        "file_inventory.listings": "{listing}",
        "file_inventory.records": "{file}",
        "file_inventory.changes": "{change}",
        "file_inventory.retries": "{request}",
        "file_inventory.listing.duration": "s",
    }
    counted = {
        name: {
            tuple(sorted(values(point.attributes).values())): point.as_int for point in metrics[name].sum.data_points
        }
        for name in metrics
        if name != "file_inventory.listing.duration"
    }
    assert counted["file_inventory.listings"] == {("acme", "complete"): 2, ("beta", "failed"): 2}
    assert counted["file_inventory.records"] == {("acme",): 240, ("beta",): 0}
    assert counted["file_inventory.changes"][("acme", "created")] == 8
    assert counted["file_inventory.changes"][("acme", "deleted")] == 4
    points = metrics["file_inventory.listing.duration"].histogram.data_points
    assert [(point.count, point.sum) for point in points] == [(2, 3.0), (2, 3.0)]
    assert tuple(points[0].explicit_bounds) == telemetry.BUCKETS


@pytest.mark.parametrize(
    ("env", "signals"),
    [
        ({}, set()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, {"TRACES", "METRICS"}),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, {"TRACES"}),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, {"METRICS"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, {"METRICS"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "TRUE"}, set()),
    ],
)
def test_the_environment_says_what_is_sent(env: dict[str, str], signals: set[str]) -> None:
    assert telemetry.wanted(env) == signals


def test_unasked_nothing_is_sent(caplog: pytest.LogCaptureFixture) -> None:
    assert told(RUN) < 0.1
    assert [record for record in caplog.records if record.name == "etl.telemetry"] == []


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(telemetry, "_installed", lambda: False)
    told(RUN)
    assert [record.message for record in caplog.records if record.name == "etl.telemetry"] == [
        "OTEL_* variables ask for telemetry; install it with: pip install 'llm-file-inventory[otel]'"
    ]


def test_a_collector_that_is_down_is_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"api-key={SECRET}")
    assert told(RUN, RUN) < 2
    ours = [record for record in caplog.records if record.name == "etl.telemetry"]
    assert [record.levelname for record in ours] == ["WARNING"]
    assert ours[0].message == "OpenTelemetry cannot send"
    assert SECRET not in str([record.__dict__ for record in caplog.records])


def test_a_collector_that_hangs_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listener:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        assert told(RUN) < 2
