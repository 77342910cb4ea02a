"""Every fault in every dialect in which it can occur: no file is called deleted that is still there."""

import pytest

from etl.providers import PROVIDERS

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
