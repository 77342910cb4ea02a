"""Hand readers a whole copy of the store, in one step."""

from __future__ import annotations

import fcntl
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


_READ_ONLY = 0o555

_FICLONE = 0x40049409
"""Linux: let one file share the blocks of another, https://man7.org/linux/man-pages/man2/ioctl_ficlone.2.html."""


def publish(store: Path, published: Path) -> None:
    """Replace the published database by a copy of the store, which must be closed.

    Readers that have the old copy open keep it, undisturbed, until they close it.

    Raises:
        OSError: The copy cannot be written; the old one is still there.
    """
    fresh = published.with_name(f".{published.name}.fresh")
    try:
        _copy(store, fresh)
        with fresh.open("rb+") as copy:
            os.fsync(copy.fileno())
        fresh.chmod(store.stat().st_mode & _READ_ONLY)
        wal = published.with_name(f"{published.name}.wal")
        wal.unlink(missing_ok=True)  # of somebody who wrote to the old copy; it would spoil the new one
        fresh.replace(published)
        wal.unlink(missing_ok=True)
    finally:
        fresh.unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    """Copy a file: in no time where the file system lets both share their blocks (XFS, Btrfs), else byte by byte."""
    with source.open("rb") as whole, target.open("wb") as copy:
        try:
            fcntl.ioctl(copy.fileno(), _FICLONE, whole.fileno())
        except OSError:
            pass
        else:
            return
    shutil.copyfile(source, target)
