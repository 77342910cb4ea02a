"""No secret is ever written anywhere, whatever a server echoes; and nothing but GET is ever sent."""

import base64
import json
import os
import re
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar
from urllib.parse import quote

import duckdb
import httpx
import pyarrow.parquet as pq
import pytest

from etl import cli
from etl.simulator import FAULTS, Account, Fault, Reply, Request, Simulator

COMMAND = Path(sys.executable).with_name("file-inventory")


def echo(request: Request) -> str:
    """All that a server could repeat of a request, as it came and as URLs spell it."""
    sent = json.dumps(request.headers)
    return f"{sent} {quote(sent)} {' '.join(request.headers.values())}"


def refuse(request: Request, _reply: Reply) -> Reply:
    return Reply.error(403, f"Forbidden for {request.account} {echo(request)}")


def fail(request: Request, _reply: Reply) -> Reply:
    return Reply.error(500, echo(request)[-280:])


def apologise(request: Request, _reply: Reply) -> Reply:
    return Reply.json({"error": {"message": f"{request.account}, {quote(request.account or '', safe='')} is unknown"}})


def confuse(request: Request, _reply: Reply) -> Reply:
    return Reply.json({"object": "list", "data": [], "has_more": f"{request.account}"})


def answer_with_keys(request: Request, _reply: Reply) -> Reply:
    return Reply.json(dict.fromkeys(request.headers.values(), 1))


def cut_short(request: Request, _reply: Reply) -> Reply:
    """Repeat the key so often that wherever the message is cut for its length, it is cut in a key."""
    return Reply.error(403, "x" * (6 * request.number) + f" {request.account}" * 50)


def set_aside(request: Request, _reply: Reply) -> Reply:
    """Repeat the key in a record that cannot be read."""
    record = {"id": None, "filename": f"error for {request.account}"}
    return Reply.json({"object": "list", "data": [record, {"id": "file-1", "bytes": request.account}]})


def name_in_header(request: Request, reply: Reply) -> Reply:
    return Reply(reply.status, reply.body, reply.headers | {"x-request-by": request.account or ""})


ECHOES: dict[str, Fault] = {
    "unauthorized": FAULTS["unauthorized"],
    "refuse": refuse,
    "fail": fail,
    "apologise": apologise,
    "confuse": confuse,
    "answer_with_keys": answer_with_keys,
    "cut_short": cut_short,
    "set_aside": set_aside,
    "name_in_header": name_in_header,
}
"""How a server repeats what it was sent."""

ROUTES = {
    "direct": """
  - name: direct-{fault}
    type: openai
    base_url: {url}
    api_key: ${{DIRECT_{fault}}}
    headers: {{x-acme-key: "${{HEADER_{fault}}}"}}
""",
    "inline": """
  - name: inline-{fault}
    type: portkey
    base_url: {url}
    api_key: ${{PORTKEY_1_{fault}}}
    config: {{provider: openai, api_key: "${{INLINE_{fault}}}", retry: {{attempts: 0}}}}
""",
    "virtual": """
  - name: virtual-{fault}
    type: portkey
    base_url: {url}
    api_key: ${{PORTKEY_2_{fault}}}
    virtual_key: ${{VIRTUAL_{fault}}}
""",
    "behind": """
  - name: behind-{fault}
    type: portkey
    base_url: {url}
    api_key: ${{PORTKEY_3_{fault}}}
    provider: openai
    authorization: ${{BEHIND_{fault}}}
    custom_host: {url}
""",
}
BY_EVERY_ROUTE = ("none", "refuse")
CREDENTIALS = [
    (route, fault)
    for fault in ("none", *ECHOES)
    for route in (ROUTES if fault in BY_EVERY_ROUTE else ("direct", "inline"))
]

CONFIG = """
store: {folder}/inventory.duckdb
http: {{requests_per_second: 1000, attempts: 1}}
serve: {{token: "${{SERVE_none}}"}}
log: {{level: debug, format: json}}
rules:
  - {{name: all-files, query: "select credential, file_id, filename from files", message: Look at them.}}
  - {{name: failures, query: "select * from listings where error is not null", message: Mend them.}}
  - {{name: wrong, query: "select no_column from files", message: It is wrong.}}
alerts: {{to: ["json://127.0.0.1:{channel}/${{ALERTS_none}}"]}}
credentials: {routes}
"""

