"""The report of a period: what is held, what changed, what needs a person; one file that stands alone."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from etl.report import ReportFormat, charts, figures
from etl.report.html import environment
from etl.report.output import size, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etl.report.inventory import Inventory

NOTABLE = 15
"""Changes that a report shows one by one."""


@dataclass(frozen=True)
class Report:
    """What a report tells; times in UTC, sizes in bytes."""

    since: datetime
    until: datetime
    overview: figures.Overview
    """Its storage tells `more_files` and `more_bytes` than when the period began, too."""
    growth: figures.Row
    """more_files, more_bytes: than when the period began, each file counted once."""
    history: figures.History
    """Of the period."""
    notable: list[figures.Row]
    """The largest files that came, went or were restored in the period."""
    unlisted: list[figures.Row]
    """Active credentials whose last listing was not complete, with its verdict and error."""

    def summary(self) -> str:
        """Say the most important in a few sentences."""
        told = [self._held(), self._changed(), self._believed(), *self._wanting()]
        return " ".join(filter(None, told))

    def _held(self) -> str:
        totals = self.overview.totals
        told = f"{_files(totals['files'])} held, {size(totals['bytes']) or '0 B'} in all"
        if totals["unknown_sizes"]:
            told += f"; of {totals['unknown_sizes']:,} more the size is not known"
        return f"{told}."

    def _changed(self) -> str:
        changed, grown = self.overview.changed, self.growth
        kinds = [
            f"{changed[kind]:,} {kind}" for kind in ("created", "updated", "deleted", "restored") if kind in changed
        ]
        told = f"In the period, {', '.join(kinds) or 'nothing changed'}"
        if self.overview.expired:
            told += f" ({self.overview.expired:,} of the deleted had expired)"
        if grown["more_files"] or grown["more_bytes"]:
            told += f": {_more(grown['more_files'], '{:,} files'.format)} and {_more(grown['more_bytes'], size)}"
        if baseline := changed.get("baseline"):
            told += f"; {baseline:,} were there when first looked at"
        return f"{told}."

    def _believed(self) -> str:
        states = self.overview.states()
        told = f"{states['fresh']} of {sum(states.values())} active credentials are fresh"
        others = [f"{states[state]} {state}" for state in ("stale", "held") if states[state]]
        told += f", {' and '.join(others)}" if others else ""
        stale = self.overview.totals["stale_files"]
        return f"{told}; {_files(stale)} known only as they were before." if stale else f"{told}."

    def _wanting(self) -> Iterator[str]:
        """Say what needs a person."""
        if waiting := sum(row["files"] for row in self.overview.held):
            yield f"{waiting:,} deletions wait for a person to approve or reject them."
        if broken := [row["rule"] for row in self.overview.rules if row["state"] != "kept"]:
            yield f"{len(broken)} of {len(self.overview.rules)} rules are not kept: {', '.join(broken)}."
        for row in self.overview.quotas[:1]:
            yield f"The fullest account of known limits is {row['credential']}, at {row['used']:.0%}."


def report(inventory: Inventory, since: datetime, until: datetime | None = None) -> Report:
    """Ask all that a report tells."""
    until = until or datetime.now(UTC)
    former = figures.former(inventory, since)
    overview = figures.overview(inventory, since, now=until)
    return Report(
        since=since,
        until=until,
        overview=replace(overview, storage=figures.grown(overview.storage, former.storage)),
        growth=figures.growth(overview.totals, former.totals),
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
    return asdict(told) | {"summary": told.summary()}


def _files(count: int) -> str:
    return "1 file is" if count == 1 else f"{count:,} files are"


def _more(count: int, told: Callable[[int], str]) -> str:
    return f"{told(abs(count))} {'more' if count >= 0 else 'less'}"


_html = environment(linked=False)
_markdown = environment(linked=False).overlay(autoescape=False)
