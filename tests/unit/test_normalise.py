"""What a provider's value becomes in the one schema, and what becomes of a record that cannot be read."""

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.providers.openai import READING
from etl.transform.normalise import json_text, normalise
from etl.transform.plain import columns, decode_json, skimmer
from etl.transform.record import SCHEMA, Reading, Rejected

EMPTY_ROW: dict[str, Any] = dict.fromkeys(SCHEMA.names)
ALL = Reading({name: name for name in SCHEMA.names if name not in {"provider", "extra"}}, frozenset({"object"}))
SKIM = skimmer(READING)


def read(*records: Any, reading: Reading = ALL) -> tuple[list[dict[str, Any]], list[Rejected]]:
    batch, rejected = normalise(records, reading)
    batch.validate(full=True)
    assert batch.schema == SCHEMA
    return batch.to_pylist(), rejected


def value(column: str, given: Any) -> Any:
    """Read one value; return what it became, or the reason why its record was rejected."""
    rows, rejected = read({"file_id": "f", column: given})
    return rows[0][column] if rows else rejected[0].reason


def at(*parts: int) -> datetime:
    year, month, day, *rest = parts
    return datetime(year, month, day, *rest, tzinfo=UTC)  # type: ignore[arg-type, misc]


# Values


@pytest.mark.parametrize("column", ["created_at", "expires_at"])
@pytest.mark.parametrize(
    ("given", "instant"),
    [
        (None, None),
        ("", None),
        (0, None),
        (0.0, None),
        ("0", None),
        ("1970-01-01T00:00:00Z", None),
        (1, at(1970, 1, 1, 0, 0, 1)),
        (1_763_800_000, at(2025, 11, 22, 8, 26, 40)),
        (1_763_800_000.0, at(2025, 11, 22, 8, 26, 40)),
        (1_763_800_000.25, at(2025, 11, 22, 8, 26, 40, 250_000)),
        ("1763800000", at(2025, 11, 22, 8, 26, 40)),
        ("1763800000.25", at(2025, 11, 22, 8, 26, 40, 250_000)),
        (1_763_800_000_123, at(2025, 11, 22, 8, 26, 40, 123_000)),
        ("1763800000123", at(2025, 11, 22, 8, 26, 40, 123_000)),
        (1_763_800_000_123.5, at(2025, 11, 22, 8, 26, 40, 123_500)),
        (10**11, at(5138, 11, 16, 9, 46, 40)),
        (10**11 + 1, at(1973, 3, 3, 9, 46, 40, 1_000)),
        ("2025-11-22T08:26:40Z", at(2025, 11, 22, 8, 26, 40)),
        ("2025-11-22T09:26:40+01:00", at(2025, 11, 22, 8, 26, 40)),
        ("2025-11-22T08:26:40", at(2025, 11, 22, 8, 26, 40)),
        ("2025-11-22 08:26:40", at(2025, 11, 22, 8, 26, 40)),
        ("2024-07-30 13:27:29+00:00", at(2024, 7, 30, 13, 27, 29)),
        ("2025-11-22", at(2025, 11, 22)),
        ("2025-11-22T08:26:40.5Z", at(2025, 11, 22, 8, 26, 40, 500_000)),
        ("2025-11-22T08:26:40.123456Z", at(2025, 11, 22, 8, 26, 40, 123_456)),
        ("2025-11-22T08:26:40.123456789Z", at(2025, 11, 22, 8, 26, 40, 123_456)),
        ("2025-11-22T08:26:40.1234567-07:00", at(2025, 11, 22, 15, 26, 40, 123_456)),
        ("2025-11-22t08:26:40z", at(2025, 11, 22, 8, 26, 40)),
        ("2025-11-22T08:26:40.123456789+05:30", at(2025, 11, 22, 2, 56, 40, 123_456)),
        ("1969-12-31T23:00:00-02:00", at(1970, 1, 1, 1)),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59Z", at(9999, 12, 31, 23, 59, 59)),
        (253_402_214_400_000, at(9999, 12, 31)),
    ],
)
def test_a_time_may_be_seconds_milliseconds_or_rfc_3339(column: str, given: Any, instant: datetime | None) -> None:
    assert value(column, given) == instant


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (True, "created_at is not a time: True"),
        (False, "created_at is not a time: False"),
        ([], "created_at is not a time: []"),
        ({"seconds": 1}, "created_at is not a time: {'seconds': 1}"),
        ("yesterday", "created_at is not a time: 'yesterday'"),
        ("-5", "created_at is not a time: '-5'"),
        ("2025-13-01T00:00:00Z", "created_at is not a time: '2025-13-01T00:00:00Z'"),
        ("2025-02-30T00:00:00Z", "created_at is not a time: '2025-02-30T00:00:00Z'"),
        ("1" * 16, f"created_at is not a time: '{'1' * 16}'"),
        (-1, "created_at is out of range: -1"),
        (-0.5, "created_at is out of range: -0.5"),
        (10**15, "created_at is out of range: 1000000000000000"),
        (10**40, "created_at is out of range: " + str(10**40)),
        (1e300, "created_at is out of range: 1e+300"),
        ("1969-12-31T23:59:59Z", "created_at is out of range: '1969-12-31T23:59:59Z'"),
        ("2025-11-22T08:26:40+99:00", "created_at is not a time: '2025-11-22T08:26:40+99:00'"),
        ("0001-01-01T00:00:01Z", "created_at is out of range: '0001-01-01T00:00:01Z'"),
        ("10000-01-01T00:00:00Z", "created_at is not a time: '10000-01-01T00:00:00Z'"),
        ("9" * 10_000, f"created_at is not a time: '{'9' * 56}..."),
        ("0001-01-01T00:00:00+05:00", "created_at is out of range: '0001-01-01T00:00:00+05:00'"),
    ],
)
def test_what_is_no_time_is_rejected(given: Any, reason: str) -> None:
    assert value("created_at", given) == reason


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (None, None),
        (0, 0),
        (5, 5),
        (10**15, 10**15),
        ("0", 0),
        ("00123", 123),
        ("1000000000000000", 10**15),
        (1.5e9, 1_500_000_000),
        (-0.0, 0),
    ],
)
def test_a_size_is_a_whole_number_or_its_digits(given: Any, size: int | None) -> None:
    assert value("bytes", given) == size


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (True, "bytes is not a whole number: True"),
        ("many", "bytes is not a whole number: 'many'"),
        ("", "bytes is not a whole number: ''"),
        ("-5", "bytes is not a whole number: '-5'"),
        ("1.5", "bytes is not a whole number: '1.5'"),
        (" 5", "bytes is not a whole number: ' 5'"),
        ("٣", r"bytes is not a whole number: '\u0663'"),
        ("5 MB", "bytes is not a whole number: '5 MB'"),
        (1.5, "bytes is not a whole number: 1.5"),
        ([5], "bytes is not a whole number: [5]"),
        ({}, "bytes is not a whole number: {}"),
        (-1, "bytes is out of range: -1"),
        (10**15 + 1, "bytes is out of range: 1000000000000001"),
        (1e19, "bytes is out of range: 1e+19"),
        ("9223372036854775808", "bytes is out of range: '9223372036854775808'"),
        ("9" * 40, f"bytes is out of range: '{'9' * 40}'"),
        ("9" * 5000, f"bytes is out of range: '{'9' * 56}..."),
    ],
)
def test_what_is_no_size_is_rejected(given: Any, reason: str) -> None:
    assert value("bytes", given) == reason


