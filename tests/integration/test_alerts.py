"""Alerts from real runs, through Apprise, to real webhooks on this machine."""

import base64
import json
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import pytest

from etl import alerts, cli
from etl.alerts import Alerts, Condition, conditions
from etl.config import Config
from etl.errors import ConfigError
from etl.load.notes import notes
from etl.report.rules import check
from etl.simulator import FAULTS, Account, Simulator

from .conftest import TOKEN, Lab, direct

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # in Apprise

KEY = "Zq7r8W5RaJd0"
"""Part of the webhook's URL."""


class Receiver:
    """A webhook that keeps what it takes; it answers with `status`."""

    def __init__(self) -> None:
        self.taken: list[dict[str, str]] = []
        self.attached: list[tuple[str, bytes]] = []
        self.tried = 0
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.tried += 1
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if receiver.status == 200:
                    receiver.taken.append({name: body[name] for name in ("type", "title", "message")})
                    for file in body["attachments"]:
                        receiver.attached.append((file["filename"], base64.b64decode(file["base64"])))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_port}/{KEY}"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(alerts, "TICK", 0.02)
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def hanging() -> Iterator[str]:
    """A webhook that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listener:
        yield f"json://127.0.0.1:{listener.getsockname()[1]}/{KEY}"


def until(met: Callable[[], Any], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def settle() -> None:
    """Let some ticks pass, in which something could wrongly be told."""
    time.sleep(0.3)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What alerts warn of in the log."""
    return [record.message for record in caplog.records if record.name == "etl.alerts" and record.levelname != "INFO"]


def told(config: Config, lab: Lab) -> list[Condition]:
    broken = [result for result in check(lab.place, config) if result.state != "kept"]
    return conditions(lab.place, config, broken)


# What holds


def test_each_condition_says_what_is_wrong_and_what_to_do(lab: Lab, simulator: Simulator) -> None:
    account = simulator.accounts[TOKEN] = Account(60, seed=1)
    simulator.accounts["sk-of-broken"] = Account(3, seed=2)
    simulator.faults["sk-of-broken"] = FAULTS["unauthorized"]
    soon = datetime.now(UTC) + timedelta(days=2)
    for key in list(account.files)[:3]:
        account.files[key] |= {"expires_at": int(soon.timestamp())}
    rules = [
        {"name": "big", "query": "select file_id from files order by 1", "severity": "critical", "message": "Too big."},
        {"name": "odd", "query": "selec", "message": "Odd."},
        {"name": "kept", "query": "from files where false", "message": "Never."},
    ]
    broken = direct(simulator, "sk-of-broken", name="broken")
    config = lab.config(direct(simulator, stale_after="1ms"), broken, rules=rules)
    lab.sync(config)
    account.remove(*list(account.files)[10:])
    lab.sync(config)
    files = [row["file_id"] for row in lab.published().files]
    as_of = lab.rows("select as_of from freshness where credential = 'acme'")[0]["as_of"]
    found = told(config, lab)
    assert [(one.key, one.headline) for one in found] == [
        ("rule big", "rule big is broken"),
        ("failing broken", "broken is failing"),
        ("stale acme", "acme is stale"),
        ("held acme", "50 deletions of acme held"),
        ("rule odd", "rule odd cannot be checked"),
        ("expiring acme", "3 files of acme expiring soon"),
    ]
    assert found[0].text == (
        f"rule big (critical): Too big. {len(files)} offenders: "
        f"file_id={files[0]}; file_id={files[1]}; file_id={files[2]}; ..."
    )
    assert found[1].text.startswith("broken is failing (failed, refused): http://127.0.0.1:")
    assert (
        found[2].text
        == f"acme is stale: its last complete listing is of {as_of:%Y-%m-%d %H:%M} UTC, and stale_after is 0.001 s"
    )
    assert found[3].text == (
        "50 deletions of acme held; decide with: file-inventory approve acme, or: file-inventory reject acme"
    )
    assert found[4].text.startswith("rule odd (warning): the rule cannot be checked: Parser Error: ")
    assert found[5].text == f"3 files of acme expiring within 7 d, the first at {soon:%Y-%m-%d %H:%M} UTC"


