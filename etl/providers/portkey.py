"""The Portkey AI gateway, hosted or self-hosted: the file list of the provider behind it.

https://portkey.ai/docs/api-reference/inference-api/files/list-files
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from etl.errors import EndNotProven, WrongShape
from etl.providers import openai
from etl.providers.anthropic import ANTHROPIC
from etl.providers.base import (
    SECRETISH,
    Answer,
    Credential,
    HeaderValue,
    Page,
    Provider,
    Secret,
    Url,
    bearer,
    secret,
    sent,
    told,
    value,
)
from etl.providers.groq import GROQ
from etl.providers.mistral import MISTRAL
from etl.providers.openai import READING
from etl.providers.together import TOGETHER
from etl.providers.xai import XAI
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get
    from etl.transform.record import Json

HOSTED = "api.portkey.ai"

UPSTREAMS = {provider.type: provider for provider in (ANTHROPIC, GROQ, MISTRAL, TOGETHER, XAI)}
"""Whose lists the open-source gateway gives only as those of an OpenAI at another host."""

NAMES = {"google": "gemini", "mistral-ai": "mistral", "together-ai": "together", "x-ai": "xai"}
"""What the gateway calls providers that have a name of their own here: a file is one, whichever way it is seen."""

LOST = frozenset(
    {
        "anthropic",
        "deepseek",
        "gemini",
        "groq",
        "kluster-ai",
        "mistral",
        "ollama",
        "openrouter",
        "together",
        "workers-ai",
        "xai",
    }
)
"""Providers that the open-source gateway (1.15.2) asks for their bare base URL: what comes is no file list."""


def _inline(value: object) -> object:
    try:
        if isinstance(value, str) and value.startswith("{"):
            return json.dumps(json.loads(value))
        return json.dumps(value) if isinstance(value, dict) else value
    except (TypeError, ValueError):
        raise ValueError("is neither the id of a saved config nor a mapping that JSON can hold") from None


class PortkeyCredential(Credential):
    """A route through the gateway: a virtual key, a provider with its own key, or a gateway config."""

    SCOPE: ClassVar = (*Credential.SCOPE, "custom_host", "upstream", "route", "virtual_key_fingerprint")

    type: Literal["portkey"]
    base_url: Url = f"https://{HOSTED}/v1"
    api_key: Secret | None = Field(None, description="x-portkey-api-key; optional on a self-hosted gateway.")
    virtual_key: Secret | None = Field(None, description="x-portkey-virtual-key.")
    provider: HeaderValue | None = Field(None, description="x-portkey-provider: a name, or an @slug.")
    authorization: Secret | None = Field(None, description="The provider's own key, sent as Bearer.")
    custom_host: Url | None = Field(None, description="x-portkey-custom-host: the provider's base URL.")
    vendor: HeaderValue | None = Field(
        None, description="Who holds the files behind a slug, a virtual key or a config, such as openai."
    )
    upstream: Literal["anthropic", "groq", "mistral", "together", "xai"] | None = Field(
        None, description="Reach this provider as an OpenAI at its own host; authorization is its key."
    )
    config: Annotated[
        Secret | None,
        BeforeValidator(_inline),
        WithJsonSchema({"type": ["string", "object"]}),
        Field(description="x-portkey-config: the id of a saved config, or the config itself."),
    ] = None

    @model_validator(mode="after")
    def _names_a_route(self) -> Self:
        if not (self.virtual_key or self.provider or self.config or self.upstream):
            raise ValueError(
                "names no provider account: add virtual_key, provider or config"
                " (without one, hosted Portkey lists the files it stores itself)"
            )
        if self.custom_host and not (self.provider or self.upstream):
            raise ValueError("custom_host needs provider: name the kind of API that the host speaks")
        if self.api_key is None and urlsplit(self.base_url).hostname == HOSTED:
            raise ValueError("hosted Portkey wants its key; add api_key: ${PORTKEY_API_KEY}")
        if self._lacks_provider_key:
            raise ValueError(
                f"provider {self.provider} needs its own key: add authorization: ${{...}}"
                " (the gateway would send the words 'Bearer undefined')"
            )
        return self

    @model_validator(mode="after")
    def _names_one_upstream(self) -> Self:
        if self.upstream is None:
            return self
        if self.virtual_key or self.provider or self.config:
            raise ValueError("upstream is a route by itself: leave virtual_key, provider and config out")
        if self.authorization is None:
            variable = f"${{{self.upstream.upper()}_API_KEY}}"
            raise ValueError(f"upstream {self.upstream} needs its own key: add authorization: {variable}")
        if self.purpose and not UPSTREAMS[self.upstream].settings.TELLS_PURPOSE:
            raise ValueError(f"{self.upstream} tells no purpose of a file; leave purpose out")
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
        named = None if self.provider is None or self.provider.startswith("@") else self.provider
        holder = self.upstream or self.vendor or named
        return NAMES.get(holder, holder) if holder else None

    @property
    def is_hosted(self) -> bool:
        """Whether the gateway is one that Portkey runs."""
        return f".{urlsplit(self.base_url).hostname}".endswith(".portkey.ai")

    @property
    def has_one_target(self) -> bool:
        """Whether it is known that the gateway has no choice between accounts."""
        config = secret(self.config)
        inline = json.loads(config) if config and config.startswith("{") else {}
        targets = inline.get("targets")
        return isinstance(targets, list) and len(targets) == 1 and "targets" not in targets[0]

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
    return sent(
        x_portkey_api_key=secret(credential.api_key),
        x_portkey_virtual_key=secret(credential.virtual_key),
        x_portkey_provider=credential.provider,
        x_portkey_custom_host=credential.custom_host,
        x_portkey_config=secret(credential.config),
        authorization=bearer(credential.authorization),
    )


def pages(get: Get, credential: PortkeyCredential) -> Iterator[Page]:
    """Page as OpenAI is paged, and mind what the gateway makes of the providers whose lists it rewrites."""
    route = _Route(get, credential)
    for listed in openai.pages(route, credential):
        page = listed._replace(provider=NAMES.get(str(listed.provider), listed.provider))
        if page.provider in LOST and not credential.is_hosted:
            _refuse_root(page)
        if page.provider in REWRITTEN:
            yield page._replace(reading=REWRITTEN[page.provider], doubt=_doubt(page, route.body) or route.doubt)
            return
        in_own_words = page.provider == "anthropic" and any(value(record, "size_bytes") for record in page.records)
        yield page._replace(reading=ANTHROPIC.reading if in_own_words else None, doubt=route.doubt)


class _Route:
    """The `get` of one listing through the gateway, which must lead to one account."""

    def __init__(self, get: Get, credential: PortkeyCredential) -> None:
        self._get = get
        self._credential = credential
        self._target: str | None = None
        self.body: Json = None
        """Of the last answer."""

    def __call__(self, path: str, **params: str | int | None) -> Answer:
        answer = self._get(path, **params)
        target = answer.headers.get("x-portkey-last-used-option-index")
        if self._target and target and target != self._target:
            raise EndNotProven(f"{target} of the gateway config gave this page, {self._target} the one before")
        self._target, self.body = target or self._target, answer.body
        return answer

    @property
    def doubt(self) -> str | None:
        """Why the list may be another account's next time: a target of a config was chosen."""
        if not self._target or "targets[" not in self._target or self._credential.has_one_target:
            return None
        return (
            "its gateway config chooses among several targets, and each may be another account;"
            " give each target a credential of its own"
        )


