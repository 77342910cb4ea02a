"""The API: ask in SQL, see the state, the runs and the changes, start a run, decide on held deletions."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import datetime
from io import BytesIO
from typing import Annotated, Any, Literal, TypeVar

import anyio
import pyarrow as pa
from fastapi import APIRouter, Body, FastAPI, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from etl.config import Serve
from etl.errors import ConfigError, QueryError, StoreError
from etl.load.store import Outcome, Run
from etl.report import Format
from etl.report.inventory import Inventory
from etl.report.output import encode, rows, to_json
from etl.transform.words import Change
from etl.web import errors
from etl.web import query as queries
from etl.web.control import Control, Controlled, Reader
from etl.web.errors import documented
from etl.web.params import SECURITY, Moment, published_at

T = TypeVar("T")

router = APIRouter(prefix="/api", tags=["inventory"], dependencies=SECURITY)

MOST_BYTES = 1_000_000
"""Of a request."""

MOST_ANSWERED = 100_000_000
"""Bytes of a query's answer, which is made whole before it is sent: so what goes wrong can still be said."""

MOST_WAITING = 50
"""Queries beside those that run."""

STOPPING = "the service is stopping; ask again when it is back"


class Strict(BaseModel):
    """What is asked; nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Scalar = bool | int | float | str | None


class Question(Strict):
    """SQL, and how to answer."""

    sql: str = Field(min_length=1, description="DuckDB SQL over the published database.", examples=["select 1"])
    parameters: dict[str, Scalar | list[Scalar]] = Field({}, description="By the names that stand in it after $.")
    format: Literal["json", "ndjson", "csv", "parquet", "arrow"] = "json"


class Column(BaseModel):
    """A column of an answer."""

    name: str
    type: str = Field(description="As Arrow calls it.")


class Answer(BaseModel):
    """The result of a query; times are RFC 3339 in UTC, whole numbers exact."""

    columns: list[Column]
    rows: list[list[Any]]
    row_count: int
    truncated: bool = Field(description="Whether more rows there were than serve.query_rows.")
    seconds: float


MEDIA = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
_ANSWERS: dict[str, Any] = {media.partition(";")[0]: {} for kind, media in MEDIA.items() if kind != "json"}


@router.post(
    "/query",
    response_model=Answer,
    responses=documented(400, 429, 503) | {200: {"content": _ANSWERS, "description": "The rows."}},
)
async def query(question: Question, request: Request, service: Controlled) -> Response:
    """Ask the published database; it can only be read.

    Other formats than json tell in the headers x-row-count and x-truncated what json tells in itself. A query whose
    asker has left is ended.
    """
    opened: Future[queries.Query] = Future()

    def end() -> None:
        opened.add_done_callback(lambda of: of.result().end())

    turns: anyio.CapacityLimiter = request.app.state.query_turns
    if turns.statistics().tasks_waiting >= MOST_WAITING:
        raise queries.TooManyQueries(f"{MOST_WAITING} queries wait already; ask again in a moment")
    watch = asyncio.create_task(_when_gone(request, end))
    try:
        return await anyio.to_thread.run_sync(_answer, question, service, opened, abandon_on_cancel=True, limiter=turns)
    finally:
        watch.cancel()
        end()


async def _when_gone(request: Request, end: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    end()


def _answer(question: Question, service: Control, opened: Future[queries.Query]) -> Response:
    serve = service.config.serve
    try:
        with queries.limited(service.config.store, serve) as inventory:
            opened.set_result(inventory)
            return _written(inventory, question, serve)
    except (pa.ArrowException, OverflowError, ValueError, RecursionError) as error:
        raise QueryError(f"it cannot be written as {question.format}: {error}; cast what is unusual to text") from None


def _written(inventory: queries.Query, question: Question, serve: Serve) -> Response:
    started = time.monotonic()
    sink = _Sink()
    result = _First(inventory.query(question.sql, **question.parameters), serve.query_rows)
    if question.format == "json":
        _write_answer(result, sink, started)
    else:
        encode(result.reader(), Format(question.format), sink)
    told = {"x-row-count": str(result.count), "x-truncated": str(result.truncated).lower()}
    return Response(sink.getvalue(), headers=told, media_type=MEDIA[question.format])


class _First:
    """The first rows of a result, and how many they were."""

    def __init__(self, result: pa.RecordBatchReader, most: int) -> None:
        self._result = result
        self._most = most
        self.schema = result.schema
        self.count = 0
        self.truncated = False

    def reader(self) -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(self.schema, self._batches())

    def _batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self._result:
            room = self._most - self.count
            self.count += min(room, batch.num_rows)
            if batch.num_rows > room:
                self.truncated = True
                yield batch.slice(0, room)
                return
            yield batch


class _Sink(BytesIO):
    """Memory that takes only so much."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > MOST_ANSWERED:
            raise QueryError(
                f"the answer is larger than {MOST_ANSWERED // 1_000_000} MB; ask for fewer rows or columns"
            )
        return super().write(data)


