"""Read a page in columns where all of it is plain, without a Python object for every value.

Plain means: only fields that the reading knows, of the type that the column wants, within its range. That is
nearly every page. Such a page is skimmed for what paging needs first; its columns may be read on another thread, since
Arrow's parser does not hold the interpreter. Any other page is decoded as ordinary JSON and read record by record.
"""

from __future__ import annotations

import json
from functools import cache, partial
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from etl.transform.record import INSTANT, MILLISECONDS_FROM, MOST_BYTES, SCHEMA, Json, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_BESIDE = dict[str, Any] | str | int | float | bool | None
"""What may stand beside the records of a page."""

_MICROSECONDS = 1_000_000
_MOST_DIGITS = 4000  # Python reads no longer ones: https://docs.python.org/3/library/stdtypes.html#int-max-str-digits


class Skimmed(list[Any]):
    """The records of a page, each with the fields alone that its provider's adapter looks at."""

    def __init__(self, records: Iterable[Any], ids: list[str], page: bytes) -> None:
        super().__init__(records)
        self.ids = ids
        self.page = page
        """The whole page as JSON text."""
        self.odd = False
        """Whether they turned out not to be plain."""


@cache
def skimmer(reading: Reading) -> Callable[[bytes], Json | None]:
    """Return a function that skims a page whose records are most likely plain, and returns None for any other."""
    if reading.plain is None or "file_id" not in reading.fields:
        return lambda _: None
    key = str(reading.fields["file_id"])
    fields: list[Any] = [(key, Annotated[str, msgspec.Meta(min_length=1)])]
    fields += [(name, Any, None) for name in sorted(reading.looked_at - {key})]
    record = msgspec.defstruct("SkimmedRecord", fields, kw_only=True, gc=False)
    decoder = msgspec.json.Decoder(dict[str, list[record] | _BESIDE])  # type: ignore[valid-type]

    def skim(content: bytes) -> Json | None:
        try:
            body: dict[str, Json] = decoder.decode(content)
            found = body[reading.records]
            if not isinstance(found, list) or not (content.isascii() or content.decode()):
                return None
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, RecursionError):
            return None
        return body | {reading.records: Skimmed(found, list(map(attrgetter(key), found)), content)}

    return skim


def columns(records: Skimmed, reading: Reading) -> dict[str, pa.Array] | None:
    """Read plain records into columns of `SCHEMA`, but for `provider`; None where any of them is not plain."""
    if reading.plain is None:
        return None
    kind = pa.list_(pa.struct(reading.plain))
    try:
        [rows] = pyarrow.json.read_json(
            pa.BufferReader(records.page),
            pyarrow.json.ReadOptions(use_threads=False, block_size=len(records.page) + 1),
            pyarrow.json.ParseOptions(explicit_schema=pa.schema([(reading.records, kind)]), newlines_in_values=True),
            memory_pool=pa.system_memory_pool(),  # others keep much of what parsing took
        )[reading.records].chunks
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    found = rows.flatten()
    if rows.type != kind or len(found) != len(records):  # a field more, or a record that is null
        return None
    read = {name: _column(found.field(str(source)), name) for name, source in reading.fields.items()}
    if None in read.values():
        return None
    empty = {field.name: pa.nulls(len(found), field.type) for field in SCHEMA}
    return empty | read


def _column(values: pa.Array, name: str) -> pa.Array | None:
    kind = SCHEMA.field(name).type
    if kind == pa.string():
        blank = pc.equal(values, "")
        return pc.if_else(blank, None, values) if pc.any(blank).as_py() else values
    least, most = (1, MILLISECONDS_FROM) if kind == INSTANT else (0, MOST_BYTES)
    found = pc.min_max(values)
    if found["min"].is_valid and not least <= found["min"].as_py() <= found["max"].as_py() <= most:
        return None
    return pc.multiply(values, _MICROSECONDS).cast(kind) if kind == INSTANT else values


def decode_json(content: bytes) -> Json:
    """Decode JSON; whole numbers keep every digit. Raise ValueError or RecursionError if it is none."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass
    # Slower, and more forgiving: lone surrogates and stray bytes spoil one record, not the page.
    return _forgiving(content.decode("utf-8", "surrogateescape"))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _whole(digits: str) -> int | str:
    return int(digits) if len(digits) < _MOST_DIGITS else digits


_forgiving = partial(json.loads, parse_constant=_no_constant, parse_int=_whole)
