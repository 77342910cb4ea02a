"""Where a store is: what differs between a file and a lake is behind the same few methods.

For writers these are `Embedded` and `InLake`, with who may write in `Alone` and `Leases`; for readers `Copy` and
`Snapshot`.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import duckdb

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.load.embedded import Copy, Embedded
    from etl.load.lake import InLake, Snapshot
    from etl.places import Place

T = TypeVar("T")


def home(place: Place) -> Embedded | InLake:
    """Return the home of the store at a place."""
    if isinstance(place, Path):
        from etl.load.embedded import Embedded  # noqa: PLC0415 - only what is used

        return Embedded(place)
    from etl.load.lake import InLake  # noqa: PLC0415 - needs what not everybody installs

    return InLake(place)


def shown(place: Place) -> Copy | Snapshot:
    """Return what readers see of the store at a place."""
    if isinstance(place, Path):
        from etl.load.embedded import Copy  # noqa: PLC0415 - only what is used

        return Copy(place)
    from etl.load.lake import Snapshot  # noqa: PLC0415 - needs what not everybody installs

    return Snapshot(place)


_FULL = re.compile("No space left|File too large|quota exceeded")


def mended(told: str) -> str:
    """Say after what went wrong how it is mended, where there was no room."""
    return f"{told}; make room there, and run again: nothing that was known is lost" if _FULL.search(told) else told


def whole(connection: duckdb.DuckDBPyConnection, work: Callable[[], T], expect: Callable[[], None]) -> T:
    """Do all of it in one transaction, or nothing; `expect` may still refuse once it has begun."""
    connection.begin()
    try:
        expect()
        done = work()
        connection.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a failed commit has rolled back already
            connection.rollback()
        raise
    return done
