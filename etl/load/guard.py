"""Which SQL may be asked of a lake.

A connection to a lake can reach its files and its catalogue, so what may be asked is decided before it is run: one
`select` over the tables and views of the inventory, and functions that only compute.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from etl.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

_FUNCTIONS = {
    "files_as_of",
    "range",
    "generate_series",
    "unnest",
    "json_each",
    "json_tree",
    "repeat",
    "duckdb_tables",
    "duckdb_views",
    "duckdb_columns",
}
"""Functions that may stand where a table stands."""

_SHOWN = {"", '"tables"', '"databases"', "__show_tables_expanded"}
"""What may be shown by name; nothing named is a description of a select."""

_NAME = re.compile(r"\w+")
"""No name of a file."""

_QUALIFIERS = {"", "main", "temp", "inventory"}


class Guard:
    """Refuses, by raising QueryError, SQL that does more than look at the inventory behind a connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        rows = connection.execute(_text("shown_names")).fetchall()
        self._names = {name.lower() for (name,) in rows}

    def __call__(self, sql: str) -> None:
        """Refuse SQL, or do nothing."""
        nodes = list(_nodes(self._parsed(sql)))
        named = {entry["key"].lower() for node in nodes if "cte_map" in node for entry in node["cte_map"]["map"]}
        for node in nodes:
            match node.get("type"):
                case "BASE_TABLE" if not _shows(node, self._names | set(filter(_NAME.fullmatch, named))):
                    raise QueryError(f"{node['table_name']} is no table or view of the inventory")
                case "TABLE_FUNCTION" if (name := node["function"]["function_name"].lower()) not in _FUNCTIONS:
                    raise QueryError(f"{name} cannot be used here: what is asked of a lake is select over its tables")
                case "SHOW_REF" if node["table_name"] not in _SHOWN:
                    raise QueryError("only tables and selects can be described here")

    def _parsed(self, sql: str) -> Any:
        [(told,)] = self._connection.execute("select json_serialize_sql($1)", [sql]).fetchall()
        parsed = json.loads(told)
        if parsed["error"] and parsed["error_type"] == "parser":
            raise QueryError(f"Parser Error: {parsed['error_message']}")
        if parsed["error"]:
            raise QueryError("only select can be asked of the inventory in a lake, and no pivot")
        return parsed


def _shows(node: dict[str, Any], known: set[str]) -> bool:
    qualifiers = {node["catalog_name"].lower(), node["schema_name"].lower()}
    if node["schema_name"].lower() == "information_schema":
        return node["catalog_name"].lower() in {"", "system"}
    return qualifiers <= _QUALIFIERS and node["table_name"].lower() in known


def _nodes(parsed: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a parsed statement, however deep."""
    waiting = [parsed]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _text(name: str) -> str:
    return resources.files("etl.load").joinpath("sql", f"{name}.sql").read_text()
