"""What goes wrong becomes an answer: JSON for programs, a page for people, never a stack trace."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from etl.errors import ConfigError, FileInventoryError, NothingHeld, QueryError
from etl.web.html import error_page
from etl.web.query import TooManyQueries

log = logging.getLogger(__name__)

PROGRAMS = ("/api/", "/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")
"""Paths that programs ask for."""

STATUS: dict[type[FileInventoryError], int] = {
    FileInventoryError: 503,
    NothingHeld: 409,
    ConfigError: 404,
    QueryError: 400,
    TooManyQueries: 429,
}
"""By kind, the nearest counts: what is not the caller's fault is 503, a wrong name 404."""

_SENTENCES = {404: "there is nothing at this address", 405: "this address does not take that method"}


class Fault(BaseModel):
    """What is wrong, in the fields of the OpenAI API."""

    message: str = Field(description="One sentence for people: the thing, the place, the mend.")
    type: str = Field(description="invalid_request_error: the request must change; server_error: it may be repeated.")
    param: str | None = Field(description="Which parameter is wrong, if one is.")
    code: str | None


class Problem(BaseModel):
    """Every answer that is no success."""

    error: Fault


class Refusal(Exception):
    """A request that cannot be answered as it is."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.param = param


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe for OpenAPI the errors an operation may answer with, beside those that any may."""
    meanings: dict[int | str, str] = {
        400: "The request is wrong; the message says where.",
        404: "There is no such thing.",
        409: "It cannot be done as things are.",
        429: "Too many at once.",
        503: "Nothing is published yet, or the service is stopping.",
        "4XX": "Refused: 401 without the token, 403 and 421 from elsewhere, 405, 413 more than 1 MB.",
    }
    told: tuple[int | str, ...] = (*statuses, "4XX")
    return {status: {"model": Problem, "description": meanings[status]} for status in told}


def install(app: FastAPI) -> None:
    """Answer to every error."""
    app.add_exception_handler(FileInventoryError, _trouble)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


def _trouble(request: Request, error: Exception) -> Response:
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return answer(request, status, str(error))


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - Starlette types every handler alike
    return answer(request, error.status, str(error), error.param)


def _invalid(request: Request, error: Exception) -> Response:
    """Name every fault; not 422 but 400, as OpenAI answers, and without the values, which may be secret."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
    places = [
        ".".join(str(part) for part in fault["loc"][1:] if fault["type"] != "json_invalid") for fault in error.errors()
    ]
    told = [f"{place or 'the body'}: {_plain(fault)}" for place, fault in zip(places, error.errors(), strict=True)]
    return answer(request, 400, "; ".join(told), places[0] if places and places[0] else None)


def _plain(fault: dict[str, Any]) -> str:
    return str(fault["msg"]).removeprefix("Value error, ").replace("Input should", "should")


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    response = answer(request, error.status_code, _SENTENCES.get(error.status_code, error.detail))
    response.headers.update(error.headers or {})
    return response


def _unforeseen(request: Request, _error: Exception) -> Response:
    return answer(request, 500, "the service failed to answer; its log tells why")


def answer(request: Request, status: int, message: str, param: str | None = None) -> Response:
    """Tell an error in the form that whoever asks can read."""
    if not request.url.path.startswith(PROGRAMS):
        return error_page(request, status, message)
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004 - RFC 9110
    fault = {"message": message, "type": kind, "param": param, "code": None}
    headers = {"retry-after": "5"} if status in {429, 503} else None
    return JSONResponse({"error": fault}, status, headers)
