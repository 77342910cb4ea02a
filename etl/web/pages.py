"""The pages: what the inventory holds, what changed, and what waits for a person. All work without JavaScript."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from datetime import UTC, datetime
from functools import lru_cache
from importlib import resources
from itertools import islice
from pathlib import Path
from threading import RLock
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import parse_qs, quote

import pyarrow as pa
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.background import BackgroundTask
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from etl.errors import QueryError, StoreError
from etl.report import Format, charts, figures
from etl.report.inventory import Inventory, moment
from etl.report.output import write
from etl.web import access, errors
from etl.web.control import Control, Controlled, Reader
from etl.web.html import page, version
from etl.web.query import limited

T = TypeVar("T")

router = APIRouter(include_in_schema=False)

PERIODS = ("24h", "7d", "30d", "90d")
ROWS = 50
"""Rows of a list before it goes on on the next page."""

SHOWN = 1000
"""Rows of a query that a page shows."""

PATIENCE = 10.0
"""Seconds that a page waits for what is being written."""

MOST_FORM = 100_000
"""Bytes of a form."""


def install(app: FastAPI, _control: Control) -> None:
    """Add the pages, and how errors are shown."""
    errors.install(app)
    app.state.remembered = Remembered()
    app.include_router(router)


async def _form(request: Request) -> dict[str, str]:
    """Read a form as browsers send it; the last value of a name counts."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_FORM:
            raise errors.Refusal(413, "this form is too long")
    fields = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


Form = Annotated[dict[str, str], Depends(_form)]


class Remembered:
    """Answers about one published copy, each worked out once however many ask at the same time."""

    MOST = 32

    def __init__(self) -> None:
        self._lock = RLock()
        self._copy: object = None
        self._answers: dict[object, Any] = {}

    def get(self, inventory: Inventory, key: object, work: Callable[[], T]) -> T:
        """Return the answer for a key, or work it out."""
        with self._lock:
            if inventory.copy != self._copy or len(self._answers) > self.MOST:
                self._copy, self._answers = inventory.copy, {}
            if key not in self._answers:
                self._answers[key] = work()
            return cast("T", self._answers[key])


@router.get("/")
def dashboard(request: Request, inventory: Reader, since: str = "30d") -> Response:
    """Show what there is, what changed, and what waits for a person."""
    remembered: Remembered = request.app.state.remembered
    minute = datetime.now(UTC).replace(second=0, microsecond=0)  # what is stale or expires moves with the clock
    shown = remembered.get(inventory, (since, minute), lambda: _overview(inventory, remembered, moment(since)))
    return page(request, "dashboard.html", **shown, since=since, periods=PERIODS)


def _overview(inventory: Inventory, remembered: Remembered, start: datetime) -> dict[str, Any]:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    history = remembered.get(inventory, hour, lambda: figures.history(inventory)).since(start)
    draw = (charts.files_over_time, charts.bytes_over_time, charts.changes_over_time)
    return {
        "overview": figures.overview(inventory, start),
        "trends": [chart for one in draw if (chart := one(history))],
        "changes": figures.latest_changes(inventory, figures.Filter(since=start), 12),
    }


@router.get("/published")
def published(request: Request, service: Controlled) -> JSONResponse:
    """Tell a page whether it is still the latest."""
    return JSONResponse({"version": version(request), "running": service.running})


@router.get("/changes")
def changes(
    request: Request,
    inventory: Reader,
    credential: str = "",
    kind: str = "",
    since: str = "",
    text: str = "",
    before: int | None = None,
) -> Response:
    """Show the change log."""
    start = moment(since) if since else None
    wanted = figures.Filter(credential or None, kind or None, start, text or None, before)
    if credential:
        inventory.expect_credential(credential)
    rows = figures.latest_changes(inventory, wanted, ROWS + 1)
    asked = {"credential": credential, "kind": kind, "since": since, "text": text}
    names = inventory.query("select name from credentials order by name").read_all()["name"].to_pylist()
    return page(request, "changes.html", changes=rows[:ROWS], more=len(rows) > ROWS, asked=asked, names=names)


@router.get("/credentials/{name}")
def credential(request: Request, inventory: Reader, name: str, text: str = "", offset: int = 0) -> Response:
    """Show a credential: its state, its listings, its files."""
    shown = figures.credential(inventory, name)
    offset = max(0, offset)
    asked = {"credential": name, "text": text or None, "limit": ROWS + 1, "offset": offset}
    files = figures.ask(inventory, "files_of", **asked)
    return page(
        request,
        "credential.html",
        shown=shown,
        listings=figures.ask(inventory, "listings_of", credential=name, limit=30),
        held=[row for row in figures.held(inventory) if row["credential"] == name],
        files=files[:ROWS],
        more=len(files) > ROWS,
        offset=offset,
        rows=ROWS,
        text=text,
    )


@router.get("/credentials/{name}/files/{file_id:path}")
def file(request: Request, inventory: Reader, name: str, file_id: str) -> Response:
    """Show all that is known of a file, and all that happened to it."""
    versions = figures.versions(inventory, name, file_id)
    now = figures.ask(inventory, "file", credential=name, file_id=file_id)
    return page(request, "file.html", versions=versions, now=now[0] if now else None, credential=name, file_id=file_id)


@router.get("/runs")
def runs(request: Request, inventory: Reader, before: str = "") -> Response:
    """Show the runs, the latest first."""
    found = figures.runs(inventory, moment(before) if before else None, ROWS + 1)
    return page(request, "runs.html", runs=found[:ROWS], more=len(found) > ROWS)


