"""The service: syncs on schedule, answers over HTTP, tells people and programs, and stops cleanly.

One thread writes to the store: whatever writes, be it the schedule, the API or a command, waits its turn there.
One thread watches: the configuration file, the clock, what is to be told. The main thread answers.
"""

from __future__ import annotations

import logging
import random
import signal
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from threading import Event, Thread, Timer
from typing import TYPE_CHECKING, Any, Self, TypeVar
from zoneinfo import ZoneInfo

import uvicorn
from apscheduler.events import EVENT_JOB_MAX_INSTANCES
from apscheduler.executors.pool import BasePoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from pydantic import ValidationError
from systemd_watchdog.systemd_watchdog import WatchDog

from etl import alerts, logs, telemetry
from etl.config import Config, Serve, load_config
from etl.errors import ConfigError, FileInventoryError, StoreError
from etl.load.store import Outcome, Run, Store, open_inventory
from etl.report.inventory import open_published
from etl.schedule import Turns, first_turn, is_late
from etl.sync import sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path
    from types import FrameType

    from starlette.types import ASGIApp

    Observer = Callable[[Outcome | Run], None]

T = TypeVar("T")

log = logging.getLogger(__name__)

REPORT = "report"
"""The job that sends reports; every other one lists."""

TICK = 1.0
"""Seconds between two looks at what may have changed."""

CLOCK_SET_BACK = 60.0
"""Seconds; less is a clock being corrected."""

ANSWERING = 2
"""Seconds for answers in hand once the service is told to stop."""


