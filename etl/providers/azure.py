"""Azure OpenAI: the files of one resource, by `/openai/v1` or by a dated `api-version`.

https://learn.microsoft.com/azure/foundry/openai/latest for v1, which pages as OpenAI does; Files_List in
https://github.com/Azure/azure-rest-api-specs (2024-10-21) for the dated ones: no paging, `bytes` may be null.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from etl.providers.base import Credential, Provider, Secret, Url, bearer, below, secret, sent
from etl.providers.openai import READING, paged
from etl.providers.paging import whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get, Page


def _endpoint(url: str) -> str:
    return url.removesuffix("/v1").removesuffix("/openai")


_VERSION = r"^(v1|preview|\d{4}-\d{2}-\d{2}(-preview)?)$"


def _version(value: object) -> object:
    written = value.isoformat() if isinstance(value, date) else value  # YAML reads 2024-10-21 as a date
    if isinstance(written, str) and not re.fullmatch(_VERSION, written):
        raise ValueError('is not a version; write v1, preview, or a date such as "2024-10-21"')
    return written


class AzureOpenAICredential(Credential):
    """A key, or an Entra token, of one Azure OpenAI resource."""

    SCOPE: ClassVar = (*Credential.SCOPE, "api_version")
    HOLDER: ClassVar = "azure-openai"

    type: Literal["azure-openai"]
    base_url: Annotated[Url, AfterValidator(_endpoint)] = Field(
        description="The resource's endpoint: https://NAME.openai.azure.com"
    )
    api_version: Annotated[str, BeforeValidator(_version)] = Field(
        "v1",
        json_schema_extra={"pattern": _VERSION},
        description="v1, preview, or a date such as 2024-10-21 for the classic API.",
    )
    api_key: Secret | None = Field(None, description="Sent as api-key.")
    entra_token: Secret | None = Field(None, description="Sent as Authorization: Bearer, instead of a key.")

    @model_validator(mode="after")
    def _has_key(self) -> Self:
        if (self.api_key is None) == (self.entra_token is None):
            raise ValueError("Azure OpenAI wants one of the two: api_key: ${AZURE_OPENAI_API_KEY}, or entra_token")
        return self


def headers(credential: AzureOpenAICredential) -> dict[str, str]:
    """Carry the key in `api-key`, a token as a bearer token."""
    return sent(api_key=secret(credential.api_key), authorization=bearer(credential.entra_token))


def pages(get: Get, credential: AzureOpenAICredential) -> Iterator[Page]:
    """Page v1 as OpenAI is paged; the classic list comes whole."""
    version = credential.api_version
    if version in {"v1", "preview"}:
        return paged(get, "openai/v1/files", credential, **{"api-version": None if version == "v1" else version})
    asked = {"purpose": credential.purpose, "api-version": version}
    return whole(get, "openai/files", holder=credential.file_provider, **asked)


def _place(_credential: AzureOpenAICredential, file_id: str) -> str:
    return below("openai/v1/files", file_id)


AZURE_OPENAI = Provider("azure-openai", AzureOpenAICredential, headers, pages, READING, _place)
