"""Over a healthy history, others keep the same versions as `file_history`: dlt (scd2) and dbt snapshots."""

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import time_machine

from etl.config import Config
from etl.load.store import open_inventory
from etl.simulator import Account, Simulator
from etl.sync import sync

PEERS = Path(__file__).parents[2] / ".peers/bin"
KEY = "sk-for-the-peers"
FIRST = datetime(2026, 11, 1, 12, tzinfo=UTC)
RUNS = 6

pytestmark = pytest.mark.skipif(not (PEERS / "dlt").exists(), reason="dlt and dbt are not in .peers: run make test")

Version = tuple[str, int, int | None]
"""File, run in which this version came, run in which it went; None: it is there."""

DLT = """
import json, sys
from pathlib import Path
import dlt, pyarrow.parquet as pq

folder = Path(sys.argv[1])
pipeline = dlt.pipeline(
    "peer", pipelines_dir=str(folder / "pipelines"), dataset_name="peer",
    destination=dlt.destinations.duckdb(str(folder / "dlt.duckdb")),
)
for number, moment in enumerate(json.loads(sys.argv[2])):
    files = dlt.resource(
        pq.read_table(folder / f"{number}.parquet").to_pylist(), name="files",
        write_disposition={"disposition": "merge", "strategy": "scd2", "boundary_timestamp": moment},
    )
    pipeline.run(files, loader_file_format="parquet")
"""

DBT = """
import json, sys
from pathlib import Path
from dbt.cli.main import dbtRunner

folder = Path(sys.argv[1])
for number, moment in enumerate(json.loads(sys.argv[2])):
    said = json.dumps({"listed": str(folder / f"{number}.parquet"), "moment": moment})
    done = dbtRunner().invoke(["--quiet", "snapshot", "--project-dir", ".", "--profiles-dir", ".", "--vars", said])
    assert done.success, done
"""

PROJECT = {
    "dbt_project.yml": "{name: peer, profile: peer, snapshot-paths: [snapshots], macro-paths: [macros]}",
    "profiles.yml": "peer: {target: dev, outputs: {dev: {type: duckdb, path: dbt.duckdb}}}",
    "macros/time.sql": """
{% macro duckdb__snapshot_get_time() %} '{{ var("moment") }}'::timestamptz::timestamp {% endmacro %}
""",
    "snapshots/history.sql": """
{% snapshot history %}
{{ config(unique_key='file_id', strategy='check', check_cols='all', hard_deletes='invalidate') }}
select * from read_parquet('{{ var("listed") }}')
{% endsnapshot %}
""",
}


def moment(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def happen(account: Account, number: int) -> None:
    """Let files come, change, go and come back, before the run of that number."""
    if number in {1, 3, 4}:
        account.add(3)
    if number in {1, 2, 5}:
        account.change(4)
    if number in {2, 4}:
        account.delete(5)
    if number in {3, 5}:
        account.restore(3)


def listed(account: Account) -> pa.Table:
    """What the provider lists, in columns."""
    columns = ("id", "filename", "bytes", "purpose", "status", "status_details")
    table = pa.table({name: [file[name] for file in account.files.values()] for name in columns})
    return table.cast(table.schema.set(5, pa.field("status_details", pa.string()))).rename_columns(
        ["file_id", *columns[1:]]
    )


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run our own over a history; keep in a folder what the provider listed at each run."""
    folder = tmp_path_factory.mktemp("peers")
    account = Account(60, seed=4)
    with Simulator({KEY: account}, page_limit=25) as simulator:
        credential = {"name": "a", "type": "openai", "base_url": simulator.url, "api_key": KEY}
        config = Config.model_validate({"store": folder / "inventory.duckdb", "credentials": [credential]})
        for number in range(RUNS):
            happen(account, number)
            pq.write_table(listed(account), folder / f"{number}.parquet")
            with time_machine.travel(moment(number)), open_inventory(config) as store:
                assert sync(config, store).status == "complete"
        yield folder


def run(code: str, folder: Path) -> None:
    """Run a peer over the whole history, in a process of its own that tells nobody."""
    moments = json.dumps([moment(number).isoformat() for number in range(RUNS)])
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
    command = [str(PEERS / "python"), "-W", "ignore", "-c", code, str(folder), moments]
    environment = quiet | {"HOME": str(folder), "PATH": os.environ["PATH"], "TZ": "UTC", "NO_PROXY": "*"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def versions(path: Path, table: str, came: str, went: str) -> list[Version]:
    """Ask for every version, with the runs in which it came and went instead of times."""
    with duckdb.connect(str(path), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        sql = f"""
            select file_id, date_diff('day', $first::timestamp, {came}::timestamp),
                date_diff('day', $first::timestamp, {went}::timestamp)
            from {table} order by all
        """
        return connection.execute(sql, {"first": FIRST.replace(tzinfo=None)}).fetchall()


@pytest.fixture(scope="module")
def ours(history: Path) -> list[Version]:
    return versions(history / "inventory.duckdb", "file_history", "valid_from", "valid_to")


def test_the_history_has_every_kind_of_change(ours: list[Version], history: Path) -> None:
    with duckdb.connect(str(history / "inventory.duckdb"), read_only=True) as connection:
        kinds = connection.execute("select change, count(*) from file_changes group by all order by all").fetchall()
    assert [kind for kind, _ in kinds] == ["baseline", "created", "deleted", "restored", "updated"]
    assert {came for _, came, _ in ours} == set(range(RUNS))
    assert sum(went is None for *_, went in ours) == pq.read_metadata(history / f"{RUNS - 1}.parquet").num_rows


def test_dlt_keeps_the_same_versions(ours: list[Version], history: Path) -> None:
    run(DLT, history)
    assert versions(history / "dlt.duckdb", "peer.files", "_dlt_valid_from", "_dlt_valid_to") == ours


def test_dbt_keeps_the_same_versions(ours: list[Version], history: Path) -> None:
    for name, text in PROJECT.items():
        (history / name).parent.mkdir(exist_ok=True)
        (history / name).write_text(text)
    run(DBT, history)
    assert versions(history / "dbt.duckdb", "main.history", "dbt_valid_from", "dbt_valid_to") == ours
