"""The fault matrix as a table: to print, to set beside what other tools do, and for the page config/guarantees.md."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from etl.errors import StoreBusy
from etl.load.store import open_inventory
from etl.providers import PROVIDERS
from etl.sync import sync

from .crashing import Stage, told
from .faulting import EVENTS, FILES, MATRIX, Case, Found, expected

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from etl.config import Config

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "config/guarantees.md"
PEERS = ROOT / "tests/peers.json"
START = "<!-- From here on written by: make schema -->\n"

WORDS = {
    "page2_500": "page 2 answers 500 for ever",
    "page2_404": "page 2 answers 404",
    "ignore_after": "the cursor is ignored: page 1 for ever",
    "null_last_id": "more is promised, but no cursor given",
    "no_cursor": "an empty page promises more, without a cursor",
    "short_list": "the list ends early, and says that it is whole",
    "error_200": "an error with status 200",
    "no_data": "an envelope without records",
    "null_data": "the records are null",
    "empty": "an empty list",
    "null_id": "one record has no id",
    "word_bytes": "one size is a word",
    "new_field": "every record has a new field",
    "drop_field": "every record lacks a field",
    "rate_limited": "429 at first, with Retry-After",
    "always_429": "429 for ever",
    "quota": "429: the money is spent",
    "unauthorized": "401, the key is echoed",
    "forbidden": "403",
    "not_found": "404",
    "endless": "ever new cursors, never a new file",
    "same_rows": "the right cursors, but the rows of page 1",
    "cycle": "page 2 leads back to page 1",
    "duplicate_rows": "page 2 repeats rows of page 1",
    "html_200": "a web page",
    "html_message": "a web page inside JSON",
    "not_json": "text that is no JSON",
    "truncated": "half a body",
    "cut": "the connection is cut in the body",
    "stall": "silence in the middle of an answer",
    "redirect_elsewhere": "a redirect to another host",
    "array": "an object of numbered rows",
    "list_body": "a bare array",
    "null_body": "null",
    "empty_body": "204, no body",
    "huge_body": "a body of 64 MB, where 4 MB are allowed",
    "one_removed": "one file is removed",
    "one_returned": "a file that was gone is back",
    "cursor_file_removed": "the last file of page 1 goes before page 2",
    "reader_open": "a reader holds the database open",
    "two_runs": "two runs at once on one store",
    "killed": "kill -9 before a step, or at some moment",
    "disk_full": "no room on the disk",
}
"""What the provider, or the machine, does."""

REFUSED, MADE_GOOD, TOLD = "complete; the second refused", "complete by the next run", "told; complete by the next run"
STORE = {"reader_open": "complete", "two_runs": REFUSED, "killed": MADE_GOOD, "disk_full": TOLD}
"""What must come of faults that have nothing to do with a dialect."""
AT_FIRST = {"killed"}
"""Those of them that are tried in a first run, too."""


class Line(NamedTuple):
    """A line of the table."""

    fault: str
    dialects: str
    run: str
    verdict: str
    requests: str
    seconds: float
    false: int
    kept: str
    faults: list[str]
    """What is wrong; nothing, if all is well."""
    beside: str = ""
    """What to set beside the results of others: those of a later run, in OpenAI's dialect."""


def named(dialects: Collection[str]) -> str:
    """Name dialects in few words."""
    direct = [dialect for dialect in PROVIDERS if dialect in dialects]
    lacking = [dialect for dialect in PROVIDERS if dialect not in dialects]
    few = len(lacking) < len(direct)
    listed = [f"all but {', '.join(lacking)}" if few and lacking else "all" if few else ", ".join(direct)]
    return "; ".join([*filter(None, listed), *(["gateway"] if "gateway" in dialects else [])])


def spoken(status: str, reason: str | None) -> str:
    """Say a verdict."""
    return f"{status}: {reason}" if reason else status


def span(values: Iterable[int]) -> str:
    """Say from where to where numbers go."""
    values = sorted({*values})
    return f"{values[0]}-{values[-1]}" if len(values) > 1 else str(values[0])


