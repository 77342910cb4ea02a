"""Rules, plans, exports and times past, as a user types them."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import pytest

from etl import cli
from etl.config import load_config, shipped
from etl.errors import ConfigError
from etl.report.plan import plan
from etl.report.rules import check
from etl.simulator import Account, Simulator

Run = Callable[..., tuple[int, str, str]]

RULES = """
rules:
  - name: big
    message: Ask their owners.
    query: select credential, file_id from files where bytes > 100000000
  - name: none
    severity: critical
    message: Cannot be.
    query: select 1 where false
  - name: counted
    message: No files here.
    query: select count(*) as files from files
"""


@pytest.fixture
def provider() -> Iterator[Simulator]:
    accounts = {"sk-one": Account(120, seed=1), "vk-two": Account(60, seed=2)}
    with Simulator(accounts, portkey_api_key="pk-portkey") as simulator:
        yield simulator


@pytest.fixture
def config(provider: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two credentials of one account, whose key is in a file, and one through the gateway; rules."""
    (tmp_path / "the key").write_text("sk-one\n")
    monkeypatch.setenv("PORTKEY", "pk-portkey")
    monkeypatch.setenv("VIRTUAL", "vk-two")
    path = tmp_path / "inventory.yaml"
    path.write_text(f"""
store: {tmp_path}/data/inventory.duckdb
credentials:
  - {{name: direct, type: openai, base_url: {provider.url}, api_key: "file:{tmp_path}/the key", provider: openai}}
  - {{name: again, type: openai, base_url: {provider.url}, api_key: "file:{tmp_path}/the key", provider: openai}}
  - name: routed
    type: portkey
    base_url: {provider.url}
    api_key: ${{PORTKEY}}
    virtual_key: ${{VIRTUAL}}
    provider: azure-openai
    headers: {{x-note: "a $HOME `id` \\"quoted\\" \\\\ note"}}
{RULES}""")
    return path


