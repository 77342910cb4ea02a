"""Who may ask: nobody from elsewhere without the token, and no page of another site on a visitor's behalf."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from etl.providers.base import is_loopback

if TYPE_CHECKING:
    from pydantic import SecretStr
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from etl.web.control import Control

COOKIE = "file_inventory_session"
OPEN = ("/healthz", "/readyz", "/login", "/static/")
"""Paths that need no token: they tell nothing of the inventory."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self';"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Access:
    """ASGI middleware that refuses what must not pass, and sends the security headers.

    Without a token only loopback is listened to, and only names of loopback are answered to: a foreign name that was
    made to point here is a page of another site trying to read (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, control: Control) -> None:
        self._app = app
        self._control = control

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = self._refusal(Request(scope)) or self._app
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        token = self._control.config.serve.token
        if token is None and not is_known(request.url.hostname, self._control.config.serve.host):
            return refusal(421, f"this service is not called {request.url.hostname}; ask for it by its address")
        if request.method not in {"GET", "HEAD", "OPTIONS"} and _comes_from_elsewhere(request.headers):
            return refusal(403, "a page of another site may not do this; use the service's own pages")
        if token is None or request.url.path.startswith(OPEN) or _carries(request, token):
            return None
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?next={quote(target, safe='')}", 303)
        return refusal(401, "this service asks for its token: send it as Authorization: Bearer TOKEN")


def refusal(status: int, message: str) -> Response:
    """Answer with an error as the OpenAI API shapes them."""
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    headers = {"www-authenticate": "Bearer"} if status == 401 else None  # noqa: PLR2004 - RFC 9110
    return JSONResponse({"error": error}, status, headers)


def session(token: SecretStr) -> str:
    """Return what a browser keeps after logging in: proof of the token, not the token."""
    return hmac.digest(token.get_secret_value().encode(), b"file-inventory session", "sha256").hex()


def same(given: str, expected: str) -> bool:
    """Compare secrets in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), expected.encode())


def is_known(name: str | None, listening: str) -> bool:
    """Tell whether a request calls a service on loopback by a name that is its own."""
    return name is not None and (is_loopback(name) or name == listening)


def _carries(request: Request, token: SecretStr) -> bool:
    """Look where browsers, OpenAI clients and Portkey clients put it."""
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = (bearer.strip() if scheme.lower() == "bearer" else "", request.headers.get("x-portkey-api-key", ""))
    proven = same(request.cookies.get(COOKIE, ""), session(token))
    return proven or any(same(one, token.get_secret_value()) for one in given)


def _comes_from_elsewhere(headers: Headers) -> bool:
    """Believe what the browser says: https://www.w3.org/TR/fetch-metadata/, else the Origin header."""
    if site := headers.get("sec-fetch-site"):
        return site not in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
