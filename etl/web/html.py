"""Make HTML of templates: everything escaped, everything legible."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.responses import HTMLResponse

from etl.errors import StoreError
from etl.report.html import environment
from etl.report.inventory import edition
from etl.web.control import control

NOTICES = {
    "queued": "A run is queued; it starts when nothing else is written, and this page tells when it is published.",
    "decided": "Something else is being written; your decision is carried out after it.",
    "approved": "The held deletions were carried out.",
    "rejected": "The files whose deletions were held are kept. A listing that lacks them is held again.",
}
"""What a page may be asked to say; nothing else."""


def page(request: Request, template: str, code: int = 200, **values: Any) -> HTMLResponse:
    """Render a page for a request."""
    service = control(request)
    shared = {
        "request": request,
        "notice": NOTICES.get(request.query_params.get("notice", "")),
        "running": service.running,
        "next_run": service.next_run(),
        "version": version(request),
        "locked": service.config.serve.token is not None,
    }
    return HTMLResponse(_environment.get_template(template).render(shared | values), code)


def version(request: Request) -> str:
    """Name the copy of the inventory that is published now; empty where none is, `?` where that cannot be told."""
    try:
        found = edition(control(request).config.store)
    except StoreError:
        return "?"
    return "-".join(map(str, found)) if found else ""


def error_page(request: Request, status: int, message: str) -> HTMLResponse:
    """Tell an error to a person; before the first run, that there is nothing yet."""
    if not version(request):
        return page(request, "empty.html")
    return page(request, "error.html", status, status=status, message=message)


_environment = environment("etl.web", linked=True)
