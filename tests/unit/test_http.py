"""How requests are sent, paced, retried and given up; and what an answer has to be."""

import gzip
import json
import logging
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from typing import Any, Protocol
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.config import Config
from etl.errors import Cancelled, EndNotProven, ListingError, Refused, Unreachable, Unsupported, WrongShape
from etl.extract.http import LONGEST_WAIT, SPENT, Getter, Http, decode, retry_after
from etl.simulator import FAULTS, Account, Reply, Request, Simulator
from etl.simulator.faults import huge_body, instead, rate_limited

TOKEN = "c4n4ry-0123456789-abcdef"
HOST = "http://files.test:8080"
EMPTY = {"object": "list", "data": [], "has_more": False}
Handler = Callable[[httpx.Request], httpx.Response]


def configured(*urls: str, shared: dict[str, Any] | None = None, **settings: Any) -> Config:
    """Make a configuration with one credential for each URL."""
    own = {"type": "openai", "api_key": TOKEN, "allow_http": True, "http": {"requests_per_second": 1000}} | settings
    credentials = [{"name": f"c{place}", "base_url": url} | own for place, url in enumerate(urls)]
    return Config.model_validate({"credentials": credentials, "http": shared or {}})


TLS = ssl.create_default_context()


@pytest.fixture(autouse=True)
def _one_tls_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read the certificates once, not for every client."""
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: TLS)


class Ask(Protocol):
    def __call__(self, url: str = HOST, **settings: Any) -> Getter: ...


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Make the `get` of one listing; settings are those of `http`."""
    with ExitStack() as stack:

        def ask(url: str = HOST, **settings: Any) -> Getter:
            config = configured(url, http={"requests_per_second": 1000} | settings)
            return Getter(stack.enter_context(Http(config)), config.credentials[0])

        yield ask


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Take no time to wait; note the seconds."""
    waits: list[float] = []
    monkeypatch.setattr(Http, "pause", lambda _http, seconds: waits.append(seconds) if seconds else None)
    return waits


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handler], list[httpx.Request]]:
    """Let a function answer in the place of the network; return the requests that come in."""

    def answer(handler: Handler) -> list[httpx.Request]:
        seen: list[httpx.Request] = []

        def handle(_transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
            seen.append(request)
            return handler(request)

        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", handle)
        return seen

    return answer


Answer = Callable[[Handler], list[httpx.Request]]


def script(*steps: httpx.Response | Exception) -> Handler:
    """Give these answers in order, the last one for ever."""
    left = list(steps)

    def handler(_request: httpx.Request) -> httpx.Response:
        step = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(step, Exception):
            raise step
        return httpx.Response(step.status_code, headers=step.headers, content=step.content)

    return handler


def ok(status: int = 200, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=EMPTY, headers=headers)


def error(status: int, message: str = "no", code: Any = None, kind: str = "x", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json={"error": {"message": message, "type": kind, "code": code}}, headers=named)


class Clock:
    """Time that passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(Http, "pause", lambda _http, seconds: clock.wait(seconds))
    return clock


@pytest.fixture
def account(simulator: Simulator) -> Account:
    account = simulator.accounts[TOKEN] = Account(25, seed=1)
    return account


# One request


def test_a_page_is_asked_for_with_the_credential_and_the_given_parameters(
    simulator: Simulator, account: Account, ask: Ask
) -> None:
    get = ask(simulator.url)
    body, headers = get("files", limit=3, order="asc", purpose=None, after=None)
    (request,) = simulator.requests
    assert (request.method, request.path, request.params) == ("GET", "/v1/files", {"limit": "3", "order": "asc"})
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/json"
    assert request.headers["user-agent"].startswith("file-inventory/")
    assert len(body["data"]) == 3
    assert headers["content-type"] == "application/json"
    assert (get.requests, get.retries) == (1, 0)
    assert get.bytes_received > 300
    assert len(account.files) == 25


def test_a_cursor_arrives_as_it_is(simulator: Simulator, account: Account, ask: Ask) -> None:
    cursor = "a b/&=?#%ü"
    account.files[cursor] = {"id": cursor, "purpose": "batch"}
    ask(simulator.url)("files", after=cursor)
    assert simulator.requests[0].params == {"after": cursor}


