"""The heart: one run.

`etl` imports this on start, so what is slow to import waits until a run begins.
"""

from __future__ import annotations

from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from etl.config import Config
    from etl.load.store import Difference, Outcome, Run, Store
    from etl.providers import Credential
    from etl.transform.listing import Listing


def sync(
    config: Config,
    store: Store,
    names: Sequence[str] = (),
    *,
    trigger: str = "cli",
    on_outcome: Callable[[Outcome], None] = lambda _: None,
) -> Run:
    """List every credential (or those named), apply what each listing proves, publish.

    Args:
        config: Which credentials there are.
        store: An open store; the calling thread is the only one that writes to it.
        names: Credentials to list; all by default.
        trigger: Who asked: cli, schedule or api.
        on_outcome: Called after each listing is applied.

    Raises:
        ConfigError: A name is not configured.
        StoreError: The store cannot be written.
    """
    credentials = [config.credential(name) for name in dict.fromkeys(names)] or list(config.credentials)
    started = store.begin(config, trigger)
    outcomes = []
    for difference in _differences(config, credentials, store):
        outcomes.append(store.apply(started, difference))
        on_outcome(outcomes[-1])
    return store.finish(started, outcomes)


def _differences(config: Config, credentials: Sequence[Credential], store: Store) -> Iterator[Difference]:
    """Fetch side by side, compare one by one; what lacks much is fetched once more before it is believed."""
    from etl.extract.fetch import fetch  # noqa: PLC0415 - slow
    from etl.extract.http import Http  # noqa: PLC0415 - slow

    with Http(config) as http, ThreadPoolExecutor(config.http.workers) as pool:
        try:
            pending: dict[Future[Listing], tuple[Credential, Listing | None]] = {
                pool.submit(fetch, credential, http): (credential, None) for credential in credentials
            }
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    credential, first = pending.pop(future)
                    listing = first.confirmed_by(future.result()) if first else future.result()
                    difference = store.compare(credential, listing)
                    if difference.doubtful:
                        pending[pool.submit(fetch, credential, http)] = (credential, listing)
                    else:
                        yield difference
        finally:
            http.cancel()
