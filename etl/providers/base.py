"""What a provider is: how its requests look, how its list is paged, what its fields mean."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Protocol, Self, TypeAlias
from urllib.parse import quote, urlsplit

from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from etl.transform.record import Json, Reading

SECRETISH = re.compile(r"(?i)((?<!port)key|token|secret|password|authorization|credential|cookie|service.?account)")
"""Names whose values are secrets: written as references only, and never shown."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: object) -> object:
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", value.strip())):
        return float(match[1]) * _UNITS[match[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError("is not a duration; write a number and a unit: 500ms, 10s, 5m, 1h, 7d")


Duration = Annotated[
    float,
    BeforeValidator(_seconds),
    Field(gt=0),
    WithJsonSchema({"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"}),
]
"""Seconds, written as `10s`, `5m`, `1h`, `7d`."""


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGTP]?)(i?)B", re.IGNORECASE)


def _bytes(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(float(match[1]) * (1024 if match[3] else 1000) ** " kmgtp".index(match[2].lower() or " "))
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("is not a size; write a number and a unit: 500MB, 100GB, 2.5TB, 1TiB")


Size = Annotated[
    int,
    BeforeValidator(_bytes),
    Field(ge=1, le=2**63 - 1),
    WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\d+(\.\d+)?\s*[kKmMgGtTpP]?[iI]?[bB]$"}),
]
"""Bytes, written as `500MB`, `2.5TB`, `1TiB`."""

_HTTP_URL = TypeAdapter(AnyHttpUrl)


def _url(value: str) -> str:
    try:
        _HTTP_URL.validate_python(value)
        parts = urlsplit(value)
        whole = parts.hostname and ".." not in parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("is not a URL; write it whole, such as https://api.openai.com/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment: put keys where they are asked for")
    return value.rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


Url = Annotated[str, AfterValidator(_url)]
"""An http(s) base URL without its last slash."""


_RHYTHM = TypeAdapter(Duration)
_CRON_FIELDS = 5  # crontab(5)


def rhythm(schedule: str) -> float | None:
    """Return the seconds of `every 15m`; None of cron fields."""
    return _RHYTHM.validate_python(schedule.removeprefix("every ")) if schedule.startswith("every ") else None


def _is_cron(value: str) -> bool:
    try:
        return len(value.split()) == _CRON_FIELDS and bool(next(CronSim(value, datetime(2000, 1, 1, tzinfo=UTC))))
    except (CronSimError, StopIteration):
        return False


def _schedule(value: str) -> str:
    try:
        valid = rhythm(value) is not None or _is_cron(value)
    except ValueError:
        valid = False
    if not valid:
        raise ValueError('is not a schedule; write five cron fields such as "*/15 * * * *", or: every 15m')
    return value


Schedule = Annotated[str, AfterValidator(_schedule)]
"""Five cron fields, or `every` and a duration."""


def _header(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isprintable()):
        raise ValueError("holds characters that no HTTP header can carry")
    return value


HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]
HeaderValue = Annotated[str, BeforeValidator(_header), Field(min_length=1)]
Secret = Annotated[SecretStr, BeforeValidator(_header)]
"""Names and values as RFC 9110 lets a header carry them."""


def _pem(value: object) -> object:
    if isinstance(value, str) and ("-----BEGIN" in value or not value.isprintable()):
        raise ValueError("is no path; write what it holds into a file, and name that file here")
    return value


PemFile = Annotated[Path, BeforeValidator(_pem)]
"""The path of a file that holds certificates or a key, PEM-encoded; also written as file:/path."""


class Settings(BaseModel):
    """Base of everything in the configuration: frozen, and nothing unknown in it."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True, allow_inf_nan=False
    )


class RequestSettings(Settings):
    """How one credential's requests are sent."""

    requests_per_second: float = Field(10.0, gt=0, le=1_000_000, description="At most this many, per credential.")
    connect_timeout: Duration = Field(10.0, description="To open a connection.")
    read_timeout: Duration = Field(60.0, description="Between two bytes of an answer.")
    page_timeout: Duration = Field(300.0, description="For one request, retries not counted.")
    listing_timeout: Duration = Field(3600.0, description="For all pages of one listing, retries counted.")
    attempts: int = Field(6, ge=1, description="Requests per page before it counts as failed.")
    max_page_bytes: int = Field(256_000_000, ge=1, description="An answer larger than this is refused.")
    ca_bundle: PemFile | None = Field(None, description="Trust these authorities (PEM) instead of the usual ones.")
    client_cert: PemFile | None = Field(None, description="Certificate (PEM) to show to servers that ask for one.")
    client_key: PemFile | None = Field(None, description="Its key (PEM), where client_cert does not hold that, too.")


