"""The Portkey AI gateway, hosted or self-hosted: the file list of the provider behind it.

https://portkey.ai/docs/api-reference/inference-api/files/list-files
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from etl.providers.base import SECRETISH, Credential, HeaderValue, Provider, Secret, Url, secret, sent, told
from etl.providers.openai import READING, pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.transform.record import Json

HOSTED = "api.portkey.ai"


def _inline(value: object) -> object:
    try:
        if isinstance(value, str) and value.startswith("{"):
            return json.dumps(json.loads(value))
        return json.dumps(value) if isinstance(value, dict) else value
    except (TypeError, ValueError):
        raise ValueError("is neither the id of a saved config nor a mapping that JSON can hold") from None


class PortkeyCredential(Credential):
    """A route through the gateway: a virtual key, a provider with its own key, or a gateway config."""

    SCOPE: ClassVar = (*Credential.SCOPE, "custom_host", "route", "virtual_key_fingerprint")

    type: Literal["portkey"]
    base_url: Url = f"https://{HOSTED}/v1"
    api_key: Secret | None = Field(None, description="x-portkey-api-key; optional on a self-hosted gateway.")
    virtual_key: Secret | None = Field(None, description="x-portkey-virtual-key.")
    provider: HeaderValue | None = Field(None, description="x-portkey-provider: a name, or an @slug.")
    authorization: Secret | None = Field(None, description="The provider's own key, sent as Bearer.")
    custom_host: Url | None = Field(None, description="x-portkey-custom-host: the provider's base URL.")
    config: Annotated[
        Secret | None,
        BeforeValidator(_inline),
        WithJsonSchema({"type": ["string", "object"]}),
        Field(description="x-portkey-config: the id of a saved config, or the config itself."),
    ] = None

    @model_validator(mode="after")
    def _names_a_route(self) -> Self:
        if not (self.virtual_key or self.provider or self.config):
            raise ValueError(
                "names no provider account: add virtual_key, provider or config"
                " (without one, hosted Portkey lists the files it stores itself)"
            )
        if self.custom_host and not self.provider:
            raise ValueError("custom_host needs provider: name the kind of API that the host speaks")
        if self.api_key is None and urlsplit(self.base_url).hostname == HOSTED:
            raise ValueError("hosted Portkey wants its key; add api_key: ${PORTKEY_API_KEY}")
        if self._lacks_provider_key:
            raise ValueError(
                f"provider {self.provider} needs its own key: add authorization: ${{...}}"
                " (the gateway would send the words 'Bearer undefined')"
            )
        return self

    @property
    def _lacks_provider_key(self) -> bool:
        by_name = self.provider is not None and not self.provider.startswith("@")
        return by_name and not (self.authorization or self.virtual_key or self.config or self.headers)

    @property
    def route(self) -> str | None:
        """The id of the saved config; of an inline one, what tells it from others, its secrets left out."""
        config = secret(self.config)
        if config is None or not config.startswith("{"):
            return config
        return hashlib.sha256(json.dumps(_without_secrets(json.loads(config))).encode()).hexdigest()[:12]

    @property
    def virtual_key_fingerprint(self) -> str | None:
        """Tells one virtual key from another: each is a way into one account."""
        key = secret(self.virtual_key)
        return key and hashlib.sha256(key.encode()).hexdigest()[:12]

    @property
    def file_provider(self) -> str | None:
        """The provider where it is named; a slug does not tell it."""
        return None if self.provider is None or self.provider.startswith("@") else self.provider

    def secrets(self) -> Iterator[str]:
        """Every secret value in it, those inside an inline config too."""
        yield from (value for value in super().secrets() if value != self.route)
        config = secret(self.config)
        if config and config.startswith("{"):
            yield from _secret_leaves(json.loads(config))


def _secret_leaves(value: Json, *, named: bool = False) -> Iterator[str]:
    if isinstance(value, str) and named:
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _secret_leaves(inner, named=bool(SECRETISH.search(key)))
    elif isinstance(value, list):
        for inner in value:
            yield from _secret_leaves(inner, named=named)


def _without_secrets(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items() if not SECRETISH.search(key)}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def headers(credential: PortkeyCredential) -> dict[str, str]:
    """Name the route in `x-portkey-*` headers."""
    key = secret(credential.authorization)
    return sent(
        x_portkey_api_key=secret(credential.api_key),
        x_portkey_virtual_key=secret(credential.virtual_key),
        x_portkey_provider=credential.provider,
        x_portkey_custom_host=credential.custom_host,
        x_portkey_config=secret(credential.config),
        authorization=key and f"Bearer {key.removeprefix('Bearer ')}",
    )


def unsupported(status: int, body: Json) -> bool:
    """Know the two answers of the gateway (1.15.2) for providers that have no file list: Bedrock and Vertex."""
    message = told(body) or ""
    return status == 500 and ("listFiles is not supported" in message or message == "Model is required")  # noqa: PLR2004


PORTKEY = Provider("portkey", headers, pages, READING, unsupported=unsupported)