class Service:
    """What runs behind the pages; a context manager between whose ends the schedule is kept.

    Args:
        config: What it begins with.
        load: Reads the configuration anew; raises ConfigError where it is wrong.
        store: The open store of that configuration.
    """

    def __init__(self, config: Config, load: Callable[[], Config], store: Store) -> None:
        self.config = config
        self.running: str | None = None
        self.leads = False
        """Whether it keeps the schedule and tells people; of those that serve one lake, one does."""
        self.stopping = Event()
        self._load = load
        self._store = store
        self._abandon = Event()
        self._reload_asked = Event()
        self._observers: list[Observer] = []
        self._sources = self.config.sources()
        self._drift = _drift()
        self._writer = ThreadPoolExecutor(1, "writer")
        self._watcher = Thread(target=self._watch, name="watcher", daemon=True)
        self._scheduler = BackgroundScheduler(
            executors={"default": _Pool(self._writer), "reports": {"type": "threadpool", "max_workers": 1}},
            job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
            timezone=UTC,
        )
        self._scheduler.add_listener(self._tell_skipped, EVENT_JOB_MAX_INSTANCES)

    def __enter__(self) -> Self:
        self.leads = self._store.lead()
        self._scheduler.start()
        self._plan()
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop: what waits is dropped, what runs may go on for the grace time, then is abandoned whole."""
        self.stop()
        self._scheduler.shutdown(wait=False)
        self._writer.shutdown(cancel_futures=True)
        self._timer.cancel()
        self._watcher.join()

    def stop(self) -> None:
        """Begin to stop; may be called from a signal handler, and again."""
        if not self.stopping.is_set():
            self._timer = Timer(self.config.serve.stop_grace, self._abandon.set)
            self._timer.daemon = True
            self._timer.start()
            self.stopping.set()

    @property
    def alive(self) -> bool:
        """Whether every thread of it is there, or ends because it was told to stop."""
        return self.stopping.is_set() or (self._watcher.is_alive() and self._scheduler.running)

    def next_run(self) -> datetime | None:
        """Return when the schedule starts the next run; None without a schedule."""
        return min((job.next_run_time for job in self._scheduler.get_jobs() if job.id != REPORT), default=None)

    def sync(self, names: Sequence[str], trigger: str) -> Future[Run]:
        """Queue a run over these credentials, or all; raise ConfigError where a name is not configured."""
        for name in names:
            self.config.credential(name)
        return self._queue("listing", lambda: self._run(names, trigger))

    def approve(self, name: str) -> Future[int]:
        """Queue the held deletions of a credential; the future gives how many files went."""
        return self._queue(f"approving {name}", lambda: self._store.approve(name))

    def reject(self, name: str) -> Future[int]:
        """Queue to keep the files whose deletions are held; the future gives how many."""
        return self._queue(f"rejecting {name}", lambda: self._store.reject(name))

    def observe(self, observer: Observer) -> None:
        """Tell the observer of every listing as it is applied, and of every run once it is published."""
        self._observers.append(observer)

    def ask_reload(self) -> None:
        """Have the configuration read anew; may be called from a signal handler."""
        self._reload_asked.set()

    def _queue(self, doing: str, work: Callable[[], T]) -> Future[T]:
        if self.stopping.is_set():
            raise StoreError("the service is stopping; ask again when it is back")
        return self._writer.submit(self._at_work, doing, work)

    def _at_work(self, doing: str, work: Callable[[], T]) -> T:
        self.running = f"{doing} since {datetime.now(UTC):%H:%M:%SZ}"
        try:
            return work()
        finally:
            self.running = None

    def _run(self, names: Sequence[str], trigger: str) -> Run:
        run = sync(self.config, self._store, names, trigger=trigger, on_outcome=self._tell, stop=self._abandon)
        self._tell(run)
        if self.leads and self._store.upkeep_due:
            with _logged("the upkeep of the store failed"):
                self._store.keep_up()
        return run

    def _tell(self, event: Outcome | Run) -> None:
        for observer in self._observers:
            with _logged(f"{observer} failed"):
                observer(event)

    # The schedule

    def _plan(self) -> None:
        """Set the turns of every schedule anew, and queue what is late."""
        self._scheduler.remove_all_jobs()
        config, zone, now = self.config, ZoneInfo(self.config.timezone), datetime.now(UTC)
        completed = self._completed()
        for schedule, names in _by_schedule(config).items():
            first = first_turn(schedule, map(completed.get, names), now, zone)
            delay = timedelta(seconds=random.uniform(0, config.jitter or 0))  # noqa: S311 - spreads load, guards nothing
            self._scheduler.add_job(
                self._turn, Turns(schedule, zone, first, delay), [names], id=schedule, name=schedule
            )
        if config.report.schedule:
            turns = Turns(config.report.schedule, zone, first_turn(config.report.schedule, (), now, zone))
            self._scheduler.add_job(self._report, turns, id=REPORT, executor="reports")
        if self.leads and self._late():
            self._writer.submit(self._catch_up)

    def _turn(self, names: Sequence[str]) -> None:
        if self.leads and not self.stopping.is_set():
            with _logged("the scheduled run failed"):
                self._at_work("listing", lambda: self._run(names, "schedule"))

    def _report(self) -> None:
        if not self.leads:
            return
        with _logged("the report cannot be sent"):
            for channel, trouble in alerts.send_report(self.config, self.stopping):
                if trouble:
                    log.warning("the report was not taken", extra={"channel": channel, "error": trouble})
                else:
                    log.info("report sent", extra={"channel": channel})

    def _catch_up(self) -> None:
        if names := self._late():
            log.info("catching up", extra={"credentials": len(names)})
            self._turn(names)

    def _late(self) -> list[str]:
        """Name the credentials whose last complete listing is older than their schedule asks for."""
        completed, zone, now = self._completed(), ZoneInfo(self.config.timezone), datetime.now(UTC)
        return [
            name
            for schedule, names in _by_schedule(self.config).items()
            for name in names
            if is_late(schedule, completed.get(name), now, zone)
        ]

    def _completed(self) -> dict[str, datetime | None]:
        """Return when each credential was last listed completely."""
        with suppress(StoreError), open_published(self.config.store) as inventory:
            rows = inventory.query("select name, last_complete_at from credentials").read_all().to_pylist()
            return {row["name"]: row["last_complete_at"] for row in rows}
        return {}  # nothing is published, or it cannot be read: all are late

    def _tell_skipped(self, event: Any) -> None:
        log.warning(
            "a turn is skipped: the run before it is still going on",
            extra={"schedule": event.job_id, "turns": len(event.scheduled_run_times)},
        )

    # What may change

    def _watch(self) -> None:
        while not self.stopping.wait(TICK):
            for look in (self._lead_if_nobody_does, self._reload_if_changed, self._plan_anew_if_clock_went_back):
                with _logged("a look at what changed failed"):
                    look()

    def _lead_if_nobody_does(self) -> None:
        led, self.leads = self.leads, self._store.lead()
        if led and not self.leads:
            log.warning("this service leads no more: its session with the catalogue of the lake was lost")
        if self.leads and not led:
            log.info("this service leads from now on")
            self._plan()

    def _reload_if_changed(self) -> None:
        sources = self.config.sources()
        if sources != self._sources or self._reload_asked.is_set():
            self._sources = sources
            self._reload_asked.clear()
            self._reload()

    def _reload(self) -> None:
        try:
            config = self._load()
        except ConfigError as error:
            log.error("the new configuration is wrong, the old one stays", extra={"error": str(error)})  # noqa: TRY400 - the sentence tells all
            return
        kept = _kept(self.config, config)
        if kept != config:
            log.warning("another store or address is taken up at the next start only")
        self.config = kept
        self._sources = self.config.sources()
        logs.configure(kept.log, kept.secrets())
        self._plan()
        log.info("configuration reloaded", extra={"credentials": len(config.credentials)})

    def _plan_anew_if_clock_went_back(self) -> None:
        """Help the scheduler, which waits for a time of day, and so would wait through an hour that comes again."""
        drift = _drift()
        if drift < self._drift - CLOCK_SET_BACK:
            log.warning("the clock was set back", extra={"seconds": round(self._drift - drift)})
            self._plan()
        self._drift = drift


class _Pool(BasePoolExecutor):  # type: ignore[misc] # APScheduler has no types
    """Runs the scheduler's jobs on a pool that has other work too."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        super().__init__(pool)


