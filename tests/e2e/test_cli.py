"""The commands as a user types them, and what they leave behind."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main

from etl import cli
from etl.providers import PROVIDERS
from etl.report.inventory import TABLES
from etl.simulator import FAULTS, Account, Simulator

PAGES = Path(__file__).parents[1] / "pages"
Result = tuple[int, str, str]
Run = Callable[..., Result]


@pytest.fixture
def provider() -> Iterator[Simulator]:
    """A provider of two accounts, 300 and 40 files, in pages of 100."""
    accounts = {"sk-big-account-key": Account(300, seed=1), "vk-small-account": Account(40, seed=2)}
    with Simulator(accounts, page_limit=100, portkey_api_key="pk-portkey") as simulator:
        yield simulator


@pytest.fixture
def config(provider: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with one direct credential and one through the gateway."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-big-account-key")
    monkeypatch.setenv("PORTKEY_API_KEY", "pk-portkey")
    monkeypatch.setenv("PORTKEY_VIRTUAL_KEY", "vk-small-account")
    path = tmp_path / "inventory.yaml"
    path.write_text(f"""
store: {tmp_path}/data/inventory.duckdb
credentials:
  - {{name: direct, type: openai, base_url: {provider.url}, api_key: "${{OPENAI_API_KEY}}", labels: {{team: search}}}}
  - name: routed
    type: portkey
    base_url: {provider.url}
    api_key: ${{PORTKEY_API_KEY}}
    virtual_key: ${{PORTKEY_VIRTUAL_KEY}}