@router.get("/runs/{run_id}")
def run(request: Request, inventory: Reader, run_id: str) -> Response:
    """Show a run: each of its listings, and what was set aside."""
    return page(request, "run.html", run=figures.run(inventory, run_id))


@router.get("/sql")
def sql(request: Request, inventory: Reader, service: Controlled, q: str = "") -> Response:
    """Run SQL and show its first rows."""
    answer = _answer(service, q) if q.strip() else None
    return page(
        request,
        "sql.html",
        400 if answer and answer["error"] else 200,
        q=q,
        answer=answer,
        examples=examples(),
        tables=figures.ask(inventory, "columns"),
        shown=SHOWN,
        serve=service.config.serve,
    )


def _answer(service: Control, q: str) -> dict[str, Any]:
    started = time.monotonic()
    try:
        with limited(service.config.store, service.config.serve) as inventory:
            result = inventory.query(q)
            rows = list(islice(_rows(result), SHOWN + 1))
    except QueryError as error:
        return {"error": str(error)}
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return {
        "error": None,
        "columns": [(field.name, any(kind(field.type) for kind in kinds)) for field in result.schema],
        "rows": rows[:SHOWN],
        "cut": len(rows) > SHOWN,
        "seconds": time.monotonic() - started,
    }


def _rows(result: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    for batch in result:
        yield from zip(*(_values(column) for column in batch.columns), strict=True)


def _values(column: pa.Array) -> list[Any]:
    """Take values out of Arrow; as text where Python has no such value, as of the year 10000."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, pa.ArrowException):
        return list(column.cast(pa.string()).to_pylist())


@router.get("/sql/download")
def download(service: Controlled, q: str, format: Literal["csv", "json", "parquet", "arrow"] = "csv") -> Response:  # noqa: A002 - the name in the URL
    """Send what a query returns as a file, up to `serve.query_rows`."""
    with tempfile.NamedTemporaryFile(suffix=f".{format}", delete=False) as target:
        path = Path(target.name)
    try:
        with limited(service.config.store, service.config.serve) as inventory:
            result = inventory.query(q)
            first = pa.RecordBatchReader.from_batches(result.schema, _first(result, service.config.serve.query_rows))
            write(first, Format(format), path)
    except BaseException:
        path.unlink()
        raise
    return FileResponse(path, filename=f"inventory.{format}", background=BackgroundTask(path.unlink))


def _first(result: pa.RecordBatchReader, rows: int) -> Iterator[pa.RecordBatch]:
    for batch in result:
        yield batch.slice(0, rows)
        rows -= batch.num_rows
        if rows <= 0:
            return


@lru_cache(maxsize=1)
def examples() -> list[tuple[str, str]]:
    """Return the saved queries: title and SQL."""
    folder = resources.files("etl.report").joinpath("examples")
    texts = (folder.joinpath(name).read_text() for name in sorted(file.name for file in folder.iterdir()))
    return [(text.partition("\n")[0].removeprefix("-- "), text.strip()) for text in texts]


@router.post("/sync")
def sync(service: Controlled, form: Form) -> Response:
    """Queue a run over one credential, or all."""
    name = form.get("credential", "")
    service.sync([name] if name else [], "api")
    return _back(f"/credentials/{quote(name, safe='')}" if name else "/", "queued")


@router.post("/credentials/{name}/approve")
def approve(service: Controlled, name: str) -> Response:
    """Carry out the held deletions of a credential."""
    return _decided(service.approve(name), "approved")


@router.post("/credentials/{name}/reject")
def reject(service: Controlled, name: str) -> Response:
    """Keep the files whose deletions are held."""
    return _decided(service.reject(name), "rejected")


def _decided(decision: Future[int], notice: str) -> Response:
    """Wait a little for a decision to be carried out; a run in hand may take longer."""
    try:
        decision.result(PATIENCE)
    except TimeoutError:
        return _back("/", "decided")
    except CancelledError:
        raise StoreError("the service is stopping; decide again when it is back") from None
    return _back("/", notice)


def _back(path: str, notice: str) -> Response:
    return RedirectResponse(f"{path}?notice={notice}", 303)


@router.get("/login")
def login(request: Request, next: str = "/") -> Response:  # noqa: A002 - the name in the URL
    """Ask for the token."""
    return page(request, "login.html", next=_local(next), wrong=False)


@router.post("/login")
def log_in(request: Request, service: Controlled, form: Form) -> Response:
    """Let a browser in that knows the token."""
    token, target = service.config.serve.token, _local(form.get("next", "/"))
    if token is None:
        return RedirectResponse(target, 303)
    if not access.same(form.get("token", ""), token.get_secret_value()):
        return page(request, "login.html", 401, next=target, wrong=True)
    answer = RedirectResponse(target, 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(access.COOKIE, access.session(token), httponly=True, samesite="strict", secure=secure, path="/")
    return answer


@router.post("/logout")
def log_out() -> Response:
    """Forget that a browser knew the token."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(access.COOKIE, path="/", httponly=True, samesite="strict")
    return answer


def _local(target: str) -> str:
    r"""Return a path of this service; browsers take // and /\\ for other hosts, and drop control characters."""
    return target if re.fullmatch(r"/(?![/\\])[^\x00-\x20\x7f\\]*", target) else "/"
