"""Who may write what to a lake: locks of its catalogue's PostgreSQL, each held by the session that took it.

A session ends with its process, and within half a minute with its host; then others may take what it held.
"""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from etl.errors import StoreBusy, StoreError, redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etl.places import Lake

_PATIENCE = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "options": (
        "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 -c tcp_user_timeout=30s"
    ),
}
"""So that either side of a connection with the catalogue notices within half a minute that the other one is gone."""

_LOST = (
    "the session with the lake's catalogue was lost, and with it the right to write; nothing more is written;"
    " run again once its PostgreSQL can be reached"
)


class Leases:
    """What this process holds in the catalogue of a lake."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._held: set[str] = set()
        self._run: str | None = None
        self._leading: psycopg.Connection[Any] | None = None

    def open(self) -> None:
        """Begin the session that holds what is taken."""
        self._session = connect(self._lake)
        self._held.clear()

    def close(self) -> None:
        """End it: whatever it holds is free."""
        for session in (self._session, self._leading):
            if session is not None:
                session.close()

    def announce(self, url: str) -> None:
        """Nobody hands work over: every process may do its own."""

    def begin(self, run_id: str) -> None:
        """Show that this run goes on, until the next one begins."""
        if self._run:
            self.free(self._run)
        self._run = f"run {run_id}"
        self._take([self._run])

    def abandoned(self, run_ids: Sequence[str]) -> list[str]:
        """Return the runs that nobody works on any more."""
        names = {f"run {run_id}": run_id for run_id in run_ids}
        ended = self._take(list(names))
        self.free(*ended)
        return [names[name] for name in ended]

    def take(self, names: Sequence[str]) -> set[str]:
        """Take the credentials that nobody else lists; return them. A session that was lost begins anew."""
        if not self._alive():
            self._session.close()
            self.open()
        leases = {f"credential {name}": name for name in names}
        return {leases[lease] for lease in self._take(list(leases))}

    def free(self, *names: str) -> None:
        """Let others list these credentials, as far as they are held."""
        held = self._held & ({f"credential {name}" for name in names} | set(names))
        self._held -= held
        with suppress(psycopg.OperationalError):  # of a session that is lost everything is free
            self._session.execute(_text("free"), {"names": list(held)})

    def who(self, name: str) -> str:
        """Say who lists a credential."""
        try:
            holder = self._session.execute(_text("who"), {"name": f"credential {name}"}).fetchone()
        except psycopg.OperationalError:
            raise StoreError(_LOST) from None
        return f"{name} is being listed by {holder[0] if holder else 'a process that just ended'}"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until nobody else writes."""
        try:
            self._session.execute(_text("turn"))
        except psycopg.errors.LockNotAvailable:
            raise StoreBusy("another process has been writing to the lake for 10 minutes; try again later") from None
        except psycopg.OperationalError:
            raise StoreError(_LOST) from None
        try:
            yield
        finally:
            with suppress(psycopg.OperationalError):  # a session that is lost holds it no more
                self._session.execute(_text("turned"))

    def expect(self) -> None:
        """Raise StoreError where what was taken is lost."""
        if not self._alive():
            raise StoreError(_LOST)

    def lead(self) -> bool:
        """Tell whether this process keeps the schedule, as one of those that serve this lake does.

        It has a session of its own: the other one may wait for its turn.
        """
        try:
            if self._leading is not None:
                self._leading.execute("select 1")
                return True
            session = connect(self._lake)
        except psycopg.OperationalError:
            self._leading = None
            return False
        except StoreError:
            return False
        if _taken(session, ["leader"]):
            self._leading = session
            return True
        session.close()
        return False

    def _alive(self) -> bool:
        try:
            self._session.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def _take(self, names: list[str]) -> set[str]:
        fresh = [name for name in names if name not in self._held]
        try:
            taken = _taken(self._session, fresh)
        except psycopg.errors.OutOfMemory:
            raise StoreError(
                "the lake's PostgreSQL has no room for so many locks; raise its max_locks_per_transaction"
            ) from None
        except psycopg.OperationalError:
            raise StoreError(_LOST) from None
        self._held |= taken
        return taken | (set(names) - set(fresh))


def reaching(lake: Lake) -> dict[str, Any]:
    """Return how to connect to the PostgreSQL of a lake's catalogue, as libpq names it; what its URL says counts."""
    return {**_PATIENCE, **conninfo_to_dict(lake.url or "")}


def connect(lake: Lake) -> psycopg.Connection[Any]:
    """Connect to the PostgreSQL of a lake's catalogue; StoreError where that cannot be."""
    name = f"{socket.gethostname()[:36]} (process {os.getpid()})"
    try:
        session = psycopg.connect(**reaching(lake) | {"application_name": name}, autocommit=True)
        session.execute(_text("session"))
    except (psycopg.Error, UnicodeError) as error:
        told = redact(str(error).strip().splitlines()[0], lake.secrets())
        raise StoreError(f"the lake's catalogue cannot be reached: {told}") from None
    return session


def _taken(session: psycopg.Connection[Any], names: list[str]) -> set[str]:
    return {name for name, taken in session.execute(_text("take"), {"names": names}) if taken}


@cache
def _text(name: str) -> Any:
    return resources.files("etl.load").joinpath("sql", "catalog", f"{name}.sql").read_text()
