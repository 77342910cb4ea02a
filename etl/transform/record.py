"""The record: one file, in the words every provider's answer is put into."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import pyarrow as pa

Json: TypeAlias = Any
"""What a JSON decoder returns."""

MILLISECONDS_FROM = 10**11
"""Unix times above this are milliseconds: in seconds it is the year 5138."""

MOST_BYTES = 10**15
"""A petabyte: no file is larger, and thousands of such files add up to what a 64-bit sum can hold."""

INSTANT = pa.timestamp("us", tz="UTC")

SCHEMA = pa.schema(
    [
        pa.field("file_id", pa.string(), nullable=False),
        pa.field("provider", pa.string()),
        pa.field("filename", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("purpose", pa.string()),
        pa.field("status", pa.string()),
        pa.field("status_details", pa.string()),
        pa.field("mime_type", pa.string()),
        pa.field("created_at", INSTANT),
        pa.field("expires_at", INSTANT),
        pa.field("extra", pa.string()),
    ]
)
"""Columns of a record. Sizes are bytes, times are UTC; NULL is what the provider does not tell."""

Source: TypeAlias = str | Callable[[Json], Json]
"""Where a column's value comes from: a key of the provider's record, or a function of the record."""


@dataclass(frozen=True, eq=False)
class Reading:
    """How one API's records are read; each is one of a few that live as long as the process."""

    fields: Mapping[str, Source]
    """Column of `SCHEMA` -> source. Columns left out stay NULL."""

    ignored: frozenset[str] = frozenset()
    """Keys that are known and not kept: constants, signed or rotating URLs."""

    records: str = "data"
    """Key of the page's envelope under which the records are."""

    looked_at: frozenset[str] = frozenset({"id"})
    """Keys of a record that the provider's adapter itself looks at."""

    @cached_property
    def known(self) -> frozenset[str]:
        """Every key with a meaning; the others go to `extra`."""
        return self.ignored.union(source for source in self.fields.values() if isinstance(source, str))

    @cached_property
    def plain(self) -> list[pa.Field] | None:
        """What the fields of a record look like where all are plain; None where a function reads one of them.

        Times are unix seconds, and what is ignored is text.
        """
        sources = {source: name for name, source in self.fields.items() if isinstance(source, str)}
        if len(sources) < len(self.fields):
            return None
        kinds = {key: SCHEMA.field(name).type for key, name in sources.items()}
        kinds |= dict.fromkeys(self.ignored - kinds.keys(), pa.string())
        return [pa.field(key, pa.int64() if kind == INSTANT else kind) for key, kind in kinds.items()]


@dataclass(frozen=True)
class Rejected:
    """A record set aside."""

    page: int
    """Number of the page it came on, from 1."""
    position: int
    """Place on that page, from 1."""
    reason: str
    record: str
    """The record as JSON text."""
    file_id: str | None = None
    """Its id where that much could be read."""


SET_ASIDE = pa.schema(
    [
        ("page", pa.int64()),
        ("position", pa.int64()),
        ("reason", pa.string()),
        ("record", pa.string()),
        ("file_id", pa.string()),
    ]
)
"""Records set aside, as a table."""
