"""The recipes for other tools run as they stand in config/recipes, by the tools themselves."""

import csv
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from etl.report.inventory import open_published
from etl.simulator import Account, Simulator

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "config/recipes"
GUIDE = (RECIPES / "README.md").read_text()
STORAGE = "select purpose, count(*) as files, sum(bytes)::bigint as bytes from files group by all order by all"
QUIET = {
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "SCARF_ANALYTICS": "false",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "NO_PROXY": "*",
}
"""No tool tells anybody that it was used."""

CONFIG = """
store: {folder}/data/inventory.duckdb
http: {{attempts: 1}}
credentials:
  - {{name: acme, type: openai, base_url: "{url}", api_key: "${{ACME_KEY}}"}}
  - {{name: other, type: openai, base_url: "{url}", api_key: "${{OTHER_KEY}}"}}
"""

Rows = list[tuple[Any, ...]]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def in_environment(name: str) -> pytest.MarkDecorator:
    """Mark a test that needs one of the environments which `make test` builds."""
    reason = f"the environment .{name} is missing: run make test"
    return pytest.mark.skipif(not (ROOT / f".{name}/.ready").exists(), reason=reason)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def table(text: str) -> list[tuple[str, ...]]:
    """Read CSV, the header first."""
    return [tuple(row) for row in csv.reader(StringIO(text))]


def told(rows: Rows) -> list[tuple[str, ...]]:
    """Write values as CSV does."""
    return sorted(tuple("" if value is None else str(value) for value in row) for row in rows)


@pytest.fixture
def workplace(story: Any, tmp_path: Path) -> Iterator[Path]:
    """A folder with a copy of a published inventory in `data`; others read it, so it opens only read-only."""
    (tmp_path / "data").mkdir()
    store = shutil.copy(story.config.store, tmp_path / "data/inventory.duckdb")
    with open_published(store):
        yield tmp_path


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the import path with the product, as pip installs it."""
    folder = tmp_path_factory.mktemp("product")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=60)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command in the test's folder, in one of the environments."""

    def run(environment: str, command: list[str], **variables: str) -> "subprocess.CompletedProcess[str]":
        path = f"{ROOT}/.{environment}/bin:/usr/bin:/bin"
        env = {"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8", **QUIET, **variables}
        command = ["/usr/bin/env", *command]  # which finds it in the path of the environment
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)

    return run