@pytest.mark.parametrize("column", ["filename", "purpose", "status", "status_details", "mime_type"])
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (None, None),
        ("", None),
        ("a", "a"),
        (" ", " "),
        ("Rückfragen 📎.pdf", "Rückfragen 📎.pdf"),
        ("a\n\tb", "a\n\tb"),
        ("nul\x00inside", "nul\x00inside"),
        ("\ud800x\udfff", "\ufffdx\ufffd"),
        ("\udcff", "\ufffd"),
        ("null", "null"),
    ],
)
def test_text_stays_as_it_is_but_for_what_utf8_cannot_hold(column: str, given: Any, text: str | None) -> None:
    assert value(column, given) == text


def test_a_name_of_ten_megabytes_is_kept_whole() -> None:
    name = "ä" * 5_000_000
    assert value("filename", name) == name


@pytest.mark.parametrize("column", ["filename", "purpose", "status", "mime_type"])
@pytest.mark.parametrize("given", [5, 1.5, True, [], {}])
def test_what_is_no_text_is_rejected(column: str, given: Any) -> None:
    assert value(column, given) == f"{column} is not text: {given!r}"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"b": 1, "a": ["ü"]}, '{"a":["ü"],"b":1}'),
        ([], "[]"),
        ([{"code": "x\ud800"}], '[{"code":"x\ufffd"}]'),
        ("failed: line 3", "failed: line 3"),
    ],
)
def test_details_of_a_status_may_have_a_structure(given: Any, text: str) -> None:
    assert value("status_details", given) == text


