"""Where listings are fetched: on threads of this process, or, where the configuration says so, on a Ray cluster."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from etl.extract.discovery import survey
from etl.extract.fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from etl.config import Config
    from etl.extract.discovery import Survey
    from etl.extract.http import Http
    from etl.providers import Credential, WorkspaceCredential
    from etl.transform.listing import Listing


def engine(config: Config, http: Http, costs: Callable[[], Mapping[str, float]]) -> Threads:
    """Return what fetches the listings of a run.

    Args:
        config: Says where they are fetched.
        http: Sends the requests of this process.
        costs: Tells the seconds that each credential's last listing took.

    Raises:
        ConfigError: What the configuration asks for cannot be had.
    """
    if config.ray is None:
        return Threads(config, http)
    from etl.extract.cluster import Cluster  # noqa: PLC0415 - not needed by most

    return Cluster(config, http, config.ray, costs)


class Threads:
    """Threads of this process; a context manager."""

    def __init__(self, config: Config, http: Http) -> None:
        self._http = http
        self._pool = ThreadPoolExecutor(config.http.workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def fetch(self, credentials: Sequence[Credential]) -> Sequence[Future[Listing]]:
        """Begin to list credentials."""
        return [self._pool.submit(fetch, credential, self._http) for credential in credentials]

    def survey(self, workspace: WorkspaceCredential) -> Future[Survey]:
        """Begin to find the providers of a workspace."""
        return self._pool.submit(survey, workspace, self._http)

    def cancel(self) -> None:
        """Abandon what is in hand, and begin nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.cancel()
