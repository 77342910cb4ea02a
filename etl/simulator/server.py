"""The contract of a file list, as each provider and Portkey keep it, and the switch that breaks it."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPMethod
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from etl.simulator.account import Account, Json
from etl.simulator.dialects import MAXIMUM, OPENAI, Ask, BadRequest, Dialect, spoken
from etl.simulator.wire import Reply, Server


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    """Names in lower case."""
    account: str | None
    """The token that matched, if any."""
    number: int
    """Which list request of this account this is since the last reset, from 1; 0 if it is none."""
    attempt: int = 1
    """How often this very page was asked for under the fault in force, from 1."""
    listing: Callable[[Mapping[str, str]], Reply] = field(default=lambda _: Reply(), repr=False, compare=False)
    """The healthy answer to the same request with other parameters."""
    holding: Callable[[int], Reply] = field(default=lambda _: Reply(), repr=False, compare=False)
    """The healthy answer, were only so many of the oldest files there that are asked for."""
    dialect: Dialect = OPENAI
    """How the list is worded."""

    @property
    def cursor(self) -> str | None:
        """What asks for a later page; None in a request for the first."""
        return next((self.params[name] for name in sorted(self.dialect.cursors & self.params.keys())), None)


Fault = Callable[[Request, Reply], Reply]
"""Bends the healthy answer to one list request."""


class Simulator:
    """A provider on 127.0.0.1 that can be told to misbehave; a context manager.

    An account answers to its token, wherever it stands: virtual key, saved or inline config, `@slug`, bearer.
    A larger limit than `page_limit` is cut to it; a larger one than `strict_limit` is refused. Every answer
    takes `latency` seconds. Where `portkey_api_key` is set, requests with Portkey headers must carry it. With
    `keep_pages` each page is made once, for accounts that never change.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account] | None = None,
        *,
        port: int = 0,
        page_limit: int = MAXIMUM,
        strict_limit: int | None = None,
        latency: float = 0.0,
        portkey_api_key: str | None = None,
        keep_pages: bool = False,
    ) -> None:
        self.accounts = dict(accounts or {})
        self.port = port
        self.page_limit = page_limit
        self.strict_limit = strict_limit
        self.latency = latency
        self.portkey_api_key = portkey_api_key
        self._kept: dict[object, Reply] | None = {} if keep_pages else None
        self.admin: dict[str, list[Json]] = {}
        """What Portkey's admin API lists: records by the last part of the path, such as providers."""
        self.requests: list[Request] = []
        """Everything received, in order."""
        self.faults: dict[str, Fault] = {}
        """The fault in force for a token; a healthy account has none."""
        self._asked: Counter[object] = Counter()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server = Server(self.port, self.answer)
        self.port = self._server.server_address[1]
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    @property
    def url(self) -> str:
        """Base URL, known once started."""
        return f"http://127.0.0.1:{self.port}/v1"

    def speaking(self, dialect: str) -> str:
        """Return what stands for the provider's scheme and host in URLs, where it speaks its own dialect."""
        return f"http://127.0.0.1:{self.port}/{dialect}"

    def reset(self) -> None:
        """Forget requests and faults, and number requests from 1 again; the accounts stay."""
        with self._lock:
            self.requests.clear()
            self.faults.clear()
            self._asked.clear()

    def answer(self, method: str, target: str, headers: dict[str, str]) -> Reply:
        """Record a request and answer it."""
        request = self._received(method, target, headers)
        reply = self._administered(request) or self._refusal(request) or self._listed(request)
        if _by_portkey(headers):
            reply = replace(reply, headers={"x-portkey-provider": _provider(headers)} | reply.headers)
        return replace(reply, delay=reply.delay + self.latency)

    def _received(self, method: str, target: str, headers: dict[str, str]) -> Request:
        url = urlsplit(target)
        params = dict(parse_qsl(url.query, keep_blank_values=True))
        dialect, is_list = spoken(url.path)
        token = _token(headers, dialect)
        account = next((key for key in (token, f"@{token}") if key in self.accounts), None)
        request = Request(method, url.path, params, headers, account, 0, dialect=dialect)
        if account:
            held = self.accounts[account]
            request = replace(
                request,
                listing=self._pages(held, request, account),
                holding=lambda count: self._pages(held.oldest(count, params.get("purpose")), request)(params),
            )
        with self._lock:
            if method == HTTPMethod.GET and is_list:
                page = account, self.faults.get(account or ""), request.cursor
                self._asked.update([account, page])
                request = replace(request, number=self._asked[account], attempt=self._asked[page])
            self.requests.append(request)
        return request

    def _administered(self, request: Request) -> Reply | None:
        """Answer as Portkey's admin API does, which counts pages from 0; None where it is not asked."""
        records = self.admin.get(request.path.removeprefix("/v1/"))
        if records is None or request.method != HTTPMethod.GET:
            return None
        if request.headers.get("x-portkey-api-key") != self.portkey_api_key:
            return Reply.json({"success": False, "data": {"message": "Unauthorised Request"}}, 401)
        workspace = request.params.get("workspace_id")
        wanted = [one for one in records if workspace is None or one.get("workspace_id", workspace) == workspace]
        page, size = (
            int(request.params.get(name, default)) for name, default in (("current_page", 0), ("page_size", 50))
        )
        data = wanted[page * size : (page + 1) * size]
        return Reply.json({"object": "list", "total": len(wanted), "data": data})

    def _refusal(self, request: Request) -> Reply | None:
        """Why a request gets no list, if so."""
        if request.method != HTTPMethod.GET:
            return Reply.error(405, f"Not allowed to {request.method} on {request.path}", "method_not_supported")
        if not spoken(request.path)[1]:
            return refused(request, 404, f"Invalid URL (GET {request.path})")
        wanted = self.portkey_api_key
        if wanted and _by_portkey(request.headers) and request.headers.get("x-portkey-api-key") != wanted:
            return Reply.json({"status": "failure", "message": "Invalid API Key. Error Code: 03"}, 401)
        if request.account is None:
            return incorrect_key(request, _token(request.headers, request.dialect) or "")
        return None

    def _listed(self, request: Request) -> Reply:
        reply = request.listing(request.params)
        fault = self.faults.get(request.account or "")
        return fault(request, reply) if fault else reply

    def _pages(
        self, account: Account, request: Request, token: str | None = None
    ) -> Callable[[Mapping[str, str]], Reply]:
        """Answer with the pages of an account, which are kept by this token, if any."""
        path, dialect, headers = request.path, request.dialect, request.headers

        def listing(params: Mapping[str, str]) -> Reply:
            if self._kept is None or token is None:
                return make(params)
            page = token, path, *sorted(params.items())
            if page not in self._kept:
                self._kept[page] = make(params)
            return self._kept[page]

        def make(params: Mapping[str, str]) -> Reply:
            limit = params.get(dialect.limit, str(dialect.default))
            if not limit.isdecimal() or int(limit) < 1:
                return _bad(dialect, f"{dialect.limit} must be >= 1")
            if self.strict_limit and int(limit) > self.strict_limit:
                return _bad(dialect, f"{dialect.limit} must be <= {self.strict_limit}")
            most = min(int(limit), dialect.maximum, self.page_limit)
            try:
                return Reply.json(dialect.page(account, Ask(path, params, headers, most)))
            except BadRequest as error:
                return _bad(dialect, str(error))
            except KeyError as error:
                return Reply.json(dialect.error(404, f"No such File object: {error.args[0]}"), 404)

        return listing


