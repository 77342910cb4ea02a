"""Make HTML of templates: everything escaped, everything legible."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse

from etl.report import charts
from etl.report.output import instant, printable, size
from etl.web.control import control

NOTICES = {
    "queued": "A run is queued; it starts when nothing else is written, and this page tells when it is published.",
    "decided": "Something else is being written; your decision is carried out after it.",
    "approved": "The held deletions were carried out.",
    "rejected": "The files whose deletions were held are kept. A listing that lacks them is held again.",
}
"""What a page may be asked to say; nothing else."""

_LETTERS = {"complete": "C", "held": "H", "incomplete": "I", "failed": "F", "unsupported": "U"}


def page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """Render a page for a request."""
    service = control(request)
    shared = {
        "request": request,
        "notice": NOTICES.get(request.query_params.get("notice", "")),
        "running": service.running,
        "next_run": service.next_run(),
        "version": version(request),
        "locked": service.config.serve.token is not None,
    }
    return HTMLResponse(_environment.get_template(template).render(shared | values), code)


def version(request: Request) -> str:
    """Name the copy of the inventory that is published now; empty where none is."""
    try:
        return str(control(request).config.store.stat().st_mtime_ns)
    except OSError:
        return ""


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """Tell an error to a person; before the first run, that there is nothing yet."""
    if not version(request):
        return page(request, "empty.html")
    return page(request, "error.html", status, status=status, message=message)


def _text(value: Any) -> str:
    """Write what a provider told so that nothing of it hides."""
    return printable(str(value))


def _time(value: datetime | None, unknown: str = "unknown") -> Markup:
    if value is None:
        return Markup('<span class="unknown">{}</span>').format(unknown)
    return Markup('<time datetime="{}">{}</time>').format(
        value.astimezone(UTC).isoformat(), f"{value.astimezone(UTC):%Y-%m-%d %H:%M}Z"
    )


def _size(value: int | None) -> Markup:
    if value is None:
        return Markup('<span class="unknown">unknown</span>')
    return Markup('<span title="{} bytes">{}</span>').format(f"{value:,}", size(value))


def _value(value: Any) -> Markup:
    """Write any value of a query or a record."""
    match value:
        case None:
            return Markup('<span class="unknown">NULL</span>')
        case datetime() if value.tzinfo:
            return escape(instant(value))
        case date():
            return escape(value.isoformat())
        case int() | Decimal() if not isinstance(value, bool):
            return escape(f"{value:,}")
        case list():
            return escape(", ".join(map(_text, value)))
    return escape(_text(value))


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _segment(value: str) -> str:
    return quote(value, safe="")


def _ago(value: datetime | None) -> str:
    if value is None:
        return "never"
    seconds = (datetime.now(UTC) - value).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def _query(**values: Any) -> str:
    return urlencode({name: value for name, value in values.items() if value not in {None, ""}})


_environment = Environment(
    loader=PackageLoader("etl.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    "text": _text,
    "time": _time,
    "size": _size,
    "value": _value,
    "number": _number,
    "segment": _segment,
    "ago": _ago,
}
_environment.globals |= {"query": _query, "letters": _LETTERS, "chart_css": Markup(charts.STYLE)}  # noqa: S704 - a file of ours
