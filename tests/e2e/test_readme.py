"""Every example in the README runs, and says what is true."""

import re
import runpy
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from etl import cli
from etl.config import load_config
from etl.simulator import Account, Simulator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
KEYS = {"PORTKEY_API_KEY": "pk-1", "PORTKEY_VIRTUAL_KEY": "vk-1", "OPENAI_API_KEY": "sk-1"}


def blocks(language: str) -> list[str]:
    """Return the README's examples in a language."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found
    return found


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the README's configuration, its hosts replaced by a simulated provider."""
    monkeypatch.chdir(tmp_path)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with Simulator({"vk-1": Account(30, seed=1), "sk-1": Account(40, seed=2)}) as simulator:
        [text] = blocks("yaml")
        text = re.sub(r"    base_url: .*\n", "", text)
        text = re.sub(r"(    type: .*\n)", rf"\1    base_url: {simulator.url}\n", text)
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "inventory.yaml").write_text(text)
        yield tmp_path


def run(command: str) -> int:
    """Run one `file-inventory` command line."""
    try:
        cli.main(shlex.split(command, comments=True)[1:])
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_every_make_target_named_exists() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z]+)", README, re.MULTILINE)
    assert {"demo", "test"} <= set(named) <= set(targets)


def test_every_promise_names_a_test_that_exists() -> None:
    promises = re.findall(r"^\| \d\. .* \| `(test_\w+)` \|$", README, re.MULTILINE)
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(promises) == 6
    assert [name for name in promises if f"def {name}(" not in sources] == []


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(*blocks("yaml"))
    config = load_config(path, env=KEYS)
    assert [credential.name for credential in config.credentials] == ["acme-openai", "acme-byok", "direct"]


def test_the_commands_succeed_one_after_the_other(workplace: Path) -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("file-inventory")]
    assert commands.pop().split()[:2] == ["file-inventory", "serve"]  # which test_serve.py runs
    assert len(commands) == 12
    assert commands[0].split()[:2] == ["file-inventory", "init"]
    configured = (workplace / "config" / "inventory.yaml").read_text()
    (workplace / "config" / "inventory.yaml").unlink()
    assert run(commands[0]) == 0
    (workplace / "config" / "inventory.yaml").write_text(configured)
    with time_machine.travel(datetime.now(UTC) - timedelta(days=60)):
        assert run("file-inventory sync") == 0
    statuses = {command.split()[1]: run(command) for command in commands[1:]}
    assert {command for command, status in statuses.items() if status} == {"rules"}
    assert statuses["rules"] == 1
    assert {path.name for path in workplace.iterdir()} >= {"report.html", "backup", "old-batch-files.sh"}


def test_the_sql_answers(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("file-inventory sync") == 0
    for sql in blocks("sql"):
        assert run(f"file-inventory query {shlex.quote(sql)} --format csv") == 0
    assert "search,batch," in capsys.readouterr().out
    assert (workplace / "data" / "inventory.duckdb").exists()


def test_the_python_example_runs(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = blocks("python")
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - the example is ours
    assert capsys.readouterr().out == "complete 76\n"
    assert (workplace / "data" / "inventory.duckdb").exists()


def test_the_page_on_the_data_says_what_the_database_says() -> None:
    dictionary = runpy.run_path(str(ROOT / "tests" / "dictionary.py"))
    assert (ROOT / "data" / "README.md").read_text() == dictionary["page"](), "write it anew with: make schema"
