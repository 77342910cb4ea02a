"""The command line. Commands say what is to be done; how is elsewhere, and imported when it is needed."""

# ruff: noqa: PLC0415 - imports wait for the command that needs them, so that --help is quick

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from etl.errors import ConfigError, FileInventoryError, QueryError, StoreBusy
from etl.report import Format, ReportFormat
from etl.transform.words import Change, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

DONE, TROUBLE, USAGE, BUSY = 0, 1, 2, 3
"""Exit statuses."""

app = typer.Typer(
    help="Which files do all our LLM providers hold, since when, how big, and what changed?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class ExportFormat(StrEnum):
    """How tables are exported."""

    PARQUET = "parquet"
    CSV = "csv"


class Severity(StrEnum):
    """How bad it is to break a rule."""

    WARNING = "warning"
    CRITICAL = "critical"


Formatted = Annotated[Format, typer.Option("--format", "-f", help="How to write the result.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write to this file.")]
AsOf = Annotated[str | None, typer.Option(help="As it was known then: how long ago (90m, 7d), or a date or time.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON.")]
Name = Annotated[str, typer.Argument(help="Name of a credential.")]


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Option("--config", "-c", envvar="FILE_INVENTORY_CONFIG", help="The configuration file."),
    ] = Path("config/inventory.yaml"),
) -> None:
    """Take what stands before the command."""
    context.obj = config


@app.command()
def init(
    context: typer.Context,
    path: Annotated[Path | None, typer.Argument(help="Where; else what --config says.")] = None,
) -> None:
    """Write a commented starter configuration, never over an existing file."""
    from etl.config import shipped

    target: Path = path or context.obj
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as starter:
            starter.write(shipped("inventory.yaml").read_text(encoding="utf-8"))
    except FileExistsError:
        raise ConfigError(f"{target} exists and is left as it is; name another file") from None
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written: {error.strerror}") from None
    typer.echo(f"Wrote {target}. Fill in your credentials, then run: file-inventory --config {target} check")


@app.command()
def check(context: typer.Context) -> None:
    """Check the configuration, and ask each credential for one small page."""
    from etl.config import load_config
    from etl.extract.probe import probe

    failed = False
    config = load_config(context.obj)
    for exposed in config.exposed():
        typer.echo(f"warning {exposed}")
    for answer in probe(config):
        failed |= answer.error is not None
        if answer.error:
            typer.echo(f"FAILED  {answer.credential}: {answer.error}")
        elif answer.warning:
            typer.echo(f"warning {answer.credential}: nothing will ever be deleted, as {answer.warning}")
        else:
            typer.echo(f"ok      {answer.credential}")
    raise typer.Exit(TROUBLE if failed else DONE)


@app.command()
def sync(
    context: typer.Context,
    names: Annotated[list[str] | None, typer.Argument(help="Names of credentials; else all.")] = None,
    *,
    as_json: Json = False,
) -> None:
    """List files, log what changed, publish the inventory: one run."""
    import etl
    from etl.config import load_config
    from etl.report.progress import Progress, run_as_json

    config = load_config(context.obj)
    with Progress(len(names or config.credentials), quiet=as_json) as progress:
        try:
            with etl.open_inventory(config) as store:
                run = etl.sync(config, store, names or (), on_outcome=progress.show)
        except StoreBusy as busy:
            from etl import client

            run = client.sync(busy, config, names or ())
            for outcome in run.listings:
                progress.show(outcome)
    if as_json:
        typer.echo(run_as_json(run))
    else:
        progress.total(run)
    raise typer.Exit(DONE if run.status == Verdict.COMPLETE else TROUBLE)


@app.command(context_settings={"ignore_unknown_options": True})  # SQL may begin with a comment: -- why
def query(
    context: typer.Context,
    sql: Annotated[str, typer.Argument(metavar="SQL", help="DuckDB SQL over the published database.")],
    as_of: AsOf = None,
    kind: Formatted = Format.TABLE,
    output: Output = None,
) -> None:
    """Ask the inventory in SQL; it can only read."""
    from etl.config import store_path
    from etl.report.inventory import moment, open_published
    from etl.report.output import write

    with open_published(store_path(context.obj), moment(as_of) if as_of else None) as inventory:
        write(inventory.query(sql), kind, output)


