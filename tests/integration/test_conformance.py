"""What every adapter must keep, spoken over HTTP with a provider that speaks its dialect, well or badly."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from etl.config import Config
from etl.errors import Refused, Unreachable
from etl.extract.fetch import fetch
from etl.extract.http import Http
from etl.extract.probe import Probe, probe
from etl.load.store import Outcome
from etl.providers import PROVIDERS, Provider
from etl.simulator import FAULTS, Account, Fault, Reply, Request, Simulator
from etl.simulator.faults import (
    at_first,
    bent,
    each_record,
    fields,
    first_page,
    instead,
    on_page_2,
    one_record,
    records,
)
from etl.transform.listing import Listing
from etl.transform.words import Verdict

from .conftest import HTTP, Lab, instant, quickly

PAGES = Path(__file__).parents[1] / "pages"
PAGE = 10
"""Files on a page of the simulated providers."""

OTHER_FORMS: dict[str, dict[str, Any]] = {
    "azure-openai classic": {"api_version": "2024-10-21"},
    "anthropic beta": {"beta": "files-api-2025-04-14"},
    "anthropic 2026-10-21": {"version": "2026-10-21"},
    "openrouter openai": {"provider": "openai"},
    "openrouter anthropic": {"provider": "anthropic"},
}
"""Settings in which a provider pages, or words its list, in another way."""

ALL = [*sorted(PROVIDERS), *OTHER_FORMS]
WHOLE = ["azure-openai classic", "groq", "together"]
"""Their lists come in one answer."""
PAGED = [name for name in ALL if name not in WHOLE]
COUNTED = {"mistral", "cohere"}
"""They page by number, so a page may shift."""
CURSORS = ("last_id", "next_page", "nextPageToken", "pagination_token", "cursor")
IDS = {"gemini": "files/{}", "fireworks": "accounts/acme/datasets/{}"}


class Desk:
    """One credential of one provider, and the account behind it."""

    def __init__(self, simulator: Simulator, name: str) -> None:
        self.name = name
        self.kind = name.split(maxsplit=1)[0]
        self.provider: Provider = PROVIDERS[self.kind]
        self.simulator = simulator
        recorded = json.loads((PAGES / f"{self.kind}.json").read_text())["credential"]
        self.token: str = recorded.get("api_key") or recorded["authorization"]
        base_url = simulator.speaking(self.kind) + urlsplit(recorded["base_url"]).path
        self.settings = recorded | {"base_url": base_url} | OTHER_FORMS.get(name, {})
        self.account = simulator.accounts[self.token] = Account(25, seed=3)

    @property
    def told(self) -> set[str]:
        """Columns that the provider fills."""
        return set(self.provider.reading.fields)

    def field(self, column: str) -> str:
        """Key of a record that a column is read from."""
        source = self.provider.reading.fields[column]
        return source if isinstance(source, str) else "size_bytes"

    def having(self, files: int) -> "Desk":
        self.account = self.simulator.accounts[self.token] = Account(files, seed=4)
        return self

    def config(self, **settings: Any) -> Config:
        asked = self.settings | {"name": "acme"} | settings
        return Config.model_validate({"http": HTTP | {"max_page_bytes": 64_000_000}, "credentials": [asked]})

    def fetched(self, fault: Fault | None = None, **settings: Any) -> Listing:
        if fault:
            self.simulator.faults[self.token] = fault
        config = self.config(**settings)
        with Http(config) as http:
            return fetch(config.credentials[0], http)

    def probed(self, fault: Fault | None = None) -> Probe:
        if fault:
            self.simulator.faults[self.token] = fault
        (answer,) = probe(self.config())
        return answer

    def id_of(self, key: str) -> str:
        return IDS[self.kind].format(key if self.kind == "gemini" else key.lower()) if self.kind in IDS else key

    def ids(self) -> list[str]:
        return sorted(map(self.id_of, self.account.files))


@pytest.fixture(scope="module")
def polyglot() -> Iterator[Simulator]:
    """One server for all: starting one costs more than most tests."""
    with Simulator(page_limit=PAGE) as simulator:
        yield simulator


@pytest.fixture
def desk(request: pytest.FixtureRequest, polyglot: Simulator) -> Iterator[Desk]:
    polyglot.reset()
    polyglot.accounts.clear()
    with quickly():
        yield Desk(polyglot, request.param)


every = pytest.mark.parametrize("desk", ALL, indirect=True)
paged = pytest.mark.parametrize("desk", PAGED, indirect=True)


def ids(listing: Listing) -> list[str]:
    return sorted(listing.files["file_id"].to_pylist())


def said(listing: Listing) -> tuple[str, str | None]:
    return str(listing.status), listing.reason


COMPLETE = ("complete", None)
NOT_PROVEN = ("incomplete", "end_not_proven")


def second(values: datetime | None) -> datetime | None:
    return values and values.replace(microsecond=0)


# A healthy list


@every
def test_an_account_without_files_is_an_empty_list(desk: Desk) -> None:
    listing = desk.having(0).fetched()
    assert (*said(listing), ids(listing), listing.pages) == (*COMPLETE, [], 1)


@every
@pytest.mark.parametrize("files", [1, 2, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE, 3 * PAGE + 1])
def test_every_file_is_listed_once_however_many_pages_they_fill(desk: Desk, files: int) -> None:
    listing = desk.having(files).fetched()
    assert (*said(listing), ids(listing)) == (*COMPLETE, desk.ids())
    assert listing.rejected == ()


@every
def test_values_are_what_the_account_holds_or_null(desk: Desk) -> None:
    truth = {desk.id_of(key): file for key, file in desk.account.files.items()}
    for row in desk.fetched().files.to_pylist():
        file = truth[row["file_id"]]
        assert row["filename"] == file["filename"]
        assert second(row["created_at"]) == instant(file["created_at"])
        assert row["bytes"] == (file["bytes"] if "bytes" in desk.told else None)
        if "purpose" in desk.told:
            assert row["purpose"] in {file["purpose"], None}
        assert [name for name in set(row) - desk.told - {"provider", "extra"} if row[name] is not None] == []
        assert "://" not in json.dumps(row, default=str)


@every
def test_the_holder_of_the_files_is_named(desk: Desk) -> None:
    (provider,) = set(desk.fetched().files["provider"].to_pylist())
    elsewhere = desk.kind == "openai"  # what another server than OpenAI's is, only the configuration can tell
    assert provider == desk.settings.get("provider", None if elsewhere else desk.kind)


@every
def test_nothing_is_sent_but_get_and_no_page_is_asked_for_twice(desk: Desk) -> None:
    listing = desk.fetched()
    asked = [(request.path, tuple(sorted(request.params.items()))) for request in desk.simulator.requests]
    assert {request.method for request in desk.simulator.requests} == {"GET"}
    assert len(set(asked)) == len(asked) == listing.requests
    assert listing.requests <= 2 * 3


@every
def test_the_key_is_sent_in_a_header_and_never_in_a_url(desk: Desk) -> None:
    desk.fetched()
    for request in desk.simulator.requests:
        assert desk.token in "".join(request.headers.values())
        assert desk.token not in f"{request.path} {request.params}"


@every
def test_expiry_is_told_where_the_provider_tells_it(desk: Desk) -> None:
    due = desk.account.now + 3600
    for key in desk.account.age(25, 3600):
        assert desk.account.files[key]["expires_at"] == due
    moments = {second(moment) for moment in desk.fetched().files["expires_at"].to_pylist()}
    assert moments == ({instant(due)} if "expires_at" in desk.told else {None})


@every
def test_a_purpose_is_kept_to_or_refused(desk: Desk) -> None:
    if not desk.provider.settings.TELLS_PURPOSE:
        with pytest.raises(ValueError, match="tells no purpose of a file; leave purpose out"):
            desk.config(purpose="batch")
        return
    listing = desk.fetched(purpose="batch")
    batch = [desk.id_of(key) for key, file in desk.account.files.items() if file["purpose"] == "batch"]
    assert 0 < len(batch) < len(desk.account.files)
    assert (*said(listing), ids(listing)) == (*COMPLETE, sorted(batch))


@every
def test_a_success_may_have_an_odd_status(desk: Desk) -> None:
    listing = desk.fetched(lambda _request, reply: replace(reply, status=246))
    assert (*said(listing), ids(listing)) == (*COMPLETE, desk.ids())


# Lists that lead astray


def again(request: Request, reply: Reply) -> Reply:
    """Give the rows of the first page for ever, each time with the cursor that the right page would have."""
    key = request.dialect.records
    return bent(lambda page: page | {key: first_page(request)[key]})(request, reply)


def circle(request: Request, reply: Reply) -> Reply:
    """Give the first page after every later one."""
    return reply if request.number <= 2 else Reply.json(first_page(request))


@paged
@pytest.mark.parametrize("fault", [again, lambda request, _: Reply.json(first_page(request)), circle])
def test_a_list_that_goes_round_ends_as_incomplete(desk: Desk, fault: Fault) -> None:
    listing = desk.fetched(fault)
    assert said(listing) == NOT_PROVEN
    assert listing.requests <= 5
    assert PAGE <= len(ids(listing)) <= 2 * PAGE
    assert set(ids(listing)) <= set(desk.ids())


@paged
@pytest.mark.parametrize("cursor", [5, True, [], {"a": 1}])
def test_a_cursor_that_is_none_ends_the_list_as_incomplete(desk: Desk, cursor: Any) -> None:
    def fault(request: Request, reply: Reply) -> Reply:
        named = [name for name in CURSORS if name in msgspec.json.decode(reply.body)]
        nameless = records(lambda given: [*given[:-1], {**given[-1], "id": cursor}])
        bend = fields(**dict.fromkeys(named, cursor))
        return bend(request, nameless(request, reply) if "last_id" in named else reply)

    listing = desk.fetched(fault)
    if desk.kind in COUNTED:
        assert said(listing) == COMPLETE
        return
    assert said(listing) in {NOT_PROVEN, ("incomplete", "wrong_shape")}
    assert listing.requests == 1


@paged
def test_an_empty_page_that_promises_more_proves_no_end(desk: Desk) -> None:
    listing = desk.fetched(on_page_2(records(lambda _: [])))
    if desk.kind == "xai":  # whose reference says that an empty page is the end
        assert said(listing) == COMPLETE
        return
    assert said(listing) == NOT_PROVEN
    assert len(ids(listing)) == PAGE


@paged
def test_files_that_come_while_the_list_is_read_push_none_out(desk: Desk) -> None:
    before = set(desk.ids())

    def fault(request: Request, reply: Reply) -> Reply:
        if request.number == 1:
            desk.account.add(3)
        return reply

    assert before <= set(ids(desk.fetched(fault)))


@paged
@pytest.mark.parametrize("place", [0, 5, 9, 12, 24])
def test_a_file_that_goes_while_the_list_is_read_takes_no_other_with_it(desk: Desk, place: int) -> None:
    gone = list(desk.account.files)[place]

    def fault(request: Request, reply: Reply) -> Reply:
        if request.number == 1:
            desk.account.remove(gone)
        return reply

    listing = desk.fetched(fault)
    if said(listing) == COMPLETE:
        assert set(desk.ids()) <= set(ids(listing))
    else:
        assert listing.pages >= 1
        assert str(listing.status) == "incomplete"


@every
def test_rows_that_come_twice_on_a_page_are_folded(desk: Desk) -> None:
    listing = desk.having(5).fetched(records(lambda given: [given[0], *given]))
    assert ids(listing) == desk.ids()


@paged
def test_rows_that_come_again_on_the_next_page_are_folded(desk: Desk) -> None:
    def fault(request: Request, reply: Reply) -> Reply:
        repeated = first_page(request)[request.dialect.records][-2:]
        return on_page_2(records(lambda given: [*given[:1], *repeated, *given[1:]]))(request, reply)

    listing = desk.fetched(fault)
    assert len(set(ids(listing))) == len(ids(listing))
    assert set(ids(listing)) <= set(desk.ids())
    assert said(listing) == COMPLETE or desk.kind in COUNTED


# Answers that are no list

NO_LISTS: dict[str, Reply] = {
    "null": Reply.json(None),
    "array": Reply.json([]),
    "array of records": Reply.json([{"id": "a"}]),
    "text": Reply.json("files"),
    "number": Reply.json(5),
    "array reshaped to an object": Reply.json({"0": {"id": "a"}, "1": {"id": "b"}}),
    "list without its records": Reply.json({"object": "list"}),
    "records that are no array": Reply.json({"data": {}, "files": {}, "datasets": {}}),
    "error with status 200": Reply.json({"error": {"message": "Something broke"}}),
    "message with status 200": Reply.json({"message": "Something broke"}),
    "error beside an empty list": Reply.json({"error": {"message": "no"}, "data": [], "files": [], "datasets": []}),
    "web page": Reply(200, b"<!DOCTYPE html><title>Sign in</title>", {"content-type": "text/html"}),
    "web page in JSON": Reply.json({"html-message": "<html>"}),
    "nothing": Reply(204, headers={}),
    "no body": Reply(200, b""),
    "half an object": Reply(200, b'{"data": [{"id": '),
    "no JSON": Reply(200, b"upstream connect error"),
}


@every
@pytest.mark.parametrize("name", NO_LISTS)
def test_what_is_no_list_is_never_an_empty_one(desk: Desk, name: str) -> None:
    listing = desk.fetched(instead(NO_LISTS[name]))
    assert said(listing) == ("failed", "wrong_shape")
    assert listing.requests == 1


@paged
@pytest.mark.parametrize("name", [*NO_LISTS, "empty object"])
def test_what_is_no_list_leaves_the_pages_before_it(desk: Desk, name: str) -> None:
    listing = desk.fetched(on_page_2(instead(NO_LISTS.get(name, Reply.json({})))))
    assert said(listing) == ("incomplete", "wrong_shape")
    assert len(ids(listing)) == PAGE


# Refusals and faults


def refuse(status: int, message: str, **headers: str) -> Fault:
    """Refuse in the words of the dialect."""
    return lambda request, _: Reply.json(request.dialect.error(status, message), status, **headers)


@every
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_told_in_the_words_of_the_provider(desk: Desk, status: int) -> None:
    listing = desk.fetched(refuse(status, "You may not list files"))
    assert said(listing) == ("failed", Refused.reason)
    assert f"answered {status}: You may not list files" in str(listing.error)
    assert listing.requests <= 3


@every
def test_a_wrong_key_is_refused_and_not_told(desk: Desk) -> None:
    del desk.simulator.accounts[desk.token]
    listing = desk.fetched()
    assert said(listing) == ("failed", Refused.reason)
    assert "the key is not accepted" in str(listing.error)
    assert desk.token not in str(listing.error)


@every
@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 529])
def test_a_fault_that_heals_leaves_only_its_count(desk: Desk, status: int) -> None:
    listing = desk.fetched(at_first(refuse(status, "Try again")))
    assert (*said(listing), ids(listing)) == (*COMPLETE, desk.ids())
    assert listing.retries == listing.requests // 2


@every
def test_a_fault_that_stays_costs_a_few_requests(desk: Desk) -> None:
    listing = desk.fetched(refuse(500, "Down"))
    assert (*said(listing), listing.requests) == ("failed", Unreachable.reason, 6)


@paged
@pytest.mark.parametrize(("status", "reason", "requests"), [(500, "unreachable", 7), (404, "refused", 2)])
def test_a_later_page_that_fails_leaves_those_before_it(desk: Desk, status: int, reason: str, requests: int) -> None:
    listing = desk.fetched(on_page_2(refuse(status, "No such page")))
    assert (*said(listing), listing.requests) == ("incomplete", reason, requests)
    assert len(ids(listing)) == PAGE


@every
@pytest.mark.parametrize("headers", [{"retry_after": "7"}, {"retry_after_ms": "7000"}, {"x_ms_retry_after_ms": "7000"}])
def test_a_throttle_is_waited_for_as_long_as_it_says(
    desk: Desk, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Http, "pause", lambda _http, seconds: waited.append(seconds))
    assert said(desk.having(5).fetched(at_first(refuse(429, "Slow down", **headers)))) == COMPLETE
    assert 7 in waited


@pytest.mark.parametrize("desk", ["gemini"], indirect=True)
def test_a_throttle_may_say_in_its_body_how_long_to_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Http, "pause", lambda _http, seconds: waited.append(seconds))
    assert said(desk.having(5).fetched(at_first(refuse(429, "Slow down")))) == COMPLETE
    assert 34 in waited


# Records


@every
def test_unknown_fields_are_kept_and_disturb_nothing(desk: Desk) -> None:
    listing = desk.fetched(each_record(lambda record: record | {"region": "eu"}))
    assert (*said(listing), ids(listing)) == (*COMPLETE, desk.ids())
    assert {json.loads(extra)["region"] for extra in listing.files["extra"].to_pylist()} == {"eu"}


def bare(desk: Desk, **values: Any) -> Fault:
    """Leave of every record its id, and these values."""
    name = desk.field("file_id")
    return each_record(lambda record: {name: record[name]} | values)


@every
def test_a_record_of_nothing_but_an_id_is_a_file(desk: Desk) -> None:
    listing = desk.fetched(bare(desk))
    assert (*said(listing), ids(listing)) == (*COMPLETE, desk.ids())
    known = {name for row in listing.files.to_pylist() for name in row if row[name] is not None}
    assert known - {"provider"} == {"file_id"}


@every
def test_fields_that_are_null_are_not_told(desk: Desk) -> None:
    name = desk.field("file_id")
    listing = desk.fetched(each_record(lambda record: dict.fromkeys(record) | {name: record[name]}))
    assert (*said(listing), ids(listing)) == (*COMPLETE, desk.ids())
    known = {name for row in listing.files.to_pylist() for name in row if row[name] is not None}
    assert known <= {"file_id", "provider", "extra"}


@every
@pytest.mark.parametrize("nobody", [None, "", True, 1.5, ["a"]])
def test_a_record_that_nobody_can_name_leaves_the_list_incomplete(desk: Desk, nobody: Any) -> None:
    listing = desk.having(5).fetched(one_record(**{desk.field("file_id"): nobody}))
    assert said(listing) == NOT_PROVEN
    assert (len(ids(listing)), len(listing.rejected)) == (4, 1)


SIZED = [name for name in ALL if "bytes" in PROVIDERS[name.split()[0]].reading.fields]


@pytest.mark.parametrize("desk", SIZED, indirect=True)
@pytest.mark.parametrize("size", ["many", True, 1.5, -1, 10**15 + 1, "-5", [5]])
def test_a_size_that_is_none_spoils_only_its_record(desk: Desk, size: Any) -> None:
    name = desk.field("bytes")
    value = {"dataset_parts": [{name: 1}, {name: size}]} if desk.kind == "cohere" else {name: size}
    listing = desk.having(5).fetched(one_record(**value))
    (bad,) = listing.rejected
    assert (said(listing), len(ids(listing))) == (COMPLETE, 4)
    assert bad.reason.startswith("bytes is ")
    assert bad.file_id in desk.ids()


TIMES: dict[Any, datetime | None] = {
    "2025-11-22T08:26:40Z": datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC),
    "2025-11-22T08:26:40.5Z": datetime(2025, 11, 22, 8, 26, 40, 500_000, tzinfo=UTC),
    "2025-11-22T08:26:40.123456Z": datetime(2025, 11, 22, 8, 26, 40, 123_456, tzinfo=UTC),
    "2025-11-22T08:26:40.123456789Z": datetime(2025, 11, 22, 8, 26, 40, 123_456, tzinfo=UTC),
    "2025-11-22T09:26:40+01:00": datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC),
    "2025-11-22T08:26:40": datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC),
    "2025-11-22T08:26:40z": datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC),
    1_763_800_000: datetime(2025, 11, 22, 8, 26, 40, tzinfo=UTC),
    1_763_800_000_500: datetime(2025, 11, 22, 8, 26, 40, 500_000, tzinfo=UTC),
    "0001-01-01T00:00:00Z": None,
    "": None,
    0: None,
    "1970-01-01T00:00:00Z": None,
}


@every
@pytest.mark.parametrize("written", TIMES)
def test_a_time_may_be_written_in_many_ways(desk: Desk, written: Any) -> None:
    listing = desk.having(1).fetched(bare(desk, **{desk.field("created_at"): written}))
    assert listing.rejected == ()
    assert listing.files["created_at"].to_pylist() == [TIMES[written]]


@every
@pytest.mark.parametrize("written", ["soon", "2025-13-01T00:00:00Z", "2025-11-22T25:00:00Z", -5, True, {"seconds": 1}])
def test_a_time_that_is_none_spoils_only_its_record(desk: Desk, written: Any) -> None:
    listing = desk.having(5).fetched(one_record(**{desk.field("created_at"): written}))
    (bad,) = listing.rejected
    assert (said(listing), len(ids(listing))) == (COMPLETE, 4)
    assert bad.reason.startswith("created_at is ")


@every
@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("nul\x00inside", "nul\x00inside"),
        ("a\n\tb \u202egnp.exe", "a\n\tb \u202egnp.exe"),
        ("", None),
        ("x" * 10_000_000, "x" * 10_000_000),
    ],
    ids=["nul", "controls", "empty", "10 MB"],
)
def test_a_name_may_be_odd(desk: Desk, name: str, kept: str | None) -> None:
    listing = desk.having(1).fetched(bare(desk, **{desk.field("filename"): name}))
    assert listing.files["filename"].to_pylist() == [kept]


@every
def test_a_lone_surrogate_in_a_name_becomes_a_replacement_character(desk: Desk) -> None:
    fault = bare(desk, **{desk.field("filename"): "@@"})
    listing = desk.having(1).fetched(
        lambda request, reply: replace(
            fault(request, reply), body=fault(request, reply).body.replace(b"@@", rb"\ud800x")
        )
    )
    assert listing.files["filename"].to_pylist() == ["\ufffdx"]


# Whole runs


def test_runs_over_every_type_log_what_changed_and_nothing_else(polyglot: Simulator, lab: Lab) -> None:
    polyglot.reset()
    desks = [Desk(polyglot, name) for name in ALL]
    account = desks[0].account
    polyglot.accounts.update((desk.token, account) for desk in desks)
    names = [name.replace(" ", "-") for name in ALL]
    config = lab.config(*(desk.settings | {"name": name} for desk, name in zip(desks, names, strict=True)))
    runs = [lab.sync(config), lab.sync(config)]
    (added,), (gone,) = account.add(), account.delete()
    runs.append(lab.sync(config))
    expected = [(25, 0, 0, 0, 0), (0, 0, 0, 0, 25), (0, 1, 0, 1, 24)]
    for run, counts in zip(runs, expected, strict=True):
        for listing in run.listings:
            assert said_of(listing) == (str(Verdict.COMPLETE), *counts), listing.credential
    assert added not in account.gone
    log = {(row["credential"], row["change"], row["file_id"]) for row in lab.published().log()}
    ids_of = {name: (desk.id_of(added), desk.id_of(gone)) for name, desk in zip(names, desks, strict=True)}
    assert log == {(name, "created", come) for name, (come, _) in ids_of.items()} | {
        (name, "deleted", went) for name, (_, went) in ids_of.items()
    }


def said_of(outcome: Outcome) -> tuple[str, int, int, int, int, int]:
    counts = outcome.baseline, outcome.created, outcome.updated, outcome.deleted, outcome.unchanged
    return str(outcome.status), *counts


# One small page


@every
def test_a_check_asks_for_one_small_page(desk: Desk) -> None:
    assert desk.probed() == Probe("acme", None)
    (request,) = desk.simulator.requests
    assert request.params.get(request.dialect.limit, "1") == "1"


@every
def test_a_check_says_what_is_wrong(desk: Desk) -> None:
    assert "answered 401" in str(desk.probed(FAULTS["unauthorized"]).error)
    desk.simulator.reset()
    assert "the answer is not a page of a file list" in str(desk.probed(instead(Reply.json({"x": 1}))).error)


@every
def test_the_simulator_and_the_adapter_agree_on_where_records_are(desk: Desk) -> None:
    desk.fetched()
    assert desk.simulator.requests[0].dialect.records == desk.provider.reading.records
