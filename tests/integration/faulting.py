"""The fault matrix: what each fault must lead to, in each dialect, in a first and in a later run.

Every fault has an account and a credential of its own in every dialect in which it can occur. The tests and the table
of tests/benchmarks/faults.py run the same cases.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from etl.providers import PROVIDERS
from etl.simulator import FAULTS, Account, Fault, Reply, Request, Simulator

from .conftest import Lab, Published, Row, behind, direct, quickly

if TYPE_CHECKING:
    from collections.abc import Callable

PAGES = Path(__file__).parents[1] / "pages"

FILES = 300
"""Files of each provider, 100 a page."""

SECONDS = 60
"""No listing may take longer, however its server behaves."""


class Verdict(NamedTuple):
    """What a run is expected to say of a listing."""

    status: str
    reason: str | None
    requests: int


COMPLETE = Verdict("complete", None, 3)
"""Of three pages, each asked for once."""


class Wanted(NamedTuple):
    """What one run over one dialect is expected to make of a fault."""

    verdict: Verdict
    kept: int
    """Rows in `files` afterwards."""
    deleted: int = 0
    rejected: int = 0


class Case(NamedTuple):
    """What a fault is expected to lead to."""

    first: Verdict
    """In a run on an empty store."""
    files: int
    """Rows in `files` after that."""
    later: Verdict
    """In a run after a healthy one."""
    rejected: int = 0
    kept: int = FILES
    """Rows in `files` after the later run."""
    deleted: int = 0
    """Files that the later run rightly calls deleted."""

    def wanted(self, run: str) -> Wanted:
        """Return what is expected of the first or the later run."""
        if run == "first":
            return Wanted(self.first, self.files, rejected=self.rejected)
        return Wanted(self.later, self.kept, self.deleted, self.rejected)


def both(status: str, reason: str | None, requests: int, *, files: int, rejected: int = 0) -> Case:
    """Expect the same of a first and of a later run."""
    verdict = Verdict(status, reason, requests)
    return Case(verdict, files, verdict, rejected)


MATRIX = {
    "page2_500": both("incomplete", "unreachable", 1 + 6, files=100),
    "page2_404": both("incomplete", "refused", 2, files=100),
    "ignore_after": both("incomplete", "end_not_proven", 2, files=100),
    "null_last_id": both("incomplete", "end_not_proven", 4, files=300),
    "no_cursor": both("incomplete", "end_not_proven", 1, files=0),
    "short_list": Case(Verdict("complete", None, 1), 100, Verdict("held", "brake", 2)),
    "error_200": both("failed", "wrong_shape", 1, files=0),
    "no_data": both("failed", "wrong_shape", 1, files=0),
    "null_data": both("failed", "wrong_shape", 1, files=0),
    "empty": Case(Verdict("complete", None, 1), 0, Verdict("held", "brake", 2)),
    "null_id": both("incomplete", "end_not_proven", 3, files=299, rejected=1),
    "word_bytes": both("complete", None, 3, files=299, rejected=1),
    "new_field": both("complete", None, 3, files=300),
    "drop_field": both("complete", None, 3, files=300),
    "rate_limited": both("complete", None, 6, files=300),
    "always_429": both("failed", "unreachable", 6, files=0),
    "quota": both("failed", "refused", 1, files=0),
    "unauthorized": both("failed", "refused", 1, files=0),
    "forbidden": both("failed", "refused", 1, files=0),
    "not_found": both("failed", "refused", 1, files=0),
    "endless": both("incomplete", "end_not_proven", 2, files=100),
    "same_rows": both("incomplete", "end_not_proven", 2, files=100),
    "cycle": both("incomplete", "end_not_proven", 3, files=200),
    "duplicate_rows": both("complete", None, 3, files=300),
    "html_200": both("failed", "wrong_shape", 1, files=0),
    "html_message": both("failed", "wrong_shape", 1, files=0),
    "not_json": both("failed", "wrong_shape", 1, files=0),
    "truncated": both("failed", "wrong_shape", 1, files=0),
    "cut": both("failed", "unreachable", 6, files=0),
    "stall": both("failed", "unreachable", 6, files=0),
    "redirect_elsewhere": both("failed", "refused", 1, files=0),
    "array": both("failed", "wrong_shape", 1, files=0),
    "list_body": both("failed", "wrong_shape", 1, files=0),
    "null_body": both("failed", "wrong_shape", 1, files=0),
    "empty_body": both("failed", "wrong_shape", 1, files=0),
    "huge_body": both("failed", "wrong_shape", 1, files=0),
}
"""The provider speaks OpenAI's dialect, and not one of its files is ever deleted."""