def lines(found: Iterable[Found]) -> list[Line]:
    """Put together what is alike in several dialects."""

    def alike(one: Found) -> tuple[Any, ...]:
        return list(WORDS).index(one.fault), one.run, one.verdict[:2], len(one.after), one.false, one.faults

    joined = []
    for _, group in groupby(sorted(found, key=alike), alike):
        members = list(group)
        one = members[0]
        joined.append(
            Line(
                one.fault,
                named({member.dialect for member in members}),
                one.run,
                spoken(one.verdict.status, one.verdict.reason),
                span(member.verdict.requests for member in members),
                max(member.seconds for member in members),
                sum(member.false for member in members),
                f"{len(one.after)}",
                one.faults,
                next((beside(member) for member in members if (member.dialect, member.run) == ("openai", "later")), ""),
            )
        )
    return joined


def beside(one: Found) -> str:
    """Say what was found in a few words."""
    return f"{one.verdict.status}, {requests(one.verdict.requests)}, {len(one.after)} kept"


def requests(count: int) -> str:
    """Say how many requests were sent."""
    return f"{count:,} request{'s' * (count != 1)}"


# What the page says


def on_page(fault: str, dialect: str) -> tuple[str, str, int, str]:
    """Read what the page says of a fault in a dialect: first and later verdict, false deletions, rows kept."""
    [row] = [row for row in _page_rows() if row[0] == WORDS[fault] and dialect in _meant(row[-1])]
    return row[1], row[2], int(row[3]), row[4]


@cache
def _page_rows() -> list[list[str]]:
    table = PAGE.read_text(encoding="utf-8").split("## Every fault")[1].split("\n## ")[0]
    return [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]


def _meant(dialects: str) -> set[str]:
    listed = set(dialects.removeprefix("all but ").split(", "))
    if dialects == "all":
        return set(PROVIDERS)
    return set(PROVIDERS) - listed if dialects.startswith("all but ") else listed


def found_for_page(first: Found, later: Found) -> tuple[str, str, int, str]:
    """Say the same of what was found."""
    told, later_told = (spoken(*one.verdict[:2]) for one in (first, later))
    return told, later_told, first.false + later.false, f"{len(first.after)}; {len(later.after)}"


# Faults of the machine

HOLD = "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True); print(1, flush=True); sys.stdin.read()"


def store_lines(stage: Stage, folder: Path, moments: int) -> Iterator[Line]:
    """Run what has nothing to do with a dialect."""
    yield _measured(stage, "reader_open", [_held_open(stage, folder / "reader")])
    yield _measured(stage, "two_runs", [_two_runs(stage, folder / "two")])
    yield _measured(stage, "killed", _killed(stage, folder / "killed", moments))
    shares = (0.1, 0.5, 0.9, 1.1)
    yield _measured(stage, "disk_full", (_full(stage, folder / f"full-{share}", share) for share in shares))


class _Try(NamedTuple):
    config: Config
    verdict: str


def _measured(stage: Stage, fault: str, tries: Iterable[_Try]) -> Line:
    started, count, false, wrong = time.monotonic(), 0, 0, []
    for count, one in enumerate(tries, start=1):  # noqa: B007 - how many there were
        rows = told(one.config.store)
        false += len([row for row in rows if row.get("change") == "deleted" and row not in stage.expected])
        if one.verdict != STORE[fault] or rows != stage.expected:
            wrong.append(f"{one.verdict} at {Path(str(one.config.store)).parent.name}")
    files = len([row for row in stage.expected if "status" in row])
    seconds, said = time.monotonic() - started, STORE[fault]
    return Line(fault, f"any; {count} tried", "later", said, "6", seconds, false, f"{files}", wrong, said)


def _held_open(stage: Stage, folder: Path) -> _Try:
    config = stage.at(folder)
    with subprocess.Popen([sys.executable, "-c", HOLD, str(config.store)], stdin=-1, stdout=-1) as reader:
        assert reader.stdout
        reader.stdout.readline()
        ended = stage.run(config)
        reader.communicate(timeout=30)
    return _Try(config, ended.err or "complete")


def _two_runs(stage: Stage, folder: Path) -> _Try:
    config, said = stage.at(folder), ""
    with open_inventory(config) as store:
        try:
            with open_inventory(config):
                said = "not refused"
        except StoreBusy:
            said = REFUSED
        sync(config, store)
    return _Try(config, said)


