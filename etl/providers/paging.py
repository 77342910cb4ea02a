"""The usual ways in which a list is paged, and the parts of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etl.errors import EndNotProven, Refused, WrongShape
from etl.providers.base import Page, described, value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from etl.providers.base import Answer, Get, Params
    from etl.transform.record import Json


def followed(
    get: Get,
    path: str,
    cursor: Callable[[Json], Params | None],
    *,
    key: str = "data",
    beside: Collection[str] | None = None,
    holder: str | None = None,
    **params: str | int | None,
) -> Iterator[Page]:
    """Read page after page; `cursor` says of a page what to ask for to get the next one, None at the end.

    `key` and `beside` are those of `listed`, but a later page without records proves nothing if it lacks their key.
    """
    body = get(path, **params).body
    yield Page(listed(body, key, beside), holder)
    while (following := cursor(body)) is not None:
        body = get(path, **params, **following).body
        yield Page(listed(body, key), holder)


def whole(get: Get, path: str, *, holder: str | None = None, **params: str | int | None) -> Iterator[Page]:
    """Read a list that comes whole, in one answer; EndNotProven if it says that there is more."""
    body = get(path, **params).body
    yield Page(listed(body), holder)
    if more(body):
        raise EndNotProven("the server says that there is more, but its API has no next page to ask for")


def first(get: Get, path: str, forms: Sequence[Params], **params: str | int | None) -> tuple[Answer, Params]:
    """Ask for the first page in the best form that the server takes; return the answer and that form.

    A server may refuse a large limit, or parameters it does not know.
    """
    refusal = None
    for form in forms:
        try:
            return get(path, **params, **form), form
        except Refused as error:
            refusal = refusal or error
            if error.status not in {400, 422}:
                break
    raise refusal  # type: ignore[misc]  # forms are not empty


def more(body: Json) -> bool:
    """Read `has_more`; a missing one means done."""
    said = body.get("has_more")
    if said not in (None, True, False):
        raise WrongShape(f"has_more is neither true nor false: {ascii(said)[:40]}")
    return bool(said)


def last_id(body: Json) -> str:
    """Return the id of the last record, as the official SDKs do; `last_id` where that has none."""
    last = body["data"][-1] if body["data"] else None
    for cursor in (value(last, "id"), body.get("last_id")):
        if isinstance(cursor, str) and cursor:
            return cursor
    raise EndNotProven("the server says that there is more, but gives no cursor to ask for it")


def token(body: Json, key: str) -> str | None:
    """Read the opaque token of the next page; absent, null and empty mean that there is none."""
    said = body.get(key)
    if said is not None and not isinstance(said, str):
        raise WrongShape(f"{key} is not text: {ascii(said)[:40]}")
    return said or None


def listed(body: Json, key: str = "data", beside: Collection[str] | None = None) -> list[Json]:
    """Return the records of a page, or raise WrongShape saying what came instead.

    With `beside`, the other keys of the envelope, a page without records may lack the key, as in protobuf's JSON:
    https://protobuf.dev/programming-guides/json/#presence
    """
    if isinstance(body, dict) and not body.get("error"):
        records = body.get(key)
        if isinstance(records, list):
            return records
        if beside is not None and key not in body and body.keys() <= set(beside):
            return []
    raise WrongShape(f"the answer is not a page of a file list: {described(body)}")