def test_own_headers_are_sent_and_win(simulator: Simulator) -> None:
    simulator.accounts["mine"] = Account(1)
    own = {"Authorization": "Bearer mine", "X-Team": "search"}
    config = configured(simulator.url, headers=own)
    with Http(config) as http:
        Getter(http, config.credentials[0])("files")
    (request,) = simulator.requests
    assert (request.headers["authorization"], request.headers["x-team"]) == ("Bearer mine", "search")


def test_cookies_are_not_kept(simulator: Simulator, account: Account, ask: Ask) -> None:
    simulator.faults[TOKEN] = lambda _request, reply: replace(reply, headers=reply.headers | {"set-cookie": "s=1"})
    get = ask(simulator.url)
    get("files")
    get("files", after=next(iter(account.files)))
    assert [request.headers.get("cookie") for request in simulator.requests] == [None, None]


def test_the_same_page_is_never_asked_for_twice(simulator: Simulator, account: Account, ask: Ask) -> None:
    get = ask(simulator.url)
    get("files", after=None)
    get("files", after=next(iter(account.files)))
    for params in ({}, {"after": next(iter(account.files))}):
        with pytest.raises(EndNotProven, match="a page that was already read"):
            get("files", **params)
    assert len(simulator.requests) == 2


def test_after_a_page_that_brought_nothing_there_is_no_next(answer: Answer, ask: Ask) -> None:
    seen = answer(script(ok()))
    get = ask()
    get.stalled = True
    with pytest.raises(EndNotProven, match="an empty page says that there is more"):
        get("files")
    assert seen == []


@pytest.mark.parametrize("status", [200, 203, 206, 246])
def test_every_success_is_an_answer(answer: Answer, ask: Ask, status: int) -> None:
    answer(script(ok(status)))
    assert ask()("files").body == EMPTY


# Only reads, only configured hosts


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "get"])
def test_nothing_but_get_can_be_sent(simulator: Simulator, ask: Ask, method: str) -> None:
    get = ask(simulator.url)
    client = get.http._client(get.credential.http)
    if method == "get":
        method = "PURGE"
    with pytest.raises(Refused, match=rf"^refused to send {method} to 127\.0\.0\.1: only configured hosts are read$"):
        client.request(method, f"{simulator.url}/files")
    assert simulator.requests == []


def test_only_configured_hosts_are_asked(simulator: Simulator, ask: Ask) -> None:
    get = ask(simulator.url)
    client = get.http._client(get.credential.http)
    with Simulator() as other:
        for url in (f"{other.url}/files", simulator.url.replace("127.0.0.1", "localhost"), "https://127.0.0.1/files"):
            with pytest.raises(Refused, match="only configured hosts are read"):
                client.get(url, headers={"authorization": TOKEN})
        assert (other.requests, simulator.requests) == ([], [])


