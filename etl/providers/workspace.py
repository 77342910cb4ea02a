"""A Portkey workspace: every active provider in it is a credential by itself.

https://portkey.ai/docs/api-reference/admin-api/control-plane/providers/list-providers
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.providers.base import QUOTAS, Credential, Provider, Quota, Secret, Url, secret, sent
from etl.providers.portkey import HOSTED, PortkeyCredential
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page


class WorkspaceCredential(Credential):
    """A key of Portkey that may read which providers a workspace has, and list their files."""

    SCOPE: ClassVar = (*Credential.SCOPE, "workspace")

    type: Literal["portkey-workspace"]
    base_url: Url = f"https://{HOSTED}/v1"
    api_key: Secret = Field(description="x-portkey-api-key, of the workspace.")
    workspace: str | None = Field(
        None, min_length=1, description="Id of the workspace; a key of an organisation needs it."
    )
    include: tuple[str, ...] = Field(("*",), description="Patterns of the slugs that are taken, such as openai-*.")
    exclude: tuple[str, ...] = Field((), description="Patterns of the slugs that are left out.")

    def takes(self, slug: str) -> bool:
        """Tell whether a provider of this slug is one of its credentials."""
        wanted, unwanted = (any(fnmatchcase(slug, one) for one in some) for some in (self.include, self.exclude))
        return wanted and not unwanted

    def slug(self, name: str) -> str | None:
        """Return the slug of the provider whose credential has this name; None if it is none of this workspace."""
        slug = name.removeprefix(f"{self.name}.")
        return slug if slug != name and self.takes(slug) else None

    def route(self, slug: str, vendor: str | None = None) -> PortkeyCredential:
        """Return the credential of one provider, named `WORKSPACE.SLUG`, with the settings of the workspace."""
        allowed = QUOTAS.get(vendor or "", Quota())
        made = PortkeyCredential(
            name=f"{self.name}.{slug}",
            type="portkey",
            base_url=self.base_url,
            api_key=self.api_key,
            provider=f"@{slug}",
            vendor=vendor,
            purpose=self.purpose,
            labels={"workspace": self.name} | self.labels,
            headers=self.headers,
            schedule=self.schedule,
            stale_after=self.stale_after,
            allow_http=self.allow_http,
            track_extra=self.track_extra,
            http=self.http,
            brake=self.brake,
            quota=allowed.model_copy(update=self.quota.model_dump(exclude_unset=True)),
        )
        made._found_in = self.name  # noqa: SLF001 - of what is made
        return made


def headers(credential: WorkspaceCredential) -> dict[str, str]:
    """Carry the key as Portkey wants it."""
    return sent(x_portkey_api_key=secret(credential.api_key))


def pages(_get: Get, _credential: WorkspaceCredential) -> Iterator[Page]:
    """Yield nothing: a workspace holds no files, its providers do."""
    yield from ()


WORKSPACE = Provider("portkey-workspace", WorkspaceCredential, headers, pages, Reading({}))
