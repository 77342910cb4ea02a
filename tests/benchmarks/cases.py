"""What `bench.py` measures inside a process of its own; one JSON line a figure."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

from provider import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.config import Config
    from etl.load.store import Run, Store

KEPT = Path(tempfile.gettempdir()) / f"file-inventory-bench-{os.getppid()}"
"""Where the inventory of `runs` waits for `again`."""


def floor(url: str, _size: str) -> None:
    """Fetch and decode all pages in sequence, and nothing else."""
    import httpx
    import msgspec

    headers = {"authorization": f"Bearer {KEY}"}
    best = float("inf")
    with httpx.Client(headers=headers, timeout=60) as client:
        for _ in range(3):  # the first time, the provider makes its pages
            start = time.perf_counter()
            params: dict[str, str | int] = {"limit": 10_000, "order": "asc"}
            page = {"has_more": True}
            while page["has_more"]:
                page = msgspec.json.decode(client.get(f"{url}/files", params=params).content)
                params["after"] = page["last_id"]
            best = min(best, time.perf_counter() - start)
    _report(case="floor", seconds=best, peak=0)


def runs(url: str, _size: str) -> None:
    """Sync into an empty inventory, then with nothing changed; and both once more, as the floor is fetched twice."""
    for _ in range(2):
        shutil.rmtree(KEPT, ignore_errors=True)
        KEPT.mkdir()
        for case in ("first", "unchanged"):
            _timed(_config(KEPT, url), case)


def again(url: str, _size: str) -> None:
    """Sync once more into the inventory of `runs`."""
    try:
        _timed(_config(KEPT, url), "again")
    finally:
        shutil.rmtree(KEPT)


def large(url: str, _size: str) -> None:
    """Sync with little memory; what is mapped from files is the system's to drop, so it does not count."""
    peak, stop = [0], Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peak[0] = max(peak[0], _anonymous())

    watching = Thread(target=watch)
    watching.start()
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), url, memory_limit="1.5GB")
        seconds, _ = _sync(config)
    stop.set()
    watching.join()
    _report(seconds=seconds, anonymous=peak[0])


def many(url: str, credentials: str) -> None:
    """Sync many credentials, into an empty inventory and once more."""
    names = {f"cred-{number}": f"{KEY}-{number}" if number else KEY for number in range(int(credentials))}
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), url, names, http={"workers": 16, "per_host": 16})
        for case in ("first load", "nothing changed"):
            _timed(config, case)


def beside(url: str, others: str) -> None:
    """Sync a small credential, alone and among others; time what is published."""
    from etl import open_inventory
    from etl.load.publish import publish

    with tempfile.TemporaryDirectory() as folder:
        _small(_config(Path(folder), url))
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), url)
        with open_inventory(config) as store:
            for statement in OTHERS.split(";"):
                store._connection.execute(statement.replace("$files", others))
        _small(config)
        start = time.perf_counter()
        publish(Path(f"{store.path}"), Path(folder, "inventory.duckdb"))
        _report(seconds=time.perf_counter() - start, bytes=Path(f"{store.path}").stat().st_size)


OTHERS = """
insert into credentials by name
select
    'other-' || i as name, 'openai' as type, 'https://api.openai.com/v1' as base_url, true as active,
    86400.0 as stale_after, now() as last_attempt_at, now() as last_complete_at
from range(100) as credentials (i);
insert into listings by name
select
    'run-0' as run_id, name as credential, 'complete' as status, now() as started_at, now() as finished_at,
    10 as pages, 10 as requests, 0 as retries, 0 as bytes_received, $files / 100 as records, 0 as baseline,
    $files / 100 as created, 0 as updated, 0 as deleted, 0 as restored, 0 as unchanged, 0 as held, 0 as rejected,
    '{}' as scope
from credentials;
insert into files
select
    'other-' || i // ($files / 100)::bigint, 'file-' || substr(md5(i::varchar), 1, 24), 'openai',
    'requests-' || i || '.jsonl', hash(i) % 100000000, 'batch', 'processed', null, null, to_timestamp(1700000000 + i),
    null, null, now(), now()
from range($files) as files (i);
insert into file_changes
select
    row_number() over (), 'run-0', first_seen_at, credential, file_id, 'baseline', null, null,
    * exclude (credential, file_id, first_seen_at, changed_at)
from files
"""