class _Server(uvicorn.Server):
    """Uvicorn, which tells the service and systemd what it is told."""

    def __init__(self, config: uvicorn.Config, service: Service, watchdog: WatchDog) -> None:
        super().__init__(config)
        self._service = service
        self._watchdog = watchdog

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._watchdog.ready()

    async def on_tick(self, counter: int) -> bool:
        """Assure systemd once a second (ten ticks) that the threads and this loop are alive."""
        if counter % 10 == 0 and self._service.alive:
            self._watchdog.notify()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._watchdog.status("stopping")
        self._service.stop()
        super().handle_exit(sig, frame)


def serve(
    load: Callable[[], Config], create_app: Callable[[Service], ASGIApp], observers: Sequence[Observer] = ()
) -> None:
    """Keep the inventory of a configuration until SIGTERM or SIGINT; SIGHUP reloads.

    Args:
        load: Reads the configuration, now and whenever it changes; see `loading`.
        create_app: Makes the web application of a service.
        observers: Told of every listing and run.

    Raises:
        ConfigError: The configuration is wrong, or the address cannot be listened on.
        StoreBusy: Another process keeps this store.
    """
    config = load()
    logs.configure(config.log, config.secrets())
    logging.captureWarnings(capture=True)
    for exposed in config.exposed():
        log.warning(exposed)
    with _listening(config.serve) as listener, open_inventory(config) as store, telemetry.telling() as otel:
        service = Service(config, load, store)
        for observer in (logs.note, lambda event: otel.note(event, service.config.secrets()), *observers):
            service.observe(observer)
        app = create_app(service)
        store.announce(_url(listener))
        with service, alerts.Alerts(lambda: service.config, lambda: service.leads):
            _answer(service, app, listener)
    log.info("stopped")


def _answer(service: Service, app: ASGIApp, listener: socket.socket) -> None:
    """Answer until told to stop."""
    settings = uvicorn.Config(
        app, log_config=None, lifespan="off", server_header=False, timeout_graceful_shutdown=ANSWERING
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
        server = _Server(settings, service, WatchDog(notices))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        signal.signal(signal.SIGHUP, lambda *_: service.ask_reload())
        log.info("serving", extra={"url": _url(listener)})
        server.run([listener])


def loading(path: Path, host: str | None = None, port: int | None = None) -> Callable[[], Config]:
    """Return what reads a configuration; what the command line says of the address stands over it."""
    said = {name: value for name, value in (("host", host), ("port", port)) if value is not None}

    def load() -> Config:
        config = load_config(path)
        alerts.channels(config)  # which says what is wrong with them
        try:
            serve = Serve.model_validate(dict(config.serve) | said)
        except ValidationError as error:
            raise ConfigError("\n".join(str(fault["ctx"]["error"]) for fault in error.errors())) from None
        return config.model_copy(update={"serve": serve})

    return load


def _listening(serve: Serve) -> socket.socket:
    family = socket.AF_INET6 if ":" in serve.host else socket.AF_INET
    try:
        return socket.create_server((serve.host, serve.port), family=family)
    except OSError as error:
        cause = str(error.strerror).split(" (while", maxsplit=1)[0]
        raise ConfigError(
            f"cannot listen on {serve.host} port {serve.port}: {cause}; set serve.port, or use --port"
        ) from None


def _url(listener: socket.socket) -> str:
    """Return where this machine reaches the service."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what is listened on, said by the user
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _by_schedule(config: Config) -> dict[str, list[str]]:
    """Group the names of credentials that have a schedule by it."""
    groups: dict[str, list[str]] = {}
    for credential in config.credentials:
        if credential.schedule:
            groups.setdefault(credential.schedule, []).append(credential.name)
    return groups


def _kept(old: Config, new: Config) -> Config:
    """Return the new configuration with the store and the address of the old one, which only a restart changes."""
    serve = new.serve.model_copy(update={"host": old.serve.host, "port": old.serve.port})
    return new.model_copy(update={"store": old.store, "serve": serve})


def _drift() -> float:
    """Return how far the clock on the wall is ahead of the one that only goes on, in seconds."""
    return time.time() - time.monotonic()


@contextmanager
def _logged(failure: str) -> Iterator[None]:
    """Let nothing that goes wrong stop the thread; say it in the log."""
    try:
        yield
    except FileInventoryError as error:
        log.error(failure, extra={"error": str(error)})  # noqa: TRY400 - the sentence tells all
    except Exception:
        log.exception(failure)