@pytest.mark.parametrize(
    ("given", "file_id"),
    [("file-1", "file-1"), ("files/ä b", "files/ä b"), (5, "5"), (-5, "-5"), (10**30, str(10**30))],
)
def test_an_id_is_text_or_a_whole_number(given: Any, file_id: str) -> None:
    assert read({"file_id": given}) == ([EMPTY_ROW | {"file_id": file_id}], [])


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"file_id": None}, "the record has no id"),
        ({}, "the record has no id"),
        ({"file_id": ""}, "the record has no id"),
        ({"file_id": True}, "file_id is not an id: True"),
        ({"file_id": 1.0}, "file_id is not an id: 1.0"),
        ({"file_id": ["a"]}, "file_id is not an id: ['a']"),
        ({"file_id": "a\ud800"}, r"file_id is not an id: 'a\ud800'"),
        (None, "the record is not an object: None"),
        (5, "the record is not an object: 5"),
        ("file-1", "the record is not an object: 'file-1'"),
        ([{"file_id": "a"}], "the record is not an object: [{'file_id': 'a'}]"),
    ],
)
def test_a_record_nobody_can_name_is_set_aside(record: Any, reason: str) -> None:
    assert read(record) == ([], [Rejected(1, 1, reason, json.dumps(record))])


# Records


def test_every_column_comes_from_its_field() -> None:
    record = {
        "object": "file",
        "id": "file-1",
        "filename": "a.jsonl",
        "bytes": 120,
        "purpose": "batch",
        "status": "processed",
        "status_details": "ok",
        "created_at": 1_763_800_000,
        "expires_at": 1_763_900_000,
    }
    assert read(record, reading=READING) == (
        [
            {
                "file_id": "file-1",
                "provider": None,
                "filename": "a.jsonl",
                "bytes": 120,
                "purpose": "batch",
                "status": "processed",
                "status_details": "ok",
                "mime_type": None,
                "created_at": at(2025, 11, 22, 8, 26, 40),
                "expires_at": at(2025, 11, 23, 12, 13, 20),
                "extra": None,
            }
        ],
        [],
    )


def test_a_column_may_come_from_a_function_of_the_record() -> None:
    reading = Reading({"file_id": lambda record: record["name"].removeprefix("files/"), "bytes": "size"})
    records = [{"name": "files/a", "size": "5"}, {"name": "files/b", "size": 6}]
    rows, rejected = read(*records, reading=reading)
    assert [(row["file_id"], row["bytes"], row["extra"]) for row in rows] == [
        ("a", 5, '{"name":"files/a"}'),
        ("b", 6, '{"name":"files/b"}'),
    ]
    assert rejected == []


def test_unknown_fields_are_kept_as_json_with_sorted_keys() -> None:
    record = {"file_id": "f", "z": 1, "a": {"y": None, "b": "ü\ud800"}, "object": "file", "m": 2**60, "e": 1.5}
    rows, rejected = read(record)
    assert rows == [
        EMPTY_ROW | {"file_id": "f", "extra": '{"a":{"b":"ü\ufffd","y":null},"e":1.5,"m":1152921504606846976,"z":1}'}
    ]
    assert rejected == []


def test_ignored_fields_leave_no_trace() -> None:
    assert read({"file_id": "f", "object": {"signed": "url"}}) == ([EMPTY_ROW | {"file_id": "f"}], [])


def test_the_provider_is_the_same_for_a_whole_page() -> None:
    batch, _ = normalise([{"file_id": "a"}, {"file_id": "b"}], ALL, provider="groq")
    assert batch["provider"].to_pylist() == ["groq", "groq"]


def test_an_empty_page_is_an_empty_batch() -> None:
    assert read() == ([], [])
    assert normalise([], ALL, provider="openai")[0].num_rows == 0


def test_one_bad_record_never_stops_the_others() -> None:
    records = [{"file_id": "a"}, {"file_id": "b", "bytes": "many"}, None, {"file_id": 7, "status": 5}, {"file_id": "e"}]
    batch, rejected = normalise(records, ALL, page=3)
    assert batch["file_id"].to_pylist() == ["a", "e"]
    assert rejected == [
        Rejected(3, 2, "bytes is not a whole number: 'many'", '{"file_id": "b", "bytes": "many"}', "b"),
        Rejected(3, 3, "the record is not an object: None", "null", None),
        Rejected(3, 4, "status is not text: 5", '{"file_id": 7, "status": 5}', "7"),
    ]


