"""OpenRouter: the files of a workspace, or those of a provider whose key the workspace keeps.

https://openrouter.ai/docs/api-reference/files; openrouter 1.3.84, files.py and components/openrouterfilelist.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlencode

from pydantic import Field

from etl.errors import EndNotProven
from etl.providers.base import Credential, HeaderValue, Provider, Secret, Url, bearer, below, sent
from etl.providers.paging import followed, last_id, more, token
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page, Params
    from etl.transform.record import Json


class OpenRouterCredential(Credential):
    """A key of a workspace."""

    SCOPE: ClassVar = (*Credential.SCOPE, "workspace_id")
    HOLDER: ClassVar = "openrouter"
    TELLS_PURPOSE: ClassVar = False

    type: Literal["openrouter"]
    base_url: Url = "https://openrouter.ai/api/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")
    provider: Literal["openai", "anthropic"] | None = Field(
        None, description="List what this provider holds, by the workspace's own key for it."
    )
    workspace_id: HeaderValue | None = Field(None, description="Else the key's default workspace.")


def headers(credential: OpenRouterCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: OpenRouterCredential) -> Iterator[Page]:
    """Follow the cursor of the envelope that came: its own, OpenAI's or Anthropic's."""
    return followed(
        get,
        "files",
        _next,
        holder=credential.file_provider,
        limit=1000,
        provider=credential.provider,
        workspace_id=credential.workspace_id,
    )


def _next(body: Json) -> Params | None:
    if "cursor" not in body:
        return {"after" if "object" in body else "after_id": last_id(body)} if more(body) else None
    cursor = token(body, "cursor")
    if cursor is None and more(body):
        raise EndNotProven("the server says that there is more, but gives no cursor to ask for it")
    return {"cursor": cursor} if cursor else None


def _size(record: Json) -> Json:
    return record.get("size_bytes", record.get("bytes"))


READING = Reading(
    {
        "file_id": "id",
        "filename": "filename",
        "bytes": _size,
        "purpose": "purpose",
        "status": "status",
        "mime_type": "mime_type",
        "created_at": "created_at",
    },
    ignored=frozenset({"object", "type", "_shape", "bytes", "size_bytes"}),
)
"""`purpose` and `status` only of files at OpenAI, `mime_type` only of others; `expires_at` is not told."""


def _place(credential: OpenRouterCredential, file_id: str) -> str:
    asked = {"provider": credential.provider, "workspace_id": credential.workspace_id}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    return below("files", file_id) + (f"?{query}" if query else "")


OPENROUTER = Provider("openrouter", OpenRouterCredential, headers, pages, READING, _place)
