"""To come."""

from typing import Any


def configure(log: Any, secrets: Any) -> None:
    """Set up."""


def note(event: Any) -> None:
    """Note."""
