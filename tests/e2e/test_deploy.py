"""What is shipped to operate the service: it fits the service, and what its page tells to type works."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
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

from etl.config import Config, load_config
from etl.report.inventory import open_published
from etl.simulator import Account, Simulator

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "config/deploy"
README = (DEPLOY / "README.md").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
UNIT = (DEPLOY / "file-inventory.service").read_text()
SOMEBODY = 10001
"""The user that the image runs as."""

KEY, TOKEN = "sk-the-key-of-acme", "let-me-in"
CONFIG = """
store: data/inventory.duckdb
schedule: every 24h
serve: {{port: {port}, token: "${{FILE_INVENTORY_TOKEN}}"}}
log: {{format: json}}
credentials:
  - {{name: acme, type: openai, base_url: "{url}", api_key: "${{ACME_KEY}}"}}
"""


class Workplace:
    """A folder with a configuration, as an operator has one."""

    def __init__(self, folder: Path, port: int, url: str) -> None:
        self.folder, self.port = folder, port
        (folder / "config").mkdir()
        (folder / "config/inventory.yaml").write_text(CONFIG.format(port=port, url=url))
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {"PATH": path, "ACME_KEY": KEY, "FILE_INVENTORY_TOKEN": TOKEN, "LANG": "C.UTF-8"}

    def shell(self, script: str) -> str:
        """Run lines as they are typed; every one must succeed."""
        script = script.replace(":8080", f":{self.port}")
        ran = subprocess.run(
            ["bash", "-euxo", "pipefail", "-c", script],
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
    command: list[Any], folder: Path, environment: dict[str, str], port: int, user: int | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    log = folder / "serve.log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(command, cwd=folder, env=environment, stderr=sink, user=user, group=user) as process,
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


def configured(text: str, folder: Path) -> Config:
    """Load a configuration whose secret files stand in a folder of the test."""
    for name in re.findall(r"file:/run/secrets/(\w+)", text):
        (folder / name).write_text(f"secret-{name}")
    path = folder / "inventory.yaml"
    path.write_text(text.replace("/run/secrets", str(folder)))
    return load_config(path)


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
    typed = [line for line in blocks("console")[0].splitlines() if "pip" in line]
    assert [line.replace("python3 -m", "python -m") for line in typed] == [
        line.replace(" --quiet", "") for line in image_steps() if " -m pip " in line
    ]


def test_the_page_names_every_file_and_no_other() -> None:
    named = set(re.findall(r"`([\w.-]+\.(?:service|yaml|json)|Dockerfile)`", README))
    there = {path.name for path in DEPLOY.iterdir()} - {"README.md", "Dockerfile.dockerignore"}
    assert named == there


def test_the_page_scrapes_as_prometheus_reads_it(tmp_path: Path) -> None:
    [scrape] = blocks("yaml")
    path = tmp_path / "prometheus.yml"
    path.write_text(scrape.replace("/etc/prometheus/file_inventory_token", str(tmp_path / "token")))
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


def test_every_panel_uses_the_data_source_that_is_chosen() -> None:
    dashboard = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    sources = [panel["datasource"] for panel in dashboard["panels"]]
    sources += [target["datasource"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    assert dashboard["templating"]["list"][0]["type"] == "datasource"
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


# The image


def image_steps() -> list[str]:
    """The commands of the stage that builds."""
    return re.findall(r"^RUN (.+)$", DOCKERFILE.split("\nFROM ")[1], re.MULTILINE)


def test_the_image_runs_as_nobody_special_and_without_a_shell() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert f"\nUSER {SOMEBODY}:{SOMEBODY}\n" in last
    assert json.loads(re.findall(r"^ENTRYPOINT (.+)$", last, re.MULTILINE)[0]) == ["file-inventory"]
    assert json.loads(re.findall(r"^CMD (.+)$", last, re.MULTILINE)[0]) == ["serve"]
    assert len(health_check()) == 3


def health_check() -> list[str]:
    command: list[str] = json.loads(re.findall(r"^HEALTHCHECK .* CMD (.+)$", DOCKERFILE, re.MULTILINE)[0])
    return command


def test_what_the_image_is_built_from_is_let_into_the_build() -> None:
    allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert {name for line in copied for name in line.split()} == allowed


def test_the_health_check_tells_a_living_service_from_none(workplace: Workplace) -> None:
    command = [sys.executable, *(part.replace("8080", str(workplace.port)) for part in health_check()[1:])]
    with workplace.serving():
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    assert subprocess.run(command, check=False, capture_output=True).returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the user that the image runs as")
def test_the_steps_of_the_image_give_a_service_that_another_user_runs_over_a_read_only_tree(
    simulator: Simulator, account: Account, free: int
) -> None:
    assert account.files
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        folder = Path(place)
        folder.chmod(0o755)
        build, tree, data = folder / "build", folder / "file-inventory", folder / "data"
        build.mkdir()
        copy_sources(build)
        for step in image_steps():
            step = step.replace("/opt/file-inventory", str(tree)).replace("python -m", f"{python_for_all()} -m", 1)  # noqa: PLW2901 - the same step, elsewhere
            subprocess.run(["bash", "-ec", step], cwd=build, check=True, capture_output=True, timeout=300)
        names = {path.name.split("-")[0] for path in tree.glob("lib/python3*/site-packages/*.dist-info")}
        assert "duckdb" in names
        assert names.isdisjoint({"pytest", "mypy", "ruff", "playwright", "hypothesis"})
        subprocess.run(["chmod", "-R", "a-w", str(tree)], check=True)
        data.mkdir()
        os.chown(data, SOMEBODY, SOMEBODY)
        config = folder / "inventory.yaml"
        config.write_text(CONFIG.format(port=free, url=simulator.url))
        environment = {
            "PATH": f"{tree}/bin:/usr/bin:/bin",
            "FILE_INVENTORY_CONFIG": str(config),
            "HOME": "/nonexistent",
        }
        environment |= {"ACME_KEY": KEY, "FILE_INVENTORY_TOKEN": TOKEN}
        work = folder / "work"
        work.mkdir()
        (work / "data").symlink_to(data)
        with started([tree / "bin/file-inventory", "serve"], work, environment, free, SOMEBODY):
            until = time.monotonic() + 20
            while not ready(free):
                assert time.monotonic() < until
                time.sleep(0.1)
        with open_published(data / "inventory.duckdb") as inventory:
            assert inventory.query("select count(*) as files from files").read_all().to_pylist() == [{"files": 30}]
        assert (data / "inventory.duckdb").stat().st_uid == SOMEBODY


def copy_sources(build: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "deploy")
    for name in ("etl", "config"):
        shutil.copytree(ROOT / name, build / name, ignore=ignored)
    for name in ("requirements.lock", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, build)


def python_for_all() -> str:
    """Find a Python that another user can run too; that of the tests may lie in a home."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        asked = [candidate, "-c", "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(asked, user=SOMEBODY, check=False, capture_output=True).returncode == 0:
                return os.path.realpath(candidate)
        except OSError:
            continue
    pytest.skip("no Python 3.11 that another user can run: install the Debian package python3-venv")