@app.command()
def files(
    context: typer.Context,
    as_of: AsOf = None,
    credential: Annotated[str | None, typer.Option(help="Only this credential.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Only this purpose.")] = None,
    text: Annotated[str | None, typer.Option(help="Only this in the name, or this id.")] = None,
    kind: Formatted = Format.TABLE,
    output: Output = None,
) -> None:
    """List the files that are there, or were there at a time."""
    from etl.config import store_path
    from etl.report.inventory import moment, open_published
    from etl.report.output import write

    with open_published(store_path(context.obj), moment(as_of) if as_of else None) as inventory:
        if credential is not None:
            inventory.expect_credential(credential)
        write(inventory.ask("files", credential=credential, purpose=purpose, text=text), kind, output)


@app.command()
def diff(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="The earlier time: how long ago (24h, 7d), or a date or time.")] = "24h",
    until: Annotated[str | None, typer.Option(help="The later time, in the same way; else now.")] = None,
    credential: Annotated[str | None, typer.Option(help="Only this credential.")] = None,
    kind: Formatted = Format.TABLE,
    output: Output = None,
) -> None:
    """Show what differs between two times, whatever happened between them."""
    from datetime import UTC, datetime

    from etl.config import store_path
    from etl.report.inventory import moment, open_published
    from etl.report.output import write

    later = moment(until) if until else datetime.now(UTC)
    with open_published(store_path(context.obj)) as inventory:
        if credential is not None:
            inventory.expect_credential(credential)
        write(inventory.ask("diff", since=moment(since), until=later, credential=credential), kind, output)


@app.command()
def changes(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="How long ago (90m, 24h, 7d), or a date or time.")] = "24h",
    credential: Annotated[str | None, typer.Option(help="Only this credential.")] = None,
    change: Annotated[Change | None, typer.Option(help="Only this kind; else all but baseline.")] = None,
    kind: Formatted = Format.TABLE,
    output: Output = None,
) -> None:
    """Show the change log."""
    from etl.config import store_path
    from etl.report.inventory import moment, open_published
    from etl.report.output import write

    with open_published(store_path(context.obj)) as inventory:
        if credential is not None:
            inventory.expect_credential(credential)
        write(inventory.ask("changes", since=moment(since), credential=credential, change=change), kind, output)


@app.command()
def status(context: typer.Context, *, as_json: Json = False) -> None:
    """Show each credential: how fresh, how many files, what is held."""
    from etl.config import store_path
    from etl.report.inventory import open_published
    from etl.report.status import show_status

    with open_published(store_path(context.obj)) as inventory:
        well = show_status(inventory, as_json=as_json)
    raise typer.Exit(DONE if well else TROUBLE)


@app.command()
def rules(
    context: typer.Context,
    severity: Annotated[Severity, typer.Option(help="Exit with 1 only for rules of this severity, or a worse one.")] = (
        Severity.WARNING
    ),
    *,
    as_json: Json = False,
) -> None:
    """Check the rules of the configuration, now, on what is published; no secret is needed."""
    from etl.config import load_config
    from etl.report.rules import check
    from etl.report.status import show_rules

    config = load_config(context.obj, secrets=False)
    results = check(config.store, config)
    show_rules(results, as_json=as_json)
    wanted = {Severity.CRITICAL, severity}
    raise typer.Exit(TROUBLE if any(one.state != "kept" and one.severity in wanted for one in results) else DONE)


@app.command()
def plan(
    context: typer.Context,
    rule: Annotated[str, typer.Option(help="Name of a rule whose query returns credential and file_id.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Made if need be.")] = Path(),
) -> None:
    """Write what breaks a rule as a list to review, and a script to delete it whose calls are commented out."""
    from etl.config import load_config
    from etl.report.plan import plan as write_plan

    files, listed, script = write_plan(load_config(context.obj, secrets=False), rule, output)
    typer.echo(f"{files:,} files: review {listed}, then uncomment in {script} what is to go; nothing was deleted")


@app.command()
def approve(context: typer.Context, name: Name) -> None:
    """Carry out the held deletions of a credential."""
    typer.echo(f"{name}: {_decided(context.obj, 'approve', name)} deletions carried out")


@app.command()
def reject(context: typer.Context, name: Name) -> None:
    """Keep the files whose deletions are held; while a listing lacks them, you are asked again."""
    typer.echo(f"{name}: {_decided(context.obj, 'reject', name)} files kept")


def _decided(config: Path, decision: Literal["approve", "reject"], name: str) -> int:
    from etl.config import load_config, store_path
    from etl.load.store import Store

    try:
        with Store(store_path(config)) as store:
            return store.approve(name) if decision == "approve" else store.reject(name)
    except StoreBusy as busy:
        from etl import client

        return client.decide(busy, load_config(config), decision, name)


@app.command()
def upkeep(context: typer.Context) -> None:
    """Keep a lake small and quick: merge small files, remove what no reader needs; a leading service does it itself."""
    from etl.config import store_path
    from etl.load.store import Store

    with Store(store_path(context.obj)) as store:
        store.keep_up()


