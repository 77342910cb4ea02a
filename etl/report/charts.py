"""Charts as SVG to stand in a page: no script, no reference to elsewhere, coloured by the page's style sheet."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from importlib import resources
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pygal
from pygal.style import Style

from etl.report.figures import Step
from etl.report.output import size
from etl.transform.words import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from xml.etree.ElementTree import Element

    from etl.report.figures import History

STYLE = resources.files("etl.report").joinpath("charts.css").read_text(encoding="utf-8")
"""The style sheet that a page with charts needs."""

POINTS = 240
BARS = 60
"""How many a chart shows at most; longer histories are drawn in longer steps."""

sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
"""It finds plugins of pygal in a way that Python warns of, and none is used."""

_LABELS = 4
_DRAWN = (Change.CREATED, Change.RESTORED, Change.UPDATED, Change.DELETED)


@dataclass(frozen=True)
class Chart:
    """A chart, and the same for those who do not see it."""

    title: str
    unit: str
    """What the vertical axis counts."""
    svg: str
    summary: str
    """One or two sentences."""
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    """The data as text, oldest first."""
    legend: tuple[str, ...] = ()
    """Names of the series, in the order of their colours."""


def files_over_time(history: History) -> Chart | None:
    """Draw how many files there were; None where nothing was ever seen."""
    return _trend("Files", "files", history, attrgetter("files"), _count)


def bytes_over_time(history: History) -> Chart | None:
    """Draw how much room they took; None where nothing was ever seen."""
    return _trend("Stored bytes", "bytes of known size", history, attrgetter("bytes"), size)


def changes_over_time(history: History) -> Chart | None:
    """Draw what came, changed and went; the baseline, which is no change, is told in words."""
    steps = grouped(history.steps, BARS)
    if not steps:
        return None
    labels = _labels(steps, history.step)
    drawn = {kind: [step.changes.get(kind, 0) for step in steps] for kind in _DRAWN}
    came = [sum(step.changes.get(kind, 0) for kind in _DRAWN[:-1]) for step in steps]
    ticks = _ticks(max(came), max(drawn[Change.DELETED]))
    chart = pygal.StackedBar(**_settings(labels, ticks, lambda value: _count(abs(value))))
    for kind, counts in drawn.items():
        chart.add(kind, [(-count if kind is Change.DELETED else count) or None for count in counts])
    sums = ", ".join(f"{sum(counts):,} {kind}" for kind, counts in drawn.items())
    baseline = sum(step.changes.get(Change.BASELINE, 0) for step in steps)
    summary = f"{sums}, since {labels[0]}. Not drawn: {baseline:,} files that were there before we looked."
    columns = ("from", *(str(kind) for kind in Change))
    counted = [[_count(step.changes.get(kind, 0)) for kind in Change] for step in steps]
    rows = [(label, *counts) for label, counts in zip(labels, counted, strict=True)]
    return Chart("Changes", "files changed", _svg(chart, f"Changes: {summary}"), summary, columns, rows, _DRAWN)


def _trend(
    title: str, unit: str, history: History, measure: Callable[[Step], int], told: Callable[[int], str]
) -> Chart | None:
    steps = grouped(history.steps, POINTS)
    if not steps:
        return None
    values = [measure(step) for step in steps]
    labels = _labels(steps, history.step)
    chart = pygal.Line(show_dots=len(values) == 1, **_settings(labels, _ticks(max(values)), told))
    chart.add("area", values, fill=True, show_dots=False)
    chart.add("line", values)
    most = max(range(len(values)), key=values.__getitem__)
    first, last, top = told(values[0]), told(values[-1]), told(values[most])
    summary = f"{last} now, {first} at first ({labels[0]}), at most {top} ({labels[most]})."
    rows = [(label, told(value)) for label, value in zip(labels, values, strict=True)]
    return Chart(title, unit, _svg(chart, f"{title} over time: {summary}"), summary, ("from", unit), rows)


def grouped(steps: Sequence[Step], most: int) -> list[Step]:
    """Join neighbouring steps until at most so many are left."""
    width = max(1, math.ceil(len(steps) / most))
    return [_joined(steps[start : start + width]) for start in range(0, len(steps), width)]


def _joined(steps: Sequence[Step]) -> Step:
    kinds = {kind for step in steps for kind in step.changes}
    changes = {kind: sum(step.changes.get(kind, 0) for step in steps) for kind in kinds}
    return Step(steps[0].at, steps[-1].files, steps[-1].bytes, changes)


def _settings(labels: Sequence[str], ticks: Sequence[int], told: Callable[[int], str]) -> dict[str, Any]:
    each = max(1, math.ceil(len(labels) / _LABELS))
    return {
        "js": [],
        "css": [],
        "style": Style(font_family="inherit", label_font_size=12, major_label_font_size=12),
        "width": 440,
        "height": 200,
        "margin": 4,
        "margin_right": 24,
        "margin_top": 10,
        "disable_xml_declaration": True,
        "show_legend": False,
        "x_labels": labels,
        "x_labels_major": labels[each // 2 :: each],
        "show_minor_x_labels": False,
        "truncate_label": -1,
        "y_labels": [{"value": tick, "label": told(tick)} for tick in ticks],
        "range": (ticks[0], ticks[-1]),
        "value_formatter": told,
    }


def _labels(steps: Sequence[Step], step: str) -> list[str]:
    pattern = {"minute": "%H:%M", "hour": "%d %b %H:%M", "day": "%d %b %Y"}[step]
    return [_moment(one.at, pattern) for one in steps]


def _moment(at: datetime, pattern: str) -> str:
    return f"{at:{pattern}}".lstrip("0") if pattern.startswith("%d") else f"{at:{pattern}}"


def _ticks(top: int, bottom: int = 0) -> list[int]:
    """Cut what lies between -bottom and top into a few round steps that reach both ends."""
    rough = max(top, bottom, 1) / 4
    power = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * number for number in range(-math.ceil(bottom / step), max(1, math.ceil(top / step)) + 1)]


def _count(value: int) -> str:
    return f"{value:,}"


def _svg(chart: Any, label: str) -> str:
    chart.add_xml_filter(lambda root: _bare(root, label))
    return str(chart.render(is_unicode=True))


def _bare(root: Element, label: str) -> Element:
    """Leave out what is for scripts, and say in words what the picture shows."""
    for parent in list(root.iter()):
        for child in list(parent):
            if callable(child.tag) or child.tag in {"defs", "title"} or "-overlay" in str(child.get("class")):
                parent.remove(child)
    for bar in root.iter("g"):
        if bar.get("class") == "bar":
            _explain(bar)
    for place in root.iter():
        place.attrib.pop("id", None)
        for aid in place.findall("desc"):
            place.remove(aid)
    root.set("role", "img")
    root.set("aria-label", label)
    return root


def _explain(bar: Element) -> None:
    """Turn what a script would show on hovering into what browsers show."""
    told = {aid.get("class"): aid.text for aid in bar.findall("desc")}
    rect = bar.find("rect")
    if rect is not None:
        title = rect.makeelement("title", {})
        title.text = f"{told.get('x_label')}: {told.get('value')}"
        rect.append(title)