def _small(config: Config) -> None:
    """Report the best of some runs of a small credential, whole and without publishing."""
    _sync(config)
    found = [_sync(config) for _ in range(4)]
    _report(seconds=min(whole for whole, _ in found), unpublished=min(whole - published for whole, published in found))


def year(_url: str, size: str, count: str) -> None:
    """Apply daily listings of which 0.1 % changed, without fetching them; publish the second and the last."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from etl import open_inventory
    from etl.transform.listing import Listing
    from etl.transform.record import SCHEMA
    from etl.transform.words import Verdict

    files, most = int(size), int(count)
    numbers = pa.array(range(files))
    few = files // 1000
    ids = pc.binary_join_element_wise("file-", pc.cast(numbers, pa.string()), "")
    names = pc.binary_join_element_wise("requests-", pc.cast(numbers, pa.string()), "")
    columns = {"file_id": ids, "filename": names, "bytes": numbers, "purpose": pa.repeat("batch", files)}
    sizes: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        config = _config(Path(folder), "http://127.0.0.1:9/v1")
        start = datetime.now(UTC) - timedelta(days=most)
        for day in range(1, most + 1):
            at = start + timedelta(days=day)
            touched = pc.equal(pc.bit_wise_and(pc.add(numbers, day * few), 1023), 7)
            columns["bytes"] = pc.if_else(touched, pc.add(columns["bytes"], 1), columns["bytes"])
            nulls = {field.name: pa.nulls(files, field.type) for field in SCHEMA if field.name not in columns}
            batch = pa.table({**columns, **nulls}).select(SCHEMA.names).cast(SCHEMA)
            with open_inventory(config) as store:
                began = time.perf_counter()
                started = replace(store.begin(config, "schedule"), started_at=at)
                listing = Listing("bench", Verdict.COMPLETE, at, at, batch)
                outcomes = store.apply(started, store.compare([(config.credentials[0], listing)]))
                store.finish(started, outcomes)
                if day in {2, 3, most - 1, most}:
                    store.publish()
                sizes[day] = Path(f"{store.path}").stat().st_size
                taken = time.perf_counter() - began
            if day in {2, most}:
                _report(seconds=taken)
        changes = (most - 3) * files // 1024
        _report(bytes=sizes[most] - sizes[3], changes=changes)


def _config(folder: Path, url: str, names: dict[str, str] | None = None, **settings: Any) -> Config:
    from etl.config import Config

    credentials = [
        {"name": name, "type": "openai", "base_url": url, "api_key": key}
        for name, key in (names or {"bench": KEY}).items()
    ]
    http = {"requests_per_second": 1_000_000} | settings.pop("http", {})
    return Config.model_validate(
        {"store": folder / "inventory.duckdb", "credentials": credentials, "http": http} | settings
    )


def _timed(config: Config, case: str) -> None:
    seconds, _ = _sync(config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    _report(case=case, seconds=seconds, peak=peak)


def _sync(config: Config) -> tuple[float, float]:
    """Return the seconds that a run took, and those of them that went into publishing."""
    import etl.extract.fetch  # noqa: F401 - imports belong to start-up, not to a run
    from etl import open_inventory, sync

    with open_inventory(config) as store, _publishing(store) as published:
        start = time.perf_counter()
        run: Run = sync(config, store)
        seconds = time.perf_counter() - start
    assert run.status == "complete", run
    return seconds, published[0]


@contextmanager
def _publishing(store: Store) -> Iterator[list[float]]:
    taken, publish = [0.0], store.publish

    def timed() -> None:
        start = time.perf_counter()
        publish()
        taken[0] = time.perf_counter() - start

    store.publish = timed  # type: ignore[method-assign]
    yield taken


def _anonymous() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")]
    return int(line.split()[1]) * 1024


def _report(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    kind, *given = sys.argv[1:]
    {case.__name__: case for case in (floor, runs, again, large, many, beside, year)}[kind](*given)
