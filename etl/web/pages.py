"""To come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

if TYPE_CHECKING:
    from fastapi import FastAPI

    from etl.web.control import Control

router = APIRouter()


def install(app: FastAPI, _control: Control) -> None:
    """Add the routes."""
    app.include_router(router)
