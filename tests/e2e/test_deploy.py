"""What is shipped to operate the service: it fits the service, and what its page tells to type works."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from etl.report.inventory import open_published
from etl.simulator import Account, Simulator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "config/deploy"
README = (DEPLOY / "README.md").read_text()
KEY, TOKEN = "sk-the-key-of-acme", "let-me-in"
CONFIG = """
store: data/inventory.duckdb
schedule: every 24h
serve: {{port: {port}, token: "${{SERVE_TOKEN}}"}}
log: {{format: json}}
credentials:
  - {{name: acme, type: openai, base_url: "{url}", api_key: "${{ACME_KEY}}"}}
rules:
  - {{name: big, severity: critical, message: Too big., query: from files where bytes > 1000}}
"""


class Workplace:
    """A folder with a configuration, as an operator has one."""

    def __init__(self, folder: Path, port: int, url: str) -> None:
        self.folder, self.port = folder, port
        (folder / "config").mkdir()
        (folder / "config/inventory.yaml").write_text(CONFIG.format(port=port, url=url))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "ACME_KEY": KEY, "SERVE_TOKEN": TOKEN, "LANG": "C.UTF-8"}

    def shell(self, script: str) -> str:
        """Run lines as they are typed; every one must succeed."""
        script = script.replace(":8080", f":{self.port}")
        ran = subprocess.run(
            ["/bin/bash", "-euxo", "pipefail", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr + ran.stdout
        return ran.stdout

    @contextmanager
    def serving(self) -> Iterator["subprocess.Popen[bytes]"]:
        """A service that answers; it ends cleanly."""
        command = [Path(sys.executable).with_name("file-inventory"), "serve"]
        with started(command, self.folder, self.environment, self.port) as process:
            yield process

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with open_published(self.folder / "data/inventory.duckdb") as inventory:
            rows: list[dict[str, Any]] = inventory.query(sql).read_all().to_pylist()
        return rows


@contextmanager
def started(
    command: list[Any], folder: Path, environment: dict[str, str], port: int
) -> Iterator["subprocess.Popen[bytes]"]:
    log = folder / "serve.log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(command, cwd=folder, env=environment, stderr=sink) as process,
    ):
        try:
            until = time.monotonic() + 30
            while process.poll() is None and not answers(port):
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            assert process.poll() is None, log.read_text()
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, log.read_text()
        finally:
            process.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def account(simulator: Simulator) -> Account:
    account = simulator.accounts[KEY] = Account(30, seed=1)
    return account


@pytest.fixture
def workplace(tmp_path: Path, simulator: Simulator, account: Account, free: int) -> Workplace:
    assert account.files
    return Workplace(tmp_path, free, simulator.url)


@pytest.fixture
def free() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def yaml(text: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all(text))


def installed(name: str, package: str) -> str:
    """Find a program, or skip the test that needs it."""
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is missing: install the Debian package {package}")
    return found


# The page


def test_what_the_page_tells_to_type_works_and_a_backup_can_be_restored(workplace: Workplace, account: Account) -> None:
    first, watch, backup, restore = blocks("sh")
    workplace.shell(first)
    with workplace.serving():
        assert "file_inventory_ready 1.0" in workplace.shell(watch)
        workplace.shell(backup)
    saved = workplace.rows("from file_changes order by change_id")
    published = workplace.folder / "data/inventory.duckdb"
    assert published.stat().st_mode & 0o222 == 0  # which is why a plain copy is not enough
    gone = account.delete(3)
    workplace.shell("file-inventory sync")
    lost = [row["run_id"] for row in workplace.rows("from runs order by started_at")][-1]
    came = account.add(2)
    workplace.shell(restore)
    assert (workplace.folder / "data/inventory.writer.duckdb").stat().st_mode & 0o777 == 0o600
    changes = workplace.rows("from file_changes order by change_id")
    assert changes[: len(saved)] == saved
    since = sorted((row["change"], row["file_id"]) for row in changes[len(saved) :])
    assert since == sorted([("created", key) for key in came] + [("deleted", key) for key in gone])
    assert lost not in {row["run_id"] for row in workplace.rows("from runs")}
    assert {row["file_id"] for row in workplace.rows("from files")} == set(account.files)


def test_the_page_installs_as_the_image_does() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    steps = re.findall(r"(python -m .+?) *(?:&&|$)", dockerfile.split("\nFROM ")[1], re.MULTILINE)
    chosen = '"llm-file-inventory[${EXTRAS}]"'
    assert blocks("console")[0].splitlines() == [
        step.replace("python -m", "python3 -m")
        .replace("/wheels", "wheels")
        .replace(chosen, "'llm-file-inventory[otel]'")
        for step in steps
    ]


def test_the_page_names_every_file() -> None:
    there = {path.name for path in DEPLOY.iterdir()} - {"README.md", "Dockerfile.dockerignore"}
    assert {name for name in there if not re.search(rf"\b{re.escape(name)}\b", README)} == set()


def test_the_page_scrapes_as_prometheus_reads_it(tmp_path: Path) -> None:
    scrape, *_ = blocks("yaml")
    path = tmp_path / "prometheus.yml"
    path.write_text(scrape.replace("/etc/prometheus/serve_token", str(tmp_path / "token")))
    (tmp_path / "token").write_text(TOKEN)
    subprocess.run([installed("promtool", "prometheus"), "check", "config", path], check=True, capture_output=True)


# Alerts and dashboard


@pytest.mark.parametrize(
    "command", [("check", "rules", "alert-rules.yaml"), ("test", "rules", "alert-rules-test.yaml")]
)
def test_promtool_accepts_the_alerts(command: tuple[str, ...]) -> None:
    ran = subprocess.run(
        [installed("promtool", "prometheus"), *command], cwd=DEPLOY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_alert_says_what_is_wrong_and_how_to_mend_it_and_is_tested() -> None:
    [rules] = yaml((DEPLOY / "alert-rules.yaml").read_text())
    alerts = rules["groups"][0]["rules"]
    for alert in alerts:
        assert set(alert["annotations"]) == {"summary", "mend"}
        assert alert["labels"]["severity"] in {"warning", "critical"}
    [tests] = yaml((DEPLOY / "alert-rules-test.yaml").read_text())
    proven = {
        case["alertname"] for test in tests["tests"] for case in test["alert_rule_test"] if case.get("exp_alerts")
    }
    assert proven == {alert["alert"] for alert in alerts}


def test_every_metric_that_alerts_and_dashboard_ask_for_exists(workplace: Workplace) -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked += [variable["query"]["query"] for variable in dashboard["templating"]["list"][1:]]
    [rules] = yaml((DEPLOY / "alert-rules.yaml").read_text())
    asked += [rule["expr"] for rule in rules["groups"][0]["rules"]]
    names = set(re.findall(r"\b(?:file_inventory|process)_\w+", " ".join(asked)))
    workplace.shell("file-inventory sync")
    with workplace.serving():
        text = workplace.shell(blocks("sh")[1])
    told = {
        sample.name
        for family in text_string_to_metric_families(text[text.index("# HELP") :])
        for sample in family.samples
    }
    assert len(names) > 20
    assert names <= told


def test_prometheus_understands_every_question_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    asked = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = [expression.replace("$__rate_interval", "5m") for expression in asked]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    ran = subprocess.run(
        [installed("promtool", "prometheus"), "check", "rules", path], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_panel_uses_the_data_source_that_is_chosen() -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    sources = [panel["datasource"] for panel in dashboard["panels"]]
    sources += [target["datasource"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_a_plain_copy_of_the_published_database_is_a_whole_database(workplace: Workplace) -> None:
    workplace.shell("file-inventory sync; cp data/inventory.duckdb copy.duckdb")
    with duckdb.connect(str(workplace.folder / "copy.duckdb"), read_only=True) as copy:
        assert copy.sql("select count(*) from files").fetchall() == [(30,)]
