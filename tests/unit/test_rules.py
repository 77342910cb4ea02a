"""The operator's rules: who offends, what cannot be checked, and that neither takes for ever."""

import time
from pathlib import Path
from threading import Event, Timer
from typing import Any

import duckdb
import pytest

from etl.config import Config
from etl.errors import StoreError
from etl.load.store import RuleResult
from etl.report.rules import check

ENDLESS = "select count(*) from range(10000000000) a, range(100) b"


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    path = tmp_path / "inventory.duckdb"
    with duckdb.connect(path) as connection:
        connection.execute(
            "create table files as select 'acme' as credential, 'f-' || i as file_id, null::bigint as bytes"
            " from range(25000) t(i)"
        )
    return path


def config(path: Path, *rules: dict[str, Any], **serve: Any) -> Config:
    acme = {"name": "acme", "type": "openai", "base_url": "http://127.0.0.1/v1", "api_key": "sk-the-key-of-acme"}
    given = [{"name": f"rule-{number}", "message": "Mend it."} | rule for number, rule in enumerate(rules)]
    return Config.model_validate({"store": path, "credentials": [acme], "rules": given, "serve": serve})


def broken(path: Path, *rules: dict[str, Any], **serve: Any) -> list[RuleResult]:
    return [result for result in check(path, config(path, *rules, **serve)) if result.state != "kept"]


def test_every_row_is_an_offender_and_the_first_are_named(path: Path) -> None:
    assert broken(path, {"query": "from files order by file_id", "severity": "critical"}) == [
        RuleResult(
            rule="rule-0",
            severity="critical",
            message="Mend it.",
            offenders=25_000,
            examples=(
                "credential=acme, file_id=f-0, bytes=unknown",
                "credential=acme, file_id=f-1, bytes=unknown",
                "credential=acme, file_id=f-10, bytes=unknown",
            ),
        )
    ]


def test_a_rule_without_offenders_is_kept(path: Path) -> None:
    assert broken(path, {"query": "from files where bytes > 1"}) == []


def test_wrong_rules_are_told_and_stop_no_other(path: Path) -> None:
    found = broken(
        path,
        {"query": "selec 1"},
        {"query": "from nowhere"},
        {"query": "select error('late') from files where file_id = 'f-20000'"},
        {"query": "drop table files"},
        {"query": "from read_text('/etc/passwd')"},
        {"query": "from files limit 1"},
    )
    assert [(one.rule, one.offenders) for one in found] == [(f"rule-{n}", None) for n in range(5)] + [("rule-5", 1)]
    assert all(one.state == "unchecked" and one.error for one in found[:5])
    assert found[1].error == "Catalog Error: Table with name nowhere does not exist!"


def test_a_rule_that_takes_too_long_is_ended(path: Path) -> None:
    began = time.monotonic()
    [slow, quick] = broken(path, {"query": ENDLESS}, {"query": "from files limit 1"}, query_timeout="300ms")
    assert time.monotonic() - began < 3
    assert slow.error == "its query took longer than 0.3 s"
    assert quick.offenders == 1


def test_a_check_ends_at_once_when_it_is_to_stop(path: Path) -> None:
    stop = Event()
    timer = Timer(0.2, stop.set)
    timer.start()
    began = time.monotonic()
    check(path, config(path, {"query": ENDLESS}, {"query": ENDLESS}), stop)
    timer.join()
    assert time.monotonic() - began < 3


def test_an_example_is_one_short_line_without_secrets(path: Path) -> None:
    [breach] = broken(path, {"query": "select 'a\nb' as x, 'sk-the-key-of-acme' as y, repeat('z', 500) as z"})
    [example] = breach.examples
    assert example.startswith("x=a b, y=[redacted], z=zzz")
    assert len(example) == 200


def test_without_rules_nothing_is_opened(tmp_path: Path) -> None:
    assert broken(tmp_path / "none.duckdb") == []
    with pytest.raises(StoreError, match="nothing is published there yet"):
        broken(tmp_path / "none.duckdb", {"query": "from files"})
