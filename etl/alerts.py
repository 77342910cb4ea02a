"""Tells people what needs them: once when it begins, again while it holds, once when it is over.

What needs a person is a *condition*: a credential that fails or is stale, deletions that are held, files that expire,
a broken rule. Conditions are read from the published database; `due` decides what to tell of them and asks nobody.

A condition that comes back within `alerts.repeat` of its recovery flaps: it is told again, but its next recovery only
once it stayed away for an hour, then two, four and so on, so that each return costs fewer messages than the last.
Each channel is told on its own: what one did not take is tried there again, and is news to no other.
"""

from __future__ import annotations

import logging
import re
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread, get_ident
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import unquote

import msgspec

from etl.errors import ConfigError, FileInventoryError, StoreError, redact
from etl.load.notes import notes
from etl.report import ReportFormat
from etl.report.inventory import edition, open_published
from etl.report.report import report, written
from etl.report.rules import check

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from etl.config import Config
    from etl.load.notes import Beside, InCatalog
    from etl.load.store import RuleResult
    from etl.places import Place

log = logging.getLogger(__name__)

TICK = 1.0
"""Seconds between two looks at what changed."""

LOOK = 60.0
"""Seconds after which the conditions are read anew though nothing was published: time passes too."""

CHECK = 3600.0
"""The same for rules, whose queries may be heavy."""

PAUSE, LONGEST_PAUSE = 30.0, 900.0
"""Seconds until what a channel did not take is tried again; doubled each time, up to the second."""

PATIENCE = 20.0
"""Seconds for a channel to take a message."""

STOPPING = 1.0
"""Seconds for the thread to end; a channel that hangs is left behind."""

TRIES = 3
"""How often a report is sent to a channel that does not take it; pauses lie between."""

CALM = timedelta(hours=1)
"""How long what flaps must stay away before it is told to be over."""

LINES = 20
"""Conditions that one message tells."""

_FAILING = ("failed", "incomplete", "unsupported")
_RANKS = {"critical": 0, "failing": 1, "stale": 2, "held": 3, "warning": 4, "expiring": 5}
_OVER = {
    "failing": "{} is listed again",
    "stale": "{} is fresh again",
    "held": "no deletions of {} wait any more",
    "expiring": "no files of {} expire soon any more",
    "rule": "rule {} is kept again",
}


@dataclass(frozen=True)
class Condition:
    """What needs a person now."""

    kind: str
    """failing, stale, held, expiring, rule."""
    subject: str
    """The credential or the rule."""
    rank: int
    """0 is the most important."""
    headline: str
    text: str

    @property
    def key(self) -> str:
        """What makes it the same condition at another time."""
        return f"{self.kind} {self.subject}"


Moment = Annotated[datetime, msgspec.Meta(tz=True)]


