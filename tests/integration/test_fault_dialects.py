"""Every fault in every dialect in which it can occur: no file is called deleted that is still there."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.providers import PROVIDERS

from .fault_table import PAGE, PEERS, ROOT, STORE, WORDS, found_for_page, on_page, page, said_of
from .faulting import DIALECT_CASES, EVENTS, MATRIX, SPARED, Found, Verdict, Wanted, dialect_matrix

Finding = dict[tuple[str, str], Found]


@pytest.fixture(scope="module")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Finding]:
    folder = tmp_path_factory.mktemp("dialects")
    return {dialect: dialect_matrix(folder, dialect) for dialect in PROVIDERS}


every_case = pytest.mark.parametrize(("dialect", "fault"), DIALECT_CASES)


def test_a_fault_is_met_in_every_dialect_or_it_is_said_why_it_cannot_be() -> None:
    met = {*DIALECT_CASES, *(("openai", fault) for fault in MATRIX)}
    spared = {(dialect, fault) for fault, reasons in SPARED.items() for dialect in reasons}
    assert met | spared == {(dialect, fault) for dialect in PROVIDERS for fault in (*MATRIX, *EVENTS)}
    assert met & spared == set()
    assert all(reason for reasons in SPARED.values() for reason in reasons.values())


@every_case
def test_in_every_dialect_a_first_run_keeps_what_it_saw(matrices: dict[str, Finding], dialect: str, fault: str) -> None:
    assert matrices[dialect][fault, "first"].faults == []


@every_case
def test_in_every_dialect_a_healthy_run_after_that_brings_the_rest(
    matrices: dict[str, Finding], dialect: str, fault: str
) -> None:
    assert matrices[dialect][fault, "healed"].faults == []


@every_case
def test_in_every_dialect_a_later_run_takes_no_file_away(
    matrices: dict[str, Finding], dialect: str, fault: str
) -> None:
    assert matrices[dialect][fault, "later"].faults == []


@every_case
def test_the_page_tells_what_was_found_in_every_dialect(matrices: dict[str, Finding], dialect: str, fault: str) -> None:
    found = matrices[dialect]
    assert on_page(fault, dialect) == found_for_page(found[fault, "first"], found[fault, "later"])


# The suite itself

NOW = datetime.now(UTC)
WELL = Found(
    "openai",
    "page2_404",
    "later",
    Wanted(Verdict("incomplete", "refused", 2), 3),
    {"status": "incomplete", "reason": "refused", "requests": 2, "rejected": 0, "error": "answered 404"}
    | {"started_at": NOW, "finished_at": NOW},
    2,
    before={"a", "b", "c"},
    after={"a", "b", "c"},
    deleted=set(),
    there={"a", "b", "c"},
)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"after": {"a", "b"}, "deleted": {"c"}}, "false deletions: 1, not 0"),
        ({"after": {"a", "b"}}, "false deletions: 1, not 0"),
        ({"there": {"a", "b"}, "deleted": {"c"}}, "deletions: 1, not 0"),
        ({"after": {"a", "b", "c", "d"}}, "rows kept: 4, not 3"),
        ({"asked": 3}, "requests that arrived: 3, not 2"),
        ({"listing": WELL.listing | {"requests": 500}}, "requests that arrived: 2, not 500"),
        ({"listing": WELL.listing | {"status": "complete"}}, "verdict: "),
        ({"listing": WELL.listing | {"rejected": 1}}, "rejected records: 1, not 0"),
        ({"listing": WELL.listing | {"finished_at": NOW + timedelta(hours=1)}}, "less than 60 s: False, not True"),
        ({"listing": WELL.listing | {"error": "a form that was not foreseen"}}, "an error that was foreseen: False"),
    ],
)
def test_the_suite_sees_what_is_wrong(wrong: dict[str, Any], said: str) -> None:
    assert WELL.faults == []
    assert any(fault.startswith(said) for fault in replace(WELL, **wrong).faults)


def test_what_others_do_is_said_with_the_figures_that_were_measured() -> None:
    row = {"fault": "ignore_after", "outcome": "never ends", "requests": 1514, "seconds": 25}
    assert said_of(row) == "never ends, 1,514 requests, 25 s"
    assert said_of({"verdict": "success", "false_deletions": 0}) == "success, 0 false deletions"
    assert said_of(None) == ""


def test_the_results_of_others_are_of_faults_that_the_suite_knows() -> None:
    tools = json.loads(PEERS.read_text())["tools"]
    assert {row["fault"] for tool in tools for row in tool["rows"]} <= WORDS.keys()


# The page


def test_the_tables_of_the_page_are_those_of_the_suite() -> None:
    assert list(WORDS) == [*MATRIX, *EVENTS, *STORE]
    assert PAGE.read_text() == page(), "write it anew with: make schema"


def test_every_test_named_on_the_page_exists() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "tests").glob("*/test_*.py"))
    named = re.findall(r"`(test_\w+)`", PAGE.read_text())
    assert len(named) > 30
    assert [name for name in named if f"def {name}(" not in sources] == []


def test_the_page_and_the_readme_promise_the_same() -> None:
    promised = [
        re.findall(r"^\| (\d\. .*?) \| `(test_\w+)`", text, re.MULTILINE)
        for text in (PAGE.read_text(), (ROOT / "README.md").read_text())
    ]
    assert promised[0] == promised[1]
    assert len(promised[0]) == 6