BEHIND_GATEWAY = {
    name: MATRIX[name]
    for name in (
        "page2_500",
        "page2_404",
        "ignore_after",
        "short_list",
        "error_200",
        "no_data",
        "null_data",
        "empty",
        "null_id",
        "word_bytes",
        "new_field",
        "rate_limited",
        "always_429",
        "quota",
        "unauthorized",
        "html_200",
        "array",
        "list_body",
        "empty_body",
    )
} | {
    # The gateway makes a 500 of JSON that it cannot read, and a 500 may heal.
    "not_json": both("failed", "unreachable", 6, files=0),
    "truncated": both("failed", "unreachable", 6, files=0),
}
"""The same through the real gateway, which sees to it that some faults look different."""

EVENTS = {
    "one_removed": Case(COMPLETE, 300, COMPLETE, kept=299, deleted=1),
    "one_returned": Case(COMPLETE, 300, COMPLETE),
    "cursor_file_removed": both("incomplete", "refused", 2, files=100)._replace(kept=299),
}
"""What happens to the files themselves: one goes before the later run; one that was gone is back in it; the last of
page 1 goes before page 2 is asked for, in the first run and another one in the later."""

ROUNDS = {"cohere": 5, "groq": 1, "together": 1}
"""Requests for the whole list where they are not 3: Cohere reads the last dataset of a page again."""

TO_THE_END = {"null_id", "word_bytes", "new_field", "drop_field", "duplicate_rows", "one_removed", "one_returned"}
"""Faults that do not keep a list from being read to its end."""

_NOT_PROVEN = "incomplete", "end_not_proven"
_EMPTY = MATRIX["empty"]

OWN: dict[str, dict[str, Case]] = {
    "mistral": {
        # More rows than `total`, or another total, may mean that pages have shifted.
        "duplicate_rows": both(*_NOT_PROVEN, 3, files=300),
        "cursor_file_removed": both(*_NOT_PROVEN, 3, files=299)._replace(kept=299),
    },
    "cohere": {
        "short_list": Case(Verdict("complete", None, 2), 100, Verdict("held", "brake", 4)),
        "null_data": _EMPTY,  # so its SDK's Go writes an empty list
        "cycle": both(*_NOT_PROVEN, 3, files=199),
        "duplicate_rows": both(*_NOT_PROVEN, 2, files=100),
        "cursor_file_removed": both(*_NOT_PROVEN, 2, files=100)._replace(kept=299),
    },
    "groq": {"null_last_id": both(*_NOT_PROVEN, 1, files=300)},
    "together": {"null_last_id": both(*_NOT_PROVEN, 1, files=300)},
    "openrouter": {"null_last_id": both(*_NOT_PROVEN, 1, files=100)},
}
"""What is expected in a dialect that differs from OpenAI's."""

_WHOLE = dict.fromkeys(("groq", "together"), "its list comes whole, in one answer")
_TOKENS = dict.fromkeys(("anthropic", "gemini", "fireworks", "xai"), "no token means the end there: see short_list")
_NUMBERS = dict.fromkeys(("mistral", "cohere"), "it counts pages, so there is no cursor to lack")
_THROTTLES = ("azure-openai", "anthropic", "gemini", "mistral", "fireworks", "cohere")

SPARED: dict[str, dict[str, str]] = {
    "page2_500": _WHOLE,
    "page2_404": _WHOLE,
    "ignore_after": _WHOLE,
    "null_last_id": _TOKENS | _NUMBERS,
    "no_cursor": _TOKENS | _NUMBERS,
    "word_bytes": {"fireworks": "it tells no sizes"},
    "quota": dict.fromkeys(_THROTTLES, "it has no word for a spent quota but that of a throttle: see always_429"),
    "endless": _WHOLE,
    "same_rows": _WHOLE,
    "cycle": _WHOLE,
    "duplicate_rows": _WHOLE,
    "cursor_file_removed": _WHOLE,
}
"""Why a fault cannot occur in a dialect."""


def expected(fault: str, dialect: str) -> Case | None:
    """Return what a fault must lead to in a dialect; None where it cannot occur there."""
    if dialect in SPARED.get(fault, {}):
        return None
    case = OWN.get(dialect, {}).get(fault) or (MATRIX | EVENTS)[fault]
    rounds = ROUNDS.get(dialect, 3)
    if fault == "rate_limited":
        rounds *= 2
    elif fault not in TO_THE_END or fault in OWN.get(dialect, {}):
        return case
    return case._replace(first=case.first._replace(requests=rounds), later=case.later._replace(requests=rounds))


DIALECT_CASES = {
    (dialect, fault): case
    for dialect in PROVIDERS
    for fault in sorted((*MATRIX, *EVENTS), key="stall".__ne__)  # what takes long goes first
    if (case := expected(fault, dialect)) and (dialect != "openai" or fault in EVENTS)
}
"""All but those of MATRIX itself."""


