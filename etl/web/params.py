"""What the parts of the API share: how parameters are read, and who may ask."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BeforeValidator, WithJsonSchema

from etl.errors import ConfigError
from etl.report.inventory import moment
from etl.report.inventory import published_at as when_published
from etl.web.control import Control

SECURITY = [
    Depends(HTTPBearer(auto_error=False, description="serve.token; not asked for where none is set.")),
    Depends(
        APIKeyHeader(name="x-portkey-api-key", auto_error=False, description="The same, as Portkey's clients send it.")
    ),
]
"""Named for OpenAPI; etl.web.access asks."""


def _moment(value: Any) -> datetime:
    try:
        return moment(str(value)).astimezone(UTC)
    except (ConfigError, OverflowError) as error:
        raise ValueError(str(error)) from None


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "format": "date-time"}, {"type": "string", "pattern": "^[0-9]{1,4}[mhdw]$"}],
            "examples": ["24h", "2026-11-23T12:00:00Z"],
        }
    ),
]
"""A time, or so long ago."""


def published_at(service: Control) -> datetime:
    """Tell when the inventory was published."""
    return when_published(service.config.store)
