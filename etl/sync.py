"""The heart: one run.

`etl` imports this on start, so what is slow to import waits until a run begins.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from etl.config import Config
    from etl.extract.discovery import Survey
    from etl.extract.http import Http
    from etl.load.store import Difference, Outcome, Run, Store
    from etl.providers import Credential, WorkspaceCredential
    from etl.transform.listing import Listing


_GLANCE = 0.2
"""Seconds between two looks whether to stop."""

_GATHER = 0.3
"""Seconds that what has come waits for what may come."""

_BATCH = 100_000
"""Files that are compared and applied at once, unless one listing has more."""


def sync(
    config: Config,
    store: Store,
    names: Sequence[str] = (),
    *,
    trigger: str = "cli",
    on_outcome: Callable[[Outcome], None] = lambda _: None,
    stop: Event | None = None,
) -> Run:
    """List every credential (or those named), apply what each listing proves, check the rules, publish.

    Args:
        config: Which credentials there are.
        store: An open store; the calling thread is the only one that writes to it.
        names: Credentials to list; all by default.
        trigger: Who asked: cli, schedule or api.
        on_outcome: Called after each listing is applied.
        stop: Once set, listings in hand are abandoned, and the run ends as interrupted; what was applied stays.

    Raises:
        ConfigError: A name is not configured.
        StoreError: The store cannot be written.
    """
    from etl.extract.http import Http  # noqa: PLC0415 - slow

    for name in names:
        config.credential(name)
    stop = stop or Event()
    outcomes = []
    with Http(config) as http:
        work = _Work(config, names, store, http)
        started = store.begin(work.config, trigger)
        with closing(work.differences(stop)) as differences:
            for batch in differences:
                for outcome in store.apply(started, batch):
                    outcomes.append(outcome)
                    on_outcome(outcome)
    run = store.finish(started, outcomes, interrupted=work.unfinished)
    if config.rules:
        from etl.report.rules import check  # noqa: PLC0415 - slow, and needed by those who have rules only

        store.judge(run, check(store.path, config, stop))
    store.publish()
    return run


class _Work:
    """What a run fetches: listings side by side, and what workspaces hold, whose credentials join in as they are found.

    Until a workspace was looked into, its credentials are those known before.
    """

    def __init__(self, config: Config, names: Sequence[str], store: Store, http: Http) -> None:
        self._plain = config
        self._names = set(names)
        self._store = store
        self._http = http
        self._found = {one.name: store.found_in(one.name) for one in config.workspaces}
        self._pending: dict[Future[Listing], tuple[Credential, Listing | None]] = {}
        self._surveys: dict[Future[Survey], WorkspaceCredential] = {}

    @property
    def config(self) -> Config:
        """The configuration with what is known to be in its workspaces."""
        found = [
            workspace.route(slug, vendor)
            for workspace in self._plain.workspaces
            for slug, vendor in self._found[workspace.name].items()
        ]
        return self._plain.with_found(found)

    @property
    def unfinished(self) -> bool:
        """Whether something is still to be fetched."""
        return bool(self._pending or self._surveys)

    def differences(self, stop: Event) -> Generator[list[Difference], None, None]:
        """Fetch side by side, compare what came meanwhile; fetch once more what lacks much."""
        with ThreadPoolExecutor(self._plain.http.workers) as pool:
            try:
                self._begin(pool)
                while self.unfinished and not stop.is_set():
                    for batch in _batches([self._taken(future, pool) for future in self._come()]):
                        if believed := self._compared(batch, pool):
                            yield believed
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
                self._http.cancel()

    def _come(self) -> set[Future[Any]]:
        """Wait for what is fetched, and a moment more for what else comes: it is cheaper to take it in together."""
        waiting: list[Future[Any]] = [*self._surveys, *self._pending]
        return wait(waiting, _GATHER).done if wait(waiting, _GLANCE, FIRST_COMPLETED).done else set()

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        from etl.extract.discovery import survey  # noqa: PLC0415 - slow

        for credential in self._plain.credentials:
            if credential not in self._plain.workspaces and self._asks_for(credential):
                self._fetch(credential, pool)
        for workspace in self._plain.workspaces:
            if self._asks_for(workspace) or any(workspace.slug(name) for name in self._names):
                self._surveys[pool.submit(survey, workspace, self._http)] = workspace

    def _asks_for(self, credential: Credential) -> bool:
        return not self._names or not self._names.isdisjoint({credential.name, credential.found_in})

    def _fetch(self, credential: Credential, pool: ThreadPoolExecutor, first: Listing | None = None) -> None:
        from etl.extract.fetch import fetch  # noqa: PLC0415 - slow

        self._pending[pool.submit(fetch, credential, self._http)] = (credential, first)

    def _taken(self, future: Future[Any], pool: ThreadPoolExecutor) -> tuple[Credential, Listing]:
        if future in self._surveys:
            return self._surveyed(self._surveys.pop(future), future.result(), pool)
        credential, first = self._pending.pop(future)
        return credential, first.confirmed_by(future.result()) if first else future.result()

    def _surveyed(
        self, workspace: WorkspaceCredential, survey: Survey, pool: ThreadPoolExecutor
    ) -> tuple[Credential, Listing]:
        """List what was found in a workspace; where that cannot be told, what was known before."""
        if survey.is_complete:
            self._found[workspace.name] = survey.active(workspace)
            self._store.configure(self.config)
        for credential in self.config.credentials:
            if credential.found_in == workspace.name and self._asks_for(credential):
                self._fetch(credential, pool)
        return workspace, survey.listing

    def _compared(self, batch: list[tuple[Credential, Listing]], pool: ThreadPoolExecutor) -> list[Difference]:
        """Return what is to be applied; the others are fetched once more."""
        differences = self._store.compare(batch)
        for difference in differences:
            if difference.doubtful:
                self._fetch(difference.credential, pool, difference.listing)
        return [difference for difference in differences if not difference.doubtful]


def _batches(found: list[tuple[Credential, Listing]]) -> Iterator[list[tuple[Credential, Listing]]]:
    """Put small listings together: what is done with them costs the same for one as for many."""
    batch: list[tuple[Credential, Listing]] = []
    for credential, listing in found:
        if batch and sum(len(one.files) for _, one in batch) + len(listing.files) > _BATCH:
            yield batch
            batch = []
        batch.append((credential, listing))
    if batch:
        yield batch
