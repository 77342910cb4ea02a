"""The configuration: one YAML file, checked whole before anything is sent."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    Tag,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

from etl.errors import ConfigError, blot, looks_like_key, nearest
from etl.places import Lake, Place, as_place
from etl.providers import KINDS, AnyCredential, WorkspaceCredential
from etl.providers.base import (
    QUOTAS,
    Brake,
    Credential,
    Duration,
    Quota,
    RequestSettings,
    Schedule,
    Secret,
    Settings,
    Size,
    is_loopback,
)
from etl.references import Location, References

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEFAULT_PATH = "config/inventory.yaml"


_MEMORY = re.compile(r"\d+(\.\d+)?\s*([KMGT]i?B)", re.IGNORECASE)


def _memory(value: str) -> str:
    if not _MEMORY.fullmatch(value.strip()):
        raise ValueError("is not an amount of memory; write a number and a unit: 512MB, 2GB")
    return value


class HttpSettings(RequestSettings):
    """How requests are sent; a credential may override all but the first two."""

    workers: int = Field(16, ge=1, description="Listings fetched side by side.")
    per_host: int = Field(8, ge=1, description="Requests in flight to one host.")


class Serve(Settings):
    """Where the service listens, and what it lets callers use."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; beyond loopback needs a token.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes any that is free.")
    token: Secret | None = Field(None, description="Asked of every caller; needed beyond loopback.", min_length=1)
    stop_grace: Duration = Field(5.0, description="How long a run may go on once the service is told to stop.")
    query_timeout: Duration = Field(30.0, description="A query that takes longer is ended.")
    query_rows: int = Field(
        100_000, ge=1, description="Rows that a query may return; the rest is cut off, and said so."
    )
    query_memory: Annotated[str, AfterValidator(_memory)] = Field("512MB", description="Memory that a query may use.")

    @model_validator(mode="after")
    def _strangers_need_a_token(self) -> Self:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"host {self.host} lets other machines in; set token, or listen on 127.0.0.1")
        return self


class Log(Settings):
    """What the service writes to its log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="console for people, json for programs; auto is console on a terminal."
    )


class Alerts(Settings):
    """Who is told when something needs a person."""

    to: tuple[SecretStr, ...] = Field((), description="Apprise URLs: Slack, mail, a webhook, ...")
    repeat: Duration = Field(86400.0, description="Tell again what still holds after this long.", examples=["24h"])
    expiring_within: Duration = Field(604800.0, description="Tell of files that expire so soon.", examples=["7d"])


class ReportSettings(Settings):
    """The report that the service sends to the channels of alerts.to."""

    schedule: Schedule | None = Field(None, description="When it is sent; never unless set.", examples=["0 8 * * 1"])
    since: Duration = Field(604800.0, description="How long the period is that it tells of.", examples=["7d"])
    format: Literal["html", "md"] = Field(
        "html", description="html: the summary, with the page attached; md: all of it in the message."
    )


def _cluster(value: str) -> str:
    if value.startswith("ray://"):
        raise ValueError("is Ray Client, which cannot stream results; run on a node of the cluster, and write auto")
    if not re.fullmatch(r"auto|local|[^\s/:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}", value):
        raise ValueError("is no Ray cluster; write auto, HOST:PORT of its head node, or local to start one here")
    return value


class RaySettings(Settings):
    """A Ray cluster that fetches the listings, for thousands of credentials."""

    address: Annotated[str, AfterValidator(_cluster)] = Field(
        "auto", description="auto: the cluster that this machine is a node of; HOST:PORT of its head; local: one here."
    )
    shared: Path | None = Field(
        None, description="A folder that all its nodes see, where listings lie until they are applied."
    )

    @model_validator(mode="after")
    def _nodes_share_a_folder(self) -> Self:
        if self.shared is None and self.address != "local":
            raise ValueError("shared is missing; name a folder that all nodes of the cluster see")
        return self


class Rule(Settings):
    """A check in SQL: what it returns breaks the rule."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Unique.")
    query: str = Field(min_length=1, description="SQL over the published database; every row is an offender.")
    severity: Literal["warning", "critical"] = "warning"
    message: str = Field(min_length=1, description="What it means, and what to do.")


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):
        raise ValueError("is not a time zone; write a name such as UTC or Europe/Berlin") from None
    return value


def _own(settings: RequestSettings) -> dict[str, Any]:
    """Return what is set; a certificate without a key holds its own, not the one that all share."""
    own = settings.model_dump(exclude_unset=True)
    return {"client_key": None} | own if "client_cert" in own else own


def _allowed(credential: Credential) -> Quota:
    return QUOTAS.get(credential.file_provider or "", Quota())


