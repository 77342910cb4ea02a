"""Anthropic: the files of a workspace.

https://platform.claude.com/docs/en/build-with-claude/files; anthropic 2.14.0, resources/files.py and pagination.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import Credential, HeaderValue, Provider, Secret, Url, bearer, secret, sent
from etl.providers.paging import followed, last_id, more, token
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page, Params
    from etl.transform.record import Json


class AnthropicCredential(Credential):
    """A key of a workspace; with `beta`, the list comes in the older envelope."""

    SCOPE: ClassVar = (*Credential.SCOPE, "workspace_id")
    HOLDER: ClassVar = "anthropic"
    TELLS_PURPOSE: ClassVar = False

    type: Literal["anthropic"]
    base_url: Url = "https://api.anthropic.com/v1"
    api_key: Secret = Field(description="Sent as x-api-key, or as Authorization: Bearer since version 2026-10-21.")
    version: HeaderValue = Field("2023-06-01", description="Sent as anthropic-version.")
    beta: HeaderValue | None = Field(None, description="Sent as anthropic-beta, such as files-api-2025-04-14.")
    workspace_id: HeaderValue | None = Field(None, description="Sent as anthropic-workspace-id.")


def headers(credential: AnthropicCredential) -> dict[str, str]:
    """Carry the key in `x-api-key`; as a bearer token since version 2026-10-21, as its SDK does (_client.py)."""
    by_bearer = credential.version >= "2026-10-21"
    return sent(
        x_api_key=None if by_bearer else secret(credential.api_key),
        authorization=bearer(credential.api_key) if by_bearer else None,
        anthropic_version=credential.version,
        anthropic_beta=credential.beta,
        anthropic_workspace_id=credential.workspace_id,
    )


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Follow the cursor of the envelope that came: `next_page`, or `has_more` and the last id."""
    return followed(get, "files", _next, holder=credential.file_provider, limit=1000)


def _next(body: Json) -> Params | None:
    if "has_more" in body:
        return {"after_id": last_id(body)} if more(body) else None
    page = token(body, "next_page")
    return {"page": page} if page else None


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": "size_bytes",
        "mime_type": "mime_type",
        "created_at": "created_at",
        "expires_at": "expires_at",
    },
    ignored=frozenset({"type"}),
)
"""Times are RFC 3339. `purpose` and `status` are not told."""

ANTHROPIC = Provider("anthropic", AnthropicCredential, headers, pages, READING)
