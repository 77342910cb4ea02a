"""What all tests share: a clean environment, a simulated provider, the real gateway."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from etl.simulator import Simulator

START_GATEWAY = Path(__file__).parent / "gateway/node_modules/@portkey-ai/gateway/build/start-server.js"
SCRUBBED = ("FILE_INVENTORY_", "PORTKEY_", "OPENAI_")
SECONDS_TO_START = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    asked = os.environ.get("NO_SKIPS") == "1"
    parser.addoption("--no-skips", action="store_true", default=asked, help="a skipped test is a failed test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if item.config.getoption("--no-skips") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and --no-skips is set: {report.longreprtext or report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - clean(os.environ).keys():
        monkeypatch.delenv(name)


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would reach into the tests: settings, keys, proxies."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith(SCRUBBED) and not name.lower().endswith("_proxy")
    }


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A provider without accounts."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway() -> Iterator[str]:
    """Base URL of a real Portkey gateway."""
    node = shutil.which("node")
    if not node or not START_GATEWAY.exists():
        pytest.skip("node or tests/gateway/node_modules missing: run make test")
    port = free_port()
    with subprocess.Popen(
        [node, str(START_GATEWAY), "--headless", f"--port={port}"],
        env=clean(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            wait_for(process, f"http://127.0.0.1:{port}/")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], url: str) -> None:
    """Return once the process answers; a gateway that does not come up fails the tests that need it."""
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            httpx.get(url, trust_env=False, timeout=1)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"the gateway did not answer at {url}; exit status {process.poll()}")
