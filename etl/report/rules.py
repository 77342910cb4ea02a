"""The operator's own checks: every row that the query of a rule returns is an offender."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from etl.errors import QueryError, StoreError, redact
from etl.load.store import RuleResult
from etl.report.inventory import open_published

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from etl.config import Config, Rule
    from etl.places import Place
    from etl.report.inventory import Inventory

EXAMPLES = 3
"""Offenders that are named."""

_LONGEST = 200
"""Characters of an example, or of what DuckDB says."""

_GLANCE = 0.05
"""Seconds between two looks whether to end; an interrupt that meets DuckDB between two statements is lost."""


def check(path: Place, config: Config, stop: Event | None = None) -> list[RuleResult]:
    """Check every rule on a database; what is wrong with one rule stops no other.

    Args:
        path: The published database, or the writer's while it is closed.
        config: Its rules, and the time and memory that each may take.
        stop: Once set, what is still to be checked counts as not checkable, at once.

    Raises:
        StoreError: There is no such database.
    """
    if not config.rules:
        return []
    with open_published(path, memory_limit=config.serve.query_memory, threads=2, temp_directory="") as inventory:
        return [_check(inventory, rule, config, stop or Event()) for rule in config.rules]


def offenders(inventory: Inventory, rule: Rule, config: Config) -> pa.Table:
    """Return all that a rule finds; raise QueryError where it cannot be checked."""
    try:
        with _ended_after(inventory, config.serve.query_timeout, Event()):
            return inventory.query(rule.query).read_all()
    except QueryError as error:
        raise QueryError(f"rule {rule.name} cannot be checked: {_cause(error, config)}") from None


def _check(inventory: Inventory, rule: Rule, config: Config, stop: Event) -> RuleResult:
    try:
        with _ended_after(inventory, config.serve.query_timeout, stop):
            offenders, examples = _counted(inventory.query(rule.query))
    except (QueryError, StoreError) as error:
        return RuleResult(rule.name, rule.severity, rule.message, None, (), _cause(error, config))
    named = tuple(redact(_example(row), config.secrets())[:_LONGEST] for row in examples)
    return RuleResult(rule.name, rule.severity, rule.message, offenders, named)


def _counted(batches: Iterable[pa.RecordBatch]) -> tuple[int, list[dict[str, Any]]]:
    count = 0
    first: list[dict[str, Any]] = []
    for batch in batches:
        count += len(batch)
        first += batch.slice(0, EXAMPLES - len(first)).to_pylist()
    return count, first


def _example(row: dict[str, Any]) -> str:
    return ", ".join(f"{name}={'unknown' if value is None else value}" for name, value in row.items())


def _cause(error: Exception, config: Config) -> str:
    """Say in one line what DuckDB says."""
    if "INTERRUPT Error" in str(error):
        return f"its query took longer than {config.serve.query_timeout:g} s"
    return redact(str(error).splitlines()[0], config.secrets())[:_LONGEST]


@contextmanager
def _ended_after(inventory: Inventory, seconds: float, stop: Event) -> Iterator[None]:
    done = Event()
    watch = Thread(target=_end, args=(inventory, monotonic() + seconds, stop, done), name="rule watcher", daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _end(inventory: Inventory, deadline: float, stop: Event, done: Event) -> None:
    while not done.wait(_GLANCE):
        if stop.is_set() or monotonic() > deadline:
            inventory.connection.interrupt()
