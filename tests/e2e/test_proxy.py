"""What a proxy sees of a run over every type of credential: GET, of the configured host, and nothing else."""

import json
from collections.abc import Iterator
from http import HTTPMethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx
import pytest

from etl.config import Config
from etl.load.store import Run, open_inventory
from etl.providers import KINDS
from etl.simulator import Account, Simulator
from etl.sync import sync

PAGES = Path(__file__).parents[1] / "pages"
KEY = "sk-for-the-proxy"
ELSEWHERE = "http://elsewhere.test/v1/files"


class Proxy(BaseHTTPRequestHandler):
    """Notes every request, and lets the simulator answer in the place of every host."""

    provider: ClassVar[str]
    leads_to: ClassVar[str | None] = None
    seen: ClassVar[list[tuple[str, str, str]]] = []

    def note(self) -> None:
        url = urlsplit(self.path)
        Proxy.seen.append((self.command, url.netloc, str(self.headers)))
        if Proxy.leads_to:
            self.send_response(302)
            self.send_header("location", Proxy.leads_to)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        answer = httpx.get(f"{Proxy.provider}{url.path}?{url.query}", headers=dict(self.headers), trust_env=False)
        self.send_response(answer.status_code)
        for name in {"content-type", "location"} & set(answer.headers):
            self.send_header(name, answer.headers[name])
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None: ...


for method in HTTPMethod:
    setattr(Proxy, f"do_{method}", Proxy.note)


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Proxy.seen, Proxy.leads_to = [], None
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


def credential(kind: str) -> dict[str, Any]:
    """Return the recorded settings of a type, at a host of its own that only the proxy knows."""
    recorded = PAGES / f"{kind}.json"
    own = json.loads(recorded.read_text())["credential"] if recorded.exists() else {"type": kind}
    if kind == "portkey":
        own = {"type": kind, "virtual_key": KEY}
    path = urlsplit(own.get("base_url", "https://api.test/v1")).path
    return own | {"name": kind, "base_url": f"http://{kind}.test{path}", "allow_http": True, "api_key": KEY}


def run(folder: Path, kind: str) -> Run:
    http = {"requests_per_second": 1000, "attempts": 2}
    config = Config.model_validate(
        {"store": folder / "inventory.duckdb", "http": http, "credentials": [credential(kind)]}
    )
    with open_inventory(config) as store:
        return sync(config, store)


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("kind", KINDS)
def test_a_proxy_sees_get_and_the_configured_host_only(tmp_path: Path, kind: str) -> None:
    with Simulator({KEY: Account(25)}, page_limit=10) as simulator:
        portkey = kind.startswith("portkey")
        Proxy.provider = simulator.url.removesuffix("/v1") if portkey else simulator.speaking(kind)
        done = run(tmp_path, kind)
    assert done.status == "complete" or kind == "portkey-workspace"  # which has no account here
    assert {(method, host) for method, host, _ in Proxy.seen} == {("GET", f"{kind}.test")}
    assert all(KEY in headers for *_, headers in Proxy.seen)


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("kind", KINDS)
def test_no_redirect_takes_a_key_to_another_host(tmp_path: Path, kind: str) -> None:
    Proxy.leads_to = ELSEWHERE
    done = run(tmp_path, kind)
    assert {host for _, host, _ in Proxy.seen} == {f"{kind}.test"}
    assert done.status == "failed"
