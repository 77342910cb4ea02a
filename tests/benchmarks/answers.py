"""Measure every question that pages and reports ask, on 1,000,000 files and 5,000,000 changes of 90 days.

The store is made by SQL, not by runs; twenty credentials, two of which see much of the same. Each question is asked
five times of one published copy; the best counts, since machines are noisy. Figures go to `results/answers.json`.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl.load.store import Store
from etl.report import figures
from etl.report.inventory import Inventory, Published, open_published
from etl.report.report import report

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = Path(__file__).with_name("results") / "answers.json"
TIMES = 5
LIMIT, LIMIT_AS_OF = 200, 1000
"""Milliseconds that a question should take at most."""

STORE = """
insert into credentials by name
select
    'cred-' || i as name, 'openai' as type, if(i % 5 = 0, 'azure-openai', 'openai') as provider,
    'https://api.openai.com/v1' as base_url, true as active, 86400.0 as stale_after,
    json_object('team', 'team-' || i % 4, 'env', if(i % 2 = 0, 'prod', 'dev')) as labels,
    now() as last_attempt_at, now() as last_complete_at, 2500000000000 as quota_bytes
from range(20) as credentials (i);

insert into runs
select 'run-' || lpad(i::varchar, 5, '0'), 'schedule', now() - to_hours(2161 - i::int), now() - to_hours(2161 - i::int)
    + interval 1 minute, 'complete', '{}'
from range(2161) as hours (i);

insert into listings by name
select
    run_id, 'cred-' || i as credential, 'complete' as status, started_at,
    if(run_id = 'run-02160', (select max(last_attempt_at) from credentials), finished_at) as finished_at,
    * exclude (run_id, started_at, finished_at, trigger, status, totals, i), '{}' as scope
from runs
cross join range(20) as credentials (i)
cross join (
    select 5 as pages, 5 as requests, 0 as retries, 9000 as bytes_received, 50000 as records, 0 as baseline,
        0 as created, 0 as updated, 0 as deleted, 0 as restored, 50000 as unchanged, 0 as held, 0 as rejected
);

create temp table made as
select i, i % 20 as c, hash(i) as h, if(i < 0.4 * $ever, 0, 1 + (hash(i) % 2158)::int) as began
from range($ever::bigint) as files (i);

create temp table events as
select i, c, h, began as hour, if(began = 0, 'baseline', 'created') as change, 0 as nth from made
union all
select i, c, h, least(2159, began + 1 + (hash(i, n) % greatest(1, 2158 - began))::int), 'updated', n
from made, range(1, 3) as updates (n)
union all
select i, c, h, least(2159, began + 1 + greatest(
    hash(i, 1) % greatest(1, 2158 - began), hash(i, 2) % greatest(1, 2158 - began)
)::int), 'deleted', 9
from made
where i % 3 = 2;

