"""The heart: one run.

`etl` imports this on start, so what is slow to import waits until a run begins.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from etl.config import Config
    from etl.load.store import Difference, Outcome, Run, Store
    from etl.providers import Credential
    from etl.transform.listing import Listing


_GLANCE = 0.2
"""Seconds between two looks whether to stop."""


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
    credentials = [config.credential(name) for name in dict.fromkeys(names)] or list(config.credentials)
    started = store.begin(config, trigger)
    stop = stop or Event()
    outcomes = []
    for difference in _differences(config, credentials, store, stop):
        outcomes.append(store.apply(started, difference))
        on_outcome(outcomes[-1])
    run = store.finish(started, outcomes, interrupted=len(outcomes) < len(credentials))
    if config.rules:
        from etl.report.rules import check  # noqa: PLC0415 - slow, and needed by those who have rules only

        store.judge(run, check(store.path, config, stop))
    store.publish()
    return run


def _differences(config: Config, credentials: Sequence[Credential], store: Store, stop: Event) -> Iterator[Difference]:
    """Fetch side by side, compare one by one; what lacks much is fetched once more before it is believed."""
    from etl.extract.fetch import fetch  # noqa: PLC0415 - slow
    from etl.extract.http import Http  # noqa: PLC0415 - slow

    with Http(config) as http, ThreadPoolExecutor(config.http.workers) as pool:
        try:
            pending: dict[Future[Listing], tuple[Credential, Listing | None]] = {
                pool.submit(fetch, credential, http): (credential, None) for credential in credentials
            }
            while pending and not stop.is_set():
                for future in wait(pending, _GLANCE, FIRST_COMPLETED).done:
                    credential, first = pending.pop(future)
                    listing = first.confirmed_by(future.result()) if first else future.result()
                    difference = store.compare(credential, listing)
                    if difference.doubtful:
                        pending[pool.submit(fetch, credential, http)] = (credential, listing)
                    else:
                        yield difference
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            http.cancel()