@pytest.fixture
def synced(config: Path, run: Run) -> Path:
    assert run("-c", config, "sync")[0] == 0
    return config


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(path.parent / "data" / "inventory.duckdb", read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_rules_are_checked_at_the_end_of_each_run_and_shown_with_the_status(synced: Path, run: Run) -> None:
    [(big,)] = rows(synced, "select count(*) from files where bytes > 100000000")
    found = rows(synced, "select rule, severity, offenders, len(examples), error from rule_results order by rule")
    assert found == [
        ("big", "warning", big, 3, None),
        ("counted", "warning", 1, 1, None),
        ("none", "critical", 0, 0, None),
    ]
    status, out, _ = run("-c", synced, "status")
    assert status == 0
    assert f"rule big (warning) has {big} offenders: Ask their owners." in out
    assert "rule none" not in out
    run("-c", synced, "sync")
    assert rows(synced, "select count(*), count(distinct run_id) from rule_results") == [(6, 2)]


def test_rules_are_checked_at_once_and_the_exit_status_tells(
    synced: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORTKEY")
    (synced.parent / "the key").unlink()  # no secret is needed
    status, out, err = run("-c", synced, "rules")
    assert (status, err) == (1, "")
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == ["broken", "kept", "broken"]
    assert run("-c", synced, "rules", "--severity", "critical")[0] == 0
    told = json.loads(run("-c", synced, "rules", "--json")[1])
    assert [(one["rule"], one["state"]) for one in told] == [("big", "broken"), ("none", "kept"), ("counted", "broken")]
    synced.write_text(synced.read_text().replace("select 1 where false", "from nowhere"))
    status, out, _ = run("-c", synced, "rules", "--severity", "critical")
    assert status == 1
    assert "unchecked rule none (critical) cannot be checked: Catalog Error" in out


def test_the_starter_rules_find_what_they_are_for(tmp_path: Path) -> None:
    starter = load_config(shipped("inventory.yaml"), secrets=False)
    store = tmp_path / "inventory.duckdb"
    with duckdb.connect(store) as connection:
        for migration in sorted((Path(cli.__file__).parent / "load/sql/migrations").iterdir()):
            connection.execute(migration.read_text())
        connection.execute("""
        insert into credentials by name
        select 'acme' as name, 'openai' as type, 'https://x' as base_url, true as active, 60 as stale_after,
            1000 as quota_bytes, now() - interval 1 day as last_complete_at;
        insert into files by name
        select 'acme' as credential, 'file-' || row_number() over () as file_id, now() as first_seen_at,
            now() as changed_at, *
        from (values
            ('plain.jsonl', 1, 'batch', now(), null),
            ('old.jsonl', 1, 'batch', now() - interval 61 day, null),
            ('model.jsonl', 1, 'fine-tune', now() - interval 900 day, null),
            ('late.jsonl', 1, 'batch', now(), now() - interval 2 day),
            ('my_Password.txt', 1, 'user_data', now(), null),
            ('passwordless.txt', 1, 'user_data', now(), null),
            ('server.PEM', 1, 'user_data', now(), null),
            ('sk-abcdefghij0123456789.json', 1, 'user_data', now(), null),
            ('task-abcdefghij0123456789.json', 1, 'user_data', now(), null),
            ('letter to jane.doe@example.com.pdf', 1, 'user_data', now(), null),
            ('ssn 123-45-6789.txt', 1, 'user_data', now(), null),
            ('part 2026-01-12345.txt', 1, 'user_data', now(), null),
            ('odd.bin', 1, 'smuggling', now(), null),
            ('disk.img', 11 * 1024 ^ 3, 'user_data', now(), null)
        ) as made (filename, bytes, purpose, created_at, expires_at)
        """)
    found = check(store, starter.model_copy(update={"store": store}))
    assert {one.rule: one.offenders for one in found} == {
        "old-files": 1,
        "expired-but-there": 1,
        "secrets-in-names": 3,
        "personal-data-in-names": 2,
        "unknown-purposes": 1,
        "huge-files": 1,
        "stale-credentials": 1,
        "quota": 1,
    }
    assert "filename=old.jsonl" in found[0].examples[0]


class Provider(BaseHTTPRequestHandler):
    """Takes deletions."""

    asked: list[tuple[str, str, dict[str, str]]]

    def do_DELETE(self) -> None:
        self.asked.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def deletions() -> Iterator[tuple[str, list[tuple[str, str, dict[str, str]]]]]:
    asked: list[tuple[str, str, dict[str, str]]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Taking", (Provider,), {"asked": asked})) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_a_plan_is_a_list_and_a_script_that_does_nothing_until_its_calls_are_let_loose(
    synced: Path, run: Run, tmp_path: Path, deletions: tuple[str, list[Any]], provider: Simulator
) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is missing")
    url, asked = deletions
    status, out, _ = run("-c", synced, "plan", "--rule", "big", "--output", tmp_path / "plan")
    [(big,)] = rows(synced, "select count(*) from unique_files where bytes > 100000000")
    assert status == 0
    assert out.startswith(f"{big} files: review ")
    listed = duckdb.execute(f"from '{tmp_path}/plan/big.csv'").fetchall()
    assert len(listed) == big
    script = tmp_path / "plan" / "big.sh"
    text = script.read_text()
    assert not {"sk-one", "vk-two", "pk-portkey"} & set(re.split(r"[^a-z-]", text))
    environment = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "PORTKEY": "pk-portkey", "VIRTUAL": "vk-two"}
    subprocess.run(["/bin/sh", script], env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)
    assert asked == []
    script.write_text(re.sub(r"^# (delete_)", r"\1", text.replace(provider.url, url), flags=re.MULTILINE))
    subprocess.run(["/bin/sh", script], env=environment, check=True, capture_output=True)
    paths = rows(synced, "select '/files/' || file_id from unique_files where bytes > 100000000")
    assert sorted(path for _, path, _ in asked) == sorted(path for (path,) in paths)
    keys = {headers.get("authorization") or headers.get("x-portkey-virtual-key") for _, _, headers in asked}
    assert keys == {"Bearer sk-one", "vk-two"}
    assert {headers.get("x-note") for _, _, headers in asked} == {None, 'a $HOME `id` "quoted" \\ note'}


def test_names_of_files_cannot_leave_the_comment_of_a_plan(synced: Path, run: Run, provider: Simulator) -> None:
    account = provider.accounts["vk-two"]
    bad = {"id": "file-'; touch hacked; '", "filename": "x\ntouch hacked\r\n`touch hacked`", "bytes": 10**9}
    account._put([next(iter(account.files.values())) | bad])
    run("-c", synced, "sync", "routed")
    run("-c", synced, "plan", "--rule", "big", "--output", synced.parent)
    lines = (synced.parent / "big.sh").read_text().splitlines()
    assert [line for line in lines if "touch" in line and not line.startswith("# delete_")] == []
    subprocess.run(["/bin/sh", synced.parent / "big.sh"], cwd=synced.parent, check=True)
    assert not (synced.parent / "hacked").exists()


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("counted", "rule counted names no files: its query must return credential and file_id too"),
        ("bigg", "no rule is named bigg; did you mean big?"),
    ],
)
def test_what_cannot_be_planned_is_said(synced: Path, run: Run, rule: str, message: str) -> None:
    assert run("-c", synced, "plan", "--rule", rule) == (2, "", f"{message}\n")


