"""Show a run while it goes on: a live bar on a terminal, one line a credential everywhere."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.text import Text

from etl.report.output import console, printable, to_json
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from etl.load.store import Outcome, Run

COLOURS = {
    Verdict.COMPLETE: "green",
    Verdict.HELD: "yellow",
    Verdict.INCOMPLETE: "yellow",
    Verdict.FAILED: "red",
    Verdict.UNSUPPORTED: "magenta",
}


class Progress:
    """Shows outcomes as they come; a context manager."""

    def __init__(self, credentials: int, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = console()
        self._bar = Bar(
            TextColumn("listing"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("listing", total=credentials)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, outcome: Outcome) -> None:
        """Print one line for a listing."""
        self._bar.advance(self._task)
        if not self._quiet:
            line = Text(f"{outcome.status:<12}", COLOURS[Verdict(outcome.status)])
            self._console.print(line + Text(_line(outcome)), soft_wrap=True)

    def total(self, run: Run) -> None:
        """Print the sum of a run."""
        sums = run.totals
        seconds = (run.finished_at - run.started_at).total_seconds()
        head = f"{sums['complete']} of {sums['credentials']} complete"
        line = f"{run.status:<12}{head}: {_counted(sums)}, {seconds:.1f} s, run {run.run_id}"
        self._console.print(Text(line, "bold"), soft_wrap=True)


def run_as_json(run: Run) -> str:
    """Write a run as one JSON object."""
    return to_json(asdict(run))


def _line(outcome: Outcome) -> str:
    seconds = (outcome.finished_at - outcome.started_at).total_seconds()
    listed = _counted(asdict(outcome)) if outcome.pages else "not listed"
    line = f"{outcome.credential}: {listed}, {seconds:.1f} s"
    return f"{line}\n{'':12}{printable(outcome.error)}{_advice(outcome)}" if outcome.error else line


def _counted(counts: dict[str, int]) -> str:
    kinds = ("baseline", "created", "updated", "deleted", "restored", "held", "rejected")
    told = [f"{counts[kind]:,} {kind}" for kind in kinds if counts[kind]]
    return ", ".join([f"{counts['records']:,} files", *(told or ["no change"])])


def _advice(outcome: Outcome) -> str:
    name = outcome.credential
    if outcome.status == Verdict.HELD:
        return f"; {outcome.held:,} deletions wait for: file-inventory approve {name}, or reject {name}"
    if outcome.status == Verdict.INCOMPLETE:
        return "; what is missing was not taken as deleted"
    return ""
