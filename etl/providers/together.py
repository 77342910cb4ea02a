"""Together AI: the files of a project.

https://docs.together.ai/reference/get-files; together 3.1.1, resources/files.py and types/file_response.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import Credential, Provider, Secret, Url, bearer, sent, value
from etl.providers.paging import whole
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page
    from etl.transform.record import Json


class TogetherCredential(Credential):
    """A key of a project."""

    HOLDER: ClassVar = "together"

    type: Literal["together"]
    base_url: Url = "https://api.together.ai/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")


def headers(credential: TogetherCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Read the list, which comes whole: the API knows no parameters and no pages."""
    return whole(get, "files", holder=credential.file_provider)


def _fault(record: Json) -> Json:
    return value(record.get("validation_report"), "error")


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": "bytes",
        "purpose": "purpose",
        "status": "processing_status",
        "status_details": _fault,
        "created_at": "created_at",
    },
    ignored=frozenset({"object"}),
)
"""`mime_type` and `expires_at` are not told."""

TOGETHER = Provider("together", TogetherCredential, headers, pages, READING)
