"""When runs are due: cron fields or a rhythm, read in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apscheduler.triggers.base import BaseTrigger
from cronsim import CronSim

from etl.providers.base import rhythm

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo


def next_after(schedule: str, moment: datetime, zone: ZoneInfo) -> datetime:
    """Return the first turn after a moment, in UTC.

    Cron fields are read as Debian's cron reads them (crontab(5), cron(8)): 0 and 7 are Sunday; where the clock is put
    forward, a turn at a skipped time comes at once, and where it is put back, a turn at a fixed hour comes once while
    one of every hour goes on. `every 15m` counts real time, which no clock change touches.
    """
    seconds = rhythm(schedule)
    if seconds is None:
        return next(CronSim(schedule, moment.astimezone(zone))).astimezone(UTC)
    return moment.astimezone(UTC) + timedelta(seconds=seconds)


def is_late(schedule: str, completed: datetime | None, now: datetime, zone: ZoneInfo) -> bool:
    """Tell whether a turn has passed since the last complete listing; a listing in the future is no listing."""
    return completed is None or completed > now or next_after(schedule, completed, zone) <= now


def first_turn(schedule: str, completed: Iterable[datetime | None], now: datetime, zone: ZoneInfo) -> datetime:
    """Return the next turn of credentials last completed at these times; those who are late are not waited for."""
    turns = (next_after(schedule, moment, zone) for moment in completed if moment is not None and moment <= now)
    return min((turn for turn in turns if turn > now), default=next_after(schedule, now, zone))


class Turns(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """The turns of one schedule for APScheduler, each later by `delay`; turns missed together are one."""

    def __init__(self, schedule: str, zone: ZoneInfo, first: datetime, delay: timedelta = timedelta()) -> None:
        self._schedule = schedule
        self._zone = zone
        self._first = first
        self._delay = delay

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return when the next run starts; the first time there is no previous one."""
        if previous_fire_time is None:
            return self._first + self._delay
        turn = self._after(previous_fire_time)
        return turn if turn > now else self._after(now)

    def _after(self, moment: datetime) -> datetime:
        return next_after(self._schedule, moment - self._delay, self._zone) + self._delay
