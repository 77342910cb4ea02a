"""The heart: one run.

`etl` imports this on start, so what is slow to import waits until a run begins.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing
from threading import Event
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from etl.config import Config
    from etl.extract.discovery import Survey
    from etl.extract.engine import Threads
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
        StoreBusy: Other processes list all of them.
        StoreError: The store cannot be written.
    """
    from etl.extract.engine import engine  # noqa: PLC0415 - slow
    from etl.extract.http import Http  # noqa: PLC0415 - slow

    for name in names:
        config.credential(name)
    stop = stop or Event()
    outcomes = []
    with (
        store.leased(_leases(config, names)) as ours,
        Http(config) as http,
        engine(config, http, store.costs) as fetching,
    ):
        work = _Work(config, _still(config, names, ours), store, fetching)
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


def _leases(config: Config, names: Sequence[str]) -> list[str]:
    """Name what only one process may list at a time: credentials, and workspaces with all that is found in them."""
    if not names:
        return [credential.name for credential in config.credentials]
    return list(dict.fromkeys(config.credential(name).found_in or name for name in names))


def _still(config: Config, names: Sequence[str], ours: set[str]) -> Sequence[str]:
    """Return the names to list, none for all, where only some are ours."""
    if not names and len(ours) == len(config.credentials):
        return ()
    names = names or [credential.name for credential in config.credentials]
    return [name for name in names if (config.credential(name).found_in or name) in ours]


class _Work:
    """What a run fetches: listings side by side, and what workspaces hold, whose credentials join in as they are found.

    Until a workspace was looked into, its credentials are those known before.
    """

    def __init__(self, config: Config, names: Sequence[str], store: Store, fetching: Threads) -> None:
        self._plain = config
        self._names = set(names)
        self._store = store
        self._engine = fetching
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
        try:
            self._begin()
            while self.unfinished and not stop.is_set():
                for batch in _batches(map(self._taken, self._come())):
                    if believed := self._compared(batch):
                        yield believed
        finally:
            self._engine.cancel()

    def _come(self) -> set[Future[Any]]:
        """Wait for what is fetched, and a moment more for what else comes: it is cheaper to take it in together."""
        waiting: list[Future[Any]] = [*self._surveys, *self._pending]
        return wait(waiting, _GATHER).done if wait(waiting, _GLANCE, FIRST_COMPLETED).done else set()

    def _begin(self) -> None:
        workspaces = self._plain.workspaces
        self._fetch([one for one in self._plain.credentials if one not in workspaces and self._asks_for(one)])
        for workspace in workspaces:
            if self._asks_for(workspace) or any(workspace.slug(name) for name in self._names):
                self._surveys[self._engine.survey(workspace)] = workspace

    def _asks_for(self, credential: Credential) -> bool:
        return not self._names or not self._names.isdisjoint({credential.name, credential.found_in})

    def _fetch(self, credentials: list[Credential], first: Listing | None = None) -> None:
        for future, credential in zip(self._engine.fetch(credentials), credentials, strict=True):
            self._pending[future] = (credential, first)

    def _taken(self, future: Future[Any]) -> tuple[Credential, Listing]:
        if future in self._surveys:
            return self._surveyed(self._surveys.pop(future), future.result())
        credential, first = self._pending.pop(future)
        return credential, first.confirmed_by(future.result()) if first else future.result()

    def _surveyed(self, workspace: WorkspaceCredential, survey: Survey) -> tuple[Credential, Listing]:
        """List what was found in a workspace; where that cannot be told, what was known before."""
        if survey.is_complete:
            self._found[workspace.name] = survey.active(workspace)
            self._store.configure(self.config)
        found = [one for one in self.config.credentials if one.found_in == workspace.name]
        self._fetch([one for one in found if self._asks_for(one)])
        return workspace, survey.listing

    def _compared(self, batch: list[tuple[Credential, Listing]]) -> list[Difference]:
        """Return what is to be applied; the others are fetched once more."""
        differences = self._store.compare(batch)
        for difference in differences:
            if difference.doubtful:
                self._fetch([difference.credential], difference.listing)
        return [difference for difference in differences if not difference.doubtful]


def _batches(found: Iterable[tuple[Credential, Listing]]) -> Iterator[list[tuple[Credential, Listing]]]:
    """Put small listings together: what is done with them costs the same for one as for many."""
    batch: list[tuple[Credential, Listing]] = []
    for credential, listing in found:
        if batch and sum(len(one.files) for _, one in batch) + len(listing.files) > _BATCH:
            yield batch
            batch = []
        batch.append((credential, listing))
    if batch:
        yield batch
