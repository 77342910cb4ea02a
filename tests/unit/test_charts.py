"""Charts: what they draw, what they say in words, and what they must not hold."""

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest

from etl.report import charts
from etl.report.figures import History, Step

START = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
DRAWERS = (charts.files_over_time, charts.bytes_over_time, charts.changes_over_time)


def history(count: int, step: str = "day", **length: int) -> History:
    """Grow by ten files a step, of a gigabyte each, and lose one from the second step on."""
    length = length or {"days": 1}
    steps = []
    for number in range(count):
        changes = {"created": 10, "deleted": 1} if number else {"baseline": 1000}
        steps.append(Step(START + number * timedelta(**length), 1000 + 9 * number, (1 + number) * 10**9, changes))
    return History(step, tuple(steps))


def drawn(chart: charts.Chart) -> ET.Element:
    return ET.fromstring(chart.svg)  # noqa: S314 - our own


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("count", [1, 2, 59, 61, 1000])
def test_a_chart_is_bare_svg_that_says_in_words_what_it_shows(draw: object, count: int) -> None:
    assert callable(draw)
    chart = draw(history(count))
    root = drawn(chart)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert chart.summary in str(root.get("aria-label"))
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "g", "rect", "path", "text", "circle", "title"}
    assert re.findall(r"https?://[^\"]+", chart.svg) == ["http://www.w3.org/2000/svg"]
    assert not [element for element in root.iter() if element.get("id") or element.get("style")]


@pytest.mark.parametrize("draw", DRAWERS)
def test_of_nothing_there_is_no_chart(draw: object) -> None:
    assert callable(draw)
    assert draw(History("day", ())) is None


def test_trends_tell_the_first_the_last_and_the_most() -> None:
    chart = charts.bytes_over_time(history(3))
    assert chart is not None
    assert chart.summary == "3.0 GB now, 1.0 GB at first (1 Jan 2026), at most 3.0 GB (3 Jan 2026)."
    assert chart.columns == ("from", "bytes of known size")
    assert chart.rows == [("1 Jan 2026", "1.0 GB"), ("2 Jan 2026", "2.0 GB"), ("3 Jan 2026", "3.0 GB")]


def test_changes_leave_the_baseline_out_of_the_picture_but_not_out_of_the_words() -> None:
    chart = charts.changes_over_time(history(3))
    assert chart is not None
    assert chart.summary == (
        "20 created, 0 restored, 0 updated, 2 deleted, since 1 Jan 2026."
        " Not drawn: 1,000 files that were there before we looked."
    )
    assert chart.columns == ("from", "baseline", "created", "updated", "deleted", "restored")
    assert chart.rows[0] == ("1 Jan 2026", "1,000", "0", "0", "0", "0")
    assert chart.rows[1] == ("2 Jan 2026", "0", "10", "0", "1", "0")
    assert ">1,000<" not in chart.svg


def test_a_history_of_one_step_is_a_dot() -> None:
    one, two = charts.files_over_time(history(1)), charts.files_over_time(history(2))
    assert one is not None
    assert two is not None
    assert (one.svg.count("<circle"), two.svg.count("<circle")) == (1, 0)


def test_bars_explain_themselves_to_the_pointer() -> None:
    chart = charts.changes_over_time(history(2))
    assert chart is not None
    titles = [element.text for element in drawn(chart).iter(f"{SVG}title")]
    assert {"2 Jan 2026: 10", "2 Jan 2026: 1"} <= set(titles)


def test_long_histories_are_joined_without_losing_a_change() -> None:
    whole = history(1000)
    joined = charts.grouped(whole.steps, charts.BARS)
    assert len(joined) <= charts.BARS
    assert sum(step.changes.get("created", 0) for step in joined) == 999 * 10
    assert (joined[0].at, joined[-1].files) == (START, whole.steps[-1].files)


@pytest.mark.parametrize(
    ("step", "length", "first"),
    [("minute", {"minutes": 1}, "00:00"), ("hour", {"hours": 1}, "1 Jan 00:00"), ("day", {"days": 1}, "1 Jan 2026")],
)
def test_times_are_told_as_precisely_as_the_steps(step: str, length: dict[str, int], first: str) -> None:
    chart = charts.files_over_time(history(30, step, **length))
    assert chart is not None
    assert chart.rows[0][0] == first


@pytest.mark.parametrize("draw", DRAWERS)
@pytest.mark.parametrize("count", [1, 3, 30, 365, 4000])
def test_labels_of_the_time_axis_stand_apart(draw: object, count: int) -> None:
    assert callable(draw)
    root = drawn(draw(history(count)))
    axis = next(group for group in root.iter(f"{SVG}g") if group.get("class") == "axis x")
    places = [float(text.get("x", 0)) for text in axis.iter(f"{SVG}text") if text.get("class") == "major"]
    assert 1 <= len(places) <= 5
    assert all(after - before > 75 for before, after in pairwise(places))


@pytest.mark.parametrize(
    ("top", "bottom", "ticks"),
    [
        (0, 0, [0, 1]),
        (3, 0, [0, 1, 2, 3]),
        (1001, 0, [0, 500, 1000, 1500]),
        (10, 7, [-10, -5, 0, 5, 10]),
        (0, 3, [-3, -2, -1, 0, 1]),
        (7 * 10**12, 0, [0, 2 * 10**12, 4 * 10**12, 6 * 10**12, 8 * 10**12]),
    ],
)
def test_the_axis_is_cut_into_round_steps_that_reach_both_ends(top: int, bottom: int, ticks: list[int]) -> None:
    assert charts._ticks(top, bottom) == ticks
