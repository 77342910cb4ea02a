"""Fireworks AI: the datasets of an account.

https://docs.fireworks.ai/api-reference/list-datasets; fireworks-ai 1.2.30, resources/datasets.py, types/dataset.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal
from urllib.parse import quote

from pydantic import AfterValidator, Field

from etl.providers.base import Credential, Provider, Secret, Url, bearer, sent
from etl.providers.paging import followed, token
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page, Params
    from etl.transform.record import Json


def _account(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise ValueError("is not the id of an account, which has letters, digits, dashes and underscores")
    return value


class FireworksCredential(Credential):
    """A key of an account."""

    SCOPE: ClassVar = (*Credential.SCOPE, "account_id")
    HOLDER: ClassVar = "fireworks"
    TELLS_PURPOSE: ClassVar = False

    type: Literal["fireworks"]
    base_url: Url = "https://api.fireworks.ai/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")
    account_id: Annotated[str, AfterValidator(_account)] = Field(description="The account whose datasets are listed.")


def headers(credential: FireworksCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: FireworksCredential) -> Iterator[Page]:
    """Follow `nextPageToken` until there is none; a list without datasets may lack their key."""
    path, beside = f"accounts/{credential.account_id}/datasets", {"nextPageToken", "totalSize"}
    return followed(get, path, _next, key="datasets", beside=beside, holder=credential.file_provider, pageSize=200)


def _next(body: Json) -> Params | None:
    page = token(body, "nextPageToken")
    return {"pageToken": page} if page else None


READING = Reading(
    {
        "file_id": "name",
        "filename": "displayName",
        "status": "state",
        "status_details": "status",
        "created_at": "createTime",
    },
    ignored=frozenset({"externalUrl"}),
    records="datasets",
)
"""The id is the whole name, `accounts/.../datasets/...`. Sizes, `purpose`, `mime_type`, `expires_at` are not told."""


def _place(_credential: FireworksCredential, name: str) -> str:
    return quote(name)


FIREWORKS = Provider("fireworks", FireworksCredential, headers, pages, READING, _place)
