"""What Portkey knows: the providers and virtual keys of a workspace.

https://portkey.ai/docs/api-reference/admin-api/introduction; pages count from 0 in all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from etl.errors import ConfigError, EndNotProven, ListingError, Refused, WrongShape
from etl.extract.http import Getter, Http
from etl.providers import WorkspaceCredential
from etl.providers.base import secret, value
from etl.providers.paging import listed
from etl.providers.portkey import PortkeyCredential
from etl.transform.listing import Listing
from etl.transform.record import SCHEMA
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etl.config import Config
    from etl.providers.base import Get
    from etl.transform.record import Json

PAGE = 100
"""Records to ask for at once."""


@dataclass(frozen=True)
class Route:
    """A way to a provider account that Portkey keeps."""

    slug: str
    kind: str
    """provider or virtual key."""
    vendor: str | None
    """Who holds the files, as Portkey calls them; None where that may not be read."""
    status: str
    """active, exhausted, expired, or what else Portkey says."""


@dataclass(frozen=True)
class Survey:
    """What was found in a workspace."""

    listing: Listing
    """How it went, as a listing without files; only a complete one tells what is not there."""
    routes: tuple[Route, ...]

    @property
    def is_complete(self) -> bool:
        """Whether what is not among the routes is not there."""
        return self.listing.status is Verdict.COMPLETE

    def active(self, workspace: WorkspaceCredential) -> dict[str, str | None]:
        """Return the slugs of the active providers that the workspace takes, each with its vendor."""
        providers = (route for route in self.routes if route.kind == "provider" and route.status == "active")
        return {route.slug: route.vendor for route in providers if workspace.takes(route.slug)}


def survey(workspace: WorkspaceCredential, http: Http, *, virtual_keys: bool = False) -> Survey:
    """Find the providers of a workspace; what goes wrong becomes the verdict's reason, never an exception.

    Args:
        workspace: Whose key, and which workspace.
        http: Sends the requests.
        virtual_keys: Whether to find these, too.
    """
    started_at = datetime.now(UTC)
    get = Getter(http, workspace)
    error: ListingError | None = None
    routes: tuple[Route, ...] = ()
    try:
        routes = tuple(_routes(get, workspace.workspace, virtual_keys=virtual_keys))
    except ListingError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001 - one bad credential never stops the others
        error = WrongShape(f"the answer has a form that was not foreseen: {caught!r}")
    listing = Listing(
        credential=workspace.name,
        status=Verdict.FAILED if error else Verdict.COMPLETE,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        files=SCHEMA.empty_table(),
        reason=error.reason if error else None,
        error=http.redact(f"its providers cannot be found: {error}") if error else None,
        requests=get.requests,
        retries=get.retries,
        bytes_received=get.bytes_received,
    )
    return Survey(listing, routes)


@dataclass(frozen=True)
class Finding:
    """What Portkey knows against what the configuration has."""

    state: str
    """listed; missing: it is active, but no credential lists it; left: neither; exhausted, expired, ...: it is not
    active, but a credential lists it; unknown: a credential lists it, but Portkey has it not; failed: nobody knows."""
    text: str

    @property
    def is_gap(self) -> bool:
        """Whether somebody has to do something."""
        return self.state not in {"listed", "left"}


def discover(config: Config) -> Iterator[Finding]:
    """Compare what Portkey knows with the configuration, for each of the keys in it.

    Raises:
        ConfigError: No credential has a key of Portkey.
    """
    credentials = [one for one in config.credentials if isinstance(one, PortkeyCredential | WorkspaceCredential)]
    credentials = [one for one in credentials if one.api_key]
    if not credentials:
        raise ConfigError("no credential has a key of Portkey; add one of type portkey-workspace")
    with Http(config) as http:
        by_key = itemgetter(0)
        keyed = sorted(((_key(one), one) for one in credentials), key=by_key)
        for _, group in groupby(keyed, key=by_key):
            yield from _compared([credential for _, credential in group], http)


def _key(credential: PortkeyCredential | WorkspaceCredential) -> tuple[str, str]:
    return credential.base_url, secret(credential.api_key) or ""


def _compared(credentials: Sequence[PortkeyCredential | WorkspaceCredential], http: Http) -> Iterator[Finding]:
    """Compare what one key finds with the credentials that have it."""
    workspaces = [one for one in credentials if isinstance(one, WorkspaceCredential)]
    named = {slug: one.name for one in credentials if (slug := _slug(one))}
    known: dict[str, Route] = {}
    for asked in workspaces or [_of_key(credentials[0])]:
        seen = survey(asked, http, virtual_keys=True)
        if not seen.is_complete:
            yield Finding("failed", f"{asked.name}: {seen.listing.error}")
            return
        known = {route.slug: route for route in reversed(seen.routes)} | known  # a provider goes before a virtual key
    for slug, route in sorted(known.items()):
        takers = (one.name for one in workspaces if route.kind == "provider" and one.takes(slug))
        yield _finding(route, named.get(slug) or next(takers, None))
    for slug, name in sorted(named.items()):
        if slug not in known:
            yield Finding("unknown", http.redact(f"{name}: Portkey has no provider or virtual key {slug} for its key"))


def _of_key(credential: PortkeyCredential | WorkspaceCredential) -> WorkspaceCredential:
    base_url, key = _key(credential)
    return WorkspaceCredential(
        name=credential.name,
        type="portkey-workspace",
        base_url=base_url,
        api_key=SecretStr(key),
        http=credential.http,
    )


def _finding(route: Route, name: str | None) -> Finding:
    text = f"{route.kind} {route.slug}" + (f" ({route.vendor})" if route.vendor else "")
    if name is None:
        missing = route.status == "active"
        return Finding("missing" if missing else "left", f"{text}, {route.status}: no credential lists it")
    return Finding("listed" if route.status == "active" else route.status, f"{text}: {name}")


def _slug(credential: PortkeyCredential | WorkspaceCredential) -> str | None:
    """Return the slug that a credential routes to, where it is told."""
    if isinstance(credential, WorkspaceCredential):
        return None
    named = credential.provider or ""
    return secret(credential.virtual_key) or (named.removeprefix("@") if named.startswith("@") else None)


def _routes(get: Get, workspace: str | None, *, virtual_keys: bool) -> Iterator[Route]:
    vendors = _vendors(get, workspace)
    for record in _all(get, "providers", workspace_id=workspace):
        integration = value(record, "integration_id")
        vendor = value(record, "ai_provider_name") or value(record, "ai_provider_id") or vendors.get(str(integration))
        yield _route(record, "provider", vendor)
    if virtual_keys:
        for record in _all(get, "virtual-keys", workspace_id=workspace):
            yield _route(record, "virtual key", None)


def _route(record: Json, kind: str, vendor: Any) -> Route:
    slug, status = value(record, "slug"), value(record, "status")
    if not isinstance(slug, str) or not slug:
        raise WrongShape(f"a {kind} has no slug")
    return Route(slug, kind, vendor if isinstance(vendor, str) else None, str(status or "unknown"))


def _vendors(get: Get, workspace: str | None) -> dict[str, str]:
    """Return the vendor of each integration, by its id and by its slug; none where they may not be read."""
    try:
        records = list(_all(get, "integrations", workspace_id=workspace))
    except Refused:
        return {}
    return {
        str(value(record, name)): str(value(record, "ai_provider_id"))
        for record in records
        for name in ("id", "slug")
        if value(record, name) and value(record, "ai_provider_id")
    }


def _all(get: Get, path: str, **params: str | None) -> Iterator[Json]:
    """Read page after page until `total` records came, or a page without any."""
    seen: set[object] = set()
    page = 0
    while True:
        body = get(path, current_page=page, page_size=PAGE, **params).body
        records, total = listed(body), value(body, "total")
        yield from records
        known = len(seen)
        seen.update(value(record, "slug") or value(record, "id") for record in records)
        if isinstance(total, int) and len(seen) >= total:
            return
        if not records:
            if isinstance(total, int):
                raise EndNotProven(f"only {len(seen)} of {total} {path} came")
            return
        if len(seen) == known:
            raise EndNotProven(f"a page of {path} brought none that was not listed before")
        page += 1
