"""Every figure of the report, worked out a second time in plain Python from what the simulated provider truly held."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import time_machine

from etl.config import Config
from etl.load.store import open_inventory
from etl.report import ReportFormat
from etl.report.inventory import TABLES, open_published
from etl.report.report import report, written
from etl.simulator import FAULTS, Account, Simulator
from etl.sync import sync
from integration.conftest import quickly

Row = dict[str, Any]
Files = dict[str, Row]

DAY = timedelta(days=1)
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
"""Near the time that DuckDB itself reads, which nobody can set."""
SINCE = NOW - 7 * DAY
RUNS = [NOW - 20 * DAY, NOW - 10 * DAY, NOW - 5 * DAY, NOW - timedelta(minutes=5)]
"""Two before the period, two in it."""

CREDENTIALS: dict[str, Row] = {
    "main": {"token": "one", "provider": "openai", "labels": {"team": "search", "env": "prod"}},
    "twin": {"token": "one", "provider": "openai", "labels": {"team": "search", "env": "dev"}},
    "other": {"token": "two", "provider": "azure-openai", "labels": {"team": "support"}, "quota": {"files": 150}},
    "failing": {"token": "three", "provider": "azure-openai", "labels": {}, "quota": {"bytes": "1TB"}},
    "late": {"token": "four", "provider": "openai", "labels": {"team": "search"}},
}
"""`twin` sees what `main` sees; `failing` fails in the period; `late` is listed first in the period."""


class Truth:
    """What each credential saw at each of its complete listings, and all that follows from that."""

    def __init__(self) -> None:
        self.seen: dict[str, list[tuple[datetime, Files]]] = defaultdict(list)

    def note(self, name: str, at: datetime, files: Files) -> None:
        self.seen[name].append((at, {key: dict(file) for key, file in files.items()}))

    def files(self, name: str, moment: datetime) -> Files:
        """What is known at a time: what was seen last before; what a first listing found was there before it."""
        listings = self.seen[name]
        return [files for at, files in listings if at <= moment][-1] if listings[0][0] <= moment else listings[0][1]

    def once(self, moment: datetime) -> dict[tuple[str, str], tuple[list[str], Row]]:
        """All files, by provider and id: who sees them, and the record."""
        found: dict[tuple[str, str], tuple[list[str], Row]] = {}
        for name in sorted(self.seen):
            for key, file in self.files(name, moment).items():
                place = str(CREDENTIALS[name]["provider"]), key
                found[place] = ([*found.get(place, ([], file))[0], name], file)
        return found

    def changes(self) -> Iterator[tuple[datetime, str, str, Row]]:
        """Every change: when, of which credential, its kind, the record after it."""
        for name, listings in self.seen.items():
            gone: set[str] = set()
            yield from ((listings[0][0], name, "baseline", file) for file in listings[0][1].values())
            for (_, before), (at, after) in pairwise(listings):
                for key in before.keys() - after.keys():
                    expired = before[key].get("expires_at", at.timestamp() + 1) <= at.timestamp()
                    yield at, name, "expired" if expired else "deleted", before[key]
                for key in after.keys() - before.keys():
                    yield at, name, "restored" if key in gone else "created", after[key]
                gone |= before.keys() - after.keys()
                for key in after.keys() & before.keys():
                    if after[key] != before[key]:
                        yield at, name, "updated", after[key] | {"grown": _size([after[key]]) - _size([before[key]])}


def _size(files: list[Row]) -> int:
    return sum(file["bytes"] or 0 for file in files)


@pytest.fixture(scope="module", name="world")
def _world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Config, Truth]]:
    tokens = sorted({one["token"] for one in CREDENTIALS.values()})
    start = int((RUNS[0] - DAY).timestamp())
    accounts = {token: Account(90 + 20 * place, seed=place, now=start) for place, token in enumerate(tokens)}
    for key in list(accounts["two"].files)[:12]:
        accounts["two"]._put([accounts["two"].files[key] | {"bytes": None}])
    same = [file | {"filename": "same.jsonl", "bytes": 1000} for file in list(accounts["one"].files.values())[:3]]
    accounts["one"]._put(same)
    with quickly(), Simulator(accounts, page_limit=40) as simulator:
        rules = [
            {"name": "huge", "message": "Too big.", "query": "select file_id from files where bytes > 300000000"},
            {"name": "never", "message": "Cannot be.", "query": "select 1 where false"},
            {"name": "wrong", "message": "Cannot be asked.", "query": "from nowhere"},
        ]
        settings = {"store": tmp_path_factory.mktemp("golden") / "inventory.duckdb", "rules": rules}
        settings["http"] = {"requests_per_second": 10_000, "attempts": 1}
        truth = Truth()
        for number, at in enumerate(RUNS):
            for account in accounts.values():
                _happen(account, at)
            listed = [name for name in CREDENTIALS if name != "late" or number > 1]
            simulator.faults = {"three": FAULTS["unauthorized"]} if number > 1 else {}
            config = _config(simulator, settings, listed)
            with time_machine.travel(at), open_inventory(config) as store:
                run = sync(config, store)
            for outcome in run.listings:
                if outcome.status == "complete":
                    truth.note(outcome.credential, at, accounts[CREDENTIALS[outcome.credential]["token"]].files)
        yield config, truth


def _happen(account: Account, until: datetime) -> None:
    """Let files come, change, go, expire and come back."""
    account.now = int(until.timestamp())
    if account.gone:
        account.restore(1)
    account.expire()
    account.add(7)
    account.change(4)
    account.delete(5)
    account.age(2, 2 * 86400)
    key = next(key for key, file in account.files.items() if file["bytes"])
    account._put([account.files[key] | {"bytes": account.files[key]["bytes"] + 11}])


def _config(simulator: Simulator, settings: Row, names: list[str]) -> Config:
    credentials = []
    for name in names:
        told = dict(CREDENTIALS[name])
        access = {"base_url": simulator.url, "api_key": told.pop("token")}
        credentials.append({"name": name, "type": "openai"} | access | told)
    return Config.model_validate(settings | {"credentials": credentials})


@pytest.fixture(scope="module", name="truth")
def _truth(world: tuple[Config, Truth]) -> Truth:
    return world[1]


@pytest.fixture(scope="module", name="told")
def _told(world: tuple[Config, Truth]) -> Row:
    with time_machine.travel(NOW), open_published(world[0].store) as inventory:
        told: Row = json.loads(written(report(inventory, SINCE, NOW), ReportFormat.JSON))
    return told


def test_the_world_is_worth_telling_of(truth: Truth) -> None:
    kinds = Counter(kind for at, _, kind, _ in truth.changes() if at >= SINCE)
    assert min(kinds[kind] for kind in ("baseline", "created", "updated", "deleted", "expired", "restored")) > 0
    assert {name: len(listings) for name, listings in truth.seen.items()} == {
        "main": 4,
        "twin": 4,
        "other": 4,
        "failing": 2,
        "late": 2,
    }


def test_totals_count_each_file_once(truth: Truth, told: Row) -> None:
    now = truth.once(NOW)
    files = [file for _, file in now.values()]
    assert told["overview"]["totals"] == {
        "files": len(now),
        "bytes": _size(files),
        "unknown_sizes": sum(file["bytes"] is None for file in files),
        "stale_files": sum(names == ["failing"] for names, _ in now.values()),
        "oldest": _instant(min(file["created_at"] for file in files)),
        "shared_files": sum(len(names) > 1 for names, _ in now.values()),
    }


def test_growth_is_what_is_there_now_less_what_was_there_then(truth: Truth, told: Row) -> None:
    then, now = truth.once(SINCE), truth.once(NOW)
    assert told["growth"] == {
        "more_files": len(now) - len(then),
        "more_bytes": _size([file for _, file in now.values()]) - _size([file for _, file in then.values()]),
    }


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("provider", lambda place, _names, _file: {place[0]}),
        ("purpose", lambda _place, _names, file: {file["purpose"]}),
        ("credential", lambda _place, names, _file: set(names)),
        ("label team", lambda _place, names, _file: {CREDENTIALS[name]["labels"].get("team") for name in names}),
        ("label env", lambda _place, names, _file: {CREDENTIALS[name]["labels"].get("env") for name in names}),
    ],
)
def test_storage_and_its_growth_by_every_way_to_tell_files_apart(
    truth: Truth, told: Row, kind: str, names: Callable[..., set[str | None]]
) -> None:
    def shared_out(moment: datetime) -> dict[str | None, list[tuple[list[str], Row]]]:
        groups: dict[str | None, list[tuple[list[str], Row]]] = defaultdict(list)
        for place, (seeing, file) in truth.once(moment).items():
            for name in names(place, seeing, file):
                groups[name].append((seeing, file))
        return groups

    now, then = shared_out(NOW), shared_out(SINCE)
    expected = {
        name: {
            "name": name,
            "files": len(now[name]),
            "bytes": _size([file for _, file in now[name]]) if any(file["bytes"] for _, file in now[name]) else None,
            "unknown_sizes": sum(file["bytes"] is None for _, file in now[name]),
            "stale_files": sum(seeing == ["failing"] for seeing, _ in now[name]),
            "more_files": len(now[name]) - len(then[name]),
            "more_bytes": _size([file for _, file in now[name]]) - _size([file for _, file in then[name]]),
        }
        for name in now.keys() | then.keys()
    }
    assert {row["name"]: row for row in told["overview"]["storage"][kind]} == expected


def test_changes_by_kind_and_the_bytes_they_brought(truth: Truth, told: Row) -> None:
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for at, _, kind, file in truth.changes():
        if at >= SINCE:
            grown = file.get("grown", 0) if kind == "updated" else _size([file])
            expected[kind][0] += 1
            expected[kind][1] += -grown if kind in {"deleted", "expired"} else grown
    found = {
        "expired" if row["reason"] == "expired" else row["change"]: [row["changes"], row["bytes"]]
        for row in told["overview"]["changes"]
    }
    assert found == expected


def test_the_notable_are_the_largest_that_came_or_went(truth: Truth, told: Row) -> None:
    kinds = {"created", "deleted", "expired", "restored"}
    moved = [
        (name, file["id"], file["bytes"]) for at, name, kind, file in truth.changes() if at >= SINCE and kind in kinds
    ]
    sizes = sorted((size for _, _, size in moved if size is not None), reverse=True)[:15]
    found = [(row["credential"], row["file_id"], row["bytes"]) for row in told["notable"]]
    assert [size for _, _, size in found] == sizes
    assert set(found) <= set(moved)


def test_the_lists_of_files(truth: Truth, told: Row) -> None:
    files = [file for _, file in truth.once(NOW).values()]
    soon = [file for file in files if file.get("expires_at", 2**60) < (NOW + 7 * DAY).timestamp()]
    overview = told["overview"]
    expected = sorted((file["expires_at"], file["id"]) for file in soon)[:10]
    assert [(row["expires_at"], row["file_id"]) for row in overview["expiring"]] == [
        (_instant(at), key) for at, key in expected
    ]
    assert {row["total"] for row in overview["expiring"]} == {len(soon)}
    largest = sorted((-file["bytes"], file["id"]) for file in files if file["bytes"] is not None)[:10]
    assert [(-row["bytes"], row["file_id"]) for row in overview["largest"]] == largest
    oldest = sorted((file["created_at"], file["id"]) for file in files)[:10]
    assert [(row["created_at"], row["file_id"]) for row in overview["oldest"]] == [
        (_instant(at), key) for at, key in oldest
    ]
    alike = Counter((file["filename"], file["bytes"]) for file in files if file["bytes"])
    assert [(row["filename"], row["bytes"], row["files"], row["spare_bytes"]) for row in overview["duplicates"]] == [
        (name, size, count, size * (count - 1)) for (name, size), count in alike.items() if count > 1
    ]


def test_health_quotas_overlaps_and_rules(truth: Truth, told: Row) -> None:
    overview = told["overview"]
    stale = {name: name == "failing" for name in CREDENTIALS}
    assert {row["credential"]: (row["state"], row["files"]) for row in overview["credentials"]} == {
        name: ("stale" if stale[name] else "fresh", len(truth.files(name, NOW))) for name in CREDENTIALS
    }
    for row in overview["credentials"]:
        completed = datetime.fromisoformat(row["as_of"])
        assert timedelta() <= completed - truth.seen[row["credential"]][-1][0] < timedelta(minutes=1)
    assert [(row["credential"], row["verdict"]) for row in told["unlisted"]] == [("failing", "failed")]
    limits = {"main": (None, 2.5e12), "twin": (None, 2.5e12), "late": (None, 2.5e12), "other": (150, None)}
    limits |= {"failing": (None, 1e12)}
    for row in overview["quotas"]:
        files, size = limits.pop(row["credential"])
        known = list(truth.files(row["credential"], NOW).values())
        used = len(known) / files if files else _size(known) / (size or 1)
        assert (row["files"], row["bytes"], row["used"]) == (len(known), _size(known), pytest.approx(used))
    assert limits == {}
    shared = [file for names, file in truth.once(NOW).values() if names == ["main", "twin"]]
    assert [(row["credentials"], row["files"], row["bytes"]) for row in overview["overlaps"]] == [
        (["main", "twin"], len(shared), _size(shared))
    ]
    huge = sum((file["bytes"] or 0) > 300_000_000 for name in CREDENTIALS for file in truth.files(name, NOW).values())
    assert [(row["rule"], row["state"], row["offenders"]) for row in overview["rules"]] == [
        ("huge", "broken", huge),
        ("wrong", "unchecked", None),
        ("never", "kept", 0),
    ]


def test_the_trend_ends_each_step_with_what_each_credential_saw_then(truth: Truth, told: Row) -> None:
    history = told["history"]
    assert history["step"] == "day"
    for step in history["steps"]:
        end = datetime.fromisoformat(step["at"]) + DAY - timedelta(microseconds=1)
        known = [
            file
            for name, listings in truth.seen.items()
            if listings[0][0] <= end
            for file in truth.files(name, end).values()
        ]
        assert (step["files"], step["bytes"]) == (len(known), _size(known))


def test_the_summary_says_the_same_in_words(truth: Truth, told: Row) -> None:
    totals, growth = told["overview"]["totals"], told["growth"]
    kinds = Counter(kind for at, _, kind, _ in truth.changes() if at >= SINCE)
    gone = kinds["deleted"] + kinds["expired"]
    summary = told["summary"]
    assert summary.startswith(f"{totals['files']:,} files are held, ")
    assert f"; of {totals['unknown_sizes']} more the size is not known." in summary
    assert (
        f"In the period, {kinds['created']} created, {kinds['updated']} updated, {gone} deleted,"
        f" {kinds['restored']} restored ({kinds['expired']} of the deleted had expired): " in summary
    )
    assert f"{abs(growth['more_files'])} files {'more' if growth['more_files'] >= 0 else 'less'}" in summary
    assert f"; {kinds['baseline']} were there when first looked at." in summary
    assert f"4 of 5 active credentials are fresh, 1 stale; {totals['stale_files']} files are known only" in summary
    assert "2 of 3 rules are not kept: huge, wrong." in summary


def test_as_of_an_earlier_time_tells_what_was_told_then(world: tuple[Config, Truth], truth: Truth) -> None:
    moment = RUNS[1] + 2 * DAY
    with open_published(world[0].store, moment) as inventory:
        told = json.loads(written(report(inventory, moment - 15 * DAY, moment), ReportFormat.JSON))
        listed = inventory.ask("files", credential="other", purpose=None, text=None).read_all().to_pylist()
    then = {name: truth.files(name, moment) for name in CREDENTIALS if name != "late"}
    assert {row["credential"]: row["files"] for row in told["overview"]["credentials"]} == {
        name: len(files) for name, files in then.items()
    }
    assert {row["file_id"]: row["bytes"] for row in listed} == {
        key: file["bytes"] for key, file in then["other"].items()
    }
    assert told["history"]["steps"][-1]["files"] == sum(map(len, then.values()))
    assert {row["state"] for row in told["overview"]["credentials"]} == {"stale"}


@pytest.mark.parametrize("name", [*TABLES, "file_history", "unique_files", "freshness", "quota_use"])
def test_as_of_now_every_table_and_view_is_as_it_is(world: tuple[Config, Truth], name: str) -> None:
    sql = f"select * from {name} order by all"
    with time_machine.travel(NOW), open_published(world[0].store) as plain, open_published(world[0].store, NOW) as then:
        now = plain.query(sql).read_all()
        past = then.query(sql).read_all()
    if name == "freshness":
        now, past = (table.drop_columns(["stale"]) for table in (now, past))  # DuckDB has a clock of its own
    assert past.to_pylist() == now.to_pylist()


def test_the_difference_between_two_times(world: tuple[Config, Truth], truth: Truth) -> None:
    since, until = RUNS[0] + DAY, RUNS[2] + DAY
    with open_published(world[0].store) as inventory:
        rows = inventory.ask("diff", since=since, until=until, credential=None).read_all().to_pylist()
    found = {(row["credential"], row["file_id"]): (row["change"], row["bytes_before"], row["bytes"]) for row in rows}
    expected: dict[tuple[str, str], tuple[str, int | None, int | None]] = {}
    for name, listings in truth.seen.items():
        new = listings[0][0] > since
        before, after = ({} if new else truth.files(name, since)), truth.files(name, until)
        earlier = {key for at, files in listings if at <= since for key in files}
        for key in before.keys() | after.keys():
            sizes = (before.get(key, {}).get("bytes"), after.get(key, {}).get("bytes"))
            if key not in after:
                expected[name, key] = ("deleted", *sizes)
            elif key not in before:
                first = new and key in listings[0][1]
                expected[name, key] = ("baseline" if first else "restored" if key in earlier else "created", *sizes)
            elif before[key] != after[key]:
                expected[name, key] = ("updated", *sizes)
    assert found == expected


def _instant(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}Z"
