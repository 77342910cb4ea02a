"""The listing: all pages of one credential in one run, and what they prove."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from etl.transform.record import SCHEMA, Rejected
from etl.transform.words import Verdict

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True)
class Listing:
    """What one credential's pages held."""

    credential: str
    status: Verdict
    started_at: datetime
    finished_at: datetime
    files: pa.Table = field(default_factory=SCHEMA.empty_table)
    """The records in `SCHEMA`, one row a file."""
    rejected: tuple[Rejected, ...] = ()
    reason: str | None = None
    """One word for why it is not complete."""
    error: str | None = None
    """The sentence behind the reason, without secrets."""
    pages: int = 0
    requests: int = 0
    retries: int = 0
    bytes_received: int = 0
    first_id: str | None = None
    last_id: str | None = None
    rechecked: bool = False
    """Whether it was fetched twice because of the deletions it implied."""

    def confirmed_by(self, second: Listing) -> Listing:
        """Join with a second listing of the same run: only what both lack counts as gone."""
        seen_again = pc.is_in(self.files["file_id"], second.files["file_id"].combine_chunks())
        rejected = {(bad.reason, bad.record): bad for bad in self.rejected + second.rejected}
        joined = replace(
            second,
            started_at=self.started_at,
            files=pa.concat_tables([second.files, self.files.filter(pc.invert(seen_again))]),
            rejected=tuple(rejected.values()),
            pages=self.pages + second.pages,
            requests=self.requests + second.requests,
            retries=self.retries + second.retries,
            bytes_received=self.bytes_received + second.bytes_received,
            rechecked=True,
        )
        if second.status is Verdict.COMPLETE:
            return joined
        error = f"the second listing, to confirm deletions, did not complete: {second.error}"
        return replace(joined, status=Verdict.INCOMPLETE, reason="not_confirmed", error=error)


def fold(files: pa.Table) -> pa.Table:
    """Keep one row a file_id, the one fetched last."""
    rows = {file_id: row for row, file_id in enumerate(files["file_id"].to_pylist())}
    return files if len(rows) == len(files) else files.take(pa.array(sorted(rows.values())))