def _write_answer(result: _First, sink: _Sink, started: float) -> None:
    columns = [{"name": field.name, "type": str(field.type)} for field in result.schema]
    sink.write(f'{{"columns": {to_json(columns)}, "rows": ['.encode())
    for number, row in enumerate(rows(result.reader())):
        sink.write((",\n" if number else "\n").encode() + to_json(row).encode())
    told = {"row_count": result.count, "truncated": result.truncated, "seconds": round(time.monotonic() - started, 6)}
    sink.write(b"],\n" + to_json(told)[1:].encode())


# The state


class CredentialState(BaseModel):
    """How fresh a credential is, and what it holds."""

    credential: str
    state: Literal["fresh", "stale", "held", "inactive"]
    verdict: str | None
    as_of: datetime | None = Field(description="Its last complete listing.")
    files: int
    bytes: int | None
    unknown_sizes: int = Field(description="Files whose size is not told.")
    held_deletions: int
    last_attempt_at: datetime | None
    reason: str | None
    error: str | None


class RuleState(BaseModel):
    """What a rule found at the end of the latest run."""

    rule: str
    severity: str = Field(description="warning or critical.")
    state: str = Field(description="kept, broken or unchecked.")
    message: str
    offenders: int | None = Field(description="Rows that break it; null where it could not be checked.")
    examples: list[str]
    error: str | None = Field(description="Why it could not be checked.")
    checked_at: datetime


class State(BaseModel):
    """What `status` tells, and what the service is about."""

    published_at: datetime
    next_run: datetime | None = Field(description="By the schedule; null without one.")
    running: str | None = Field(description="What is being written now, in words.")
    credentials: list[CredentialState]
    rules: list[RuleState]


@router.get("/status", responses=documented(503))
def status(service: Controlled, inventory: Reader) -> State:
    """Tell for each credential how fresh it is, how many files it has, and what is held; and what the rules found."""
    return State(
        published_at=published_at(service),
        next_run=service.next_run(),
        running=service.running,
        credentials=_read(inventory, "status", CredentialState),
        rules=_read(inventory, "rules", RuleState),
    )


# The log


class Span(Strict):
    """A part of what was logged, page by page."""

    limit: int = Field(100, ge=1, le=1000)
    order: Literal["asc", "desc"] = Field("desc", description="desc: the newest first.")
    credential: str | None = Field(None, description="Only of this credential.")
    since: Moment | None = Field(None, description="From then on: a time, or so long ago (24h, 7d).")
    until: Moment | None = Field(None, description="Before then.")

    def asked(self) -> dict[str, Any]:
        """Return the parameters of the SQL; one row more tells whether there is a next page."""
        asked = self.model_dump(exclude={"order"})
        return asked | {"limit": self.limit + 1, "ascending": self.order == "asc"}


class RunsAsked(Span):
    """Which runs."""

    after: str | None = Field(None, description="`next` of the page before.")


class ChangesAsked(Span):
    """Which changes."""

    change: list[Change] | None = Field(None, description="Only these kinds; else all but baseline.")
    after: int | None = Field(None, ge=0, le=2**63 - 1, description="`next` of the page before.")


class LoggedRun(BaseModel):
    """A run over a set of credentials."""

    run_id: str
    trigger: str = Field(description="Who asked: cli, schedule or api.")
    started_at: datetime
    finished_at: datetime | None
    status: str = Field(description="running, complete, partial, failed or interrupted.")
    totals: dict[str, int] | None


class WholeRun(LoggedRun):
    """A run with what each listing brought."""

    listings: list[Outcome]


class LoggedChange(BaseModel):
    """A change, and the record after it; of a deletion, the record as last known."""

    change_id: int
    observed_at: datetime
    run_id: str
    credential: str
    file_id: str
    change: Change
    reason: str | None = Field(description="Of a deletion: missing or expired.")
    changed_fields: list[str] | None
    provider: str | None
    filename: str | None
    bytes: int | None
    purpose: str | None
    status: str | None
    status_details: str | None
    mime_type: str | None
    created_at: datetime | None
    expires_at: datetime | None


class Runs(BaseModel):
    """A page of runs."""

    data: list[LoggedRun]
    next: str | None = Field(description="Send it as `after` for the next page; null: this was the last.")


class Changes(BaseModel):
    """A page of changes."""

    data: list[LoggedChange]
    next: int | None = Field(description="Send it as `after` for the next page; null: this was the last.")


