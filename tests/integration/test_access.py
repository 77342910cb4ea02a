"""Who may ask, and what a page of another site may not do."""

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httpx
import pytest
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from etl.config import Serve
from etl.web.access import COOKIE, HEADERS, Access, session

if TYPE_CHECKING:
    from etl.web.control import Control

TOKEN = "the-token"
LOGGED_IN = {"cookie": f"{COOKIE}={session(SecretStr(TOKEN))}"}


def ask(
    method: str = "GET",
    path: str = "/api/status",
    *,
    token: str | None = TOKEN,
    address: str = "http://127.0.0.1:8080",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    """Ask an application that answers to everything, behind the guard."""
    serve = Serve.model_validate({"host": "127.0.0.1", "token": token})
    control = cast("Control", SimpleNamespace(config=SimpleNamespace(serve=serve)))
    transport = httpx.ASGITransport(cast("Any", Access(PlainTextResponse("let in"), control)))

    async def asked() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url=address) as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer   {TOKEN} "},
        {"x-portkey-api-key": TOKEN},
        LOGGED_IN,
    ],
)
def test_the_token_lets_in_wherever_clients_put_it(headers: dict[str, str]) -> None:
    assert ask(headers=headers).text == "let in"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer another"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"x-portkey-api-key": f"{TOKEN}x"},
        {"x-portkey-api-key": ""},
        {"cookie": f"{COOKIE}={TOKEN}"},
        {"cookie": f"{COOKIE}="},
    ],
)
def test_without_it_nobody_is_let_in(headers: dict[str, str]) -> None:
    answer = ask(headers=headers)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert "asks for its token" in answer.json()["error"]["message"]


def test_a_browser_is_sent_to_log_in_and_back() -> None:
    answer = ask(path="/files?credential=a&b", headers={"accept": "text/html,*/*"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=%2Ffiles%3Fcredential%3Da%26b")
    assert ask("POST", "/files", headers={"accept": "text/html"}).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login?next=/", "/static/style.css"])
def test_what_tells_nothing_is_open(path: str) -> None:
    assert ask(path=path).text == "let in"


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/", "/v1/files", "/static", "//healthz"])
def test_what_tells_something_is_not(path: str) -> None:
    assert ask(path=path).status_code == 401


@pytest.mark.parametrize("name", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]"])
def test_without_a_token_names_of_loopback_are_answered_to(name: str) -> None:
    assert ask(token=None, address=f"http://{name}:8080").text == "let in"


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.1.nip.io"])
def test_without_a_token_a_foreign_name_is_not_answered_to(name: str) -> None:
    for path in ("/api/status", "/healthz"):
        answer = ask(token=None, path=path, address=f"http://{name}:8080")
        assert (answer.status_code, name in answer.text) == (421, True)


def test_with_a_token_any_name_will_do() -> None:
    assert ask(address="https://inventory.example", headers={"x-portkey-api-key": TOKEN}).text == "let in"


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
    ],
)
def test_a_page_of_another_site_may_not_write(headers: dict[str, str]) -> None:
    assert ask("POST", "/api/sync", headers=LOGGED_IN | headers).status_code == 403
    assert ask("POST", "/login", token=None, headers=headers).status_code == 403
    assert ask("GET", headers=LOGGED_IN | headers).text == "let in"


@pytest.mark.parametrize(
    "headers", [{}, {"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": "http://127.0.0.1:8080"}]
)
def test_own_pages_and_programs_may_write(headers: dict[str, str]) -> None:
    assert ask("POST", "/api/sync", headers=LOGGED_IN | headers).text == "let in"


@pytest.mark.parametrize("headers", [{}, LOGGED_IN])
def test_every_answer_carries_the_security_headers(headers: dict[str, str]) -> None:
    assert HEADERS.items() <= dict(ask(headers=headers).headers).items()


def test_the_cookie_does_not_tell_the_token() -> None:
    assert TOKEN not in session(SecretStr(TOKEN))
    assert session(SecretStr(TOKEN)) != session(SecretStr("another"))
