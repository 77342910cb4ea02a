"""Any history of an account, its outages and a person's decisions, beside a model of twenty lines that has no store."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.simulator import FAULTS, Account, Simulator

from .conftest import TOKEN, Lab, direct, quickly

PAGE = 10
BRAKE, STRANGE = 20, 5

Files = dict[str, tuple[int, str, str | None]]
Step = tuple[str, int | str]


def seen_through(fault: str, account: Account) -> tuple[str, Files]:
    """Return the verdict that a listing deserves, and the files that it shows."""
    files = {key: (file["bytes"], file["status"], file["status_details"]) for key, file in account.files.items()}
    first_page = dict(list(files.items())[:PAGE])
    match fault:
        case "error_200" | "always_429":
            return "failed", {}
        case "empty":
            return "complete", {}
        case "short_list":
            return "complete", first_page
        case "page2_500" | "ignore_after" if len(files) > PAGE:
            return "incomplete", first_page
    return "complete", files


@dataclass
class Model:
    """What an inventory should hold."""

    files: Files = field(default_factory=dict)
    log: list[tuple[str, str]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    was_complete: bool = False
    last: str = ""

    def see(self, verdict: str, seen: Files) -> str:
        """Take a listing in; return its final verdict."""
        missing = self.files.keys() - seen.keys() if verdict == "complete" else set()
        strange = verdict == "complete" and len(self.files) >= STRANGE and missing == self.files.keys() and bool(seen)
        many = len(missing) > BRAKE and len(missing) * 2 > len(self.files)
        hold = strange or many or (bool(missing) and not seen)
        self.held -= seen.keys()
        self.held |= missing if hold else set()
        deleted = {key for key, kind in self.log if kind == "deleted"}
        new = "created" if self.was_complete and not strange else "baseline"
        for key in seen.keys() - self.files.keys():
            self.log.append((key, "restored" if key in deleted else new))
        self.log += [(key, "updated") for key in seen.keys() & self.files.keys() if seen[key] != self.files[key]]
        self.files |= seen
        self.drop(missing - self.held)
        self.last = "held" if hold or missing & self.held else verdict
        self.was_complete |= self.last == "complete"
        return self.last

    def drop(self, keys: set[str]) -> None:
        self.log += [(key, "deleted") for key in keys]
        self.files = {key: file for key, file in self.files.items() if key not in keys}

    def approve(self) -> None:
        self.drop(self.held)
        self.held = set()
        self.was_complete |= self.last == "held"


def counted(kind: str, most: int) -> st.SearchStrategy[Step]:
    return st.tuples(st.just(kind), st.integers(1, most))


faults = st.sampled_from(
    ["none", "none", "none", "page2_500", "ignore_after", "error_200", "always_429", "short_list", "empty"]
)
runs = st.tuples(st.just("run"), faults)
steps = st.one_of(
    counted("add", 12),
    counted("change", 4),
    counted("delete", 6),
    counted("delete", 40),
    counted("restore", 10),
    runs,
    runs,
    st.tuples(st.just("approve"), st.just(0)),
)


def befall(account: Account, kind: str, count: int) -> None:
    """Let something happen to as many files as there are."""
    there = {"add": count, "restore": len(account.gone)}.get(kind, len(account.files))
    getattr(account, kind)(min(count, there))


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with Simulator(page_limit=PAGE) as simulator, quickly():
        yield simulator


@settings(deadline=None, max_examples=10)
@given(files=st.integers(0, 50), history=st.lists(steps, min_size=4, max_size=14), seed=st.integers(0, 99))
def test_any_history_is_told_as_a_plain_model_tells_it(
    provider: Simulator, files: int, history: list[Step], seed: int
) -> None:
    account = Account(files, seed=seed)
    provider.accounts[TOKEN] = account
    model, past = Model(), list[tuple[datetime, set[str]]]()
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), [])
        config = lab.config(direct(provider))
        for kind, value in [("run", "none"), *history, ("run", "none")]:
            if kind == "run":
                provider.reset()
                provider.faults |= {TOKEN: FAULTS[str(value)]} if value != "none" else {}
                outcome = lab.listing(config)
                assert outcome.status == model.see(*seen_through(str(value), account))
            elif kind == "approve" and model.held:
                lab.approve(config)
                model.approve()
            elif kind != "approve":
                befall(account, kind, int(value))
                continue
            published = lab.published()
            told = {row["file_id"]: (row["bytes"], row["status"], row["status_details"]) for row in published.files}
            assert told == model.files
            assert sorted((row["file_id"], row["change"]) for row in published.changes) == sorted(model.log)
            assert {row["file_id"] for row in published.held} == model.held
            assert published.as_of_now == published.files
            past.append((lab.rows("select now() as at")[0]["at"], set(told)))
        for at, there in past:
            assert {row["file_id"] for row in lab.rows("from files_as_of($at)", at=at)} == there
