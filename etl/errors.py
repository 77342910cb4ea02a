"""What can go wrong, as a tree.

FileInventoryError
├── ConfigError             the configuration is wrong; nothing was sent
├── QueryError              the SQL of a query is wrong
├── StoreError              the store cannot be used
│   ├── StoreBusy           another process writes to it
│   ├── NothingPublished    no run has published anything there yet
│   └── NothingHeld         no deletions wait for a decision
└── ListingError            a listing ended early; `reason` is its one-word cause
    ├── Refused             the server said no: 401, 403, 404, another 4xx, a spent quota
    ├── Unreachable         no usable answer, after retries: transport errors, time limits, 5xx, 429
    ├── WrongShape          an answer that is no page of a file list
    ├── Unsupported         no file list exists behind this route
    ├── EndNotProven        the pages stopped making progress before the end
    ├── NoRoom              the records cannot be kept where they wait to be compared
    └── Cancelled           the run was told to stop

Every message is one sentence or two for the person who has to mend it: the thing, the place, the mend.
"""

from __future__ import annotations

import difflib
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable

REDACTED = "[redacted]"
_KEY_SHAPES = re.compile(r"(?i)\b(?:bearer\s+[^\s\"',]+|(?:sk|pk|rk|gsk|xai)-[a-z0-9_-]{8,})")


def blot(text: str, secrets: Iterable[str]) -> str:
    """Blot out the given secrets, however URLs, JSON or Python spell them."""
    return _spelled(frozenset(secrets)).sub(REDACTED, text)


@lru_cache(maxsize=16)
def _spelled(secrets: frozenset[str]) -> re.Pattern[str]:
    """Match every spelling of the secrets, the longest first; nothing where there are none."""
    spellings = {spelling for secret in secrets if secret for spelling in _spellings(secret)}
    return re.compile("|".join(map(re.escape, sorted(spellings, key=len, reverse=True))) or r"(?!)")


def _spellings(secret: str) -> set[str]:
    in_urls = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return {secret, json.dumps(secret)[1:-1], ascii(secret)[1:-1]} | in_urls


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Blot out the given secrets and whatever else looks like a key.

    Control characters go too: the text may come from a server and end on a terminal.
    """
    printable = "".join(char if char.isprintable() else " " for char in blot(text, secrets))
    return _KEY_SHAPES.sub(REDACTED, printable)


def looks_like_key(text: str) -> bool:
    """Tell whether something in it has the shape of a key, by which `redact` knows one."""
    return bool(_KEY_SHAPES.search(text))


def nearest(word: str, words: Iterable[str]) -> str:
    """Continue the sentence that a word is not known: with the nearest that is, or with all."""
    words = sorted(words)
    near = difflib.get_close_matches(word, words, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(words)}"


class FileInventoryError(Exception):
    """Base of all errors that users are meant to read."""


class ConfigError(FileInventoryError):
    """The configuration is wrong; the message has one line for each fault found."""


class QueryError(FileInventoryError):
    """DuckDB refused the SQL of a query."""


class StoreError(FileInventoryError):
    """The store cannot be opened, read or written."""


class StoreBusy(StoreError):
    """Another process writes to the store."""

    def __init__(self, message: str, service: str | None = None) -> None:
        super().__init__(message)
        self.service = service
        """URL of the service that holds the store and takes work for it."""


class NothingPublished(StoreError):
    """No run has published an inventory there yet."""


class NothingHeld(StoreError):
    """No deletions of the credential wait for a decision."""


class ListingError(FileInventoryError):
    """A listing ended before its end was seen."""

    reason = "failed"


class Refused(ListingError):
    """The server refused the request, for a cause that trying again does not heal."""

    reason = "refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
        """HTTP status of the answer."""


class Unreachable(ListingError):
    """No usable answer came, not even after retries."""

    reason = "unreachable"


class WrongShape(ListingError):
    """The answer is not a page of a file list."""

    reason = "wrong_shape"


class Unsupported(ListingError):
    """The provider behind this route has no file list."""

    reason = "unsupported"


class EndNotProven(ListingError):
    """The pages stopped making progress, so the end of the list was not seen."""

    reason = "end_not_proven"


class NoRoom(ListingError):
    """The records cannot be kept where they wait to be compared."""

    reason = "no_room"


class Cancelled(ListingError):
    """The run was told to stop."""

    reason = "cancelled"
