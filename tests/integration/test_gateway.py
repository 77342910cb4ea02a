"""Through the real Portkey gateway, and as hosted Portkey wants to be asked."""

from collections.abc import Callable
from typing import Any

import pytest

from etl.simulator import Account, Simulator

from .conftest import TOKEN, Lab, Row, behind, inline, record, stored

PORTKEY_KEY = "pk-of-the-organisation"
Route = Callable[..., Row]

every_route = pytest.mark.parametrize("route", [behind, inline])


@pytest.fixture
def account(simulator: Simulator) -> Account:
    """25 files, 10 a page."""
    simulator.page_limit = 10
    account = simulator.accounts[TOKEN] = Account(25, seed=3)
    return account


@every_route
def test_the_first_run_stores_the_account_as_it_is(
    lab: Lab, simulator: Simulator, account: Account, gateway: str, route: Route
) -> None:
    run = lab.sync(lab.config(route(gateway, simulator)))
    published = lab.published()
    (listing,) = published.listings
    seen = listing["finished_at"]
    assert published.files == stored(account.files.values(), seen, provider="openai")
    assert by_file(published.changes) == [
        {"run_id": run.run_id, "observed_at": seen, "credential": "acme", "change": "baseline"}
        | {"reason": None, "changed_fields": None}
        | record(file, "openai")
        for file in sorted(account.files.values(), key=lambda file: str(file["id"]))
    ]
    assert [row["change_id"] for row in published.changes] == list(range(1, 26))
    ids = list(account.files)
    assert listing == {
        "run_id": run.run_id,
        "credential": "acme",
        "status": "complete",
        "reason": None,
        "started_at": run.listings[0].started_at,
        "finished_at": run.listings[0].finished_at,
        "pages": 3,
        "requests": 3,
        "retries": 0,
        "bytes_received": run.listings[0].bytes_received,
        "records": 25,
        "baseline": 25,
        "created": 0,
        "updated": 0,
        "deleted": 0,
        "restored": 0,
        "unchanged": 0,
        "held": 0,
        "rejected": 0,
        "first_id": ids[0],
        "last_id": ids[-1],
        "scope": run.listings[0].scope,
        "error": None,
    }
    assert [request.params for request in simulator.requests] == [
        {"limit": "10000", "order": "asc"},
        {"limit": "10000", "order": "asc", "after": ids[9]},
        {"limit": "10000", "order": "asc", "after": ids[19]},
    ]


@every_route
def test_later_runs_log_every_change_and_only_those(
    lab: Lab, simulator: Simulator, account: Account, gateway: str, route: Route
) -> None:
    config = lab.config(route(gateway, simulator))
    first = lab.listing(config)
    before = dict(account.files)
    (added,), (changed,) = account.add(), account.change()
    gone = next(key for key in before if key != changed)
    account.remove(gone)
    second = lab.listing(config)
    assert lab.listing(config).unchanged == len(account.files)
    published = lab.published()
    entry: Row = {"run_id": second.run_id, "observed_at": second.finished_at, "credential": "acme"}
    fields = [name for name in ("status", "status_details") if before[changed][name] != account.files[changed][name]]
    assert by_file(published.log()) == by_file(
        [
            entry | record(account.files[added], "openai") | {"change": "created", "reason": None},
            entry | record(before[gone], "openai") | {"change": "deleted", "reason": "missing"},
            entry
            | record(account.files[changed], "openai")
            | {"change": "updated", "reason": None, "changed_fields": fields},
        ]
    )
    news: dict[str, Row] = {
        added: {"first_seen_at": second.finished_at, "changed_at": second.finished_at},
        changed: {"changed_at": second.finished_at},
    }
    rows = stored(account.files.values(), first.finished_at, provider="openai")
    assert published.files == [row | news.get(row["file_id"], {}) for row in rows]
    assert published.as_of_now == published.files


@every_route
def test_the_purpose_filter_reaches_the_provider(
    lab: Lab, simulator: Simulator, account: Account, gateway: str, route: Route
) -> None:
    listing = lab.listing(lab.config(route(gateway, simulator, purpose="batch")))
    batch = [file for file in account.files.values() if file["purpose"] == "batch"]
    assert 0 < len(batch) < len(account.files)
    assert lab.published().files == stored(batch, listing.finished_at, provider="openai")
    assert {request.params["purpose"] for request in simulator.requests} == {"batch"}


def test_the_provider_of_the_account_comes_from_the_configuration_or_else_from_the_answer(
    lab: Lab, simulator: Simulator, account: Account, gateway: str
) -> None:
    lab.sync(lab.config(behind(gateway, simulator, name="named"), inline(gateway, simulator, name="told")))
    published = lab.published()
    assert {row["name"]: row["provider"] for row in published.credentials} == {"named": "openai", "told": None}
    assert {(row["credential"], row["provider"]) for row in published.files} == {
        ("named", "openai"),
        ("told", "openai"),
    }
    assert len(lab.rows("from unique_files")) == len(account.files)


