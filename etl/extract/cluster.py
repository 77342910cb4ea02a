"""Fetch on a Ray cluster: https://docs.ray.io/en/latest/ray-core/walkthrough.html.

The credentials are packed into tasks. A task fetches on threads, as a run without Ray does, leaves each listing in a
folder that all nodes see, and tells at once how it went; the listing is read when its turn to be compared has come.
"""

from __future__ import annotations

import heapq
import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from etl.config import Config, HttpSettings
from etl.errors import ConfigError
from etl.extract.engine import Threads
from etl.extract.fetch import fetch
from etl.extract.http import Http
from etl.extract.turns import LEASE, RemoteDealer, Turns
from etl.transform.listing import Listing
from etl.transform.record import SCHEMA, SET_ASIDE, Rejected
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from etl.config import RaySettings
    from etl.providers import Credential

TASKS_PER_CPU = 8
"""So that those who are done early have something left to do."""

LARGEST = 1000
"""Credentials in a task: what is sent with it stays in memory, while Ray may write larger messages to a disk."""

TRIES = 4
"""Tasks that a credential may be in: each time one was lost, the next is smaller, so that one that kills its worker
takes few with it."""

_SMALLER = 4
_GLANCE = 0.2
"""Seconds between two looks whether to stop."""

_NEWS = 0.05
"""Seconds for which a task gathers what it tells at once."""

_PULSE = 60.0
"""Seconds between two signs that the run whose folder it is goes on."""

DEAD = 3600.0
"""Seconds without a sign after which a run is dead, and its listings are removed."""

_PATIENCE = 10.0
"""Seconds for the head of a cluster to answer."""

_LOOPBACK = "127.0.0.2" if sys.platform == "linux" else None
"""Of 127.0.0.1, Ray makes the address by which others reach this machine."""

_OBJECTS = 100 * 2**20
"""Bytes of shared memory of a Ray that is started here; next to nothing goes through it."""


class Kept(NamedTuple):
    """How a listing went, and where its records are."""

    number: int
    """Which credential of the task, from 0."""
    listing: Listing
    """Without the records."""
    name: str | None
    """Of its file in the shared folder; None where there are no records."""


class Later(Future[Listing]):
    """A listing whose records are read when it is asked for."""

    read: Callable[[Listing], Listing] = staticmethod(lambda listing: listing)

    def result(self, timeout: float | None = None) -> Listing:
        """Return the listing, with its records."""
        return self.read(super().result(timeout))


@dataclass(frozen=True)
class _Task:
    """Credentials that are fetched together, and what waits for those that are not yet done."""

    credentials: Sequence[Credential]
    waiting: dict[int, Later]
    tries: int


