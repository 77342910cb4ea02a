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
from etl.simulator.dialects import Dialect
from etl.simulator.server import Fault, Request, incorrect_key, refused
from etl.simulator.wire import Reply

HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Please sign in to continue.</body></html>"


def instead(reply: Reply) -> Fault:
    """Give this answer to every request."""
    return lambda _request, _reply: reply


def body(value: Any) -> Fault:
    """Answer 200 with this JSON value."""
    return instead(Reply.json(value))


def refusal(status: int, message: str, code: str | None = None) -> Fault:
    """Refuse every request in the words of the provider."""
    return lambda request, _reply: refused(request, status, message, code)


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


def rows_of(request: Request, page: Json) -> list[Json]:
    """Return the records of a page; none where it is none."""
    return page.get(request.dialect.records) or []


def second_cursor(request: Request) -> str | None:
    """Tell what asks for the second page."""
    dialect, page = request.dialect, first_page(request)
    rows = rows_of(request, page)
    numbers = {"page": 1, "offset": len(rows) - 1}
    for name, number in numbers.items():
        if dialect.cursors == {name}:
            return str(number)
    last = rows[-1][dialect.id] if rows else None
    return page.get(dialect.onward, last)


def with_more(request: Request, page: Json) -> Json:
    """Let a page say that another follows, by a cursor of its own."""
    token, rows = request.dialect.onward, rows_of(request, page)
    said: Json = {"has_more": True, "total": sys.maxsize, "last_id": rows[-1][request.dialect.id] if rows else None}
    told = {key: value for key, value in said.items() if key in page}
    return page | told | ({token: f"more-{request.number}"} if token else {})


def ignore_after(request: Request, _reply: Reply) -> Reply:
    """Give the first page for ever."""
    return Reply.json(first_page(request))


def endless(request: Request, _reply: Reply) -> Reply:
    """Give the rows of the first page again and again, turned so that another cursor ends them."""
    page = first_page(request)
    rows = rows_of(request, page)
    turn = len(rows) - (request.number - 1) % max(1, len(rows))
    return Reply.json(with_more(request, page | {request.dialect.records: rows[turn:] + rows[:turn]}))


def same_rows(request: Request, reply: Reply) -> Reply:
    """Give the rows of the first page on every page, with the cursor of the right one."""
    key = request.dialect.records
    return bent(lambda page: page | {key: rows_of(request, first_page(request))})(request, reply)


def cycle(request: Request, reply: Reply) -> Reply:
    """Lead from the first page to the second, and from there to the first."""
    return reply if request.cursor == second_cursor(request) else Reply.json(first_page(request))


def duplicate_rows(request: Request, reply: Reply) -> Reply:
    """Begin page 2 with the last ten rows of page 1."""
    if request.cursor != second_cursor(request):
        return reply
    before = rows_of(request, first_page(request))[-10:]
    first_id = {"first_id": before[0]["id"]} if before and "first_id" in page_of(reply) else {}
    again = records(lambda given: before + given)(request, reply)
    return fields(**first_id)(request, again)