def test_a_reason_is_short_and_plain_whatever_the_value() -> None:
    (bad,) = read({"file_id": "f", "bytes": "\x1b[31m" + "ü" * 1000})[1]
    assert bad.reason.isascii()
    assert bad.reason.isprintable()
    assert len(bad.reason) < 100


def test_a_rejected_record_is_kept_word_for_word() -> None:
    record = {"z": "\ud800", "file_id": "f", "bytes": -1, "a": [1.5, None, 2**70]}
    (bad,) = read(record)[1]
    assert json.loads(bad.record) == record
    assert list(json.loads(bad.record)) == list(record)


@pytest.mark.parametrize("field", ["score", "bytes", "created_at"])
def test_a_number_beyond_all_bounds_spoils_only_its_record(field: str) -> None:
    page = decode_json(b'[{"file_id": "a", "%s": 1e999}, {"file_id": "b"}]' % field.encode())
    rows, (bad,) = read(*page)
    assert [row["file_id"] for row in rows] == ["b"]
    assert (bad.position, bad.file_id) == (1, "a")
    json.loads(bad.record, parse_constant=pytest.fail)


def test_a_record_too_deep_to_be_written_spoils_only_itself() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    rows, rejected = read({"file_id": "a", "other": deep}, {"file_id": "b"})
    assert [row["file_id"] for row in rows] == ["b"]
    assert [(bad.position, bad.file_id) for bad in rejected] == [(1, "a")]


def test_extra_can_be_read_back_by_any_json_reader() -> None:
    assert json_text({"b": "\ud83d\ude00", "a": "\ud83d"}).encode() == '{"a":"\ufffd","b":"\ufffd\ufffd"}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        json_text({"a": float("nan")})


# Everything


TEXT = st.text(st.characters(exclude_categories=()), max_size=8) | st.sampled_from(["", "\ud800", "\x00", "2025-11-22"])
EDGES = st.sampled_from([0, 10**11, 10**11 + 1, 2**63 - 1, 2**63, 2**64, 10**15, 10**15 + 1, 10**40, 1e300])
NUMBERS = st.integers() | EDGES | st.floats()
SCALARS = st.none() | st.booleans() | NUMBERS | TEXT
JSON = SCALARS | st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
FIELDS = [
    "id",
    "filename",
    "bytes",
    "purpose",
    "status",
    "status_details",
    "created_at",
    "expires_at",
    "object",
    "other",
]
RECORDS = st.lists(JSON | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JSON)), max_size=4)


@settings(max_examples=100, deadline=None)
@given(RECORDS)
def test_every_record_is_in_the_batch_or_set_aside(records: list[Any]) -> None:
    batch, rejected = normalise(records, READING, provider="p", page=2)
    batch.validate(full=True)
    places = [bad.position for bad in rejected]
    assert batch.num_rows + len(rejected) == len(records)
    assert places == sorted(set(places))
    assert {bad.page for bad in rejected} <= {2}
    assert all(bad.reason and bad.reason.isascii() and isinstance(bad.record, str) for bad in rejected)
    good = [record["id"] for place, record in enumerate(records, 1) if place not in places]
    assert batch["file_id"].to_pylist() == [str(file_id) for file_id in good]
    assert all(batch["file_id"].to_pylist())


SMALL = st.none() | st.integers(0, 3) | st.sampled_from([10**11, 10**15, 10**15 + 1, 1_763_800_000])
PLAIN_RECORD = st.fixed_dictionaries(
    {"id": st.text("ab", min_size=1)},
    optional={
        "object": st.just("file"),
        "filename": st.none() | st.text(max_size=5),
        "bytes": SMALL,
        "created_at": SMALL,
        "expires_at": SMALL,
        "status": st.sampled_from(["", "processed", None]),
    },
)
NEARLY_PLAIN = st.tuples(PLAIN_RECORD, st.sampled_from(FIELDS), SCALARS).map(lambda odd: odd[0] | {odd[1]: odd[2]})
PAGES = st.lists(PLAIN_RECORD, max_size=4) | st.lists(NEARLY_PLAIN, min_size=1, max_size=2)


