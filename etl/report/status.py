"""The state of every credential, for people and for monitors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from etl.report.output import console, instant, size, table, to_json

if TYPE_CHECKING:
    from etl.report.inventory import Inventory


def show_status(inventory: Inventory, *, as_json: bool = False) -> bool:
    """Print the state of every credential; return whether all that are active are fresh and none is held."""
    rows = inventory.ask("status").read_all().to_pylist()
    if as_json:
        sys.stdout.write(to_json(rows) + "\n")
    else:
        columns = ("credential", "state", "last verdict", "complete as of", "files", "size", "held")
        console().print(table("", columns, map(_cells, rows), right=("files", "size", "held")))
    return all(row["state"] in {"fresh", "inactive"} for row in rows)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    unknown = f" + {row['unknown_sizes']:,} unknown" if row["unknown_sizes"] else ""
    return (
        row["credential"],
        row["state"],
        f"{row['verdict'] or 'never listed'}{': ' + row['error'] if row['error'] else ''}",
        instant(row["as_of"]) or "never",
        f"{row['files']:,}",
        size(row["bytes"]) + unknown,
        f"{row['held_deletions']:,}" if row["held_deletions"] else "",
    )
