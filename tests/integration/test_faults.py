"""Whatever an answer looks like, no file is called deleted that is still there."""

import json
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
from typer.testing import CliRunner, Result

from etl.cli import app
from etl.config import Config
from etl.errors import StoreError
from etl.extract.http import LONGEST_WAIT
from etl.simulator import FAULTS, Account, Fault, Reply, Request, Simulator
from etl.simulator.faults import each_record, rate_limited

from . import faulting
from .conftest import HTTP, TOKEN, Lab, Published, Row, direct, inline, instant, quickly, record, stored
from .fault_table import found_for_page, on_page
from .faulting import BEHIND_GATEWAY, COMPLETE, MATRIX, SECONDS, Case, Matrix, Verdict


@pytest.fixture(scope="module")
def direct_matrix(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    return faulting.direct_matrix(tmp_path_factory.mktemp("direct"))


@pytest.fixture(scope="module")
def gateway_matrix(tmp_path_factory: pytest.TempPathFactory, gateway: str) -> Matrix:
    return faulting.gateway_matrix(tmp_path_factory.mktemp("gateway"), gateway)


CASES = {"direct_matrix": MATRIX, "gateway_matrix": BEHIND_GATEWAY}

every_case = pytest.mark.parametrize(
    ("route", "name"),
    [
        pytest.param(route, name, id=f"{name}{' through the gateway' if route == 'gateway_matrix' else ''}")
        for route, cases in CASES.items()
        for name in cases
    ],
)
every_direct_case = pytest.mark.parametrize(
    ("route", "name"), [pytest.param("direct_matrix", name, id=name) for name in MATRIX]
)


@pytest.fixture
def case(route: str, name: str, request: pytest.FixtureRequest) -> tuple[Matrix, Case]:
    return request.getfixturevalue(route), CASES[route][name]


def test_the_matrix_has_every_fault() -> None:
    assert list(MATRIX) == list(FAULTS)


@every_direct_case
def test_a_first_run_keeps_what_it_saw(case: tuple[Matrix, Case], name: str) -> None:
    matrix, expected = case
    published = matrix.runs["first"].of(name)
    assert judged(published) == [
        counts(expected.first, expected.rejected, records=expected.files, baseline=expected.files)
    ]
    seen = matrix.files(name)
    if expected.rejected:
        del seen[50]
    bent: dict[str, Row] = {"new_field": {"extra": '{"region":"eu"}'}, "drop_field": {"status": None}}
    (attempt,) = published.listings
    rows = stored(seen[: expected.files], attempt["finished_at"], name, matrix.provider)
    assert published.files == [row | bent.get(name, {}) for row in rows]
    assert published.as_of_now == published.files
    assert published.log() == published.held == []


@every_direct_case
def test_a_healthy_run_after_that_brings_the_rest(case: tuple[Matrix, Case], name: str) -> None:
    matrix, expected = case
    published = matrix.runs["first healed"].of(name)
    rest = 300 - expected.files
    status, _, _ = expected.first
    new = {"created" if status == "complete" else "baseline": rest} if rest else {}
    assert judged(published)[1:] == [counts(COMPLETE, records=300, unchanged=expected.files) | new]
    attempt, healthy = published.listings
    was_there = {row["file_id"] for row in matrix.runs["first"].of(name).files}
    extra: Row = {"extra": '{"region":"eu"}'} if name == "new_field" else {}
    rows = stored(matrix.files(name), healthy["finished_at"], name, matrix.provider)
    early: Row = {"first_seen_at": attempt["finished_at"], "changed_at": attempt["finished_at"]}
    assert published.files == [row | extra | early if row["file_id"] in was_there else row for row in rows]
    assert published.log("deleted", "updated", "restored") == published.held == []


@every_case
def test_a_later_run_takes_no_file_away(case: tuple[Matrix, Case], name: str) -> None:
    matrix, expected = case
    before, published = matrix.runs["healthy"].of(name), matrix.runs["later"].of(name)
    status, _, _ = expected.later
    listed = expected.files if status in {"complete", "held", "incomplete"} else 0
    held = 300 - listed if status == "held" else 0
    assert judged(published)[1:] == [
        counts(expected.later, expected.rejected, records=listed, unchanged=listed, held=held)
    ]
    quiet: Row = {"status": None} if name == "drop_field" else {}
    assert [row | quiet for row in published.files] == [row | quiet for row in before.files]
    assert published.log() == []
    present = {file["id"] for file in matrix.files(name)[:listed]}
    (attempt,) = published.listings[1:]
    assert published.held == [
        {"run_id": attempt["run_id"], "credential": name, "file_id": row["file_id"]}
        for row in before.files
        if held and row["file_id"] not in present
    ]
    assert len(published.rejected) == expected.rejected


@every_case
def test_a_healthy_run_after_that_changes_nothing(case: tuple[Matrix, Case], name: str) -> None:
    matrix, _ = case
    published = matrix.runs["later healed"].of(name)
    healthy, _, healed = judged(published)
    assert healthy == counts(COMPLETE, records=300, baseline=300)
    assert healed == counts(COMPLETE, records=300, unchanged=300)
    first, _, last = published.listings
    assert published.files == stored(matrix.files(name), first["finished_at"], name, matrix.provider)
    assert published.as_of_now == published.files
    assert published.log() == published.held == []
    (freshness,) = published.freshness
    assert freshness == {
        "credential": name,
        "as_of": last["finished_at"],
        "verdict": "complete",
        "reason": None,
        "error": None,
        "last_attempt_at": last["finished_at"],
        "stale": False,
        "active": True,
    }


@every_case
def test_no_fault_costs_more_than_a_few_requests_and_seconds(case: tuple[Matrix, Case], name: str) -> None:
    matrix, expected = case
    for run, verdict in (("first", expected.first), ("later", expected.later)):
        if run not in matrix.runs:
            continue
        listing = matrix.runs[run].of(name).listings[-1]
        assert listing["finished_at"] - listing["started_at"] < timedelta(seconds=SECONDS)
        assert matrix.asked[run][name] == listing["requests"] == verdict.requests


@every_case
def test_each_fault_leads_to_what_the_table_says(case: tuple[Matrix, Case], route: str, name: str) -> None:
    matrix, expected = case
    dialect = "openai" if route == "direct_matrix" else "gateway"
    found = [matrix.found(dialect, name, run, expected) for run in ("first", "later") if run in matrix.runs]
    assert [one.faults for one in found] == [[]] * len(found)


@every_direct_case
def test_the_page_tells_what_was_found(case: tuple[Matrix, Case], name: str) -> None:
    matrix, expected = case
    first, later = (matrix.found("openai", name, run, expected) for run in ("first", "later"))
    assert on_page(name, "openai") == found_for_page(first, later)


@pytest.mark.parametrize("route", CASES)
def test_all_that_was_ever_sent_is_get_files(route: str, request: pytest.FixtureRequest) -> None:
    matrix: Matrix = request.getfixturevalue(route)
    assert {(sent.method, sent.path, sent.headers["host"].split(":")[0]) for sent in matrix.requests} == {
        ("GET", "/v1/files", "127.0.0.1")
    }


def judged(published: Published) -> list[Row]:
    """Each listing without its times, ids and sizes."""
    return [{name: row[name] for name in counts(Verdict("", None, 0))} for row in published.listings]


def counts(verdict: Verdict, rejected: int = 0, **of: int) -> Row:
    """Columns of `listings` that the tests foretell; those not named are 0."""
    kinds = ("records", "baseline", "created", "updated", "deleted", "restored", "unchanged", "held")
    return verdict._asdict() | {"rejected": rejected} | dict.fromkeys(kinds, 0) | of


@pytest.fixture
def account(simulator: Simulator) -> Account:
    """300 files, 100 a page."""
    simulator.page_limit = 100
    account = simulator.accounts[TOKEN] = Account(300, seed=7)
    return account


@pytest.mark.parametrize(
    ("fault", "status"),
    [("duplicate_rows", 0), ("short_list", 1), ("page2_404", 1), ("unauthorized", 1)],
)
@pytest.mark.usefixtures("account")
def test_the_exit_status_is_0_only_for_a_complete_listing(
    lab: Lab, simulator: Simulator, fault: str, status: int
) -> None:
    path = lab.path.with_name("inventory.yaml")
    path.write_text(
        json.dumps({"store": str(lab.path), "http": HTTP, "credentials": [direct(simulator, "${THE_KEY}")]})
    )

    def sync() -> Result:
        return CliRunner().invoke(app, ["--config", str(path), "sync"], env={"THE_KEY": TOKEN})

    assert sync().exit_code == 0
    simulator.faults[TOKEN] = FAULTS[fault]
    assert sync().exit_code == status


def test_a_file_that_comes_back_is_restored_and_was_first_seen_when_it_was(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    (gone,) = account.delete()
    lab.listing(config)
    account.restore()
    back = lab.listing(config)
    published = lab.published()
    (row,) = [row for row in published.files if row["file_id"] == gone]
    (whole,) = stored([account.files[gone]], first.finished_at)
    assert row == whole | {"changed_at": back.finished_at}
    assert [row for row in published.files if row["file_id"] != gone] == stored(
        (file for key, file in account.files.items() if key != gone), first.finished_at
    )
    assert published.as_of_now == published.files
    assert summary(published.log()) == [(gone, "deleted", "missing"), (gone, "restored", None)]
    restored = published.log("restored")[0]
    assert restored == record(account.files[gone]) | {
        "change_id": 302,
        "run_id": back.run_id,
        "observed_at": back.finished_at,
        "credential": "acme",
        "change": "restored",
        "reason": None,
        "changed_fields": None,
    }


def test_one_removed_file_is_one_deletion_with_its_last_known_record(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    gone = list(account.files.values())[7]
    account.remove(gone["id"])
    second = lab.listing(config)
    published = lab.published()
    assert published.log() == [
        record(gone)
        | {
            "change_id": 301,
            "run_id": second.run_id,
            "observed_at": second.finished_at,
            "credential": "acme",
            "change": "deleted",
            "reason": "missing",
            "changed_fields": None,
        }
    ]
    assert published.files == stored(account.files.values(), first.finished_at)
    assert judged(published)[1] == counts(COMPLETE, records=299, unchanged=299, deleted=1)


def test_a_file_that_only_an_incomplete_first_listing_saw_may_be_deleted_by_the_next(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    simulator.faults[TOKEN] = FAULTS["page2_404"]
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    simulator.reset()
    gone = next(iter(account.files))
    account.remove(gone)
    second = lab.listing(config)
    published = lab.published()
    assert judged(published)[1] == counts(COMPLETE, records=299, baseline=200, unchanged=99, deleted=1)
    assert summary(published.log()) == [(gone, "deleted", "missing")]
    seen = dict.fromkeys(list(account.files)[:99], first.finished_at)
    rows = stored(account.files.values(), second.finished_at)
    assert published.files == [
        row | dict.fromkeys(("first_seen_at", "changed_at"), seen.get(row["file_id"], second.finished_at))
        for row in rows
    ]


def test_what_expired_is_told_apart_from_what_is_merely_missing(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    aged = account.age(3, seconds=0)
    config = lab.config(direct(simulator))
    lab.listing(config)
    expired = account.expire(3)
    assert sorted(expired) == sorted(aged)
    removed = account.delete(2)
    lab.listing(config)
    assert sorted(summary(lab.published().log())) == sorted(
        [(key, "deleted", "expired") for key in expired] + [(key, "deleted", "missing") for key in removed]
    )


def test_a_field_that_vanishes_everywhere_leaves_files_and_log_in_agreement(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    simulator.faults[TOKEN] = FAULTS["drop_field"]
    assert lab.listing(config).unchanged == len(account.files)
    published = lab.published()
    assert published.log() == []
    assert published.as_of_now == published.files


def test_a_change_made_while_a_field_was_gone_is_logged_when_it_returns(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    simulator.faults[TOKEN] = FAULTS["drop_field"]
    lab.listing(config)
    simulator.reset()
    old = account.files.copy()
    (changed,) = account.change(1)
    account.files[changed] = old[changed] | {"status": account.files[changed]["status"]}
    lab.listing(config)
    published = lab.published()
    assert [(row["file_id"], row["changed_fields"], row["status"]) for row in published.log()] == [
        (changed, ["status"], account.files[changed]["status"])
    ]
    assert published.as_of_now == published.files


def test_a_field_that_appears_everywhere_is_no_change_and_a_later_change_of_it_is_one(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    simulator.faults[TOKEN] = FAULTS["drop_field"]
    lab.listing(config)
    simulator.reset()
    lab.listing(config)
    assert lab.published().log() == []
    (changed,) = account.change(1)
    lab.listing(config)
    assert summary(lab.published().log()) == [(changed, "updated", None)]


def test_a_new_field_makes_versions_only_where_that_is_asked_for(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator), direct(simulator, name="keen", track_extra=True))
    lab.sync(config)
    simulator.faults[TOKEN] = FAULTS["new_field"]
    run = lab.sync(config)
    assert {listing.credential: listing.updated for listing in run.listings} == {"acme": 0, "keen": 300}
    updated = lab.published().log()
    assert {(row["credential"], tuple(row["changed_fields"]), row["extra"]) for row in updated} == {
        ("keen", ("extra",), '{"region":"eu"}')
    }
    assert len(updated) == len(account.files)


def test_a_nameless_record_seen_in_three_runs_is_set_aside_once_and_deletes_nothing(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    simulator.faults[TOKEN] = FAULTS["null_id"]
    account.delete(3)
    met = [lab.listing(config) for _ in range(3)]
    assert {(listing.status, listing.rejected, listing.deleted) for listing in met} == {("incomplete", 1, 0)}
    assert len(lab.published().files) == 300
    simulator.reset()
    account.restore(3)
    clean = lab.sync(config)
    assert clean.status == "complete"
    published = lab.published()
    nameless = list(account.files.values())[50] | {"id": None}
    (row,) = published.rejected
    assert row | {"record": json.loads(row["record"]), "position": None} == {
        "run_id": met[0].run_id,
        "credential": "acme",
        "page": 1,
        "position": None,
        "reason": "the record has no id",
        "record": nameless,
    }
    assert published.files == stored(account.files.values(), first.finished_at)
    assert published.log() == []
    assert judged(published)[-1] == counts(COMPLETE, records=300, unchanged=300)


def test_a_record_that_cannot_be_read_leaves_its_file_as_it_was_and_the_others_go_on(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    simulator.faults[TOKEN] = FAULTS["word_bytes"]
    last, spoilt = list(account.files.values())[-1], list(account.files.values())[50]
    account.remove(last["id"])
    assert lab.listing(config).status == "complete"
    published = lab.published()
    assert published.files == stored(account.files.values(), first.finished_at)
    assert summary(published.log()) == [(last["id"], "deleted", "missing")]
    assert [row | {"record": json.loads(row["record"])} for row in published.rejected] == [
        {
            "run_id": published.runs[-1]["run_id"],
            "credential": "acme",
            "page": 1,
            "position": 51,
            "reason": "bytes is not a whole number: 'many'",
            "record": spoilt | {"bytes": "many"},
        }
    ]


def test_an_account_that_is_empty_at_first_is_complete_and_what_comes_later_is_created(
    lab: Lab, simulator: Simulator
) -> None:
    account = simulator.accounts[TOKEN] = Account(0)
    config = lab.config(direct(simulator))
    assert lab.listing(config).status == "complete"
    assert lab.published().files == []
    added = account.add(2)
    second = lab.listing(config)
    published = lab.published()
    assert published.files == stored(account.files.values(), second.finished_at)
    assert sorted(summary(published.log())) == sorted((key, "created", None) for key in added)
    assert [row["status"] for row in published.listings] == ["complete", "complete"]


def test_an_account_that_is_emptied_is_held_however_few_files_it_had(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(2, seed=1)
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    before = stored(account.files.values(), first.finished_at)
    account.delete(2)
    listing = lab.listing(config)
    assert (listing.status, listing.reason, listing.error) == ("held", "brake", "the list is empty where 2 files were")
    assert lab.published().files == before


class Lacking:
    """Leave some files out of the first listings; answer later ones by another fault, or none."""

    def __init__(self, ids: list[str], listings: int = 1, then: Fault | None = None) -> None:
        self.ids = set(ids)
        self.listings = listings
        self.then = then

    def __call__(self, request: Request, reply: Reply) -> Reply:
        self.listings -= "after" not in request.params
        if self.listings < 0:
            return self.then(request, reply) if self.then else reply
        page = json.loads(reply.body)
        page["data"] = [file for file in page["data"] if file["id"] not in self.ids]
        return Reply.json(page)


def test_a_short_list_that_heals_within_the_run_deletes_nothing(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    simulator.faults[TOKEN] = Lacking(list(account.files)[-45:])
    lab.listing(config)
    published = lab.published()
    assert judged(published)[1] == counts(COMPLETE._replace(requests=6), records=300, unchanged=300)
    assert published.files == stored(account.files.values(), first.finished_at)
    assert published.log() == published.held == []


def test_only_what_both_listings_lack_is_gone(lab: Lab, simulator: Simulator, account: Account) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    gone = account.delete(5)
    simulator.faults[TOKEN] = Lacking(list(account.files)[-45:])
    lab.listing(config)
    published = lab.published()
    assert judged(published)[1] == counts(COMPLETE._replace(requests=6), records=295, unchanged=295, deleted=5)
    assert published.files == stored(account.files.values(), first.finished_at)
    assert {row["file_id"] for row in published.log()} == set(gone)


def test_a_short_list_that_cannot_be_confirmed_deletes_nothing(lab: Lab, simulator: Simulator) -> None:
    names = ("page2_500", "unauthorized", "ignore_after", "null_id")
    simulator.page_limit = 100
    simulator.accounts = {name: Account(300, seed=7) for name in names}
    config = lab.config(*(direct(simulator, name, name=name) for name in names))
    first = lab.sync(config)
    for name, account in simulator.accounts.items():
        simulator.faults[name] = Lacking(list(account.files)[-45:], then=FAULTS[name])
    second = lab.sync(config)
    for listing in second.listings:
        assert (listing.status, listing.reason, listing.deleted, listing.held) == ("incomplete", "not_confirmed", 0, 0)
        assert str(listing.error).startswith("the second listing, to confirm deletions, did not complete: ")
    published = lab.published()
    for listing in first.listings:
        files = simulator.accounts[listing.credential].files.values()
        assert published.of(listing.credential).files == stored(files, listing.finished_at, listing.credential)
    assert published.log() == published.held == []


def test_a_third_of_the_files_is_deleted_once_a_second_listing_lacks_it_too(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    gone = account.delete(90)
    lab.listing(config)
    published = lab.published()
    assert judged(published)[1] == counts(COMPLETE._replace(requests=6), records=210, unchanged=210, deleted=90)
    assert published.files == stored(account.files.values(), first.finished_at)
    assert sorted(summary(published.log())) == sorted((key, "deleted", "missing") for key in gone)


class Braked(NamedTuple):
    """An account of which so many files are removed between two runs, and what the second run makes of it."""

    files: int
    removed: int
    requests: int
    status: str
    brake: Row = {}  # noqa: RUF012 - never altered


BRAKED = {
    "up to 20 files may go": Braked(21, 20, 1, "complete"),
    "up to 20 files may go, half of all": Braked(40, 20, 1, "complete"),
    "never all": Braked(20, 20, 1, "held"),
    "10 % is believed": Braked(210, 21, 2, "complete"),
    "more than 10 % is listed again": Braked(209, 21, 2 + 2, "complete"),
    "50 % is believed the second time": Braked(42, 21, 1 + 1, "complete"),
    "50 % of many too": Braked(300, 150, 2 + 2, "complete"),
    "more than 50 % is held": Braked(41, 21, 1 + 1, "held"),
    "more than 50 % of many is held": Braked(300, 151, 2 + 2, "held"),
    "recheck_percent not reached": Braked(300, 90, 3, "complete", {"recheck_percent": 30}),
    "recheck_percent exceeded": Braked(300, 90, 3 + 3, "complete", {"recheck_percent": 29.9}),
    "hold_percent not reached": Braked(300, 90, 3 + 3, "complete", {"hold_percent": 30}),
    "hold_percent exceeded": Braked(300, 90, 3 + 3, "held", {"hold_percent": 29.9}),
    "count not reached": Braked(300, 90, 3, "complete", {"hold_percent": 29.9, "count": 90}),
    "count exceeded": Braked(300, 90, 3 + 3, "held", {"hold_percent": 29.9, "count": 89}),
}


@pytest.fixture(scope="module")
def braked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Published, dict[str, list[str]]]:
    """What two runs over all these accounts published, and the files removed between them."""
    accounts = {name: Account(case.files, seed=3) for name, case in BRAKED.items()}
    with Simulator(accounts, page_limit=100) as simulator, quickly() as waits:
        lab = Lab(tmp_path_factory.mktemp("brake"), waits)
        config = lab.config(
            *(
                direct(simulator, name, name=f"case-{number}", brake=case.brake)
                for number, (name, case) in enumerate(BRAKED.items())
            )
        )
        lab.sync(config)
        gone = {name: accounts[name].delete(case.removed) for name, case in BRAKED.items()}
        lab.sync(config)
        return lab.published(), gone


@pytest.mark.parametrize("name", BRAKED)
def test_the_brake_bites_just_above_its_thresholds(braked: tuple[Published, dict[str, list[str]]], name: str) -> None:
    everything, gone = braked
    case = BRAKED[name]
    published = everything.of(f"case-{list(BRAKED).index(name)}")
    held = case.status == "held"
    left = case.files - case.removed
    verdict = Verdict(case.status, "brake" if held else None, case.requests)
    kinds = {"held" if held else "deleted": case.removed}
    assert judged(published)[1] == counts(verdict, records=left, unchanged=left, **kinds)
    assert {row["file_id"] for row in (published.held if held else published.log())} == set(gone[name])
    assert len(published.files) == (case.files if held else left)


def test_the_brake_of_a_credential_overrides_the_common_one(lab: Lab, simulator: Simulator, account: Account) -> None:
    own = direct(simulator, name="own", brake={"hold_percent": 80})
    config = lab.config(direct(simulator), own, brake={"hold_percent": 20})
    lab.sync(config)
    account.delete(90)
    run = lab.sync(config)
    assert {listing.credential: listing.status for listing in run.listings} == {"acme": "held", "own": "complete"}


def test_deletions_that_stay_held_are_one_entry_a_file_however_many_runs_see_them(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    before = stored(account.files.values(), first.finished_at)
    gone = sorted(account.delete(200))
    held = [lab.listing(config) for _ in range(3)]
    more = account.delete(1)
    held.append(lab.listing(config))
    assert [(listing.status, listing.held, listing.deleted) for listing in held] == [
        ("held", 200, 0),
        ("held", 200, 0),
        ("held", 200, 0),
        ("held", 201, 0),
    ]
    published = lab.published()
    assert published.held == sorted(
        [{"run_id": held[0].run_id, "credential": "acme", "file_id": key} for key in gone]
        + [{"run_id": held[3].run_id, "credential": "acme", "file_id": key} for key in more],
        key=lambda row: row["file_id"],
    )
    assert published.files == before
    assert published.log() == []


def test_what_is_held_stays_held_when_the_share_falls_below_the_brake(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    gone = account.delete(151)
    assert lab.listing(config).status == "held"
    back = account.restore(100)
    listing = lab.listing(config)
    assert (listing.status, listing.held, listing.deleted) == ("held", 51, 0)
    published = lab.published()
    assert {row["file_id"] for row in published.held} == set(gone) - set(back)
    assert published.log() == []


def test_approving_deletes_only_what_is_still_missing(lab: Lab, simulator: Simulator, account: Account) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    gone = account.delete(200)
    held = lab.listing(config)
    back = account.restore(10)
    lab.listing(config)
    assert lab.approve(config) == 190
    published = lab.published()
    assert published.files == stored(account.files.values(), first.finished_at)
    assert published.as_of_now == published.files
    assert published.held == []
    assert sorted(summary(published.log())) == sorted((key, "deleted", "missing") for key in set(gone) - set(back))
    assert {row["run_id"] for row in published.log()} == {held.run_id}
    assert published.freshness[0]["as_of"] == published.listings[-1]["finished_at"]
    assert judged(published)[-1]["status"] == "held"
    lab.listing(config)
    assert judged(lab.published())[-1] == counts(COMPLETE._replace(requests=2), records=110, unchanged=110)


def test_rejecting_keeps_the_files_and_the_same_listing_is_held_again(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    before = stored(account.files.values(), first.finished_at)
    gone = account.delete(200)
    lab.listing(config)
    assert lab.reject(config) == 200
    published = lab.published()
    assert published.files == before
    assert published.log() == published.held == []
    again = lab.listing(config)
    assert (again.status, again.held) == ("held", 200)
    published = lab.published()
    assert published.files == before
    assert {(row["run_id"], row["file_id"]) for row in published.held} == {(again.run_id, key) for key in gone}


@pytest.mark.parametrize("decide", [Lab.approve, Lab.reject])
def test_deciding_where_nothing_is_held_is_refused(
    lab: Lab, simulator: Simulator, account: Account, decide: Callable[[Lab, Config], int]
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    with pytest.raises(StoreError, match="no deletions of acme are held"):
        decide(lab, config)
    assert len(lab.published().files) == len(account.files)


def test_a_filtered_listing_deletes_only_within_its_filter(lab: Lab, simulator: Simulator, account: Account) -> None:
    lab.listing(lab.config(direct(simulator)))
    config = lab.config(direct(simulator, purpose="batch"))
    assert lab.listing(config).status == "complete"
    batch = [key for key, file in account.files.items() if file["purpose"] == "batch"]
    other = [key for key, file in account.files.items() if file["purpose"] == "vision"]
    account.remove(batch[0], other[0])
    listing = lab.listing(config)
    assert (listing.status, listing.records, listing.deleted) == ("complete", len(batch) - 1, 1)
    published = lab.published()
    assert summary(published.log()) == [(batch[0], "deleted", "missing")]
    assert {row["file_id"] for row in published.files} == {*account.files, other[0]}
    assert simulator.requests[-1].params["purpose"] == "batch"


def test_changing_the_filter_holds_what_is_missing_even_if_it_is_one_file(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    first = lab.listing(lab.config(direct(simulator)))
    before = stored(account.files.values(), first.finished_at)
    batch = next(key for key, file in account.files.items() if file["purpose"] == "batch")
    account.remove(batch)
    listing = lab.listing(lab.config(direct(simulator, purpose="batch")))
    assert (listing.status, listing.held, listing.deleted) == ("held", 1, 0)
    assert "the configuration of this credential changed" in str(listing.error)
    published = lab.published()
    assert published.files == before
    assert published.log() == []


def test_a_filter_that_the_server_ignores_is_minded_here(lab: Lab, simulator: Simulator, account: Account) -> None:
    def ignore_purpose(request: Request, _reply: Reply) -> Reply:
        return request.listing({name: value for name, value in request.params.items() if name != "purpose"})

    simulator.faults[TOKEN] = ignore_purpose
    first = lab.listing(lab.config(direct(simulator, purpose="batch")))
    batch = [file for file in account.files.values() if file["purpose"] == "batch"]
    assert first.status == "complete"
    assert lab.published().files == stored(batch, first.finished_at)


@pytest.mark.parametrize("left", [10, 100], ids=["few files", "many files"])
def test_pointing_a_credential_at_another_server_deletes_nothing(lab: Lab, simulator: Simulator, left: int) -> None:
    account = simulator.accounts[TOKEN] = Account(left, seed=1)
    elsewhere = Account(5, seed=2)
    first = lab.listing(lab.config(direct(simulator)))
    with Simulator({TOKEN: elsewhere}) as other:
        second = lab.listing(lab.config(direct(other)))
    assert (second.status, second.held, second.deleted) == ("held", left, 0)
    published = lab.published()
    assert published.files == sorted(
        stored(account.files.values(), first.finished_at) + stored(elsewhere.files.values(), second.finished_at),
        key=lambda row: row["file_id"],
    )
    assert published.log() == []


def test_pointing_a_credential_back_again_deletes_nothing_either(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(10, seed=1)
    elsewhere = Account(5, seed=2)
    lab.listing(lab.config(direct(simulator)))
    with Simulator({TOKEN: elsewhere}) as other:
        lab.listing(lab.config(direct(other)))
    back = lab.listing(lab.config(direct(simulator)))
    assert (back.status, back.held, back.deleted) == ("held", 5, 0)
    published = lab.published()
    assert {row["file_id"] for row in published.files} == {*account.files, *elsewhere.files}
    assert {row["file_id"] for row in published.held} == {*elsewhere.files}
    assert published.log() == []


def test_pointing_an_inline_config_at_another_server_deletes_nothing(
    lab: Lab, simulator: Simulator, gateway: str
) -> None:
    account = simulator.accounts[TOKEN] = Account(10, seed=1)
    elsewhere = Account(5, seed=2)
    lab.listing(lab.config(inline(gateway, simulator)))
    with Simulator({TOKEN: elsewhere}) as other:
        second = lab.listing(lab.config(inline(gateway, other)))
    assert (second.status, second.held, second.deleted) == ("held", 10, 0)
    published = lab.published()
    assert {row["file_id"] for row in published.files} == {*account.files, *elsewhere.files}
    assert published.log() == []


def test_a_credential_that_is_no_longer_configured_keeps_its_files_and_is_inactive(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    lab.sync(lab.config(direct(simulator), direct(simulator, name="other")))
    before = lab.published()
    account.delete(1)
    lab.sync(lab.config(direct(simulator, name="other")))
    published = lab.published()
    assert published.of("acme").files == before.of("acme").files
    assert published.of("acme").log() == published.of("acme").held == []
    assert {row["name"]: row["active"] for row in published.credentials} == {"acme": False, "other": True}
    assert [row | {"active": True} for row in published.of("acme").credentials] == before.of("acme").credentials
    assert len(published.of("other").log("deleted")) == 1


def test_waiting_as_long_as_the_server_asks_mends_a_throttled_listing(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    simulator.faults[TOKEN] = FAULTS["rate_limited"]
    listing = lab.listing(lab.config(direct(simulator)))
    assert (listing.status, listing.requests, listing.retries) == ("complete", 6, 3)
    assert lab.waits == [2.0, 2.0, 2.0]
    assert lab.published().files == stored(account.files.values(), listing.finished_at)


@pytest.mark.parametrize(
    "asked", ["0", "3600", "999999999999", "-5", "soon", "Fri, 31 Dec 2055 23:59:59 GMT", "", "1e400", "nan"]
)
def test_no_throttle_costs_more_than_six_requests_or_a_minute_each(
    lab: Lab, simulator: Simulator, account: Account, asked: str
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    lab.waits.clear()
    simulator.faults[TOKEN] = rate_limited(asked, times=sys.maxsize)
    listing = lab.listing(config)
    assert (listing.status, listing.reason, listing.requests, listing.deleted) == ("failed", "unreachable", 6, 0)
    assert len(lab.waits) <= 5
    assert all(0 <= seconds <= LONGEST_WAIT for seconds in lab.waits)
    assert len(lab.published().files) == len(account.files)


ANOTHER_WAY: dict[str, Callable[[Row], Row]] = {
    "milliseconds": lambda file: {"created_at": file["created_at"] * 1000},
    "text of seconds": lambda file: {"created_at": f"{instant(file['created_at']):%Y-%m-%dT%H:%M:%SZ}"},
    "digits in text": lambda file: {"bytes": str(file["bytes"])},
    "a float without fraction": lambda file: {"created_at": float(file["created_at"])},
}
"""The same values in another unit or type."""


@pytest.mark.parametrize("way", ANOTHER_WAY)
def test_another_unit_or_type_of_a_value_is_no_change(
    lab: Lab, simulator: Simulator, account: Account, way: str
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    before = lab.published().files
    simulator.faults[TOKEN] = each_record(lambda file: file | ANOTHER_WAY[way](file))
    listing = lab.listing(config)
    assert (listing.status, listing.unchanged, listing.updated) == ("complete", len(account.files), 0)
    assert lab.published().files == before


def test_a_list_of_a_thousand_pages_is_complete(lab: Lab, simulator: Simulator) -> None:
    simulator.page_limit = 3
    account = simulator.accounts[TOKEN] = Account(2_999, seed=2)
    listing = lab.listing(lab.config(direct(simulator)))
    assert (listing.status, listing.pages, listing.requests) == ("complete", 1000, 1000)
    assert {row["file_id"] for row in lab.published().files} == account.files.keys()


def summary(log: list[Row]) -> list[tuple[str, str, str | None]]:
    return [(row["file_id"], row["change"], row["reason"]) for row in log]