def test_nothing_is_said_of_who_is_inactive_or_was_never_tried(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account(3, seed=1)
    gone = direct(simulator, "sk-nobody", name="gone")
    lab.sync(lab.config(direct(simulator), gone))
    config = lab.config(direct(simulator), direct(simulator, "sk-nobody", name="new"))
    lab.sync(config, "acme")
    assert told(config, lab) == []
    lab.sync(config)
    assert [one.key for one in told(config, lab)] == ["failing new"]


# Whom it reaches


def alerted(lab: Lab, simulator: Simulator, *urls: str, **settings: Any) -> Config:
    simulator.accounts.setdefault(TOKEN, Account(3, seed=1))
    return lab.config(direct(simulator), alerts={"to": urls} | settings)


def test_a_failure_and_its_recovery_reach_a_webhook_once(lab: Lab, simulator: Simulator, receiver: Receiver) -> None:
    config = alerted(lab, simulator, receiver.url)
    simulator.faults[TOKEN] = FAULTS["unauthorized"]
    with Alerts(lambda: config):
        lab.sync(config)
        until(lambda: receiver.taken)
        lab.sync(config)
        settle()
        del simulator.faults[TOKEN]
        lab.sync(config)
        until(lambda: len(receiver.taken) == 2)
        settle()
    error = lab.rows("select error from listings where error is not null")[0]["error"]
    assert receiver.taken == [
        {
            "type": "failure",
            "title": "File Inventory: acme is failing",
            "message": f"acme is failing (failed, refused): {error}",
        },
        {
            "type": "success",
            "title": "File Inventory: acme is listed again",
            "message": "Over: acme is listed again",
        },
    ]


@pytest.mark.embedded
def test_a_restart_tells_nothing_twice_and_what_is_damaged_was_not_told(
    lab: Lab, simulator: Simulator, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    config = alerted(lab, simulator, receiver.url)
    simulator.faults[TOKEN] = FAULTS["unauthorized"]
    state = lab.path.with_suffix(".alerts.json")

    def restarted() -> int:
        with Alerts(lambda: config):
            lab.sync(config)
            settle()
            settle()
        return len(receiver.taken)

    assert (restarted(), restarted()) == (1, 1)
    assert said(caplog) == []
    state.write_bytes(state.read_bytes()[:-5])
    assert (restarted(), restarted()) == (2, 2)
    assert said(caplog) == ["what was told before cannot be read, and may be told again"]


def test_who_leads_next_tells_nothing_twice_and_what_is_over(
    lab: Lab, simulator: Simulator, receiver: Receiver
) -> None:
    config = alerted(lab, simulator, receiver.url)
    simulator.faults[TOKEN] = FAULTS["unauthorized"]
    leads = [True, False]
    with Alerts(lambda: config, lambda: leads[0]), Alerts(lambda: config, lambda: leads[1]):
        lab.sync(config)
        until(lambda: len(receiver.taken) == 1)
        leads[:] = False, True
        lab.sync(config)
        settle()
        settle()
        assert len(receiver.taken) == 1
        simulator.faults.clear()
        lab.sync(config)
        until(lambda: len(receiver.taken) == 2)
    assert "is listed again" in receiver.taken[1]["title"]


def test_what_is_not_taken_is_tried_again(
    lab: Lab,
    simulator: Simulator,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(alerts, "PAUSE", 0.1)
    caplog.set_level(logging.INFO)
    config = alerted(lab, simulator, receiver.url)
    simulator.faults[TOKEN] = FAULTS["unauthorized"]
    receiver.status = 500
    with Alerts(lambda: config):
        lab.sync(config)
        until(lambda: receiver.tried == 3)
        receiver.status = 200
        until(lambda: receiver.taken)
        settle()
    assert len(receiver.taken) == 1
    refused = [record.__dict__ for record in caplog.records if record.msg.startswith("an alert was not taken")]
    assert [record["seconds"] for record in refused] == [0.1, 0.2, 0.4]
    assert refused[0]["channel"] == "alerts.to[0] (json)"
    assert "error=500" in refused[0]["error"]


def test_a_channel_that_hangs_holds_up_neither_the_others_nor_the_end(
    lab: Lab, simulator: Simulator, receiver: Receiver, hanging: str
) -> None:
    config = alerted(lab, simulator, receiver.url, hanging)
    simulator.faults[TOKEN] = FAULTS["unauthorized"]
    with Alerts(lambda: config):
        lab.sync(config)
        until(lambda: receiver.taken)
        began = time.monotonic()
        lab.sync(config)
        assert time.monotonic() - began < 2
        began = time.monotonic()
    assert time.monotonic() - began < 1.5


def test_a_reload_is_taken_up(lab: Lab, simulator: Simulator, receiver: Receiver) -> None:
    config = alerted(lab, simulator)
    simulator.faults[TOKEN] = FAULTS["unauthorized"]
    with Alerts(lambda: config):
        lab.sync(config)
        settle()
        config = alerted(lab, simulator, receiver.url)
        until(lambda: receiver.taken)
    assert len(receiver.taken) == 1


@pytest.mark.embedded
def test_a_rule_that_takes_long_holds_nothing_up_at_the_end(lab: Lab, simulator: Simulator, receiver: Receiver) -> None:
    slow = {"name": "slow", "message": "Slow.", "query": "select count(*) from range(10000000000) a, range(100) b"}
    simulator.accounts[TOKEN] = Account(3, seed=1)
    limits = {"query_timeout": "2s"}
    config = lab.config(direct(simulator), alerts={"to": [receiver.url]}, rules=[slow], serve=limits)
    with Alerts(lambda: config):
        lab.sync(config)
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert receiver.taken == []


def test_no_secret_is_told_kept_or_logged(
    lab: Lab,
    simulator: Simulator,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(alerts, "PAUSE", 0.1)
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.WARNING)  # as the log of the service has it
    leak = {"name": "leak", "message": f"Beware of {TOKEN}.", "query": f"select '{TOKEN}' as key"}
    simulator.accounts[TOKEN] = Account(3, seed=1)
    config = lab.config(direct(simulator), alerts={"to": [receiver.url]}, rules=[leak])
    receiver.status = 404
    with Alerts(lambda: config):
        lab.sync(config)
        until(lambda: receiver.tried == 2)
        receiver.status = 200
        until(lambda: receiver.taken)
        settle()
    [message] = receiver.taken
    assert message["message"] == "rule leak (warning): Beware of [redacted]. 1 offender: key=[redacted]"
    logged = "".join(str(record.__dict__) for record in caplog.records)
    kept = str(notes(lab.place, "alerts").read())
    assert "rule leak" in kept
    assert not [text for secret in (KEY, TOKEN) for text in (logged, kept, str(message)) if secret in text]


# The command


def command(tmp_path: Path, *names: str) -> int:
    path = tmp_path / "inventory.yaml"
    to = "".join(f"\n    - ${{{name}}}" for name in names) or " []"
    path.write_text(
        f"store: {tmp_path}/inventory.duckdb\nalerts:\n  to:{to}\n"
        "credentials:\n  - {name: acme, type: openai, base_url: 'http://127.0.0.1/v1', api_key: '${KEY}'}\n"
    )
    with pytest.raises(SystemExit) as left:
        cli.main(["--config", str(path), "test-alerts"])
    return int(left.value.code or 0)


def test_every_channel_gets_a_test(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with Receiver() as other:
        other.status = 403
        for name, value in (("KEY", TOKEN), ("GOOD", receiver.url), ("BAD", other.url)):
            monkeypatch.setenv(name, value)
        assert command(tmp_path, "GOOD") == 0
        assert capfd.readouterr() == ("ok      alerts.to[0] (json)\n", "")
        assert command(tmp_path, "BAD", "GOOD") == 1
        out, err = capfd.readouterr()
    assert re.fullmatch(r"FAILED  alerts\.to\[0\] \(json\): .*403.*\nok      alerts\.to\[1\] \(json\)\n", out)
    assert (err, KEY in out) == ("", False)
    test = {
        "type": "info",
        "title": "File Inventory: test",
        "message": "This is a test of File Inventory: alerts reach this channel. Nothing is wrong.",
    }
    assert receiver.taken == [test, test]


def test_without_a_channel_there_is_nothing_to_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEY", TOKEN)
    assert command(tmp_path) == 2
    assert capfd.readouterr().err == (
        "alerts.to: names no channel; add the Apprise URL of one, as a reference: ${NAME}\n"
    )


# Reports


def test_a_report_is_sent_as_a_page_with_its_summary(lab: Lab, simulator: Simulator, receiver: Receiver) -> None:
    simulator.accounts[TOKEN] = Account(40, seed=1)
    config = lab.config(direct(simulator), alerts={"to": [receiver.url]})
    lab.sync(config)
    assert list(alerts.send_report(config, Event())) == [("alerts.to[0] (json)", None)]
    [message] = receiver.taken
    assert message["type"] == "info"
    assert re.fullmatch(r"File Inventory: report of \d{4}-\d\d-\d\d", message["title"])
    assert message["message"].startswith("40 files are held, ")
    [(name, page)] = receiver.attached
    assert re.fullmatch(r"file-inventory-\d{4}-\d\d-\d\d\.html", name)
    assert message["message"].encode() in page


def test_a_report_is_sent_as_a_message(lab: Lab, simulator: Simulator, receiver: Receiver) -> None:
    simulator.accounts[TOKEN] = Account(40, seed=1)
    config = lab.config(direct(simulator), alerts={"to": [receiver.url]}, report={"format": "md", "since": "1d"})
    lab.sync(config)
    list(alerts.send_report(config, Event()))
    assert "| acme | fresh |" in receiver.taken[0]["message"]
    assert receiver.attached == []


def test_a_report_is_sent_again_to_a_channel_that_does_not_take_it(
    lab: Lab, simulator: Simulator, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "PAUSE", 0.01)
    receiver.status = 500
    config = lab.config(direct(simulator), alerts={"to": [receiver.url]})
    lab.sync(config)
    [(channel, trouble)] = alerts.send_report(config, Event())
    assert (channel, receiver.tried) == ("alerts.to[0] (json)", alerts.TRIES)
    assert trouble
    assert KEY not in trouble
    told = Event()
    told.set()
    list(alerts.send_report(config, told))
    assert receiver.tried <= alerts.TRIES + 1


@pytest.mark.embedded
def test_a_report_needs_a_channel(
    lab: Lab, simulator: Simulator, tmp_path: Path, capsys: pytest.CaptureFixture[str], receiver: Receiver
) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.to: names no channel"):
        list(alerts.send_report(lab.config(direct(simulator)), Event()))
    with pytest.raises(ValueError, match=r"report: has a schedule, but alerts\.to names no channel"):
        lab.config(direct(simulator), report={"schedule": "0 8 * * 1"})
    config = lab.config(direct(simulator), alerts={"to": [receiver.url]})
    lab.sync(config)
    path = tmp_path / "inventory.yaml"
    path.write_text(
        f"store: {lab.path}\nalerts: {{to: ['file:{tmp_path}/to']}}\n"
        f"credentials: [{{name: acme, type: openai, base_url: {simulator.url}}}]\n"
    )
    (tmp_path / "to").write_text(receiver.url)
    with pytest.raises(SystemExit) as left:
        cli.main(["--config", str(path), "report", "--send"])
    assert left.value.code == 0
    assert capsys.readouterr().out == "ok      alerts.to[0] (json)\n"
    assert len(receiver.attached) == 1
