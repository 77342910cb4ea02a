"""Two listings of one run, and what they prove together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from etl.transform.listing import Listing, fold
from etl.transform.record import SCHEMA, Rejected
from etl.transform.words import Change, Verdict

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
BAD = Rejected(1, 2, "bytes is not a whole number: 'many'", '{"id": "x", "bytes": "many"}', "x")
OTHER = Rejected(1, 3, "the record has no id", '{"id": null}')


def table(*rows: tuple[str, int]) -> pa.Table:
    return pa.Table.from_pylist([{"file_id": file_id, "bytes": size} for file_id, size in rows], SCHEMA)


def pairs(files: pa.Table) -> list[tuple[str, int]]:
    return list(zip(files["file_id"].to_pylist(), files["bytes"].to_pylist(), strict=True))


def listing(*rows: tuple[str, int], status: Verdict = Verdict.COMPLETE, minute: int = 0, **others: Any) -> Listing:
    started = NOON + timedelta(minutes=minute)
    return Listing("a", status, started, started + timedelta(seconds=30), table(*rows), **others)


FIRST = listing(
    ("f1", 1),
    ("f2", 2),
    rejected=(BAD,),
    pages=1,
    requests=2,
    retries=1,
    bytes_received=100,
    first_id="f1",
    last_id="f2",
)
SECOND = listing(
    ("f2", 20),
    ("f3", 30),
    minute=1,
    rejected=(OTHER,),
    pages=2,
    requests=3,
    retries=0,
    bytes_received=200,
    first_id="f2",
    last_id="f3",
)


def test_a_listing_is_empty_until_told_otherwise() -> None:
    bare = Listing("a", Verdict.FAILED, NOON, NOON)
    assert bare.files.schema == SCHEMA
    assert (bare.files.num_rows, bare.rejected, bare.reason, bare.error, bare.rechecked) == (0, (), None, None, False)
    assert (bare.pages, bare.requests, bare.retries, bare.bytes_received) == (0, 0, 0, 0)


def test_only_what_both_listings_lack_counts_as_gone() -> None:
    joined = FIRST.confirmed_by(SECOND)
    assert sorted(pairs(joined.files)) == [("f1", 1), ("f2", 20), ("f3", 30)]
    assert joined.status is Verdict.COMPLETE


def test_a_confirmed_listing_adds_up_what_both_cost() -> None:
    joined = FIRST.confirmed_by(SECOND)
    assert replace(joined, files=SECOND.files) == replace(
        SECOND,
        started_at=NOON,
        rejected=(BAD, OTHER),
        pages=3,
        requests=5,
        retries=1,
        bytes_received=300,
        rechecked=True,
    )


def test_a_record_that_is_rejected_twice_is_told_once() -> None:
    again = replace(BAD, page=2, position=1)
    assert FIRST.confirmed_by(replace(SECOND, rejected=(again, OTHER))).rejected == (again, OTHER)


@pytest.mark.parametrize("status", [Verdict.INCOMPLETE, Verdict.FAILED, Verdict.UNSUPPORTED])
def test_deletions_are_not_believed_unless_the_second_listing_is_complete(status: Verdict) -> None:
    second = replace(SECOND, status=status, reason="unreachable", error="it gave no answer")
    joined = FIRST.confirmed_by(second)
    assert (joined.status, joined.reason, joined.rechecked) == (Verdict.INCOMPLETE, "not_confirmed", True)
    assert joined.error == "the second listing, to confirm deletions, did not complete: it gave no answer"
    assert sorted(pairs(joined.files)) == [("f1", 1), ("f2", 20), ("f3", 30)]


def test_an_empty_second_listing_keeps_all_of_the_first() -> None:
    assert pairs(FIRST.confirmed_by(listing(minute=1)).files) == [("f1", 1), ("f2", 2)]


def test_an_empty_first_listing_takes_all_of_the_second() -> None:
    assert pairs(listing().confirmed_by(SECOND).files) == [("f2", 20), ("f3", 30)]


def test_listings_of_many_batches_are_joined_too() -> None:
    first = replace(FIRST, files=pa.concat_tables([table(("f1", 1)), table(("f2", 2))]))
    second = replace(SECOND, files=pa.concat_tables([table(("f2", 20)), table(), table(("f3", 30))]))
    joined = first.confirmed_by(second).files
    joined.validate(full=True)
    assert sorted(pairs(joined)) == [("f1", 1), ("f2", 20), ("f3", 30)]


def test_folding_keeps_the_last_of_each_file_in_order() -> None:
    files = table(("a", 1), ("b", 2), ("a", 3), ("c", 4), ("b", 5))
    assert pairs(fold(files)) == [("a", 3), ("c", 4), ("b", 5)]


@pytest.mark.parametrize("files", [table(), table(("a", 1), ("b", 2))])
def test_folding_leaves_distinct_files_alone(files: pa.Table) -> None:
    assert fold(files) is files


def test_the_words_of_tables_and_reports_are_these() -> None:
    assert list(map(str, Verdict)) == ["complete", "held", "incomplete", "failed", "unsupported"]
    assert list(map(str, Change)) == ["baseline", "created", "updated", "deleted", "restored"]