@dataclass(frozen=True)
class Found:
    """What one run over one dialect made of a fault."""

    dialect: str
    fault: str
    run: str
    """first or later; healed, where the fault was gone."""
    wanted: Wanted
    listing: Row
    """The row in `listings`."""
    asked: int
    """Requests that arrived at the provider."""
    before: set[str]
    """Files that were known before the run."""
    after: set[str]
    """Files that are known after it."""
    deleted: set[str]
    """Files that it called deleted."""
    there: set[str]
    """Files that the provider has."""

    @property
    def verdict(self) -> Verdict:
        """What the run said of the listing."""
        return Verdict(self.listing["status"], self.listing["reason"], self.listing["requests"])

    @property
    def seconds(self) -> float:
        """How long the listing took."""
        return float((self.listing["finished_at"] - self.listing["started_at"]).total_seconds())

    @property
    def false(self) -> int:
        """How many files are there, and were known, but are called deleted or known no longer."""
        return len(self.there & (self.deleted | (self.before - self.after)))

    @property
    def faults(self) -> list[str]:
        """What is wrong with it, in words; nothing, if all is well."""
        wanted, listing = self.wanted, self.listing
        compared = {
            "verdict": (self.verdict, wanted.verdict),
            "requests that arrived": (self.asked, listing["requests"]),
            "false deletions": (self.false, 0),
            "rows kept": (len(self.after), wanted.kept),
            "deletions": (len(self.deleted), wanted.deleted),
            "rejected records": (listing["rejected"], wanted.rejected),
            f"less than {SECONDS} s": (self.seconds < SECONDS, True),
            "an error that was foreseen": ("not foreseen" not in str(listing["error"]), True),
        }
        return [f"{name}: {got}, not {want}" for name, (got, want) in compared.items() if got != want]


@dataclass(frozen=True)
class Matrix:
    """All faults at once, each in an account and a credential of its own, named for the fault."""

    accounts: dict[str, Account]
    provider: str | None
    """What the column `provider` says."""
    runs: dict[str, Published]
    """What was published after each run."""
    requests: list[Request]
    asked: dict[str, dict[str, int]]
    """Requests that arrived in each run, by account."""

    def files(self, name: str) -> list[Row]:
        """The records that the account has, in the order in which it lists them."""
        return list(self.accounts[name].files.values())

    def found(self, dialect: str, fault: str, run: str, case: Case) -> Found:
        """What a run made of a fault."""
        published = self.runs[run].of(fault)
        before = self.runs["healthy"].of(fault).files if run == "later" else []
        return Found(
            dialect,
            fault,
            run,
            case.wanted(run),
            published.listings[-1],
            self.asked[run][fault],
            {row["file_id"] for row in before},
            {row["file_id"] for row in published.files},
            {row["file_id"] for row in published.log("deleted")},
            set(self.accounts[fault].files),
        )


PLANS: dict[str, dict[str, dict[str, Fault]]] = {
    "new": {"first": FAULTS, "first healed": {}},
    "old": {"healthy": {}, "later": FAULTS, "later healed": {}},
}
"""Two stores, and the faults in force in each run on them."""


def run_matrix(lab: Lab, simulator: Simulator, credentials: list[Row], provider: str | None, *plans: str) -> Matrix:
    """Run all faults, each in a credential named for it."""
    runs, asked, requests = {}, {}, []
    for plan in plans:
        store = Lab(lab.path.parent / plan, lab.waits)
        for run, faults in PLANS[plan].items():
            simulator.reset()
            simulator.faults.update(faults)
            patience: Row = {} if faults else {"http": {}}
            store.sync(store.config(*(credential | patience for credential in credentials)))
            runs[run] = store.published()
            asked[run] = dict(Counter(request.account or "" for request in simulator.requests))
            requests += simulator.requests
    return Matrix(simulator.accounts, provider, runs, requests, asked)


def impatient(name: str) -> Row:
    """Wait for a server only as long as needed to see that it says nothing; a healthy one is given more time."""
    return {"read_timeout": "200ms"} if name == "stall" else {}


def direct_matrix(folder: Path) -> Matrix:
    """Every fault of a server that speaks OpenAI's dialect."""
    accounts = {name: Account(FILES, seed=seed) for seed, name in enumerate(MATRIX)}
    with Simulator(accounts, page_limit=100) as simulator, quickly() as waits:
        credentials = [direct(simulator, name, name=name, http=impatient(name)) for name in MATRIX]
        return run_matrix(Lab(folder, waits), simulator, credentials, None, *PLANS)


def gateway_matrix(folder: Path, gateway: str) -> Matrix:
    """The faults that can be seen through a real gateway."""
    accounts = {name: Account(FILES, seed=seed) for seed, name in enumerate(BEHIND_GATEWAY)}
    with Simulator(accounts, page_limit=100) as simulator, quickly() as waits:
        credentials = [behind(gateway, simulator, name, name=name) for name in BEHIND_GATEWAY]
        return run_matrix(Lab(folder, waits), simulator, credentials, "openai", "old")