def test_a_path_cannot_lead_to_another_host(answer: Answer, ask: Ask) -> None:
    seen = answer(script(ok()))
    get = ask()
    for path in ("//elsewhere.test/files", "@elsewhere.test/files", "http://elsewhere.test/files"):
        get(path)
    assert {str(request.url.copy_with(path="/")) for request in seen} == {f"{HOST}/"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_on_the_same_host_is_followed(simulator: Simulator, account: Account, ask: Ask, status: int) -> None:
    def moved(request: Request, reply: Reply) -> Reply:
        target = f"/v2/files?{urlencode(request.params)}"
        return Reply(status, headers={"location": target}) if request.path == "/v1/files" else reply

    simulator.faults[TOKEN] = moved
    get = ask(simulator.url)
    assert len(get("files", limit=3).body["data"]) == 3
    assert [(request.method, request.path, request.params) for request in simulator.requests] == [
        ("GET", "/v1/files", {"limit": "3"}),
        ("GET", "/v2/files", {"limit": "3"}),
    ]
    assert (get.requests, get.retries, len(account.files)) == (2, 0, 25)


@pytest.mark.usefixtures("account")
def test_no_key_goes_where_a_redirect_leads(simulator: Simulator, ask: Ask) -> None:
    simulator.faults[TOKEN] = FAULTS["redirect_elsewhere"]
    with pytest.raises(Refused) as caught:
        ask(simulator.url)("files")
    assert caught.value.status == 302
    assert str(caught.value) == (
        f"{simulator.url}/files redirects to {simulator.url.replace('127.0.0.1', 'localhost').removesuffix('/v1')},"
        " which is not followed: it could take the key; set base_url to the right host"
    )
    assert len(simulator.requests) == 1


@pytest.mark.parametrize(
    "target",
    [
        "http://elsewhere.test/files",
        "//elsewhere.test/files",
        "https://files.test:8080/v1/files",
        "http://files.test/v1/files",
        "http://files.test:8081/v1/files",
        "http://files.test:8080@elsewhere.test/files",
        "ftp://files.test:8080/files",
        "file:///etc/passwd",
    ],
)
def test_another_scheme_port_or_host_is_elsewhere(answer: Answer, ask: Ask, target: str) -> None:
    seen = answer(script(httpx.Response(302, headers={"location": target})))
    with pytest.raises(Refused, match="which is not followed"):
        ask()("files")
    assert len(seen) == 1


def test_redirects_in_circles_end(answer: Answer, ask: Ask) -> None:
    seen = answer(script(httpx.Response(302, headers={"location": "/files"})))
    with pytest.raises(Refused, match="redirects in circles; set base_url to where the file list is"):
        ask()("files")
    assert len(seen) <= 5


# Retries


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 520, 529])
def test_a_status_that_may_heal_is_asked_again(answer: Answer, ask: Ask, waits: list[float], status: int) -> None:
    seen = answer(script(error(status), ok()))
    get = ask()
    assert get("files").body == EMPTY
    assert (len(seen), get.requests, get.retries, len(waits)) == (2, 2, 1, 1)


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout("late"),
        httpx.ReadError("reset"),
        httpx.ReadTimeout("late"),
        httpx.WriteError("reset"),
        httpx.PoolTimeout("late"),
        httpx.RemoteProtocolError("cut"),
        httpx.ProxyError("down"),
    ],
)
def test_a_fault_of_the_transport_is_asked_again(
    answer: Answer, ask: Ask, waits: list[float], fault: Exception
) -> None:
    answer(script(fault, ok()))
    get = ask()
    assert get("files").body == EMPTY
    assert (get.requests, get.retries, len(waits)) == (2, 1, 1)


@pytest.mark.usefixtures("waits")
def test_a_server_that_is_not_there_is_named(ask: Ask) -> None:
    with Simulator() as gone:
        url = gone.url
    with pytest.raises(Unreachable, match=f"^{url}/files gave no answer: ConnectError: "):
        ask(url, attempts=2)("files")


@pytest.mark.usefixtures("waits", "account")
def test_a_body_that_is_cut_off_is_asked_again(simulator: Simulator, ask: Ask) -> None:
    simulator.faults[TOKEN] = lambda request, reply: replace(reply, cut=50) if request.attempt == 1 else reply
    get = ask(simulator.url)
    assert len(get("files").body["data"]) == 25
    assert get.retries == 1


@pytest.mark.usefixtures("waits", "account")
def test_a_body_that_stalls_ends_with_the_read_timeout(simulator: Simulator, ask: Ask) -> None:
    simulator.faults[TOKEN] = FAULTS["stall"]
    with pytest.raises(Unreachable, match="gave no answer: ReadTimeout"):
        ask(simulator.url, read_timeout="50ms", attempts=2)("files")
    assert len(simulator.requests) == 2


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (400, ""),
        (401, " (the key is not accepted; check that it is current and belongs to this route)"),
        (402, ""),
        (403, " (the key may not list files; give it read permission for files)"),
        (404, " (there is no file list at this URL; check base_url, which usually ends in /v1)"),
        (405, ""),
        (410, ""),
        (412, " (a budget is exhausted; raise it at the gateway)"),
        (422, ""),
        (302, ""),
        (304, ""),
    ],
)
def test_a_refusal_is_believed_at_once_and_told_with_its_mend(
    answer: Answer, ask: Ask, waits: list[float], status: int, hint: str
) -> None:
    seen = answer(script(error(status, "Something is wrong")))
    with pytest.raises(Refused) as caught:
        ask()("files")
    assert str(caught.value) == f"{HOST}/files answered {status}: Something is wrong{hint}"
    assert (caught.value.status, len(seen), waits) == (status, 1, [])


