"""`file-inventory serve` as an operator runs it: a process of its own, signals, files, other commands beside it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl.report.inventory import open_published
from etl.simulator import Account, Simulator

COMMAND = (sys.executable, "-c", "from etl.cli import main; main()")
LONG = 30.0
CONFIG = """
store: {store}
{settings}
credentials:
  - {{name: acme, type: openai, base_url: "{url}", api_key: "${{ACME_KEY}}"}}
"""


def eventually(seen: Callable[[], Any], seconds: float = LONG) -> Any:
    """Return what is seen once it is true."""
    until = time.monotonic() + seconds
    while not (found := seen()) and time.monotonic() < until:
        time.sleep(0.02)
    assert found
    return found


@dataclass
class Site:
    """A folder with a configuration, and the service over it."""

    folder: Path
    simulator: Simulator
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = None

    @property
    def config(self) -> Path:
        return self.folder / "inventory.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "inventory.duckdb"

    def configure(self, settings: str = "") -> None:
        self.config.write_text(CONFIG.format(store=self.store, settings=settings, url=self.simulator.url))

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = (*COMMAND, "--config", str(self.config), *arguments)
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=LONG, check=False)

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "ACME_KEY": "sk-acme-key", **self.environment}

    def start(self) -> str:
        """Start the service; return its URL once it answers."""
        before = len(self.said("serving"))
        command = (*COMMAND, "--config", str(self.config), "serve", "--port", "0")
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(command, env=self.env, stderr=log, text=True)
        return str(eventually(lambda: self.said("serving")[before:])[0]["url"])

    def log(self) -> list[dict[str, Any]]:
        path = self.folder / "log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Return the exit status, and the seconds it took."""
        assert self.process
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(LONG), time.monotonic() - began

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with open_published(self.store) as inventory:
            rows: list[dict[str, Any]] = inventory.query(sql).read_all().to_pylist()
        return rows


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Simulator({"sk-acme-key": Account(2_000, seed=1)}, page_limit=100) as simulator:
        site = Site(tmp_path, simulator)
        site.configure()
        yield site
        if site.process and site.process.poll() is None:
            site.process.kill()
            site.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly_when_idle(site: Site, number: int) -> None:
    site.start()
    status, seconds = site.stop(number)
    assert status == 0
    assert seconds < 5
    assert site.log()[-1]["event"] == "stopped"


def test_stopped_in_the_middle_of_a_run_it_leaves_the_store_whole(site: Site) -> None:
    site.configure("schedule: every 1h\nserve: {stop_grace: 1s}")
    site.simulator.latency = 0.5  # a second and more for three pages; twenty are due
    site.start()
    eventually(lambda: len(site.simulator.requests) > 2)
    status, seconds = site.stop()
    assert status == 0
    assert seconds < 10
    assert site.rows("select status from runs") == [{"status": "interrupted"}]
    assert site.rows("select count(*) as files from files") == [{"files": 0}]
    site.simulator.latency = 0.0
    assert site.command("sync").returncode == 0
    assert site.rows("select count(*) as files from files") == [{"files": 2_000}]
    assert site.rows("select status from runs order by started_at") == [
        {"status": "interrupted"},
        {"status": "complete"},
    ]


def test_a_killed_service_leaves_the_store_to_the_next(site: Site) -> None:
    site.configure("schedule: every 1h")
    site.simulator.latency = 0.5
    site.start()
    eventually(lambda: len(site.simulator.requests) > 2)
    site.stop(signal.SIGKILL)
    site.simulator.latency = 0.0
    site.start()
    eventually(lambda: site.said("run"))
    assert site.stop()[0] == 0
    statuses = [row["status"] for row in site.rows("select status from runs order by started_at")]
    assert statuses == ["interrupted", "complete"]


def test_commands_hand_their_work_to_the_service(site: Site) -> None:
    site.start()
    done = site.command("sync")
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete    acme: 2,000 files, 2,000 baseline" in done.stdout
    assert site.rows('select "trigger" from runs') == [{"trigger": "api"}]
    as_json = json.loads(site.command("sync", "--json", "acme").stdout)
    assert (as_json["trigger"], as_json["totals"]["unchanged"]) == ("api", 2_000)
    site.simulator.accounts["sk-acme-key"].delete(1_500)
    held = site.command("sync")
    assert held.returncode == 1
    assert "1,500 deletions wait for: file-inventory approve acme" in held.stdout
    assert site.command("reject", "acme").stdout == "acme: 1500 files kept\n"
    site.command("sync")
    assert site.command("approve", "acme").stdout == "acme: 1500 deletions carried out\n"
    again = site.command("approve", "acme")
    assert again.returncode == 1
    assert "no deletions of acme are held" in again.stderr
    unknown = site.command("sync", "acne")
    assert unknown.returncode == 2
    assert "did you mean acme?" in unknown.stderr
    assert site.stop()[0] == 0


