"""Decode a page straight into typed records, where all of it is plain.

Plain means: only fields that the reading knows, of the type that the column wants, within its range. That is
nearly every page, and takes half the time. Any other page is decoded as ordinary JSON and read record by record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from etl.transform.record import INSTANT, MILLISECONDS_FROM, MOST_BYTES, SCHEMA, Json, Reading

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

_PLAIN: dict[pa.DataType, Any] = {
    SCHEMA.field("filename").type: str | None,
    SCHEMA.field("bytes").type: Annotated[int, msgspec.Meta(ge=0, le=MOST_BYTES)] | None,
    INSTANT: Annotated[int, msgspec.Meta(ge=1, le=MILLISECONDS_FROM)] | None,
}
"""What a plain value of a column looks like; times are unix seconds."""

_ENVELOPE = msgspec.json.Decoder(dict[str, msgspec.Raw])


def plain_decoder(reading: Reading) -> Callable[[bytes], Json | None]:
    """Return a function that decodes a page whose records are all plain, and returns None for any other."""
    columns = {source: column for column, source in reading.fields.items() if isinstance(source, str)}
    if len(columns) < len(reading.fields):
        return lambda _: None
    fields: list[Any] = [(key, Any, None) for key in reading.ignored]
    for key, column in columns.items():
        kind = _PLAIN[SCHEMA.field(column).type]
        fields.append((key, kind, None) if column != "file_id" else (key, Annotated[str, msgspec.Meta(min_length=1)]))
    record = msgspec.defstruct("PlainRecord", fields, kw_only=True, forbid_unknown_fields=True, gc=False)
    records = msgspec.json.Decoder(list[record])  # type: ignore[valid-type]

    def decode(content: bytes) -> Json | None:
        try:
            envelope: dict[str, Json] = _ENVELOPE.decode(content)
            decoded = {key: msgspec.json.decode(raw) for key, raw in envelope.items() if key != reading.records}
            return decoded | {reading.records: records.decode(envelope[reading.records])}
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, RecursionError):
            return None

    return decode
