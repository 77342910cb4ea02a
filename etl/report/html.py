"""Make HTML of templates: everything escaped, everything legible. Pages link to one another; a report stands alone."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from etl.report import charts
from etl.report.output import instant, printable, size

LETTERS = {"complete": "C", "held": "H", "incomplete": "I", "failed": "F", "unsupported": "U"}
"""What stands in the cell of a verdict, beside its colour."""


MEANINGS = {
    "baseline": "there before we looked",
    "created": "came",
    "updated": "the record changed",
    "deleted": "gone before its time, or without one",
    "expired": "deleted past its time",
    "restored": "gone before, and back",
}
"""What kinds of change are, for those who read of them the first time."""


def environment(*packages: str, linked: bool) -> Environment:
    """Return what renders the templates of these packages and the shared ones.

    Args:
        packages: Where to look before `etl.report`.
        linked: Whether credentials, files and runs have pages to link to.
    """
    made = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates") for package in (*packages, "etl.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= _FILTERS
    made.globals |= {
        "query": _query,
        "letters": LETTERS,
        "meanings": MEANINGS,
        "chart_css": Markup(charts.STYLE),  # noqa: S704 - a file of ours
        "linked": linked,
    }
    return made


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


def _more(value: int) -> str:
    return f"{value:+,}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _more_size(value: int) -> Markup:
    return Markup("{}{}").format({True: "+", False: "\N{MINUS SIGN}"}[value >= 0] if value else "", _size(abs(value)))


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


def _cell(value: str | None) -> str:
    """Write a name in a cell of a Markdown table."""
    return "not told" if value is None else re.sub(r"([\\`*_\[\]<>|])", r"\\\1", printable(value))


def _plain_size(value: int | None) -> str:
    return size(value) or "unknown"


_FILTERS = {
    "cell": _cell,
    "plain_size": _plain_size,
    "text": _text,
    "time": _time,
    "size": _size,
    "value": _value,
    "number": _number,
    "more": _more,
    "more_size": _more_size,
    "segment": _segment,
    "ago": _ago,
}