@app.command()
def migrate(
    context: typer.Context,
    to: Annotated[Path, typer.Option("--to", metavar="CONFIG", help="Configuration that names the new store.")],
) -> None:
    """Move the inventory into another store, from a file into a lake or back, and prove that all of it arrived."""
    from etl.config import store_path
    from etl.load.store import Store

    with Store(store_path(context.obj)) as old, Store(store_path(to)) as new:
        for name, rows in new.take_over(old).items():
            typer.echo(f"{rows:,} rows of {name}")
    typer.echo(f"all of it is in {new.path} now, too; the old store is left as it is")


@app.command()
def report(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="How long ago the period begins (24h, 7d), or a date or time.")] = "7d",
    kind: Annotated[ReportFormat, typer.Option("--format", "-f", help="How to write it.")] = ReportFormat.HTML,
    output: Output = None,
    as_of: AsOf = None,
    *,
    send: Annotated[bool, typer.Option("--send", help="Send it to alerts.to instead, as the service would.")] = False,
) -> None:
    """Write the report of a period: one page that needs nothing else, Markdown for a chat, or JSON."""
    if send:
        from threading import Event

        from etl import alerts
        from etl.config import load_config

        _tell_channels(alerts.send_report(load_config(context.obj), Event()))
    from etl.config import store_path
    from etl.report.inventory import moment, open_published
    from etl.report.output import text_sink
    from etl.report.report import report as ask
    from etl.report.report import written

    until = moment(as_of) if as_of else None
    with open_published(store_path(context.obj), until) as inventory:
        told = ask(inventory, moment(since, until), until)
    with text_sink(output) as sink:
        sink.write(written(told, kind))


@app.command()
def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Made if need be; files in it are replaced.")],
    kind: Annotated[
        ExportFormat, typer.Option("--format", "-f", help="How to write the tables.")
    ] = ExportFormat.PARQUET,
    *,
    partitioned: Annotated[
        bool, typer.Option("--partitioned", help="Files, changes and listings by credential and month, as Hive does.")
    ] = False,
) -> None:
    """Write every table into a folder."""
    from etl.config import store_path
    from etl.report.inventory import export as export_tables

    for path in export_tables(store_path(context.obj), folder, kind, partitioned=partitioned):
        typer.echo(path)


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Listen on this address, over serve.host.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Listen on this port, over serve.port.")] = None,
) -> None:
    """Run the service: sync on schedule, show the inventory, answer questions, tell when something is wrong."""
    from etl import service
    from etl.web.app import create_app

    service.serve(service.loading(context.obj, host, port), create_app)


@app.command()
def discover(context: typer.Context) -> None:
    """Compare the providers and virtual keys that Portkey knows with the configuration."""
    from etl.config import load_config
    from etl.extract.discovery import discover as compare

    gaps = False
    for finding in compare(load_config(context.obj)):
        gaps |= finding.is_gap
        typer.echo(f"{finding.state:<10} {finding.text}")
    raise typer.Exit(TROUBLE if gaps else DONE)


@app.command()
def test_alerts(context: typer.Context) -> None:
    """Send every alert channel a message that says it is a test."""
    from etl import alerts
    from etl.config import load_config

    _tell_channels(alerts.test(load_config(context.obj)))


def _tell_channels(sent: Iterable[tuple[str, str | None]]) -> NoReturn:
    failed = False
    for channel, trouble in sent:
        failed |= trouble is not None
        typer.echo(f"FAILED  {channel}: {trouble}" if trouble else f"ok      {channel}")
    raise typer.Exit(TROUBLE if failed else DONE)


@app.command()
def demo(
    files: Annotated[int, typer.Option(min=2_000, help="How many files, over all credentials.")] = 20_000,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the inventory and its configuration.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where --serve listens.")] = 8080,
    *,
    as_service: Annotated[bool, typer.Option("--serve", help="Run the service over two weeks of history.")] = False,
) -> None:
    """Run the main job against the built-in simulator: no key needed."""
    from etl.demo import play, serve

    if as_service:
        serve(files, port)
    else:
        play(files, keep)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors become one message and an exit status."""
    try:
        app(arguments)
    except FileInventoryError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(_exit_status(error))
    except (
        BrokenPipeError
    ):  # the reader of our output has gone: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(TROUBLE)


def _exit_status(error: FileInventoryError) -> int:
    match error:
        case ConfigError() | QueryError():
            return USAGE
        case StoreBusy():
            return BUSY
    return TROUBLE