PLACES = ("DIRECT", "HEADER", "PORTKEY_1", "VIRTUAL", "PORTKEY_2", "BEHIND", "PORTKEY_3", "INLINE", "SERVE", "ALERTS")

SECRETS = {
    f"{place}_{fault}": f"Zq{number:02}{letter}/r+8W==k{number:02}5RaJd"
    for letter, fault in zip(string.ascii_letters, ("none", *ECHOES), strict=False)
    for number, place in enumerate(PLACES)
}
"""One for every place that takes a secret, under every fault. None looks like a key: only its value gives it away."""

ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and name != "SSL_CERT_FILE"
} | {"SSL_CERT_DIR": "nowhere"}
"""Nobody is spoken to but 127.0.0.1: no proxy is asked, and no certificates are loaded, which takes long."""


ANSWERS = (
    *("/", "/runs", "/changes", "/sql?q=from+credentials", "/credentials/direct-refuse", "/login", "/openapi.json"),
    *("/api/status", "/api/runs", "/api/changes", "/v1/files", "/metrics", "/readyz", "/nothing/here"),
)


@dataclass
class Desk:
    """A user's desk: a configuration, the environment with the secrets, and all that was ever printed."""

    simulator: Simulator
    folder: Path
    channel: ThreadingHTTPServer
    printed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        routes = "".join(ROUTES[route].format(fault=fault, url=self.simulator.url) for route, fault in CREDENTIALS)
        self.config.write_text(CONFIG.format(folder=self.folder, routes=routes, channel=self.channel.server_port))

    @property
    def config(self) -> Path:
        return self.folder / "inventory.yaml"

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own."""
        return self.start(COMMAND, "--config", self.config, *arguments)

    def start(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command, env=ENVIRONMENT | SECRETS, capture_output=True, text=True, timeout=60, check=False
        )
        number = len(self.printed) // 2
        self.printed[f"output of process {number}, {command[3]}"] = done.stdout
        self.printed[f"errors of process {number}, {command[3]}"] = done.stderr
        return done

    def serve(self) -> None:
        """Run the service over one more run, and see what it answers."""
        command = [str(COMMAND), "--config", str(self.config), "serve", "--port", "0"]
        log = self.folder / "log of the service"
        with log.open("w") as sink, subprocess.Popen(command, env=ENVIRONMENT | SECRETS, stderr=sink) as process:
            try:
                while not (told := re.search(r'"url": "(http[^"]+)"', log.read_text())) and process.poll() is None:
                    time.sleep(0.05)
                assert told, log.read_text()
                headers = {"authorization": f"Bearer {SECRETS['SERVE_none']}"}
                with httpx.Client(base_url=told[1], headers=headers, trust_env=False, timeout=60) as client:
                    assert client.post("/api/sync?wait=true").status_code == 200
                    for path in ANSWERS:
                        self.printed[f"answer to {path}"] = client.get(path).text
                    self.printed["cookie"] = str(client.post("/login", content="token=wrong").headers)
            finally:
                process.terminate()
        assert process.returncode == 0

    def found(self) -> dict[str, list[str]]:
        """Every secret that was printed or written, and where."""
        sent = {f"message {number} to the channel": text for number, text in enumerate(Channel.told)}
        contents = {name: text.encode() for name, text in (self.printed | sent).items()} | written(self.folder)
        found: dict[str, list[str]] = {}
        for place, content in contents.items():
            for secret in leaks(content):
                found.setdefault(secret, []).append(place)
        return found


def written(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, byte by byte; those that are compressed as text as well."""
    contents = {}
    for path in folder.rglob("*"):
        if path.is_file():
            name = str(path.relative_to(folder))
            contents[name] = path.read_bytes()
            if path.suffix == ".parquet":
                contents[f"{name} as text"] = str(pq.read_table(path).to_pylist()).encode()
            if path.suffix == ".duckdb":
                contents[f"{name} as text"] = dump(path).encode()
    return contents


def dump(path: Path) -> str:
    """All that a database holds, as text."""
    with duckdb.connect(str(path), read_only=True) as connection:
        tables = [name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()]
        assert "rejected_records" in tables
        return str(
            [connection.execute(f"select to_json(one)::varchar from {name} as one").fetchall() for name in tables]
        )