# Every dialect

IDS: dict[str, Callable[[str], str]] = {
    "gemini": "files/{}".format,
    "fireworks": lambda key: f"accounts/acme/datasets/{key.lower()}",
}
"""How an id is told where it is not told as it is."""


class Cell(NamedTuple):
    """A fault in a dialect."""

    dialect: str
    fault: str

    @property
    def name(self) -> str:
        """Name of its account and of its credential."""
        return f"{self.dialect}.{self.fault}"

    def credential(self, simulator: Simulator) -> Row:
        """Return the settings that were recorded, at the simulator."""
        recorded: Row = json.loads((PAGES / f"{self.dialect}.json").read_text())["credential"]
        base_url = simulator.speaking(self.dialect) + urlsplit(recorded["base_url"]).path
        key = "api_key" if "api_key" in recorded else "authorization"
        return recorded | {"name": self.name, "base_url": base_url, key: self.name, "http": impatient(self.fault)}

    def told(self, account: Account) -> set[str]:
        """Return the ids of an account as the provider tells them."""
        tell = IDS.get(self.dialect)
        return {tell(key) if tell else key for key in account.files}

    def broken(self, account: Account) -> Fault:
        """Return the fault for an account of its own."""
        if self.fault in EVENTS:
            return going(account) if self.fault == "cursor_file_removed" else lambda _request, reply: reply
        return FAULTS[self.fault]

    def healed(self, there: set[str], before: set[str]) -> Wanted:
        """Return what is expected of a run once the fault is gone: all that is there, and no more."""
        rounds = ROUNDS.get(self.dialect, 3)
        return Wanted(COMPLETE._replace(requests=rounds), len(there), deleted=len(before - there))


def going(account: Account) -> Fault:
    """Remove the last file of the first page before the second is asked for."""

    def fault(request: Request, reply: Reply) -> Reply:
        if request.number == 1:
            account.remove(list(account.files)[99])
        return reply

    return fault


def _before_healed(cell: Cell, account: Account) -> None:
    if cell.fault == "one_returned":
        account.remove(list(account.files)[7])


def _before_later(cell: Cell, account: Account) -> None:
    if cell.fault == "one_removed":
        account.remove(list(account.files)[7])
    if cell.fault == "one_returned":
        account.restore()


RUNS: dict[str, Callable[[Cell, Account], None]] = {
    "first": lambda _cell, _account: None,
    "healed": _before_healed,
    "later": _before_later,
}
"""The runs over all dialects, on one store, and what happens to an account before each."""

IDS_OF = {
    "after": "select credential, list(file_id) as ids from files group by credential",
    "deleted": """
        select credential, list(file_id) as ids from file_changes
        where change = 'deleted' and run_id = (select max_by(run_id, started_at) from runs) group by credential
    """,
}
LISTINGS = "from listings where run_id = (select max_by(run_id, started_at) from runs)"


def dialect_matrix(folder: Path, dialect: str) -> dict[tuple[str, str], Found]:
    """Every fault that can occur in a dialect, in every run, by fault and run."""
    cells = {Cell(*key): case for key, case in DIALECT_CASES.items() if key[0] == dialect}
    accounts = {cell: Account(FILES, seed=seed) for seed, cell in enumerate(cells)}
    found: dict[tuple[str, str], Found] = {}
    before: dict[str, set[str]] = {}
    named = {cell.name: account for cell, account in accounts.items()}
    with Simulator(named, page_limit=100) as simulator, quickly() as waits:
        lab = Lab(folder / dialect, waits)
        for run, prepare in RUNS.items():
            simulator.reset()
            for cell, account in accounts.items():
                prepare(cell, account)
                if run != "healed":
                    simulator.faults[cell.name] = cell.broken(account)
            patience: Row = {"http": {}} if run == "healed" else {}
            lab.sync(lab.config(*(cell.credential(simulator) | patience for cell in cells)))
            asked = Counter(request.account or "" for request in simulator.requests)
            listings = {row["credential"]: row for row in lab.rows(LISTINGS)}
            after, deleted = (_ids(lab, sql) for sql in IDS_OF.values())
            for cell, case in cells.items():
                there, name = cell.told(accounts[cell]), cell.name
                wanted = cell.healed(there, before.get(name, set())) if run == "healed" else case.wanted(run)
                found[cell.fault, run] = Found(
                    *cell,
                    run,
                    wanted,
                    listings[name],
                    asked[name],
                    before.get(name, set()),
                    after.get(name, set()),
                    deleted.get(name, set()),
                    there,
                )
            before = after
    return found


def _ids(lab: Lab, sql: str) -> dict[str, set[str]]:
    return {row["credential"]: set(row["ids"]) for row in lab.rows(sql)}
