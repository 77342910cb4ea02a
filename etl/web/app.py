"""The application: one process, one port."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from etl.report.inventory import Published
from etl.web import api, files, monitoring, pages
from etl.web.access import Access

if TYPE_CHECKING:
    from etl.web.control import Control


def create_app(control: Control) -> FastAPI:
    """Put the pages, the API and the monitoring of a service together."""
    app = FastAPI(
        title="File Inventory",
        summary="Which files do all our LLM providers hold, since when, how big, and what changed?",
        version=version("llm-file-inventory"),
        docs_url=None,  # its page is fetched from other hosts
        redoc_url=None,
    )
    app.state.control = control
    app.state.published = Published(control.config.store, memory_limit="1GB", threads=2)
    for part in (pages, api, files, monitoring):
        part.install(app, control)
    app.mount("/static", StaticFiles(packages=[("etl.web", "static"), ("etl.report", "static")]))
    app.add_middleware(Access, control=control)
    return app