def leaks(content: bytes) -> list[str]:
    """Names of the secrets that stand in it, whole or by their beginning, in any usual spelling."""
    content = re.sub(b"\0\0+", b"\0", content)  # empty pages of a database: quicker, and hides nothing
    return [name for name, spellings in SPELLINGS.items() if any(spelling in content for spelling in spellings)]


def spelled(secret: str) -> set[bytes]:
    shifted = [base64.b64encode(b" " * shift + secret.encode())[4:-4] for shift in range(3)]
    return {
        secret[:8].encode(),
        quote(secret)[:8].encode(),
        quote(secret, safe="")[:8].encode(),
        base64.b64encode(secret.encode())[:10],
        *shifted,
    }


SPELLINGS = {name: spelled(secret) for name, secret in SECRETS.items()}


def token(route: str, fault: str) -> str:
    """The secret that names the account."""
    return SECRETS[f"{route.upper()}_{fault}"]


class Channel(BaseHTTPRequestHandler):
    """Takes what alerts and reports tell, and keeps it: its URL holds a secret, what it is told must not."""

    told: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        Channel.told += [body, *(base64.b64decode(file["base64"]).decode() for file in json.loads(body)["attachments"])]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    accounts = {token(route, fault): Account(5) for route, fault in CREDENTIALS}
    with Simulator(accounts, page_limit=2) as simulator, ThreadingHTTPServer(("127.0.0.1", 0), Channel) as channel:
        Thread(target=channel.serve_forever, daemon=True).start()
        yield Desk(simulator, tmp_path_factory.mktemp("desk"), channel)
        channel.shutdown()


SYNC_WITH_EVERY_LOGGER_AT_DEBUG = """
import logging, sys
logging.basicConfig(level=logging.DEBUG, format="%(name)s %(message)s")
logging.getLogger("etl").addHandler(handler := logging.StreamHandler())
handler.format = lambda record: str(vars(record))
from etl import load_config, open_inventory, sync
config = load_config(sys.argv[1])
print(repr(config), str(config), config.model_dump_json(), vars(config))
with open_inventory(config) as store:
    print(sync(config, store))
"""


@pytest.fixture(scope="module")
def found(desk: Desk) -> dict[str, list[str]]:
    """What a search finds after a healthy life, and one among servers that repeat what they are sent."""
    assert desk.run("sync").returncode == 0
    for account in desk.simulator.accounts.values():
        account.delete(1)
        account.change(1)
    assert desk.run("sync", "--json", *(f"{route}-none" for route in ROUTES)).returncode == 0
    assert desk.run("export", desk.folder / "csv", "--format", "csv").returncode == 0
    desk.simulator.faults = {token(route, fault): ECHOES[fault] for route, fault in CREDENTIALS if fault in ECHOES}
    for command in ("check", "sync"):
        assert desk.run(command).returncode == 1
    debug = desk.start(sys.executable, "-c", SYNC_WITH_EVERY_LOGGER_AT_DEBUG, desk.config)
    assert (debug.returncode, "httpx HTTP Request: GET" in debug.stderr) == (0, True)
    worst = [f"{route}-{fault}" for route, fault in CREDENTIALS if fault in {"refuse", "cut_short", "set_aside"}]
    assert json.loads(desk.run("sync", "--json", *worst).stdout)["totals"]["credentials"] == len(worst)
    desk.serve()
    desk.run("status")
    desk.run("query", "from listings join credentials on name = credential", "--format", "json")
    assert desk.run("changes", "--format", "csv").stdout.count("deleted") >= len(ROUTES)
    assert desk.run("export", desk.folder / "parquet").returncode == 0
    read_in_every_way(desk)
    desk.run("demo", "--files", "2000", "--keep", desk.folder / "demo")
    return desk.found()


