"""The state of every credential, for people and for monitors."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.text import Text

from etl.report.output import console, instant, printable, size, table, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.load.store import RuleResult
    from etl.report.inventory import Inventory


def show_status(inventory: Inventory, *, as_json: bool = False) -> bool:
    """Print the state of every credential; return whether all that are active are fresh and none is held."""
    rows = inventory.ask("status").read_all().to_pylist()
    if as_json:
        sys.stdout.write(to_json(rows) + "\n")
    else:
        broken = inventory.ask("rules").read_all().to_pylist()
        columns = ("credential", "state", "last verdict", "complete as of", "files", "size", "held")
        console().print(table("", columns, map(_cells, rows), right=("files", "size", "held")))
        for row in broken:
            if row["state"] != "kept":
                console().print(Text(printable(_broken(**row))), soft_wrap=True)
    return all(row["state"] in {"fresh", "inactive"} for row in rows)


def show_rules(results: Sequence[RuleResult], *, as_json: bool = False) -> None:
    """Print what each rule found."""
    if as_json:
        sys.stdout.write(to_json([asdict(result) | {"state": result.state} for result in results]) + "\n")
        return
    for result in results:
        line = f"{result.state:<10}{result.rule}"
        if result.state != "kept":
            line = f"{result.state:<10}{_broken(**asdict(result))}"
        console().print(Text(printable(line)), soft_wrap=True)
        for example in result.examples:
            console().print(Text(f"{'':10}{printable(example)}"), soft_wrap=True)


def _broken(rule: str, severity: str, message: str, offenders: int | None, error: str | None, **_: Any) -> str:
    """Say in one line what a rule found that is not kept."""
    if offenders is None:
        return f"rule {rule} ({severity}) cannot be checked: {error}"
    found = "1 offender" if offenders == 1 else f"{offenders:,} offenders"
    return f"rule {rule} ({severity}) has {found}: {message}"


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
