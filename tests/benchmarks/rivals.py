"""What other tools take for the same pages: each in whole processes, run twice over one database."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from provider import KEY

PYTHON = Path(__file__).parents[2] / ".peers/bin/python"
"""Their environment; `make test` makes it."""

FETCH = """
import sys, time
import orjson, requests

def pages(url, key):
    session, params = requests.Session(), {"limit": 10_000, "order": "asc"}
    session.headers["authorization"] = f"Bearer {key}"
    while True:
        body = session.get(f"{url}/files", params=params).content
        page = orjson.loads(body)
        yield body, page["data"]
        if not page["has_more"]:
            return
        params["after"] = page["last_id"]
"""

REST_API = """
import sys
import dlt
from dlt.sources.rest_api import rest_api_source
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator

url, key, folder = sys.argv[1:]
pipeline = dlt.pipeline("peer", pipelines_dir=f"{folder}/pipelines", dataset_name="peer",
    destination=dlt.destinations.duckdb(f"{folder}/dlt.duckdb"))
paginator = JSONResponseCursorPaginator(cursor_path="last_id", cursor_param="after", has_more_path="has_more")
pipeline.run(rest_api_source({
    "client": {"base_url": url, "auth": {"type": "bearer", "token": key}, "paginator": paginator},
    "resources": [{
        "name": "files", "primary_key": "id", "write_disposition": {"disposition": "merge", "strategy": "scd2"},
        "endpoint": {"path": "files", "params": {"limit": 10_000, "order": "asc"}, "data_selector": "data"},
    }],
}), loader_file_format="parquet")
"""

ARROW = (
    FETCH
    + """
import dlt, pyarrow as pa

url, key, folder = sys.argv[1:]
schema = pa.schema([("id", pa.string()), ("filename", pa.string()), ("bytes", pa.int64()), ("purpose", pa.string()),
    ("status", pa.string()), ("created_at", pa.int64()), ("expires_at", pa.int64())])

@dlt.resource(name="files", primary_key="id", write_disposition={"disposition": "merge", "strategy": "upsert"})
def files():
    for _, records in pages(url, key):
        yield pa.Table.from_pylist(records, schema)

dlt.pipeline("peer", pipelines_dir=f"{folder}/pipelines", dataset_name="peer",
    destination=dlt.destinations.duckdb(f"{folder}/dlt.duckdb")).run(files(), loader_file_format="parquet")
"""
)

SCRIPT = (
    FETCH
    + """
import duckdb

url, key, folder = sys.argv[1:]
with open(f"{folder}/pages.ndjson", "wb") as file:
    for body, _ in pages(url, key):
        file.write(body + b"\\n")
columns = "id, filename, bytes, purpose, status, status_details, created_at, expires_at"
with duckdb.connect(f"{folder}/files.duckdb") as connection:
    connection.execute(f'''
        create temp table listed as
        select unnest(data, recursive := true) from read_json('{folder}/pages.ndjson', format = 'newline_delimited',
            maximum_object_size = 100000000, columns = {{data: 'STRUCT(id VARCHAR, filename VARCHAR, bytes BIGINT,
            purpose VARCHAR, status VARCHAR, status_details VARCHAR, created_at BIGINT, expires_at BIGINT)[]'}});
        create table if not exists files as select *, now() as valid_from, null::timestamptz as valid_to
        from listed limit 0;
        create temp table current as select {columns} from files where valid_to is null;
        create temp table fresh as select {columns} from listed except select {columns} from current;
        update files set valid_to = now() where valid_to is null
            and (id in (select id from fresh) or id not in (select id from listed));
        insert into files select *, now(), null from fresh;
    ''')
"""
)

SNAPSHOT = (
    FETCH
    + """
import json
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from dbt.cli.main import dbtRunner

url, key, folder = sys.argv[1:]
schema = pa.schema([("id", pa.string()), ("filename", pa.string()), ("bytes", pa.int64()), ("purpose", pa.string()),
    ("status", pa.string()), ("created_at", pa.int64()), ("expires_at", pa.int64())])
pq.write_table(pa.concat_tables(pa.Table.from_pylist(records, schema) for _, records in pages(url, key)),
    f"{folder}/listed.parquet")
here = Path(folder)
(here / "snapshots").mkdir(exist_ok=True)
(here / "dbt_project.yml").write_text("{name: peer, profile: peer, snapshot-paths: [snapshots]}")
output = f"{{type: duckdb, path: {folder}/dbt.duckdb}}"
(here / "profiles.yml").write_text(f"peer: {{target: dev, outputs: {{dev: {output}}}}}")
(here / "snapshots/history.sql").write_text("{% snapshot history %}{{ config(unique_key='id', strategy='check',"
    " check_cols='all', hard_deletes='invalidate') }} select * from read_parquet('" + folder + "/listed.parquet')"
    "{% endsnapshot %}")
done = dbtRunner().invoke(["--quiet", "snapshot", "--project-dir", folder, "--profiles-dir", folder])
assert done.success, done
"""
)

CODE = {
    "dlt rest_api, scd2, parquet": REST_API,
    "dlt with hand-written Arrow, upsert, no history": ARROW,
    "read_json and SQL by hand": SCRIPT,
    "dbt snapshot": SNAPSHOT,
}

RIVALS: dict[str, tuple[float | None, float | None]] = dict.fromkeys(CODE, (None, None)) | {
    "dlt rest_api, scd2, parquet": (6, 12)
}
"""How many times as fast as each we want to be: first load, nothing changed."""


def rival(name: str, url: str) -> list[float] | None:
    """Return the seconds of two runs; None where it is not installed."""
    if not PYTHON.exists():
        return None
    quiet = {"RUNTIME__DLTHUB_TELEMETRY": "false", "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DO_NOT_TRACK": "1"}
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            began = time.perf_counter()
            subprocess.run(
                [str(PYTHON), "-W", "ignore", "-c", CODE[name], url, KEY, folder],
                cwd=folder,
                env=quiet | {"HOME": folder, "PATH": os.environ["PATH"], "NO_PROXY": "*"},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            taken.append(time.perf_counter() - began)
    return taken
