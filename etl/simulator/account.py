"""One provider account: files that appear, change, expire, vanish and come back."""

import base64
import random
import threading
import time
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import accumulate, product
from typing import Any

Json = dict[str, Any]

DAY = 86_400
SPAN = 540 * DAY
"""Age of the oldest file of a new account."""

BATCH_LIFE = 30 * DAY
"""A batch file expires this long after its upload; older batch files were kept on purpose."""

KINDS = [
    ("assistants", 20, ["product-faq", "price-list", "handbook", "rückfragen"], ["pdf", "docx", "md"]),
    ("assistants_output", 6, ["sales-chart", "cohort-analysis"], ["png", "csv"]),
    ("batch", 24, ["support-tickets", "invoice-extraction", "review-sentiment", "catalogue-tags"], ["jsonl"]),
    ("batch_output", 14, ["batch-output", "batch-errors"], ["jsonl"]),
    ("fine-tune", 10, ["train-intents", "valid-intents", "tone-of-voice"], ["jsonl"]),
    ("fine-tune-results", 4, ["step-metrics"], ["csv"]),
    ("vision", 8, ["receipt-scan", "shelf-photo"], ["png", "jpg", "webp"]),
    ("user_data", 11, ["contract", "meeting-notes", "quarterly-report"], ["pdf", "txt", "xlsx"]),
    ("evals", 3, ["golden-answers", "red-team-prompts"], ["jsonl"]),
]
"""Purpose, share in percent, first parts of the file names, endings."""

STATES = [("processed", 90), ("uploaded", 8), ("error", 2)]
"""Status, share in percent."""

SHAPES = [
    (purpose, stem, ending, status, share * state_share / (len(stems) * len(endings)))
    for purpose, share, stems, endings in KINDS
    for stem, ending, (status, state_share) in product(stems, endings, STATES)
]
SHARES = list(accumulate(share for *_, share in SHAPES))
NEXT = {"uploaded": "processed", "processed": "error", "error": "processed"}
BASE62 = bytes.maketrans(b"+/", b"Az")


