"""OpenAI, and every server that speaks its file list.

https://platform.openai.com/docs/api-reference/files/list
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from etl.errors import EndNotProven, Refused, WrongShape
from etl.providers.base import (
    Answer,
    Credential,
    Get,
    HeaderValue,
    Page,
    Provider,
    Secret,
    Url,
    listed,
    secret,
    sent,
    value,
)
from etl.transform.record import Json, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENAI_HOST = "api.openai.com"

FIRST_PAGES: tuple[dict[str, str | int], ...] = (
    {"limit": 10_000, "order": "asc"},
    {"limit": 100, "order": "asc"},
    {},
)
"""What to ask for, best first; a server may refuse a large limit, or parameters it does not know."""


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
    key = secret(credential.api_key)
    return sent(
        authorization=key and f"Bearer {key}",
        openai_organization=credential.organization,
        openai_project=credential.project,
    )


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Follow `after`, the last id seen, until `has_more` is not true; a missing `has_more` means done."""
    answer, params = _first(get, credential)
    provider = credential.file_provider or answer.headers.get("x-portkey-provider") or None
    while True:
        yield Page(listed(answer.body), provider)
        if not _more(answer.body):
            return
        answer = get("files", purpose=credential.purpose, **params, after=_cursor(answer.body))


def _first(get: Get, credential: Credential) -> tuple[Answer, dict[str, str | int]]:
    refusal = None
    for params in FIRST_PAGES:
        try:
            return get("files", purpose=credential.purpose, **params), params
        except Refused as error:
            refusal = refusal or error
            if error.status not in {400, 422}:
                break
    raise refusal  # type: ignore[misc]  # FIRST_PAGES is not empty


def _more(body: Json) -> bool:
    more = body.get("has_more")
    if more not in (None, True, False):
        raise WrongShape(f"has_more is neither true nor false: {ascii(more)[:40]}")
    return bool(more)


def _cursor(body: Json) -> str:
    """Return the id of the last record, as the official SDKs do; `last_id` where that has none."""
    last = body["data"][-1] if body["data"] else None
    for cursor in (value(last, "id"), body.get("last_id")):
        if isinstance(cursor, str) and cursor:
            return cursor
    raise EndNotProven("the server says that there is more, but gives no cursor to ask for it")


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

OPENAI = Provider("openai", headers, pages, READING)
