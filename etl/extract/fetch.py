"""Fetch one credential's listing: every page, normalised, with the verdict it has earned."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from etl.errors import REDACTED, EndNotProven, ListingError, NoRoom, Unsupported, WrongShape
from etl.extract.http import Getter
from etl.providers import adapter
from etl.transform.listing import Listing, fold
from etl.transform.normalise import normalise
from etl.transform.plain import Skimmed
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.extract.http import Http
    from etl.extract.spool import Spool
    from etl.providers import Credential
    from etl.providers.base import Page
    from etl.transform.record import Rejected


READERS = 2
"""Pages of one listing that are read at once, while the next one is on its way."""


def fetch(credential: Credential, http: Http) -> Listing:
    """List all files of a credential; what goes wrong becomes the verdict's reason, never an exception."""
    started_at = datetime.now(UTC)
    get = Getter(http, credential)
    error: ListingError | None = None
    with http.spool() as spool, ThreadPoolExecutor(READERS) as readers:
        pages = _Pages(credential, readers, spool)
        try:
            for page in adapter(credential).pages(get, credential):
                get.stalled = not pages.add(page)
                get.skims = not pages.odd
            pages.check_end()
        except ListingError as caught:
            error = caught
        except Exception as caught:  # noqa: BLE001 - one bad credential never stops the others
            error = WrongShape(f"the answer has a form that was not foreseen: {caught!r}")
        files = pages.files()
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


def _verdict(error: ListingError | None, pages: int) -> Verdict:
    if error is None:
        return Verdict.COMPLETE
    if pages:
        return Verdict.INCOMPLETE
    return Verdict.UNSUPPORTED if isinstance(error, Unsupported) else Verdict.FAILED


class _Read(NamedTuple):
    """A page's records in columns, and those that cannot be read."""

    batch: pa.RecordBatch
    rejected: list[Rejected]
    ids: list[str]
    """Of all of them."""
    odd: bool
    """Whether they were skimmed in vain."""


def _read(credential: Credential, page: Page, number: int) -> _Read:
    """Read a page's records; keep to the purpose asked for, since not every server minds the filter."""
    reading = page.reading or adapter(credential).reading
    batch, rejected = normalise(page.records, reading, provider=page.provider, page=number)
    if isinstance(page.records, Skimmed):
        ids, odd = page.records.ids, page.records.odd
    else:
        ids, odd = [*batch["file_id"].to_pylist(), *(bad.file_id for bad in rejected if bad.file_id)], False
    if (purpose := credential.purpose) is not None:
        batch = batch.filter(pc.fill_null(pc.equal(batch["purpose"], purpose), fill_value=True))
    return _Read(_without_secrets(batch, set(credential.secrets())), rejected, ids, odd)


def _without_secrets(batch: pa.RecordBatch, secrets: set[str]) -> pa.RecordBatch:
    """Blot out the credential's own secrets where a provider put them into text."""
    for name in ("filename", "status_details", "extra"):
        for secret in secrets:
            if pc.any(pc.match_substring(batch[name], secret)).as_py():
                clean = pc.replace_substring(batch[name], secret, REDACTED)
                batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), clean)
    return batch


_LARGE = 2000
"""Of pages with so many records, some ids are enough to tell that there is a new one."""


def _at_once(call: Callable[..., _Read], *args: Any) -> Future[_Read]:
    """Do what another thread would take longer to begin with."""
    done: Future[_Read] = Future()
    try:
        done.set_result(call(*args))
    except Exception as error:  # noqa: BLE001 - it is raised where the result is asked for
        done.set_exception(error)
    return done


@dataclass
class _Pages:
    """The pages so far, and the guard that each brings something new."""

    credential: Credential
    readers: ThreadPoolExecutor
    spool: Spool
    count: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    odd: bool = False
    """Whether any was skimmed in vain."""
    doubt: str | None = None
    """Why the list is never proven to be whole, if so."""
    repeated: bool = False
    """Whether an id came twice; not noticed where only some are looked at."""
    _reading: deque[Future[_Read]] = field(default_factory=deque)
    """The pages that were added last."""
    _seen: set[int] = field(default_factory=set)
    """Hashes of ids, those only whose last bits are 0: all of 1,000,000 would take 100 MB."""
    _bits: int = 0

    def add(self, page: Page) -> bool:
        """Take one page in; return whether it brought a new file. Nothing but old files is an error."""
        self._collect(READERS - 1)
        self.count += 1
        self.doubt = page.doubt
        submit = self.readers.submit if len(page.records) >= _LARGE else _at_once
        self._reading.append(submit(_read, self.credential, page, self.count))
        progress = self._note(page.records.ids if isinstance(page.records, Skimmed) else self._reading[-1].result().ids)
        if self.count > 1 and page.records and not progress:
            raise EndNotProven("a page brought no file that was not listed before")
        return progress

    def files(self) -> pa.Table:
        """Return what could be read, one row a file: of those that came more than once, the last."""
        self._reading = deque(future for future in self._reading if not future.exception())
        with suppress(NoRoom):  # where pages are left, another error stands already
            self._collect()
        repeated = self.repeated or (self._bits and not self.spool.is_distinct())
        return fold(self.spool.table()) if repeated else self.spool.table()

    def check_end(self) -> None:
        """Refuse to call a listing complete that is in doubt, or has records nobody can name."""
        self._collect()
        if self.doubt:
            raise EndNotProven(self.doubt)
        if nameless := sum(bad.file_id is None for bad in self.rejected):
            raise EndNotProven(
                f"{nameless} of its records have no readable id, so which files are missing is not known"
            )

    def _collect(self, left: int = 0) -> None:
        """Wait until all pages but so many are read."""
        while len(self._reading) > left:
            read = self._reading.popleft().result()
            self.spool.append(read.batch)
            self.rejected += read.rejected
            self.odd |= read.odd

    def _note(self, ids: list[str]) -> bool:
        """Return whether any of these was never seen on a page before; now all are."""
        if self.count == 1 and len(ids) >= _LARGE and self.credential.purpose is None:
            self._bits = 15
        bits, known = self._bits, len(self._seen)
        hashes = {number for number in map(hash, ids) if not number & bits}
        self._seen |= hashes
        self.repeated |= not bits and len(self._seen) < known + len(ids)
        return len(self._seen) > known or (bits > 0 and self._lack_some_of(ids))

    def _lack_some_of(self, ids: list[str]) -> bool:
        """Tell exactly whether one of these ids is on none of the pages before; it takes a look at all of them."""
        *before, _ = (future.result() for future in self._reading)
        new = set(ids) - {bad.file_id for bad in [*self.rejected, *(bad for read in before for bad in read.rejected)]}
        sought = pa.array(ids, pa.string())
        for batch in [*self.spool, *(read.batch for read in before)]:
            new -= set(batch["file_id"].filter(pc.is_in(batch["file_id"], sought)).to_pylist())
        return bool(new)
