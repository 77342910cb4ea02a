"""How each provider words its file list: where it is, what names the next page, what a record looks like.

The shapes are those of the official SDKs' types and of the vendors' references; see etl/providers for each.
"""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from etl.simulator.account import Account, Json

MAXIMUM = 10_000
"""Files on a page when the client names no limit, in the dialect of OpenAI."""


class Ask(NamedTuple):
    """What a list request asks for."""

    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    limit: int


class BadRequest(Exception):
    """The request is not one that the provider takes; the message begins with the parameter."""


def _openai_error(status: int, message: str) -> Json:
    kind = "server_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - server errors
    param = message.split(maxsplit=1)[0] if status == 400 else None  # noqa: PLR2004 - these begin with the parameter
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}


@dataclass(frozen=True)
class Dialect:
    """One way to speak of files."""

    path: str
    """What the path of a list request matches, below the dialect's own prefix."""
    page: Callable[[Account, Ask], Json]
    """One page in its envelope; KeyError where its cursor is not on the list."""
    records: str = "data"
    """Key of the envelope under which the records are."""
    cursors: frozenset[str] = frozenset()
    """Parameters that ask for a later page."""
    limit: str = ""
    """Parameter that says how many records a page holds; none where the list comes whole."""
    default: int = MAXIMUM
    maximum: int = MAXIMUM
    keys: tuple[str, ...] = ("authorization",)
    """Headers that may carry the key; the first that comes counts."""
    error: Callable[[int, str], Json] = _openai_error
    """Body of an error."""
    onward: str = ""
    """Key of the envelope under which the token of the next page is; none where an id or a number asks for it."""
    id: str = "id"
    """Key of a record under which its id is."""
    spare: str = "status"
    """Key of a field that a record may lack."""
    unsized: Json = field(default_factory=lambda: {"bytes": "many"})
    """Fields that leave a record without a size that can be read; none where no size is told."""


def _rfc3339(seconds: int | None) -> str | None:
    moment = seconds and datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S.000123Z}" if moment else None


def _mime(file: Json) -> str:
    return mimetypes.guess_type(file["filename"])[0] or "application/octet-stream"


def _plain(file: Json, *names: str) -> Json:
    return {name: file[name] for name in ("id", "object", "bytes", "created_at", "filename", "purpose", *names)}


def _token(account: Account, ask: Ask, param: str, prefix: str = "t-", purpose: str | None = None) -> tuple[Json, Any]:
    """Read the slice that an opaque token asks for; return it with the next token, if any."""
    token = ask.params.get(param)
    if token is not None and not token.startswith(prefix):
        raise BadRequest(f"{param} is not a token of this list")
    part = account.page(ask.limit, "asc", token and token.removeprefix(prefix), purpose)
    return part, f"{prefix}{part['last_id']}" if part["has_more"] else None


def _openai(account: Account, ask: Ask) -> Json:
    order = ask.params.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise BadRequest("order must be asc or desc")
    return account.page(ask.limit, order, ask.params.get("after"), ask.params.get("purpose"))


def _azure(account: Account, ask: Ask) -> Json:
    if ask.path.endswith("/openai/v1/files"):
        return _openai(account, ask)
    if "api-version" not in ask.params:
        raise BadRequest("api-version is missing")
    return {"object": "list", "data": account.page(MAXIMUM, "desc", None, ask.params.get("purpose"))["data"]}


def _azure_error(status: int, message: str) -> Json:
    return {"error": {"code": str(status), "message": message}}


def _anthropic_file(file: Json) -> Json:
    return {
        "id": file["id"],
        "type": "file",
        "filename": file["filename"],
        "mime_type": _mime(file),
        "size_bytes": file["bytes"],
        "created_at": _rfc3339(file["created_at"]),
        "downloadable": False,
        "expires_at": _rfc3339(file.get("expires_at")),
    }


def _anthropic(account: Account, ask: Ask) -> Json:
    beta = "files-api" in ask.headers.get("anthropic-beta", "")
    if "anthropic-version" not in ask.headers:
        raise BadRequest("anthropic-version is missing")
    if ("page" if beta else "after_id") in ask.params:
        raise BadRequest("page and after_id belong to different versions of the list")
    if beta:
        part = account.page(ask.limit, "asc", ask.params.get("after_id"))
        return {**part, "data": [_anthropic_file(file) for file in part["data"]]} | {"object": None}
    part, token = _token(account, ask, "page", "page_")
    return {"data": [_anthropic_file(file) for file in part["data"]], "next_page": token}


