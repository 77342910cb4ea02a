"""OpenAI, and every server that speaks its file list.

https://platform.openai.com/docs/api-reference/files/list
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from etl.providers.base import Credential, HeaderValue, Page, Provider, Secret, Url, bearer, sent
from etl.providers.paging import first, last_id, listed, more
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Params

OPENAI_HOST = "api.openai.com"

FIRST_PAGES: tuple[Params, ...] = (
    {"limit": 10_000, "order": "asc"},
    {"limit": 100, "order": "asc"},
    {},
)
"""What to ask for, best first."""


class OpenAICredential(Credential):
    """A key of OpenAI or of an OpenAI-compatible server."""

    SCOPE: ClassVar = (*Credential.SCOPE, "organization", "project")

    type: Literal["openai"]
    base_url: Url = f"https://{OPENAI_HOST}/v1"
    api_key: Secret | None = Field(None, description="Sent as Authorization: Bearer.")
    organization: HeaderValue | None = Field(None, description="Sent as OpenAI-Organization.")
    project: HeaderValue | None = Field(None, description="Sent as OpenAI-Project.")

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if self.api_key is None and self._is_openai:
            raise ValueError("OpenAI wants a key; add api_key: ${OPENAI_API_KEY}")
        return self

    @property
    def _is_openai(self) -> bool:
        return urlsplit(self.base_url).hostname == OPENAI_HOST

    @property
    def file_provider(self) -> str | None:
        """`openai` at OpenAI itself; what another server is, only the configuration can tell."""
        return self.provider or ("openai" if self._is_openai else None)


def headers(credential: OpenAICredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(
        authorization=bearer(credential.api_key),
        openai_organization=credential.organization,
        openai_project=credential.project,
    )


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Follow `after`, the last id seen, until `has_more` is not true; a missing `has_more` means done."""
    return paged(get, "files", credential)


def paged(get: Get, path: str, credential: Credential, **params: str | int | None) -> Iterator[Page]:
    """Page the list at a path in the way of OpenAI."""
    asked = {"purpose": credential.purpose, **params}
    answer, form = first(get, path, FIRST_PAGES, **asked)
    provider = credential.file_provider or answer.headers.get("x-portkey-provider") or None
    while True:
        yield Page(listed(answer.body), provider)
        if not more(answer.body):
            return
        answer = get(path, **asked, **form, after=last_id(answer.body))


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": "bytes",
        "purpose": "purpose",
        "status": "status",
        "status_details": "status_details",
        "created_at": "created_at",
        "expires_at": "expires_at",
    },
    ignored=frozenset({"object"}),
)
"""`mime_type` is not told."""

OPENAI = Provider("openai", OpenAICredential, headers, pages, READING)