def test_two_purposes_of_one_account_never_touch_each_other(
    lab: Lab, simulator: Simulator, account: Account, gateway: str
) -> None:
    purposes = ("batch", "assistants")
    config = lab.config(*(behind(gateway, simulator, name=purpose, purpose=purpose) for purpose in purposes))
    lab.sync(config)
    gone = next(key for key, file in account.files.items() if file["purpose"] == "batch")
    account.remove(gone)
    lab.sync(config)
    published = lab.published()
    assert [(row["credential"], row["file_id"], row["change"]) for row in published.log()] == [
        ("batch", gone, "deleted")
    ]
    assert [(row["credential"], row["file_id"]) for row in published.files] == sorted(
        (str(file["purpose"]), key) for key, file in account.files.items() if file["purpose"] in purposes
    )


@pytest.mark.parametrize(
    ("provider", "message"),
    [
        ("bedrock", "this route has no file list: Model is required"),
        ("vertex-ai", "this route has no file list: listFiles is not supported by Google Vertex AI"),
    ],
)
def test_a_provider_without_a_file_list_is_unsupported_after_one_request(
    lab: Lab, gateway: str, provider: str, message: str
) -> None:
    credential = {"name": "acme", "type": "portkey", "base_url": gateway, "provider": provider}
    listing = lab.listing(lab.config(credential | {"authorization": TOKEN}))
    assert (listing.status, listing.reason, listing.requests, listing.retries, listing.error) == (
        "unsupported",
        "unsupported",
        1,
        0,
        message,
    )
    published = lab.published()
    assert published.files == published.changes == []
    assert [(row["status"], row["error"]) for row in published.listings] == [("unsupported", message)]


HOSTED = {
    "virtual key": (
        {"virtual_key": "the-virtual-key"},
        {"x-portkey-virtual-key": "the-virtual-key"},
        "the-virtual-key",
        "Either x-portkey-config or x-portkey-provider header is required",
    ),
    "slug": (
        {"provider": "@the-slug"},
        {"x-portkey-provider": "@the-slug"},
        "the-slug",
        "Invalid provider passed",
    ),
    "config id": (
        {"config": "pc-the-config"},
        {"x-portkey-config": "pc-the-config"},
        "pc-the-config",
        "You need to pass a valid json",
    ),
}
"""Settings, the headers they become, the account they name at the simulator, what the open-source gateway says."""

hosted = pytest.mark.parametrize(("settings", "headers", "token", "refusal"), HOSTED.values(), ids=HOSTED)


@hosted
@pytest.mark.usefixtures("account")
def test_a_hosted_route_is_named_in_headers_and_nowhere_else(
    lab: Lab, simulator: Simulator, settings: Row, headers: Row, token: str, refusal: str
) -> None:
    del refusal
    account = simulator.accounts[token] = Account(25, seed=9)
    simulator.portkey_api_key = PORTKEY_KEY
    listing = lab.listing(lab.config(hosted_by(simulator.url, settings)))
    assert lab.published().files == stored(account.files.values(), listing.finished_at, provider="openai")
    for request in simulator.requests:
        assert {
            name: value
            for name, value in request.headers.items()
            if name.startswith("x-portkey-") or name == "authorization"
        } == headers | {"x-portkey-api-key": PORTKEY_KEY}
        assert request.params.keys() <= {"limit", "order", "after"}


@hosted
def test_a_hosted_route_with_a_wrong_portkey_key_fails(
    lab: Lab, simulator: Simulator, settings: Row, headers: Row, token: str, refusal: str
) -> None:
    del headers, refusal
    simulator.accounts[token] = Account(25, seed=9)
    simulator.portkey_api_key = "another"
    listing = lab.listing(lab.config(hosted_by(simulator.url, settings)))
    assert (listing.status, listing.reason, listing.requests) == ("failed", "refused", 1)
    assert "Invalid API Key. Error Code: 03" in str(listing.error)


@hosted
def test_the_open_source_gateway_refuses_a_hosted_route_in_its_own_words(
    lab: Lab, gateway: str, settings: Row, headers: Row, token: str, refusal: str
) -> None:
    del headers, token
    listing = lab.listing(lab.config(hosted_by(gateway, settings)))
    assert (listing.status, listing.reason, listing.pages) == ("failed", "refused", 0)
    assert refusal in str(listing.error)
    assert listing.requests <= 3
    assert lab.published().files == []


def hosted_by(url: str, settings: Row) -> Row:
    return {"name": "acme", "type": "portkey", "base_url": url, "api_key": PORTKEY_KEY} | settings


def by_file(log: list[Row]) -> list[dict[str, Any]]:
    """Entries in the order of their files, without their numbers; what is not named is None."""
    blank = {"changed_fields": None}
    return sorted(
        (blank | {name: value for name, value in row.items() if name != "change_id"} for row in log),
        key=lambda row: str(row["file_id"]),
    )
