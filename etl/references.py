"""References in a configuration: `${NAME}` reads the environment, `file:/path` a file. Secrets are never text."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl.providers.base import SECRETISH

if TYPE_CHECKING:
    from collections.abc import Mapping

Location = tuple[str | int, ...]
"""Where a value stands in the file: keys and places in lists."""

WRITTEN_OUT = "is written out; put a reference here, ${NAME} of the environment or file:/path, and the secret there"
CATALOG = ("store", "ducklake", "catalog")
"""A URL that holds a password, or the path of a file, which is no secret."""
_FILES = {"ca_bundle", "client_cert", "client_key"}
"""Settings of `http` that name files."""

_MOST_BYTES = 100_000

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass
class References:
    """Replaces references by what they name, and notes what cannot be."""

    env: Mapping[str, str]
    secrets: bool = True
    """Whether secrets are read; else they stay references."""
    faults: dict[Location, str] = field(default_factory=dict)
    values: set[str] = field(default_factory=set)
    """What was read: no message about the configuration may show it."""
    hidden: set[str] = field(default_factory=set)
    """What was read into headers, gateway configs and secrets: nothing may ever show it."""

    secret_files: set[Path] = field(default_factory=set)
    """What secrets were read from."""

    files: set[Path] = field(default_factory=set)
    """What was read, or should have been."""

    def resolve(self, value: Any, location: Location = ()) -> Any:
        """Return the value with every reference in it replaced; RecursionError where it holds itself."""
        value = _inline_mapping(value, location)
        if isinstance(value, dict):
            return {key: self.resolve(inner, (*location, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.resolve(inner, (*location, index)) for index, inner in enumerate(value)]
        try:
            return self._leaf(value, location)
        except ValueError as error:
            self.faults[location] = str(error)
            return value

    def _leaf(self, value: Any, location: Location) -> Any:
        if "http" in location and location[-1] in _FILES:
            return self._path(value, location)
        secret = _is_secret(location)
        if secret and not refers(value) and not (location == CATALOG and "://" not in str(value)):
            raise ValueError(WRITTEN_OUT)
        hidden = secret or not {"headers", "config"}.isdisjoint(location)
        if not isinstance(value, str) or (hidden and not self.secrets and location[0] != "store"):
            return value
        text = self.text(value)
        if text != value and hidden:
            self.hidden.add(text)
            if value.startswith("file:"):
                self.secret_files.add(Path(value.removeprefix("file:")))
        return text

    def _path(self, value: Any, location: Location) -> Any:
        """Return the path of a file that TLS reads by itself: here file: reads nothing."""
        if not isinstance(value, str):
            return value
        path = self.text(value.removeprefix("file:"))
        self.files.add(Path(path))
        if "client_key" in location:
            self.secret_files.add(Path(path))
        return path

    def text(self, value: str) -> str:
        """Return one text with its references replaced; raise ValueError where that cannot be done."""
        if value.startswith("file:"):
            path = Path(value.removeprefix("file:"))
            self.files.add(path)
            return self._noted(_file(path), value)
        if missing := [name for name in _REFERENCE.findall(value) if name not in self.env]:
            raise ValueError(f"the environment has no {', '.join(missing)}; set it before starting")
        return _REFERENCE.sub(lambda match: self._noted(self.env[match[1]], match[0]), value)

    def _noted(self, text: str, reference: str) -> str:
        if not text.strip():
            raise ValueError(f"{reference} is empty")
        self.values.add(text)
        return text


def refers(value: Any) -> bool:
    """Tell whether a value is, or holds, a reference; nothing at all needs none."""
    return value is None or (isinstance(value, str) and (value.startswith("file:") or bool(_REFERENCE.search(value))))


def _inline_mapping(value: Any, location: Location) -> Any:
    """Read a gateway config that is written as JSON text like one written as a mapping."""
    inline = location[:1] == ("credentials",) and location[-1] == "config" and str(value).startswith("{")
    if inline and isinstance(value, str):
        with suppress(ValueError):
            return json.loads(value)
    return value


def _is_secret(location: Location) -> bool:
    if location[:2] == ("alerts", "to"):
        return len(location) > 2  # noqa: PLR2004 - an entry of the list; its URLs hold keys
    if location[:1] not in {("credentials",), ("serve",), ("store",)} or "labels" in location:
        return False
    if location == CATALOG:
        return True
    names = [part for part in location[1:] if isinstance(part, str)]
    return bool(names) and bool(SECRETISH.search(names[-1]))


def _file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ValueError(f"the file {path} is larger than a secret can be ({_MOST_BYTES // 1000} kB)")
        return content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "not text"
        raise ValueError(f"the file {path} cannot be read: {cause}") from None