@router.get("/runs", responses=documented(400, 404, 503))
def runs(asked: Annotated[RunsAsked, Query()], inventory: Reader) -> Runs:
    """List the runs."""
    _expect(inventory, asked)
    data = [_run(row) for row in _rows(inventory, "runs_page", **asked.asked(), run_id=None)]
    page, more = data[: asked.limit], len(data) > asked.limit
    return Runs(data=page, next=page[-1].run_id if more else None)


@router.get("/runs/{run_id}", responses=documented(404, 503))
def run(run_id: str, inventory: Reader) -> WholeRun:
    """Show one run and its listings."""
    found = _rows(inventory, "runs_page", **RunsAsked().asked(), run_id=run_id)
    if not found:
        raise ConfigError(f"no run has the id {run_id}; see: GET /api/runs")
    return WholeRun(**_run(found[0]).model_dump(), listings=_rows(inventory, "run_outcomes", run_id=run_id))


@router.get("/changes", responses=documented(400, 404, 503))
def changes(asked: Annotated[ChangesAsked, Query()], inventory: Reader) -> Changes:
    """List the changes of files."""
    _expect(inventory, asked)
    params = asked.asked()
    data = _read(inventory, "changes_page", LoggedChange, changes=params.pop("change"), **params)
    page, more = data[: asked.limit], len(data) > asked.limit
    return Changes(data=page, next=page[-1].change_id if more else None)


def _expect(inventory: Inventory, asked: Span) -> None:
    if asked.credential is not None:
        inventory.expect_credential(asked.credential)


def _run(row: dict[str, Any]) -> LoggedRun:
    return LoggedRun(**row | {"totals": json.loads(row["totals"] or "null")})


M = TypeVar("M", bound=BaseModel)


def _read(inventory: Inventory, question: str, model: type[M], **params: Any) -> list[M]:
    return [model(**row) for row in _rows(inventory, question, **params)]


def _rows(inventory: Inventory, question: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = inventory.ask(question, **params).read_all().to_pylist()
    return found


# What the service is asked to do


class Wanted(Strict):
    """Which credentials to list."""

    credentials: list[str] = Field([], description="Their names; else all.")


class Waiting(Strict):
    """When to answer."""

    wait: bool = Field(default=False, description="Answer once the run is published, with all that it brought.")


class Queued(BaseModel):
    """The run starts when nothing else is written."""

    status: Literal["queued"] = "queued"


class Decided(BaseModel):
    """A decision was carried out."""

    credential: str
    files: int = Field(description="How many it was about.")


@router.post(
    "/sync",
    response_model=Run,
    responses=documented(400, 404, 503) | {202: {"model": Queued, "description": "Without wait: it is queued."}},
)
async def sync(
    waiting: Annotated[Waiting, Query()], service: Controlled, wanted: Annotated[Wanted | None, Body()] = None
) -> Run | Response:
    """List all credentials, or those named, as soon as nothing else is written."""
    future = service.sync(wanted.credentials if wanted else (), "api")
    if waiting.wait:
        return await _done(future)
    return JSONResponse(Queued().model_dump(), 202)


@router.post("/credentials/{name}/approve", responses=documented(404, 409, 503))
async def approve(name: str, service: Controlled) -> Decided:
    """Carry out the held deletions of a credential."""
    return Decided(credential=name, files=await _done(service.approve(name)))


@router.post("/credentials/{name}/reject", responses=documented(404, 409, 503))
async def reject(name: str, service: Controlled) -> Decided:
    """Keep the files whose deletions are held; while a listing lacks them, they are held again."""
    return Decided(credential=name, files=await _done(service.reject(name)))


async def _done(future: Future[T]) -> T:
    """Wait for what is queued, which goes on though the asker leaves."""
    try:
        return await asyncio.shield(asyncio.wrap_future(future))
    except asyncio.CancelledError:  # of what was queued, or of this answer: both only when the service stops
        raise StoreError(STOPPING) from None


class _Bounded:
    """ASGI middleware that takes no large body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = Headers(scope=scope).get("content-length", "0")
        taken = int(length) if length.isdecimal() else 0

        async def receiving() -> Message:
            nonlocal taken
            if taken > MOST_BYTES:
                raise HTTPException(413, "the body is larger than 1 MB")
            message = await receive()
            taken += 0 if length != "0" else len(message.get("body", b""))
            if taken > MOST_BYTES:
                raise HTTPException(413, "the body is larger than 1 MB")
            return message

        await self._app(scope, receiving, send)


def install(app: FastAPI, _control: Control) -> None:
    """Add the routes, and the answers to what goes wrong."""
    app.state.query_turns = anyio.CapacityLimiter(
        queries.AT_ONCE
    )  # threads of their own: waiting blocks no other answer
    app.include_router(router)
    app.add_middleware(_Bounded)
    errors.install(app)