def ready(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=5).is_success


# Compose, Kubernetes, systemd


def test_compose_gives_away_nothing_and_mounts_what_the_configuration_reads(tmp_path: Path) -> None:
    [compose] = yaml((DEPLOY / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    service = compose["services"]["file-inventory"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "ports" not in compose["services"]["gateway"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    text = (DEPLOY / "inventory.yaml").read_text()
    read = set(re.findall(r"file:/run/secrets/(\w+)", text))
    assert read == set(service["secrets"]) == set(compose["secrets"])
    config = configured(text, tmp_path)
    assert config.credentials[0].base_url == "http://gateway:8787/v1"
    tested = json.loads((ROOT / "tests/gateway/package.json").read_text())["dependencies"]["@portkey-ai/gateway"]
    assert compose["services"]["gateway"]["image"] == f"portkeyai/gateway:{tested}"


def test_kubernetes_runs_one_locked_down_instance(tmp_path: Path) -> None:
    found = {part["kind"]: part for part in yaml((DEPLOY / "kubernetes.yaml").read_text())}
    assert set(found) == {"ConfigMap", "Secret", "PersistentVolumeClaim", "Deployment", "Service"}
    spec = found["Deployment"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == SOMEBODY
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert found["Service"]["spec"]["selector"] == spec["template"]["metadata"]["labels"]
    text = found["ConfigMap"]["data"]["inventory.yaml"]
    assert set(re.findall(r"file:/run/secrets/(\w+)", text)) == set(found["Secret"]["stringData"])
    config = configured(text, tmp_path)
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {str(config.store.parent), "/run/secrets", "/etc/file-inventory"} <= mounts
    assert config.serve.port == container["ports"][0]["containerPort"]


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    analyze = installed("systemd-analyze", "systemd")
    start = re.findall(r"^ExecStart=(\S+)", UNIT, re.MULTILINE)
    assert start == ["/opt/file-inventory/bin/file-inventory"]
    path = tmp_path / "file-inventory.service"
    path.write_text(UNIT.replace(start[0], shutil.which("true") or ""))
    ran = subprocess.run([analyze, "verify", path], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", path], capture_output=True, text=True, check=False
    )
    assert rated.returncode == 0, rated.stdout  # exposure is at most 2.5 of 10


def test_the_unit_reads_its_secrets_where_the_page_says() -> None:
    loaded = re.findall(r"^LoadCredential=(\w+):", UNIT, re.MULTILINE)
    assert loaded == ["openai_api_key", "file_inventory_token"]
    assert "file:/run/credentials/file-inventory.service/openai_api_key" in README
    for line in ("Type=notify", "WatchdogSec=30", "ExecReload=/bin/kill -HUP $MAINPID", "DynamicUser=yes"):
        assert line in UNIT.splitlines()


def test_a_plain_copy_of_the_published_database_is_a_whole_database(workplace: Workplace) -> None:
    workplace.shell("file-inventory sync; cp data/inventory.duckdb copy.duckdb")
    with duckdb.connect(str(workplace.folder / "copy.duckdb"), read_only=True) as copy:
        assert copy.sql("select count(*) from files").fetchall() == [(30,)]
