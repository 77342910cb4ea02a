"""Write a result as a table, CSV, JSON, Parquet or Arrow."""

from __future__ import annotations

import csv
import json
import math
import re
import sys
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import TextIOWrapper
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from rich.text import Text

from etl.errors import ConfigError, QueryError
from etl.report import Format

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")

_HIDDEN = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

_MOST_ROWS = 1000
"""Rows that a table shows; more is for programs."""


def write(result: pa.RecordBatchReader, kind: Format = Format.TABLE, output: Path | None = None) -> None:
    """Write a result to a file, or to standard output.

    Raises:
        ConfigError: The file cannot be written, or a binary format would go to a terminal.
    """
    try:
        _write(result, kind, output)
    except (pa.ArrowException, duckdb.Error, OverflowError) as error:
        raise QueryError(f"the result cannot be written as {kind}: {error}; cast what is unusual to text") from None


def _write(result: pa.RecordBatchReader, kind: Format, output: Path | None) -> None:
    if kind in {Format.PARQUET, Format.ARROW}:
        _write_binary(result, kind, output)
        return
    with text_sink(output) as sink:
        _write_text(result, kind, sink)


def encode(result: pa.RecordBatchReader, kind: Format, sink: IO[bytes]) -> None:
    """Write a result as bytes; what goes wrong while it is read or written is raised as it is."""
    if kind in {Format.PARQUET, Format.ARROW}:
        _stream(result, kind, sink)
        return
    text = TextIOWrapper(sink, encoding="utf-8", newline="", write_through=True)
    try:
        _write_text(result, kind, text)
    finally:
        text.detach()


def _write_text(result: pa.RecordBatchReader, kind: Format, sink: IO[str]) -> None:
    if kind is Format.TABLE:
        _write_table(result, sink)
    elif kind is Format.CSV:
        writer = csv.writer(_Lines(sink), lineterminator="\r\n")  # so a lone \r in a name is quoted, too
        safe = printable if sink.isatty() else str
        writer.writerow(map(defused, result.schema.names))
        writer.writerows((safe(_field(value)) for value in row) for row in rows(result))
    elif kind is Format.NDJSON:
        sink.writelines(f"{line}\n" for line in _objects(result))
    else:
        sink.write("[")
        for number, line in enumerate(_objects(result)):
            sink.write((",\n " if number else "\n ") + line)
        sink.write("\n]\n")


class _Lines:
    """Ends what csv writes, a row at a time, with a line feed alone."""

    def __init__(self, sink: IO[str]) -> None:
        self._sink = sink

    def write(self, row: str) -> None:
        self._sink.write(row.removesuffix("\r\n") + "\n")


def to_json(value: Any) -> str:
    """Write JSON: times as RFC 3339 in UTC, whole decimals as whole numbers, what JSON cannot say as null.

    Characters that a terminal would obey, or that turn the direction of text, are written as escapes.
    """
    text = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)
    return _HIDDEN.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def defused(text: str) -> str:
    """Write text so that no spreadsheet takes it for a formula: a quote goes before it, and before nothing else.

    What is written is read back without loss: one quote less wherever a formula's first character follows quotes.
    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{text}" if _FORMULA.match(text) else text


def size(count: int | None) -> str:
    """Write a number of bytes for people: 12.3 MB; nothing where it is not known."""
    if count is None:
        return ""
    power = min(int(math.log(count, 1000)), 5) if count else 0
    return f"{count / 1000**power:.{1 if power else 0}f} {['B', 'kB', 'MB', 'GB', 'TB', 'PB'][power]}"


def instant(moment: datetime | None) -> str:
    """Write a time for people, in UTC to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z" if moment else ""


def printable(text: str) -> str:
    """Make text safe for a terminal: file names may hold escape sequences."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[str]], *, right: Iterable[str] = ()) -> Table:
    """Make a table in the product's one style."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", no_wrap=True)
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    return made


def console(sink: IO[str] | None = None) -> Console:
    """Return a console that shortens nothing where no terminal limits the width."""
    sink = sink or sys.stdout
    return Console(file=sink, highlight=False) if sink.isatty() else Console(file=sink, highlight=False, width=100_000)


def _write_table(result: pa.RecordBatchReader, sink: IO[str]) -> None:
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    numbers = {field.name for field in result.schema if any(kind(field.type) for kind in kinds)}
    every = rows(result)
    shown = (map(_cell, row) for row in islice(every, _MOST_ROWS))
    console(sink).print(table("", result.schema.names, shown, right=numbers))
    if next(every, None):
        sink.write(f"... only the first {_MOST_ROWS:,} rows are shown; --format csv writes all\n")


def rows(result: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    """Yield the rows as Python values."""
    for batch in result:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _objects(result: pa.RecordBatchReader) -> Iterator[str]:
    names = _distinct(result.schema.names)
    return (to_json(dict(zip(names, row, strict=True))) for row in rows(result))


def _distinct(names: list[str]) -> list[str]:
    """Tell columns of one name apart, as DuckDB does: a, a_1."""
    before: Counter[str] = Counter()
    distinct = []
    for name in names:
        distinct.append(f"{name}_{before[name]}" if before[name] else name)
        before[name] += 1
    return distinct


def _cell(value: Any) -> str:
    """Write a value for people."""
    if isinstance(value, str):
        return value
    return instant(value) if isinstance(value, datetime) and value.tzinfo else _field(value)


def _field(value: Any) -> str:
    """Write a value for CSV: exact but for a quote before what looks like a formula, as JSON where it has parts."""
    plain = _plain(value)
    if isinstance(plain, str):
        return plain if isinstance(value, datetime | date | time) else defused(plain)
    if plain is None:
        return ""
    return to_json(plain) if isinstance(plain, list | dict | bool) else str(plain)


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {str(key): _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if value.tzinfo else value.isoformat()
        case date() | time():
            return value.isoformat()
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str():
            return value
    return str(value)


@contextmanager
def text_sink(output: Path | None) -> Iterator[IO[str]]:
    """Open a file for text, or standard output; raise ConfigError where the file cannot be written."""
    if output is None:
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as sink:
            yield sink
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None


def _write_binary(result: pa.RecordBatchReader, kind: Format, output: Path | None) -> None:
    if output is None and sys.stdout.isatty():
        raise ConfigError(f"{kind} is not for a terminal; name a file with --output")
    if output is None:
        _stream(result, kind, sys.stdout.buffer)
        return
    try:
        with output.open("wb") as sink:
            _stream(result, kind, sink)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written: {error.strerror}") from None


def _stream(result: pa.RecordBatchReader, kind: Format, sink: IO[bytes]) -> None:
    if kind is Format.ARROW:
        with pa.ipc.new_stream(sink, result.schema) as arrow:
            for batch in result:
                arrow.write_batch(batch)
        return
    from pyarrow import parquet  # noqa: PLC0415 - slow, seldom needed

    with parquet.ParquetWriter(sink, result.schema) as writer:
        for batch in result:
            writer.write_batch(batch)
