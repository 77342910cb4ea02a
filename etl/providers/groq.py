"""Groq: the batch files of a project.

https://console.groq.com/docs/api-reference#files-list; groq 1.7.0, types/file_list_response.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import Credential, Provider, Secret, Url, bearer, sent
from etl.providers.paging import whole
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page


class GroqCredential(Credential):
    """A key of a project."""

    HOLDER: ClassVar = "groq"

    type: Literal["groq"]
    base_url: Url = "https://api.groq.com/openai/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")


def headers(credential: GroqCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Read the list, which comes whole: the API knows no parameters and no pages."""
    return whole(get, "files", holder=credential.file_provider)


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": "bytes",
        "purpose": "purpose",
        "created_at": "created_at",
    },
    ignored=frozenset({"object"}),
)
"""`status`, `mime_type` and `expires_at` are not told."""

GROQ = Provider("groq", GroqCredential, headers, pages, READING)
