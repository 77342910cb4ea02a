"""The whole service over a store of its own: the real application, on a real port, without a schedule."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from etl.config import Config
from etl.load.store import Store, open_inventory
from etl.service import Service
from etl.web.app import create_app


@dataclass
class Site:
    """A service that answers."""

    client: httpx.Client
    service: Service
    store: Store
    port: int


@contextmanager
def serving(config: Config, **headers: str) -> Iterator[Site]:
    """Serve a configuration on a free port of 127.0.0.1."""
    with open_inventory(config) as store, Service(config, lambda: config, store) as service:
        server = uvicorn.Server(
            uvicorn.Config(create_app(service), port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=2)
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
                yield Site(client, service, store, port)
        finally:
            server.should_exit = True
            thread.join()
