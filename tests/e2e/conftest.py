"""What end-to-end tests share: the service as a process of its own."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from etl import cli
from etl.simulator import Account, Simulator

TOKEN = "the-token-of-the-service"
CONFIG = """
store: {folder}/inventory.duckdb
serve: {{port: 0, token: "${{SERVICE_TOKEN}}"}}
log: {{format: json}}
http: {{requests_per_second: 10000}}
credentials:
  - {{name: one, type: openai, base_url: "{url}", api_key: "${{ONE}}", provider: acme}}
  - {{name: one-again, type: openai, base_url: "{url}", api_key: "${{ONE}}", provider: acme}}
  - {{name: two, type: openai, base_url: "{url}", api_key: "${{TWO}}", provider: other}}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; return its exit status, what it printed and what it complained."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status: Any = 0
        try:
            cli.main([str(argument) for argument in arguments])
        except SystemExit as leave:
            status = leave.code
        captured = capsys.readouterr()
        return int(status or 0), captured.out, captured.err

    return run


@contextmanager
def served(accounts: dict[str, Account], folder: Path) -> Iterator[str]:
    """Keep the inventory of two accounts, of which three credentials tell, and say where it is served."""
    path = folder / "inventory.yaml"
    command = [sys.executable, "-c", "from etl.cli import main; main()", "--config", str(path)]
    environment = {"PATH": os.environ["PATH"], "SERVICE_TOKEN": TOKEN, "ONE": "sk-one", "TWO": "sk-two"}
    with Simulator(accounts) as simulator:
        path.write_text(CONFIG.format(folder=folder, url=simulator.url))
        subprocess.run([*command, "sync"], env=environment, check=True, capture_output=True)
        log = folder / "log"
        with log.open("w") as sink, subprocess.Popen([*command, "serve"], env=environment, stderr=sink) as service:
            try:
                yield address(service, log)
            finally:
                service.send_signal(signal.SIGTERM)


def address(service: "subprocess.Popen[bytes]", log: Path) -> str:
    while service.poll() is None:
        if told := re.search(r'"url": ?"([^"]+)"', log.read_text()):
            return told[1]
    pytest.fail(f"the service did not start: {log.read_text()}")


@pytest.fixture(scope="session")
def token() -> str:
    """What the service asks of every caller."""
    return TOKEN


@pytest.fixture(scope="module")
def accounts() -> dict[str, Account]:
    """Hold 2,500 files."""
    return {"sk-one": Account(1500, seed=1), "sk-two": Account(1000, seed=2)}


@pytest.fixture(scope="module")
def url(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the service is that keeps them."""
    with served(accounts, tmp_path_factory.mktemp("served")) as url:
        yield url
