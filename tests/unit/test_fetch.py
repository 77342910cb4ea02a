"""What a listing is called, and what of it is kept, however its pages come."""

import json
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from etl.config import Config
from etl.errors import EndNotProven
from etl.extract.fetch import fetch
from etl.extract.http import Http
from etl.extract.spool import Spool
from etl.providers import PROVIDERS
from etl.providers.base import Credential, Get, Page
from etl.simulator import FAULTS, Account, Fault, Reply, Request, Simulator
from etl.simulator.faults import bent, body, fields, instead, one_record, page_of, rate_limited
from etl.transform.listing import Listing
from etl.transform.normalise import normalise
from etl.transform.record import SCHEMA, Rejected
from etl.transform.words import Verdict

TOKEN = "c4n4ry-0123456789-abcdef"
PAGE = 10
Fetch = Callable[..., Listing]
TLS = ssl.create_default_context()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take no time to wait, and read the certificates once."""
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: TLS)
    waits: list[float] = []
    pause = Http.pause

    def note(http: Http, seconds: float) -> None:
        pause(http, 0)
        waits.extend([seconds] if seconds else [])

    monkeypatch.setattr(Http, "pause", note)
    return waits


@pytest.fixture(autouse=True, params=["all ids", "some ids"])
def noticed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice all ids that were seen, as of small pages, or some, as of large ones: it makes no difference."""
    if request.param == "some ids":
        monkeypatch.setattr("etl.extract.fetch._LARGE", 1)


@pytest.fixture
def account() -> Account:
    return Account(25, seed=1, now=1_780_000_000)


@pytest.fixture
def provider(account: Account) -> Iterator[Simulator]:
    """A provider with 25 files on pages of 10."""
    with Simulator({TOKEN: account}, page_limit=PAGE) as simulator:
        yield simulator


@pytest.fixture
def fetched(provider: Simulator) -> Fetch:
    """Fetch the listing of the account under a fault."""

    def fetched(fault: Fault | None = None, **settings: Any) -> Listing:
        if fault:
            provider.faults[TOKEN] = fault
        config = configured(provider.url, **settings)
        with Http(config) as http:
            return fetch(config.credentials[0], http)

    return fetched


def configured(url: str, **settings: Any) -> Config:
    own = {"name": "acme", "type": "openai", "base_url": url, "api_key": TOKEN}
    http = {"requests_per_second": 1000, "attempts": 3, "read_timeout": "200ms"}
    return Config.model_validate({"credentials": [own | settings], "http": http})


def row(file: dict[str, Any], provider: str | None = None) -> dict[str, Any]:
    """Tell what a file of an account is as a record."""
    expires = file.get("expires_at")
    return {
        "file_id": file["id"],
        "provider": provider,
        "filename": file["filename"],
        "bytes": file["bytes"],
        "purpose": file["purpose"],
        "status": file["status"],
        "status_details": file["status_details"],
        "mime_type": None,
        "created_at": datetime.fromtimestamp(file["created_at"], UTC),
        "expires_at": expires and datetime.fromtimestamp(expires, UTC),
        "extra": None,
    }


def bare(listing: Listing) -> Listing:
    """Leave out what each test looks at by itself, and what differs from time to time."""
    assert listing.files.schema == SCHEMA
    listing.files.validate(full=True)
    assert listing.started_at <= listing.finished_at
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return replace(listing, files=SCHEMA.empty_table(), started_at=moment, finished_at=moment, bytes_received=0)


def verdict(listing: Listing) -> tuple[Verdict, str | None, int, int, int]:
    """Tell the verdict, its reason, and how many files, pages and requests there were."""
    assert bare(listing).rejected == listing.rejected
    return listing.status, listing.reason, listing.files.num_rows, listing.pages, listing.requests


def ids(listing: Listing) -> list[str]:
    return [str(file_id) for file_id in listing.files["file_id"].to_pylist()]


# Complete


def test_a_listing_whose_end_is_proven_is_complete(fetched: Fetch, account: Account, provider: Simulator) -> None:
    before = datetime.now(UTC)
    listing = fetched()
    assert listing.files.to_pylist() == [row(file) for file in account.files.values()]
    files = list(account.files)
    assert bare(listing) == Listing(
        credential="acme",
        status=Verdict.COMPLETE,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        finished_at=datetime(2026, 1, 1, tzinfo=UTC),
        files=SCHEMA.empty_table(),
        pages=3,
        requests=3,
        first_id=files[0],
        last_id=files[-1],
    )
    assert before <= listing.started_at <= listing.finished_at <= datetime.now(UTC)
    assert listing.bytes_received > 25 * 100
    assert [request.params for request in provider.requests] == [
        {"limit": "10000", "order": "asc"},
        {"limit": "10000", "order": "asc", "after": files[9]},
        {"limit": "10000", "order": "asc", "after": files[19]},
    ]


