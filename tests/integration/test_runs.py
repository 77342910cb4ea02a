"""Runs over many credentials, what they leave behind, and those who read it meanwhile."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from etl.errors import ConfigError, StoreBusy
from etl.load.store import Run, open_inventory
from etl.report.inventory import open_published
from etl.simulator import FAULTS, Account, Simulator

from .conftest import HTTP, TOKEN, Lab, Row, direct, quickly, record, stored

DUCKDB_1_4 = Path(__file__).parents[2] / ".duckdb-1.4/bin/python"
SUMMED = (
    "records",
    "baseline",
    "created",
    "updated",
    "deleted",
    "restored",
    "unchanged",
    "held",
    "rejected",
    "pages",
    "requests",
    "retries",
    "bytes_received",
)


@pytest.fixture
def account(simulator: Simulator) -> Account:
    """300 files, 100 a page."""
    simulator.page_limit = 100
    account = simulator.accounts[TOKEN] = Account(300, seed=7)
    return account


def many(simulator: Simulator, count: int) -> list[Row]:
    """So many credentials, each with an account of its own size: 30 files, 31 files, ..."""
    for number in range(count):
        simulator.accounts[f"sk-{number}"] = Account(30 + number, seed=number)
    return [direct(simulator, f"sk-{number}", name=f"team-{number:02}") for number in range(count)]


def test_a_run_adds_up_what_its_listings_did(lab: Lab, simulator: Simulator) -> None:
    simulator.page_limit = 10
    config = lab.config(*many(simulator, 6))
    lab.sync(config)
    for number, account in enumerate(simulator.accounts.values()):
        changed = account.change(number)
        account.remove(*[key for key in account.files if key not in changed][:2])
        account.add(3)
    lab.sync(config)
    for account in simulator.accounts.values():
        account.restore(1)
    simulator.faults |= {"sk-1": FAULTS["word_bytes"], "sk-2": FAULTS["page2_500"], "sk-3": FAULTS["empty"]}
    run = lab.sync(config)
    published = lab.published()
    for told in published.listings:
        assert told["records"] == sum(
            told[kind] for kind in ("baseline", "created", "updated", "restored", "unchanged")
        )
    listings = [row for row in published.listings if row["run_id"] == run.run_id]
    assert len(listings) == 6
    totals = {"credentials": 6, "complete": 4} | {name: sum(row[name] for row in listings) for name in SUMMED}
    assert run.totals == totals
    assert {type(name) for name in run.totals} == {str}  # as those who hand them on need them
    assert totals["restored"] == 5
    assert totals["held"] == len(simulator.accounts["sk-3"].files) - 1
    assert published.runs[-1] | {"totals": json.loads(published.runs[-1]["totals"])} == {
        "run_id": run.run_id,
        "trigger": "cli",
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "status": "partial",
        "totals": totals,
    }
    logged = {
        (row["credential"], row["change"]): row["entries"]
        for row in lab.rows("select credential, change, count(*) as entries from file_changes group by all")
    }
    for name in {row["credential"] for row in published.listings}:
        told = {
            kind: sum(row[kind] for row in published.of(name).listings)
            for kind in ("baseline", "created", "updated", "deleted", "restored")
        }
        assert told == {kind: logged.get((name, kind), 0) for kind in told}


@pytest.mark.parametrize("fault", ["unauthorized", "cut", "list_body"])
def test_one_broken_credential_stops_no_other(lab: Lab, simulator: Simulator, fault: str) -> None:
    config = lab.config(*many(simulator, 5))
    simulator.page_limit = 10
    simulator.faults["sk-2"] = FAULTS[fault]
    run = lab.sync(config)
    assert run.status == "partial"
    assert {listing.credential: listing.status == "complete" for listing in run.listings} == {
        "team-00": True,
        "team-01": True,
        "team-02": False,
        "team-03": True,
        "team-04": True,
    }
    published = lab.published()
    for listing in run.listings:
        if listing.credential != "team-02":
            account = simulator.accounts[f"sk-{int(listing.credential[-2:])}"]
            assert published.of(listing.credential).files == stored(
                account.files.values(), listing.finished_at, listing.credential
            )


def test_a_run_in_which_nothing_was_listed_has_failed(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(*many(simulator, 2))
    simulator.faults |= dict.fromkeys(("sk-0", "sk-1"), FAULTS["forbidden"])
    run = lab.sync(config)
    assert (run.status, run.totals["complete"], run.totals["requests"]) == ("failed", 0, 2)
    assert lab.published().runs[0]["status"] == "failed"


def test_naming_credentials_leaves_the_others_as_they_were(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(*many(simulator, 4))
    lab.sync(config)
    before = lab.published()
    for account in simulator.accounts.values():
        account.delete(1)
    run = lab.sync(config, "team-02", "team-00", "team-02")
    assert sorted(listing.credential for listing in run.listings) == ["team-00", "team-02"]
    assert run.status == "complete"
    published = lab.published()
    for name in ("team-01", "team-03"):
        for table in ("credentials", "files", "changes", "listings", "freshness"):
            assert getattr(published.of(name), table) == getattr(before.of(name), table)
    assert [row["active"] for row in published.credentials] == [True] * 4
    assert sorted(row["credential"] for row in published.log("deleted")) == ["team-00", "team-02"]


def test_a_name_that_is_not_configured_starts_no_run(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(*many(simulator, 2))
    lab.sync(config)
    with pytest.raises(ConfigError, match="no credential is named team-7"):
        lab.sync(config, "team-00", "team-7")
    lab.sync(config)
    assert [row["status"] for row in lab.published().runs] == ["complete", "complete"]


def test_there_may_be_far_more_credentials_than_workers(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(*many(simulator, 50), http=HTTP | {"workers": 4})
    run = lab.sync(config)
    assert run.totals["complete"] == 50
    assert run.totals["records"] == sum(len(account.files) for account in simulator.accounts.values())
    assert {row["credential"]: row["files"] for row in lab.rows(PER_CREDENTIAL)} == {
        f"team-{number:02}": 30 + number for number in range(50)
    }


PER_CREDENTIAL = "select credential, count(*) as files from files group by all"


def key_print(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]


@pytest.mark.usefixtures("account")
def test_the_table_of_credentials_tells_how_each_was_configured_last(lab: Lab, simulator: Simulator) -> None:
    labels = {"team": "search", "env": "prod"}
    lab.sync(lab.config(direct(simulator, labels={"team": "old"}), direct(simulator, name="plain")))
    keyless = {"name": "keyless", "type": "openai", "base_url": simulator.url}
    run = lab.sync(
        lab.config(
            direct(simulator, labels=labels, provider="acme-cloud", stale_after="2h"),
            direct(simulator, "sk-other", name="plain"),
            keyless,
        )
    )
    at = {listing.credential: listing.finished_at for listing in run.listings}
    published = lab.published()
    plain_before = published.of("plain").listings[0]["finished_at"]
    scope = {"type": "openai", "base_url": simulator.url}
    sql = """
        select * replace (labels::varchar as labels, scope::varchar as scope, stale_after::bigint as stale_after)
        from credentials order by name
    """
    assert lab.rows(sql) == [
        {
            "name": "acme",
            "type": "openai",
            "provider": "acme-cloud",
            "base_url": simulator.url,
            "labels": json.dumps(labels, sort_keys=True),
            "key_fingerprint": key_print(TOKEN),
            "active": True,
            "stale_after": 7200,
            "scope": json.dumps(scope | {"provider": "acme-cloud", "keys": key_print(TOKEN)}),
            "last_attempt_at": at["acme"],
            "last_complete_at": at["acme"],
            "quota_files": None,
            "quota_bytes": None,
            "workspace": None,
        },
        {
            "name": "keyless",
            "type": "openai",
            "provider": None,
            "base_url": simulator.url,
            "labels": "{}",
            "key_fingerprint": None,
            "active": True,
            "stale_after": 86400,
            "scope": None,
            "last_attempt_at": at["keyless"],
            "last_complete_at": None,
            "quota_files": None,
            "quota_bytes": None,
            "workspace": None,
        },
        {
            "name": "plain",
            "type": "openai",
            "provider": None,
            "base_url": simulator.url,
            "labels": "{}",
            "key_fingerprint": key_print("sk-other"),
            "active": True,
            "stale_after": 86400,
            "scope": json.dumps(scope | {"keys": key_print(TOKEN)}),
            "last_attempt_at": at["plain"],
            "last_complete_at": plain_before,
            "quota_files": None,
            "quota_bytes": None,
            "workspace": None,
        },
    ]


def test_a_run_that_was_cut_off_is_called_interrupted_by_the_next_one(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    first = lab.listing(config)
    with open_inventory(config) as store:
        store._connection.execute(
            "insert into runs (run_id, trigger, started_at, status) values ('cut-off', 'schedule', now(), 'running')"
        )
    lab.sync(config)
    published = lab.published()
    assert [row["status"] for row in published.runs] == ["complete", "interrupted", "complete"]
    cut_off = published.runs[1]
    assert cut_off["finished_at"] >= cut_off["started_at"]
    assert cut_off | {"started_at": None, "finished_at": None} == {
        "run_id": "cut-off",
        "trigger": "schedule",
        "started_at": None,
        "finished_at": None,
        "status": "interrupted",
        "totals": None,
    }
    assert published.files == stored(account.files.values(), first.finished_at)


@pytest.mark.embedded
@pytest.mark.usefixtures("account")
def test_a_second_writer_is_refused_and_told_who_the_first_is(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(direct(simulator))
    path = lab.path.with_name("inventory.yaml")
    path.write_text(json.dumps({"store": str(lab.path), "credentials": [direct(simulator, "${THE_KEY}")]}))
    with open_inventory(config):
        with pytest.raises(StoreBusy, match=f"another writer is at work .*: process {os.getpid()} "):
            lab.sync(config)
        refused = subprocess.run(
            [Path(sys.executable).with_name("file-inventory"), "--config", path, "sync"],
            env=os.environ | {"THE_KEY": TOKEN},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (refused.returncode, refused.stdout) == (3, "")
    assert f"process {os.getpid()} " in refused.stderr
    assert simulator.requests == []
    assert lab.sync(config).status == "complete"


READ_AGAIN_AND_AGAIN = """
import json, select, sys, duckdb
seen, reads = set(), 0
while reads < 100_000:
    with duckdb.connect(sys.argv[1], read_only=True) as connection:
        seen.add(connection.execute(sys.argv[2]).fetchone())
    reads += 1
    if reads == 1:
        print("reading", flush=True)
    if select.select([sys.stdin], [], [], 0.01)[0]:
        break