class Config(Settings):
    """Everything the operator decides."""

    store: Annotated[
        Annotated[Path, Tag("path")] | Annotated[Lake, Tag("lake")],
        Discriminator(lambda stored: "lake" if isinstance(stored, dict | Lake) else "path"),
    ] = Field(
        Path("data/inventory.duckdb"),
        description="The published database, with the writer's beside it; or a DuckLake that many hosts share.",
    )
    memory_limit: Size | None = Field(
        None, description="About how much a run may take, such as 1.5GB; more is spilled to files beside the store."
    )
    schedule: Schedule | None = Field(None, description="When the service syncs.")
    jitter: Duration | None = Field(
        None, description="Shift each schedule by a random time up to this, so that many instances do not ask at once."
    )
    timezone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="What the schedule is read in.")
    stale_after: Duration = Field(
        86400.0,
        description="A credential is stale when its last complete listing is older.",
        examples=["24h"],
    )
    credentials: tuple[Annotated[AnyCredential, Field(discriminator="type")], ...] = Field(
        json_schema_extra={"minItems": 1}
    )
    http: HttpSettings = Field(default_factory=HttpSettings)
    brake: Brake = Field(default_factory=Brake)
    serve: Serve = Field(default_factory=Serve)
    log: Log = Field(default_factory=Log)
    alerts: Alerts = Field(default_factory=Alerts)
    report: ReportSettings = Field(default_factory=ReportSettings)
    rules: tuple[Rule, ...] = ()
    ray: RaySettings | None = Field(None, description="Fetch on a Ray cluster; else on threads of this process.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if not self.credentials:
            raise ValueError("credentials: names none; add one")
        for kind, named in (("credentials", self.credentials), ("rules", self.rules)):
            counts = Counter(one.name for one in named)
            if twice := [name for name, count in counts.items() if count > 1]:
                raise ValueError(f"two {kind} have the name {', '.join(twice)}: give each its own")
        return self

    @model_validator(mode="after")
    def _reports_have_readers(self) -> Self:
        if self.report.schedule and not self.alerts.to:
            raise ValueError("report: has a schedule, but alerts.to names no channel to send it to")
        return self

    @model_validator(mode="after")
    def _settings_reach_credentials(self) -> Self:
        shared = self.http.model_dump(include=set(RequestSettings.model_fields))
        settled = tuple(
            credential.model_copy(
                update={
                    "schedule": credential.schedule or self.schedule,
                    "stale_after": credential.stale_after or self.stale_after,
                    "http": RequestSettings(**shared | _own(credential.http)),
                    "brake": self.brake.model_copy(update=credential.brake.model_dump(exclude_unset=True)),
                    "quota": _allowed(credential).model_copy(update=credential.quota.model_dump(exclude_unset=True)),
                }
            )
            for credential in self.credentials
        )
        object.__setattr__(self, "credentials", settled)
        return self

    _hidden: set[str] = PrivateAttr(default_factory=set)
    _files: set[Path] = PrivateAttr(default_factory=set)
    _holding: dict[Path, str] = PrivateAttr(default_factory=dict)

    def sources(self) -> dict[Path, tuple[int, ...] | None]:
        """Return the files it was read from, each with what differs once it is written anew; None where it is gone."""
        return {path: _written_at(path) for path in self._files}

    def exposed(self) -> Iterator[str]:
        """Say which of the files it was read from let everybody on this machine read secrets."""
        for path, holds in sorted(self._holding.items()):
            with suppress(OSError):
                if path.stat().st_mode & stat.S_IROTH:
                    yield f"{path} holds {holds}, and everybody on this machine may read it; run: chmod o-r {path}"

    def secrets(self) -> set[str]:
        """Every secret value in it, for redaction."""
        secrets = self._hidden.union(*(credential.secrets() for credential in self.credentials))
        own = (*self.alerts.to, *([self.serve.token] if self.serve.token else []))
        stored = self.store.secrets() if isinstance(self.store, Lake) else ()
        return secrets | {secret.get_secret_value() for secret in own} | set(stored)

    def credential(self, name: str) -> Credential:
        """Return the credential of that name, or raise ConfigError with the nearest name.

        Every name of the form WORKSPACE.SLUG is one, if there is such a workspace.
        """
        named = {credential.name: credential for credential in self.credentials}
        if name in named:
            return named[name]
        for workspace in self.workspaces:
            if slug := workspace.slug(name):
                return workspace.route(slug)
        raise ConfigError(f"no credential is named {name}{nearest(name, named)}")

    @property
    def workspaces(self) -> tuple[WorkspaceCredential, ...]:
        """The credentials that are many: one for each provider that is found in them."""
        return tuple(one for one in self.credentials if isinstance(one, WorkspaceCredential))

    def configures(self, name: str) -> bool:
        """Tell whether a credential of this name may be listed."""
        return any(one.name == name for one in self.credentials) or any(one.slug(name) for one in self.workspaces)

    def with_found(self, found: Sequence[Credential]) -> Config:
        """Return the same with the credentials that were found in its workspaces."""
        return self.model_copy(update={"credentials": (*self.credentials, *found)})

    def rule(self, name: str) -> Rule:
        """Return the rule of that name, or raise ConfigError with the nearest name."""
        names = [rule.name for rule in self.rules]
        if name not in names:
            raise ConfigError(f"no rule is named {name}{nearest(name, names) if names else '; none is configured'}")
        return self.rules[names.index(name)]


def load_config(
    path: str | Path | None = None, *, env: Mapping[str, str] | None = None, secrets: bool = True
) -> Config:
    """Read and check a configuration file.

    Args:
        path: The file; else `$FILE_INVENTORY_CONFIG`, else `config/inventory.yaml`.
        env: Where `${NAME}` is looked up; the process environment by default.
        secrets: Whether to read secrets; else they stay references, for those who send nothing.

    Raises:
        ConfigError: With one line for each fault.
    """
    env = os.environ if env is None else env
    path = _found(path, env)
    raw = _read(path)
    references = References(env, secrets)
    faults = references.faults
    try:
        config = Config.model_validate(references.resolve(raw))
        config._hidden, config._files = references.hidden, {path, *references.files}  # noqa: SLF001 - of what is loaded
    except RecursionError:
        raise ConfigError(f"{path}: an alias stands inside what it refers to; write it out") from None
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            location = _without_tag(fault["loc"])
            if location not in faults or fault["type"] == "extra_forbidden":
                faults[location] = _sentence(fault)
    config_holds = {path: "what looks like a key"} if looks_like_key(str(raw)) else {}
    if not faults:
        config._holding = config_holds | dict.fromkeys(references.secret_files, "a secret")  # noqa: SLF001 - the same
    if faults:
        lines = (blot(_written(location, raw) + faults[location], references.values) for location in faults)
        raise ConfigError("\n".join(f"{path}: {line}" for line in lines))
    return config


def store_path(path: str | Path | None = None, *, env: Mapping[str, str] | None = None) -> Place:
    """Find the inventory, for those who only read: no secret but the store's is needed, nothing else is checked.

    Raises:
        ConfigError: The file, or what it says about the store, cannot be read.
    """
    env = os.environ if env is None else env
    path = _found(path, env)
    raw = _read(path)
    stored = raw.get("store") if isinstance(raw, dict) else None
    if stored is None:
        return Path(Config.model_fields["store"].default)
    if not isinstance(stored, str | dict):
        raise ConfigError(f"{path}: store: is not a path; write one such as data/inventory.duckdb")
    references = References(env)
    stored = references.resolve(stored, ("store",))
    if references.faults:
        faults = (f"{path}: {_written(location, raw)}{fault}" for location, fault in references.faults.items())
        raise ConfigError("\n".join(faults))
    try:
        return as_place(stored)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _written_at(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _found(path: str | Path | None, env: Mapping[str, str]) -> Path:
    return Path(path or env.get("FILE_INVENTORY_CONFIG") or DEFAULT_PATH)


def shipped(name: str) -> Path:
    """Return a file that comes with the product: from the wheel, or from the source tree."""
    in_wheel = Path(__file__).with_name("shipped") / name
    return in_wheel if in_wheel.exists() else Path(__file__).parents[1] / "config" / name


_MOST_BYTES = 1_000_000
"""A configuration of ten thousand credentials is smaller."""

_BRACKETS = re.compile(r"[\[\]{}]")
_DEEPEST = 200

_MOST_VALUES = 100_000
"""That a file may hold once its aliases are written out."""


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: is larger than a configuration can be ({_MOST_BYTES // 1_000_000} MB)")
    return content.decode("utf-8-sig")


def _expect_shallow(path: Path, text: str) -> None:
    """Refuse brackets in brackets in brackets, which take the parser long."""
    depth = 0
    for bracket in _BRACKETS.findall(text):
        depth = depth + 1 if bracket in "[{" else max(0, depth - 1)
        if depth > _DEEPEST:
            raise ConfigError(f"{path}: is nested deeper than a configuration can be")


def _expect_modest(path: Path, text: str) -> None:
    """Refuse a file whose aliases, written out, hold more than anybody can mean."""
    sizes: dict[str, int] = {}
    holders = [0]
    anchors: list[str | None] = []
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, CollectionStartEvent):
            holders.append(0)
            anchors.append(event.anchor)
            continue
        if not isinstance(event, NodeEvent | CollectionEndEvent):
            continue
        ends = isinstance(event, CollectionEndEvent)
        size, anchor = (1 + holders.pop(), anchors.pop()) if ends else (1, getattr(event, "anchor", None))
        if isinstance(event, AliasEvent):
            size = sizes.get(anchor or "", 1)  # of none, and of one that it stands in, the loader tells
        elif anchor:
            sizes[anchor] = size
        holders[-1] += size
        if size > _MOST_VALUES or holders[-1] > _MOST_VALUES:
            raise ConfigError(
                f"{path}: its aliases stand for more than {_MOST_VALUES:,} values; write out what you mean"
            )


def _read(path: Path) -> Any:
    try:
        text = _text(path)
        _expect_shallow(path, text)
        if "&" in text:
            _expect_modest(path, text)
        return YAML(typ="safe", pure=True).load(text)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; write a starter there with: file-inventory init {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is nested deeper than a configuration can be") from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        raise ConfigError(f"{path}: not valid YAML: a number, a date or a tag in it cannot be read") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = str(getattr(error, "problem", None) or "it cannot be parsed").splitlines()[0]
        problem = problem.split(" with value ")[0]  # which may be a secret
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from None


def _without_tag(location: Location) -> Location:
    """Drop the credential's type, which pydantic adds to the path."""
    tagged = location[:1] == ("credentials",) and len(location) > 2 and location[2] in KINDS  # noqa: PLR2004
    if location[:2] in {("store", "lake"), ("store", "path")}:
        return ("store", *location[2:])
    return (*location[:2], *location[3:]) if tagged else location


def _written(location: Location, raw: Any) -> str:
    parts = (f"[{part}]" if isinstance(part, int) else f".{ascii(part)[1:-1]}" for part in location)
    text = "".join(parts).lstrip(".")
    if location[:1] == ("credentials",) and len(location) > 1 and isinstance(location[1], int):
        entry = raw["credentials"][location[1]]
        if isinstance(entry, dict) and isinstance(entry.get("name"), str):
            text += f" (of {entry['name']})"
    return f"{text}: " if text else ""


def _sentence(fault: Any) -> str:
    """Say what is wrong and how to mend it."""
    location, context = fault["loc"], fault.get("ctx", {})
    match fault["type"]:
        case "extra_forbidden":
            return f"unknown key{nearest(str(location[-1]), _known_keys(location[:-1]))}"
        case "union_tag_invalid":
            return f"type {context['tag']} is not known{nearest(context['tag'], KINDS)}"
        case "value_error":
            return str(context["error"])
        case "string_pattern_mismatch" | "string_too_short" if location[-1] == "name":
            return "may hold only letters, digits, dots, dashes and underscores, after a letter or digit"
        case _ if not location:
            return "the file holds no settings; write a starter with: file-inventory init PATH"
        case kind:
            return _SENTENCES.get(kind) or str(fault["msg"]).replace("Input should", "should")


_SENTENCES = {
    "missing": "is missing; add it",
    "union_tag_not_found": f"has no type; add type: and one of {', '.join(KINDS)}",
    "string_type": "is not text; put it in quotes",
    "string_pattern_mismatch": "is not the name of an HTTP header",
    "string_too_short": "is empty; fill it in, or leave it out",
    "path_type": "is not a path; write one such as data/inventory.duckdb",
    "tuple_type": "is not a list; begin each entry with a dash",
    "dict_type": "is not a mapping; write key: value",
    "model_type": "is not a mapping; write key: value",
    "model_attributes_type": "is not a mapping; write key: value",
}


def _known_keys(location: Location) -> list[str]:
    """List the keys that may stand where an unknown one was found."""
    model: type[BaseModel] = Config
    for part in location:
        if part in KINDS:
            model = KINDS[str(part)].settings
        elif part == "store":
            model = Lake
        elif location[:2] == ("store", part):  # its tag
            continue
        elif isinstance(part, str) and part != "credentials":
            model = _parts(model)[part]
    return list(model.model_fields)


def _parts(model: type[BaseModel]) -> dict[str, Any]:
    """Return what each setting is; of one that may be left out, what it is where it is there."""
    return {name: (*get_args(field.annotation), field.annotation)[0] for name, field in model.model_fields.items()}


def json_schema() -> str:
    """Return the JSON Schema of the configuration, for editors."""
    schema = Config.model_json_schema()
    schema["title"] = "File Inventory configuration"
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())
