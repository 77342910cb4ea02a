"""What is shipped to run the service in containers and under systemd: it is whole, locked down, and runs."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from ruamel.yaml import YAML

from etl.config import Config, load_config
from etl.report.inventory import open_published
from etl.simulator import Account, Simulator

if TYPE_CHECKING:
    from conftest import Lakes

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "config/deploy"
CONFIG = (DEPLOY / "inventory.yaml").read_text()
README = (DEPLOY / "README.md").read_text()
UNIT = (DEPLOY / "file-inventory.service").read_text()
USER = 10001
KEY, TOKEN = "sk-the-key-of-acme", "let-me-in"

CONTAINER = """
mount --make-rprivate /
mount -t tmpfs tmpfs "$ROOT"
mkdir "$ROOT/tmp"; mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
for path in /usr /bin /lib /lib64 /dev /proc $TREES; do
    if test -e $path; then mkdir -p "$ROOT$path"; mount --rbind $path "$ROOT$path"; fi
done
for mount in data:/data:rw secrets:/run/secrets:ro config:/etc/file-inventory:ro; do
    IFS=: read -r from to mode <<<"$mount"
    mkdir -p "$ROOT$to"; mount --bind "$FOLDER/$from" "$ROOT$to"; mount -o "remount,bind,$mode" "$ROOT$to"
done
for path in $TREES /usr; do mount -o remount,bind,ro "$ROOT$path"; done
mount -o remount,ro "$ROOT"
exec env -i PATH="$IMAGE_PATH:/usr/bin:/usr/sbin" HOME=/tmp chroot "$ROOT" \
    setpriv --reuid=10001 --regid=10001 --clear-groups --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""
"""What an engine does: nothing of the machine but a read-only tree, /data and /tmp, and no right beyond a user's."""


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile, an instruction a pair."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1].strip()) for line in text.splitlines() if line]


def last(name: str) -> str:
    return [value for instruction, value in instructions() if instruction == name][-1]


def health_check(port: int) -> list[str]:
    command: list[str] = json.loads(last("HEALTHCHECK").split(" CMD ")[1])
    return [part.replace(" 8080,", f" {port},") for part in command]


def yaml(name: str) -> list[Any]:
    return list(YAML(typ="safe", pure=True).load_all((DEPLOY / name).read_text()))


def loaded(text: str, folder: Path) -> Config:
    """Load a configuration whose secret files stand in a folder of the test."""
    for name in secrets(text):
        (folder / name).write_text(f"secret-{name}")
    path = folder / "inventory.yaml"
    path.write_text(text.replace("/run/secrets", str(folder)))
    return load_config(path)


def secrets(text: str) -> set[str]:
    return set(re.findall(r"file:/run/secrets/(\w+)", text))