def succeeded(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(store: Path, sql: str) -> Rows:
    with open_published(store) as inventory:
        return [tuple(row.values()) for row in inventory.query(sql).read_all().to_pylist()]


# The guide


def test_the_guide_names_every_file_and_every_environment_is_pinned() -> None:
    there = {path.name for path in RECIPES.rglob("*") if path.is_file()} - {"README.md", "dbt_project.yml"}
    assert {name for name in there if f"/{name})" not in GUIDE and f"({name})" not in GUIDE} == set()
    wanted, pinned = ({path.stem for path in (ROOT / "tests").glob(f"recipes*.{kind}")} for kind in ("in", "txt"))
    assert wanted == pinned


def test_every_example_of_the_guide_is_run() -> None:
    """Whoever adds one adds its test, and counts it here."""
    found = re.findall(r"^```(\w+)$", GUIDE, re.MULTILINE)
    assert found == ["sh", "python", "python", "sh", "text", "python", "json"]


def test_a_process_sees_news_once_it_has_closed_all_its_connections(story: Any) -> None:
    store = str(story.config.store)
    runs = "select count(*) from runs"
    with duckdb.connect(store, read_only=True) as before:
        [(count,)] = before.sql(runs).fetchall()
        story.sync()
        with duckdb.connect(store, read_only=True) as beside:
            assert beside.sql(runs).fetchall() == before.sql(runs).fetchall() == [(count,)]
    with duckdb.connect(store, read_only=True) as after:
        assert after.sql(runs).fetchall() == [(count + 1,)]


# Readers


@in_environment("recipes")
def test_duckdb_on_the_command_line(workplace: Path, run: Run) -> None:
    storage, freshness = blocks("sh")[0].splitlines()
    shown = succeeded(run("recipes", ["bash", "-c", storage]))
    for purpose, files, _ in ask(workplace / "data/inventory.duckdb", STORAGE):
        assert re.search(rf"│ {purpose} +│ +{files} │", shown)
    header, *rows = table(succeeded(run("recipes", ["bash", "-c", freshness])))
    assert header == ("credential", "as_of", "verdict", "stale")
    fresh = ask(workplace / "data/inventory.duckdb", "select credential, verdict, stale from freshness order by all")
    assert [(name, verdict, stale == "true") for name, _, verdict, stale in rows] == fresh
    write = run("recipes", ["bash", "-c", re.sub('".*"', '"delete from files"', freshness)])
    assert write.returncode != 0
    assert "read-only" in write.stderr


@in_environment("recipes")
@pytest.mark.parametrize(
    ("number", "written"),
    [(0, "storage.to_csv(index=False)"), (1, "storage.write_csv()")],
    ids=["pandas", "polars"],
)
def test_python(workplace: Path, run: Run, number: int, written: str) -> None:
    code = f"{blocks('python')[number]}\nprint({written}, end='')"
    header, *rows = table(succeeded(run("recipes", ["python", "-W", "error", "-c", code])))
    assert header == ("purpose", "files", "bytes")
    assert sorted(rows) == told(ask(workplace / "data/inventory.duckdb", STORAGE))


KERNEL = """
import sys, nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
again = nbformat.v4.new_code_cell("print(len(ask('from files')), changes.files.sum())")
notebook.cells.append(again)
nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": "."}}).execute()
nbformat.write(notebook, sys.stdout)
"""


@in_environment("recipes")
def test_jupyter(workplace: Path, run: Run) -> None:
    done = run("recipes", ["python", "-c", KERNEL, str(RECIPES / "inventory.ipynb")])
    *_, freshness, changes, again = json.loads(succeeded(done))["cells"]
    store = workplace / "data/inventory.duckdb"
    counts = ask(store, "select (select count(*) from files), (select count(*) from file_changes)")
    assert told(counts) == [tuple("".join(again["outputs"][0]["text"]).split())]
    for cell, sql in [(freshness, "select credential from freshness"), (changes, "select change from file_changes")]:
        shown = "".join(cell["outputs"][0]["data"]["text/html"])
        assert {name for (name,) in ask(store, sql)} <= set(re.findall(r"<t[dh]>(.*?)</t[dh]>", shown))


@in_environment("recipes")
def test_dbt(workplace: Path, run: Run, story: Any) -> None:
    shutil.copytree(RECIPES / "dbt", workplace / "dbt")
    store = workplace / "data/inventory.duckdb"
    assert "ERROR=0 SKIP=0" in succeeded(run("recipes", ["bash", "-c", blocks("sh")[1]]))
    with duckdb.connect(str(workplace / "warehouse.duckdb"), read_only=True) as warehouse:
        built = warehouse.sql("select team, purpose, files, bytes from storage").fetchall()
    expected = """
        select labels->>'team', purpose, count(*), sum(bytes)::bigint
        from files join credentials on name = credential where active group by all
    """
    assert told(built) == told(ask(store, expected))
    assert store.read_bytes() == story.config.store.read_bytes()


COLUMNS = """
import json
from sqlalchemy import inspect
inspector = inspect(engine)
tables = inspector.get_table_names() + inspector.get_view_names()
columns = {table: [column["name"] for column in inspector.get_columns(table)] for table in tables}
try:
    with engine.connect() as connection:
        connection.execute(text("delete from files"))
    refused = ""
except Exception as error:
    refused = str(error)
print(json.dumps([stale, columns, refused]))
"""


@in_environment("recipes-superset")
def test_sqlalchemy_with_what_superset_brings(workplace: Path, run: Run) -> None:
    code = blocks("python")[2]
    [address] = re.findall(r'"(duckdb://.*?)"', code)
    assert blocks("text") == [address.replace("data/", "/srv/file-inventory/") + "\n"]
    stale, columns, refused = json.loads(succeeded(run("recipes-superset", ["python", "-c", code + COLUMNS])))
    store = workplace / "data/inventory.duckdb"
    assert stale == [name for (name,) in ask(store, "select credential from freshness where stale order by all")]
    assert stale
    assert set(columns) >= {"credentials", "files", "file_changes", "file_history", "freshness", "unique_files"}
    assert columns["files"] == [name for name, *_ in ask(store, "describe files")]
    assert "read-only" in refused


# Writers


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Simulator]:
    """Two accounts, and a configuration that names them."""
    with Simulator({"sk-acme": Account(30, seed=1), "sk-other": Account(20, seed=2)}) as simulator:
        (tmp_path / "inventory.yaml").write_text(CONFIG.format(folder=tmp_path, url=simulator.url))
        yield simulator