def _refuse_root(page: Page) -> None:
    """Let what a root URL answers not pass as a list."""
    if not page.records or not all(value(record, "filename") for record in page.records):
        raise WrongShape(
            f"this gateway asks {page.provider} for its root URL, not for its files;"
            " use upstream, or the provider's own type without a gateway"
        )


REWRITTEN = {
    "cohere": Reading(
        {name: source for name, source in READING.fields.items() if name != "bytes"},
        ignored=READING.ignored | {"bytes"},
    ),
    "fireworks-ai": Reading(
        {name: source for name, source in READING.fields.items() if name not in {"bytes", "purpose"}},
        ignored=READING.ignored | {"bytes", "purpose", "organisation_id"},
    ),
}
"""What the gateway invents is left out: Cohere's size is always 0, the purpose at Fireworks always `fine-tune`."""


def _doubt(page: Page, body: Json) -> str | None:
    """Say why a list that the gateway rewrites is not known to be whole: it passes no page parameters on."""
    if page.provider == "cohere":
        return "the gateway asks Cohere for one page only, and does not tell whether there are more"
    if body.get("has_more"):
        return f"the gateway asks Fireworks for one page only, of {len(page.records)} of {body.get('total')} datasets"
    same = len(page.records) - len({str(value(record, "id")) for record in page.records})
    return f"the gateway makes an id of the display name, and {same} datasets share that of another" if same else None


def behind(credential: PortkeyCredential) -> Provider | None:
    """Speak the upstream's own dialect, through headers that make the gateway pass everything on."""
    if credential.upstream is None:
        return None
    upstream = UPSTREAMS[credential.upstream]
    return replace(
        upstream,
        headers=_forwarded,
        pages=lambda get, credential: upstream.pages(_Route(get, credential), credential),
        unsupported=unsupported,
    )


def _forwarded(credential: PortkeyCredential) -> dict[str, str]:
    """Name the upstream's host, and forward the headers that it wants: the gateway passes on no others."""
    kind = UPSTREAMS[str(credential.upstream)]
    direct = {"name": credential.name, "type": kind.type, "api_key": credential.authorization}
    own = kind.headers(kind.settings.model_validate(direct))
    forward = ",".join(name for name in own if name != "authorization")
    host = credential.custom_host or kind.settings.model_fields["base_url"].default
    route = credential.model_copy(update={"provider": "openai", "custom_host": host})
    return headers(route) | own | ({"x-portkey-forward-headers": forward} if forward else {})


def unsupported(status: int, body: Json) -> bool:
    """Know the two answers of the gateway (1.15.2) for providers that have no file list: Bedrock and Vertex."""
    message = told(body) or ""
    return status == 500 and ("listFiles is not supported" in message or message == "Model is required")  # noqa: PLR2004


LISTED = replace(READING, looked_at=frozenset({"id", "filename", "size_bytes"}))

PORTKEY = Provider("portkey", PortkeyCredential, headers, pages, LISTED, unsupported=unsupported, behind=behind)
