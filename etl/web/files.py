"""The inventory as OpenAI's list of files, so that programs made for that API read it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from etl.report.inventory import Inventory
from etl.web.control import Control, Controlled, Reader
from etl.web.errors import Refusal, documented
from etl.web.params import SECURITY, Moment, published_at

router = APIRouter(tags=["files"], dependencies=SECURITY)

MOST = 10_000
"""Files on a page, as OpenAI has it."""


class Seen(BaseModel):
    """What the inventory knows beside the provider's record."""

    provider: str | None
    credentials: list[str] = Field(description="Those asked for that see the file.")
    first_seen_at: datetime


class File(BaseModel):
    """A file as OpenAI shows it; what its provider does not tell is null."""

    id: str = Field(description="Unique within the provider only.")
    object: Literal["file"] = "file"
    bytes: int | None
    created_at: int | None = Field(description="Unix seconds.")
    expires_at: int | None = Field(description="Unix seconds.")
    filename: str | None
    purpose: str | None
    status: str | None
    status_details: str | None
    inventory: Seen


class Stale(BaseModel):
    """A credential whose files may be others by now."""

    credential: str
    since: datetime | None = Field(description="Its last complete listing; null: there was none.")


class Published(BaseModel):
    """How far the list can be trusted."""

    published_at: datetime
    stale: list[Stale]


class Files(BaseModel):
    """A page of files; the next one comes after the id of its last."""

    object: Literal["list"] = "list"
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool
    inventory: Published


class Scope(BaseModel):
    """Which credentials' files are meant: of those active, or of the one named."""

    model_config = ConfigDict(extra="allow")

    credential: str | None = Field(None, description="Only files that this credential sees.")

    @model_validator(mode="after")
    def _nothing_unknown(self) -> Scope:
        for name in self.model_extra or {}:
            if not name.startswith("label."):
                raise ValueError(f"no parameter is called {name}")
        return self

    @property
    def labels(self) -> dict[str, list[str]]:
        """Values that may be, by key."""
        extra = (self.model_extra or {}).items()
        return {name.removeprefix("label."): told if isinstance(told, list) else [told] for name, told in extra}


class Asked(Scope):
    """Which page of which files."""

    purpose: str | None = Field(None, description="Only files of this purpose.")
    limit: int = Field(MOST, ge=1, le=MOST, description="Files on the page.")
    after: str | None = Field(None, description="The id of the last file of the page before.")
    order: Literal["asc", "desc"] = Field("desc", description="By created_at; unknown is oldest.")
    as_of: Moment | None = Field(None, description="As it was then: a time, or so long ago (24h, 7d).")


LABELS = {
    "name": "labels",
    "in": "query",
    "style": "form",
    "explode": True,
    "description": "label.KEY=VALUE: only credentials with this label; one key again: either value.",
    "schema": {"type": "object", "patternProperties": {"^label\\.": {"type": "string"}}, "additionalProperties": False},
}
"""FastAPI knows no parameter whose name is part of what is said."""


@router.get(
    "/v1/files",
    response_model=Files,
    responses=documented(400, 404, 503),
    openapi_extra={"parameters": [LABELS]},
)
def list_files(asked: Annotated[Asked, Query()], service: Controlled, inventory: Reader) -> Response:
    """List the files of every provider, each once, whatever is published between two pages.

    A page that would end at an id that several providers use ends before it, or, if it held nothing else, after it.
    """
    credentials = _credentials(inventory, asked)
    names = [row["credential"] for row in credentials]
    scope = {"credentials": names, "purpose": asked.purpose}
    place = _place(inventory, asked.after, scope)
    page = {"as_of": asked.as_of, "ascending": asked.order == "asc"} | place | scope
    files, more = _page(inventory, asked.limit, page)
    stale = [Stale(credential=row["credential"], since=row["as_of"]) for row in credentials if row["stale"]]
    told = Files(
        data=files,
        first_id=files[0].id if files else None,
        last_id=files[-1].id if files else None,
        has_more=more,
        inventory=Published(published_at=published_at(service), stale=stale),
    )
    return Response(told.model_dump_json(), media_type="application/json")  # FastAPI would check all of it again


@router.get(
    "/v1/files/{file_id:path}",
    responses=documented(400, 404, 409, 503),
    openapi_extra={"parameters": [LABELS]},
)
def retrieve_file(file_id: str, scope: Annotated[Scope, Query()], inventory: Reader) -> File:
    """Show one file that is there now; where several providers use its id, name a credential."""
    names = [row["credential"] for row in _credentials(inventory, scope)]
    found = inventory.ask("files_with_id", file_id=file_id, credentials=names).read_all().to_pylist()
    if not found:
        raise Refusal(404, f"No such File object: {file_id}", "id")
    if len(found) > 1:
        ways = " or ".join(f"credential={row['credentials'][0]}" for row in found)
        raise Refusal(409, f"{len(found)} files have the id {file_id}; add {ways}", "credential")
    return _file(found[0])


def _credentials(inventory: Inventory, scope: Scope) -> list[dict[str, Any]]:
    if scope.credential is not None:
        inventory.expect_credential(scope.credential)
    rows = inventory.ask("counted", credential=scope.credential).read_all().to_pylist()
    return [row for row in rows if _labelled(json.loads(row["labels"] or "{}"), scope.labels)]


def _labelled(labels: dict[str, str], wanted: dict[str, list[str]]) -> bool:
    return all(labels.get(key) in values for key, values in wanted.items())


def _place(inventory: Inventory, after: str | None, scope: dict[str, Any]) -> dict[str, Any]:
    if after is None:
        return {"made": None, "file_id": None, "account": None}
    places = inventory.ask("file_place", after=after, **scope).read_all().to_pylist()
    if not places:
        raise Refusal(404, f"No such File object: {after}; begin again without after", "after")
    place: dict[str, Any] = places[0]
    return place


def _page(inventory: Inventory, limit: int, page: dict[str, Any]) -> tuple[list[File], bool]:
    """Read files up to an id that says where the next page begins."""
    rows = inventory.ask("files_page", limit=limit + 1, **page).read_all().to_pylist()
    if len(rows) <= limit:
        return [_file(row) for row in rows], False
    rows.pop()
    while rows and rows[-1]["has_twin"]:
        rows.pop()
    return ([_file(row) for row in rows], True) if rows else _page(inventory, 2 * limit, page)


def _file(row: dict[str, Any]) -> File:
    seen = Seen(**{name: row[name] for name in Seen.model_fields})
    return File(**{name: row[name] for name in File.model_fields if name in row}, inventory=seen)


def install(app: FastAPI, _control: Control) -> None:
    """Add the routes."""
    app.include_router(router)
