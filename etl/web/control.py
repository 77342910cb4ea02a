"""What the web asks of the service, and how a request reaches it and the published database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from datetime import datetime
from threading import Event
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request

from etl.config import Config
from etl.load.store import Outcome, Run
from etl.report.inventory import Inventory

Observer = Callable[[Outcome | Run], None]
"""Told of every listing as it is applied, and of every run once it is published."""


class Control(Protocol):
    """The running service."""

    @property
    def config(self) -> Config:
        """The configuration in force; a reload replaces it."""

    @property
    def running(self) -> str | None:
        """What is being written now, in words; None when nothing is."""

    @property
    def alive(self) -> bool:
        """Whether every thread of it is there."""

    @property
    def stopping(self) -> Event:
        """Set once it was told to stop."""

    def next_run(self) -> datetime | None:
        """When the schedule starts the next run; None without a schedule."""

    def sync(self, names: Sequence[str], trigger: str) -> Future[Run]:
        """Queue a run over these credentials, or all; it starts when nothing else is written.

        Raises:
            ConfigError: A name is not configured.
        """

    def approve(self, name: str) -> Future[int]:
        """Queue the held deletions of a credential; the future gives how many files went."""

    def reject(self, name: str) -> Future[int]:
        """Queue to keep the files whose deletions are held; the future gives how many."""

    def observe(self, observer: Observer) -> None:
        """Tell the observer of what comes."""


def control(request: Request) -> Control:
    """Return the service that a request came to."""
    return cast("Control", request.app.state.control)


Controlled = Annotated[Control, Depends(control)]


def reader(request: Request) -> Iterator[Inventory]:
    """Open the published database for one request; StoreError where nothing is published."""
    with request.app.state.published.open() as inventory:
        yield inventory


Reader = Annotated[Inventory, Depends(reader)]
