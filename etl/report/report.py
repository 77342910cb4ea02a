"""The report of a period: what is held, what changed, what needs a person; one file that stands alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from etl.report import ReportFormat, charts, figures
from etl.report.html import environment
from etl.report.output import size, to_json

if TYPE_CHECKING:
    from etl.report.inventory import Inventory

NOTABLE = 15
"""Changes that a report shows one by one."""


@dataclass(frozen=True)
class Report:
    """What a report tells; times in UTC, sizes in bytes."""

    since: datetime
    until: datetime
    overview: figures.Overview
    history: figures.History
    """Of the period."""
    notable: list[figures.Row]
    """The largest files that came, went or were restored in the period."""
    unlisted: list[figures.Row]
    """Active credentials whose last listing was not complete, with its verdict and error."""

    @property
    def growth(self) -> tuple[int, int]:
        """How many files and bytes there are more than when the period began, each credential for itself."""
        if not self.history.steps:
            return 0, 0
        first, last = self.history.steps[0], self.history.steps[-1]
        return last.files - first.files, last.bytes - first.bytes

    def summary(self) -> str:
        """Say the most important in a few sentences."""
        totals, changed = self.overview.totals, self.overview.changed
        states = self.overview.states()
        unknown = f", and {totals['unknown_sizes']:,} more of unknown size" if totals["unknown_sizes"] else ""
        told = [f"{totals['files']:,} files are held, {size(totals['bytes']) or '0 B'} in all{unknown}."]
        told.append(f"In the period {_counted(changed)}.")
        total = sum(states.values())
        told.append(f"{states['fresh']} of {total} active credentials are fresh{_others(states)}.")
        waiting = sum(row["files"] for row in self.overview.held)
        told += [f"{waiting:,} deletions wait for a person to approve or reject them."] if waiting else []
        told += (
            [f"{totals['stale_files']:,} files are known only as they were before."] if totals["stale_files"] else []
        )
        return " ".join(told)


def report(inventory: Inventory, since: datetime, until: datetime | None = None) -> Report:
    """Ask all that a report tells."""
    until = until or datetime.now(UTC)
    overview = figures.overview(inventory, since, now=until)
    return Report(
        since=since,
        until=until,
        overview=overview,
        history=figures.history(inventory, until).since(since),
        notable=figures.ask(inventory, "notable", since=since, limit=NOTABLE),
        unlisted=[row for row in overview.credentials if row["state"] != "inactive" and row["verdict"] != "complete"],
    )


def written(told: Report, kind: ReportFormat) -> str:
    """Write a report: as a page that needs nothing else, as Markdown for a chat, or as JSON for programs."""
    if kind is ReportFormat.JSON:
        return to_json(_plain(told)) + "\n"
    values: dict[str, Any] = {"report": told, "overview": told.overview, "summary": told.summary()}
    if kind is ReportFormat.MARKDOWN:
        return _markdown.get_template("report.md").render(values)
    style = resources.files("etl.report").joinpath("static", "style.css").read_text(encoding="utf-8")
    drawn = (charts.files_over_time, charts.bytes_over_time, charts.changes_over_time)
    trends = [chart for draw in drawn if (chart := draw(told.history))]
    return _html.get_template("report.html").render(values, trends=trends, style=style)


def _plain(told: Report) -> dict[str, Any]:
    files, grown = told.growth
    return asdict(told) | {"summary": told.summary(), "growth": {"files": files, "bytes": grown}}


def _counted(changed: dict[str, int]) -> str:
    words = [
        f"{changed[kind]:,} were {kind}" for kind in ("created", "updated", "deleted", "restored") if kind in changed
    ]
    first = f"{changed['baseline']:,} were there when first looked at" if "baseline" in changed else ""
    return "; ".join(filter(None, (", ".join(words), first))) or "nothing changed"


def _others(states: dict[str, int]) -> str:
    words = [f"{states[state]} {word}" for state, word in (("stale", "stale"), ("held", "held")) if states[state]]
    return f", {' and '.join(words)}" if words else ""


_html = environment(linked=False)
_markdown = environment(linked=False).overlay(autoescape=False)
