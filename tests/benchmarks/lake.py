"""Measure a lake beside a file: merging into it, asking it, and what it grows to over many runs.

PostgreSQL and the lake's files are on this machine; over a network each commit takes some round trips more. The
figures go to `results/lake.json` beside this file.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from cases import OTHERS
from conftest import Lakes, database_of

from etl.config import Config
from etl.load.store import open_inventory
from etl.places import Lake, Upkeep
from etl.report.inventory import open_published
from etl.transform.listing import Listing
from etl.transform.record import SCHEMA
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.load.store import Outcome, Store

RESULTS = Path(__file__).with_name("results") / "lake.json"
SMALL = 10_000
"""Files of the credential that is merged."""

QUESTIONS = {
    "what fills it": "select purpose, count(*), sum(bytes) from files group by purpose order by all",
    "one credential": "select count(*), sum(bytes) from files where credential = 'other-7'",
    "what changed": "select change, count(*) from file_changes where credential = 'bench' group by change order by all",
    "freshness": "select count(*) from freshness where stale",
}


def main() -> None:
    """Print each figure as it comes; keep them."""
    parser = argparse.ArgumentParser(description="Measure a lake beside a file.")
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000_000, 10_000_000], help="files of others")
    parser.add_argument("--runs", type=int, default=1000, help="runs over which a catalogue grows")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lakes-") as folder, Lakes(Path(folder)) as lakes:
        kept = [*merges(lakes, asked.sizes), *growth(lakes, asked.runs)]
    RESULTS.parent.mkdir(exist_ok=True)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    RESULTS.write_text(json.dumps({"when": when, "figures": kept}, indent=1) + "\n")


def merges(lakes: Lakes, sizes: list[int]) -> Iterator[dict[str, Any]]:
    """A small credential among others: in a file, and in a lake."""
    for size in sizes:
        for kind in ("file", "lake"):
            with _stored(lakes, kind) as config:
                found = _merged(config, size)
                found |= {name: _asked(config, sql) for name, sql in QUESTIONS.items()}
            yield _told(files=size, store=kind, **found)


def _merged(config: Config, size: int) -> dict[str, float]:
    found = {}
    with open_inventory(config) as store:
        for statement in OTHERS.split(";"):
            store._connection.execute(statement.replace("$files", str(size)))
    cases = {"first": 0, "unchanged": 0, "1,000 updated": 1000, "5,000 updated": 5000}
    for number, (case, changed) in enumerate(cases.items()):
        with open_inventory(config) as store:
            began = time.perf_counter()
            _run(store, config, _listed(SMALL, changed, number))
            found[case] = time.perf_counter() - began
    return found


def growth(lakes: Lakes, runs: int) -> Iterator[dict[str, Any]]:
    """A catalogue over many runs of which each changes something, with upkeep after every hundredth.

    Snapshots are kept for a minute, which is about as many runs as a week has at a run every hour and a quarter.
    """
    with _stored(lakes, "lake", keep_snapshots="1m") as config, open_inventory(config) as store:
        for run in range(1, runs + 1):
            began = time.perf_counter()
            _run(store, config, _listed(SMALL, 10, run))
            seconds = time.perf_counter() - began
            if run % 100 == 0 or run in {2, 10, 50}:
                yield _told(run=run, seconds=seconds, **_catalogue(lakes, config))
            if run % 100 == 0:
                began = time.perf_counter()
                store.keep_up()
                yield _told(run=run, upkeep=time.perf_counter() - began, **_catalogue(lakes, config))


def _catalogue(lakes: Lakes, config: Config) -> dict[str, int]:
    assert isinstance(config.store, Lake)
    database = database_of(config.store)
    [(size,)] = lakes.sql("select pg_database_size(current_database())", database)
    [(snapshots,)] = lakes.sql("select count(*) from ducklake_snapshot", database)
    [(files,)] = lakes.sql("select count(*) from ducklake_data_file where end_snapshot is null", database)
    return {"catalogue_bytes": size, "snapshots": snapshots, "data_files": files}


def _run(store: Store, config: Config, files: pa.Table) -> list[Outcome]:
    """Apply one listing, from opening to publishing."""
    started = store.begin(config, "cli")
    now = datetime.now(UTC)
    listing = Listing("bench", Verdict.COMPLETE, now, now, files)
    outcomes = store.apply(started, store.compare([(config.credentials[0], listing)]))
    store.finish(started, outcomes)
    store.publish()
    return outcomes


def _listed(count: int, changed: int, version: int) -> pa.Table:
    rows = [
        {"file_id": f"file-{number:024d}", "filename": f"requests-{number}.jsonl", "purpose": "batch"}
        | {"bytes": number + (version if number < changed else 0)}
        for number in range(count)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def _asked(config: Config, sql: str) -> float:
    with open_published(config.store) as inventory:
        began = time.perf_counter()
        inventory.query(sql).read_all()
        return time.perf_counter() - began


@contextmanager
def _stored(lakes: Lakes, kind: str, **upkeep: str) -> Iterator[Config]:
    with tempfile.TemporaryDirectory() as folder:
        place = lakes.new(Path(folder) / "lake") if kind == "lake" else Path(folder) / "inventory.duckdb"
        if isinstance(place, Lake) and upkeep:
            often = place.ducklake.model_copy(update={"upkeep": Upkeep.model_validate(upkeep)})
            place = place.model_copy(update={"ducklake": often})
        credential = {"name": "bench", "type": "openai", "base_url": "http://127.0.0.1:9/v1"}
        yield Config.model_validate({"credentials": [credential]}).model_copy(update={"store": place})


def _told(**figures: Any) -> dict[str, Any]:
    words = (
        f"{name} {value:,.3f}" if isinstance(value, float) else f"{name} {value}" for name, value in figures.items()
    )
    print(", ".join(words), flush=True)
    return figures


if __name__ == "__main__":
    main()