def _bad(dialect: Dialect, message: str) -> Reply:
    return Reply.json(dialect.error(400, message), 400)


def refused(request: Request, status: int, message: str, code: str | None = None) -> Reply:
    """Refuse in the words of the dialect that is spoken; the code is one of OpenAI's."""
    if request.dialect is OPENAI and code:
        return Reply.error(status, message, code)
    return Reply.json(request.dialect.error(status, message), status)


def incorrect_key(request: Request, token: str) -> Reply:
    """Refuse a key, but echo it in full, so that leaks are found."""
    message = f"Incorrect API key provided: {token}."
    where = "You can find your API key at https://platform.openai.com/account/api-keys."
    return refused(request, 401, f"{message} {where}" if request.dialect is OPENAI else message, "invalid_api_key")


def _by_portkey(headers: Mapping[str, str]) -> bool:
    return any(name.startswith("x-portkey-") for name in headers)


def _config(headers: Mapping[str, str]) -> Json:
    """Read the inline config; the id of a saved one serves as a virtual key."""
    text = headers.get("x-portkey-config", "{}")
    return dict(msgspec.json.decode(text)) if text.startswith("{") else {"virtual_key": text}


def _provider(headers: Mapping[str, str]) -> str:
    named = str(_config(headers).get("provider") or headers.get("x-portkey-provider") or "openai")
    return "openai" if named.startswith("@") else named


def _token(headers: Mapping[str, str], dialect: Dialect) -> str | None:
    """Find what names the account in a request."""
    if dialect is not OPENAI:
        carried = next((headers[name] for name in dialect.keys if name in headers), "")
        return carried.removeprefix("Bearer ") or None
    config = _config(headers)
    provider = headers.get("x-portkey-provider", "")
    bearer = headers.get("authorization", "").removeprefix("Bearer ")
    slug = provider.removeprefix("@") if provider.startswith("@") else None
    virtual = headers.get("x-portkey-virtual-key")
    return virtual or config.get("virtual_key") or config.get("api_key") or slug or bearer or None
