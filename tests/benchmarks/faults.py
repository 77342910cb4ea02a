"""Run every fault in every dialect, in a first and in a later run, and print what came of it.

python tests/benchmarks/faults.py
python tests/benchmarks/faults.py --beside tests/peers.json

Exits with 1 on a false deletion, a wrong verdict, an error that was not foreseen, or a case without bounds. The figures
go to `results/faults.json` beside this file, in the form that --beside reads: a list of rows {fault, outcome, requests,
seconds, false_deletions, rows_kept}, or an object that has such lists under `tools`, each with the name of its tool.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from integration.fault_table import Line
    from integration.faulting import Found

RESULTS = Path(__file__).with_name("results") / "faults.json"
GATEWAY = Path(__file__).parents[1] / "gateway/node_modules/@portkey-ai/gateway/build/start-server.js"


def main() -> int:
    """Run all, print the tables, keep the figures; or write the page anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--beside", type=Path, action="append", default=[], help="results of other tools")
    parser.add_argument("--moments", type=int, default=20, help="how often a run is killed at some moment")
    parser.add_argument("--page", action="store_true", help="only write the tables of config/guarantees.md anew")
    asked = parser.parse_args()
    if asked.page:
        from integration.fault_table import PAGE, page

        PAGE.write_text(page(), encoding="utf-8")
        return 0
    started = time.monotonic()
    console = Console(width=max(150, shutil.get_terminal_size().columns), highlight=False)
    found, lines = run(asked.moments)
    console.print(table(lines))
    for path in asked.beside:
        console.print(beside(lines, json.loads(path.read_text())))
    keep(lines)
    wrong = [line for line in lines if line.faults]
    for line in wrong:
        console.print(f"[red]{line.fault}, {line.dialects}, {line.run} run: {'; '.join(line.faults)}")
    false = sum(line.false for line in lines)
    seconds = time.monotonic() - started
    console.print(
        f"{len(found)} cases on {len(lines)} lines in {seconds:.0f} s: {false} false deletions, {len(wrong)} wrong"
    )
    return 1 if wrong or false else 0


def run(moments: int) -> tuple[list[Found], list[Line]]:
    """Run every case; return what was found, and the lines of the table."""
    from integration.conftest import quickly
    from integration.crashing import staged
    from integration.fault_table import lines, store_lines
    from integration.faulting import BEHIND_GATEWAY, MATRIX, dialect_matrix, direct_matrix, gateway_matrix

    from etl.providers import PROVIDERS

    with tempfile.TemporaryDirectory() as name, quickly():
        folder = Path(name)
        direct = direct_matrix(folder / "direct" / "matrix")
        found = [direct.found("openai", fault, run, MATRIX[fault]) for fault in MATRIX for run in ("first", "later")]
        for dialect in PROVIDERS:
            matrix = dialect_matrix(folder / "dialects", dialect).values()
            found += [one for one in matrix if one.run != "healed" or one.faults]
        with gateway() as url:
            if url:
                behind = gateway_matrix(folder / "gateway" / "matrix", url)
                found += [behind.found("gateway", fault, "later", case) for fault, case in BEHIND_GATEWAY.items()]
        with staged(folder / "stage") as stage:
            return found, [*lines(found), *store_lines(stage, folder / "store", moments)]


@contextmanager
def gateway() -> Iterator[str | None]:
    """Base URL of the real gateway; None where it, or node, is not installed."""
    from conftest import free_port, wait_for

    node, port = shutil.which("node"), free_port()
    if not node or not GATEWAY.exists():
        print("the real gateway is not installed, so what passes through it is left out: run make test")
        yield None
        return
    command = [node, str(GATEWAY), "--headless", f"--port={port}"]
    with subprocess.Popen(command, stdin=-3, stdout=-3, stderr=-3) as process:
        try:
            wait_for(process, f"http://127.0.0.1:{port}/")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def table(lines: list[Line]) -> Table:
    """Lay out what came of every fault."""
    laid = Table("fault", "dialects", "run", "verdict", title="What comes of every fault")
    for head in ("requests", "seconds", "false deletions", "rows kept"):
        laid.add_column(head, justify="right")
    for line in lines:
        style = "red" if line.faults else ""
        counted = line.requests, f"{line.seconds:.2f}", str(line.false), line.kept
        laid.add_row(line.fault, line.dialects, line.run, line.verdict, *counted, style=style)
    return laid


def beside(lines: list[Line], others: Any) -> Table:
    """Lay out what other tools do beside what we do in the dialect of OpenAI, in a later run."""
    from integration.fault_table import WORDS, rows_of, said_of

    tools = others["tools"] if isinstance(others, dict) else [{"tool": "the other", "rows": others}]
    laid = Table("fault", "File Inventory", *(str(tool["tool"]) for tool in tools), title="Beside others")
    for line in lines:
        cells = [said_of(rows_of(tool).get(line.fault)) for tool in tools]
        if line.beside and any(cells):
            laid.add_row(WORDS[line.fault], line.beside, *cells, end_section=True)
    return laid


def keep(lines: list[Line]) -> None:
    """Keep the figures in the form that --beside reads."""
    rows = [
        {
            "fault": line.fault,
            "dialects": line.dialects,
            "run": line.run,
            "outcome": line.verdict,
            "requests": line.requests,
            "seconds": round(line.seconds, 3),
            "false_deletions": line.false,
            "rows_kept": line.kept,
        }
        for line in lines
    ]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
