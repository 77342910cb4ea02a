"""Every way we know of in which a list goes wrong; each bends one healthy answer.

Faults keep nothing between two requests, so each may serve many accounts and tests. To alter the files in the
middle of a listing, write one that closes over the account.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import msgspec

from etl.simulator.account import Json
from etl.simulator.server import Fault, Request, incorrect_key
from etl.simulator.wire import Reply

HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to continue.</body></html>"
EMPTY: Json = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}


def instead(reply: Reply) -> Fault:
    """Give this answer to every request."""
    return lambda _request, _reply: reply


def body(value: Any) -> Fault:
    """Answer 200 with this JSON value."""
    return instead(Reply.json(value))


def on_page_2(fault: Fault) -> Fault:
    """Break only the requests for later pages."""
    return lambda request, reply: reply if request.cursor is None else fault(request, reply)


def at_first(fault: Fault, times: int = 1) -> Fault:
    """Break so many requests of each page, then get well."""
    return lambda request, reply: fault(request, reply) if request.attempt <= times else reply


def bent(change: Callable[[Json], Any]) -> Fault:
    """Put `change(page)` in the place of each page; errors stay."""

    def fault(_request: Request, reply: Reply) -> Reply:
        healthy = reply.status == HTTPStatus.OK
        return replace(reply, body=msgspec.json.encode(change(page_of(reply)))) if healthy else reply

    return fault


def fields(**values: Any) -> Fault:
    """Set fields of the envelope."""
    return bent(lambda page: page | values)


def records(change: Callable[[list[Json]], list[Json]]) -> Fault:
    """Put `change(records)` in the place of the records of each page."""

    def fault(request: Request, reply: Reply) -> Reply:
        key = request.dialect.records
        return bent(lambda page: page | {key: change(page.get(key, []))})(request, reply)

    return fault


def each_record(change: Callable[[Json], Json]) -> Fault:
    """Alter every record."""
    return records(lambda given: [change(record) for record in given])


def one_record(**values: Any) -> Fault:
    """Set fields of one record, in the middle of page 1."""

    def change(given: list[Json]) -> list[Json]:
        middle = len(given) // 2
        return [record | values if place == middle else record for place, record in enumerate(given)]

    bend = records(change)
    return lambda request, reply: bend(request, reply) if request.cursor is None else reply


def page_of(reply: Reply) -> Json:
    """Decode a page."""
    return dict(msgspec.json.decode(reply.body))


def first_page(request: Request) -> Json:
    """Ask for the page that the same request without a cursor gets."""
    asked = {name: value for name, value in request.params.items() if name not in request.dialect.cursors}
    return page_of(request.listing(asked))


def ignore_after(request: Request, _reply: Reply) -> Reply:
    """Give the first page for ever."""
    return Reply.json(first_page(request))


def endless(request: Request, _reply: Reply) -> Reply:
    """Give the rows of the first page again and again, turned so that another cursor ends them."""
    page = first_page(request)
    turn = (request.number - 1) % max(1, len(page["data"]))
    data = page["data"][turn:] + page["data"][:turn]
    last = data[-1]["id"] if data else None
    return Reply.json(page | {"data": data, "last_id": last, "has_more": True})


def cycle(request: Request, reply: Reply) -> Reply:
    """Lead from the first page to the second, and from there to the first."""
    first = first_page(request)
    second = request.params.get("after") == first["last_id"]
    return Reply.json((page_of(reply) if second else first) | {"has_more": True})


def duplicate_rows(request: Request, reply: Reply) -> Reply:
    """Begin page 2 with the last ten rows of page 1."""
    first = first_page(request)
    if not first["data"] or request.params.get("after") != first["last_id"]:
        return reply
    page = page_of(reply)
    data = first["data"][-10:] + page["data"]
    return Reply.json(page | {"data": data, "first_id": data[0]["id"]})


def redirect_elsewhere(request: Request, reply: Reply) -> Reply:
    """Send the client to another host name; a request whose `host` is localhost shows that it went there."""
    host = request.headers["host"].replace("127.0.0.1", "localhost")
    target = f"http://{host}{request.path}?{urlencode(request.params)}"
    followed = host == request.headers["host"]
    return reply if followed else Reply(302, headers={"location": target})


def unauthorized(request: Request, _reply: Reply) -> Reply:
    """Refuse the key, and echo it."""
    return incorrect_key(request, request.account or "")


def rate_limited(retry_after: str | None = "2", times: int = 1) -> Fault:
    """Answer 429 to the first requests of each page."""
    reply = Reply.error(429, "Rate limit reached for requests", "rate_limit_exceeded")
    wait = {"retry-after": retry_after} if retry_after is not None else {}
    return at_first(instead(replace(reply, headers=reply.headers | wait)), times)


def slow(seconds: float = 1.0) -> Fault:
    """Keep silent before the headers."""
    return lambda _request, reply: replace(reply, delay=seconds)


def huge_body(size: int = 64 * 1024**2) -> Fault:
    """Add so many bytes of white space to the page."""
    return lambda _request, reply: replace(reply, body=reply.body + b" " * size)


FAULTS: dict[str, Fault] = {
    "page2_500": on_page_2(instead(Reply.error(500, "The server had an error while processing your request"))),
    "page2_404": on_page_2(instead(Reply.error(404, "No such File object", param="after"))),
    "ignore_after": ignore_after,
    "null_last_id": fields(has_more=True, last_id=None),
    "no_cursor": body(EMPTY | {"has_more": True}),
    "short_list": fields(has_more=False),
    "error_200": body({"error": {"message": "Something broke", "type": "server_error", "param": None, "code": None}}),
    "no_data": body({"object": "list"}),
    "null_data": fields(data=None),
    "empty": body(EMPTY),
    "null_id": one_record(id=None),
    "word_bytes": one_record(bytes="many"),
    "new_field": each_record(lambda record: record | {"region": "eu"}),
    "drop_field": each_record(lambda record: {name: value for name, value in record.items() if name != "status"}),
    "rate_limited": rate_limited(),
    "always_429": rate_limited(None, times=sys.maxsize),
    "quota": instead(Reply.error(429, "You exceeded your current quota", "insufficient_quota")),
    "unauthorized": unauthorized,
    "forbidden": instead(Reply.error(403, "Missing scopes: api.files.read", "missing_scope")),
    "not_found": instead(Reply.error(404, "Not found")),
    "endless": endless,
    "cycle": cycle,
    "duplicate_rows": duplicate_rows,
    "html_200": instead(Reply(200, HTML, {"content-type": "text/html; charset=utf-8"})),
    "html_message": body({"html-message": HTML.decode()}),
    "not_json": instead(Reply(200, b"upstream connect error or disconnect/reset before headers")),
    "truncated": lambda _request, reply: replace(reply, body=reply.body[: len(reply.body) // 2]),
    "cut": lambda _request, reply: replace(reply, cut=len(reply.body) // 2),
    "stall": lambda _request, reply: replace(reply, stall=0),
    "redirect_elsewhere": redirect_elsewhere,
    "array": bent(lambda page: {str(place): record for place, record in enumerate(page["data"])}),
    "list_body": bent(lambda page: page["data"]),
    "null_body": body(None),
    "empty_body": instead(Reply(204, headers={})),
    "huge_body": huge_body(),
}
"""The faults by the names that tests use."""