def _anthropic_error(status: int, message: str) -> Json:
    return {"type": "error", "error": {"type": f"error_{status}", "message": message}, "request_id": "req_1"}


def _gemini(account: Account, ask: Ask) -> Json:
    part, token = _token(account, ask, "pageToken")
    files = [
        {
            "name": f"files/{file['id']}",
            "displayName": file["filename"],
            "mimeType": _mime(file),
            "sizeBytes": str(file["bytes"]),
            "createTime": _rfc3339(file["created_at"]),
            "expirationTime": _rfc3339(file.get("expires_at", file["created_at"] + 172_800)),
            "updateTime": _rfc3339(file["created_at"]),
            "sha256Hash": "MDA=",
            "uri": f"https://generativelanguage.googleapis.com/v1beta/files/{file['id']}",
            "state": "ACTIVE",
            "source": "UPLOADED",
        }
        for file in part["data"]
    ]
    return ({"files": files} if files else {}) | ({"nextPageToken": token} if token else {})


def _google_error(status: int, message: str) -> Json:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
    details = [retry] if status == 429 else []  # noqa: PLR2004 - too many requests
    return {"error": {"code": status, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}}


def _mistral(account: Account, ask: Ask) -> Json:
    number = int(ask.params.get("page", "0"))
    files = account.page(MAXIMUM, "asc", None, ask.params.get("purpose"))["data"]
    data = [
        _plain(file)
        | {"sample_type": "batch_request", "source": "upload", "num_lines": None, "mimetype": _mime(file)}
        | {"signature": None, "expires_at": file.get("expires_at"), "visibility": "workspace"}
        for file in files[number * ask.limit : (number + 1) * ask.limit]
    ]
    return {"object": "list", "data": data, "total": len(files)}


def _mistral_error(status: int, message: str) -> Json:
    if status == 422:  # noqa: PLR2004 - FastAPI's own
        return {"detail": [{"loc": ["query"], "msg": message, "type": "value_error"}]}
    return {"object": "error", "message": message, "type": "error", "param": None, "code": str(status)}


def _groq(account: Account, _ask: Ask) -> Json:
    return {"object": "list", "data": [_plain(file) for file in account.page(MAXIMUM)["data"]]}


def _together(account: Account, _ask: Ask) -> Json:
    files = account.page(MAXIMUM)["data"]
    known = {"FileType": "jsonl", "processing_status": "COMPLETED"}
    return {"data": [_plain(file) | known for file in files]}


def _fireworks(account: Account, ask: Ask) -> Json:
    part, token = _token(account, ask, "pageToken")
    datasets = [
        {
            "name": f"accounts/acme/datasets/{file['id'].lower()}",
            "displayName": file["filename"],
            "createTime": _rfc3339(file["created_at"]),
            "updateTime": _rfc3339(file["created_at"]),
            "state": "READY",
            "status": {"code": "OK", "message": ""},
            "exampleCount": "12",
            "format": "CHAT",
        }
        for file in part["data"]
    ]
    named = {"datasets": datasets} if datasets else {}
    return named | {"nextPageToken": token or "", "totalSize": len(account.files)}


def _grpc_error(status: int, message: str) -> Json:
    return {"code": status, "message": message, "details": []}


def _cohere(account: Account, ask: Ask) -> Json:
    offset = int(ask.params.get("offset", "0"))
    files = account.page(MAXIMUM, "asc", None, ask.params.get("datasetType"))["data"]
    return {"datasets": [_dataset(file) for file in files[offset : offset + ask.limit]]}


def _dataset(file: Json) -> Json:
    half = file["bytes"] // 2
    parts = [("a", half), ("b", file["bytes"] - half)]
    return {
        "id": file["id"],
        "name": file["filename"],
        "created_at": _rfc3339(file["created_at"]),
        "updated_at": _rfc3339(file["created_at"]),
        "dataset_type": file["purpose"],
        "validation_status": "validated",
        "dataset_parts": [
            {"id": name, "name": name, "url": f"https://storage.example.com/{name}?sig=1", "size_bytes": size}
            for name, size in parts
        ],
    }


def _cohere_error(_status: int, message: str) -> Json:
    return {"message": message, "id": "1"}