@pytest.fixture
def variables(provider: Simulator, tmp_path: Path, product: Path) -> dict[str, str]:
    """What a task finds in its environment."""
    assert provider.accounts
    config = str(tmp_path / "inventory.yaml")
    return {"FILE_INVENTORY_CONFIG": config, "PYTHONPATH": str(product), "ACME_KEY": "sk-acme"}


def expect_a_partial_run_and_a_complete_one(store: Path, provider: Simulator) -> None:
    assert ask(store, 'select status, "trigger" from runs order by started_at') == [
        ("partial", "schedule"),
        ("complete", "schedule"),
    ]
    held = {name for (name,) in ask(store, "select file_id from files")}
    assert held == {name for account in provider.accounts.values() for name in account.files}


DAG = """
import os, sys
sys.path.insert(0, "dags")
import dag
for key in ("sk-revoked", "sk-other"):
    os.environ["OTHER_KEY"] = key
    print("the DAG run is", dag.inventory.test().state)
"""


@in_environment("recipes-airflow")
def test_an_airflow_task_fails_unless_the_run_is_complete(
    provider: Simulator, variables: dict[str, str], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "dags").mkdir()
    shutil.copy(RECIPES / "dag.py", tmp_path / "dags")
    settings = {"AIRFLOW_HOME": str(tmp_path / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags")}
    variables |= settings | {"AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    succeeded(run("recipes-airflow", ["airflow", "db", "migrate"], **variables))
    said = succeeded(run("recipes-airflow", ["python", "-c", DAG], **variables))
    assert re.findall(r"^the DAG run is (\w+)$", said, re.MULTILINE) == ["failed", "success"]
    assert "the run is partial: other: failed, " in said
    assert "sk-revoked" not in said
    expect_a_partial_run_and_a_complete_one(tmp_path / "data/inventory.duckdb", provider)


ASSET = """
import json, os, sys
import dagster
sys.path.insert(0, sys.argv[1])
import assets
dagster.Definitions.validate_loadable(assets.defs)
for key in ("sk-revoked", "sk-other"):
    os.environ["OTHER_KEY"] = key
    done = dagster.materialize([assets.file_inventory], raise_on_error=False)
    why = [event.step_failure_data.user_failure_data.description for event in done.get_step_failure_events()]
    made = [one.metadata["records"].value for one in done.asset_materializations_for_node("file_inventory")]
    print(json.dumps([done.success, why, made]))
"""


@in_environment("recipes")
def test_a_dagster_asset_fails_unless_the_run_is_complete(
    provider: Simulator, variables: dict[str, str], run: Run, tmp_path: Path
) -> None:
    done = run("recipes", ["python", "-B", "-c", ASSET, str(RECIPES)], **variables)
    failed, passed = (json.loads(line) for line in succeeded(done).splitlines())
    success, [why], made = failed
    assert (success, made) == (False, [])
    assert why.startswith("the run is partial: other: failed, ")
    assert passed == [True, [], [50]]
    assert "sk-revoked" not in done.stdout + done.stderr
    expect_a_partial_run_and_a_complete_one(tmp_path / "data/inventory.duckdb", provider)


# Grafana


def test_the_request_of_grafana_is_answered(url: str, token: str, accounts: dict[str, Account]) -> None:
    [body] = blocks("json")
    [address] = re.findall(r"POST, `http://127.0.0.1:8080(.*?)`", GUIDE)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    answer = httpx.post(url + address, content=body, headers=headers, trust_env=False, timeout=60)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    header, *rows = table(answer.text)
    assert header == ("purpose", "files", "bytes")
    sizes: dict[str, list[int]] = {}
    for seen, account in zip((2, 1), accounts.values(), strict=True):  # two credentials tell of the first account
        for file in account.files.values():
            sizes.setdefault(file["purpose"], []).extend([file["bytes"]] * seen)
    assert sorted(rows) == told([(purpose, len(known), sum(known)) for purpose, known in sizes.items()])
