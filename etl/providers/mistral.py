"""Mistral: the files of an organisation.

https://docs.mistral.ai/api/endpoint/files; mistralai 3.7.0, client/files.py and models/fileschema.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.errors import EndNotProven, WrongShape
from etl.providers.base import Credential, Page, Provider, Secret, Url, bearer, sent
from etl.providers.paging import first, listed
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Params
    from etl.transform.record import Json

FIRST_PAGES: tuple[Params, ...] = ({"page_size": 1000}, {"page_size": 100})
"""What to ask for, best first: how large a page may be is not documented, 100 is the default."""


class MistralCredential(Credential):
    """A key of a workspace."""

    HOLDER: ClassVar = "mistral"

    type: Literal["mistral"]
    base_url: Url = "https://api.mistral.ai/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")


def headers(credential: MistralCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Count pages from 0 until `total` files came, or an empty page where no total is told.

    Pages shift when a file is deleted or added meanwhile; a total that changes, or is not met, tells of it.
    """
    answer, form = first(get, "files", FIRST_PAGES, purpose=credential.purpose)
    totals: set[int | None] = set()
    seen = page = 0
    while True:
        records, total = listed(answer.body), _total(answer.body)
        yield Page(records, credential.file_provider)
        totals.add(total)
        seen, page = seen + len(records), page + 1
        if not records or (total is not None and seen >= total):
            break
        answer = get("files", purpose=credential.purpose, **form, page=page)
    if len(totals) > 1 or total not in (None, seen):
        raise EndNotProven(f"the list changed while it was read: {seen} files came, of {_told(totals)}")


def _told(totals: set[int | None]) -> str:
    return " or ".join(map(str, sorted(total for total in totals if total is not None)))


def _total(body: Json) -> int | None:
    total = body.get("total") if isinstance(body, dict) else None
    if isinstance(total, bool) or not (total is None or isinstance(total, int)):
        raise WrongShape(f"total is not a number: {ascii(total)[:40]}")
    return total


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": "bytes",
        "purpose": "purpose",
        "mime_type": "mimetype",
        "created_at": "created_at",
        "expires_at": "expires_at",
    },
    ignored=frozenset({"object"}),
)
"""`status` is not told."""

MISTRAL = Provider("mistral", MistralCredential, headers, pages, READING)