print(json.dumps([reads, sorted(seen)]))
"""

READ_AND_HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print(connection.execute(sys.argv[2]).fetchone(), flush=True)
sys.stdin.readline()
print(connection.execute(sys.argv[2]).fetchone(), flush=True)
"""

WHOLE = """
select
    (select count(*) from runs where status = 'complete'), (select count(*) from files),
    (select count(*) from file_changes), (select count(*) from listings)
"""


@contextmanager
def reader(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that reads the published database until it gets a line."""
    with subprocess.Popen(
        [sys.executable, "-c", code, path, WHOLE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.embedded
def test_a_process_that_reads_all_the_time_always_sees_a_whole_inventory(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    lab.sync(config)
    changes = 300
    published = {(1, 300, changes, 1)}
    with reader(READ_AGAIN_AND_AGAIN, lab.path) as process:
        assert process.stdout
        assert process.stdout.readline() == "reading\n"
        for run in range(2, 22):
            account.add(40)
            account.delete(10)
            done = lab.sync(config)
            changes += done.totals["created"] + done.totals["deleted"]
            published.add((run, len(account.files), changes, run))
        out, errors = process.communicate("stop\n", timeout=30)
    assert (process.returncode, errors) == (0, "")
    reads, seen = json.loads(out)
    assert {tuple(state) for state in seen} <= published
    assert len(seen) > 1
    assert reads > 10


@pytest.mark.embedded
def test_a_process_that_keeps_the_inventory_open_disturbs_no_run_and_sees_no_change(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    lab.sync(config)
    with reader(READ_AND_HOLD, lab.path) as process, open_published(lab.path) as inventory:
        assert process.stdout
        assert process.stdout.readline() == "(1, 300, 300, 1)\n"
        for _ in range(3):
            account.add(40)
            assert lab.sync(config).status == "complete"
        assert list(inventory.query(WHOLE).read_all().to_pylist()[0].values()) == [1, 300, 300, 1]
        out, errors = process.communicate("go on\n", timeout=30)
    assert (process.returncode, out, errors) == (0, "(1, 300, 300, 1)\n", "")
    assert list(lab.rows(WHOLE)[0].values()) == [4, 420, 420, 4]


RELATIONS = (
    "credentials",
    "runs",
    "listings",
    "files",
    "file_changes",
    "held_deletions",
    "rejected_records",
    "freshness",
    "unique_files",
    "file_history",
    "files_as_of(now())",
)

READ_ALL = """
import json, sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
connection.execute("set timezone = 'UTC'")
print(json.dumps([duckdb.__version__] + [
    sorted(row for (row,) in connection.sql(f"select to_json(one)::varchar from {name} as one").fetchall())
    for name in sys.argv[2:]
]))
"""


@pytest.mark.embedded
def test_the_oldest_duckdb_that_is_supported_reads_the_same_rows(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    if not DUCKDB_1_4.exists():
        pytest.skip(f"{DUCKDB_1_4.parents[1].name} is missing: run make test")
    config = lab.config(direct(simulator, labels={"team": "search"}), direct(simulator, name="other"))
    lab.sync(config)
    account.delete(200)
    simulator.faults[TOKEN] = FAULTS["null_id"]
    lab.sync(config)
    simulator.faults[TOKEN] = FAULTS["word_bytes"]
    lab.sync(config)
    account.add(1)
    account.change(1)
    lab.approve(config, "other")
    lab.sync(config)

    def read(python: Path | str) -> Any:
        done = subprocess.run(
            [python, "-I", "-c", READ_ALL, lab.path, *RELATIONS],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    old_version, *old_rows = read(DUCKDB_1_4)
    _, *new_rows = read(sys.executable)
    assert old_version == "1.4.4"
    assert all(old_rows)
    assert old_rows == new_rows


class Oracle:
    """What the inventory of one credential should say, kept in plain Python."""

    def __init__(self, name: str, account: Account) -> None:
        self.name = name
        self.account = account
        self.first_seen: dict[str, datetime] = {}
        self.rows: dict[str, Row] = {}

    def look(self, at: datetime) -> list[Row]:
        """Take in what the account holds now."""
        known, self.rows = self.rows, {}
        for key, file in self.account.files.items():
            seen = record(file)
            same = key in known and all(known[key][name] == value for name, value in seen.items())
            self.rows[key] = {
                "credential": self.name,
                **seen,
                "first_seen_at": self.first_seen.setdefault(key, at),
                "changed_at": known[key]["changed_at"] if same else at,
            }
        return [self.rows[key] for key in sorted(self.rows)]


def live(account: Account, run: int) -> None:
    """Let users work for a while."""
    account.restore(run % 3)
    account.add(run % 4)
    account.change(5)
    account.age(2)
    account.expire(1)
    account.delete(3)


@dataclass(frozen=True)
class Past:
    """A store with a past, and what was true after each of its runs."""

    lab: Lab
    runs: list[tuple[Run, list[Row]]]


def history(lab: Lab, runs: int, between: Callable[[int], None]) -> Past:
    """Sync two lively accounts so many times."""
    past = Past(lab, [])
    with Simulator() as simulator:
        credentials = many(simulator, 2)
        config = lab.config(*credentials)
        oracles = [Oracle(row["name"], simulator.accounts[row["api_key"]]) for row in credentials]
        for run in range(runs):
            between(run)
            done = lab.sync(config)
            at = {listing.credential: listing.finished_at for listing in done.listings}
            past.runs.append((done, [row for oracle in oracles for row in oracle.look(at[oracle.name])]))
            for oracle in oracles:
                live(oracle.account, run)
    return past


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    with quickly() as waits:
        return history(Lab(tmp_path_factory.mktemp("past"), waits), 8, lambda _: None)


def test_the_inventory_can_be_seen_as_it_was_after_every_past_run(past: Past) -> None:
    for run, truth in past.runs:
        assert past.lab.rows("from files_as_of($at) order by credential, file_id", at=run.finished_at) == truth
    published = past.lab.published()
    assert published.files == published.as_of_now == past.runs[-1][1]
    assert past.lab.rows("from files_as_of($at)", at=past.runs[0][0].started_at) == []
    assert {row["change"] for row in published.changes} == {"baseline", "created", "updated", "deleted", "restored"}
    assert {row["reason"] for row in published.log("deleted")} == {"missing", "expired"}


def test_the_versions_of_a_file_follow_one_another_without_overlap(past: Past) -> None:
    assert overlaps(past.lab) == []
    valid = """
        select credential, file_id, filename, bytes, status, status_details from file_history
        where valid_from <= $at and (valid_to is null or valid_to > $at) order by all
    """
    for run, truth in past.runs:
        names = ("credential", "file_id", "filename", "bytes", "status", "status_details")
        assert past.lab.rows(valid, at=run.finished_at) == [{name: row[name] for name in names} for row in truth]


def overlaps(lab: Lab) -> list[Row]:
    """Versions that end before they begin, or are followed by one that begins before they end."""
    versions = lab.rows("from file_history order by credential, file_id, change_id")
    return [row for row in versions if row["valid_to"] and row["valid_to"] < row["valid_from"]] + [
        after
        for before, after in pairwise(versions)
        if (before["credential"], before["file_id"]) == (after["credential"], after["file_id"])
        and (before["valid_to"] is None or before["valid_to"] > after["valid_from"])
    ]


def test_an_account_seen_through_two_credentials_is_counted_once(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    other = simulator.accounts["sk-other"] = Account(20, seed=8)
    with Simulator({TOKEN: account}) as elsewhere:
        config = lab.config(
            direct(simulator, name="a", labels={"team": "search"}),
            direct(simulator, name="b"),
            direct(simulator, "sk-other", name="c"),
            direct(simulator, name="named", provider="openai"),
            direct(elsewhere, name="named-too", provider="openai"),
        )
        first, second = lab.sync(config, "a", "c", "named"), lab.sync(config, "b", "named-too")
    seen = {listing.credential: listing.finished_at for run in (first, second) for listing in run.listings}

    def expected(files: Account, provider: str | None, *names: str) -> list[Row]:
        times = {"first_seen_at": seen[names[0]], "changed_at": seen[names[-1]]}
        return [record(file, provider) | {"credentials": list(names)} | times for file in files.files.values()]

    assert lab.rows("from unique_files order by file_id, provider nulls first") == sorted(
        expected(account, None, "a", "b")
        + expected(other, None, "c")
        + expected(account, "openai", "named", "named-too"),
        key=lambda row: (row["file_id"], row["provider"] or ""),
    )


@contextmanager
def clock() -> Iterator[dict[str, timedelta]]:
    """Put the clock of this process wrong by `off`."""
    wrong = {"off": timedelta()}

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + wrong["off"]

    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("etl.") and vars(module).get("datetime") is datetime:
                patch.setattr(module, "datetime", Clock)
        yield wrong


@pytest.fixture(scope="module")
def set_back(tmp_path_factory: pytest.TempPathFactory) -> Past:
    """A past in which the clock went back an hour before every run but the first."""
    with quickly() as waits, clock() as wrong:

        def between(run: int) -> None:
            wrong["off"] = -timedelta(hours=run)

        return history(Lab(tmp_path_factory.mktemp("set-back"), waits), 4, between)


def test_a_clock_that_is_set_back_leaves_the_log_in_order(set_back: Past) -> None:
    published = set_back.lab.published()
    assert published.files == published.as_of_now == set_back.runs[-1][1]
    assert overlaps(set_back.lab) == []
    for name in ("team-00", "team-01"):
        log = published.of(name).changes
        assert [row["observed_at"] for row in log] == sorted(row["observed_at"] for row in log)
        for listing in published.of(name).listings:
            assert listing["started_at"] <= listing["finished_at"]


def test_a_clock_that_is_set_back_leaves_one_row_a_credential_in_freshness(set_back: Past) -> None:
    assert [(row["credential"], row["verdict"]) for row in set_back.lab.published().freshness] == [
        ("team-00", "complete"),
        ("team-01", "complete"),
    ]


def test_a_clock_that_is_set_back_still_tells_past_runs_apart(set_back: Past) -> None:
    as_of = "from files_as_of($at) where credential = $name order by file_id"
    for run, truth in set_back.runs:
        for listing in run.listings:
            name = listing.credential
            assert set_back.lab.rows(as_of, at=listing.finished_at, name=name) == [
                row for row in truth if row["credential"] == name
            ]


def test_a_clock_that_is_set_back_after_an_approval_leaves_the_log_in_order(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    config = lab.config(direct(simulator))
    lab.listing(config)
    account.delete(200)
    lab.listing(config)
    with clock() as wrong:
        wrong["off"] = timedelta(hours=1)
        lab.approve(config)
    account.restore(5)
    assert lab.listing(config).restored == 5
    log = lab.published().changes
    assert [row["observed_at"] for row in log] == sorted(row["observed_at"] for row in log)
    assert overlaps(lab) == []


@pytest.mark.usefixtures("account")
def test_a_clock_that_is_set_back_after_a_run_was_cut_off_leaves_runs_in_order(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(direct(simulator))
    with clock() as wrong, open_inventory(config) as store:
        wrong["off"] = timedelta(hours=1)
        store.begin(config, "cli")
    lab.listing(config)
    cut_off, complete = lab.rows("from runs order by run_id")
    assert (cut_off["status"], complete["status"]) == ("interrupted", "complete")
    assert cut_off["started_at"] <= cut_off["finished_at"] <= complete["started_at"]
