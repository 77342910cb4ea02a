"""Fireworks AI: the datasets of an account.

https://docs.fireworks.ai/api-reference/list-datasets; fireworks-ai 1.2.30, resources/datasets.py, types/dataset.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import Credential, Provider, Secret, Url, bearer, followed, listed, sent, token
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page, Params
    from etl.transform.record import Json


class FireworksCredential(Credential):
    """A key of an account."""

    SCOPE: ClassVar = (*Credential.SCOPE, "account_id")
    HOLDER: ClassVar = "fireworks"
    TELLS_PURPOSE: ClassVar = False

    type: Literal["fireworks"]
    base_url: Url = "https://api.fireworks.ai/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")
    account_id: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="The account whose datasets are listed.")


def headers(credential: FireworksCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: FireworksCredential) -> Iterator[Page]:
    """Follow `nextPageToken` until there is none; a page without datasets may lack their key."""
    path = f"accounts/{credential.account_id}/datasets"
    return followed(get, path, _next, records=_datasets, holder=credential.file_provider, pageSize=200)


def _datasets(body: Json) -> list[Json]:
    return listed(body, "datasets", beside={"nextPageToken", "totalSize"})


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

FIREWORKS = Provider("fireworks", FireworksCredential, headers, pages, READING)