@settings(max_examples=150, deadline=None)
@given(PAGES)
@example([{"id": "a", "bytes": 10**15, "created_at": 10**11, "filename": "\x00\U0001f600"}])
@example([{"id": "a", "object": 2**70}])
@example([{"id": "a", "bytes": 1.0, "created_at": 1e3}])
def test_a_plain_page_reads_the_same_as_record_by_record(records: list[Any]) -> None:
    page = {"object": "list", "data": records, "has_more": False, "last_id": None}
    for ascii_only in (True, False):
        content = json.dumps(page, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        plain = SKIM(content)
        if plain is None:  # then it is read record by record
            continue
        slow = json.loads(content)
        assert {**plain, "data": None} == {**slow, "data": None}
        fast_batch, fast_rejected = normalise(plain["data"], READING, provider="p")
        slow_batch, slow_rejected = normalise(slow["data"], READING, provider="p")
        fast_batch.validate(full=True)
        assert fast_batch.to_pylist() == slow_batch.to_pylist()
        assert fast_rejected == slow_rejected


@pytest.mark.parametrize(
    "record",
    [
        {"id": "a"},
        {"id": "a", "object": "file", "filename": "", "bytes": 0, "status": None, "created_at": 1_763_800_000},
        {"id": "a", "bytes": 10**15, "expires_at": 10**11, "status_details": "failed"},
    ],
)
def test_an_ordinary_page_takes_the_fast_path(record: dict[str, Any]) -> None:
    plain = SKIM(json.dumps({"object": "list", "data": [record], "has_more": True}).encode())
    assert plain is not None
    assert columns(plain["data"], READING) is not None
    assert {key: plain[key] for key in ("object", "has_more")} == {"object": "list", "has_more": True}
    assert normalise(plain["data"], READING)[0] == normalise([record], READING)[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"data": null}',
        b'{"data": {"0": {"id": "a"}}}',
        b'{"data": [{"id": "a"}]} trailing',
        b'{"data": [{"id": "a"}], "x": NaN}',
        b'{"data": [{}]}',
        b'{"data": [null]}',
        b'{"data": [{"id": null}]}',
        b'{"data": [{"id": ""}]}',
        b'{"data": [{"id": 5}]}',
        b'{"data": [{"id": "a", "other": 1}]}',
        b'{"data": [{"id": "a", "id": "b"}]}',
        b'{"data": [{"id": "a"}, null]}',
        b'{"data": [{"id": "a"}], "data": [{"id": "b", "other": 1}]}',
        b'{"data": [{"id": "a", "object": {"of": "file"}}]}',
        b'{"data": [{"id": "a", "filename": 5}]}',
        b'{"data": [{"id": "a", "bytes": 1.0}]}',
        b'{"data": [{"id": "a", "bytes": -1}]}',
        b'{"data": [{"id": "a", "bytes": true}]}',
        b'{"data": [{"id": "a", "bytes": "5"}]}',
        b'{"data": [{"id": "a", "bytes": 9223372036854775808}]}',
        b'{"data": [{"id": "a", "created_at": 0}]}',
        b'{"data": [{"id": "a", "created_at": 100000000001}]}',
        b'{"data": [{"id": "a", "filename": "\\ud800"}]}',
        b'{"data": [{"id": "a", "status_details": {}}]}',
        pytest.param(b'{"data": [{"id": "a", "filename": "\xff"}]}', id="invalid UTF-8 in a record"),
        pytest.param(b'{"data": [{"id": "a"}], "x": "\xff"}', id="invalid UTF-8 in the envelope"),
        pytest.param(b'{"\xff": 1, "data": [{"id": "a"}]}', id="invalid UTF-8 in a key"),
        pytest.param(b'{"data": ' + b"[" * 100_000, id="deep"),
    ],
)
def test_a_page_with_anything_odd_on_it_does_not(content: bytes) -> None:
    page = SKIM(content)
    assert page is None or columns(page["data"], READING) is None


def test_a_reading_with_a_function_never_takes_the_fast_path() -> None:
    assert skimmer(Reading({"file_id": lambda record: record["id"]}))(b'{"data": [{"id": "a"}]}') is None


def test_the_schema_has_one_type_for_sizes_and_one_for_times() -> None:
    assert [(field.name, str(field.type), field.nullable) for field in SCHEMA] == [
        ("file_id", "string", False),
        ("provider", "string", True),
        ("filename", "string", True),
        ("bytes", "int64", True),
        ("purpose", "string", True),
        ("status", "string", True),
        ("status_details", "string", True),
        ("mime_type", "string", True),
        ("created_at", "timestamp[us, tz=UTC]", True),
        ("expires_at", "timestamp[us, tz=UTC]", True),
        ("extra", "string", True),
    ]
    assert isinstance(SCHEMA, pa.Schema)