def checked(*command: str | Path) -> str:
    """What a checker says; none may be missing, none may find fault."""
    beside = Path(sys.executable).with_name(str(command[0]))
    found = beside if beside.exists() else shutil.which(command[0])
    if not found:
        pytest.skip(f"{command[0]} is missing")
    ran = subprocess.run([found, *command[1:]], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


# The image


def test_hadolint_finds_no_fault_with_the_image() -> None:
    assert checked("hadolint", DEPLOY / "Dockerfile") == ""


def test_the_image_starts_the_service_as_nobody_special() -> None:
    assert last("USER") == f"{USER}:{USER}"
    assert (last("STOPSIGNAL"), last("VOLUME"), last("EXPOSE")) == ("SIGTERM", "/data", "8080")
    assert json.loads(last("ENTRYPOINT")) == ["file-inventory", "--config", "/etc/file-inventory/inventory.yaml"]
    assert json.loads(last("CMD")) == ["serve"]


class Image:
    """What the steps of the Dockerfile give, without an engine: the same commands, in other folders."""

    def __init__(self, folder: Path, **arguments: str) -> None:
        self.folder, self.tree = folder, folder / "tree"
        chosen = dict(word.split("=") for word in shlex.split(last("ARG"))) | arguments
        for name in ("source", "root", "data", "secrets", "config"):
            (folder / name).mkdir()
        os.chown(folder / "data", USER, USER)
        self._copy()
        shutil.copy(ROOT / chosen["LOCK"], folder / "source/requirements.lock")
        places = {"/wheels": f"{folder}/wheels", "/opt/file-inventory": str(self.tree), "python -m": "$PYTHON -m"}
        for name, step in instructions():
            if name == "RUN" and "python" in step:
                script = re.sub("|".join(places), lambda found: places[found[0]], step)
                subprocess.run(
                    ["/bin/bash", "-euc", script],
                    cwd=folder / "source",
                    env=os.environ | chosen | {"PYTHON": sys.executable, "PYTHONPATH": ""},
                    check=True,
                    capture_output=True,
                    timeout=500,
                )

    def _copy(self) -> None:
        """Let into the build what the ignore file does."""
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
            for path in ROOT.glob(line[1:]) if line.startswith("!") else ():
                target = self.folder / "source" / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(path, target)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        """Start a command in a container of this image, in the process that is returned."""
        environment = {
            "PATH": os.environ["PATH"],
            "FOLDER": str(self.folder),
            "ROOT": str(self.folder / "root"),
            "TREES": f"{self.tree} {sys.base_prefix}",
            "IMAGE_PATH": f"{self.tree}/bin",
        }
        return subprocess.Popen(
            [shutil.which("unshare") or "", "--mount", "/bin/bash", "-euc", CONTAINER, "container", *command],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command: str) -> tuple[int, str]:
        """Return the exit status, and all that was said."""
        with self.start(*command) as process:
            said = process.communicate(timeout=60)
        return process.returncode, "".join(said)

    @contextmanager
    def serving(self, url: str) -> Iterator["subprocess.Popen[str]"]:
        """The command of the image; it must end cleanly."""
        with self.start(*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))) as process:
            try:
                until = time.monotonic() + 30
                while process.poll() is None and not is_ready(url) and time.monotonic() < until:
                    time.sleep(0.05)
                if is_ready(url):
                    yield process
                process.terminate()
                said = process.communicate(timeout=20)[1]
            finally:
                process.kill()
        assert process.returncode == 0, said
        assert json.loads(said.splitlines()[-1])["event"] == "stopped"


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("only root can lay out a container")
    return Image(tmp_path_factory.mktemp("image"))


def test_the_steps_of_the_image_give_a_service_that_needs_no_more_than_its_volume(image: Image) -> None:
    port = 18_080
    installed = {path.name.split("-")[0] for path in image.tree.glob("lib/python3*/site-packages/*.dist-info")}
    assert {"duckdb", "uvicorn", "opentelemetry_sdk", "llm_file_inventory"} <= installed
    assert installed.isdisjoint({"pip", "pytest", "mypy", "ruff", "playwright", "hypothesis", "hatchling"})
    (image.folder / "secrets/openai_api_key").write_text(KEY)
    (image.folder / "secrets/serve_token").write_text(TOKEN)
    with Simulator({KEY: Account(30, seed=1)}) as simulator:
        config = CONFIG.replace("http://gateway:8787/v1", simulator.url).replace("port: 8080", f"port: {port}")
        (image.folder / "config/inventory.yaml").write_text(config)
        with image.serving(f"http://127.0.0.1:{port}") as service:
            status = Path(f"/proc/{service.pid}/status").read_text()
            assert re.findall(r"^Uid:\s+(.+)$", status, re.MULTILINE) == [f"{USER}\t{USER}\t{USER}\t{USER}"]
            assert re.findall(r"^Cap(?:Eff|Prm|Bnd):\s+(\w+)$", status, re.MULTILINE) == ["0" * 16] * 3
            assert image.run(*health_check(port)) == (0, "")
            assert "30 files" in image.run(*json.loads(last("ENTRYPOINT")), "sync")[1]
            for place in ("/", "/usr", str(image.tree), "/etc/file-inventory", "/run/secrets"):
                assert "Read-only file system" in image.run("touch", f"{place}/mark")[1]
    assert image.run(*health_check(port))[0] == 1
    published = image.folder / "data/inventory.duckdb"
    assert published.stat().st_uid == USER
    with open_published(published) as inventory:
        assert inventory.query("select count(*) as files from files").read_all().to_pylist() == [{"files": 30}]