class Account:
    """The files that one provider account holds; the same seed gives the same files.

    `now` is the account's clock, in unix seconds: the first files were made before it, later ones are made at
    it. It stands still until it is set. Records are replaced, never altered, so a page stays as it was when
    asked for; change the account through its methods only. Asking one for more files than there are raises
    ValueError.
    """

    def __init__(self, files: int = 0, *, seed: int = 0, now: int | None = None, prefix: str = "file-") -> None:
        self.now = int(time.time()) if now is None else now
        self.prefix = prefix
        self.files: dict[str, Json] = {}
        """The records by id, oldest first."""
        self.gone: dict[str, Json] = {}
        """The removed records by id, the latest removal last."""
        self._random = random.Random(seed)
        self._lock = threading.RLock()
        self._views: dict[str | None, tuple[list[str], dict[str, int]]] = {}
        self._changes = 0
        # Uploads grow over the years: a quarter of the files is younger than a month.
        ages = (int(SPAN * ((files - place) / files) ** 2) for place in range(files))
        self._put(self._made([self.now - age for age in ages]))

    def add(self, count: int = 1) -> list[str]:
        """Upload files, made `now`."""
        with self._lock:
            return self._put(self._made([self.now] * count))

    def change(self, count: int = 1) -> list[str]:
        """Move files on to their next status, in a way that no earlier state of theirs had."""
        with self._lock:
            return self._put([self._changed(self.files[key]) for key in self._some(self.files, count)])

    def delete(self, count: int = 1) -> list[str]:
        """Remove files picked at random."""
        with self._lock:
            keys = self._some(self.files, count)
            self.remove(*keys)
            return keys

    def remove(self, *ids: str) -> None:
        """Remove these very files."""
        with self._lock:
            self.gone |= {key: self.files.pop(key) for key in ids}
            self._views.clear()

    def restore(self, count: int = 1) -> list[str]:
        """Bring the files that were removed last back, unchanged and in their old place."""
        with self._lock:
            if count > len(self.gone):
                raise ValueError(f"only {len(self.gone)} files are gone")
            keys = self._put([self.gone.popitem()[1] for _ in range(count)])
            ordered = sorted(self.files.values(), key=lambda record: int(record["created_at"]))
            self.files.clear()
            self._put(ordered)
            return keys

    def age(self, count: int = 1, seconds: int = 0) -> list[str]:
        """Let files expire at `now + seconds`: what a client has to see before `expire` takes them away.

        Files that would expire later are taken first; where these do not suffice, any.
        """
        with self._lock:
            due = self.now + seconds
            later = [key for key, record in self.files.items() if record.get("expires_at", 0) > due]
            keys = self._some(later if len(later) >= count else self.files, count)
            return self._put([self.files[key] | {"expires_at": due} for key in keys])

    def expire(self, count: int | None = None) -> list[str]:
        """Remove files whose `expires_at` has passed, all or the longest overdue; see `age`."""
        with self._lock:
            due = {
                key: at for key, file in self.files.items() if (at := file.get("expires_at", self.now + 1)) <= self.now
            }
            if count is not None and count > len(due):
                raise ValueError(f"only {len(due)} files are past their expiry: age some first")
            keys = sorted(due, key=lambda key: int(due[key]))[:count]
            self.remove(*keys)
            return keys

    def oldest(self, count: int, purpose: str | None = None) -> "Account":
        """Return an account that holds the oldest of these files alone, of those on the list of a purpose."""
        part = Account(now=self.now, prefix=self.prefix)
        with self._lock:
            ids, _ = self._view(purpose)
            part._put([self.files[key] for key in ids[:count]])
        return part

    def page(self, limit: int, order: str = "desc", after: str | None = None, purpose: str | None = None) -> Json:
        """One page of the list, in its envelope; KeyError where `after` is not on the list."""
        with self._lock:
            ids, places = self._view(purpose)
            if order == "asc":
                start = 0 if after is None else places[after] + 1
                keys, more = ids[start : start + limit], start + limit < len(ids)
            else:
                end = len(ids) if after is None else places[after]
                keys, more = ids[max(0, end - limit) : end][::-1], end > limit
            data = [self.files[key] for key in keys]
        first, last = (keys[0], keys[-1]) if keys else (None, None)
        return {"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more}

    def _view(self, purpose: str | None) -> tuple[list[str], dict[str, int]]:
        """Ids on the list of a purpose, and the place of each; kept until the next change."""
        if purpose not in self._views:
            ids = [key for key, file in self.files.items() if purpose in (None, file["purpose"])]
            self._views[purpose] = ids, {key: place for place, key in enumerate(ids)}
        return self._views[purpose]

    def _some(self, keys: Iterable[str], count: int) -> list[str]:
        return self._random.sample(list(keys), count)

    def _put(self, records: Iterable[Json]) -> list[str]:
        put = {record["id"]: record for record in records}
        self.files |= put
        self._views.clear()
        return list(put)

    def _made(self, times: list[int]) -> Iterator[Json]:
        """Make one new record for each time of creation."""
        count = len(times)
        letters = base64.b64encode(self._random.randbytes(18 * count)).translate(BASE62).decode()
        shapes = self._random.choices(SHAPES, cum_weights=SHARES, k=count)
        for place, created_at, (purpose, stem, ending, status, _) in zip(range(count), times, shapes, strict=True):
            record = {
                "id": self.prefix + letters[24 * place : 24 * place + 24],
                "object": "file",
                "bytes": int(2 ** (3 + 26 * self._random.random())),  # from 8 bytes to 512 MB
                "created_at": created_at,
                "filename": f"{stem}-{_month(created_at // DAY)}.{ending}",
                "purpose": purpose,
                "status": status,
                "status_details": None,
            }
            if purpose == "batch" and created_at > self.now - BATCH_LIFE:
                record["expires_at"] = created_at + BATCH_LIFE
            yield record

    def _changed(self, record: Json) -> Json:
        self._changes += 1
        status = record["status"]
        details = None if status == "uploaded" else f"validation {self._changes}"
        return record | {"status": NEXT[status], "status_details": details}


@cache
def _month(day: int) -> str:
    return time.strftime("%Y-%m", time.gmtime(day * DAY))
