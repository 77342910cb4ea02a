"""Keep the store as it was before an upgrade: a copy beside it, proven to hold the same rows."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import duckdb

from etl.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path


def kept_at(published: Path, version: int) -> Path:
    """Return where a store of this schema is kept when it is upgraded: `inventory.v1.duckdb`."""
    return published.with_suffix(f".v{version}{published.suffix}")


def keep(store: Path, kept: Path) -> None:
    """Copy a store, which must be closed; a whole copy that is there already stays.

    Raises:
        StoreError: The copy cannot be written, or does not hold what the store holds.
    """
    held = contents(store)
    if held is None:
        raise StoreError(f"{store} cannot be read to its end, so it is not upgraded; restore a backup")
    if contents(kept) == held:
        return
    fresh = kept.with_name(f".{kept.name}.fresh")
    try:
        shutil.copyfile(store, fresh)
        with fresh.open("rb+") as copy:
            os.fsync(copy.fileno())
        if contents(fresh) != held:
            raise StoreError(f"{kept}: the copy does not hold what {store} holds, so that is not upgraded; try again")
        fresh.replace(kept)
    except OSError as error:
        raise StoreError(
            f"{kept}: the store cannot be kept there as it was, so it is not upgraded: {error.strerror}"
        ) from None
    finally:
        fresh.unlink(missing_ok=True)


def drop_older(published: Path, version: int) -> None:
    """Remove what earlier upgrades kept: each later copy holds all that it held."""
    for older in range(1, version):
        path = kept_at(published, older)
        if (contents(path) or {}).get("schema_versions", (0,))[0] == older:
            path.unlink()


def contents(path: Path) -> dict[str, tuple[Any, ...]] | None:
    """Return for every table how many rows it has, and a hash of them all; None where they cannot all be read."""
    if not path.exists():
        return None
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            tables = connection.execute("select table_name from duckdb_tables()").fetchall()
            return {name: summed(connection.table(f'"{name}"')) for (name,) in tables}
    except duckdb.Error:
        return None


def summed(table: duckdb.DuckDBPyRelation) -> tuple[int, int]:
    """Return how many rows a table has, and a hash of them all."""
    [(rows, digest)] = table.set_alias("one").aggregate("count(*), coalesce(sum(hash(one)), 0)").fetchall()
    return rows, digest
