"""Make the store of each schema version that has none: the migrations up to it, and the rows of `vN.sql`.

What is there stays as it is: it was written by the version that it stands for.
"""

from contextlib import suppress
from pathlib import Path

import duckdb

from etl.load import store
from etl.load.embedded import Embedded

FOLDER = Path(__file__).parent
SMALLEST_BLOCK = 16384


def make(path: Path, version: int) -> None:
    """Write a store of one version, filled as each version up to it would have."""
    with duckdb.connect() as connection:
        connection.execute(
            f"attach '{path}' as store (storage_version 'v1.4.0', block_size {SMALLEST_BLOCK});"
            " use store; set timezone = 'UTC'"
        )
        connection.begin()
        connection.execute(store._text("schema_versions"))
        for number, name in enumerate(store._migrations()[:version], start=1):
            connection.execute(store._text(name))
            connection.execute("insert into schema_versions values (?, '2026-11-01 00:00:00+00')", [number])
            connection.execute((FOLDER / f"v{number}.sql").read_text())
        connection.commit()
        for comment in connection.extract_statements("".join(map(store._text, Embedded.scripts))):
            with suppress(duckdb.CatalogException, duckdb.BinderException):  # of what a later version added
                connection.execute(comment)


if __name__ == "__main__":
    for version in range(1, len(store._migrations()) + 1):
        path = FOLDER / f"v{version}.duckdb"
        if not path.exists():
            make(path, version)
