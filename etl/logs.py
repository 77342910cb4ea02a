"""The log: one line an event on standard error, for people or for programs, and never a secret in it.

Whoever logs uses `logging` and gives facts in `extra`; how a line looks is decided here, for every library too.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from structlog.stdlib import ExtraAdder, ProcessorFormatter

from etl.errors import blot, redact
from etl.load.store import Outcome
from etl.transform.words import Change, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import TextIO

    from structlog.typing import EventDict, Processor

    from etl.config import Log
    from etl.load.store import Run

log = logging.getLogger(__name__)

CHATTY = ("apscheduler", "httpx", "uvicorn.access")
"""Loggers whose news is for debugging."""

TALKATIVE = ("httpcore", "urllib3", "asyncio")
"""Loggers whose debugging is for their own developers; some of it shows whole URLs, which may hold keys."""

LEVELS = {
    Verdict.COMPLETE: logging.INFO,
    Verdict.HELD: logging.WARNING,
    Verdict.INCOMPLETE: logging.WARNING,
    Verdict.UNSUPPORTED: logging.WARNING,
    Verdict.FAILED: logging.ERROR,
}

_LISTING = ("run_id", "credential", "status", "reason", "error", "pages", "requests", "retries", "records")


def configure(settings: Log, secrets: Iterable[str], stream: TextIO | None = None) -> None:
    """Write the log of the whole process as the settings say; what was set before is replaced.

    Args:
        settings: Which lines, and how they look.
        secrets: What no line may show, besides whatever looks like a key.
        stream: Where to; standard error by default.
    """
    stream = stream or sys.stderr
    handler = _Handler(stream)
    handler.setFormatter(_formatter(settings, stream, frozenset(secrets)))
    root = logging.getLogger()
    root.handlers = [handler, *(other for other in root.handlers if not isinstance(other, _Handler))]
    root.setLevel(settings.level.upper())
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.DEBUG if settings.level == "debug" else logging.WARNING)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def note(event: Outcome | Run) -> None:
    """Write one line for a listing, or for a run."""
    if isinstance(event, Outcome):
        log.log(LEVELS[Verdict(event.status)], "listing", extra=_listing(event))
    else:
        log.info("run", extra=_run(event))


def _listing(outcome: Outcome) -> dict[str, Any]:
    told = {name: getattr(outcome, name) for name in _LISTING}
    return told | {
        "changes": _changes({change: getattr(outcome, change) for change in Change}),
        "held": outcome.held,
        "rejected": outcome.rejected,
        "seconds": _seconds(outcome),
    }


def _run(run: Run) -> dict[str, Any]:
    told = {"run_id": run.run_id, "trigger": run.trigger, "status": run.status}
    counts = {name: count for name, count in run.totals.items() if name not in set(Change)}
    return told | counts | {"changes": _changes(run.totals), "seconds": _seconds(run)}


def _changes(counts: Mapping[str, int]) -> dict[str, int]:
    """Put changes in one field: `created` as an extra of its own is refused, a log record has one already."""
    return {str(change): counts[change] for change in Change if counts[change]}


def _seconds(event: Outcome | Run) -> float:
    return round((event.finished_at - event.started_at).total_seconds(), 3)


class _Handler(logging.StreamHandler["TextIO"]):
    """Writes to a stream; a record that cannot be rendered is named, but not shown: it may hold a secret."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        if record.name != __name__:
            log.error("a record cannot be written to the log", extra={"of": record.name})


def _formatter(settings: Log, stream: TextIO, secrets: Collection[str]) -> logging.Formatter:
    people = settings.format == "console" or (settings.format == "auto" and stream.isatty())

    def clean(_logger: object, _method: str, event: EventDict) -> EventDict:
        return {redact(name, secrets): _clean(name, value, secrets) for name, value in event.items()}

    facts: list[Processor] = [ExtraAdder(), structlog.processors.format_exc_info, _facts]
    return ProcessorFormatter(processors=[*facts, clean, *(_for_people(stream) if people else _FOR_PROGRAMS)])


def _facts(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Put what every line has first; what a library adds for its own formatter goes."""
    record: logging.LogRecord = event.pop("_record")
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    always = {"time": time, "level": record.levelname.lower(), "logger": record.name, "event": event["event"]}
    dropped = always.keys() | {"_from_structlog", "color_message"}
    return always | {_RENAMED.get(name, name): value for name, value in event.items() if name not in dropped}


_RENAMED = {"stack_info": "stack"}


def _clean(name: str, value: Any, secrets: Collection[str]) -> Any:
    """Redact a value, whatever is in it; only stack traces keep their lines."""
    if isinstance(value, dict):
        return {_clean("", str(key), secrets): _clean("", inner, secrets) for key, inner in value.items()}
    if isinstance(value, list | tuple | set):
        return [_clean("", inner, secrets) for inner in value]
    if name in {"exception", "stack"}:
        return "\n".join(redact(line) for line in blot(str(value), secrets).splitlines())
    text = redact(str(value), secrets)
    return value if text == str(value) and isinstance(value, bool | int | float | None) else text


def _for_people(stream: TextIO) -> list[Processor]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=stream.isatty(),
        sort_keys=False,
        timestamp_key="time",
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_without_unknown, renderer]


def _without_unknown(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {name: value for name, value in event.items() if value not in (None, {})}


_FOR_PROGRAMS: list[Processor] = [structlog.processors.JSONRenderer(ensure_ascii=False)]
