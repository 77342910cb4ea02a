"""Cases in which evidence is thin: another key, a field that some files lose, odd answers, odd neighbours."""

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pytest
import time_machine

from etl.errors import ConfigError, QueryError, StoreError
from etl.load.store import Store
from etl.report import Format
from etl.report.output import write
from etl.simulator import Account, Reply, Request, Simulator
from etl.simulator.faults import each_record

from .conftest import TOKEN, Lab, direct

OTHER = "sk-the-key-of-another"


def answer(sql: str) -> pa.RecordBatchReader:
    """Ask DuckDB without an inventory."""
    relation = duckdb.sql(sql)
    assert relation is not None
    return relation.to_arrow_reader()


def test_another_key_is_another_account_until_a_person_says_otherwise(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts |= {TOKEN: Account(15, seed=1), OTHER: Account(10, seed=2)}
    lab.listing(lab.config(direct(simulator)))
    swapped = lab.listing(lab.config(direct(simulator, api_key=OTHER)))
    assert (swapped.status, swapped.held, swapped.deleted) == ("held", 15, 0)
    assert (swapped.created, swapped.baseline) == (0, 10)
    assert swapped.error == "the key of this credential changed, and 15 files may lie outside what it lists now"


def test_what_another_filter_shows_is_not_new_though_a_person_kept_files_before(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(40, seed=1)
    batch = [key for key, file in account.files.items() if file["purpose"] == "batch"]
    config = lab.config(direct(simulator, purpose="batch"))
    assert lab.listing(config).baseline == len(batch)
    account.remove(*batch)
    assert lab.listing(config).held == len(batch)
    lab.reject(config)
    wider = lab.listing(lab.config(direct(simulator)))
    assert (wider.status, wider.held, wider.deleted) == ("held", len(batch), 0)
    assert (wider.baseline, wider.created) == (40 - len(batch), 0)


def test_another_account_behind_the_same_key_is_held_too_and_what_it_has_is_not_new(
    lab: Lab, simulator: Simulator
) -> None:
    simulator.accounts[TOKEN] = Account(5, seed=1)
    config = lab.config(direct(simulator))
    lab.listing(config)
    before = simulator.accounts[TOKEN]
    simulator.accounts[TOKEN] = Account(8, seed=2)
    swapped = lab.listing(config)
    assert (swapped.status, swapped.held, swapped.deleted) == ("held", 5, 0)
    assert (swapped.created, swapped.baseline) == (0, 8)
    assert swapped.error == "none of the 5 files known before is listed, but others are: is this another account?"
    simulator.accounts[TOKEN] = before
    back = lab.listing(config)
    assert (back.status, back.held, back.deleted, back.unchanged) == ("complete", 0, 8, 5)


def test_few_files_may_all_be_replaced(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(4, seed=1)
    config = lab.config(direct(simulator))
    lab.listing(config)
    account.delete(4)
    account.add(3)
    replaced = lab.listing(config)
    assert (replaced.status, replaced.deleted, replaced.created) == ("complete", 4, 3)


@pytest.mark.parametrize(("provider", "lifetime"), [("gemini", timedelta(hours=48)), ("cohere", timedelta(days=30))])
def test_files_whose_time_has_passed_are_expected_to_be_gone(
    lab: Lab, simulator: Simulator, provider: str, lifetime: timedelta
) -> None:
    now = datetime.now(UTC)
    account = simulator.accounts[TOKEN] = Account(40, seed=1)
    for place, key in enumerate(account.files):
        age = lifetime - timedelta(hours=1) if place < 35 else timedelta()
        made = account.files[key] | {"created_at": int((now - age).timestamp())}
        account.files[key] = {name: value for name, value in made.items() if name != "expires_at"}
    config = lab.config(direct(simulator, provider=provider))
    lab.listing(config)
    old, young = list(account.files)[:35], list(account.files)[35:]
    account.remove(*old, young[0])
    with time_machine.travel(now + timedelta(hours=2)):
        later = lab.listing(config)
    assert (later.status, later.deleted, later.held) == ("complete", 36, 0)
    reasons = {row["file_id"]: row["reason"] for row in lab.published().log("deleted")}
    assert reasons == dict.fromkeys(old, "expired") | {young[0]: "missing"}
    account.remove(*young[1:])
    with time_machine.travel(now + lifetime + timedelta(hours=2)):
        empty = lab.listing(config)
    assert (empty.status, empty.deleted) == ("complete", 4)


@pytest.mark.parametrize("provider", ["gemini", "cohere"])
def test_files_that_outlived_their_time_are_missed_like_any_other(
    lab: Lab, simulator: Simulator, provider: str
) -> None:
    account = simulator.accounts[TOKEN] = Account(60, seed=1)
    made = int((datetime.now(UTC) - timedelta(days=90)).timestamp())
    account.files |= {key: file | {"created_at": made} for key, file in account.files.items()}
    config = lab.config(direct(simulator, provider=provider))
    lab.listing(config)
    simulator.faults[TOKEN] = lambda request, _reply: request.holding(20)
    later = lab.listing(config)
    assert (later.status, later.held, later.deleted) == ("held", 40, 0)
    assert lab.published().log() == []


def test_a_rotated_key_of_the_same_account_costs_nothing(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = simulator.accounts[OTHER] = Account(15, seed=1)
    lab.listing(lab.config(direct(simulator)))
    account.add(2)
    rotated = lab.listing(lab.config(direct(simulator, api_key=OTHER)))
    assert (rotated.status, rotated.created, rotated.baseline, rotated.unchanged) == ("complete", 2, 0, 15)
    account.delete(1)
    assert lab.listing(lab.config(direct(simulator, api_key=OTHER))).deleted == 1


def test_a_detail_that_some_files_lose_is_a_change_of_each(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(300, seed=1)
    config = lab.config(direct(simulator))
    some = list(account.files)[:30]
    for key in account.files:
        account.files[key] |= {"status_details": "bad line 3" if key in some else None}
    lab.listing(config)
    for key in some:
        account.files[key] = account.files[key] | {"status_details": None}
    assert lab.listing(config).updated == len(some)
    published = lab.published()
    assert {row["status_details"] for row in published.files} == {None}
    assert published.as_of_now == published.files


def test_a_filter_on_a_server_that_tells_no_purpose_still_sees_deletions(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(40, seed=1)
    simulator.faults[TOKEN] = each_record(lambda record: {"id": record["id"]})
    config = lab.config(direct(simulator, purpose="batch"))
    lab.listing(config)
    account.remove(next(key for key, file in account.files.items() if file["purpose"] == "batch"))
    assert lab.listing(config).deleted == 1


def test_a_gateway_that_forgets_to_name_the_provider_changes_no_file(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account(30, seed=1)
    route = {"name": "acme", "type": "portkey", "base_url": simulator.url, "virtual_key": TOKEN}
    config = lab.config(route)
    lab.listing(config)

    def nameless(_request: Request, reply: Reply) -> Reply:
        return Reply(reply.status, reply.body, reply.headers | {"x-portkey-provider": ""})

    simulator.faults[TOKEN] = nameless
    assert lab.listing(config).unchanged == 30
    assert {row["provider"] for row in lab.published().files} == {"openai"}


def test_a_key_that_a_provider_puts_into_a_file_is_not_kept(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account(3, seed=1)
    leak = {"filename": f"{TOKEN}.txt", "status_details": f"key {TOKEN} failed", "trace": {"by": TOKEN}}
    simulator.faults[TOKEN] = each_record(lambda record: record | leak)
    lab.listing(lab.config(direct(simulator)))
    [row] = lab.rows("select distinct filename, status_details, extra::varchar as extra from files")
    assert row == {
        "filename": "[redacted].txt",
        "status_details": "key [redacted] failed",
        "extra": '{"trace":{"by":"[redacted]"}}',
    }


def test_a_number_of_five_thousand_digits_spoils_only_its_record(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account(3, seed=1)

    def huge(_request: Request, reply: Reply) -> Reply:
        return Reply(reply.status, reply.body.replace(b'"bytes":', b'"bytes":' + b"9" * 5000, 1), reply.headers)

    simulator.faults[TOKEN] = huge
    outcome = lab.listing(lab.config(direct(simulator)))
    assert (outcome.status, outcome.records, outcome.rejected) == ("complete", 2, 1)


@pytest.mark.embedded
def test_somebody_who_writes_to_the_published_copy_spoils_no_later_one(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(3, seed=1)
    config = lab.config(direct(simulator))
    lab.listing(config)
    lab.path.chmod(0o644)
    with duckdb.connect(str(config.store)) as connection:
        connection.execute("set checkpoint_threshold = '1GB'")
        connection.execute("pragma disable_checkpoint_on_shutdown")
        connection.execute("create table mine as select 1 as a")
    assert lab.path.with_name(f"{lab.path.name}.wal").exists()
    account.add(1)
    lab.listing(config)
    assert len(lab.published().files) == 4


def test_a_store_that_breaks_while_writing_says_why(
    lab: Lab, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.accounts[TOKEN] = Account(3, seed=1)
    written = Store._sql

    def breaks(store: Store, name: str, **params: object) -> None:
        if name == "listing":
            store._connection.execute("select error('No space left on device')")
        written(store, name, **params)

    monkeypatch.setattr(Store, "_sql", breaks)
    with pytest.raises(StoreError, match="No space left on device"):
        lab.listing(lab.config(direct(simulator)))


def test_deciding_for_an_unknown_credential_names_the_nearest(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account(3, seed=1)
    config = lab.config(direct(simulator))
    lab.listing(config)
    with pytest.raises(ConfigError, match=r"^the inventory has no credential acne; did you mean acme\?$"):
        lab.approve(config, "acne")


def test_a_long_table_is_cut_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    write(answer("select range as n from range(1002)"))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1002
    assert lines[-1] == "... only the first 1,000 rows are shown; --format csv writes all"


@pytest.mark.parametrize("kind", [Format.JSON, Format.CSV, Format.TABLE])
def test_what_python_cannot_hold_is_refused_in_words(kind: Format) -> None:
    with pytest.raises(QueryError, match="cannot be written as"):
        write(answer("select timestamp 'infinity' as t"), kind)


def test_a_plain_header_is_no_secret_and_blots_no_file_name(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account(2, seed=1)
    simulator.faults[TOKEN] = each_record(lambda record: record | {"filename": "assistants-report.pdf"})
    lab.listing(lab.config(direct(simulator, headers={"x-team": "assistants"})))
    assert {row["filename"] for row in lab.published().files} == {"assistants-report.pdf"}
