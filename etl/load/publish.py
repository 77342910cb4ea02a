"""Hand readers a whole copy of the store, in one step."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def publish(store: Path, published: Path) -> None:
    """Replace the published database by a copy of the store, which must be closed.

    Readers that have the old copy open keep it, undisturbed, until they close it.

    Raises:
        OSError: The copy cannot be written; the old one is still there.
    """
    fresh = published.with_name(f".{published.name}.fresh")
    try:
        shutil.copyfile(store, fresh)
        with fresh.open("rb+") as copy:
            os.fsync(copy.fileno())
        fresh.replace(published)
    finally:
        fresh.unlink(missing_ok=True)