def test_an_account_without_files_is_complete(fetched: Fetch, account: Account) -> None:
    account.remove(*account.files)
    listing = fetched()
    assert verdict(listing) == (Verdict.COMPLETE, None, 0, 1, 1)
    assert (listing.first_id, listing.last_id, listing.error) == (None, None, None)


def test_a_full_last_page_may_be_followed_by_an_empty_one(fetched: Fetch, account: Account) -> None:
    account.delete(5)
    assert verdict(fetched()) == (Verdict.COMPLETE, None, 20, 2, 2)
    listing = fetched(bent(lambda page: page | {"has_more": len(page["data"]) == PAGE}))
    assert verdict(listing) == (Verdict.COMPLETE, None, 20, 3, 3)
    assert ids(listing) == list(account.files)


@pytest.mark.parametrize(("largest", "limits"), [(100, ["10000", "100"]), (0, ["10000", "100", None])])
def test_a_provider_with_small_limits_is_asked_for_less(
    fetched: Fetch, provider: Simulator, largest: int, limits: list[str | None]
) -> None:
    def strict(request: Request, reply: Reply) -> Reply:
        small = int(request.params.get("limit", 0)) <= largest
        return reply if small else Reply.error(400, "limit is too large", param="limit")

    listing = fetched(strict)
    assert (listing.status, listing.files.num_rows, listing.pages) == (Verdict.COMPLETE, 25, 3)
    assert [request.params.get("limit") for request in provider.requests] == limits + limits[-1:] * 2


def test_the_gateway_tells_who_holds_the_files(fetched: Fetch, account: Account) -> None:
    account.delete(20)
    listing = fetched(type="portkey", api_key=None, virtual_key=TOKEN)
    assert listing.files.to_pylist() == [row(file, "openai") for file in account.files.values()]


def test_a_healed_throttle_leaves_only_its_count(fetched: Fetch, waits: list[float]) -> None:
    listing = fetched(rate_limited("2"))
    assert (listing.status, listing.requests, listing.retries, listing.pages) == (Verdict.COMPLETE, 6, 3, 3)
    assert waits == [2.0, 2.0, 2.0]


def test_rows_that_come_twice_are_folded(fetched: Fetch, account: Account) -> None:
    listing = fetched(FAULTS["duplicate_rows"])
    assert listing.status is Verdict.COMPLETE
    assert sorted(ids(listing)) == sorted(account.files)


def test_of_a_row_that_comes_twice_the_last_is_kept(fetched: Fetch, account: Account) -> None:
    first, *others = account.files

    def twice(request: Request, reply: Reply) -> Reply:
        page = page_of(reply)
        data = [record | {"filename": f"page {request.number}"} for record in page["data"]]
        again = {**data[0], "id": first, "filename": f"again {request.number}"}
        return Reply.json(page | {"data": [*data[:-1], again, data[-1]] if request.number > 1 else data})

    listing = fetched(twice)
    assert (listing.status, sorted(ids(listing))) == (Verdict.COMPLETE, sorted([first, *others]))
    names = dict(zip(ids(listing), listing.files["filename"].to_pylist(), strict=True))
    assert (names[first], names[others[0]], names[others[-1]]) == ("again 3", "page 1", "page 3")


def test_rows_that_come_twice_on_one_page_are_folded(fetched: Fetch, account: Account) -> None:
    listing = fetched(bent(lambda page: page | {"data": page["data"] * 2}))
    assert listing.status is Verdict.COMPLETE
    assert sorted(ids(listing)) == sorted(account.files)


# One bad record


def test_a_record_that_cannot_be_read_is_set_aside_and_the_listing_is_complete(
    fetched: Fetch, account: Account
) -> None:
    listing = fetched(FAULTS["word_bytes"])
    bad = list(account.files.values())[5]
    assert verdict(listing) == (Verdict.COMPLETE, None, 24, 3, 3)
    assert [replace(rejected, record="") for rejected in listing.rejected] == [
        Rejected(1, 6, "bytes is not a whole number: 'many'", "", bad["id"])
    ]
    assert json.loads(listing.rejected[0].record) == bad | {"bytes": "many"}
    assert ids(listing) == [file_id for file_id in account.files if file_id != bad["id"]]