@pytest.mark.parametrize("code", sorted(SPENT))
@pytest.mark.parametrize("place", ["code", "kind"])
def test_a_429_for_want_of_money_is_no_throttle(
    answer: Answer, ask: Ask, waits: list[float], code: str, place: str
) -> None:
    spent = {"code": code} if place == "code" else {"kind": code}
    seen = answer(script(error(429, "You exceeded your current quota", retry_after="5", **spent)))
    with pytest.raises(Refused, match="You exceeded your current quota"):
        ask()("files")
    assert (len(seen), waits) == (1, [])


def test_the_quotas_that_are_known_to_be_spent() -> None:
    assert {"insufficient_quota", "credit_balance_exhausted", "project_spend_limit_exceeded"} <= SPENT


@pytest.mark.parametrize("code", ["rate_limit_exceeded", None, 429, ["insufficient_quota"]])
def test_any_other_429_is_a_throttle(answer: Answer, ask: Ask, waits: list[float], code: Any) -> None:
    answer(script(error(429, code=code), ok()))
    assert ask()("files").body == EMPTY
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", ""),
        (b"<html>Bad gateway</html>", ""),
        (b"upstream connect error", ""),
        (b"[]", ": a JSON list"),
        (b'{"html-message": "<html>"}', ": a web page"),
        (b'{"message": "Provider portkey not found"}', ": Provider portkey not found"),
    ],
)
@pytest.mark.usefixtures("waits")
def test_an_error_without_words_is_told_by_its_status(answer: Answer, ask: Ask, body: bytes, said: str) -> None:
    answer(script(httpx.Response(503, content=body)))
    with pytest.raises(Unreachable) as caught:
        ask(attempts=1)("files")
    assert str(caught.value) == f"{HOST}/files answered 503{said}"


@pytest.mark.parametrize("message", ["Model is required", "listFiles is not supported by Google Vertex AI"])
def test_a_route_without_a_file_list_is_not_asked_again(answer: Answer, waits: list[float], message: str) -> None:
    seen = answer(script(httpx.Response(500, json={"status": "failure", "message": message})))
    config = configured(HOST, type="portkey", provider="@bedrock")
    with Http(config) as http, pytest.raises(Unsupported) as caught:
        Getter(http, config.credentials[0])("files")
    assert str(caught.value) == f"this route has no file list: {message}"
    assert (len(seen), waits) == (1, [])


@pytest.mark.parametrize(
    "body", [b"", b"<!DOCTYPE html><html></html>", b"{", b'{"data": [NaN]}', b"upstream connect error"]
)
def test_a_success_that_is_no_json_is_not_asked_again(
    answer: Answer, ask: Ask, waits: list[float], body: bytes
) -> None:
    seen = answer(script(httpx.Response(200, content=body)))
    with pytest.raises(WrongShape, match=f"^{HOST}/files answered with .* instead of a file list$"):
        ask()("files")
    assert (len(seen), waits) == (1, [])


@pytest.mark.parametrize("attempts", [1, 2, 6])
def test_attempts_are_bounded(answer: Answer, ask: Ask, waits: list[float], attempts: int) -> None:
    seen = answer(script(error(500, "The server had an error")))
    get = ask(attempts=attempts)
    with pytest.raises(Unreachable) as caught:
        get("files")
    tries = f" ({attempts} tries)" if attempts > 1 else ""
    assert str(caught.value) == f"{HOST}/files answered 500: The server had an error{tries}"
    assert (len(seen), get.requests, get.retries, len(waits)) == (attempts, attempts, attempts - 1, attempts - 1)


def test_attempts_are_counted_for_each_page(answer: Answer, ask: Ask, waits: list[float]) -> None:
    answer(script(error(500), error(500), ok(), error(500), error(500), ok()))
    get = ask(attempts=3)
    get("files")
    get("files", after="a")
    assert (get.requests, get.retries, len(waits)) == (6, 4, 4)