def test_a_plan_needs_a_folder(synced: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written to"):
        plan(load_config(synced), "big", tmp_path / "file" / "below")


def test_the_past_is_asked_as_the_present_is(synced: Path, run: Run, provider: Simulator) -> None:
    def answer(*arguments: object) -> Any:
        status, out, err = run("-c", synced, *arguments, "--format", "json")
        assert (status, err) == (0, "")
        return json.loads(out)

    [then] = answer("query", "select max(finished_at)::varchar as at from runs")
    account = provider.accounts["vk-two"]
    account.delete(3)
    account.change(2)
    account.add(5)
    assert run("-c", synced, "sync", "routed")[0] == 0
    count = "select count(*) as n from files where credential = 'routed'"
    assert answer("query", count) == [{"n": 62}]
    assert answer("query", count, "--as-of", then["at"]) == [{"n": 60}]
    same = answer("query", "select count(*) as n from unique_files", "--as-of", then["at"])
    assert same == [{"n": len(answer("files", "--as-of", then["at"], "--credential", "routed")) + 120}]
    assert {row["change"] for row in answer("query", "from file_changes", "--as-of", then["at"])} == {"baseline"}
    differing = answer("diff", "--since", then["at"], "--credential", "routed")
    assert {kind: sum(row["change"] == kind for row in differing) for kind in ("created", "deleted", "updated")} == {
        "created": 5,
        "deleted": 3,
        "updated": 2,
    }
    assert answer("diff", "--since", then["at"], "--until", then["at"]) == []
    status, _, err = run("-c", synced, "files", "--as-of", "2020-01-01")
    assert status == 2
    assert err.startswith("nothing was known at 2020-01-01 00:00:00Z; the first run ended at ")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_an_export_by_credential_and_month_holds_all_and_replaces_what_was_there(
    synced: Path, run: Run, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / "out"
    for _ in range(2):
        assert run("-c", synced, "export", target, "--partitioned", "--format", kind)[0] == 0
    months = rows(synced, "select credential, strftime(created_at, '%Y-%m'), count(*) from files group by all")
    assert {path.parent.parent.name for path in target.glob(f"files/*/*/*.{kind}")} == {
        "credential=again",
        "credential=direct",
        "credential=routed",
    }
    reader = f"read_{kind}('{target}/files/*/*/*.{kind}', hive_partitioning = true)"
    found = duckdb.execute(f"select credential, (month::varchar)[:7], count(*) from {reader} group by all").fetchall()
    assert sorted(found) == sorted(months)
    assert [path.name for path in target.iterdir() if path.name.startswith(".")] == []
    assert (target / f"credentials.{kind}").exists()
