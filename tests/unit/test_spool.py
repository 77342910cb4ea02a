"""A listing that takes too much memory goes through a file, and nobody can tell."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from etl.errors import NoRoom
from etl.extract.spool import Spool
from etl.transform.record import SCHEMA


def batches(count: int, size: int = 500) -> Iterator[pa.RecordBatch]:
    for number in range(count):
        rows = [{"file_id": f"file-{number}-{place}", "filename": "n" * 100, "bytes": place} for place in range(size)]
        yield pa.RecordBatch.from_pylist(rows, SCHEMA)


@pytest.mark.parametrize("limit", [None, 1, 400_000, 10**9])
def test_what_is_taken_in_comes_out_in_order(tmp_path: Path, limit: int | None) -> None:
    given = list(batches(5))
    with Spool(tmp_path, limit) as spool:
        for number, batch in enumerate(given, start=1):
            spool.append(batch)
            assert spool.table() == pa.Table.from_batches(given[:number])
        assert pa.Table.from_batches(spool) == spool.table()
        table = spool.table()
    assert table == pa.Table.from_batches(given, SCHEMA)


def test_beyond_its_part_of_the_limit_it_takes_a_file_that_has_no_name(tmp_path: Path) -> None:
    before = pa.total_allocated_bytes()
    with Spool(tmp_path, 400_000) as spool:
        for batch in batches(20):
            spool.append(batch)
        assert pa.total_allocated_bytes() - before < 200_000 < spool.table().nbytes
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", [None, 50_000_000])
@pytest.mark.parametrize("many", [1, 50_000])
def test_it_tells_whether_an_id_came_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None, many: int
) -> None:
    monkeypatch.setattr("etl.extract.spool._MANY", many)
    with Spool(tmp_path, limit) as spool:
        for batch in batches(4):
            spool.append(batch)
        assert spool.is_distinct()
        spool.append(next(batches(1, size=1)))
        assert not spool.is_distinct()


def test_an_empty_one_is_an_empty_table() -> None:
    assert Spool().table() == SCHEMA.empty_table()
    assert Spool().is_distinct()


def test_where_the_disk_is_full_nothing_is_kept_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("wb+", buffering=0)  # noqa: SIM115 - the spool closes it
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)
    with Spool(tmp_path, 1) as spool:
        with pytest.raises(NoRoom, match="its records do not fit beside the store: No space left on device; make room"):
            spool.append(next(batches(1)))
        assert spool.table() == SCHEMA.empty_table()
    assert full.closed
