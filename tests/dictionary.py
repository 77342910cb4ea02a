"""What stands in the database about every table, view and column, as the page data/README.md tells it.

Run as a script, it writes the page anew.
"""

import tempfile
from itertools import groupby
from pathlib import Path

import duckdb

from etl.load.store import Store

PAGE = Path(__file__).parents[1] / "data" / "README.md"
START = "<!-- From here on written by: make schema -->\n"

ORDER = """
files unique_files file_changes file_history freshness quota_use credentials runs listings held_deletions
rejected_records rule_results change_totals schema_versions
"""

SQL = """
select
    columns.table_name as name, coalesce(tables.comment, views.comment) as meaning, column_name, data_type,
    columns.comment as about
from duckdb_columns() as columns
left join duckdb_tables() as tables using (database_name, table_name)
left join duckdb_views() as views on views.database_name = columns.database_name
    and views.view_name = columns.table_name
where not columns.internal
order by list_position($order, columns.table_name), column_index
"""


def page() -> str:
    """Return the page as it should be."""
    head, _, _ = PAGE.read_text(encoding="utf-8").partition(START)
    return head + START + "".join(_sections())


def _sections() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "inventory.duckdb"
        with Store(path) as store:
            store.publish()
        with duckdb.connect(path, read_only=True) as connection:
            rows = connection.execute(SQL, {"order": ORDER.split()}).fetchall()
            [(version,)] = connection.execute("select max(version) from schema_versions").fetchall()
            [(macro,)] = connection.execute(
                "select comment from duckdb_functions() where function_name = 'files_as_of'"
            ).fetchall()
    sections = [f"\n## Schema {version}\n"]
    for (name, meaning), columns in groupby(rows, key=lambda row: row[:2]):
        sections.append(f"\n### {name}\n\n{meaning}\n\n| column | type | |\n| --- | --- | --- |\n")
        sections += [f"| {column} | {kind.lower()} | {about} |\n" for _, _, column, kind, about in columns]
        sections += [f"\n`{macro.replace(':', '`:', 1)}\n"] if name == "files" else []
    return sections


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
