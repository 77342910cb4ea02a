"""When runs are due: cron by Debian's rules, rhythms in real time, over every trick of clocks."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.schedule import Turns, first_turn, is_late, next_after

BERLIN = ZoneInfo("Europe/Berlin")
SCHEDULES = ("*/15 * * * *", "30 2 * * *", "0 * * * *", "0 0 29 2 *", "0 3 * * 0", "every 15m", "every 25h")


def at(text: str, zone: ZoneInfo | None = None) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=zone or UTC) if moment.tzinfo is None else moment


def turns(schedule: str, after: str, count: int, zone: ZoneInfo = BERLIN) -> list[str]:
    """The local times of the next turns, each with its offset."""
    moment, found = at(after, zone), []
    for _ in range(count):
        moment = next_after(schedule, moment, zone)
        found.append(moment.astimezone(zone).strftime("%Y-%m-%d %H:%M%z")[:-2])
    return found


def test_where_the_clock_is_put_forward_a_skipped_turn_comes_at_once() -> None:
    assert turns("30 2 * * *", "2026-03-28 03:00", 3) == [
        "2026-03-29 03:00+02",
        "2026-03-30 02:30+02",
        "2026-03-31 02:30+02",
    ]


def test_where_the_clock_is_put_back_a_fixed_turn_comes_once() -> None:
    assert turns("30 2 * * *", "2026-10-24 03:00", 2) == ["2026-10-25 02:30+02", "2026-10-26 02:30+01"]


def test_where_the_clock_is_put_back_a_turn_of_every_hour_goes_on_in_real_time() -> None:
    assert turns("*/30 * * * *", "2026-10-25 01:45", 5) == [
        "2026-10-25 02:00+02",
        "2026-10-25 02:30+02",
        "2026-10-25 02:00+01",
        "2026-10-25 02:30+01",
        "2026-10-25 03:00+01",
    ]


@pytest.mark.parametrize("night", ["2026-03-29 00:00", "2026-10-25 00:00"])
def test_a_rhythm_counts_real_time_over_every_change_of_the_clock(night: str) -> None:
    moment = at(night, BERLIN)
    for _ in range(40):
        later = next_after("every 15m", moment, BERLIN)
        assert later - moment.astimezone(UTC) == timedelta(minutes=15)
        moment = later


def test_the_leap_day_is_waited_for() -> None:
    assert turns("0 0 29 2 *", "2026-11-25 00:00", 2) == ["2028-02-29 00:00+01", "2032-02-29 00:00+01"]


@pytest.mark.parametrize("sunday", ["0", "7", "sun"])
def test_weekdays_are_numbered_as_cron_numbers_them(sunday: str) -> None:
    assert turns(f"0 3 * * {sunday}", "2026-11-25 00:00", 1) == ["2026-11-29 03:00+01"]


def test_a_turn_is_read_in_the_zone_and_told_in_utc() -> None:
    assert next_after("0 9 * * *", at("2026-07-01 00:00"), BERLIN) == at("2026-07-01 07:00")
    assert next_after("0 9 * * *", at("2026-07-01 00:00"), BERLIN).tzinfo is UTC


@given(st.sampled_from(SCHEDULES), st.datetimes(datetime(2024, 1, 1), datetime(2036, 1, 1)))  # noqa: DTZ001
def test_every_next_turn_is_later(schedule: str, moment: datetime) -> None:
    found = [moment.replace(tzinfo=UTC)]
    for _ in range(5):
        found.append(next_after(schedule, found[-1], BERLIN))
    assert all(early < late for early, late in pairwise(found))


# What is late


@pytest.mark.parametrize(
    ("completed", "late"),
    [
        (None, True),
        ("2026-11-25 11:45", False),
        ("2026-11-25 11:44:59", True),
        ("2026-11-24 12:00", True),
        ("2026-11-25 12:00:01", True),  # the clock was set back: nothing can have been listed in the future
    ],
)
def test_late_is_whose_turn_passed_since_the_last_complete_listing(completed: str | None, late: bool) -> None:  # noqa: FBT001
    moment = at(completed) if completed else None
    assert is_late("every 15m", moment, at("2026-11-25 11:59:59"), BERLIN) is late


def test_the_first_turn_keeps_the_rhythm_of_those_who_are_not_late() -> None:
    now = at("2026-11-25 12:00")
    assert first_turn("every 15m", [at("2026-11-25 11:50"), None], now, BERLIN) == at("2026-11-25 12:05")
    assert first_turn("every 15m", [at("2026-11-25 11:00"), None], now, BERLIN) == at("2026-11-25 12:15")
    assert first_turn("every 15m", [at("2026-11-26 11:00")], now, BERLIN) == at("2026-11-25 12:15")
    assert first_turn("0 13 * * *", [at("2026-11-25 11:50")], now, ZoneInfo("UTC")) == at("2026-11-25 13:00")


# What the scheduler is told


def test_turns_missed_together_are_one() -> None:
    trigger = Turns("every 15m", BERLIN, at("2026-11-25 12:00"))
    asleep_until = at("2026-11-25 12:47")
    assert trigger.get_next_fire_time(at("2026-11-25 12:00"), asleep_until) == at("2026-11-25 13:02")


def test_a_rhythm_does_not_drift_while_runs_start_late() -> None:
    trigger = Turns("every 15m", BERLIN, at("2026-11-25 12:00"))
    assert trigger.get_next_fire_time(at("2026-11-25 12:00"), at("2026-11-25 12:00:07")) == at("2026-11-25 12:15")


def test_a_delay_shifts_every_turn_alike() -> None:
    delay = timedelta(seconds=20)
    trigger = Turns("*/15 * * * *", BERLIN, at("2026-11-25 12:00"), delay)
    moment: datetime | None = None
    for expected in ("12:00:20", "12:15:20", "12:30:20"):
        moment = trigger.get_next_fire_time(moment, moment or at("2026-11-25 11:50"))
        assert moment == at(f"2026-11-25 {expected}")
