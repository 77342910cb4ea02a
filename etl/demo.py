"""The main job, shown on the simulator: three runs with changes between them, then the questions people ask."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text

from etl.config import load_config, shipped
from etl.errors import ConfigError
from etl.load.store import Outcome, Run, open_inventory
from etl.report import ReportFormat
from etl.report.inventory import moment, open_published
from etl.report.output import console, write
from etl.report.progress import Progress
from etl.report.report import report, written
from etl.report.status import show_status
from etl.simulator import FAULTS, Account, Simulator
from etl.simulator.account import DAY
from etl.sync import sync

if TYPE_CHECKING:
    from etl.config import Config

PORTKEY_KEY = "pk-demo-portkey"
SHARES = {"SEARCH": 6, "SUPPORT": 5, "RESEARCH": 4, "FINE_TUNING": 2, "PLATFORM": 2, "LEGACY": 1}
"""Twentieths of the files, by account."""

PAUSE = 3 * DAY
"""Seconds between two runs that are shown."""

DAYS = 14
"""Of history that `serve` shows."""

HAPPENED = {11: ("SUPPORT", "unauthorized"), 7: ("RESEARCH", "page2_404"), 4: ("LEGACY", "ignore_after")} | {
    0: ("LEGACY", "short_list")
}
"""Days ago, whose account, which fault."""

QUESTIONS = (
    (
        "What do we hold, and for whom?",
        """
        select labels->>'team' as team, count(*) as files, format_bytes(sum(bytes)::bigint) as size,
               min(created_at)::date as oldest
        from files join credentials on name = credential
        group by all order by sum(bytes) desc
        """,
    ),
    (
        "What changed since we first looked?",
        """
        select credential, change, coalesce(reason, '') as reason, count(*) as files
        from file_changes where change <> 'baseline'
        group by all order by all
        """,
    ),
    (
        "Which files went, and what were they?",
        """
        select filename, format_bytes(bytes) as size, purpose, reason, expires_at
        from file_changes where change = 'deleted' order by bytes desc limit 5
        """,
    ),
    (
        "What was there after the first run?",
        """
        select count(*) as files, format_bytes(sum(bytes)::bigint) as size
        from files_as_of((select finished_at from runs order by started_at limit 1))
        """,
    ),
)


@dataclass(frozen=True)
class Demo:
    """A simulated provider, and a configuration that points at it."""

    simulator: Simulator
    folder: Path

    @property
    def path(self) -> Path:
        """The configuration file."""
        return self.folder / "inventory.yaml"

    def environment(self) -> dict[str, str]:
        """Return what the configuration's references name."""
        return {f"DEMO_KEY_{name}": _token(name) for name in SHARES} | {"DEMO_PORTKEY_KEY": PORTKEY_KEY}

    def config(self) -> Config:
        """Write and load the demo's configuration."""
        places = {"DEMO_URL": self.simulator.url, "DEMO_DIR": str(self.folder)}
        text = shipped("demo.yaml").read_text(encoding="utf-8")
        for name, value in places.items():
            text = text.replace(f"${{{name}}}", value)
        self.path.write_text(text, encoding="utf-8")
        return load_config(self.path, env=self.environment())

    def churn(self, seconds: int) -> None:
        """Let users work for a while: upload, process, delete, and let files expire."""
        for account in self.simulator.accounts.values():
            percent = max(1, len(account.files) // 100)
            account.now += seconds
            account.expire()
            account.add(2 * percent)
            account.change(percent)
            account.delete(percent)
            account.age(1)

    def regret(self) -> None:
        """Bring some deleted files back."""
        for account in list(self.simulator.accounts.values())[:3]:
            account.restore(2)

    def happen(self, days_ago: int) -> None:
        """Let what happened so many days ago happen."""
        token, fault = HAPPENED.get(days_ago, ("", None))
        self.simulator.faults = {_token(token): FAULTS[fault]} if fault else {}

    def work(self, event: Outcome | Run) -> None:
        """Let users work after each run."""
        if isinstance(event, Run):
            self.churn(30)

    def misbehave(self, fault: str) -> None:
        """Let the old server show one of its faults."""
        self.simulator.faults[_token("LEGACY")] = FAULTS[fault]


def play(files: int, keep: Path | None) -> None:
    """Show three runs and what can be asked after them.

    Raises:
        ConfigError: The folder to keep holds an inventory already.
    """
    if keep and (keep / "inventory.duckdb").exists():
        raise ConfigError(f"{keep} holds an inventory already; name another folder")
    accounts = {_token(name): _account(name, files, int(time.time()) - 2 * PAUSE) for name in SHARES}
    page_limit = max(20, files // 100)
    with (
        nullcontext(keep.resolve()) if keep else tempfile.TemporaryDirectory() as folder,
        Simulator(accounts, page_limit=page_limit, portkey_api_key=PORTKEY_KEY) as simulator,
    ):
        Path(folder).mkdir(parents=True, exist_ok=True)
        _tell(Demo(simulator, Path(folder)))
    if keep:
        _say(f"The report, to be opened in a browser: {keep / 'report.html'}")
        _say(f"Ask on: file-inventory --config {keep / 'inventory.yaml'} query 'from files limit 5'")


def serve(files: int, port: int) -> None:
    """Serve the inventory of two weeks, and go on: users work, and the service lists, every half minute."""
    from etl import service  # noqa: PLC0415 - slow, seldom needed
    from etl.web.app import create_app  # noqa: PLC0415 - slow, seldom needed

    accounts = {_token(name): _account(name, files, int(time.time()) - DAYS * DAY) for name in SHARES}
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulator(accounts, page_limit=max(20, files // 100), portkey_api_key=PORTKEY_KEY) as simulator,
    ):
        demo = Demo(simulator, Path(folder))
        config = demo.config()
        os.environ |= demo.environment()
        with open_inventory(config) as store, Progress(DAYS + 1) as progress:
            for day in range(DAYS, -1, -1):
                demo.happen(day)
                progress.total(sync(config, store, trigger="schedule"))
                if day:
                    store.shift(DAY)
                    demo.churn(DAY)
        _say("The page is at the address below; Ctrl+C ends it.")
        service.serve(service.loading(demo.path, port=port), create_app, [demo.work])


def _tell(demo: Demo) -> None:
    config = demo.config()
    _say("First run, six days ago: six credentials, by every route; all that is there is the baseline.")
    _run(config)
    _say(
        "Second run, three days ago: files came, changed, went and expired."
        " One old server now stops in the middle of its list."
    )
    demo.churn(PAUSE)
    demo.misbehave("short_list")
    _run(config, PAUSE)
    _say("Third run, now: more of it, some files are back, and the old server sends the same page for ever.")
    demo.regret()
    demo.churn(PAUSE)
    demo.misbehave("ignore_after")
    _run(config, PAUSE)
    with open_published(config.store) as inventory:
        for question, sql in QUESTIONS:
            _say(question)
            write(inventory.query(sql))
        _say("And how far can each credential be believed?")
        show_status(inventory)
        told = report(inventory, moment("7d"))
        _say(told.summary())
        (demo.folder / "report.html").write_text(written(told, ReportFormat.HTML), encoding="utf-8")


def _run(config: Config, pause: int = 0) -> None:
    """List once more, so many seconds later: all that is known moves into the past."""
    with open_inventory(config) as store, Progress(len(config.credentials)) as progress:
        store.shift(pause)
        progress.total(sync(config, store, on_outcome=progress.show))


def _say(text: str) -> None:
    console().print(Text(f"\n{text}", "bold"), soft_wrap=True)


def _account(name: str, files: int, now: int | None = None) -> Account:
    account = Account(files * SHARES[name] // sum(SHARES.values()), seed=sum(name.encode()), now=now)
    account.age(1)
    return account


def _token(name: str) -> str:
    return "fine-tuning" if name == "FINE_TUNING" else f"sk-demo-{name.lower()}-key"
