"""Cohere: the datasets of an organisation, which live for 30 days.

https://docs.cohere.com/reference/list-datasets; cohere 7.3.1, datasets/client.py, types/dataset.py, dataset_part.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from etl.errors import EndNotProven
from etl.providers.base import Credential, Page, Provider, Secret, Url, bearer, below, sent, value
from etl.providers.paging import listed
from etl.transform.record import Reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.providers.base import Get
    from etl.transform.record import Json

LIMIT = 100
"""Datasets on a page; how many it may be is not documented."""


class CohereCredential(Credential):
    """A key of an organisation."""

    HOLDER: ClassVar = "cohere"

    type: Literal["cohere"]
    base_url: Url = "https://api.cohere.com/v1"
    api_key: Secret = Field(description="Sent as Authorization: Bearer.")


def headers(credential: CohereCredential) -> dict[str, str]:
    """Carry the key as a bearer token."""
    return sent(authorization=bearer(credential.api_key))


def pages(get: Get, credential: Credential) -> Iterator[Page]:
    """Raise `offset` until nothing new comes; the last dataset is read again each time, to see that none moved."""
    seen: int = 0
    last: Json = None
    while True:
        offset = None if last is None else seen - 1
        records = _datasets(get("datasets", datasetType=credential.purpose, limit=LIMIT, offset=offset).body)
        if last is not None:
            if not records or value(records[0], "id") != last:
                raise EndNotProven("the list changed while it was read, or the server does not mind the offset")
            records = records[1:]
        yield Page(records, credential.file_provider)
        if not records:
            return
        seen, last = seen + len(records), value(records[-1], "id")
        if last is None:
            raise EndNotProven("the last dataset of a page has no id, so the next page cannot be told from it")


def _datasets(body: Json) -> list[Json]:
    nothing = isinstance(body, dict) and list(body) == ["datasets"] and body["datasets"] is None
    return [] if nothing else listed(body, "datasets")


def _size(record: Json) -> Json:
    """Add the parts up; unknown where the size of one is."""
    parts = record.get("dataset_parts")
    sizes = [value(part, "size_bytes") for part in parts] if isinstance(parts, list) else []
    if not sizes or None in sizes:
        return None
    whole = all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in sizes)
    return sum(sizes) if whole else sizes


READING = Reading(
    {
        "file_id": "id",
        "filename": "name",
        "bytes": _size,
        "purpose": "dataset_type",
        "status": "validation_status",
        "status_details": "validation_error",
        "created_at": "created_at",
    },
    ignored=frozenset({"dataset_parts", "schema"}),
    records="datasets",
)
"""The parts hold signed URLs. `mime_type` and `expires_at` are not told."""


def _place(_credential: CohereCredential, file_id: str) -> str:
    return below("datasets", file_id)


COHERE = Provider("cohere", CohereCredential, headers, pages, READING, _place)