insert into file_changes by name
select
    row_number() over (order by hour, i, nth) as change_id, 'run-' || lpad(hour::varchar, 5, '0') as run_id,
    now() - to_hours(2161 - hour::int) + interval 1 minute as observed_at, 'cred-' || c as credential,
    if(c in (1, 2) and i // 20 % 10 < 3, 'file-shared-' || i // 20, 'file-' || md5(i::varchar)[:24]) as file_id,
    change, if(change = 'deleted', 'missing', null) as reason, if(change = 'updated', ['status'], null)
    as changed_fields, if(c % 5 = 0, 'azure-openai', 'openai') as provider,
    'dataset-' || h % 400000 || '.jsonl' as filename, if(h % 50 = 0, null, (h % 50000000)::bigint) as bytes,
    ['batch', 'batch_output', 'fine-tune', 'assistants', 'user_data'][1 + (h % 5)::int] as purpose,
    if(nth = 0, 'uploaded', 'processed') as status, now() - to_hours(2160 - began + (h % 1000)::int) as created_at,
    if(h % 3 = 0, now() + to_hours((h % 2000)::int - 10), null) as expires_at
from events
join made using (i, c, h);

insert into change_totals
select
    run_id, observed_at, credential, change, reason, count(*),
    sum(case change when 'updated' then 0 when 'deleted' then -1 else 1 end),
    sum(case change when 'updated' then 0 when 'deleted' then -coalesce(bytes, 0) else coalesce(bytes, 0) end)
from file_changes
group by all
order by observed_at;

insert into files
select
    credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at,
    extra, first_seen_at, changed_at
from files_as_of(now());
"""
"""Two of three files that ever were are there now; each was updated twice."""


def main() -> None:
    """Make a store, ask it everything, print a table, keep the figures; fail where a question takes too long."""
    ever = int(sys.argv[1]) if sys.argv[1:] else 1_500_000
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inventory.duckdb"
        make(path, ever)
        rows = [*questions(path), *times_past(path)]
    for row in rows:
        over = "" if row["within"] else f"over {row['limit']}"
        print(f"{row['question']:<24}  {row['milliseconds']:>7.1f} ms  {over}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"files_ever": ever, "rows": rows}, indent=1) + "\n")
    sys.exit(int(not all(row["within"] for row in rows)))


def make(path: Path, ever: int) -> None:
    """Publish an inventory of so many files that ever were."""
    with Store(path) as store:
        connection = store._connection
        for statement in connection.extract_statements(STORE):
            connection.execute(statement, dict.fromkeys(statement.named_parameters, ever))
        [counts] = connection.execute(
            "select (select count(*) from files), (select count(*) from file_changes)"
        ).fetchall()
        store.publish()
    print("{:,} files, {:,} changes".format(*counts))


def questions(path: Path) -> list[dict[str, Any]]:
    """Ask what the dashboard, the pages and the reports ask."""
    now = datetime.now(UTC)
    since = now - timedelta(days=7)
    text = {"credential": None, "change": None, "since": None, "before": None, "limit": 50}
    page = {"credential": "cred-3", "limit": 100, "offset": 0}
    asked: dict[str, dict[str, Any]] = {
        "totals": {},
        "storage": {},
        "status": {},
        "recent_listings": {"listings": 30},
        "held": {"preview": 20},
        "expiring": {"now": now, "until": now + timedelta(days=7), "limit": 10},
        "largest": {"limit": 10},
        "oldest": {"limit": 10},
        "duplicates": {"limit": 10},
        "changed": {"since": since},
        "overlaps": {},
        "quotas": {},
        "rules": {},
        "observed": {},
        "history": {"width": figures.STEPS["day"] // timedelta(microseconds=1)},
        "notable": {"since": since, "limit": 15},
        "conditions": {"expiring_within": 604800.0},
        "metrics_credentials": {},
        "metrics_totals": {},
        "runs": {"before": None, "limit": 50},
        "latest_changes": text | {"text": None},
        "latest_changes text": text | {"text": "dataset-39"},
        "files_of": page | {"text": None},
        "files_of text": page | {"text": "data"},
        "file_versions": {"credential": "cred-3", "file_id": "file-none"},
    }
    with Published(path).open() as inventory:
        rows = [_timed("shared files", lambda: _share(inventory))]
        rows += [_timed(name, _asking(inventory, name, params)) for name, params in asked.items()]
    return rows


def times_past(path: Path) -> list[dict[str, Any]]:
    """Ask for files as of a time, and for a whole report, which compares with one."""
    sql = "select count(*), sum(bytes), max(filename), max(purpose) from files_as_of(now() - interval 20 day)"

    def whole() -> None:
        with open_published(path) as inventory:
            report(inventory, datetime.now(UTC) - timedelta(days=7))

    with open_published(path) as inventory:
        rows = [_timed("files_as_of", lambda: inventory.query(sql).read_all(), LIMIT_AS_OF)]
    return [*rows, _timed("a whole report", whole, 3 * LIMIT_AS_OF)]


def _share(inventory: Inventory) -> None:
    inventory.make("shown_now")
    inventory.make("current_files")


def _asking(inventory: Inventory, name: str, params: dict[str, Any]) -> Callable[[], Any]:
    return lambda: inventory.ask(name.split(maxsplit=1)[0], **params).read_all()


def _timed(question: str, ask: Callable[[], Any], limit: int = LIMIT) -> dict[str, Any]:
    best = float("inf")
    for _ in range(TIMES):
        start = time.perf_counter()
        ask()
        best = min(best, (time.perf_counter() - start) * 1000)
    return {"question": question, "milliseconds": best, "limit": limit, "within": best <= limit}


if __name__ == "__main__":
    main()
