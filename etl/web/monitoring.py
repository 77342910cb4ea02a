"""For those who watch the service: is it alive, is it ready, and the metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from pydantic import BaseModel
from starlette.responses import Response

from etl.errors import FileInventoryError, NothingPublished
from etl.report.inventory import open_published
from etl.web.control import Controlled, control
from etl.web.errors import Refusal, documented
from etl.web.metrics import Metrics

if TYPE_CHECKING:
    from fastapi import FastAPI

    from etl.web.control import Control

router = APIRouter(tags=["monitoring"])

_UNREADABLE = {
    True: "the published database cannot be read; approve, reject or the next run replaces it",
    False: "the lake cannot be read; it can be as soon as its catalogue and its files can be reached again",
}
"""By whether the store is a file; anybody may read it, so it names no place."""


class State(BaseModel):
    """All is well; what is not is an error."""

    status: Literal["ok"] = "ok"


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", responses=documented(503))
async def healthz(request: Request) -> State:
    """Tell whether the service is alive: restart it where it is not. Asks no thread that could be busy."""
    if not control(request).alive:
        raise Refusal(503, "a thread of the service has ended; restart it and see its log")
    return State()


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=documented(503))
def readyz(service: Controlled) -> State:
    """Tell whether the inventory can be asked: something is published, and the service is not stopping."""
    if service.stopping.is_set():
        raise Refusal(503, "the service is stopping; ask again when it is back")
    try:
        with open_published(service.config.store, threads=1) as inventory:
            inventory.query("select count(*) from runs").read_all()
    except NothingPublished:
        raise Refusal(503, "nothing is published yet; the first run does it") from None
    except FileInventoryError:
        raise Refusal(503, _UNREADABLE[isinstance(service.config.store, Path)]) from None
    return State()


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}, **documented()},
)
def metrics(request: Request) -> Response:
    """Return the metrics for Prometheus, as OpenMetrics to those who accept that."""
    measured: Metrics = request.app.state.metrics
    measured.activity.keep()
    # Not choose_encoder, which fails where a client names a version that is no number.
    if "application/openmetrics-text" in request.headers.get("accept", ""):
        content = openmetrics.generate_latest(measured.registry)  # type: ignore[no-untyped-call] # of the library
        return _answer(content, openmetrics.CONTENT_TYPE_LATEST)
    return _answer(generate_latest(measured.registry), CONTENT_TYPE_PLAIN_0_0_4)


def _answer(content: bytes, content_type: str) -> Response:
    return Response(content, headers={"content-type": content_type})


def install(app: FastAPI, control: Control) -> None:
    """Add the routes, and count what the service does."""
    app.state.metrics = Metrics(control)
    control.observe(app.state.metrics.activity.note)
    app.include_router(router)
