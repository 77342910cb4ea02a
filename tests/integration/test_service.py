"""The service behind its pages: turns, queue, catch-up, reload, the clock, and the end."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from etl import service as module
from etl.config import Config
from etl.errors import ConfigError, StoreError
from etl.load.store import Outcome, Run, open_inventory
from etl.service import Service
from etl.simulator import Account, Simulator

from .conftest import TOKEN, Lab, direct

LONG = 20.0


def eventually(seen: Callable[[], Any], seconds: float = LONG) -> Any:
    """Return what is seen once it is true."""
    until = time.monotonic() + seconds
    while not (found := seen()) and time.monotonic() < until:
        time.sleep(0.01)
    assert found
    return found


class Watch:
    """A service on a lab's store, and what it told."""

    def __init__(self, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TICK", 0.02)
        self.configs = [config]
        self.events: list[Outcome | Run] = []

    @contextmanager
    def service(self) -> Iterator[Service]:
        with open_inventory(self.configs[0]) as store:
            service = Service(self.configs[0], self.load, store)
            service.observe(self.events.append)
            with service:
                yield service

    def load(self) -> Config:
        return self.configs[-1]

    @property
    def runs(self) -> list[Run]:
        return [event for event in self.events if isinstance(event, Run)]

    def listed(self) -> list[list[str]]:
        return [sorted(outcome.credential for outcome in run.listings) for run in self.runs]


@pytest.fixture
def account(simulator: Simulator) -> Account:
    simulator.accounts[TOKEN] = Account(30, seed=1)
    return simulator.accounts[TOKEN]


@pytest.fixture
def watched(lab: Lab, simulator: Simulator, account: Account, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Watch]:
    def make(*names: str, **settings: Any) -> Watch:
        credentials = [direct(simulator, name=name) for name in names or ("acme",)]
        return Watch(lab.config(*credentials, **settings), monkeypatch)

    assert account.files
    return make


@pytest.fixture
def slow(simulator: Simulator) -> Iterator[threading.Event]:
    """The provider answers only once the event is set."""
    go = threading.Event()
    simulator.faults[TOKEN] = lambda _request, reply: (go.wait(LONG), reply)[1]
    yield go
    go.set()


def test_what_was_never_listed_is_caught_up_at_the_start(watched: Callable[..., Watch]) -> None:
    watch = watched("one", "two", schedule="every 1h")
    with watch.service() as service:
        eventually(lambda: watch.runs)
        assert service.next_run() is not None
    assert watch.listed() == [["one", "two"]]
    assert watch.runs[0].trigger == "schedule"


def test_only_the_late_are_caught_up(watched: Callable[..., Watch], lab: Lab) -> None:
    watch = watched("one", "two", schedule="every 1h")
    lab.sync(watch.configs[0], "one")
    with watch.service() as service:
        eventually(lambda: watch.runs)
        completed = lab.rows("select last_complete_at as at from credentials where name = 'one'")[0]["at"]
        assert service.next_run() == completed + timedelta(hours=1)
    assert watch.listed() == [["two"]]


def test_without_a_schedule_nothing_runs_by_itself(watched: Callable[..., Watch]) -> None:
    watch = watched()
    with watch.service() as service:
        assert service.next_run() is None
        run = service.sync([], "api").result(LONG)
    assert watch.runs == [run]
    assert (run.trigger, run.status) == ("api", "complete")


def test_each_schedule_keeps_its_own_turns(
    lab: Lab, simulator: Simulator, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert account.files
    often = direct(simulator, name="often", schedule="every 100ms")
    config = lab.config(often, direct(simulator, name="seldom"), schedule="every 1h")
    watch = Watch(config, monkeypatch)
    with watch.service():
        eventually(lambda: len(watch.runs) >= 4)
    assert watch.listed()[0] == ["often", "seldom"]
    assert {tuple(names) for names in watch.listed()[1:]} == {("often",)}


def test_jitter_shifts_the_turns_of_a_schedule(watched: Callable[..., Watch], lab: Lab) -> None:
    watch = watched(schedule="every 1h", jitter="30m")
    lab.sync(watch.configs[0])
    turns = []
    for _ in range(4):
        with watch.service() as service:
            turns.append(service.next_run())
    completed = lab.rows("select last_complete_at as at from credentials")[0]["at"]
    shifts = [turn - completed - timedelta(hours=1) for turn in turns if turn]
    assert len(set(shifts)) == 4
    assert all(timedelta() <= shift <= timedelta(minutes=30) for shift in shifts)


def test_the_report_is_sent_on_its_own_schedule_which_is_no_run(
    watched: Callable[..., Watch], lab: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[float] = []

    def send(config: Config, _stop: threading.Event) -> Iterator[tuple[str, str | None]]:
        sent.append(config.report.since)
        yield from [("good", None), ("bad", "it is closed")]

    monkeypatch.setattr("etl.alerts.send_report", send)
    caplog.set_level("INFO")
    watch = watched(report={"schedule": "every 50ms", "since": "1d"}, alerts={"to": ["json://127.0.0.1:9/x"]})
    lab.sync(watch.configs[0])
    with watch.service() as service:
        eventually(lambda: len(sent) >= 2)
        assert service.next_run() is None
    assert set(sent) == {86400}
    assert watch.runs == []
    told = {(record.message, vars(record).get("channel")) for record in caplog.records if record.name == "etl.service"}
    assert {("report sent", "good"), ("the report was not taken", "bad")} <= told


def test_runs_never_overlap_whoever_asks(watched: Callable[..., Watch]) -> None:
    watch = watched("one", "two", "three", schedule="every 50ms", http={"workers": 1, "requests_per_second": 10_000})
    with watch.service() as service:
        asked = [service.sync(["one"], "api") for _ in range(5)]
        assert [future.result(LONG).status for future in asked] == ["complete"] * 5
        eventually(lambda: sum(run.trigger == "schedule" for run in watch.runs) >= 2)
    spans = sorted((run.started_at, run.finished_at) for run in watch.runs)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_a_run_longer_than_its_interval_skips_a_turn_and_says_so(
    watched: Callable[..., Watch], slow: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watched(schedule="every 100ms")
    with watch.service():
        eventually(lambda: "a turn is skipped: the run before it is still going on" in caplog.text)
        slow.set()
        eventually(lambda: len(watch.runs) >= 2)
    skipped = next(record for record in caplog.records if "skipped" in record.message and record.name == "etl.service")
    assert vars(skipped)["schedule"] == "every 100ms"


def test_three_missed_turns_are_made_up_for_by_one_run(watched: Callable[..., Watch], slow: threading.Event) -> None:
    """While something else is written, turns pass: then one run follows, and the rhythm goes on."""
    watch = watched(schedule="every 300ms")
    with watch.service() as service:
        eventually(lambda: service.running)
        time.sleep(1.0)
        slow.set()
        eventually(lambda: len(watch.runs) >= 2)
        count = len(watch.runs)
    assert count <= 3


def test_a_new_configuration_is_taken_up_and_what_is_new_listed(
    watched: Callable[..., Watch], lab: Lab, simulator: Simulator
) -> None:
    watch = watched("one", schedule="every 1h")
    with watch.service() as service:
        eventually(lambda: len(watch.runs) == 1)
        watch.configs.append(watched("one", "two", schedule="every 2h").configs[0])
        service.ask_reload()
        eventually(lambda: len(watch.runs) == 2)
        assert [credential.name for credential in service.config.credentials] == ["one", "two"]
    assert watch.listed() == [["one"], ["two"]]
    assert [row["name"] for row in lab.published().credentials if row["active"]] == ["one", "two"]
    assert simulator.requests


def test_a_wrong_configuration_changes_nothing(
    watched: Callable[..., Watch], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watched(schedule="every 1h")

    def wrong() -> Config:
        raise ConfigError("inventory.yaml: schedule: is not a schedule")

    monkeypatch.setattr(watch, "load", wrong)
    with watch.service() as service:
        eventually(lambda: watch.runs)
        before, turn = service.config, service.next_run()
        service.ask_reload()
        eventually(lambda: "the new configuration is wrong, the old one stays" in caplog.text)
        assert service.config is before
        assert service.next_run() == turn
        assert service.sync([], "api").result(LONG).status == "complete"
    [said] = [record for record in caplog.records if "is wrong" in record.message]
    assert vars(said)["error"] == "inventory.yaml: schedule: is not a schedule"


def test_the_store_and_the_address_stay_until_a_restart(
    watched: Callable[..., Watch], lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    watch = watched()
    with watch.service() as service:
        watch.configs.append(watched(store=lab.path.with_name("other.duckdb"), serve={"port": 1}).configs[0])
        service.ask_reload()
        eventually(lambda: "another store or address" in caplog.text)
        assert (service.config.store, service.config.serve.port) == (lab.path, 8080)


def test_a_clock_that_is_set_back_stops_no_schedule(
    watched: Callable[..., Watch], caplog: pytest.LogCaptureFixture
) -> None:
    watch = watched(schedule="every 1h")
    with watch.service() as service:
        eventually(lambda: watch.runs)
        yesterday = datetime.now(UTC) - timedelta(days=1)
        with time_machine.travel(yesterday):
            eventually(lambda: "the clock was set back" in caplog.text)
            eventually(lambda: len(watch.runs) == 2)  # what was listed in the future counts as never listed
            turn = service.next_run()
    assert turn is not None
    assert turn <= yesterday + timedelta(hours=1, seconds=5)


def test_an_observer_that_fails_harms_no_run(watched: Callable[..., Watch], caplog: pytest.LogCaptureFixture) -> None:
    watch = watched()

    def fail(_: object) -> None:
        raise RuntimeError("no")

    with watch.service() as service:
        service.observe(fail)
        assert service.sync([], "api").result(LONG).status == "complete"
    assert "RuntimeError: no" in caplog.text


def test_an_unknown_name_is_refused_at_once(watched: Callable[..., Watch]) -> None:
    with watched().service() as service, pytest.raises(ConfigError, match="did you mean acme"):
        service.sync(["acm"], "api")


def test_deletions_are_decided_in_turn(watched: Callable[..., Watch], account: Account, lab: Lab) -> None:
    watch = watched()
    with watch.service() as service:
        service.sync([], "api").result(LONG)
        account.delete(25)
        assert service.sync([], "api").result(LONG).listings[0].held == 25
        assert service.reject("acme").result(LONG) == 25
        service.sync([], "api").result(LONG)
        assert service.approve("acme").result(LONG) == 25
        with pytest.raises(StoreError, match="no deletions of acme are held"):
            service.approve("acme").result(LONG)
    assert len(lab.published().files) == 5


# The end


def test_a_run_that_ends_within_the_grace_time_is_finished(
    watched: Callable[..., Watch], slow: threading.Event
) -> None:
    watch = watched(serve={"stop_grace": "10s"})
    with watch.service() as service:
        future = service.sync([], "api")
        eventually(lambda: service.running)
        service.stop()
        threading.Timer(0.2, slow.set).start()
    assert future.result().status == "complete"


def test_a_run_that_does_not_is_abandoned_whole(
    watched: Callable[..., Watch], slow: threading.Event, lab: Lab, simulator: Simulator
) -> None:
    simulator.accounts["quick"] = Account(10, seed=2)
    watch = watched(serve={"stop_grace": "300ms"})
    quick = direct(simulator, "quick", name="quick")
    watch.configs = [Config.model_validate(lab.config(direct(simulator), quick, serve={"stop_grace": "300ms"}))]
    with watch.service() as service:
        future = service.sync([], "api")
        queued = service.sync([], "api")
        eventually(lambda: watch.events)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert not slow.is_set()
    assert future.result().status == "interrupted"
    with pytest.raises(CancelledError):
        queued.result()
    found = lab.published()
    assert [row["status"] for row in found.runs] == ["interrupted"]
    assert [(row["credential"], row["status"]) for row in found.listings] == [("quick", "complete")]
    assert {row["credential"] for row in found.files} == {"quick"}


def test_what_stops_takes_no_work(watched: Callable[..., Watch]) -> None:
    with watched().service() as service:
        service.stop()
        with pytest.raises(StoreError, match="the service is stopping"):
            service.sync([], "api")