class Told(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a channel knows of a condition."""

    at: Moment
    """When it was last told that it holds."""
    gone: Moment | None = None
    """Since when it does not hold."""
    over: bool = False
    """Whether its recovery was told."""
    returns: int = 0
    """How often it came back soon after a recovery."""


@dataclass(frozen=True)
class Message:
    """What is sent."""

    title: str
    body: str
    kind: Literal["failure", "warning", "success", "info"]
    markup: Literal["text", "markdown"] = "text"
    """How the body is written."""
    attached: Path | None = None
    """A file to send along; channels that take none send the rest."""


# What holds


def conditions(path: Place, config: Config, broken: Iterable[RuleResult]) -> list[Condition]:
    """Read what needs a person from the published database, the most important first.

    Raises:
        StoreError: Nothing is published there, or it cannot be read.
    """
    with open_published(path) as inventory:
        rows = inventory.ask("conditions", expiring_within=config.alerts.expiring_within).read_all().to_pylist()
    found = [condition for row in rows for condition in _of_credential(row, config)]
    found += [_of_rule(breach) for breach in broken]
    return sorted(found, key=lambda condition: (condition.rank, condition.subject))


def _of_credential(row: dict[str, Any], config: Config) -> Iterator[Condition]:
    name = row["credential"]
    if row["verdict"] in _FAILING:
        verdict = ", ".join(filter(None, (row["verdict"], row["reason"])))
        text = f"{name} is failing ({verdict}): {row['error'] or 'no cause is known'}"
        yield Condition("failing", name, _RANKS["failing"], f"{name} is failing", text)
    if row["stale"]:
        text = f"{name} is stale: its last complete listing is of {_time(row['as_of'])}"
        text = f"{text}, and stale_after is {_span(row['stale_after'])}"
        yield Condition("stale", name, _RANKS["stale"], f"{name} is stale", text)
    if row["held"]:
        waiting = f"{row['held']:,} {'deletion' if row['held'] == 1 else 'deletions'} of {name} held"
        text = f"{waiting}; decide with: file-inventory approve {name}, or: file-inventory reject {name}"
        yield Condition("held", name, _RANKS["held"], waiting, text)
    if row["expiring"]:
        files = f"{row['expiring']:,} {'file' if row['expiring'] == 1 else 'files'} of {name} expiring"
        text = f"{files} within {_span(config.alerts.expiring_within)}, the first at {_time(row['nearest'])}"
        yield Condition("expiring", name, _RANKS["expiring"], f"{files} soon", text)


def _of_rule(result: RuleResult) -> Condition:
    rank, rule = _RANKS[result.severity], f"rule {result.rule} ({result.severity})"
    if result.offenders is None:
        text = f"{rule}: the rule cannot be checked: {result.error}"
        return Condition("rule", result.rule, rank, f"rule {result.rule} cannot be checked", text)
    more = "; ..." if result.offenders > len(result.examples) else ""
    offenders = f"{result.offenders:,} {'offender' if result.offenders == 1 else 'offenders'}"
    text = f"{rule}: {result.message} {offenders}: {'; '.join(result.examples)}{more}"
    return Condition("rule", result.rule, rank, f"rule {result.rule} is broken", text)


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _span(seconds: float) -> str:
    unit, size = next(
        ((unit, size) for unit, size in (("d", 86400), ("h", 3600), ("min", 60)) if seconds % size == 0), ("s", 1)
    )
    return f"{seconds / size:g} {unit}"


# What to tell


def due(
    holding: Sequence[Condition], told: Mapping[str, Told], now: datetime, repeat: timedelta
) -> tuple[Message | None, dict[str, Told]]:
    """Decide what a channel is to be told.

    Args:
        holding: What holds now, the most important first.
        told: What the channel knows, by the key of the condition.
        now: The time.
        repeat: After how long it is told again of what still holds.

    Returns:
        The message, if any, and what the channel knows once it has it.
    """
    known: dict[str, Told] = {}
    news: list[tuple[str, str]] = []
    for condition in holding:
        mark, known[condition.key] = _holds(told.get(condition.key), now, repeat)
        if mark is not None:
            news.append((condition.headline, mark + condition.text))
    worse = len(news)
    for key in sorted(told.keys() - known.keys()):
        recovered, kept = _gone(told[key], now, repeat)
        if kept:
            known[key] = kept
        if recovered:
            news.append((_over(key), f"Over: {_over(key)}"))
    return (_digest(news, "failure" if worse else "success") if news else None), known


def _holds(before: Told | None, now: datetime, repeat: timedelta) -> tuple[str | None, Told]:
    """Return how a condition that holds is marked in the message, None if it is not in it."""
    if before is None:
        return "", Told(now)
    if before.over:
        return "Again: ", Told(now, returns=before.returns + 1)
    if now - before.at >= repeat:
        return "Still: ", Told(now, returns=before.returns)
    return None, Told(before.at, returns=before.returns)


def _gone(before: Told, now: datetime, repeat: timedelta) -> tuple[bool, Told | None]:
    """Return whether the recovery is to be told, and what is remembered."""
    gone = before.gone or now
    if before.over:
        return False, before if now - gone < repeat else None
    if now - gone >= _calm(before.returns, repeat):
        return True, Told(before.at, now, over=True, returns=before.returns)
    return False, Told(before.at, gone, returns=before.returns)


def _calm(returns: int, repeat: timedelta) -> timedelta:
    return min(repeat, CALM * 2 ** min(returns - 1, 20)) if returns else timedelta()


def _over(key: str) -> str:
    kind, _, subject = key.partition(" ")
    return _OVER.get(kind, "{}").format(subject)


def _digest(news: Sequence[tuple[str, str]], kind: Literal["failure", "success"]) -> Message:
    more = f", and {len(news) - 1} more" if len(news) > 1 else ""
    lines = [text for _, text in news[:LINES]]
    if len(news) > LINES:
        lines.append(f"and {len(news) - LINES} more; see: file-inventory status")
    return Message(f"File Inventory: {news[0][0]}{more}", "\n".join(lines), kind)


# Whom to tell


class Channel:
    """One Apprise URL of the configuration.

    Raises:
        ConfigError: Apprise does not understand the URL.
    """

    def __init__(self, number: int, url: str) -> None:
        import apprise  # noqa: PLC0415 - slow, and needed by those who have channels only

        self.name = f"alerts.to[{number}]"
        self.key = sha256(url.encode()).hexdigest()[:16]
        self.retry_at = 0.0
        self._pauses = 0
        self._attempt: _Attempt | None = None
        self._pieces = _pieces(url)
        asset = apprise.AppriseAsset(async_mode=False)
        asset._service_timeout = 0.0  # noqa: SLF001 - else Apprise sends on threads that the end of the process waits for
        with _heard():
            self._apprise = apprise.Apprise(asset=asset)
            understood = self._apprise.add(url)
        if not understood:
            raise ConfigError(f"{self.name}: is no URL that Apprise understands; see https://appriseit.com/services/")
        self.title = f"{self.name} ({url.partition(':')[0].lower()})"

    def send(self, message: Message, secrets: Iterable[str] = (), stop: Event | None = None) -> str | None:
        """Send a message; return None once it is taken, else why not. It takes at most `PATIENCE`.

        A thread of its own sends, since some channels hang for ever; one that does is asked nothing more meanwhile.
        """
        if self._attempt is None or not self._attempt.is_alive():
            hidden = {*secrets, *self._pieces}
            self._attempt = _Attempt(self._apprise, _redacted(message, secrets), hidden)
            self._attempt.start()
            deadline = monotonic() + PATIENCE
            while self._attempt.is_alive() and monotonic() < deadline and not (stop and stop.is_set()):
                self._attempt.join(0.05)
        return "it does not answer" if self._attempt.is_alive() else self._attempt.trouble

    def take_over(self, old: Channel) -> None:
        """Go on where another left off that had the same URL."""
        self.retry_at, self._pauses, self._attempt = old.retry_at, old._pauses, old._attempt

    def pause(self) -> float:
        """Wait before the next try, longer each time; return for how long, in seconds."""
        seconds = min(LONGEST_PAUSE, PAUSE * 2.0 ** min(self._pauses, 10))
        self._pauses += 1
        self.retry_at = monotonic() + seconds
        return seconds

    def resume(self) -> None:
        """Wait no longer than at first when it fails again."""
        self._pauses, self.retry_at = 0, 0.0


class _Attempt(Thread):
    """Sends one message."""

    def __init__(self, apprise: Any, message: Message, hidden: Iterable[str]) -> None:
        super().__init__(name="alert", daemon=True)
        self.trouble: str | None = None
        self._apprise, self._message, self._hidden = apprise, message, hidden

    def run(self) -> None:
        message = self._message
        with _heard() as heard:
            try:
                taken = self._apprise.notify(
                    body=message.body,
                    title=message.title,
                    notify_type=message.kind,
                    body_format=message.markup,
                    attach=str(message.attached) if message.attached else None,
                )
            except Exception as error:  # noqa: BLE001 - whatever a channel raises, the message was not taken
                taken = False
                heard.append(str(error) or type(error).__name__)
        if not taken:
            self.trouble = redact(heard[-1] if heard else "it did not take the message", self._hidden)


def channels(config: Config) -> list[Channel]:
    """Make the channels of a configuration; raise ConfigError where Apprise does not understand one."""
    return [Channel(number, url.get_secret_value()) for number, url in enumerate(config.alerts.to)]


def test(config: Config) -> Iterator[tuple[str, str | None]]:
    """Send every channel a test message; yield its name, and why it did not take it, if so.

    Raises:
        ConfigError: There is no channel, or Apprise does not understand one.
    """
    _expect_channels(config)
    message = Message(
        "File Inventory: test", "This is a test of File Inventory: alerts reach this channel. Nothing is wrong.", "info"
    )
    for channel in channels(config):
        yield channel.title, channel.send(message, config.secrets())


def send_report(config: Config, stop: Event) -> Iterator[tuple[str, str | None]]:
    """Send the report of the configured period to every channel; yield its name, and why it did not take it, if so.

    Args:
        config: Its channels, and what `report` says of the period and the format.
        stop: Once set, nothing more is sent.

    Raises:
        ConfigError: There is no channel, or Apprise does not understand one.
        StoreError: Nothing is published, or it cannot be read.
    """
    _expect_channels(config)
    until = datetime.now(UTC)
    with open_published(config.store) as inventory:
        told = report(inventory, until - timedelta(seconds=config.report.since), until)
    with TemporaryDirectory(prefix="file-inventory-") as folder:
        message = Message(f"File Inventory: report of {until:%Y-%m-%d}", told.summary(), "info")
        if config.report.format == "md":
            message = replace(message, body=written(told, ReportFormat.MARKDOWN), markup="markdown")
        else:
            page = Path(folder) / f"file-inventory-{until:%Y-%m-%d}.html"
            page.write_text(redact(written(told, ReportFormat.HTML), config.secrets()), encoding="utf-8")
            message = replace(message, attached=page)
        for channel in channels(config):
            yield channel.title, _send_again(channel, message, config, stop)


def _send_again(channel: Channel, message: Message, config: Config, stop: Event) -> str | None:
    """Send a message, in three tries; return why it was not taken, if so."""
    for _ in range(TRIES):
        if not (trouble := channel.send(message, config.secrets(), stop)) or stop.wait(channel.pause()):
            break
    return trouble


def _expect_channels(config: Config) -> None:
    if not config.alerts.to:
        raise ConfigError("alerts.to: names no channel; add the Apprise URL of one, as a reference: ${NAME}")


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what Apprise warns of on this thread, and keep it from the log: it may hold pieces of URLs."""
    heard: list[str] = []
    thread = get_ident()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.thread == thread:
                heard.append(record.getMessage())

    logger, ear = logging.getLogger("apprise"), Ear(logging.WARNING)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    logger.addHandler(ear)
    try:
        yield heard
    finally:
        logger.removeHandler(ear)
        logger.addHandler(_NOBODY)


_NOBODY = logging.NullHandler()


def _pieces(url: str) -> set[str]:
    """Return what a URL is made of: each may be a key."""
    rest = url.partition("://")[2]
    return {url, *(form for piece in re.findall(r"[^/:@?&=#,\s]{4,}", rest) for form in (piece, unquote(piece)))}


def _redacted(message: Message, secrets: Iterable[str]) -> Message:
    body = "\n".join(redact(line, secrets) for line in message.body.splitlines())
    return replace(message, title=redact(message.title, secrets), body=body)


# The teller


class Alerts:
    """Looks at the published database and tells every channel what is due; a context manager, on a thread of its own.

    It looks first when something is published, or a minute after its start: a run that catches up comes before that.

    Args:
        config: Returns the configuration in force.
        leads: Tells whether it is this process that tells.
    """

    def __init__(self, config: Callable[[], Config], leads: Callable[[], bool] = lambda: True) -> None:
        self._config = config
        self._leads = leads
        self._taken: Config | None = None
        self._channels: dict[str, Channel] = {}
        self._holding: list[Condition] | None = None
        self._broken: list[RuleResult] = []
        self._seen = edition(config().store)
        self._look_at = monotonic() + LOOK
        self._check_at = 0.0
        self._trouble: str | None = None
        self._notes = notes(config().store, "alerts")
        self._told: dict[str, dict[str, Told]] = {}
        self._led = False
        self._stop = Event()
        self._thread = Thread(target=self._run, name="alerts", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(STOPPING)

    def _run(self) -> None:
        while not self._stop.wait(TICK):
            try:
                self._tick(self._config())
                self._trouble = None
            except FileInventoryError as error:
                self._say_once(str(error))
            except Exception:
                log.exception("looking for what needs a person failed")

    def _say_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("what needs a person cannot be told", extra={"error": trouble})
        self._trouble = trouble

    def _tick(self, config: Config) -> None:
        if config is not self._taken:
            self._take(config)
        leads = bool(self._channels) and self._leads()
        if leads and not self._led:
            self._told = _load(self._notes)  # what another one told meanwhile
        self._led = leads
        if not leads:
            return
        with suppress(StoreError):  # what cannot be read now is read next time; the service tells of it
            self._look(config)
        for channel in self._channels.values():
            if self._holding is not None and monotonic() >= channel.retry_at and not self._stop.is_set():
                self._tell(channel, self._holding, config)

    def _take(self, config: Config) -> None:
        """Take a configuration up; channels that stay keep what they were told, and their pauses."""
        fresh = {channel.key: channel for channel in channels(config)}
        for channel in fresh.values():
            if old := self._channels.get(channel.key):
                channel.take_over(old)
        if self._taken is not None:
            self._look_at = 0.0
        self._channels, self._taken, self._check_at = fresh, config, 0.0

    def _look(self, config: Config) -> None:
        seen = edition(config.store)
        if seen == self._seen and monotonic() < self._look_at:
            return
        if seen != self._seen or monotonic() >= self._check_at:
            self._broken = [one for one in check(config.store, config, self._stop) if one.state != "kept"]
            self._check_at = monotonic() + CHECK
        if not self._stop.is_set():
            self._holding = conditions(config.store, config, self._broken)
        self._seen, self._look_at = seen, monotonic() + LOOK

    def _tell(self, channel: Channel, holding: Sequence[Condition], config: Config) -> None:
        rules = {rule.name for rule in config.rules}
        told = {key: (one, key.partition(" ")[2]) for key, one in self._told.get(channel.key, {}).items()}
        known = {key: one for key, (one, subject) in told.items() if subject in rules or config.configures(subject)}
        message, known = due(holding, known, datetime.now(UTC), timedelta(seconds=config.alerts.repeat))
        trouble = channel.send(message, config.secrets(), self._stop) if message else None
        if trouble:
            log.warning(
                "an alert was not taken, and is tried again",
                extra={"channel": channel.title, "error": trouble, "seconds": channel.pause()},
            )
            return
        if message:
            channel.resume()
            log.info("alert sent", extra={"channel": channel.title, "title": message.title})
        if known != self._told.get(channel.key, {}):
            self._told = {key: self._told.get(key, {}) for key in self._channels} | {channel.key: known}
            _save(self._notes, self._told)


_STATE = msgspec.json.Decoder(dict[str, dict[str, Told]])


def _load(kept: Beside | InCatalog) -> dict[str, dict[str, Told]]:
    """Read what channels were told; what cannot be read was not told. StoreError where it can be read later."""
    try:
        return _STATE.decode(kept.read() or b"{}")
    except (OSError, ValueError) as error:
        log.warning("what was told before cannot be read, and may be told again", extra={"error": f"{kept}: {error}"})
        return {}


def _save(kept: Beside | InCatalog, told: Mapping[str, Mapping[str, Told]]) -> None:
    try:
        kept.write(msgspec.json.encode(told))
    except (OSError, StoreError) as error:
        log.warning("what was told cannot be kept, and may be told again", extra={"error": f"{kept}: {error}"})