def test_commands_bring_the_token(site: Site) -> None:
    site.environment["SERVE_TOKEN"] = "a-token-for-the-service"
    site.configure('serve: {token: "${SERVE_TOKEN}"}')
    url = site.start()
    assert site.command("sync").returncode == 0
    assert httpx.get(f"{url}/api/status", trust_env=False).status_code == 401
    keyless = Site(site.folder / "keyless", site.simulator)
    keyless.folder.mkdir()
    keyless.config.write_text(CONFIG.format(store=site.store, settings="", url=site.simulator.url))
    refused = keyless.command("sync")
    assert refused.returncode == 2
    assert "asks for its token; set serve.token" in refused.stderr
    site.configure()
    eventually(lambda: httpx.get(f"{url}/api/status", trust_env=False).status_code == 200)
    assert "a-token-for-the-service" not in (site.folder / "log").read_text()


def test_only_one_service_keeps_a_store(site: Site) -> None:
    site.start()
    second = site.command("serve", "--port", "0")
    assert second.returncode == 3
    assert "another writer is at work" in second.stderr
    assert ", serving http://127.0.0.1:" in second.stderr


def test_an_address_in_use_is_named(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = site.command("serve", "--port", str(port))
    assert refused.returncode == 2
    assert refused.stderr == (
        f"cannot listen on 127.0.0.1 port {port}: Address already in use; set serve.port, or use --port\n"
    )


def test_beyond_loopback_a_token_is_demanded(site: Site) -> None:
    refused = site.command("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - it is refused
    assert refused.returncode == 2
    assert refused.stderr == "host 0.0.0.0 lets other machines in; set token, or listen on 127.0.0.1\n"


@pytest.mark.parametrize("asked", [True, False])
def test_the_configuration_is_read_anew(site: Site, *, asked: bool) -> None:
    """When the file changes, and on SIGHUP also when it does not."""
    site.start()
    assert site.process
    if asked:
        site.process.send_signal(signal.SIGHUP)
    else:
        site.configure("schedule: every 1h")
    eventually(lambda: site.said("configuration reloaded"))
    if not asked:
        eventually(lambda: site.said("run"))
    site.config.write_text("credentials: [")
    [wrong] = eventually(lambda: site.said("the new configuration is wrong, the old one stays"))
    assert "inventory.yaml:1: not valid YAML" in wrong["error"]
    assert site.command("status").returncode in {0, 1, 2}
    assert site.stop()[0] == 0


def test_a_new_secret_in_a_file_is_taken_up(site: Site) -> None:
    key = site.folder / "key"
    key.write_text("sk-wrong-key")
    site.config.write_text(
        CONFIG.format(store=site.store, settings="schedule: every 1h", url=site.simulator.url).replace(
            "${ACME_KEY}", f"file:{key}"
        )
    )
    site.start()
    [failed] = eventually(lambda: site.said("listing"))
    assert failed["status"] == "failed"
    key.write_text("sk-acme-key")
    eventually(lambda: [line["status"] for line in site.said("listing")] == ["failed", "complete"])


def test_systemd_is_told_that_it_is_ready_alive_and_stopping(site: Site) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        notices.bind(str(site.folder / "notify"))
        notices.settimeout(LONG)
        site.environment |= {"NOTIFY_SOCKET": str(site.folder / "notify"), "WATCHDOG_USEC": "5000000"}
        site.start()
        assert [notices.recv(100) for _ in range(3)] == [b"READY=1\n", b"WATCHDOG=1\n", b"WATCHDOG=1\n"]
        assert site.stop()[0] == 0
        notices.settimeout(0.1)
        heard = set()
        while b"STATUS=stopping\n" not in heard:
            heard.add(notices.recv(100))


def test_a_reader_that_holds_the_database_open_stops_no_run(site: Site) -> None:
    site.start()
    site.command("sync")
    with open_published(site.store) as held:
        site.simulator.accounts["sk-acme-key"].add(5)
        assert site.command("sync").returncode == 0
        assert held.query("select count(*) as n from files").read_all().to_pylist() == [{"n": 2_000}]
    assert site.rows("select count(*) as n from files") == [{"n": 2_005}]


def test_the_demonstration_serves_two_weeks_of_history(site: Site) -> None:
    command = (*COMMAND, "demo", "--serve", "--files", "2000", "--port", "0")
    with (site.folder / "log").open("a") as log:
        site.process = subprocess.Popen(command, env=site.env, stdout=log, stderr=log, text=True)
    url = eventually(lambda: site.said("serving"), 60)[0]["url"]
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        runs = client.get("/api/runs?limit=100").json()["data"]
        assert len(runs) >= 15
        assert {run["status"] for run in runs} == {"complete", "partial"}
        assert "Deletions that wait for a person" in client.get("/").text
    assert site.stop(signal.SIGINT)[0] == 0