@pytest.mark.lake
def test_the_image_for_a_lake_keeps_an_inventory_in_one(
    tmp_path_factory: pytest.TempPathFactory, lakes: "Lakes"
) -> None:
    [arguments] = re.findall(r"--build-arg LOCK=(\S+) --build-arg EXTRAS=(\S+)", README)
    image = Image(tmp_path_factory.mktemp("image"), **dict(zip(("LOCK", "EXTRAS"), arguments, strict=True)))
    command = json.loads(last("ENTRYPOINT"))
    with (
        TemporaryDirectory(prefix="reachable-") as folder,
        type(lakes)(Path(folder), "127.0.0.1") as reachable,
        Simulator({KEY: Account(30, seed=1)}) as simulator,
    ):
        lake = reachable.new(Path("/data/lake"), empty=True)
        secrets = image.folder / "secrets"
        (secrets / "lake_catalog").write_text(str(lake.url).replace("@/", "@127.0.0.1/").partition("?")[0])
        for name, secret in (("openai_api_key", KEY), ("serve_token", TOKEN)):
            (secrets / name).write_text(secret)
        [store] = re.findall(r"```yaml\n(store:\n.+?)```", README, re.DOTALL)
        config = CONFIG.replace("http://gateway:8787/v1", simulator.url).replace("store: /data/inventory.duckdb", store)
        config = config.replace("s3://bucket/inventory", "/data/lake")
        (image.folder / "config/inventory.yaml").write_text(config)
        assert "30 files" in image.run(*command, "sync")[1]
        assert "30" in image.run(*command, "query", "select count(*) from files")[1]


# Compose


def test_compose_is_valid() -> None:
    assert "ok" in checked("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_compose_gives_away_nothing_and_mounts_what_the_configuration_reads(tmp_path: Path) -> None:
    [compose] = yaml("compose.yaml")
    service, gateway = compose["services"]["file-inventory"], compose["services"]["gateway"]
    for one in (service, gateway):
        assert (one["read_only"], one["cap_drop"], one["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert "ports" not in gateway
    assert service["depends_on"]["gateway"]["condition"] == "service_healthy"
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert set(service["secrets"]) == set(compose["secrets"]) == secrets(CONFIG)
    config = loaded(CONFIG, tmp_path)
    assert config.credentials[0].base_url == "http://gateway:8787/v1"
    assert f"store:{Path(str(config.store)).parent}" in service["volumes"]
    grace = float(service["stop_grace_period"].removesuffix("s"))
    assert grace > 2 * config.serve.stop_grace


def test_the_gateway_is_the_one_that_is_tested() -> None:
    tested = json.loads((ROOT / "tests/gateway/package.json").read_text())["dependencies"]["@portkey-ai/gateway"]
    used = re.findall(r"image: (portkeyai/\S+)", (DEPLOY / "compose.yaml").read_text())
    used += re.findall(r"image: (portkeyai/\S+)", (DEPLOY / "kubernetes.yaml").read_text())
    assert used == [f"portkeyai/gateway:{tested}"] * 2


# Kubernetes


def part(kind: str, name: str = "file-inventory") -> Any:
    [found] = [one for one in yaml("kubernetes.yaml") if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


@pytest.mark.parametrize("name", ["file-inventory", "gateway"])
def test_pods_are_locked_down(name: str) -> None:
    spec = part("Deployment", name)["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}
    assert part("Service", name)["spec"]["selector"] == spec["template"]["metadata"]["labels"]


def test_kubernetes_runs_one_writer_with_the_configuration_that_is_shown(tmp_path: Path) -> None:
    spec = part("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == USER
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
    assert part("ConfigMap")["data"]["inventory.yaml"] == CONFIG
    config = loaded(CONFIG, tmp_path)
    assert config.serve.port == container["ports"][0]["containerPort"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert set(mounts) == {str(Path(str(config.store)).parent), "/run/secrets", "/etc/file-inventory", "/tmp"}  # noqa: S108 - in a pod
    assert set(mounts.values()) == {volume["name"] for volume in pod["volumes"]}
    assert pod["terminationGracePeriodSeconds"] > 2 * config.serve.stop_grace


# systemd


def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "file-inventory.service"
    path.write_text(UNIT.replace("/opt/file-inventory/bin/file-inventory", shutil.which("true") or ""))
    assert checked("systemd-analyze", "verify", path) == ""
    assert "exposure level" in checked("systemd-analyze", "security", "--offline=true", "--threshold=15", path)


def test_the_unit_starts_reloads_and_watches_the_service_as_it_expects() -> None:
    start = "ExecStart=/opt/file-inventory/bin/file-inventory --config /etc/file-inventory/inventory.yaml serve"
    for line in (start, "ExecReload=/bin/kill -HUP $MAINPID", "Type=notify", "NotifyAccess=main", "DynamicUser=yes"):
        assert line in UNIT.splitlines()
    assert set(re.findall(r"^LoadCredential=(\w+):", UNIT, re.MULTILINE)) == secrets(CONFIG)
    assert "AF_UNIX" in UNIT  # what it tells systemd goes through a socket
