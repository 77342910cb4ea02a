"""Every fault in every dialect in which it can occur: no file is called deleted that is still there."""

import re

import pytest

from etl.providers import PROVIDERS

from .fault_table import PAGE, ROOT, STORE, WORDS, found_for_page, on_page, page
from .faulting import DIALECT_CASES, EVENTS, MATRIX, SPARED, Found, dialect_matrix

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