def _xai(account: Account, ask: Ask) -> Json:
    part, token = _token(account, ask, "pagination_token")
    data = [
        _plain(file) | {"purpose": "", "expires_at": file.get("expires_at"), "public_url": None}
        for file in part["data"]
    ]
    return {"data": data} | ({"pagination_token": token} if token else {})


def _openrouter(account: Account, ask: Ask) -> Json:
    holder = ask.params.get("provider")
    if holder == "openai":
        part = account.page(ask.limit, "asc", ask.params.get("after"))
        return {**part, "data": [_plain(file, "status") | {"_shape": "openai"} for file in part["data"]]}
    if holder == "anthropic":
        part = account.page(ask.limit, "asc", ask.params.get("after_id"))
        del part["object"]
        token = None
    else:
        part, token = _token(account, ask, "cursor")
        part = {"first_id": part["first_id"], "last_id": part["last_id"], "has_more": part["has_more"]} | part
        del part["object"]
        part["cursor"] = token
    files = [_anthropic_file(file) | {"_shape": holder or "openrouter"} for file in part["data"]]
    return part | {"data": [{key: file[key] for key in file if key != "expires_at"} for file in files]}


OPENAI = Dialect(r".*/files", _openai, cursors=frozenset({"after"}), limit="limit")

DIALECTS: dict[str, Dialect] = {
    "portkey": OPENAI,
    "openai": OPENAI,
    "azure-openai": Dialect(
        r"/openai(/v1)?/files",
        _azure,
        cursors=frozenset({"after"}),
        limit="limit",
        keys=("api-key",),
        error=_azure_error,
    ),
    "anthropic": Dialect(
        r"/v1/files",
        _anthropic,
        cursors=frozenset({"page", "after_id"}),
        limit="limit",
        default=20,
        maximum=1000,
        keys=("x-api-key", "authorization"),
        error=_anthropic_error,
        onward="next_page",
        spare="mime_type",
        unsized={"size_bytes": "many"},
    ),
    "gemini": Dialect(
        r"/v1(beta)?/files",
        _gemini,
        "files",
        frozenset({"pageToken"}),
        "pageSize",
        default=10,
        maximum=100,
        keys=("x-goog-api-key",),
        error=_google_error,
        onward="nextPageToken",
        id="name",
        spare="state",
        unsized={"sizeBytes": "many"},
    ),
    "mistral": Dialect(
        r"/v1/files",
        _mistral,
        cursors=frozenset({"page"}),
        limit="page_size",
        default=100,
        error=_mistral_error,
        spare="mimetype",
    ),
    "groq": Dialect(r"/openai/v1/files", _groq, spare="purpose"),
    "together": Dialect(r"/v1/files", _together, spare="processing_status"),
    "fireworks": Dialect(
        r"/v1/accounts/[^/]+/datasets",
        _fireworks,
        "datasets",
        frozenset({"pageToken"}),
        "pageSize",
        default=50,
        maximum=200,
        error=_grpc_error,
        onward="nextPageToken",
        id="name",
        spare="state",
        unsized={},
    ),
    "cohere": Dialect(
        r"/v1/datasets",
        _cohere,
        "datasets",
        frozenset({"offset"}),
        "limit",
        default=20,
        error=_cohere_error,
        spare="validation_status",
        unsized={"dataset_parts": [{"size_bytes": "many"}]},
    ),
    "xai": Dialect(
        r"/v1/files",
        _xai,
        cursors=frozenset({"pagination_token"}),
        limit="limit",
        default=100,
        onward="pagination_token",
        spare="filename",
    ),
    "openrouter": Dialect(
        r"/api/v1/files",
        _openrouter,
        cursors=frozenset({"cursor", "after", "after_id"}),
        limit="limit",
        maximum=1000,
        onward="cursor",
        spare="mime_type",
        unsized={"size_bytes": "many"},
    ),
}
"""By the first part of a path; any other path is OpenAI's."""


def spoken(path: str) -> tuple[Dialect, bool]:
    """Find the dialect that a path is asked in, and whether it is the path of a list."""
    prefix, _, rest = path.removeprefix("/").partition("/")
    dialect = DIALECTS.get(prefix, OPENAI)
    below = f"/{rest}" if prefix in DIALECTS else path
    return dialect, bool(re.fullmatch(dialect.path, below))
