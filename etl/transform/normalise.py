"""Turn one page of a provider's records into an Arrow batch.

`_record` is the definition of what a value means; records that are plain are read in columns.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from etl.transform.plain import Skimmed, columns, decode_json
from etl.transform.record import MILLISECONDS_FROM, MOST_BYTES, SCHEMA, Json, Reading, Rejected, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NO_TIME = datetime.min.replace(tzinfo=UTC)
_LAST_INSTANT = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_SURROGATES = re.compile("[\ud800-\udfff]")


def normalise(
    records: Sequence[Json], reading: Reading, *, provider: str | None = None, page: int = 1
) -> tuple[pa.RecordBatch, list[Rejected]]:
    """Return the good records as a batch in `SCHEMA`, and the bad ones with their reasons.

    Records come as JSON objects, or skimmed.
    """
    rejected: list[Rejected] = []
    found = columns(records, reading) if isinstance(records, Skimmed) else None
    if found is None:
        rows, rejected = _one_by_one(_whole(records, reading), reading, page)
        found = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in SCHEMA}
    size = len(found["file_id"])
    found["provider"] = pa.nulls(size, pa.string()) if provider is None else pa.repeat(provider, size)
    return pa.RecordBatch.from_arrays([found[name] for name in SCHEMA.names], schema=SCHEMA), rejected


def _whole(records: Sequence[Json], reading: Reading) -> Sequence[Json]:
    if not isinstance(records, Skimmed):
        return records
    records.odd = True
    whole: Sequence[Json] = decode_json(records.page)[reading.records]
    return whole


def _value(record: Json, source: Source) -> Json:
    return record.get(source) if isinstance(source, str) else source(record)


def _one_by_one(records: Sequence[Json], reading: Reading, page: int) -> tuple[list[dict[str, Json]], list[Rejected]]:
    rows, rejected = [], []
    for position, record in enumerate(records, start=1):
        try:
            rows.append(_record(record, reading))
        except (ValueError, RecursionError) as error:
            rejected.append(Rejected(page, position, str(error), _raw(record), _known_id(record, reading)))
    return rows, rejected


def _record(record: Json, reading: Reading) -> dict[str, Json]:
    """Read one record; raise ValueError saying what is wrong with it."""
    if not isinstance(record, dict):
        raise ValueError(f"the record is not an object: {_short(record)}")
    row = {}
    for column, source in reading.fields.items():
        value = _value(record, source)
        try:
            row[column] = None if value is None else _READ[column](value)
        except ValueError as error:
            raise ValueError(f"{column} {error}: {_short(value)}") from None
    if row["file_id"] is None:
        raise ValueError("the record has no id")
    unknown = {key: value for key, value in record.items() if key not in reading.known}
    row["extra"] = json_text(unknown) if unknown else None
    return row


def _raw(record: Json) -> str:
    try:
        return json.dumps(record, allow_nan=False)
    except ValueError:  # a number beyond all bounds
        return json.dumps(repr(record))
    except RecursionError:
        return json.dumps("nested too deeply to be written")


def _known_id(record: Json, reading: Reading) -> str | None:
    try:
        return _identity(_value(record, reading.fields["file_id"]))
    except (ValueError, AttributeError):
        return None


def _identity(value: Json) -> str | None:
    """Read an id; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or _SURROGATES.search(value):
        raise ValueError("is not an id")
    return value or None


def _text(value: Json) -> str | None:
    """Read text; lone surrogates, which no UTF-8 can hold, become U+FFFD."""
    if not isinstance(value, str):
        raise ValueError("is not text")
    return _SURROGATES.sub("\ufffd", value) or None


def _words(value: Json) -> str | None:
    return json_text(value) if isinstance(value, dict | list) else _text(value)


def _count(value: Json) -> int:
    """Read a size in bytes: a whole number up to a petabyte, or its digits as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value) if len(value) < 20 else 2**63  # noqa: PLR2004 - beyond all bounds
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("is not a whole number")
    if not 0 <= value <= MOST_BYTES:
        raise ValueError("is out of range")
    return value


def _instant(value: Json) -> int | None:
    """Read a time as microseconds since 1970: unix seconds, unix milliseconds, or RFC 3339 (UTC if naive)."""
    if isinstance(value, str):
        if re.fullmatch(r"\d{1,15}(\.\d+)?", value):
            value = float(value)
        else:
            return _written_instant(value) if value else None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("is not a time")
    scale = 1_000 if value > MILLISECONDS_FROM else 1_000_000
    if not 0 <= value * scale <= _LAST_INSTANT:
        raise ValueError("is out of range")
    return round(value * scale) or None


def _written_instant(value: str) -> int | None:
    """Read RFC 3339, which allows small letters; year 1 is how Go writes that there is no time (time.Time.IsZero)."""
    try:
        moment = datetime.fromisoformat(value.upper())
    except ValueError:
        raise ValueError("is not a time") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    if moment == _NO_TIME:
        return None
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    if not 0 <= microseconds <= _LAST_INSTANT:
        raise ValueError("is out of range")
    return microseconds or None


_READ: dict[str, Callable[[Json], Json]] = {
    "file_id": _identity,
    "filename": _text,
    "bytes": _count,
    "purpose": _text,
    "status": _text,
    "status_details": _words,
    "mime_type": _text,
    "created_at": _instant,
    "expires_at": _instant,
}


def json_text(value: Json) -> str:
    """Write JSON text with sorted keys that any JSON reader and UTF-8 can hold; raise ValueError if it cannot be."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return _SURROGATES.sub("\ufffd", text)


def _short(value: Json) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - a line's worth