@pytest.mark.parametrize("file_id", [None, "", True, 1.5, {"id": "x"}])
def test_a_record_nobody_can_name_leaves_the_listing_incomplete(fetched: Fetch, account: Account, file_id: Any) -> None:
    listing = fetched(one_record(id=file_id))
    assert verdict(listing) == (Verdict.INCOMPLETE, "end_not_proven", 24, 3, 3)
    assert listing.error == "1 of its records have no readable id, so which files are missing is not known"
    assert [(bad.page, bad.position, bad.file_id) for bad in listing.rejected] == [(1, 6, None)]
    assert set(ids(listing)) < set(account.files)


def test_records_that_are_no_objects_leave_the_listing_incomplete(fetched: Fetch) -> None:
    listing = fetched(bent(lambda page: page | {"data": [*page["data"][:-1], "x", 5, *page["data"][-1:]]}))
    assert verdict(listing) == (Verdict.INCOMPLETE, "end_not_proven", 25, 3, 3)
    assert [bad.record for bad in listing.rejected] == ['"x"', "5"] * 3


def test_a_page_of_nothing_but_named_bad_records_is_progress(fetched: Fetch, account: Account) -> None:
    def bad_middle(request: Request, reply: Reply) -> Reply:
        page = page_of(reply)
        bad = [record | {"bytes": -1} for record in page["data"]]
        return Reply.json(page | {"data": bad}) if request.number == 2 else reply

    listing = fetched(bad_middle)
    assert verdict(listing) == (Verdict.COMPLETE, None, 15, 3, 3)
    assert [bad.file_id for bad in listing.rejected] == list(account.files)[10:20]


def test_stray_bytes_spoil_no_page(fetched: Fetch) -> None:
    content = b'{"data": [{"id": "a", "filename": "r\xfcck"}, {"id": "b", "filename": "\\ud800"}, {"id": "c\xff"}]}'
    listing = fetched(instead(Reply(200, content)))
    assert listing.files.select(["file_id", "filename"]).to_pylist() == [
        {"file_id": "a", "filename": "r\ufffdck"},
        {"file_id": "b", "filename": "\ufffd"},
    ]
    assert (listing.status, len(listing.rejected)) == (Verdict.INCOMPLETE, 1)
    assert listing.rejected[0].record.isascii()


def test_new_fields_are_kept_and_do_not_disturb(fetched: Fetch, account: Account) -> None:
    listing = fetched(FAULTS["new_field"])
    assert verdict(listing) == (Verdict.COMPLETE, None, 25, 3, 3)
    assert listing.files.to_pylist() == [row(file) | {"extra": '{"region":"eu"}'} for file in account.files.values()]


# Not complete


@pytest.mark.parametrize(
    ("fault", "reason", "requests"),
    [
        ("unauthorized", "refused", 1),
        ("forbidden", "refused", 1),
        ("not_found", "refused", 1),
        ("quota", "refused", 1),
        ("redirect_elsewhere", "refused", 1),
        ("always_429", "unreachable", 3),
        ("cut", "unreachable", 3),
        ("stall", "unreachable", 3),
        ("html_200", "wrong_shape", 1),
        ("html_message", "wrong_shape", 1),
        ("not_json", "wrong_shape", 1),
        ("truncated", "wrong_shape", 1),
        ("error_200", "wrong_shape", 1),
        ("no_data", "wrong_shape", 1),
        ("null_data", "wrong_shape", 1),
        ("array", "wrong_shape", 1),
        ("list_body", "wrong_shape", 1),
        ("null_body", "wrong_shape", 1),
        ("empty_body", "wrong_shape", 1),
    ],
)
def test_a_listing_without_a_single_page_has_failed(fetched: Fetch, fault: str, reason: str, requests: int) -> None:
    listing = fetched(FAULTS[fault])
    assert verdict(listing) == (Verdict.FAILED, reason, 0, 0, requests)
    assert listing.error
    assert TOKEN not in listing.error
    assert (listing.first_id, listing.last_id, listing.rejected) == (None, None, ())