@pytest.mark.parametrize(("at", "factor"), [("most", 1.0), ("least", 0.0), ("half", 0.5)])
def test_waits_double_and_are_jittered_over_their_full_length(
    answer: Answer, ask: Ask, monkeypatch: pytest.MonkeyPatch, at: str, factor: float
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(Http, "pause", lambda _http, seconds: waits.append(seconds))
    monkeypatch.setattr(random, "uniform", lambda low, high: low + factor * (high - low))
    answer(script(httpx.ConnectError("refused")))
    with pytest.raises(Unreachable):
        ask(attempts=10)("files")
    lengths = [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    expected = [factor * length for length in lengths]
    asked = [wait for wait in waits if wait] if factor else waits
    assert asked == expected or (at == "least" and set(waits) == {0.0})


def test_waits_differ_from_time_to_time(answer: Answer, ask: Ask, waits: list[float]) -> None:
    answer(script(error(500)))
    for _ in range(5):
        with pytest.raises(Unreachable):
            ask(attempts=2)("files")
    assert len(set(waits)) == 5
    assert all(0 <= wait <= 0.5 for wait in waits)


@pytest.mark.parametrize(("header", "wait"), [("7", 7.0), ("2.5", 2.5), ("3600", LONGEST_WAIT)])
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_to_wait_is_obeyed(
    answer: Answer, ask: Ask, waits: list[float], status: int, header: str, wait: float
) -> None:
    answer(script(error(status, retry_after=header), ok()))
    ask()("files")
    assert waits == [wait]


def test_a_server_may_ask_not_to_wait(answer: Answer, ask: Ask, waits: list[float]) -> None:
    answer(script(error(429, retry_after="0"), ok()))
    get = ask()
    get("files")
    assert (get.requests, waits) == (2, [])


@pytest.mark.usefixtures("account")
def test_a_throttling_provider_is_waited_for(simulator: Simulator, ask: Ask, waits: list[float]) -> None:
    simulator.faults[TOKEN] = rate_limited("2", times=3)
    get = ask(simulator.url)
    assert len(get("files").body["data"]) == 25
    assert (waits, get.requests, get.retries) == ([2.0, 2.0, 2.0], 4, 3)


def test_each_retry_is_logged_without_secrets(
    answer: Answer, ask: Ask, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "etl.extract.http")
    answer(script(error(500, f"key {TOKEN} is busy", retry_after="3"), ok()))
    ask()("files")
    (record,) = caplog.records
    fields = vars(record)
    assert (record.getMessage(), fields["credential"], fields["wait"]) == ("retry", "c0", 3.0)
    assert fields["error"] == f"{HOST}/files answered 500: key [redacted] is busy"
    assert waits == [3.0]


NOON = datetime(2026, 10, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 2 "}, 2.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "3600"}, LONGEST_WAIT),
        ({"retry-after": "1e99"}, LONGEST_WAIT),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "2 seconds"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 14:00:30 +0200"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Wednesday, 21-Oct-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2026 13:00:00 GMT"}, LONGEST_WAIT),
        ({"retry-after": "Wed, 21 Oct 2026 11:59:59 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 25:61:61 GMT"}, None),
        ({"retry-after": "Wed, 99 Nov 99999999999 12:00:00 GMT"}, None),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "6500", "retry-after": "60"}, 6.5),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after-ms": "-1", "retry-after": "3"}, 3.0),
        ({"retry-after-ms": "nan", "retry-after": "3"}, 3.0),
        ({"retry-after-ms": "9999999"}, LONGEST_WAIT),
        ({"x-ms-retry-after-ms": "250", "retry-after": "60"}, 0.25),
        ({"x-ratelimit-reset": str(int(NOON.timestamp()) + 7)}, 7.0),
        ({"x-ratelimit-reset": str(int(NOON.timestamp()) + 7), "retry-after": "3"}, 3.0),
        ({"x-ratelimit-reset": str(int(NOON.timestamp()) - 1)}, None),
        ({"x-ratelimit-reset": "9999999999"}, LONGEST_WAIT),
        ({"x-ratelimit-reset": "60"}, None),
        ({"x-ratelimit-reset": "6m0s"}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers), NOON) == seconds


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(max_codepoint=255), max_size=40) | st.from_regex(r"[A-Za-z0-9:,+ -]{0,30}", fullmatch=True)
)
@example("Mon, 1 Jan 0001 00:00:00 +2359")
@example("31 Dec 9999 23:59:59 -2359")
def test_no_retry_after_breaks_anything(value: str) -> None:
    seconds = retry_after({"retry-after": value, "retry-after-ms": value})
    assert seconds is None or 0 <= seconds <= LONGEST_WAIT


# Time limits


def test_a_listing_is_not_waited_for_beyond_its_time(answer: Answer, ask: Ask, clock: Clock) -> None:
    seen = answer(script(error(429, "Slow down", retry_after="30")))
    with pytest.raises(Unreachable, match="answered 429: Slow down"):
        ask(listing_timeout="70s", attempts=100)("files")
    assert len(seen) == 3
    assert clock.now == 1060.0


