"""Google Gemini (Developer API): the files of a project, which live for 48 hours.

https://ai.google.dev/api/files; google-genai 3.6.1, types.File, files.py, and _api_client.py for version and key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import Credential, Provider, Secret, Url, below, secret, sent
from etl.providers.paging import followed, token
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page, Params
    from etl.transform.record import Json


class GeminiCredential(Credential):
    """A key of a Google Cloud project."""

    HOLDER: ClassVar = "gemini"
    TELLS_PURPOSE: ClassVar = False

    type: Literal["gemini"]
    base_url: Url = "https://generativelanguage.googleapis.com/v1"
    api_key: Secret = Field(description="Sent as x-goog-api-key.")


def headers(credential: GeminiCredential) -> dict[str, str]:
    """Carry the key in a header: in a URL it would end up in logs."""
    return sent(x_goog_api_key=secret(credential.api_key))


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Follow `nextPageToken` until there is none; a list without files lacks the key `files`."""
    beside = {"nextPageToken"}
    return followed(get, "files", _next, key="files", beside=beside, holder=credential.file_provider, pageSize=100)


def _next(body: Json) -> Params | None:
    page = token(body, "nextPageToken")
    return {"pageToken": page} if page else None


READING = Reading(
    {
        "file_id": "name",
        "filename": "displayName",
        "bytes": "sizeBytes",
        "status": "state",
        "status_details": "error",
        "mime_type": "mimeType",
        "created_at": "createTime",
        "expires_at": "expirationTime",
    },
    ignored=frozenset({"uri", "downloadUri"}),
    records="files",
)
"""The id is the whole name, `files/...`, as the API wants it back. Sizes are digits in text. `purpose` is not told."""


def _place(_credential: GeminiCredential, file_id: str) -> str:
    return below("files", file_id.removeprefix("files/"))


GEMINI = Provider("gemini", GeminiCredential, headers, pages, READING, _place)
