"""Many readers of the published database, while one copy follows another."""

from pathlib import Path

import duckdb
import pytest

from etl.errors import QueryError, StoreError
from etl.report.inventory import Published, open_published


def publish(path: Path, value: int) -> None:
    fresh = path.with_suffix(".fresh")
    with duckdb.connect(str(fresh)) as connection:
        connection.execute("create table files as select $value as id", {"value": value})
    fresh.replace(path)


def test_a_reader_keeps_its_copy_and_the_next_one_gets_the_next(tmp_path: Path) -> None:
    path = tmp_path / "it's the inventory.duckdb"
    publish(path, 1)
    published = Published(path)
    with published.open() as first, published.open() as beside:
        publish(path, 2)
        with published.open() as second, open_published(path) as alone:
            for reader, value in ((first, 1), (beside, 1), (second, 2), (alone, 2)):
                assert reader.query("from files").read_all().to_pylist() == [{"id": value}]


def test_readers_do_not_see_each_others_scratch_tables(tmp_path: Path) -> None:
    publish(tmp_path / "inventory.duckdb", 1)
    published = Published(tmp_path / "inventory.duckdb")
    with published.open() as first, published.open() as second:
        first.connection.execute("create temp table scratch as select 1")
        with pytest.raises(QueryError, match="scratch does not exist"):
            second.query("from scratch")


def test_readers_cannot_write_and_cannot_reach_other_files(tmp_path: Path) -> None:
    publish(tmp_path / "inventory.duckdb", 1)
    (tmp_path / "other.csv").write_text("a,b")
    with Published(tmp_path / "inventory.duckdb").open() as reader:
        for sql in ("delete from files", f"from '{tmp_path}/other.csv'", "create table files as select 1"):
            with pytest.raises(QueryError):
                reader.query(sql)


def test_where_nothing_is_published_it_says_what_to_do(tmp_path: Path) -> None:
    published = Published(tmp_path / "inventory.duckdb")
    with pytest.raises(StoreError, match="nothing is published there yet; run: file-inventory sync"), published.open():
        pass
    (tmp_path / "inventory.duckdb").write_text("no database")
    with pytest.raises(StoreError, match="cannot be opened"), published.open():
        pass