http: {{attempts: 1}}
""")
    return path


def answer(run: Run, config: Path, sql: str) -> Any:
    """Ask the inventory, as JSON."""
    status, out, err = run("-c", config, "query", sql, "--format", "json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_sync_leaves_every_file_its_baseline_change_and_one_listing_per_credential(
    run: Run, config: Path, provider: Simulator
) -> None:
    status, out, _ = run("--config", config, "sync")
    assert status == 0
    assert "complete    direct: 300 files, 300 baseline" in out
    assert "complete    2 of 2 complete: 340 files, 340 baseline" in out
    truth = [
        (name, file["id"], file["filename"], file["bytes"], file["purpose"], file["status"], file["created_at"])
        for name, token in (("direct", "sk-big-account-key"), ("routed", "vk-small-account"))
        for file in provider.accounts[token].files.values()
    ]
    columns = "credential, file_id, filename, bytes, purpose, status, epoch(created_at)::bigint"
    for table in ("files", "file_changes"):
        rows = answer(run, config, f"select {columns} from {table} order by all")
        assert [tuple(row.values()) for row in rows] == sorted(truth)
    assert answer(run, config, "select distinct change, reason, changed_fields from file_changes") == [
        {"change": "baseline", "reason": None, "changed_fields": None}
    ]
    counted = "credential, status, pages, requests, retries, records, baseline, created, unchanged, deleted, rejected"
    assert [tuple(row.values()) for row in answer(run, config, f"select {counted} from listings order by all")] == [
        ("direct", "complete", 3, 3, 0, 300, 300, 0, 0, 0, 0),
        ("routed", "complete", 1, 1, 0, 40, 40, 0, 0, 0, 0),
    ]


def test_sync_json_prints_the_run_as_one_object_and_nothing_else(run: Run, config: Path) -> None:
    status, out, err = run("--config", config, "sync", "--json")
    told = json.loads(out)
    assert (status, err) == (0, "")
    assert told["status"] == "complete"
    assert told["trigger"] == "cli"
    assert told["totals"]["records"] == 340
    assert {listing["credential"]: listing["records"] for listing in told["listings"]} == {"direct": 300, "routed": 40}
    assert answer(run, config, "select run_id, status from runs") == [{"run_id": told["run_id"], "status": "complete"}]


def test_sync_of_one_credential_leaves_the_others_as_they_were(run: Run, config: Path, provider: Simulator) -> None:
    run("--config", config, "sync")
    provider.reset()
    assert run("--config", config, "sync", "routed")[0] == 0
    assert {request.account for request in provider.requests} == {"vk-small-account"}
    assert answer(run, config, "select count(*) as files from files") == [{"files": 340}]


def test_sync_exits_1_when_a_listing_is_not_complete_and_says_what_to_do(
    run: Run, config: Path, provider: Simulator
) -> None:
    run("--config", config, "sync")
    provider.faults["sk-big-account-key"] = FAULTS["short_list"]
    status, out, _ = run("--config", config, "sync")
    assert status == 1
    assert "200 of 300 files are missing; 200 deletions wait for: file-inventory approve direct" in out
    provider.faults["sk-big-account-key"] = FAULTS["page2_404"]
    status, out, _ = run("--config", config, "sync")
    assert status == 1
    assert "what is missing was not taken as deleted" in out


def test_sync_of_an_unknown_name_exits_2_and_names_the_nearest(run: Run, config: Path, provider: Simulator) -> None:
    assert run("--config", config, "sync", "dirct") == (2, "", "no credential is named dirct; did you mean direct?\n")
    assert provider.requests == []


def test_bad_configuration_exits_2_before_any_request(run: Run, config: Path, provider: Simulator) -> None:
    config.write_text(config.read_text().replace("virtual_key:", "virtual_keey:"))
    for command in ("sync", "check"):
        status, out, err = run("--config", config, command)
        assert (status, out) == (2, "")
        assert "credentials[1].virtual_keey (of routed): unknown key; did you mean virtual_key?" in err
    assert provider.requests == []


def test_a_missing_variable_stops_what_sends_and_not_what_only_reads(
    run: Run, config: Path, provider: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--config", config, "sync")
    provider.reset()
    monkeypatch.delenv("OPENAI_API_KEY")
    status, _, err = run("--config", config, "sync")
    assert status == 2
    assert "credentials[0].api_key (of direct): the environment has no OPENAI_API_KEY" in err
    assert provider.requests == []
    assert run("--config", config, "status")[0] == 0
    assert answer(run, config, "select count(*) as files from files") == [{"files": 340}]


def test_the_configuration_is_found_through_the_environment(
    run: Run, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FILE_INVENTORY_CONFIG", str(config))
    assert run("sync")[0] == 0


def test_reading_before_the_first_run_says_so(run: Run, config: Path) -> None:
    for command in (["status"], ["changes"], ["query", "select 1"], ["export", "x"]):
        status, _, err = run("--config", config, *command)
        assert status == 1
        assert "nothing is published there yet; run: file-inventory sync" in err


HOLD = """
import sys
from etl.load.store import Store
with Store(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_exits_3_and_names_the_first(run: Run, config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path / "data/inventory.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for name in (["sync"], ["approve", "direct"], ["reject", "direct"]):
            status, _, err = run("--config", config, *name)
            assert status == 3
            assert f"another writer is at work on {tmp_path}/data: process {process.pid} (" in err
        process.stdin.close()
    assert run("--config", config, "sync")[0] == 0


def test_check_tells_each_credentials_state_in_one_line(run: Run, config: Path, provider: Simulator) -> None:
    assert run("--config", config, "check") == (0, "ok      direct\nok      routed\n", "")
    assert {request.params["limit"] for request in provider.requests} == {"1"}
    provider.faults["sk-big-account-key"] = FAULTS["unauthorized"]
    status, out, err = run("--config", config, "check")
    assert (status, err) == (1, "")
    assert re.fullmatch(r"FAILED  direct: .* answered 401: .* \(the key is not accepted; .*\)\nok      routed\n", out)
    assert "sk-big" not in out


def test_check_tells_the_state_of_a_credential_of_every_type(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY", "sk-of-every-type")
    credentials = []
    with Simulator({"sk-of-every-type": Account(30, seed=3)}, page_limit=10) as simulator:
        for kind in PROVIDERS:
            recorded = json.loads((PAGES / f"{kind}.json").read_text())["credential"]
            base_url = simulator.speaking(kind) + urlsplit(recorded["base_url"]).path
            secret = "authorization" if kind == "portkey" else "api_key"
            credentials.append(recorded | {"name": kind, "base_url": base_url, secret: "${KEY}"})
        path = tmp_path / "inventory.yaml"
        path.write_text(json.dumps({"store": str(tmp_path / "i.duckdb"), "credentials": credentials}))
        assert run("--config", path, "check") == (0, "".join(f"ok      {kind}\n" for kind in PROVIDERS), "")
        assert len(simulator.requests) == len(PROVIDERS)
        simulator.faults["sk-of-every-type"] = FAULTS["unauthorized"]
        status, out, err = run("--config", path, "check")
    assert (status, err) == (1, "")
    for line, kind in zip(out.splitlines(), PROVIDERS, strict=True):
        assert re.fullmatch(
            rf"FAILED  {kind}: .* answered 401: Incorrect API key .* \(the key is not accepted; .*\)", line
        )
    assert "sk-of" not in out


def test_check_warns_of_a_route_whose_list_is_never_complete(run: Run, tmp_path: Path, provider: Simulator) -> None:
    provider.faults["vk-small-account"] = lambda _request, reply: replace(
        reply, headers=reply.headers | {"x-portkey-last-used-option-index": "config.targets[0]"}
    )
    config = {"name": "several", "type": "portkey", "base_url": provider.url, "config": "vk-small-account"}
    path = tmp_path / "inventory.yaml"
    path.write_text(json.dumps({"credentials": [config | {"headers": {"x-portkey-api-key": "file:key"}}]}))
    (tmp_path / "key").write_text("pk-portkey")
    (tmp_path / "key").chmod(0o600)
    with contextlib.chdir(tmp_path):
        status, out, err = run("--config", path, "check")
    assert (status, err) == (0, "")
    assert out == (
        "warning several: nothing will ever be deleted, as its gateway config chooses among several targets,"
        " and each may be another account; give each target a credential of its own\n"
    )


def test_check_reports_an_answer_that_is_no_list(run: Run, config: Path, provider: Simulator) -> None:
    provider.faults["sk-big-account-key"] = FAULTS["html_200"]
    provider.faults["vk-small-account"] = FAULTS["error_200"]
    status, out, _ = run("--config", config, "check")
    assert status == 1
    assert "answered with a web page instead of a file list" in out
    assert "FAILED  routed: the answer is not a page of a file list: " in out


def test_status_shows_and_exits_by_the_state(run: Run, config: Path, provider: Simulator) -> None:
    run("--config", config, "sync")
    status, out, _ = run("--config", config, "status")
    assert status == 0
    assert re.search(r"^direct +fresh +complete +2\d{3}-\S+ \S+Z +300 ", out, re.MULTILINE)
    provider.faults["sk-big-account-key"] = FAULTS["empty"]
    run("--config", config, "sync")
    status, out, _ = run("--config", config, "status")
    assert status == 1
    assert re.search(r"^direct +held +held: the list is empty where 300 files were", out, re.MULTILINE)
    status, out, _ = run("--config", config, "status", "--json")
    states = {row["credential"]: (row["state"], row["files"], row["held_deletions"]) for row in json.loads(out)}
    assert (status, states) == (1, {"direct": ("held", 300, 300), "routed": ("fresh", 40, 0)})


def test_status_counts_a_credential_that_was_never_complete_as_stale(
    run: Run, config: Path, provider: Simulator
) -> None:
    provider.faults["vk-small-account"] = FAULTS["forbidden"]
    assert "failed      routed: not listed, " in run("--config", config, "sync")[1]
    status, out, _ = run("--config", config, "status")
    assert status == 1
    assert re.search(r"^routed +stale +failed: .* never +0", out, re.MULTILINE)


def test_approve_carries_the_held_deletions_out_and_reject_keeps_the_files(
    run: Run, config: Path, provider: Simulator
) -> None:
    run("--config", config, "sync")
    account = provider.accounts["sk-big-account-key"]
    account.delete(200)
    assert run("--config", config, "sync")[0] == 1
    assert run("--config", config, "reject", "direct") == (0, "direct: 200 files kept\n", "")
    assert answer(run, config, "select count(*) as files from files where credential = 'direct'") == [{"files": 300}]
    run("--config", config, "sync")
    assert run("--config", config, "approve", "direct") == (0, "direct: 200 deletions carried out\n", "")
    left = answer(run, config, "select file_id from files where credential = 'direct' order by all")
    assert [row["file_id"] for row in left] == sorted(account.files)
    assert run("--config", config, "status")[0] == 0
    assert run("--config", config, "sync")[0] == 0
    assert run("--config", config, "approve", "direct") == (
        1,
        "",
        "no deletions of direct are held; see: file-inventory status\n",
    )


def test_changes_are_shown_by_time_kind_and_credential(run: Run, config: Path, provider: Simulator) -> None:
    run("--config", config, "sync")
    account = provider.accounts["sk-big-account-key"]
    [created], [deleted] = account.add(1), account.delete(1)
    run("--config", config, "sync")
    told = [json.loads(line) for line in run("-c", config, "changes", "--format", "ndjson")[1].splitlines()]
    assert sorted((row["change"], row["file_id"]) for row in told) == [("created", created), ("deleted", deleted)]
    options = ("--credential", "direct", "--change", "deleted", "--since", "2020-01-01", "--format", "csv")
    _, out, _ = run("--config", config, "changes", *options)
    assert [line.split(",")[5] for line in out.splitlines()] == ["file_id", deleted]
    baseline = run("--config", config, "changes", "--change", "baseline", "--format", "ndjson")[1]
    assert len(baseline.splitlines()) == 340
    assert run("--config", config, "changes", "--credential", "dirct") == (
        2,
        "",
        "the inventory has no credential dirct; did you mean direct?\n",
    )
    assert run("--config", config, "changes", "--since", "yesterday") == (
        2,
        "",
        "yesterday is no time; write how long ago (24h, 7d) or when (2026-11-23)\n",
    )


def test_query_writes_every_format(run: Run, config: Path, tmp_path: Path) -> None:
    run("--config", config, "sync")
    sql = "select credential, count(*) as files, [1, 2] as list, null as nothing from files group by 1 order by 1"
    assert run("--config", config, "query", sql, "--format", "csv")[1] == (
        'credential,files,list,nothing\ndirect,300,"[1, 2]",\nrouted,40,"[1, 2]",\n'
    )
    assert run("--config", config, "query", sql)[1].split() == (
        ["credential", "files", "list", "nothing", "direct", "300", "[1,", "2]", "routed", "40", "[1,", "2]"]
    )
    expected = [
        {"credential": "direct", "files": 300, "list": [1, 2], "nothing": None},
        {"credential": "routed", "files": 40, "list": [1, 2], "nothing": None},
    ]
    assert answer(run, config, sql) == expected
    parquet, arrow = tmp_path / "x.parquet", tmp_path / "x.arrow"
    run("--config", config, "query", sql, "--format", "parquet", "--output", parquet)
    assert pq.read_table(parquet).to_pylist() == expected
    run("--config", config, "query", sql, "--format", "arrow", "--output", arrow)
    with pa.ipc.open_stream(arrow) as stream:
        assert stream.read_all().to_pylist() == expected


@pytest.mark.parametrize(
    "sql",
    [
        "selec 1",
        "select * from nowhere",
        "delete from files",
        "create table x (a int)",
        "set threads = 1",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/hostname')",
        "copy files to 'files.csv'",
        "attach 'other.duckdb'",
        "install httpfs",
        "load httpfs",
    ],
)
def test_query_refuses_what_is_wrong_or_would_do_more_than_read_and_exits_2(
    run: Run, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str
) -> None:
    run("--config", config, "sync")
    monkeypatch.chdir(tmp_path)
    status, out, err = run("--config", config, "query", sql)
    assert (status, out) == (2, "")
    assert "Error: " in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "inventory.yaml"]


def test_query_into_a_place_that_cannot_be_written_exits_2(run: Run, config: Path, tmp_path: Path) -> None:
    run("--config", config, "sync")
    for kind in ("csv", "parquet"):
        target = tmp_path / "nowhere" / "x"
        status, _, err = run("--config", config, "query", "select 1", "--format", kind, "--output", target)
        assert (status, err) == (2, f"{target}: cannot be written: No such file or directory\n")


def test_file_names_cannot_drive_the_terminal(run: Run, config: Path, provider: Simulator) -> None:
    account = provider.accounts["vk-small-account"]
    [key] = account.add(1)
    account.files[key] = account.files[key] | {"filename": "\x1b[2J[bold]x[/bold]\u202ecod.exe"}
    run("--config", config, "sync")
    _, out, _ = run("--config", config, "query", f"select filename from files where file_id = '{key}'")
    assert out.split() == ["filename", r"\x1b[2J[bold]x[/bold]\u202ecod.exe"]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_export_writes_every_table(run: Run, config: Path, tmp_path: Path, kind: str) -> None:
    run("--config", config, "sync")
    status, out, _ = run("--config", config, "export", tmp_path / "out", "--format", kind)
    assert status == 0
    assert [Path(line).name for line in out.splitlines()] == [f"{table}.{kind}" for table in TABLES]
    rows = duckdb.execute(f"select count(*) from '{tmp_path}/out/files.{kind}'").fetchall()
    assert rows == [(340,)]
    blocked = tmp_path / "inventory.yaml" / "out"
    assert run("--config", config, "export", blocked)[0] == 1


def test_init_writes_a_starter_once_and_never_over_an_existing_file(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "inventory.yaml"
    status, out, _ = run("init", path)
    assert status == 0
    assert f"file-inventory --config {path} check" in out
    text = path.read_text()
    assert "credentials:" in text
    path.write_text("mine")
    assert run("init", path) == (2, "", f"{path} exists and is left as it is; name another file\n")
    assert path.read_text() == "mine"
    assert run("--config", tmp_path / "other.yaml", "init")[0] == 0
    assert (tmp_path / "other.yaml").read_text() == text


def test_the_demo_tells_its_story_and_keeps_what_it_is_asked_to(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("demo", "--files", "2000", "--keep", tmp_path / "kept")
    assert status == 0
    assert "complete    6 of 6 complete: 2,000 files, 2,000 baseline" in out
    assert re.search(r"held +legacy: .*\n +80 of 100 files are missing; 80 deletions wait for", out)
    assert "incomplete  legacy" in out
    config = tmp_path / "kept" / "inventory.yaml"
    kinds = answer(run, config, "select distinct change, reason from file_changes order by all nulls first")
    assert [tuple(row.values()) for row in kinds] == [
        ("baseline", None),
        ("created", None),
        ("deleted", "expired"),
        ("deleted", "missing"),
        ("restored", None),
        ("updated", None),
    ]
    assert run("demo", "--keep", tmp_path / "kept")[0] == 2


@pytest.mark.parametrize(
    "command",
    sorted(typer.main.get_command(cli.app).commands),  # type: ignore[attr-defined] # it is a group
)
def test_every_command_has_help(run: Run, command: str) -> None:
    status, out, _ = run(command, "--help")
    assert status == 0
    assert len(out.splitlines()) > 5