class Brake(Settings):
    """When deletions are doubted: list again, or hold for a person."""

    recheck_percent: float = Field(10.0, ge=0, description="List once more when more than this is missing.")
    hold_percent: float = Field(50.0, ge=0, description="Hold the deletions when more than this is missing.")
    count: int = Field(20, ge=0, description="Neither, unless more files than this are missing.")


class Quota(Settings):
    """What an account may hold at most; None where no limit is known."""

    files: int | None = Field(None, ge=1, description="Most files.")
    bytes: Size | None = Field(None, description="Most bytes, such as 100GB.")


QUOTAS = {
    "openai": Quota(bytes=2_500_000_000_000),  # a project: https://platform.openai.com/docs/api-reference/files
    "anthropic": Quota(bytes=1_000_000_000_000),  # an organization
    "gemini": Quota(bytes=20_000_000_000),  # a project: https://ai.google.dev/gemini-api/docs/files
    "cohere": Quota(bytes=10_000_000_000),  # an organization: https://docs.cohere.com/docs/datasets
}
"""What providers allow, as their documentation says; a credential may say otherwise."""


class Credential(Settings):
    """One configured way into one provider account; each provider adds its own settings."""

    SCOPE: ClassVar[tuple[str, ...]] = ("type", "base_url", "provider", "purpose")
    """Settings that decide which files a listing may show."""
    HOLDER: ClassVar[str | None] = None
    """Who holds the files, where the type says it."""
    TELLS_PURPOSE: ClassVar[bool] = True
    """Whether its files have a purpose, so that a listing can keep to one."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Unique; stands in every table.")
    type: str
    base_url: Url
    provider: HeaderValue | None = Field(None, description="Who holds the files, such as openai.")
    purpose: str | None = Field(None, min_length=1, description="List only files of this purpose.")
    labels: dict[str, str] = Field(default_factory=dict, description="Yours to group by: team, env, ...")
    headers: dict[HeaderName, Secret] = Field(default_factory=dict, description="Sent with every request.")
    schedule: Schedule | None = Field(None, description="Overrides schedule above.")
    stale_after: Duration | None = Field(None, description="Overrides stale_after above.")
    allow_http: bool = Field(
        default=False, description="Send the key unencrypted to a base_url that is http:// beyond this machine."
    )
    track_extra: bool = Field(default=False, description="Let a change of unknown fields alone make a version.")
    http: RequestSettings = Field(default_factory=RequestSettings, description="Overrides of http above.")
    brake: Brake = Field(default_factory=Brake, description="Overrides of brake above.")
    quota: Quota = Field(default_factory=Quota, description="What the account may hold; else what its provider allows.")

    _found_in: str | None = PrivateAttr(None)

    @property
    def found_in(self) -> str | None:
        """The workspace of the configuration that it was found in; None where it is configured itself."""
        return self._found_in

    @model_validator(mode="after")
    def _has_purposes(self) -> Self:
        if self.purpose and not self.TELLS_PURPOSE:
            raise ValueError(f"{self.HOLDER} tells no purpose of a file; leave purpose out")
        return self

    @model_validator(mode="after")
    def _is_encrypted(self) -> Self:
        url = urlsplit(self.base_url)
        if url.scheme == "http" and not self.allow_http and not is_loopback(url.hostname or ""):
            raise ValueError(
                f"base_url would send the key to {url.hostname} unencrypted; write https://, or set allow_http: true"
                " where nobody else is on that network"
            )
        return self

    @property
    def file_provider(self) -> str | None:
        """The provider as far as the configuration tells it."""
        return self.provider or self.HOLDER

    def secrets(self) -> Iterator[str]:
        """Every secret value in it, for redaction."""
        hidden = [value for name, value in self.headers.items() if SECRETISH.search(name)]
        hidden += [value for name in type(self).model_fields if isinstance(value := getattr(self, name), SecretStr)]
        for value in hidden:
            yield value.get_secret_value()
            scheme, _, token = value.get_secret_value().partition(" ")
            if scheme in {"Bearer", "Basic"}:
                yield token

    def fingerprint(self) -> str | None:
        """Tell one set of keys from another without telling the keys: 12 hex digits of SHA-256."""
        secrets = sorted(set(self.secrets()))
        return hashlib.sha256("\0".join(secrets).encode()).hexdigest()[:12] if secrets else None

    def scope(self) -> str:
        """Tell as JSON which files a listing may show; a change of it is never read as deletions.

        Other keys may be another account: they count, though they are most often the same one, rotated.
        """
        scope = {key: value for key in self.SCOPE if (value := getattr(self, key)) is not None}
        return json.dumps({**scope, "keys": self.fingerprint()})


CredentialKind: TypeAlias = type[Credential]
"""Settings of one type of credential."""


class Answer(NamedTuple):
    """One HTTP answer of status 2xx."""

    body: Json
    headers: Mapping[str, str]


class Page(NamedTuple):
    """One page of a listing, as the provider sent its records."""

    records: list[Json]
    provider: str | None
    reading: Reading | None = None
    """What the fields of these records mean, where it is not what the provider's reading says."""
    doubt: str | None = None
    """Why the list that this is a page of is never proven to be whole, if so."""


