"""What fetching on Ray does without Ray: packing, the shared folder, and clear words where it cannot begin."""

import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from etl.config import Config
from etl.errors import ConfigError
from etl.extract import cluster
from etl.extract.cluster import DEAD, packed
from etl.extract.engine import Threads, engine
from etl.extract.http import Http
from etl.load.store import open_inventory
from etl.providers import Credential
from etl.simulator import Account, Simulator
from etl.sync import sync
from etl.transform.listing import Listing
from etl.transform.record import SCHEMA, Rejected
from etl.transform.words import Verdict

AT = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "sk-c4n4ry-0123456789"


def config_of(count: int = 1, **settings: Any) -> Config:
    credentials = [
        {"name": f"c{number}", "type": "openai", "base_url": "http://127.0.0.1:1/v1", "api_key": KEY}
        for number in range(count)
    ]
    return Config.model_validate({"credentials": credentials} | settings)


def names(packs: list[list[Credential]]) -> list[list[str]]:
    return [[one.name for one in pack] for pack in packs]


def test_packs_cost_about_the_same_and_begin_with_what_takes_longest() -> None:
    costs = {"c0": 1.0, "c1": 9.0, "c2": 2.0, "c3": 3.0, "c4": 4.0, "c5": 1.0}
    packs = names(packed(config_of(6).credentials, costs, 2))
    assert sorted(sum(costs[name] for name in pack) for pack in packs) == [10.0, 10.0]
    assert all([costs[name] for name in pack] == sorted((costs[name] for name in pack), reverse=True) for pack in packs)


def test_what_was_never_listed_is_taken_to_cost_what_is_usual() -> None:
    packs = names(packed(config_of(6).credentials, {"c0": 2.0, "c1": 2.0, "c2": 50.0}, 3))
    assert ["c2"] in packs
    assert sorted(map(len, packs)) == [1, 2, 3]


@pytest.mark.parametrize(("count", "tasks", "sizes"), [(0, 0, []), (2, 5, [1, 1]), (7, 3, [2, 2, 3]), (5, 1, [5])])
def test_every_credential_is_in_one_pack(count: int, tasks: int, sizes: list[int]) -> None:
    credentials = config_of(max(1, count)).credentials[:count]
    packs = names(packed(credentials, {}, tasks))
    assert sorted(map(len, packs)) == sizes
    assert sorted(name for pack in packs for name in pack) == sorted(one.name for one in credentials)


def test_threads_fetch_unless_the_configuration_names_a_cluster() -> None:
    config = config_of()
    with Http(config) as http, engine(config, http, dict) as fetching:
        assert type(fetching) is Threads


def test_without_ray_a_run_says_what_to_install_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    config = config_of(store=tmp_path / "i.duckdb", ray={"address": "local"})
    with open_inventory(config) as store, pytest.raises(ConfigError) as caught:
        sync(config, store)
    assert str(caught.value) == ("ray: Ray is not installed; install it with: pip install 'llm-file-inventory[ray]'")
    with open_inventory(config) as store:
        assert not store._query("names").num_rows


def test_a_shared_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ConfigError, match=r"^ray\.shared: .*/file/below cannot be written: Not a directory$"),
        cluster._folder(tmp_path / "file/below"),
    ):
        pass