def read_in_every_way(desk: Desk) -> None:
    """Run every command that shows what is known, in every form."""
    for kind in ("html", "md", "json"):
        assert desk.run("report", "--format", kind, "--output", desk.folder / f"report.{kind}").returncode == 0
    assert desk.run("report", "--format", "json").returncode == 0
    assert desk.run("report", "--send").returncode == 0
    assert desk.run("test-alerts").returncode == 0
    assert desk.run("rules").returncode == 1
    assert desk.run("rules", "--json").returncode == 1
    assert desk.run("plan", "--rule", "all-files", "--output", desk.folder / "plan").returncode == 0
    assert desk.run("plan", "--rule", "wrong", "--output", desk.folder / "plan").returncode == 2
    for command in ("files", "diff", "changes", "query"):
        sql = ["from rejected_records"] if command == "query" else []
        for kind in ("table", "csv", "json", "ndjson", "parquet", "arrow"):
            output = desk.folder / f"{command}.{kind}"
            assert desk.run(command, *sql, "--format", kind, "--output", output).returncode == 0
    assert desk.run("query", "select * from no_table").returncode == 2
    assert desk.run("status", "--json").returncode == 0  # a failure today makes nothing stale
    assert desk.run("export", desk.folder / "by month", "--partitioned").returncode == 0
    assert desk.run("discover").returncode in {1, 2}
    assert desk.run("approve", "direct-none").returncode != 0


def test_the_search_finds_a_secret_however_it_is_spelled() -> None:
    for name, secret in SECRETS.items():
        basic = base64.b64encode(f"user:{secret}".encode()).decode()
        for text in (secret, quote(secret), quote(secret, safe=""), secret[:9], json.dumps({"key": secret}), basic):
            assert leaks(f"before {text} after".encode()) == [name]


@pytest.mark.parametrize("fault", ["none", *ECHOES])
def test_no_secret_is_printed_logged_or_written(found: dict[str, list[str]], fault: str) -> None:
    assert {name: places for name, places in found.items() if name.endswith(f"_{fault}")} == {}


@pytest.mark.usefixtures("found")
def test_all_that_is_ever_sent_is_get_files_and_no_url_holds_a_secret(desk: Desk) -> None:
    requests = desk.simulator.requests
    assert {request.method for request in requests} == {"GET"}
    discovered = {f"/v1/{what}" for what in ("integrations", "providers", "virtual-keys")}
    assert {request.path for request in requests} - discovered == {"/v1/files"}
    assert {request.account for request in requests if request.path == "/v1/files"} == set(desk.simulator.accounts)
    assert [request.params for request in requests if leaks(json.dumps(request.params).encode())] == []


@pytest.mark.usefixtures("found")
def test_the_demo_keeps_no_key(desk: Desk) -> None:
    kept = written(desk.folder / "demo")
    assert {"inventory.duckdb", "inventory.writer.duckdb", "inventory.writer.lock", "inventory.yaml"} <= set(kept)
    printed = {name: text.encode() for name, text in desk.printed.items()}
    assert [
        name for name, content in (kept | printed).items() if b"sk-demo-" in content or b"pk-demo-" in content
    ] == []


@pytest.mark.parametrize(
    "setting",
    [
        "name: ${SECRET}",
        "type: ${SECRET}",
        'provider: ["${SECRET}"]',
        "base_url: ${SECRET}",
        "base_url: https://user:${SECRET}@127.0.0.1/v1",
        "base_url: https://127.0.0.1/v1?key=${SECRET}",
        "base_url: https://127.0.0.1:${SECRET}/v1",
        "stale_after: ${SECRET}",
        "schedule: ${SECRET}",
        "track_extra: ${SECRET}",
        "labels: ${SECRET}",
        "headers: ${SECRET}",
        'brake: {count: "${SECRET}"}',
        "api_key: Zq/r+8W==5RaJd",
    ],
)
def test_a_secret_in_the_wrong_place_of_the_configuration_is_not_repeated(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key, value = setting.split(": ", 1)
    fields = {"name": "direct", "type": "openai", "base_url": "http://127.0.0.1/v1", "api_key": "${SECRET}"}
    lines = "".join(f"    {name}: {text}\n" for name, text in (fields | {key: value}).items())
    path = tmp_path / "wrong.yaml"
    path.write_text(f"credentials:\n  -\n{lines}")
    monkeypatch.setenv("SECRET", "Zq/r+8W==5RaJd")
    with pytest.raises(SystemExit) as left:
        cli.main(["--config", str(path), "check"])
    captured = capsys.readouterr()
    assert (left.value.code, captured.out) == (2, "")
    assert "credentials[0]" in captured.err
    assert key in captured.err
    assert "Zq/" not in captured.err
