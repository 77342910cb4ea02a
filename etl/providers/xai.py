"""xAI: the files of a team.

https://docs.x.ai/docs/guides/files; xai-sdk 1.21.0, proto files_pb2 (ListFilesRequest, ListFilesResponse, File).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import Credential, Provider, Secret, Url, bearer, sent
from etl.providers.paging import followed, token
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page, Params
    from etl.transform.record import Json


class XAICredential(Credential):
    """A key of a team."""

    HOLDER: ClassVar = "xai"
    TELLS_PURPOSE: ClassVar = False

    type: Literal["xai"]
    base_url: Url = "https://api.x.ai/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")


def headers(credential: XAICredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Follow `pagination_token` until there is none, or the page is empty."""
    return followed(get, "files", _next, holder=credential.file_provider, limit=100)


def _next(body: Json) -> Params | None:
    page = token(body, "pagination_token")
    return {"pagination_token": page} if page and body["data"] else None


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": "bytes",
        "purpose": "purpose",
        "created_at": "created_at",
        "expires_at": "expires_at",
    },
    ignored=frozenset({"object", "public_url", "public_url_expires_at"}),
)
"""`purpose` is told, but empty. `status` and `mime_type` are not told."""

XAI = Provider("xai", XAICredential, headers, pages, READING)
