"""Ask a credential for one small page, and see whether the answer is a file list."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etl.errors import ListingError
from etl.extract.discovery import survey
from etl.extract.http import Getter, Http
from etl.providers import WorkspaceCredential, adapter
from etl.transform.normalise import normalise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.config import Config
    from etl.providers import Credential
    from etl.providers.base import Answer


@dataclass(frozen=True)
class Probe:
    """What a credential answered."""

    credential: str
    error: str | None
    """What is wrong and how to mend it, without secrets; None if nothing is."""
    warning: str | None = None
    """Why its listings will never be complete, if so."""


def probe(config: Config) -> Iterator[Probe]:
    """Ask every credential for one file, side by side; yield in the order of the configuration."""
    with Http(config) as http, ThreadPoolExecutor(config.http.workers) as pool:
        yield from pool.map(lambda credential: _probe(credential, http), config.credentials)


def _probe(credential: Credential, http: Http) -> Probe:
    if isinstance(credential, WorkspaceCredential):
        return Probe(credential.name, survey(credential, http).listing.error)
    patient = credential.http.model_copy(update={"attempts": min(2, credential.http.attempts)})
    get = Getter(http, credential.model_copy(update={"http": patient}))

    def get_little(path: str, **params: str | int | None) -> Answer:
        return get(path, **params | {name: 1 for name in params if name in {"limit", "page_size", "pageSize"}})

    provider = adapter(credential)
    try:
        page = next(provider.pages(get_little, credential))
        _, rejected = normalise(page.records, page.reading or provider.reading)
    except ListingError as error:
        return Probe(credential.name, http.redact(str(error)))
    except Exception as error:  # noqa: BLE001 - one bad credential never stops the others
        return Probe(credential.name, http.redact(f"the answer has a form that was not foreseen: {error!r}"))
    wrong = f"its first file cannot be read: {rejected[0].reason}" if rejected else None
    return Probe(credential.name, wrong, page.doubt)