def test_listings_of_dead_runs_are_removed_and_those_of_others_stay(tmp_path: Path) -> None:
    for name, age in (("run-dead", DEAD + 60), ("run-alive", DEAD - 60), ("else", DEAD + 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "listing.parquet").touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with cluster._folder(tmp_path) as mine:
        assert {path.name for path in tmp_path.iterdir()} == {mine.name, "run-alive", "else"}
    assert {path.name for path in tmp_path.iterdir()} == {"run-alive", "else"}


def listing(**settings: Any) -> Listing:
    return Listing("c0", Verdict.COMPLETE, AT, AT, **settings)


FILES = pa.Table.from_pylist([{"file_id": "f1", "created_at": AT}, {"file_id": "f2", "bytes": 3}], SCHEMA)
BAD = (Rejected(1, 2, "is odd", "{}"), Rejected(2, 1, "is odd", '{"id": 1}', "f9"))


@pytest.mark.parametrize("settings", [{}, {"files": FILES}, {"files": FILES, "rejected": BAD}, {"rejected": BAD}])
def test_a_listing_comes_back_from_the_shared_folder_as_it_was(tmp_path: Path, settings: dict[str, Any]) -> None:
    before = listing(pages=3, first_id="f1", **settings)
    kept = cluster._kept(7, before, tmp_path)
    assert (kept.number, len(kept.listing.files), kept.listing.rejected) == (7, 0, ())
    assert bool(kept.name) == bool(settings)
    with Http(config_of()) as http:
        after = cluster._Reader(tmp_path / kept.name, http)(kept.listing) if kept.name else kept.listing
    assert after == before
    assert list(tmp_path.iterdir()) == []


def test_a_listing_that_cannot_be_written_has_failed(tmp_path: Path) -> None:
    kept = cluster._kept(0, listing(files=FILES), tmp_path / "gone")
    assert (kept.name, kept.listing.status, kept.listing.pages) == (None, Verdict.FAILED, 0)
    assert kept.listing.error
    assert kept.listing.error.startswith("it cannot be written to ray.shared: ")


@pytest.mark.parametrize("damage", ["unlink", "truncate"])
def test_a_listing_that_cannot_be_read_has_failed(tmp_path: Path, damage: str) -> None:
    kept = cluster._kept(0, listing(files=FILES), tmp_path)
    assert kept.name
    path = tmp_path / kept.name
    path.unlink() if damage == "unlink" else path.write_bytes(path.read_bytes()[:40])
    with Http(config_of()) as http:
        after = cluster._Reader(path, http)(kept.listing)
    assert (after.status, len(after.files)) == (Verdict.FAILED, 0)
    assert after.error
    assert "do all nodes see the same folder?" in after.error


class Broken:
    """A Ray that takes no task."""

    def remote(self, *_: object) -> Any:
        raise RuntimeError(f"no task is taken with {KEY}")


def test_what_cannot_be_handed_to_ray_has_failed_and_nobody_waits(tmp_path: Path) -> None:
    config = config_of(ray={"address": "local"})
    assert config.ray
    with Http(config) as http:
        fetching = cluster.Cluster(config, http, config.ray, dict)
        fetching._folder, fetching._fetch_all, fetching._dealer = tmp_path, Broken(), None
        future = cluster.Later()
        fetching._submit(config.credentials, [future], 1)
        fetching.cancel()
    done = future.result(0)
    assert (done.status, done.error) == (
        Verdict.FAILED,
        "Ray did not fetch it: RuntimeError: no task is taken with [redacted]",
    )


def test_secrets_of_other_credentials_are_blotted_out_of_what_a_task_left(tmp_path: Path) -> None:
    bad = Rejected(1, 1, f"is {KEY}", f'{{"id": "{KEY}"}}')
    kept = cluster._kept(0, listing(rejected=(bad,)), tmp_path)
    assert kept.name
    with Http(config_of()) as http:
        after = cluster._Reader(tmp_path / kept.name, http)(kept.listing)
    assert after.rejected == (Rejected(1, 1, "is [redacted]", '{"id": "[redacted]"}'),)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1"])
def test_a_cluster_that_does_not_answer_is_told_at_once(address: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"^ray\.address: no cluster can be joined at .*; start one with: ray start"):
        cluster._init(None, address, "")
    assert time.monotonic() - started < 5
    cluster._knock("auto")


def test_a_credential_costs_the_seconds_that_its_last_listing_took(tmp_path: Path, simulator: Simulator) -> None:
    simulator.accounts[KEY] = Account(5)
    credential = {"name": "acme", "type": "openai", "base_url": simulator.url, "api_key": KEY}
    config = Config.model_validate({"store": tmp_path / "i.duckdb", "credentials": [credential]})
    with open_inventory(config) as store:
        assert store.costs() == {}
        sync(config, store)
        simulator.latency = 0.2
        run = sync(config, store)
        (listing,) = run.listings
        took = (listing.finished_at - listing.started_at).total_seconds()
        assert store.costs() == {"acme": pytest.approx(took)}
        assert took >= 0.2