@pytest.mark.parametrize(
    ("fault", "reason", "counts"),
    [
        ("page2_500", "unreachable", (10, 1, 4)),
        ("page2_404", "refused", (10, 1, 2)),
        ("ignore_after", "end_not_proven", (10, 2, 2)),
        ("endless", "end_not_proven", (10, 2, 2)),
        ("cycle", "end_not_proven", (20, 3, 3)),
        ("null_last_id", "end_not_proven", (25, 4, 4)),
        ("no_cursor", "end_not_proven", (0, 1, 1)),
    ],
)
def test_a_listing_whose_end_is_not_proven_is_incomplete_and_keeps_what_it_saw(
    fetched: Fetch, account: Account, fault: str, reason: str, counts: tuple[int, int, int]
) -> None:
    listing = fetched(FAULTS[fault])
    assert verdict(listing) == (Verdict.INCOMPLETE, reason, *counts)
    assert listing.error
    assert sorted(ids(listing)) == sorted(list(account.files)[: counts[0]])


@pytest.mark.parametrize("wrong", ["html_200", "error_200", "null_data", "array", "truncated", "unauthorized"])
def test_a_later_page_that_is_none_leaves_the_listing_incomplete(fetched: Fetch, wrong: str) -> None:
    listing = fetched(lambda request, reply: FAULTS[wrong](request, reply) if request.number == 3 else reply)
    assert (listing.status, listing.files.num_rows, listing.pages) == (Verdict.INCOMPLETE, 20, 2)
    assert TOKEN not in (listing.error or "")


def test_an_empty_page_that_promises_more_ends_the_listing(fetched: Fetch) -> None:
    empty = {"object": "list", "data": [], "has_more": True, "last_id": "file-x"}
    listing = fetched(body(empty))
    assert verdict(listing) == (Verdict.INCOMPLETE, "end_not_proven", 0, 1, 1)
    assert listing.error == "an empty page says that there is more"


def test_an_endless_list_of_new_cursors_ends_where_no_new_file_comes(fetched: Fetch) -> None:
    listing = fetched(lambda request, reply: fields(has_more=True, last_id=f"c{request.number}")(request, reply))
    assert (listing.status, listing.files.num_rows) == (Verdict.INCOMPLETE, 25)
    assert listing.requests <= 5


def test_a_cursor_that_vanishes_while_the_list_is_read_leaves_it_incomplete(fetched: Fetch, account: Account) -> None:
    def vanish(request: Request, reply: Reply) -> Reply:
        if request.number == 1:
            account.remove(list(account.files)[9])
        return reply

    listing = fetched(vanish)
    assert verdict(listing) == (Verdict.INCOMPLETE, "refused", 10, 1, 2)


def test_files_that_come_while_the_list_is_read_are_listed_too(fetched: Fetch, account: Account) -> None:
    def upload(request: Request, reply: Reply) -> Reply:
        if request.number == 1:
            account.add(3)
        return reply

    listing = fetched(upload)
    assert (listing.status, ids(listing)) == (Verdict.COMPLETE, list(account.files))


NO_LIST = instead(Reply.json({"status": "failure", "message": "Model is required"}, 500))


def test_a_route_without_a_file_list_is_unsupported(fetched: Fetch) -> None:
    listing = fetched(NO_LIST, type="portkey", api_key=None, virtual_key=TOKEN)
    assert verdict(listing) == (Verdict.UNSUPPORTED, "unsupported", 0, 0, 1)
    assert listing.error == "this route has no file list: Model is required"


def test_a_route_that_had_a_page_is_not_unsupported(fetched: Fetch) -> None:
    listing = fetched(
        lambda request, reply: NO_LIST(request, reply) if request.number == 2 else reply,
        type="portkey",
        api_key=None,
        virtual_key=TOKEN,
    )
    assert verdict(listing) == (Verdict.INCOMPLETE, "unsupported", 10, 1, 2)


# A filter


def test_a_filtered_listing_holds_only_its_purpose(fetched: Fetch, account: Account, provider: Simulator) -> None:
    listing = fetched(purpose="batch")
    batch = [file_id for file_id, file in account.files.items() if file["purpose"] == "batch"]
    assert (listing.status, ids(listing)) == (Verdict.COMPLETE, batch)
    assert {request.params["purpose"] for request in provider.requests} == {"batch"}
    assert 0 < len(batch) < 25


def test_a_filter_that_the_server_ignores_is_applied_here(fetched: Fetch, account: Account) -> None:
    def ignore(request: Request, _reply: Reply) -> Reply:
        return request.listing({name: value for name, value in request.params.items() if name != "purpose"})

    listing = fetched(ignore, purpose="batch")
    batch = [file_id for file_id, file in account.files.items() if file["purpose"] == "batch"]
    assert (listing.status, listing.pages, ids(listing)) == (Verdict.COMPLETE, 3, batch)