class Cluster(Threads):
    """A Ray cluster; a context manager. Workspaces are looked into by threads of this process."""

    def __init__(
        self, config: Config, http: Http, settings: RaySettings, costs: Callable[[], Mapping[str, float]]
    ) -> None:
        super().__init__(config, http)
        self._settings = settings
        self._http_settings = config.http
        self._costs = costs
        self._tasks: dict[Any, _Task] = {}
        self._new: SimpleQueue[tuple[Sequence[Credential], list[Later], int]] = SimpleQueue()
        self._over = threading.Event()
        self._collector = threading.Thread(target=self._collect, name="ray", daemon=True)

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._ray, self._folder = stack.enter_context(_joined(self._settings))
            self._fetch_all = self._ray.remote(num_returns="streaming", max_retries=0)(fetch_all)
            dealer = self._ray.remote(num_cpus=0, max_restarts=-1)(RemoteDealer)
            self._dealer = dealer.remote(self._http_settings.per_host)
            stack.callback(self._ray.kill, self._dealer)
            self._cpus = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            self._known_costs = self._costs()
            self._place = stack.pop_all()
        self._collector.start()
        return self

    def __exit__(self, *told: object) -> None:
        self.cancel()
        self._collector.join()
        super().__exit__(*told)
        self._place.close()

    def fetch(self, credentials: Sequence[Credential]) -> Sequence[Future[Listing]]:
        """Begin to list credentials."""
        futures = {credential.name: Later() for credential in credentials}
        most, least = (-(-len(credentials) // each) for each in (self._http_settings.workers, LARGEST))
        for batch in packed(credentials, self._known_costs, max(least, min(most, self._cpus * TASKS_PER_CPU))):
            self._new.put((batch, [futures[credential.name] for credential in batch], 1))
        return list(futures.values())

    def cancel(self) -> None:
        """Abandon what is in hand, and begin nothing more."""
        self._over.set()
        super().cancel()

    def _collect(self) -> None:
        """Hand tasks to Ray, and what they tell to those who wait for it, until all is over."""
        pulse = 0.0
        while not self._over.is_set():
            try:
                while not self._new.empty():
                    self._submit(*self._new.get())
                if time.monotonic() > pulse:
                    os.utime(self._folder)
                    pulse = time.monotonic() + _PULSE
                self._listen()
            except Exception as error:  # noqa: BLE001 - nobody may wait for ever
                self._give_up(error)
        for stream in self._tasks:
            with suppress(Exception):
                self._ray.cancel(stream, force=True)

    def _submit(self, credentials: Sequence[Credential], futures: Sequence[Later], tries: int) -> None:
        task = _Task(credentials, dict(enumerate(futures)), tries)
        about = version("llm-file-inventory"), pickle.dumps(self._http_settings), str(self._folder)
        try:
            parcels = [pickle.dumps(credential) for credential in credentials]  # small ones never leave memory
            self._tasks[self._fetch_all.remote(*about, self._dealer, *parcels)] = task
        except Exception as error:  # noqa: BLE001 - nobody may wait for ever
            self._end(task, _cause(error))

    def _listen(self) -> None:
        """Take in what one task tells, if one does soon."""
        if not self._tasks:
            self._over.wait(_GLANCE / 4)
            return
        for stream in self._ray.wait(list(self._tasks), timeout=_GLANCE)[0]:
            try:
                for kept in self._ray.get(next(stream)):
                    self._take(self._tasks[stream].waiting.pop(kept.number), kept)
            except StopIteration:
                self._end(self._tasks.pop(stream), "it ended early")
            except self._ray.exceptions.RayTaskError as error:
                self._end(self._tasks.pop(stream), _cause(error))
            except self._ray.exceptions.RayError as error:
                self._again(self._tasks.pop(stream), error)

    def _take(self, future: Later, kept: Kept) -> None:
        if kept.name:
            future.read = _Reader(self._folder / kept.name, self._http)
        error = kept.listing.error and self._http.redact(kept.listing.error)
        future.set_result(replace(kept.listing, error=error))

    def _again(self, task: _Task, error: Exception) -> None:
        """Fetch anew what a lost task did not tell of."""
        if task.tries == TRIES:
            self._end(task, f"{TRIES} times, its worker was lost ({type(error).__name__})")
            return
        numbers = list(task.waiting)
        size = max(1, len(numbers) // _SMALLER)
        for some in (numbers[first : first + size] for first in range(0, len(numbers), size)):
            credentials = [task.credentials[number] for number in some]
            self._new.put((credentials, [task.waiting[number] for number in some], task.tries + 1))

    def _end(self, task: _Task, why: str) -> None:
        for number, future in task.waiting.items():
            error = self._http.redact(f"Ray did not fetch it: {why}")
            future.set_result(_failed(task.credentials[number].name, error))

    def _give_up(self, error: Exception) -> None:
        while not self._new.empty():
            credentials, futures, tries = self._new.get()
            self._end(_Task(credentials, dict(enumerate(futures)), tries), _cause(error))
        for stream in list(self._tasks):
            self._end(self._tasks.pop(stream), _cause(error))


def packed(credentials: Sequence[Credential], costs: Mapping[str, float], tasks: int) -> list[list[Credential]]:
    """Pack credentials into so many tasks of about equal cost, each with what takes longest first."""
    known = [costs[credential.name] for credential in credentials if credential.name in costs]
    usual = statistics.median(known) if known else 1.0
    priced = sorted(((costs.get(one.name, usual), number) for number, one in enumerate(credentials)), reverse=True)
    packs: list[list[Credential]] = [[] for _ in range(min(tasks, len(credentials)))]
    lightest = [(0.0, 0, number) for number in range(len(packs))]
    for cost, number in priced:
        total, count, pack = heapq.heappop(lightest)
        packs[pack].append(credentials[number])
        heapq.heappush(lightest, (total + cost, count + 1, pack))
    return packs


def fetch_all(wanted: str, settings: bytes, folder: str, dealer: Any, *parcels: bytes) -> Iterator[list[Kept]]:
    """Fetch credentials on a node of the cluster; tell of each when it is done."""
    import ray  # noqa: PLC0415 - an extra that may be missing

    if wanted != (here := version("llm-file-inventory")):
        raise RuntimeError(f"a node has llm-file-inventory {here}, but {wanted} began the run; install the same")
    credentials = [pickle.loads(parcel) for parcel in parcels]  # noqa: S301 - the run's own
    http_settings: HttpSettings = pickle.loads(settings)  # noqa: S301 - the same
    config = Config.model_construct(credentials=tuple(credentials), http=http_settings)
    done: SimpleQueue[Kept] = SimpleQueue()

    def ask(who: str, needs: Mapping[str, Any]) -> Mapping[str, Any]:
        told: dict[str, Any] = ray.get(dealer.ask.remote(who, dict(needs)), timeout=LEASE / 2)
        return told

    def work(number: int) -> None:
        done.put(_kept(number, fetch(credentials[number], http), Path(folder)))

    with Turns(ask) as turns, Http(config, turns.at) as http, ThreadPoolExecutor(http_settings.workers) as pool:
        try:
            for number in range(len(credentials)):
                pool.submit(work, number)
            left = len(credentials)
            while left:
                news = _news(done)
                left -= len(news)
                yield news
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            http.cancel()
            turns.close()


def _news(done: SimpleQueue[Kept]) -> list[Kept]:
    news = [done.get()]
    time.sleep(_NEWS)
    while not done.empty():
        news.append(done.get())
    return news


def _kept(number: int, listing: Listing, folder: Path) -> Kept:
    """Leave the records in the shared folder; a file that is there is whole."""
    bare = replace(listing, files=SCHEMA.empty_table(), rejected=())
    if not len(listing.files) and not listing.rejected:
        return Kept(number, bare, None)
    name = f"{uuid4().hex}.parquet"
    try:
        if listing.rejected:
            bad = pa.Table.from_pylist([asdict(one) for one in listing.rejected], SET_ASIDE)
            _write(bad, _beside(folder / name))
        _write(listing.files, folder / name)
    except Exception as error:  # noqa: BLE001 - one bad listing never stops the others
        return Kept(number, _failed(listing.credential, f"it cannot be written to ray.shared: {error}"), None)
    return Kept(number, bare, name)


def _write(table: pa.Table, path: Path) -> None:
    part = path.with_suffix(".part")
    pq.write_table(table, part, compression="zstd")
    part.replace(path)


def _beside(path: Path) -> Path:
    return path.with_suffix(".rejected")


@dataclass(frozen=True)
class _Reader:
    """Reads the records of one listing, and removes the file."""

    path: Path
    http: Http

    def __call__(self, listing: Listing) -> Listing:
        try:
            files = pq.read_table(self.path, schema=SCHEMA, partitioning=None)
            bad = pq.read_table(_beside(self.path), partitioning=None) if _beside(self.path).exists() else None
        except (OSError, pa.ArrowException) as error:
            told = f"what it left in ray.shared cannot be read here: {error}; do all nodes see the same folder?"
            return _failed(listing.credential, self.http.redact(told))
        self.path.unlink()
        _beside(self.path).unlink(missing_ok=True)
        rejected = tuple(self._clean(Rejected(**row)) for row in bad.to_pylist()) if bad else ()
        return replace(listing, files=files, rejected=rejected)

    def _clean(self, bad: Rejected) -> Rejected:
        """Blot out the secrets that the task did not know: those of other credentials."""
        return replace(bad, reason=self.http.redact(bad.reason), record=self.http.blot(bad.record))


def _failed(credential: str, error: str) -> Listing:
    now = datetime.now(UTC)
    return Listing(credential, Verdict.FAILED, now, now, reason="not_fetched", error=error)


def _cause(error: Exception) -> str:
    cause = getattr(error, "cause", None) or error
    return f"{type(cause).__name__}: {str(cause).strip().splitlines()[-1] if str(cause).strip() else ''}"


@contextmanager
def _joined(settings: RaySettings) -> Iterator[tuple[Any, Path]]:
    """Be part of the cluster, with a folder for this run's listings, which is removed in the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray  # noqa: PLC0415 - an extra that may be missing
    except ImportError:
        raise ConfigError("ray: Ray is not installed; install it with: pip install 'llm-file-inventory[ray]'") from None
    with (
        tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as own,
        _folder(settings.shared or Path(own, "listings")) as folder,
    ):
        joined = ray.is_initialized()
        if not joined:
            _init(ray, settings.address, own)
        try:
            yield ray, folder
        finally:
            if not joined:
                ray.shutdown()


def _init(ray: Any, address: str, own: str) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet = {"log_to_driver": False, "configure_logging": False}
    handlers = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        if address == "local":
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
            here = {"_node_ip_address": _LOOPBACK, "_temp_dir": own, "object_store_memory": _OBJECTS}
            ray.init(address="local", include_dashboard=False, **here, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # noqa: BLE001 - Ray raises many kinds
        raise ConfigError(
            f"ray.address: no cluster can be joined at {address} ({_cause(error)});"
            " start one with: ray start, or write local"
        ) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for one, handler in handlers.items():  # Ray puts its own in their place
                signal.signal(one, handler)


def _knock(address: str) -> None:
    """Raise OSError where nobody listens: Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()


@contextmanager
def _folder(shared: Path) -> Iterator[Path]:
    """Make a folder for the listings of this run, and remove those of runs that are dead."""
    mine = shared.resolve() / f"run-{uuid4().hex}"
    try:
        mine.mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"ray.shared: {shared} cannot be written: {error.strerror}") from None
    try:
        now = mine.stat().st_mtime  # by the clock of the folder's server
        for other in mine.parent.glob("run-*"):
            with suppress(OSError):
                if now - other.stat().st_mtime > DEAD:
                    shutil.rmtree(other)
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)
