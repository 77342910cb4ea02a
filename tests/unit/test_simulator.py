"""The simulator keeps the contract of `GET /files`, and breaks it in exactly the way a fault is named for."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from etl.simulator import FAULTS, Account, Reply, Request, Simulator
from etl.simulator.account import KINDS
from etl.simulator.dialects import DIALECTS
from etl.simulator.faults import at_first, huge_body, instead, rate_limited, slow

TOKEN = "sk-canary-0123456789"
NOW = 1_780_000_000
PURPOSES = {kind[0] for kind in KINDS}
Pages = list[dict[str, Any]]


@pytest.fixture
def account() -> Account:
    return Account(300, seed=7, now=NOW)


@pytest.fixture
def provider(account: Account) -> Iterator[Simulator]:
    with Simulator({TOKEN: account}, page_limit=100) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=5, trust_env=False) as client:
        yield client


def get(client: httpx.Client, simulator: Simulator, path: str = "/files", **params: Any) -> httpx.Response:
    return client.get(simulator.url + path, params=params, headers={"authorization": f"Bearer {TOKEN}"})


def read(client: httpx.Client, simulator: Simulator, most: int = 6, **params: Any) -> Pages:
    """Follow `last_id` for a bounded number of pages."""
    pages: Pages = []
    while len(pages) < most:
        pages.append(get(client, simulator, **params).json())
        if not pages[-1]["has_more"]:
            break
        params["after"] = pages[-1]["last_id"]
    return pages


def ids(*pages: dict[str, Any]) -> list[str]:
    return [record["id"] for page in pages for record in page["data"]]


# The account


def test_the_same_seed_gives_the_same_files() -> None:
    def history(seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
        account = Account(200, seed=seed, now=NOW)
        (
            account.add(3),
            account.change(5),
            account.delete(4),
            account.age(2),
            account.expire(),
            account.restore(2),
        )
        return account.files, account.gone

    assert history(1) == history(1)
    assert history(1) != history(2)


def test_files_look_like_those_of_a_real_account() -> None:
    files = list(Account(5000, now=NOW).files.values())
    assert {record["purpose"] for record in files} == PURPOSES
    assert {record["status"] for record in files} == {"processed", "uploaded", "error"}
    assert all(0 < record["bytes"] <= 512 * 1024**2 for record in files)
    assert min(record["bytes"] for record in files) < 100
    assert max(record["bytes"] for record in files) > 300 * 1024**2
    assert all(NOW - 541 * 86_400 < record["created_at"] <= NOW for record in files)
    assert all(
        NOW < record["expires_at"] == record["created_at"] + 30 * 86_400 for record in files if "expires_at" in record
    )
    assert sum("expires_at" in record for record in files) > 100
    assert len({record["id"] for record in files}) == 5000
    assert all(len(record["id"]) == 29 and record["id"][5:].isalnum() for record in files)


def test_files_are_kept_oldest_first(account: Account) -> None:
    account.add(5)
    account.delete(50)
    account.restore(25)
    times = [record["created_at"] for record in account.files.values()]
    assert times == sorted(times)
    assert len(times) == 280


def test_the_prefix_begins_each_id() -> None:
    assert all(key.startswith("assistant-") for key in Account(3, prefix="assistant-").files)


def test_added_files_are_new_and_last(account: Account) -> None:
    before = list(account.files)
    account.now += 60
    added = account.add(2)
    assert list(account.files) == before + added
    assert [account.files[key]["created_at"] for key in added] == [NOW + 60, NOW + 60]


def test_a_change_never_leads_back_to_an_earlier_state() -> None:
    account = Account(3, now=NOW)
    seen = [json.dumps(record) for record in account.files.values()]
    for _ in range(10):
        assert sorted(account.change(3)) == sorted(account.files)
        seen += [json.dumps(record) for record in account.files.values()]
    assert len(set(seen)) == len(seen)


def test_a_change_keeps_everything_but_the_status(account: Account) -> None:
    before = dict(account.files)
    (key,) = account.change()
    assert [name for name in before if before[name] != account.files[name]] == [key]
    assert before[key].keys() == account.files[key].keys()
    assert {name for name, value in before[key].items() if value != account.files[key][name]} <= {
        "status",
        "status_details",
    }


def test_deleted_files_come_back_unchanged_the_last_one_first(account: Account) -> None:
    before = dict(account.files)
    first, last = account.delete(), account.delete()
    assert account.files.keys() == before.keys() - {*first, *last}
    assert list(account.gone) == first + last
    assert account.restore() == last
    assert account.restore() == first
    assert list(account.files.items()) == list(before.items())
    assert account.gone == {}


def test_removes_the_named_files(account: Account) -> None:
    keys = list(account.files)[5:8]
    account.remove(*keys)
    assert list(account.gone) == keys
    assert not account.files.keys() & set(keys)


def test_aged_files_are_listed_as_expired_before_they_expire(account: Account) -> None:
    aged = account.age(3)
    assert [account.files[key]["expires_at"] for key in aged] == [NOW] * 3
    assert sorted(account.expire(3)) == sorted(aged)
    assert list(account.gone) == [key for key in account.gone if key in aged]


def test_files_expire_when_the_clock_says_so(account: Account) -> None:
    (key,) = account.age(seconds=10)
    assert account.expire() == []
    with pytest.raises(ValueError, match="age some first"):
        account.expire(1)
    account.now += 10
    assert account.expire() == [key]


def test_files_without_expiry_can_be_aged_too() -> None:
    account = Account(2, now=NOW)
    assert len(account.age(2)) == 2
    assert len(account.expire(2)) == 2


@pytest.mark.parametrize("method", ["change", "delete", "restore", "age", "expire"])
def test_refuses_to_touch_more_files_than_there_are(method: str) -> None:
    account = Account(2)
    with pytest.raises(ValueError, match=r".+"):
        getattr(account, method)(3)
    assert len(account.files) == 2


# The contract


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_hold_every_file_once_in_order(
    provider: Simulator, client: httpx.Client, account: Account, order: str
) -> None:
    pages = read(client, provider, order=order)
    wanted = list(account.files)[:: 1 if order == "asc" else -1]
    assert ids(*pages) == wanted
    assert [page["has_more"] for page in pages] == [True, True, False]
    for page in pages:
        assert list(page) == ["object", "data", "first_id", "last_id", "has_more"]
        assert (page["first_id"], page["last_id"]) == (ids(page)[0], ids(page)[-1])


def test_records_arrive_as_the_account_holds_them(provider: Simulator, client: httpx.Client, account: Account) -> None:
    assert {record["id"]: record for page in read(client, provider) for record in page["data"]} == account.files


def test_the_newest_files_come_first_by_default(provider: Simulator, client: httpx.Client, account: Account) -> None:
    assert ids(get(client, provider, limit=2).json()) == list(account.files)[:-3:-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_purpose_filters_before_paging(
    provider: Simulator, client: httpx.Client, account: Account, order: str
) -> None:
    wanted = {key for key, record in account.files.items() if record["purpose"] == "batch"}
    pages = read(client, provider, most=20, order=order, purpose="batch", limit=10)
    assert set(ids(*pages)) == wanted
    assert len(ids(*pages)) == len(wanted) > 20


def test_an_empty_list_has_no_ids(provider: Simulator, client: httpx.Client) -> None:
    page = get(client, provider, purpose="unheard-of").json()
    assert page == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def test_a_last_page_that_is_full_is_the_last(provider: Simulator, client: httpx.Client) -> None:
    assert [len(page["data"]) for page in read(client, provider, limit=150)] == [100, 100, 100]
    assert [page["has_more"] for page in read(client, provider, limit=60)] == [True, True, True, True, False]


def test_pages_follow_the_account(provider: Simulator, client: httpx.Client, account: Account) -> None:
    after = get(client, provider, limit=1, order="asc").json()["last_id"]
    account.remove(after)
    answer = get(client, provider, after=after)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"No such File object: {after}"
    account.restore()
    assert len(get(client, provider, after=after, order="asc").json()["data"]) == 100


@pytest.mark.parametrize(
    "params", [{"limit": "0"}, {"limit": "-1"}, {"limit": "many"}, {"limit": "10001"}, {"order": "up"}]
)
def test_refuses_odd_parameters(client: httpx.Client, account: Account, params: dict[str, str]) -> None:
    with Simulator({TOKEN: account}, strict_limit=10_000) as simulator:
        answer = get(client, simulator, **params)
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert answer.json()["error"]["param"] == next(iter(params))
        assert get(client, simulator, limit=10_000).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"), [("/files", 200), ("/files/", 404), ("/models", 404), ("/openai/v1/files", 200)]
)
def test_serves_the_file_list_below_any_prefix(
    provider: Simulator, client: httpx.Client, path: str, status: int
) -> None:
    assert get(client, provider, path).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PURGE"])
def test_records_and_refuses_all_but_get(provider: Simulator, client: httpx.Client, method: str) -> None:
    before = dict(provider.accounts[TOKEN].files)
    body = b"x" * 1000 if method in {"POST", "PUT"} else b""
    answer = client.request(method, f"{provider.url}/files", content=body)
    assert answer.status_code == 405
    assert get(client, provider).status_code == 200
    assert [request.method for request in provider.requests] == [method, "GET"]
    assert provider.accounts[TOKEN].files == before


# Who asks


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"x-portkey-virtual-key": "one", "authorization": "Bearer two"},
        {"x-portkey-config": "one"},
        {"x-portkey-config": '{"virtual_key": "one"}', "authorization": "Bearer two"},
        {"x-portkey-config": '{"provider": "openai", "api_key": "one"}'},
        {"x-portkey-config": '{"retry": {"attempts": 1}}', "authorization": "Bearer one"},
        {"x-portkey-provider": "@one", "authorization": "Bearer two"},
        {"x-portkey-provider": "openai", "authorization": "Bearer one"},
    ],
)
def test_finds_the_account_by_its_token(simulator: Simulator, client: httpx.Client, headers: dict[str, str]) -> None:
    simulator.accounts |= {"one": Account(1, seed=1), "two": Account(2, seed=2)}
    assert ids(client.get(f"{simulator.url}/files", headers=headers).json()) == list(simulator.accounts["one"].files)
    assert simulator.requests[0].account == "one"


def test_a_slug_may_be_written_with_its_sign(simulator: Simulator, client: httpx.Client) -> None:
    simulator.accounts["@team"] = Account(1)
    answer = client.get(f"{simulator.url}/files", headers={"x-portkey-provider": "@team"})
    assert answer.status_code == 200
    assert simulator.requests[0].account == "@team"


@pytest.mark.parametrize("token", ["sk-unknown-9876", ""])
def test_echoes_an_unknown_key(provider: Simulator, client: httpx.Client, token: str) -> None:
    answer = client.get(f"{provider.url}/files", headers={"authorization": f"Bearer {token}x"})
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert f"provided: {token}x." in answer.json()["error"]["message"]
    assert client.get(f"{provider.url}/files").status_code == 401
    assert [request.account for request in provider.requests] == [None, None]


def test_names_the_provider_to_portkey_clients_only(provider: Simulator, client: httpx.Client) -> None:
    named = {"x-portkey-provider": "groq", "authorization": f"Bearer {TOKEN}"}
    in_config = {"x-portkey-config": json.dumps({"provider": "mistral-ai", "api_key": TOKEN})}
    virtual = {"x-portkey-virtual-key": TOKEN}
    answers = [client.get(f"{provider.url}/files", headers=headers) for headers in (named, in_config, virtual)]
    assert [answer.headers["x-portkey-provider"] for answer in answers] == ["groq", "mistral-ai", "openai"]
    assert "x-portkey-provider" not in get(client, provider).headers


def test_portkey_wants_its_own_key_where_one_is_set(client: httpx.Client, account: Account) -> None:
    headers = {"x-portkey-virtual-key": TOKEN}
    with Simulator({TOKEN: account}, portkey_api_key="pk-1") as simulator:
        refused = client.get(f"{simulator.url}/files", headers=headers)
        assert (refused.status_code, refused.json()["status"]) == (401, "failure")
        assert client.get(f"{simulator.url}/files", headers=headers | {"x-portkey-api-key": "pk-1"}).status_code == 200
        assert get(client, simulator).status_code == 200


# The server


def test_numbers_list_requests_by_account_until_reset(provider: Simulator, client: httpx.Client) -> None:
    provider.accounts["other"] = Account()
    provider.faults[TOKEN] = FAULTS["short_list"]
    get(client, provider, limit=5), get(client, provider, limit=5), get(client, provider, "/models")
    client.get(f"{provider.url}/files", headers={"authorization": "Bearer other"})
    assert [request.number for request in provider.requests] == [1, 2, 0, 1]
    assert provider.requests[0].params == {"limit": "5"}
    assert provider.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    provider.reset()
    assert (provider.requests, provider.faults) == ([], {})
    get(client, provider)
    assert provider.requests[0].number == 1
    assert set(provider.accounts) == {TOKEN, "other"}


def test_keeps_the_connection_open(provider: Simulator, client: httpx.Client) -> None:
    started = time.monotonic()
    for _ in range(20):
        get(client, provider, limit=1)
    assert len(provider._server.connections) == 1
    assert time.monotonic() - started < 0.5  # Nagle and delayed ACK would cost 40 ms each


def test_serves_clients_side_by_side(client: httpx.Client, account: Account) -> None:
    with Simulator({TOKEN: account}, latency=0.2) as simulator:
        started = time.monotonic()
        threads = [threading.Thread(target=get, args=(client, simulator)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert 0.2 <= time.monotonic() - started < 1.2
        assert sorted(request.number for request in simulator.requests) == list(range(1, 9))


def test_a_client_that_leaves_makes_no_noise(provider: Simulator, capfd: pytest.CaptureFixture[str]) -> None:
    provider.faults[TOKEN] = huge_body(20_000_000)
    url, headers = f"{provider.url}/files", {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client() as client, client.stream("GET", url, headers=headers) as answer:
        assert answer.status_code == 200
    provider.__exit__()
    provider.__enter__()
    assert capfd.readouterr() == ("", "")


def test_a_broken_fault_is_reported(
    provider: Simulator, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    provider.faults[TOKEN] = lambda request, _reply: Reply(status=request.number // 0)
    with pytest.raises(httpx.RemoteProtocolError):
        get(client, provider)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_runs_as_a_program_of_its_own() -> None:
    command = [sys.executable, "-m", "etl.simulator", "--files", "5", "--seed", "2", "--page-limit", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        page = httpx.get(f"{url}/files", headers={"authorization": "Bearer sk-simulated"}).json()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert (len(page["data"]), page["has_more"]) == (3, True)
    assert set(ids(page)) <= Account(5, seed=2).files.keys()


# Faults


def broken(provider: Simulator, client: httpx.Client, fault: str, **params: Any) -> httpx.Response:
    provider.faults[TOKEN] = FAULTS[fault]
    return get(client, provider, **params)


def test_a_fault_breaks_one_account_only(provider: Simulator, client: httpx.Client) -> None:
    provider.accounts["healthy"] = Account(1)
    assert broken(provider, client, "forbidden").status_code == 403
    assert client.get(f"{provider.url}/files", headers={"authorization": "Bearer healthy"}).status_code == 200
    del provider.faults[TOKEN]
    assert get(client, provider).status_code == 200


@pytest.mark.parametrize(("fault", "status"), [("page2_500", 500), ("page2_404", 404)])
def test_page_2_fails_for_ever(provider: Simulator, client: httpx.Client, fault: str, status: int) -> None:
    first = broken(provider, client, fault)
    assert first.status_code == 200
    assert [get(client, provider, after=first.json()["last_id"]).status_code for _ in range(3)] == [status] * 3


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("unauthorized", 401, "invalid_api_key"),
        ("forbidden", 403, "missing_scope"),
        ("not_found", 404, None),
        ("always_429", 429, "rate_limit_exceeded"),
        ("quota", 429, "insufficient_quota"),
    ],
)
def test_errors_are_in_the_words_of_openai(
    provider: Simulator, client: httpx.Client, fault: str, status: int, code: str | None
) -> None:
    answers = [broken(provider, client, fault) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status] * 3
    error = answers[0].json()["error"]
    assert (list(error), error["code"]) == (["message", "type", "param", "code"], code)
    assert "retry-after" not in answers[0].headers
    assert (TOKEN in error["message"]) is (fault == "unauthorized")


def test_ignore_after_gives_the_first_page_for_ever(provider: Simulator, client: httpx.Client) -> None:
    provider.faults[TOKEN] = FAULTS["ignore_after"]
    first, second, third = read(client, provider, most=3)
    assert first == second == third


def test_endless_brings_new_cursors_but_no_new_rows(provider: Simulator, client: httpx.Client) -> None:
    provider.faults[TOKEN] = FAULTS["endless"]
    pages = read(client, provider, most=6)
    assert all(page["has_more"] and page["last_id"] == ids(page)[-1] for page in pages)
    assert len({page["last_id"] for page in pages}) == 6
    assert len(set(ids(*pages))) == 100


def test_cycle_leads_back_to_the_first_page(provider: Simulator, client: httpx.Client) -> None:
    provider.faults[TOKEN] = FAULTS["cycle"]
    pages = read(client, provider, most=5)
    assert pages[0] == pages[2] == pages[4]
    assert pages[1] == pages[3]
    assert not set(ids(pages[0])) & set(ids(pages[1]))


def test_duplicate_rows_begin_page_2(provider: Simulator, client: httpx.Client, account: Account) -> None:
    provider.faults[TOKEN] = FAULTS["duplicate_rows"]
    first, second, third = read(client, provider)
    assert ids(second)[:10] == ids(first)[-10:]
    assert ids(first) + ids(second)[10:] + ids(third) == list(account.files)[::-1]


def test_null_last_id_claims_more_without_a_cursor(provider: Simulator, client: httpx.Client) -> None:
    page = broken(provider, client, "null_last_id").json()
    assert (len(page["data"]), page["has_more"], page["last_id"]) == (100, True, None)


def test_short_list_shows_the_first_page_of_what_is_asked_for(provider: Simulator, client: httpx.Client) -> None:
    asked = {"purpose": "assistants", "order": "asc"}
    whole = get(client, provider, **asked).json()["data"]
    short = broken(provider, client, "short_list", **asked).json()
    assert short["data"] == whole
    assert short["has_more"] is False


def test_short_list_claims_to_end_after_page_1(provider: Simulator, client: httpx.Client) -> None:
    page = broken(provider, client, "short_list").json()
    assert (len(page["data"]), page["has_more"]) == (100, False)


def test_null_data_keeps_the_envelope(provider: Simulator, client: httpx.Client) -> None:
    page = broken(provider, client, "null_data").json()
    assert page["data"] is None
    assert len(page) == 5


EMPTY: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        ("no_cursor", EMPTY | {"has_more": True}),
        ("empty", EMPTY),
        ("no_data", {"object": "list"}),
        ("null_body", None),
    ],
)
def test_some_answers_hold_no_rows(provider: Simulator, client: httpx.Client, fault: str, body: Any) -> None:
    answer = broken(provider, client, fault)
    assert answer.status_code == 200
    assert answer.json() == body


def test_error_200_is_an_error_in_disguise(provider: Simulator, client: httpx.Client) -> None:
    answer = broken(provider, client, "error_200")
    assert (answer.status_code, list(answer.json())) == (200, ["error"])


@pytest.mark.parametrize(("fault", "field", "value"), [("null_id", "id", None), ("word_bytes", "bytes", "many")])
def test_one_record_is_bad(provider: Simulator, client: httpx.Client, fault: str, field: str, value: Any) -> None:
    healthy = read(client, provider)
    provider.faults[TOKEN] = FAULTS[fault]
    pairs = zip(
        (record for page in healthy for record in page["data"]),
        (record for page in read(client, provider) for record in page["data"]),
        strict=True,
    )
    ((before, after),) = [pair for pair in pairs if pair[0] != pair[1]]
    assert after == before | {field: value}


def test_new_field_is_in_every_record(provider: Simulator, client: httpx.Client, account: Account) -> None:
    provider.faults[TOKEN] = FAULTS["new_field"]
    records = [record for page in read(client, provider) for record in page["data"]]
    assert records == [record | {"region": "eu"} for record in reversed(account.files.values())]


def test_drop_field_leaves_the_rest(provider: Simulator, client: httpx.Client, account: Account) -> None:
    provider.faults[TOKEN] = FAULTS["drop_field"]
    records = [record for page in read(client, provider) for record in page["data"]]
    assert [record | {"status": account.files[record["id"]]["status"]} for record in records] == list(
        reversed(account.files.values())
    )
    assert not any("status" in record for record in records)


def test_rate_limited_hits_the_first_request_of_each_page(provider: Simulator, client: httpx.Client) -> None:
    page = get(client, provider).json()
    provider.faults[TOKEN] = FAULTS["rate_limited"]
    for params in ({}, {"after": page["last_id"]}):
        answers = [get(client, provider, **params) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429, 200, 200]
        assert answers[0].headers["retry-after"] == "2"


def test_rate_limits_as_often_and_as_long_as_told(provider: Simulator, client: httpx.Client) -> None:
    provider.faults[TOKEN] = rate_limited("Wed, 21 Oct 2026 07:28:00 GMT", times=2)
    answers = [get(client, provider) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"].startswith("Wed")


def test_a_page_can_fail_a_few_times(provider: Simulator, client: httpx.Client) -> None:
    provider.faults[TOKEN] = at_first(instead(Reply.error(503, "Overloaded")), times=2)
    assert [get(client, provider).status_code for _ in range(3)] == [503, 503, 200]


def test_a_fault_may_alter_the_account_between_two_pages(
    provider: Simulator, client: httpx.Client, account: Account
) -> None:
    def upload(_request: Request, reply: Reply) -> Reply:
        account.add(5)
        return reply

    provider.faults[TOKEN] = upload
    assert Counter(len(page["data"]) for page in read(client, provider)) == Counter({100: 3})
    assert len(account.files) == 315


@pytest.mark.parametrize("fault", ["html_200", "not_json", "truncated"])
def test_some_answers_are_no_json(provider: Simulator, client: httpx.Client, fault: str) -> None:
    answer = broken(provider, client, fault)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html" if fault == "html_200" else "application/json")
    with pytest.raises(json.JSONDecodeError):
        answer.json()


def test_html_message_is_how_the_gateway_wraps_a_page(provider: Simulator, client: httpx.Client) -> None:
    assert broken(provider, client, "html_message").json()["html-message"].startswith("<!DOCTYPE html>")


def test_cut_closes_the_connection_in_the_body(provider: Simulator, client: httpx.Client) -> None:
    with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
        broken(provider, client, "cut")


def test_stall_sends_headers_and_ends_with_the_server(client: httpx.Client, account: Account) -> None:
    with Simulator({TOKEN: account}) as simulator:
        simulator.faults[TOKEN] = FAULTS["stall"]
        url, headers = f"{simulator.url}/files", {"authorization": f"Bearer {TOKEN}"}
        with client.stream("GET", url, headers=headers, timeout=0.2) as answer:
            assert int(answer.headers["content-length"]) > 1000
            with pytest.raises(httpx.ReadTimeout):
                answer.read()
        started = time.monotonic()
    assert time.monotonic() - started < 1


def test_slow_answers_late(provider: Simulator, client: httpx.Client) -> None:
    provider.faults[TOKEN] = slow(0.2)
    started = time.monotonic()
    assert get(client, provider).status_code == 200
    assert time.monotonic() - started >= 0.2


def test_a_slow_answer_ends_with_the_server(account: Account) -> None:
    with Simulator({TOKEN: account}, latency=60) as simulator:
        with pytest.raises(httpx.ReadTimeout), httpx.Client(timeout=0.1) as client:
            get(client, simulator)
        started = time.monotonic()
    assert time.monotonic() - started < 1


def test_redirect_elsewhere_shows_whether_it_was_followed(provider: Simulator, client: httpx.Client) -> None:
    answer = broken(provider, client, "redirect_elsewhere", limit=3)
    assert answer.status_code == 302
    assert answer.headers["location"] == provider.url.replace("127.0.0.1", "localhost") + "/files?limit=3"
    followed = client.get(answer.headers["location"], headers={"authorization": f"Bearer {TOKEN}"})
    assert len(followed.json()["data"]) == 3
    assert [request.headers["host"].split(":")[0] for request in provider.requests] == [
        "127.0.0.1",
        "localhost",
    ]


def test_array_numbers_the_rows_as_the_gateway_does(provider: Simulator, client: httpx.Client) -> None:
    page = get(client, provider).json()
    assert broken(provider, client, "array").json() == {str(place): row for place, row in enumerate(page["data"])}
    assert broken(provider, client, "list_body").json() == page["data"]


def test_empty_body_is_a_204(provider: Simulator, client: httpx.Client) -> None:
    answer = broken(provider, client, "empty_body")
    assert (answer.status_code, answer.content) == (204, b"")
    assert get(client, provider).status_code == 204


def test_huge_body_is_valid_but_long(provider: Simulator, client: httpx.Client) -> None:
    page = get(client, provider)
    provider.faults[TOKEN] = huge_body(1_000_000)
    long = get(client, provider)
    assert long.json() == page.json()
    assert len(long.content) == len(page.content) + 1_000_000


def test_faults_leave_refusals_alone(provider: Simulator, client: httpx.Client) -> None:
    for name in ("new_field", "null_data", "null_id", "array"):
        assert broken(provider, client, name, limit=0).status_code == 400


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_every_fault_copes_with_an_empty_account(simulator: Simulator, name: str) -> None:
    simulator.accounts[TOKEN] = Account()
    simulator.faults[TOKEN] = FAULTS[name]
    headers = {"authorization": f"Bearer {TOKEN}", "host": "127.0.0.1:1"}
    for target in ("/v1/files", "/v1/files?after=file-x"):
        assert isinstance(simulator.answer("GET", target, headers), Reply)


PATHS = {
    "azure-openai": "/openai/v1/files",
    "groq": "/openai/v1/files",
    "fireworks": "/v1/accounts/acme/datasets",
    "cohere": "/v1/datasets",
    "openrouter": "/api/v1/files",
}


@pytest.mark.parametrize("files", [0, 1, 30])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_fault_speaks_every_dialect(simulator: Simulator, dialect: str, files: int) -> None:
    simulator.accounts[TOKEN] = Account(files, seed=1)
    simulator.page_limit = 10
    headers = {name: TOKEN for spoken in DIALECTS.values() for name in spoken.keys}
    headers |= {"host": "127.0.0.1:1", "anthropic-version": "2023-06-01"}
    for fault in FAULTS.keys() - {"huge_body"}:
        simulator.reset()
        simulator.faults[TOKEN] = FAULTS[fault]
        reply = simulator.answer("GET", f"/{dialect}{PATHS.get(dialect, '/v1/files')}", headers)
        assert b"Traceback" not in reply.body
        assert reply.status in {200, 204, 302, 401, 403, 404, 429}


def test_an_account_of_the_oldest_files_is_one_of_its_own() -> None:
    account = Account(9, seed=1)
    part = account.oldest(4)
    assert list(part.files) == list(account.files)[:4]
    part.remove(*part.files)
    assert len(account.files) == 9


def test_a_fault_is_a_plain_function(provider: Simulator, client: httpx.Client) -> None:
    def teapot(request: Request, reply: Reply) -> Reply:
        return replace(reply, status=418 if request.number == 2 else 200)

    provider.faults[TOKEN] = teapot
    assert [get(client, provider).status_code for _ in range(3)] == [200, 418, 200]