def _killed(stage: Stage, folder: Path, moments: int) -> Iterator[_Try]:
    orders: list[dict[str, Any]] = [{"at": point} for point in range(1, stage.points + 1)]
    orders += [{"after": 0.01 + 0.5 * moment / moments} for moment in range(moments)]
    for number, order in enumerate(orders):
        config = stage.at(folder / f"{number}")
        stage.run(config, **order)
        yield _Try(config, MADE_GOOD if stage.is_made_good(config) else "spoilt")


def _full(stage: Stage, folder: Path, share: float) -> _Try:
    config = stage.at(folder)
    ended = stage.run(config, limit=int(share * Path(str(config.store)).stat().st_size))
    clear = ended.status == 1 and "cannot be" in ended.err and len(ended.err.splitlines()) == 1
    return _Try(config, TOLD if clear and stage.is_made_good(config) else ended.err)


# The page


def page() -> str:
    """Return the page as it should be: what is written by hand, then the tables."""
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(START)
    return head + START + "\n" + "\n".join([*_ours(), "", *_beside(json.loads(PEERS.read_text()))]) + "\n"


def _ours() -> Iterator[str]:
    yield "## Every fault\n"
    yield f"{FILES} files on 3 pages. A later run is one over an inventory that knows them all. Rows kept: after each."
    yield "`make faults` runs them all, in every dialect, and adds requests and seconds.\n"
    yield "| what goes wrong | first run | later run | false deletions | rows kept | dialects |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for fault in (*MATRIX, *EVENTS):
        for (first, later, files, kept), dialects in _outcomes(fault).items():
            yield f"| {WORDS[fault]} | {first} | {later} | 0 | {files}; {kept} | {named(dialects)} |"
    for fault, verdict in STORE.items():
        yield f"| {WORDS[fault]} | {verdict if fault in AT_FIRST else ''} | {verdict} | 0 | all | any |"


def _outcomes(fault: str) -> dict[tuple[str, str, int, int], list[str]]:
    """What must come of a fault, and in which dialects."""
    outcomes: dict[tuple[str, str, int, int], list[str]] = {}
    for dialect in PROVIDERS:
        if case := expected(fault, dialect):
            outcomes.setdefault(outcome(case), []).append(dialect)
    return outcomes


def outcome(case: Case) -> tuple[str, str, int, int]:
    """Say the verdicts of the first and the later run, and the rows kept after each."""
    return spoken(*case.first[:2]), spoken(*case.later[:2]), case.files, case.kept


def rows_of(peers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Rows of another tool, by fault."""
    return {row["fault"]: row for row in peers["rows"]}


def said_of(row: dict[str, Any] | None) -> str:
    """Say what another tool did; nothing where that was not measured."""
    if row is None:
        return ""
    said = str(row.get("outcome") or row.get("verdict"))
    units = {"requests": "requests", "seconds": "s", "false_deletions": "false deletions", "rows_kept": "kept"}
    counted = [f"{row[name]:,} {unit}" for name, unit in units.items() if row.get(name) is not None]
    return ", ".join([said, *counted])


def _ours_of(fault: str) -> str:
    if fault in STORE:
        return STORE[fault]
    case = expected(fault, "openai")
    assert case
    return f"{case.later.status}, {requests(case.later.requests)}, {case.kept} kept"


def _beside(peers: dict[str, Any]) -> Iterator[str]:
    tools = peers["tools"]
    yield "## Beside others\n"
    yield f"Measured {peers['measured']}. Upstream: {peers['upstream']}."
    yield "The truth in every row but the removed file: nothing was deleted. Empty cells were not measured.\n"
    heads = [" ".join(filter(None, (tool["tool"], tool["version"]))) + f" ({tool['how']})" for tool in tools]
    yield "| second run meets | File Inventory | " + " | ".join(heads) + " |"
    yield "| --- " * (len(tools) + 2) + "|"
    for fault, words in WORDS.items():
        cells = [said_of(rows_of(tool).get(fault)) for tool in tools]
        if any(cells):
            yield f"| {words} | {_ours_of(fault)} | " + " | ".join(cells) + " |"