Params: TypeAlias = "Mapping[str, str | int]"
"""Query parameters."""


class Get(Protocol):
    """Ask for one page; parameters that are None are not sent, and the same page is never asked for twice.

    Raises a ListingError when no usable answer comes.
    """

    def __call__(self, path: str, **params: str | int | None) -> Answer:
        """Return the answer to `GET base_url/path?params`."""


@dataclass(frozen=True)
class Provider:
    """One listing API. Adding one is a module like its neighbours and a line in the registry."""

    type: str
    settings: CredentialKind
    """What a credential of this type is configured with."""
    headers: Callable[[Any], dict[str, str]]
    """The headers that carry the credential, which is one of these settings."""
    pages: Callable[[Get, Any], Iterator[Page]]
    """Yield every page; returning means that the end was proven, EndNotProven that it was not."""
    reading: Reading
    """What the fields of a record mean."""
    place: Callable[[Any, str], str] = lambda _credential, file_id: below("files", file_id)
    """Where the file of an id is, below the base URL of a credential."""
    unsupported: Callable[[int, Json], bool] = lambda _status, _body: False
    """Whether this refusal (HTTP status, JSON body) means that no file list exists behind the route."""
    behind: Callable[[Any], Provider | None] = lambda _credential: None
    """The listing API that a credential speaks instead, if it is a way to another one."""


def below(folder: str, file_id: str) -> str:
    """Return the path of what has an id in a folder."""
    return f"{folder}/{quote(file_id, safe='')}"


def bearer(key: SecretStr | None) -> str | None:
    """Return the value of an Authorization header."""
    return f"Bearer {key.get_secret_value().removeprefix('Bearer ')}" if key else None


def value(record: Json, key: str) -> Json:
    """Return one field of a record, plain or JSON; None where there is none."""
    return record.get(key) if isinstance(record, dict) else getattr(record, key, None)


def secret(hidden: SecretStr | None) -> str | None:
    """Return what it hides."""
    return hidden.get_secret_value() if hidden else None


def sent(**headers: str | None) -> dict[str, str]:
    """Name headers as keywords, `_` for `-`; those without a value are left out."""
    return {name.replace("_", "-"): value for name, value in headers.items() if value is not None}


def described(body: Json) -> str:
    """Say in a few words what an unexpected body is."""
    if not isinstance(body, dict):
        return f"a JSON {type(body).__name__}" if body is not None else "an empty answer"
    if "html-message" in body:
        return "a web page"
    if message := told(body):
        return message
    keys = ", ".join(sorted(map(str, body))[:5])
    return f"an object with {keys}" if keys else "an empty object"


def told(body: Json) -> str | None:
    """Return the message of an error body, in any of the usual forms."""
    if not isinstance(body, dict):
        return None
    nested = body["data"] if isinstance(body.get("data"), dict) else body  # so Portkey's admin API words an error
    error = body.get("error") or nested
    message = error.get("message") or _detail(error) if isinstance(error, dict) else error
    return message if isinstance(message, str) and message else None


def _detail(error: Json) -> Json:
    """Read `detail` as FastAPI writes it: a sentence, or a list of faults.

    https://fastapi.tiangolo.com/tutorial/handling-errors/
    """
    detail = error.get("detail")
    fault = detail[0] if isinstance(detail, list) and detail else detail
    return fault.get("msg") if isinstance(fault, dict) else fault
