"""Cleanup plans: what breaks a rule, as a list to review and a script whose calls are commented out.

Nothing here deletes anything; people do, once they have looked.
"""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from etl.errors import ConfigError
from etl.providers import adapter
from etl.report import Format
from etl.report.inventory import open_published
from etl.report.output import instant, printable, size, text_sink, write
from etl.report.rules import offenders

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from etl.config import Config, Rule
    from etl.providers import Credential

Row = dict[str, Any]

_HEAD = """\
#!/bin/sh
# Cleanup plan of the rule {rule}, made {now} from the inventory: {files:,} files, {bytes}.
# {message}
#
# Nothing happens while the calls are commented out. Review {csv}, uncomment what is to go,
# put the keys into the environment, and run this script.
set -eu
"""

_CREDENTIAL = """
# {name}: {files:,} files, {bytes}; last listed completely {as_of}.
{function}() {{
    {{
{headers}
    }} | curl --request DELETE --header @- --fail-with-body --silent --show-error --output /dev/null "$1"
}}
"""


def plan(config: Config, name: str, folder: Path) -> tuple[int, Path, Path]:
    """Write the plan of a rule: NAME.csv, the files that break it, and NAME.sh, how to delete them.

    Args:
        config: Loaded without secrets: the script refers to them as the configuration does.
        name: The rule; its query must return `credential` and `file_id`.
        folder: Where to write; made if need be.

    Returns:
        How many files it names, and the two files written.

    Raises:
        ConfigError: There is no such rule, it names no files, or the folder cannot be written to.
        QueryError: Its query fails.
        StoreError: Nothing is published.
    """
    rule = config.rule(name)
    with open_published(config.store, memory_limit=config.serve.query_memory) as inventory:
        found = offenders(inventory, rule, config)
        if missing := {"credential", "file_id"} - set(found.column_names):
            raise ConfigError(f"rule {name} names no files: its query must return {' and '.join(sorted(missing))} too")
        inventory.connection.register("offenders", found.select(["credential", "file_id"]))
        planned = inventory.ask("plan").read_all()
    listed, script = folder / f"{name}.csv", folder / f"{name}.sh"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written to: {error.strerror}") from None
    write(planned.to_reader(), Format.CSV, listed)
    with text_sink(script) as sink:
        sink.writelines(_script(config, rule, planned.to_pylist(), listed.name))
    return len(planned), listed, script


def _script(config: Config, rule: Rule, rows: list[Row], csv: str) -> Iterator[str]:
    yield _HEAD.format(
        rule=rule.name,
        now=instant(datetime.now(UTC)),
        files=len(rows),
        bytes=_sum(rows),
        message=printable(rule.message),
        csv=csv,
    )
    for number, (name, found) in enumerate(groupby(rows, itemgetter("credential")), start=1):
        files = list(found)
        credential = config.credential(name)
        yield _CREDENTIAL.format(
            name=name,
            files=len(files),
            bytes=_sum(files),
            as_of=instant(files[0]["as_of"]) or "never",
            function=f"delete_{number}",
            headers="\n".join(f"        printf '%s\\n' {_quoted(line)}" for line in _headers(credential)),
        )
        for row in files:
            yield f"# delete_{number} {shlex.quote(_url(credential, row['file_id']))}  # {_told(row)}\n"


def _headers(credential: Credential) -> Iterator[str]:
    own = {name: value.get_secret_value() for name, value in credential.headers.items()}
    for name, value in (adapter(credential).headers(credential) | own).items():
        yield f"{name}: {value}"


def _url(credential: Credential, file_id: str) -> str:
    return f"{credential.base_url}/{adapter(credential).place(credential, file_id)}"


def _told(row: Row) -> str:
    told = (size(row["bytes"]) or "size unknown", instant(row["created_at"]), row["purpose"], row["filename"])
    return ", ".join(printable(part) for part in told if part)


def _sum(rows: list[Row]) -> str:
    unknown = sum(row["bytes"] is None for row in rows)
    told = size(sum(row["bytes"] or 0 for row in rows))
    return f"{told} and {unknown:,} of unknown size" if unknown else told


def _quoted(text: str) -> str:
    """Quote text for a shell, but for the references in it: these the shell replaces by what they name."""
    literal = re.sub(r'([\\"`$])', r"\\\1", text)
    literal = re.sub(r"\\(\$\{[A-Za-z_][A-Za-z0-9_]*\})", r"\1", literal)
    return '"' + re.sub(r"(?<!\w)file:([^\"\\]+)", lambda match: f"$(cat {shlex.quote(match[1])})", literal) + '"'