def test_a_file_whose_purpose_is_not_told_passes_the_filter(fetched: Fetch) -> None:
    records = [{"id": "a", "purpose": "batch"}, {"id": "b"}, {"id": "c", "purpose": None}, {"id": "d", "purpose": "x"}]
    assert ids(fetched(body({"data": records}), purpose="batch")) == ["a", "b", "c"]


# What was not foreseen


def broken(error: BaseException, after: int) -> Callable[[Get, Credential], Iterator[Page]]:
    """Page so far, then raise."""

    def pages(get: Get, credential: Credential) -> Iterator[Page]:
        for _, page in zip(range(after), PROVIDERS["portkey"].pages(get, credential), strict=False):
            yield page
        raise error

    return pages


@pytest.mark.parametrize(("after", "status"), [(0, Verdict.FAILED), (2, Verdict.INCOMPLETE)])
@pytest.mark.parametrize(
    "error", [KeyError("id"), ZeroDivisionError(), RuntimeError(f"with {TOKEN}"), RecursionError()]
)
def test_an_error_nobody_thought_of_becomes_the_verdict(
    fetched: Fetch, monkeypatch: pytest.MonkeyPatch, error: Exception, after: int, status: Verdict
) -> None:
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], pages=broken(error, after)))
    listing = fetched()
    assert (listing.status, listing.reason, listing.pages) == (status, "wrong_shape", after)
    assert (listing.error or "").startswith("the answer has a form that was not foreseen: " + type(error).__name__)
    assert TOKEN not in (listing.error or "")
    assert listing.files.num_rows == 10 * after


@pytest.mark.parametrize(("number", "kept"), [(1, 0), (2, 10), (3, 20)])
def test_an_error_nobody_thought_of_in_reading_a_page_becomes_the_verdict(
    fetched: Fetch, monkeypatch: pytest.MonkeyPatch, number: int, kept: int
) -> None:
    def read(*args: Any, page: int, **more: Any) -> Any:
        if page == number:
            raise ZeroDivisionError
        return normalise(*args, page=page, **more)

    monkeypatch.setattr("etl.extract.fetch.normalise", read)
    listing = fetched()
    assert (listing.status, listing.reason) == (Verdict.INCOMPLETE, "wrong_shape")
    assert listing.error == "the answer has a form that was not foreseen: ZeroDivisionError()"
    assert listing.files.num_rows >= kept


def test_a_listing_that_finds_no_room_is_incomplete(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Http, "spool", lambda _: Spool(Path("/nowhere/at/all"), 1))
    listing = fetched()
    assert (listing.status, listing.reason, listing.files.num_rows) == (Verdict.INCOMPLETE, "no_room", 0)


def test_a_provider_may_say_that_it_cannot_prove_the_end(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    unproven = broken(EndNotProven("this provider tells no end"), 3)
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], pages=unproven))
    listing = fetched()
    assert verdict(listing) == (Verdict.INCOMPLETE, "end_not_proven", 25, 3, 3)
    assert listing.error == "this provider tells no end"


def test_being_interrupted_is_no_verdict(fetched: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], pages=broken(KeyboardInterrupt(), 1)))
    with pytest.raises(KeyboardInterrupt):
        fetched()


@pytest.mark.parametrize(("page", "status"), [(1, Verdict.FAILED), (2, Verdict.INCOMPLETE)])
def test_a_listing_that_is_cancelled_says_so(provider: Simulator, page: int, status: Verdict) -> None:
    config = configured(provider.url)
    with Http(config) as http:

        def cancel(request: Request, reply: Reply) -> Reply:
            if request.number == page:
                http.cancel()
            return reply

        provider.faults[TOKEN] = cancel
        listing = fetch(config.credentials[0], http)
    assert (listing.status, listing.reason, listing.requests) == (status, "cancelled", page)


def test_a_key_that_was_echoed_is_not_in_the_error(fetched: Fetch, provider: Simulator) -> None:
    listing = fetched(FAULTS["unauthorized"])
    assert listing.error == (
        f"{provider.url}/files answered 401: Incorrect API key provided: [redacted]. You can find your API key at"
        " https://platform.openai.com/account/api-keys."
        " (the key is not accepted; check that it is current and belongs to this route)"
    )


@pytest.mark.parametrize("status", [200, 403])
def test_a_key_in_a_long_message_is_not_told_in_part(fetched: Fetch, status: int) -> None:
    for before in (270, 280, 290):
        listing = fetched(instead(Reply.error(status, "x" * before + TOKEN + "y" * 100_000)))
        assert listing.status is Verdict.FAILED
        assert TOKEN[:8] not in (listing.error or "")
        assert len(listing.error or "") <= 1000
