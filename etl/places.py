"""Where an inventory is kept: a database file, or a DuckLake that many hosts share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator

from etl.errors import ConfigError
from etl.providers.base import Duration, Secret, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


class S3(Settings):
    """How the object store of an s3:// data path is reached."""

    endpoint: str | None = Field(None, description="Host and port, where it is not Amazon's.")
    region: str | None = None
    access_key_id: Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    url_style: Literal["vhost", "path"] | None = Field(None, description="path for most stores that are not Amazon's.")
    use_ssl: bool = True

    def revealed(self) -> dict[str, str]:
        """Return what is set as DuckDB names it, secrets and all."""
        names = {"access_key_id": "key_id", "secret_access_key": "secret"}
        return {names.get(name, name): str(value) for name, value in _revealed(self).items()}


class Upkeep(Settings):
    """What keeps a lake small and quick: small files are merged, what no reader needs any more is removed."""

    every: Duration = Field(86400.0, description="How often it is done.", examples=["1d"])
    keep_snapshots: Duration = Field(
        604800.0, description="How long a reader may stay on what it opened.", examples=["7d"]
    )


class Ducklake(Settings):
    """A DuckLake: tables in Parquet files, and a catalogue of them that every host can reach."""

    catalog: SecretStr = Field(
        min_length=1, description="URL of a PostgreSQL database; or path of a file, for one host, to try it."
    )
    data_path: str = Field(min_length=1, description="s3://bucket/folder, or a folder that every host shares.")
    s3: S3 | None = Field(None, description="Needed for s3:// only.")
    upkeep: Upkeep = Field(default_factory=Upkeep)

    @field_validator("catalog")
    @classmethod
    def _is_reachable(cls, catalog: SecretStr) -> SecretStr:
        scheme, _, rest = catalog.get_secret_value().partition("://")
        if rest and scheme not in {"postgresql", "postgres"}:
            raise ValueError("is neither postgresql://user:password@host/database nor the path of a file")
        return catalog


class Lake(Settings):
    """The store as a DuckLake."""

    ducklake: Ducklake

    @property
    def url(self) -> str | None:
        """The URL of the catalogue's PostgreSQL; None where the catalogue is a file."""
        catalog = self.ducklake.catalog.get_secret_value()
        return catalog if "://" in catalog else None

    @property
    def catalog(self) -> Path:
        """The catalogue's file, where it is one."""
        return Path(self.ducklake.catalog.get_secret_value())

    @property
    def data_path(self) -> str:
        """Where the data files are, with a slash at its end."""
        path = self.ducklake.data_path
        return f"{path if '://' in path else Path(path).absolute()}".rstrip("/") + "/"

    def secrets(self) -> Iterator[str]:
        """Every secret value in it, for redaction."""
        if self.url:
            yield self.url
            if password := urlsplit(self.url).password:
                yield from {password, unquote(password)}
        for value in dict(self.ducklake.s3 or {}).values():
            if isinstance(value, SecretStr):
                yield value.get_secret_value()

    def __str__(self) -> str:
        """Name it without its secrets."""
        return f"the lake at {self.ducklake.data_path}"


Place = Path | Lake


def as_place(stored: Any) -> Place:
    """Read what `store:` says; raise ConfigError where that is no place."""
    if isinstance(stored, str):
        return Path(stored)
    try:
        return Lake.model_validate(stored)
    except ValidationError as error:
        [fault, *_] = error.errors(include_input=False, include_url=False)
        where = ".".join(["store", *map(str, fault["loc"])])
        cause = fault.get("ctx", {}).get("error") or fault["msg"]
        raise ConfigError(f"{where}: {cause}; see config/lake.md") from None


def told_to_process(place: Place) -> Any:
    """Return what `as_place` reads, secrets and all, for the standard input of a process of our own."""
    if isinstance(place, Path):
        return str(place)
    return _revealed(place)


def _revealed(settings: Settings) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name, value in settings:
        if isinstance(value, Settings):
            told[name] = _revealed(value)
        elif value is not None:
            told[name] = value.get_secret_value() if isinstance(value, SecretStr) else value
    return told
