"""The lock of a store that one process writes to at a time."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from etl.errors import StoreBusy, StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager


class Alone:
    """Keeps every other writer of this machine out, so that whatever is written is ours to write."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> None:
        """Take the lock; StoreBusy where another process has it."""
        self._handle = _lock(self._path)

    def close(self) -> None:
        """Give the lock back, which the system does too where a process ends."""
        os.close(self._handle)

    def announce(self, url: str) -> None:
        """Note that a service at this URL takes work."""
        _note(self._handle, url)

    def begin(self, run_id: str) -> None:
        """Nobody needs to know that this run goes on."""

    def abandoned(self, run_ids: Sequence[str]) -> list[str]:
        """Return the runs that nobody works on any more: all that did not end."""
        return list(run_ids)

    def take(self, names: Sequence[str]) -> set[str]:
        """Return the credentials that nobody else lists: all."""
        return set(names)

    def free(self, *names: str) -> None:
        """Let others list these credentials; there are none."""

    def who(self, name: str) -> str:
        """Say who lists a credential; nobody else does."""
        return f"nobody lists {name}"

    def turn(self) -> AbstractContextManager[None]:
        """Wait until nobody else writes."""
        return nullcontext()

    def expect(self) -> None:
        """Raise StoreError where what was taken is lost, which cannot be."""

    def lead(self) -> bool:
        """Tell whether this process keeps the schedule."""
        return True


def _lock(path: Path) -> int:
    """Take the writers' lock and leave a note who holds it; the system frees it with the process."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StoreError(f"{path.parent}: the store cannot be kept there: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 500, 0).decode(errors="replace").strip() or "an unknown process"
        os.close(handle)
        service = _SERVING.search(holder)
        raise StoreBusy(
            f"another writer is at work on {path.parent}: {holder}; wait for it, or stop it",
            service[1] if service else None,
        ) from None
    _note(handle)
    return handle


_SERVING = re.compile(r", serving (http\S+)$")


def _note(handle: int, url: str | None = None) -> None:
    serving = f", serving {url}" if url else ""
    note = f"process {os.getpid()} ({Path(sys.argv[0]).name}) since {datetime.now(UTC):%FT%TZ}{serving}\n"
    os.truncate(handle, 0)
    os.pwrite(handle, note.encode(), 0)
