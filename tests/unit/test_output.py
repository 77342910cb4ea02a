"""How results are written."""

import csv
import json
import re
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pytest

from etl.errors import ConfigError
from etl.report import Format
from etl.report.inventory import moment
from etl.report.output import instant, printable, size, to_json, write

WHEN = datetime(2026, 11, 23, 12, 30, 15, 123456, tzinfo=UTC)


def reader(table: pa.Table) -> pa.RecordBatchReader:
    """Stream a table in batches of two rows."""
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))


@pytest.fixture
def table() -> pa.Table:
    """Return three rows with the types that queries return."""
    return pa.table(
        {
            "at": pa.array([WHEN, None, WHEN], pa.timestamp("us", tz="UTC")),
            "sum": pa.array([Decimal(5), None, Decimal(6)], pa.decimal128(38, 0)),
            "tags": [["a"], None, []],
        }
    )


def test_json_is_one_array_whatever_the_batches(table: pa.Table, capsys: pytest.CaptureFixture[str]) -> None:
    write(reader(table), Format.JSON)
    assert json.loads(capsys.readouterr().out) == [
        {"at": "2026-11-23T12:30:15.123456Z", "sum": 5, "tags": ["a"]},
        {"at": None, "sum": None, "tags": None},
        {"at": "2026-11-23T12:30:15.123456Z", "sum": 6, "tags": []},
    ]


def test_csv_keeps_times_exact_and_nulls_empty(table: pa.Table, tmp_path: Path) -> None:
    write(reader(table), Format.CSV, tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_text() == (
        'at,sum,tags\n2026-11-23T12:30:15.123456Z,5,"[""a""]"\n,,\n2026-11-23T12:30:15.123456Z,6,[]\n'
    )


def test_a_table_shows_times_to_the_second_and_numbers_to_the_right(
    table: pa.Table, capsys: pytest.CaptureFixture[str]
) -> None:
    write(reader(table))
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "at                    sum  tags",
        '2026-11-23 12:30:15Z    5  ["a"]',
        "",
        "2026-11-23 12:30:15Z    6  []",
    ]


def test_an_empty_result_is_an_empty_array_or_a_header(capsys: pytest.CaptureFixture[str]) -> None:
    empty = pa.table({"a": pa.array([], pa.int64())})
    write(reader(empty), Format.JSON)
    write(reader(empty), Format.CSV)
    assert capsys.readouterr().out == "[\n]\na\n"


def test_columns_of_one_name_are_told_apart_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    twins = pa.Table.from_arrays([pa.array([1]), pa.array([2]), pa.array([3])], names=["a", "a", "a"])
    write(reader(twins), Format.NDJSON)
    assert json.loads(capsys.readouterr().out) == {"a": 1, "a_1": 2, "a_2": 3}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (float("nan"), "null"),
        (float("inf"), "null"),
        (Decimal("1.5"), "1.5"),
        (2**70, str(2**70)),
        (date(2026, 1, 2), '"2026-01-02"'),
        (datetime(2026, 1, 2), '"2026-01-02T00:00:00"'),  # noqa: DTZ001 - a naive time stays naive
        ({"a": [True, None]}, '{"a": [true, null]}'),
        (b"x", "\"b'x'\""),
    ],
)
def test_json_says_what_it_can_and_null_otherwise(value: object, text: str) -> None:
    assert to_json(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (10**18, "1000.0 PB")],
)
def test_sizes_are_written_for_people(count: int | None, text: str) -> None:
    assert size(count) == text


def test_times_are_written_in_utc() -> None:
    assert instant(WHEN) == "2026-11-23 12:30:15Z"
    assert instant(None) == ""


def test_what_could_drive_a_terminal_is_escaped() -> None:
    assert printable("\x1b[31mred\n\u202e ünïcode 文件") == r"\x1b[31mred\n\u202e ünïcode 文件"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", datetime(2026, 11, 23, 11, 0, 15, 123456, tzinfo=UTC)),
        ("24h", datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 9, 12, 30, 15, 123456, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T10:00:00+02:00", datetime(2026, 11, 1, 8, tzinfo=UTC)),
    ],
)
def test_moments_are_so_long_ago_or_dates(text: str, expected: datetime) -> None:
    assert moment(text, WHEN) == expected


def test_what_is_no_moment_is_refused() -> None:
    with pytest.raises(ConfigError, match="soon is no time; write how long ago"):
        moment("soon")


# Names that would do harm

HARMFUL = [
    "=HYPERLINK(1)",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1",
    "'=1",
    "''@x",
]
HARMLESS = ["a=b", "'quoted'", "a\tb", "", "x-1", "1e5", " =1", "<b>;drop table files"]


def undone(text: str) -> str:
    """Take back what is written for spreadsheets, as the README says."""
    return text[1:] if re.match(r"'+[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]", text) else text


def read_back(text: str) -> list[list[str]]:
    return list(csv.reader(StringIO(text, newline="")))


def test_csv_holds_no_formula_and_loses_nothing(tmp_path: Path) -> None:
    names = HARMFUL + HARMLESS
    write(reader(pa.table({"=name": names, "size": [-5] * len(names)})), Format.CSV, tmp_path / "x.csv")
    with (tmp_path / "x.csv").open(newline="") as file:
        head, *told = read_back(file.read())
    assert head == ["'=name", "size"]
    assert [name for name, _ in told if name[:1] in set("=+-@\t\r\n\uff1d")] == []
    assert [undone(name) for name, _ in told] == names
    assert [name for name, _ in told[len(HARMFUL) :]] == HARMLESS
    assert {size for _, size in told} == {"-5"}


def test_what_people_see_in_a_table_has_no_quote_added(capsys: pytest.CaptureFixture[str]) -> None:
    write(reader(pa.table({"name": ["=1", "-x"]})))
    assert capsys.readouterr().out.split() == ["name", "=1", "-x"]


COMMANDS = "\x1b]0;owned\x07\x9b31m\x7f\u202eabc\u2066\u200e\u2028"


@pytest.mark.parametrize("kind", [Format.TABLE, Format.JSON, Format.NDJSON])
def test_no_terminal_obeys_a_name(kind: Format, capsys: pytest.CaptureFixture[str]) -> None:
    write(reader(pa.table({"name": [COMMANDS]})), kind)
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    if kind is not Format.TABLE:
        [told] = json.loads(f"[{out}]") if kind is Format.NDJSON else json.loads(out)
        assert told == {"name": COMMANDS}


def test_no_terminal_obeys_a_name_in_csv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    table = pa.table({"name": [COMMANDS]})
    write(reader(table), Format.CSV)
    assert terminal.getvalue().replace("\n", "").isprintable()
    write(reader(table), Format.CSV, tmp_path / "x.csv")
    assert COMMANDS in (tmp_path / "x.csv").read_text()
