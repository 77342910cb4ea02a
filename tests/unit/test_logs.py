"""The log: what a line holds, for people and for programs, and that no line holds a secret."""

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from etl import logs
from etl.config import Log
from etl.load.store import Outcome, Started, _run

SECRET = "Zq/r+8W==5RaJd"
START = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)

LISTING = Outcome(
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
RUN = _run(Started("run-1", "schedule", START), START + timedelta(seconds=2), [LISTING], "complete")


class Kept(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, *, terminal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name in (*logs.CHATTY, *logs.TALKATIVE):
        logging.getLogger(name).setLevel(logging.NOTSET)


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def to_programs(**settings: Any) -> io.StringIO:
    stream = Kept()
    logs.configure(Log.model_validate({"format": "json"} | settings), {SECRET}, stream)
    return stream


def to_people(*, terminal: bool = False) -> io.StringIO:
    stream = Kept(terminal=terminal)
    logs.configure(Log(format="console"), {SECRET}, stream)
    return stream


def test_a_line_for_programs_is_one_json_object() -> None:
    stream = to_programs()
    before = datetime.now(UTC).replace(microsecond=0)
    logging.getLogger("a.vendor").warning("%d files", 3, extra={"credential": "acme", "seconds": 1.5, "more": None})
    [line] = written(stream)
    time = line.pop("time")
    assert time.endswith("Z")
    assert before <= datetime.fromisoformat(time) <= datetime.now(UTC)
    assert line == {
        "level": "warning",
        "logger": "a.vendor",
        "event": "3 files",
        "credential": "acme",
        "seconds": 1.5,
        "more": None,
    }


def test_a_line_for_people_leaves_out_what_is_not_known() -> None:
    stream = to_people()
    logging.getLogger("etl").info("listing", extra={"credential": "acme", "reason": None, "pages": 0})
    line = stream.getvalue()
    assert line.partition("Z ")[2].split() == ["[info", "]", "listing", "[etl]", "credential=acme", "pages=0"]


def test_colours_are_for_terminals() -> None:
    plain, coloured = to_people(), to_people(terminal=True)
    logging.getLogger("etl").info("listing")
    assert "\x1b[" in coloured.getvalue()
    assert plain.getvalue() == ""


@pytest.mark.parametrize(("terminal", "for_people"), [(True, True), (False, False)])
def test_auto_is_for_people_on_a_terminal_only(*, terminal: bool, for_people: bool) -> None:
    stream = Kept(terminal=terminal)
    logs.configure(Log(format="auto"), (), stream)
    logging.getLogger("etl").info("listing")
    assert stream.getvalue().startswith("{") is not for_people


def test_configured_again_the_last_settings_hold_and_lines_come_once() -> None:
    first, second = to_programs(), to_programs(level="warning")
    logging.getLogger("etl").info("not important")
    logging.getLogger("etl").warning("important")
    assert first.getvalue() == ""
    assert [line["event"] for line in written(second)] == ["important"]


@pytest.mark.parametrize("level", ["info", "debug"])
def test_chatty_libraries_are_heard_when_debugging_only(level: str) -> None:
    stream = to_programs(level=level)
    for name in ("apscheduler.executors.default", "httpx", "uvicorn.access"):
        logging.getLogger(name).info("news")
        logging.getLogger(name).warning("trouble")
    logging.getLogger("urllib3.connectionpool").debug("POST /services/a-key")
    news = ["news", "trouble"] if level == "debug" else ["trouble"]
    assert [line["event"] for line in written(stream)] == news * 3


@pytest.mark.parametrize("stream_of", [to_programs, to_people])
def test_no_secret_reaches_a_line(stream_of: Any) -> None:
    stream = stream_of()
    logging.getLogger().handlers[1:] = []  # those of pytest fail where a record cannot be rendered
    log = logging.getLogger("a.vendor")
    log.warning("sent %s", SECRET, extra={"url": f"http://x/?k={quote(SECRET, safe='')}", f"by-{SECRET}": 1})
    log.warning("sent", extra={"deep": {SECRET: [SECRET, {"key": f"Bearer {SECRET}"}, Sayer()]}, "sayer": Sayer()})
    log.warning("sent", stack_info=True)
    try:
        int(f"with {SECRET}, sk-proj-0123456789")
    except ValueError:
        log.exception("failed for %r", Sayer())
    log.warning("%d", SECRET)
    assert "with [redacted], [redacted]" in stream.getvalue()
    assert "a record cannot be written to the log" in stream.getvalue()
    assert not [piece for piece in (SECRET, quote(SECRET, safe=""), "sk-proj", "5RaJd") if piece in stream.getvalue()]


class Sayer:
    """Shows a secret however it is asked."""

    def __repr__(self) -> str:
        return f"<{SECRET}>"


def test_a_number_that_is_a_secret_goes_and_others_stay_numbers() -> None:
    stream = Kept()
    logs.configure(Log(format="json"), {"12345678"}, stream)
    logging.getLogger("etl").info("x", extra={"a": 12345678, "b": 1234567, "c": True})
    [line] = written(stream)
    assert (line["a"], line["b"], line["c"]) == ("[redacted]", 1234567, True)


def test_what_a_server_says_cannot_forge_a_line() -> None:
    stream = to_people()
    logging.getLogger("etl").info("said: ok\n2026-11-25T03:00:00Z [error] forged\x1b[31m", extra={"error": "a\nb"})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_a_stream_that_is_gone_stops_nobody() -> None:
    stream = to_programs()
    stream.close()
    logging.getLogger("etl").info("listing")


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("complete", "info"),
        ("held", "warning"),
        ("incomplete", "warning"),
        ("unsupported", "warning"),
        ("failed", "error"),
    ],
)
def test_a_listing_is_one_line(status: str, level: str) -> None:
    stream = to_programs()
    logs.note(replace(LISTING, status=status, reason="because", error=f"answered {SECRET}"))
    [line] = written(stream)
    del line["time"]
    assert line == {
        "level": level,
        "logger": "etl.logs",
        "event": "listing",
        "run_id": "run-1",
        "credential": "acme",
        "status": status,
        "reason": "because",
        "error": "answered [redacted]",
        "pages": 2,
        "requests": 3,
        "retries": 1,
        "records": 120,
        "changes": {"created": 4, "deleted": 2},
        "held": 0,
        "rejected": 1,
        "seconds": 1.5,
    }


def test_a_run_is_one_line() -> None:
    stream = to_programs()
    logs.note(RUN)
    [line] = written(stream)
    del line["time"]
    assert line == {
        "level": "info",
        "logger": "etl.logs",
        "event": "run",
        "run_id": "run-1",
        "trigger": "schedule",
        "status": "complete",
        "credentials": 1,
        "complete": 1,
        "records": 120,
        "changes": {"created": 4, "deleted": 2},
        "unchanged": 116,
        "held": 0,
        "rejected": 1,
        "pages": 2,
        "requests": 3,
        "retries": 1,
        "bytes_received": 10_000,
        "seconds": 2.0,
    }
