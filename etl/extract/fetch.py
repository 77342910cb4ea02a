"""Fetch one credential's listing: every page, normalised, with the verdict it has earned."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import REDACTED, EndNotProven, ListingError, Unsupported, WrongShape
from etl.extract.http import Getter
from etl.providers import adapter
from etl.transform.listing import Listing, fold
from etl.transform.normalise import normalise
from etl.transform.record import SCHEMA
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from etl.extract.http import Http
    from etl.providers import Credential
    from etl.providers.base import Page
    from etl.transform.record import Rejected


def fetch(credential: Credential, http: Http) -> Listing:
    """List all files of a credential; what goes wrong becomes the verdict's reason, never an exception."""
    started_at = datetime.now(UTC)
    get = Getter(http, credential)
    pages = _Pages(credential)
    error: ListingError | None = None
    try:
        for page in adapter(credential).pages(get, credential):
            get.stalled = not pages.add(page)
        pages.check_end()
    except ListingError as caught:
        error = caught
    except Exception as caught:  # noqa: BLE001 - one bad credential never stops the others
        error = WrongShape(f"the answer has a form that was not foreseen: {caught!r}")
    files = pa.Table.from_batches(pages.batches, SCHEMA)
    if pages.repeated:
        files = fold(files)
    files = _without_secrets(files, set(credential.secrets()))
    return Listing(
        credential=credential.name,
        status=_verdict(error, pages.count),
        started_at=started_at,
        finished_at=datetime.now(UTC),
        files=files,
        rejected=tuple(
            replace(bad, reason=http.redact(bad.reason), record=http.blot(bad.record)) for bad in pages.rejected
        ),
        reason=error.reason if error else None,
        error=http.redact(str(error)) if error else None,
        pages=pages.count,
        requests=get.requests,
        retries=get.retries,
        bytes_received=get.bytes_received,
        first_id=files["file_id"][0].as_py() if len(files) else None,
        last_id=files["file_id"][-1].as_py() if len(files) else None,
    )


def _without_secrets(files: pa.Table, secrets: set[str]) -> pa.Table:
    """Blot out the credential's own secrets where a provider put them into text."""
    for name in ("filename", "status_details", "extra"):
        for secret in secrets:
            if pc.any(pc.match_substring(files[name], secret)).as_py():
                clean = pc.replace_substring(files[name], secret, REDACTED)
                files = files.set_column(files.column_names.index(name), files.schema.field(name), clean)
    return files


def _verdict(error: ListingError | None, pages: int) -> Verdict:
    if error is None:
        return Verdict.COMPLETE
    if pages:
        return Verdict.INCOMPLETE
    return Verdict.UNSUPPORTED if isinstance(error, Unsupported) else Verdict.FAILED


@dataclass
class _Pages:
    """The pages so far, and the guard that each brings something new."""

    credential: Credential
    count: int = 0
    batches: list[pa.RecordBatch] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    repeated: bool = False
    """Whether an id came twice."""
    doubt: str | None = None
    """Why the list is never proven to be whole, if so."""
    _seen: set[int] = field(default_factory=set)
    """Hashes of the ids: 1,000,000 cost a third of the memory that the ids would."""

    def add(self, page: Page) -> bool:
        """Take one page in; return whether it brought a new file. Nothing but old files is an error."""
        self.count += 1
        reading = page.reading or adapter(self.credential).reading
        batch, rejected = normalise(page.records, reading, provider=page.provider, page=self.count)
        self.doubt = page.doubt
        known = len(self._seen)
        self._seen.update(map(hash, batch["file_id"].to_pylist()))
        self.repeated |= len(self._seen) < known + len(batch)
        self._seen.update(hash(bad.file_id) for bad in rejected if bad.file_id)
        self.batches.append(self._wanted(batch))
        self.rejected += rejected
        progress = len(self._seen) > known
        if self.count > 1 and page.records and not progress:
            raise EndNotProven("a page brought no file that was not listed before")
        return progress

    def _wanted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Keep to the purpose asked for: not every server minds the filter."""
        if (purpose := self.credential.purpose) is None:
            return batch
        return batch.filter(pc.fill_null(pc.equal(batch["purpose"], purpose), fill_value=True))

    def check_end(self) -> None:
        """Refuse to call a listing complete that is in doubt, or has records nobody can name."""
        if self.doubt:
            raise EndNotProven(self.doubt)
        if nameless := sum(bad.file_id is None for bad in self.rejected):
            raise EndNotProven(
                f"{nameless} of its records have no readable id, so which files are missing is not known"
            )
