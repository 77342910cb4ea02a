"""Keep to `http.per_host` where many processes send: one deals out how many requests each may have in flight.

Each asks for its share of every host at once, and asks again only when it needs more or half a second later: no message
is sent for a single request. A share lasts a few seconds. Who is not heard of any more loses it to the others, and
sends nothing more itself.
"""

from __future__ import annotations

import time
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEASE = 10.0
"""Seconds for which a share is kept for one that is silent; it stops a little earlier itself."""

_EVERY = 0.5
"""Seconds between two messages of one that has what it needs."""

_AGAIN = 0.2
"""Seconds before one that got less than it needs asks again."""

_SOON = 0.01
"""Seconds before a message, so that it tells of all that begins at the same time."""

_ROUND = 2.0
"""Seconds after which others come first, where there are fewer turns than takers."""


class Need(NamedTuple):
    """What one process holds of a host's turns, and what it could use."""

    held: int
    wanted: int


class Share(NamedTuple):
    """What one process may hold of a host's turns, and what would be fair: down to that it should give back."""

    granted: int
    fair: int


Ask: TypeAlias = "Callable[[str, Mapping[str, Need]], Mapping[str, Share]]"
"""Tell who one is and what one needs of each host; get what one may have."""


@dataclass
class _Taker:
    needs: dict[str, Need]
    heard: float


class Dealer:
    """Deals out the turns: what it granted never adds up to more than there are.

    Args:
        turns: How many requests to one host may be in flight.
        now: A clock.
        quiet: Seconds in which only what takers hold already is granted; for one that begins anew.
    """

    def __init__(self, turns: int, now: Callable[[], float] = time.monotonic, *, quiet: float = 0.0) -> None:
        self._turns = turns
        self._now = now
        self._open = now() + quiet
        self._takers: dict[str, _Taker] = {}

    def ask(self, who: str, needs: Mapping[str, Need]) -> dict[str, Share]:
        """Grant what is free, as far as it is fair; one that needs nothing is forgotten."""
        now = self._now()
        self._takers = {name: one for name, one in self._takers.items() if name != who and now - one.heard < LEASE}
        shares = {host: self._share(who, host, need, now) for host, need in needs.items()}
        if needs:
            held = {host: Need(share.granted, needs[host].wanted) for host, share in shares.items()}
            self._takers[who] = _Taker(held, now)
        return shares

    def _share(self, who: str, host: str, need: Need, now: float) -> Share:
        others = {name: one.needs[host] for name, one in self._takers.items() if host in one.needs}
        wanted = {name: one.wanted for name, one in others.items()} | {who: need.wanted}
        fair = _dealt(wanted, self._turns, int(now / _ROUND))[who]
        free = self._turns - sum(one.held for one in others.values()) if now >= self._open else 0
        return Share(max(need.held, min(fair, free)), fair)


class RemoteDealer:
    """The dealer as an actor of Ray; one that was lost with its node begins anew, once all are heard."""

    def __init__(self, turns: int) -> None:
        import ray  # noqa: PLC0415 - an extra that may be missing

        with warnings.catch_warnings(action="ignore"):  # it uses what it calls deprecated itself
            again = ray.get_runtime_context().was_current_actor_reconstructed
        self._dealer = Dealer(turns, quiet=LEASE if again else 0.0)

    def ask(self, who: str, needs: dict[str, Need]) -> dict[str, Share]:
        """Grant what is free, as far as it is fair."""
        return self._dealer.ask(who, needs)


def _dealt(wanted: Mapping[str, int], turns: int, number: int) -> dict[str, int]:
    """Share turns out: nobody gets more than wanted, or less than another who wanted as much, but for the last one.

    Who gets that changes with the number.
    """
    names = sorted(wanted)
    first = number % len(names)
    names = sorted(names[first:] + names[:first], key=lambda name: wanted[name])
    dealt = {}
    for count, name in enumerate(names):
        dealt[name] = min(wanted[name], turns // (len(names) - count))
        turns -= dealt[name]
    return dealt


@dataclass
class _Host:
    """One process's turns at one host."""

    changed: Condition
    using: int = 0
    waiting: int = 0
    share: Share = field(default=Share(0, 0))
    peak: int = 0
    """The most that could be used at once since it was last told."""

    @property
    def limit(self) -> int:
        return min(self.share)

    @property
    def is_short(self) -> bool:
        return self.waiting > 0 and self.using >= self.limit

    @property
    def owes(self) -> bool:
        """Whether others wait for what is not in use here."""
        return self.share.granted > max(self.using, self.share.fair)

    def need(self) -> Need:
        """Give back what is not fair to keep, as soon as it is not in use."""
        told = Need(max(self.using, min(self.limit, self.peak)), self.peak)
        self.peak = self.using + self.waiting
        self.share = self.share._replace(granted=told.held)
        return told


class Turns:
    """One process's share of the turns; a context manager.

    Args:
        ask: Reaches the dealer.
    """

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._who = uuid4().hex
        self._changed = Condition()
        self._hosts: dict[str, _Host] = {}
        self._until = 0.0
        self._closed = False
        self._thread = Thread(target=self._renew, name="turns", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._thread.join()
        with suppress(Exception):  # else it is taken for silent
            self._ask(self._who, {})

    def at(self, host: str) -> _Turn:
        """Return what a request to this host waits for."""
        with self._changed:
            return _Turn(self, self._hosts.setdefault(host, _Host(self._changed)))

    def close(self) -> None:
        """Hold nobody up any longer: those who wait have to look whether they are still wanted."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def acquire(self, host: _Host, seconds: float) -> bool:
        """Wait for a turn at a host."""
        with self._changed:
            host.waiting += 1
            host.peak = max(host.peak, host.using + host.waiting)
            if host.is_short:
                self._changed.notify_all()
            came = self._changed.wait_for(lambda: self._may_begin(host), seconds)
            host.waiting -= 1
            host.using += came
            return came

    def release(self, host: _Host) -> None:
        """Give a turn back."""
        with self._changed:
            host.using -= 1
            self._changed.notify_all()

    def _may_begin(self, host: _Host) -> bool:
        return self._closed or (host.using < host.limit and time.monotonic() < self._until)

    def _renew(self) -> None:
        while not self._closed:
            with self._changed:
                self._changed.wait_for(self._has_news, _EVERY)
            time.sleep(_SOON)
            with self._changed:
                needs = {name: host.need() for name, host in self._hosts.items()}
            if self._lacks({name: need for name, need in needs.items() if need.wanted}) and not self._owes():
                time.sleep(_AGAIN)

    def _has_news(self) -> bool:
        return self._closed or self._owes() or any(host.is_short for host in self._hosts.values())

    def _owes(self) -> bool:
        return any(host.owes for host in self._hosts.values())

    def _lacks(self, needs: dict[str, Need]) -> bool:
        """Ask for what is needed; return whether it is more than what was granted."""
        began = time.monotonic()
        try:
            shares = self._ask(self._who, needs)
        except Exception:  # noqa: BLE001 - it is asked again; until then, what was granted last holds
            return True
        with self._changed:
            self._until = began + LEASE * 0.8
            for name, share in shares.items():
                self._hosts[name].share = share
            self._changed.notify_all()
        return any(share.granted < needs[name].wanted for name, share in shares.items())


@dataclass(frozen=True)
class _Turn:
    turns: Turns
    host: _Host

    def acquire(self, *, timeout: float) -> bool:
        return self.turns.acquire(self.host, timeout)

    def release(self) -> None:
        self.turns.release(self.host)