def short_list(request: Request, _reply: Reply) -> Reply:
    """Claim that the first page is all there is; of a list that comes whole, a third."""
    rows = len(rows_of(request, first_page(request)))
    return request.holding(rows if request.dialect.cursors else rows // 3)


def empty(request: Request, _reply: Reply) -> Reply:
    """Claim that there is no file, as the provider would."""
    return request.holding(0)


def no_cursor(request: Request, _reply: Reply) -> Reply:
    """Claim that there is more after an empty page."""
    return Reply.json(page_of(request.holding(0)) | {"has_more": True})


def null_last_id(request: Request, reply: Reply) -> Reply:
    """Claim that there is more, but name no cursor."""
    token = request.dialect.onward
    return fields(has_more=True, last_id=None, **({token: None} if token else {}))(request, reply)


def error_200(request: Request, _reply: Reply) -> Reply:
    """Tell of an error with status 200."""
    return Reply.json(request.dialect.error(500, "Something broke"))


def redirect_elsewhere(request: Request, reply: Reply) -> Reply:
    """Send the client to another host name; a request whose `host` is localhost shows that it went there."""
    host = request.headers["host"].replace("127.0.0.1", "localhost")
    target = f"http://{host}{request.path}?{urlencode(request.params)}"
    followed = host == request.headers["host"]
    return reply if followed else Reply(302, headers={"location": target})


def unauthorized(request: Request, _reply: Reply) -> Reply:
    """Refuse the key, and echo it."""
    return incorrect_key(request, request.account or "")


def numbered(request: Request, reply: Reply) -> Reply:
    """Put an object of numbered rows in the place of the page, as the gateway does."""
    return bent(lambda page: {str(place): row for place, row in enumerate(rows_of(request, page))})(request, reply)


def of_dialect(fault: Callable[[Dialect], Fault]) -> Fault:
    """Break in the words of the dialect that is spoken."""
    return lambda request, reply: fault(request.dialect)(request, reply)


def without(name: str) -> Fault:
    """Leave a field out of every record."""
    return each_record(lambda record: {key: value for key, value in record.items() if key != name})


def rate_limited(retry_after: str | None = "2", times: int = 1) -> Fault:
    """Answer 429 to the first requests of each page."""
    wait = {"retry-after": retry_after} if retry_after is not None else {}

    def fault(request: Request, _reply: Reply) -> Reply:
        reply = refused(request, 429, "Rate limit reached for requests", "rate_limit_exceeded")
        return replace(reply, headers=reply.headers | wait)

    return at_first(fault, times)


def slow(seconds: float = 1.0) -> Fault:
    """Keep silent before the headers."""
    return lambda _request, reply: replace(reply, delay=seconds)


def huge_body(size: int = 64 * 1024**2) -> Fault:
    """Add so many bytes of white space to the page."""
    return lambda _request, reply: replace(reply, body=reply.body + b" " * size)


FAULTS: dict[str, Fault] = {
    "page2_500": on_page_2(refusal(500, "The server had an error while processing your request")),
    "page2_404": on_page_2(refusal(404, "No such File object")),
    "ignore_after": ignore_after,
    "null_last_id": null_last_id,
    "no_cursor": no_cursor,
    "short_list": short_list,
    "error_200": error_200,
    "no_data": body({"object": "list"}),
    "null_data": of_dialect(lambda dialect: fields(**{dialect.records: None})),
    "empty": empty,
    "null_id": of_dialect(lambda dialect: one_record(**{dialect.id: None})),
    "word_bytes": of_dialect(lambda dialect: one_record(**dialect.unsized)),
    "new_field": each_record(lambda record: record | {"region": "eu"}),
    "drop_field": of_dialect(lambda dialect: without(dialect.spare)),
    "rate_limited": rate_limited(),
    "always_429": rate_limited(None, times=sys.maxsize),
    "quota": instead(Reply.error(429, "You exceeded your current quota", "insufficient_quota")),
    "unauthorized": unauthorized,
    "forbidden": refusal(403, "Missing scopes: api.files.read", "missing_scope"),
    "not_found": refusal(404, "Not found"),
    "endless": endless,
    "same_rows": same_rows,
    "cycle": cycle,
    "duplicate_rows": duplicate_rows,
    "html_200": instead(Reply(200, HTML, {"content-type": "text/html; charset=utf-8"})),
    "html_message": body({"html-message": HTML.decode()}),
    "not_json": instead(Reply(200, b"upstream connect error or disconnect/reset before headers")),
    "truncated": lambda _request, reply: replace(reply, body=reply.body[: len(reply.body) // 2]),
    "cut": lambda _request, reply: replace(reply, cut=len(reply.body) // 2),
    "stall": lambda _request, reply: replace(reply, stall=0),
    "redirect_elsewhere": redirect_elsewhere,
    "array": numbered,
    "list_body": of_dialect(lambda dialect: bent(lambda page: page.get(dialect.records, []))),
    "null_body": body(None),
    "empty_body": instead(Reply(204, headers={})),
    "huge_body": huge_body(),
}
"""The faults by the names that tests use; each is worded as the provider that is asked would word it."""
