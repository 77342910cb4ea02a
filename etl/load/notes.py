"""What a service has to remember beyond its life, kept where the one that goes on after it finds it."""

from __future__ import annotations

from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from etl.errors import StoreError, redact

if TYPE_CHECKING:
    from etl.places import Lake, Place


class Beside:
    """Notes in a file, for a store that one machine keeps."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes | None:
        """Return what was written last, None where nothing was; OSError where it cannot be read."""
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, notes: bytes) -> None:
        """Replace them in one step; OSError where that cannot be."""
        fresh = self._path.with_name(f".{self._path.name}.fresh")
        fresh.write_bytes(notes)
        fresh.replace(self._path)

    def __str__(self) -> str:
        return str(self._path)


class InCatalog:
    """Notes in the PostgreSQL of a lake's catalogue, where every host reads them."""

    def __init__(self, lake: Lake, name: str) -> None:
        self._lake = lake
        self._name = name

    def read(self) -> bytes | None:
        """Return what was written last, None where nothing was; StoreError where the catalogue cannot be reached."""
        [(notes,)] = self._asked("noted", name=self._name)
        return notes

    def write(self, notes: bytes) -> None:
        """Replace them; StoreError where the catalogue cannot be reached."""
        self._asked("note", name=self._name, notes=notes)

    def _asked(self, script: str, **params: object) -> list[tuple[bytes | None]]:
        import psycopg  # noqa: PLC0415 - needs what not everybody installs

        from etl.load.leases import connect  # noqa: PLC0415 - the same

        try:
            with closing(connect(self._lake)) as session:
                session.execute(_text("notes"))
                found: list[tuple[bytes | None]] = session.execute(_text(script), params).fetchall()
        except psycopg.Error as error:
            raise StoreError(f"{self}: {redact(str(error).splitlines()[0], self._lake.secrets())}") from None
        return found

    def __str__(self) -> str:
        return f"the catalogue of {self._lake}"


def notes(place: Place, name: str) -> Beside | InCatalog:
    """Return the notes of that name that belong to the store at a place."""
    if isinstance(place, Path):
        return Beside(place.with_suffix(f".{name}.json"))
    return InCatalog(place, name) if place.url else Beside(place.catalog.with_suffix(f".{name}.json"))


def _text(name: str) -> str:
    return resources.files("etl.load").joinpath("sql", "catalog", f"{name}.sql").read_text()