def test_a_listing_that_takes_too_long_asks_no_more(answer: Answer, ask: Ask, clock: Clock) -> None:
    def slowly(_request: httpx.Request) -> httpx.Response:
        clock.now += 40
        return ok()

    seen = answer(slowly)
    get = ask(listing_timeout="100s")
    for after in "ab":
        get("files", after=after)
    for after in "cd":
        with pytest.raises(Unreachable, match=r"^it took longer than listing_timeout$"):
            get("files", after=after)
    assert len(seen) == 3


def test_a_body_that_dribbles_ends_with_the_page_timeout(answer: Answer, ask: Ask, clock: Clock) -> None:
    sent: list[float] = []

    class Dribble(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(1000):
                clock.now += 9
                sent.append(clock.now)
                yield b" "

    answer(lambda _request: httpx.Response(200, stream=Dribble()))
    with pytest.raises(Unreachable, match=rf"^{HOST}/files took longer than page_timeout for one page$"):
        ask(page_timeout="1m", read_timeout="10s", attempts=1)("files")
    assert len(sent) == 7


def test_a_dribbling_page_is_asked_for_again(answer: Answer, ask: Ask, clock: Clock) -> None:
    class Slow(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            clock.now += 61
            yield b"{"

    left = [httpx.Response(200, stream=Slow()), ok()]
    answer(lambda _request: left.pop(0))
    get = ask(page_timeout="1m")
    assert get("files").body == EMPTY
    assert get.retries == 1


@pytest.mark.parametrize("rate", [0.5, 1, 1.5, 2.5, 3, 10])
@pytest.mark.parametrize("latency", [0.0, 0.03, 0.7])
def test_no_second_sees_more_requests_than_allowed(
    answer: Answer, ask: Ask, clock: Clock, rate: float, latency: float
) -> None:
    times: list[float] = []

    def handler(_request: httpx.Request) -> httpx.Response:
        times.append(clock.now)
        clock.now += latency
        return ok()

    answer(handler)
    get = ask(requests_per_second=rate)
    for number in range(40):
        get("files", after=str(number))
    assert max(sum(start <= other < start + 0.999 for other in times) for start in times) <= ceil(rate)
    slowest = 1 / rate if rate < 1 else 1 / int(rate)
    assert times[-1] - times[0] <= len(times) * max(slowest, latency)


@pytest.mark.usefixtures("clock")
def test_retries_and_redirects_keep_the_pace_too(answer: Answer, ask: Ask, clock: Clock) -> None:
    times: list[float] = []
    steps = [error(429, retry_after="0"), httpx.Response(302, headers={"location": "/files?x=1"})] * 2 + [ok()]

    def handler(_request: httpx.Request) -> httpx.Response:
        times.append(clock.now)
        return steps.pop(0)

    answer(handler)
    ask(requests_per_second=1)("files")
    assert times == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]


def test_no_host_gets_more_requests_at_once_than_allowed(answer: Answer) -> None:
    together, lock, active, most = threading.Barrier(3), threading.Lock(), 0, 0

    def handler(_request: httpx.Request) -> httpx.Response:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
        together.wait(5)
        with lock:
            active -= 1
        return ok()

    answer(handler)
    config = configured(*[f"{HOST}/{place}" for place in range(9)], shared={"per_host": 3})
    with Http(config) as http:
        ask_all(http, config)
    assert most == 3


def test_one_busy_host_does_not_hold_up_another(answer: Answer) -> None:
    together = threading.Barrier(2)

    def handler(_request: httpx.Request) -> httpx.Response:
        together.wait(5)
        return ok()

    answer(handler)
    config = configured(HOST, "http://other.test", shared={"per_host": 1})
    with Http(config) as http:
        ask_all(http, config)


def ask_all(http: Http, config: Config) -> None:
    """Ask for one page of each credential, side by side."""
    with ThreadPoolExecutor(len(config.credentials)) as pool:
        list(pool.map(lambda credential: Getter(http, credential)("files"), config.credentials))


# Size


@pytest.mark.usefixtures("account")
def test_a_body_beyond_the_limit_is_refused(simulator: Simulator, ask: Ask, waits: list[float]) -> None:
    simulator.faults[TOKEN] = huge_body(1_000_000)
    with pytest.raises(WrongShape, match=r"sent more than max_page_bytes \(100000\) for one page$"):
        ask(simulator.url, max_page_bytes=100_000)("files")
    assert (len(simulator.requests), waits) == (1, [])


def test_a_small_body_that_grows_is_refused_before_it_is_unpacked_whole(
    answer: Answer, ask: Ask, waits: list[float]
) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    sent: list[bytes] = []

    class Chunks(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for start in range(0, len(bomb), 1000):
                sent.append(bomb[start : start + 1000])
                yield sent[-1]

    seen = answer(lambda _request: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Chunks()))
    with pytest.raises(WrongShape, match=r"sent more than max_page_bytes \(2000000\) for one page$"):
        ask(max_page_bytes=2_000_000)("files")
    assert (len(seen), waits) == (1, [])
    assert len(bomb) > 19_000
    assert len(sent) <= 4


def test_a_packed_body_is_unpacked_and_counted_as_received(answer: Answer, ask: Ask) -> None:
    packed = gzip.compress(json.dumps(EMPTY | {"x": "y" * 10_000}).encode())
    answer(lambda _request: httpx.Response(200, headers={"content-encoding": "gzip"}, content=packed))
    get = ask()
    assert get("files").body == EMPTY | {"x": "y" * 10_000}
    assert get.bytes_received in {0, len(packed)}


def test_a_body_that_is_packed_wrongly_is_refused(answer: Answer, ask: Ask, waits: list[float]) -> None:
    class Garbage(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"not gzip"

    seen = answer(lambda _request: httpx.Response(200, headers={"content-encoding": "gzip"}, stream=Garbage()))
    with pytest.raises(WrongShape, match=f"^{HOST}/files gave an answer that cannot be read: DecodingError"):
        ask()("files")
    assert (len(seen), waits) == (1, [])


def test_received_bytes_are_counted_over_all_requests(simulator: Simulator, account: Account, ask: Ask) -> None:
    get = ask(simulator.url)
    after = list(account.files)[10]
    get("files", limit=5, order="asc")
    get("files", limit=5, order="asc", after=after)
    pages = [account.page(5, "asc"), account.page(5, "asc", after)]
    assert get.bytes_received == sum(len(msgspec.json.encode(page)) for page in pages)


# Cancelling


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("fault", ["body stalls", "no answer", "asked to wait"])
def test_cancelling_ends_a_listing_promptly(simulator: Simulator, fault: str) -> None:
    arrived = threading.Event()
    bend: dict[str, Callable[[Reply], Reply]] = {
        "body stalls": lambda reply: replace(reply, stall=0),
        "no answer": lambda reply: replace(reply, delay=60.0),
        "asked to wait": lambda _: Reply.json({}, 429, retry_after="60"),
    }

    def fault_of(_request: Request, reply: Reply) -> Reply:
        arrived.set()
        return bend[fault](reply)

    simulator.faults[TOKEN] = fault_of
    config = configured(simulator.url)
    ended: list[ListingError] = []

    def listing(http: Http) -> None:
        try:
            Getter(http, config.credentials[0])("files")
        except ListingError as error:
            ended.append(error)

    with Http(config) as http:
        thread = threading.Thread(target=listing, args=(http,), daemon=True)
        thread.start()
        assert arrived.wait(5)
        http.cancel()
        thread.join(1.5)
        assert [type(error) for error in ended] == [Cancelled]


def test_nothing_is_sent_once_cancelled(simulator: Simulator, ask: Ask) -> None:
    get = ask(simulator.url)
    get.http.cancel()
    with pytest.raises(Cancelled, match=r"^the run was told to stop$"):
        get("files")
    assert simulator.requests == []


def test_a_long_body_stops_once_cancelled(answer: Answer, ask: Ask) -> None:
    get = ask()
    sent: list[bytes] = []

    class Endless(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while len(sent) < 1000:
                sent.append(b" ")
                if len(sent) == 3:
                    get.http.cancel()
                yield b" "

    answer(lambda _request: httpx.Response(200, stream=Endless()))
    with pytest.raises(Cancelled):
        get("files")
    assert len(sent) == 3


# Secrets


@pytest.mark.usefixtures("account", "waits")
@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_key_that_the_server_echoes_is_not_told(simulator: Simulator, ask: Ask, status: int) -> None:
    simulator.faults[TOKEN] = instead(Reply.error(status, f"Incorrect API key provided: {TOKEN}."))
    with pytest.raises(ListingError) as caught:
        ask(simulator.url, attempts=1)("files")
    assert "Incorrect API key provided: [redacted]." in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("before", [280, 285, 290, 295])
def test_a_key_in_a_long_message_is_not_told_in_part(answer: Answer, ask: Ask, before: int) -> None:
    answer(script(error(401, "x" * before + TOKEN)))
    with pytest.raises(Refused) as caught:
        ask()("files")
    assert TOKEN[:8] not in str(caught.value)


@pytest.mark.parametrize("written", [TOKEN, f"Bearer {TOKEN}"])
def test_a_key_is_known_however_the_configuration_writes_it(answer: Answer, written: str) -> None:
    answer(script(error(401, f"Incorrect API key provided: {TOKEN}.")))
    config = configured(HOST, type="portkey", api_key=None, provider="openai", authorization=written)
    with Http(config) as http, pytest.raises(Refused) as caught:
        Getter(http, config.credentials[0])("files")
    assert TOKEN not in str(caught.value)


def test_the_words_of_a_server_reach_no_terminal_as_commands(answer: Answer, ask: Ask) -> None:
    answer(script(error(403, "\x1b]0;owned\x07\nroot:\u202e")))
    with pytest.raises(Refused) as caught:
        ask()("files")
    assert str(caught.value).isprintable()


# JSON


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"{}", {}),
        (b" [1, 2.5, true, null] \n", [1, 2.5, True, None]),
        (b"9007199254740993", 9007199254740993),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"-9223372036854775809", -9223372036854775809),
        (b"1.5e9", 1.5e9),
        ('"ü📎"'.encode(), "ü📎"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'"\\ud800x"', "\ud800x"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        pytest.param(b'"a\xff\xfeb"', "a\udcff\udcfeb", id="invalid UTF-8"),
        pytest.param(b'{"data": [{"filename": "r\xfcck"}]}', {"data": [{"filename": "r\udcfcck"}]}, id="latin-1"),
        pytest.param(b'"\xed\xa0\x80"', "\udced\udca0\udc80", id="a surrogate in UTF-8"),
        pytest.param(b'{"\xff": 1}', {"\udcff": 1}, id="invalid UTF-8 in a key"),
        pytest.param(b"[" * 200 + b"]" * 200, None, id="nested"),
    ],
)
def test_json_is_decoded_without_loss(content: bytes, value: Any) -> None:
    decoded = decode(content, "here")
    assert decoded == value or (value is None and isinstance(decoded, list))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "an empty body"),
        (b"<html></html>", "a web page"),
        (b"\n  <!DOCTYPE html>", "a web page"),
        (b"   ", "no valid JSON"),
        (b"NaN", "no valid JSON"),
        (b'{"a": NaN}', "no valid JSON"),
        (b"[Infinity]", "no valid JSON"),
        (b"-Infinity", "no valid JSON"),
        (b"[1, 2", "no valid JSON"),
        (b"{} {}", "no valid JSON"),
        (b"{'a': 1}", "no valid JSON"),
        (b"not json", "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        pytest.param(b"[" * 100_000, "no valid JSON", id="deep"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, "no valid JSON", id="deep and closed"),
        pytest.param(b'{"a":' * 100_000, "no valid JSON", id="deep objects"),
    ],
)
def test_what_is_no_json_is_refused_by_its_kind(content: bytes, kind: str) -> None:
    with pytest.raises(WrongShape) as caught:
        decode(content, "https://x.test/v1/files")
    assert str(caught.value) == f"https://x.test/v1/files answered with {kind} instead of a file list"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=30) | st.text(max_size=20).map(lambda text: json.dumps(text).encode("utf-16-le")))
def test_any_bytes_decode_or_are_refused(content: bytes) -> None:
    with suppress(WrongShape):
        decode(content, "here")


def test_one_stray_byte_spoils_no_page(answer: Answer, ask: Ask) -> None:
    answer(script(httpx.Response(200, content=b'{"data": [{"id": "a", "filename": "r\xfcck"}, {"id": "b"}]}')))
    assert ask()("files").body == {"data": [{"id": "a", "filename": "r\udcfcck"}, {"id": "b"}]}
