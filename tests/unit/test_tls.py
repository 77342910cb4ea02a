"""Whom we trust and who we are: real servers with certificates of our own making."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from etl.config import Config, load_config
from etl.errors import ConfigError, ListingError, Unreachable
from etl.extract.http import Getter, Http
from etl.extract.probe import probe

LIST = b'{"object": "list", "data": [], "has_more": false}'


class Answering(BaseHTTPRequestHandler):
    """Answers with an empty list and counts."""

    asked = 0

    def do_GET(self) -> None:
        Answering.asked += 1
        self.send_response(200)
        self.send_header("content-length", str(len(LIST)))
        self.end_headers()
        self.wfile.write(LIST)

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """A server that shakes hands where it answers, so that a refused client holds up nobody."""

    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        pass


Serve = Callable[..., str]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def serve(authority: trustme.CA, tmp_path: Path) -> Iterator[Serve]:
    """Start a server on loopback; return its base URL."""
    with ExitStack() as stack:

        def serve(*names: str, clients_of: trustme.CA | None = None) -> str:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # which tells a client at once that it is refused
            authority.issue_cert(*(names or ("127.0.0.1",))).configure_cert(context)
            if clients_of:
                context.verify_mode = ssl.CERT_REQUIRED
                clients_of.configure_trust(context)
            server = stack.enter_context(Server(("127.0.0.1", 0), Answering))
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            return f"https://127.0.0.1:{server.server_port}/v1"

        Answering.asked = 0
        (tmp_path / "authority.pem").write_bytes(authority.cert_pem.bytes())
        yield serve


def configured(url: str, own: dict[str, Any] | None = None, shared: dict[str, Any] | None = None) -> Config:
    """Make a configuration with one credential, and what it and all say of http."""
    credential = {"name": "a", "type": "openai", "base_url": url, "api_key": "sk-of-no-use", "http": own or {}}
    return Config.model_validate({"credentials": [credential], "http": shared or {}})


def asked(config: Config) -> Any:
    """Ask for one page, without patience."""
    with Http(config) as http:
        get = Getter(http, config.credentials[0])
        try:
            return get("files").body
        finally:
            assert get.requests == 1


def test_a_server_that_nobody_trusted_signed_is_refused_with_one_sentence_and_not_asked_again(serve: Serve) -> None:
    url = serve()
    with pytest.raises(Unreachable) as caught:
        asked(configured(url))
    host = url.removesuffix("/v1")
    assert str(caught.value).startswith(f"{host} shows a certificate that is not accepted: ")
    assert str(caught.value).endswith("; if the server is yours, name its authority in http.ca_bundle")
    assert "\n" not in str(caught.value)
    assert Answering.asked == 0


@pytest.mark.parametrize("place", ["own", "shared"])
def test_a_private_authority_is_trusted_where_it_is_named(serve: Serve, tmp_path: Path, place: str) -> None:
    url = serve()
    config = configured(url, **{place: {"ca_bundle": tmp_path / "authority.pem"}})
    assert asked(config)["object"] == "list"


def test_a_private_authority_of_one_credential_is_not_trusted_for_another(serve: Serve, tmp_path: Path) -> None:
    url = serve()
    bundle = {"ca_bundle": str(tmp_path / "authority.pem")}
    trusting, doubting = (configured(url, own).credentials[0] for own in (bundle, {}))
    doubting = doubting.model_copy(update={"name": "b"})
    config = configured(url).model_copy(update={"credentials": (trusting, doubting)})
    assert [(one.credential, one.error is None) for one in probe(config)] == [("a", True), ("b", False)]


def test_another_name_than_the_certificate_has_is_refused(serve: Serve, tmp_path: Path) -> None:
    url = serve("files.example.com")
    with pytest.raises(Unreachable, match=r"not accepted: .*127\.0\.0\.1'$"):
        asked(configured(url, {"ca_bundle": tmp_path / "authority.pem"}))
    assert Answering.asked == 0


def test_a_server_that_wants_to_know_its_clients_is_shown_the_certificate(
    serve: Serve, authority: trustme.CA, tmp_path: Path
) -> None:
    mine = authority.issue_cert("inventory@example.com")
    url = serve(clients_of=authority)
    trusted = {"ca_bundle": tmp_path / "authority.pem"}
    (tmp_path / "both.pem").write_bytes(mine.private_key_and_cert_chain_pem.bytes())
    (tmp_path / "cert.pem").write_bytes(mine.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(mine.private_key_pem.bytes())
    apart = {"client_cert": tmp_path / "cert.pem", "client_key": tmp_path / "key.pem"}
    assert asked(configured(url, trusted | {"client_cert": tmp_path / "both.pem"}))["object"] == "list"
    assert asked(configured(url, trusted | apart))["object"] == "list"
    assert asked(configured(url, {"client_cert": tmp_path / "both.pem"}, trusted | apart))["object"] == "list"


def test_a_server_that_wants_to_know_its_clients_says_so_in_one_sentence(
    serve: Serve, authority: trustme.CA, tmp_path: Path
) -> None:
    url = serve(clients_of=authority)
    with pytest.raises(Unreachable, match=r"did not accept this client \(.*\); set http\.client_cert to the"):
        asked(configured(url, {"ca_bundle": tmp_path / "authority.pem"}))
    assert Answering.asked == 0


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> Path:
    """A folder with one of each file."""
    mine, other = (authority.issue_cert(f"{name}.example.com") for name in ("a", "b"))
    (tmp_path / "cert.pem").write_bytes(mine.cert_chain_pems[0].bytes())
    (tmp_path / "key.pem").write_bytes(mine.private_key_pem.bytes())
    (tmp_path / "other.pem").write_bytes(other.private_key_pem.bytes())
    (tmp_path / "text.pem").write_text("hello")
    (tmp_path / "broken.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    key = serialization.load_pem_private_key(mine.private_key_pem.bytes(), None)
    pkcs8, locked = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"passphrase")
    (tmp_path / "locked.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, locked))
    return tmp_path


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ca_bundle": "none.pem"}, "http.ca_bundle: the file {0}none.pem cannot be read: No such file or directory"),
        ({"ca_bundle": "text.pem"}, "http.ca_bundle: {0}text.pem holds no certificate in PEM form"),
        ({"ca_bundle": "key.pem"}, "http.ca_bundle: {0}key.pem holds no certificate in PEM form"),
        ({"ca_bundle": "broken.pem"}, "http.ca_bundle: the certificates in {0}broken.pem cannot be read: "),
        ({"client_cert": "none.pem"}, "http.client_cert: the file {0}none.pem cannot be read: No such file"),
        ({"client_cert": "cert.pem"}, "http.client_cert: {0}cert.pem holds no private key in PEM form"),
        ({"client_cert": "cert.pem", "client_key": "text.pem"}, "http.client_key: {0}text.pem holds no private key"),
        ({"client_cert": "cert.pem", "client_key": "other.pem"}, "http.client_key: {0}other.pem is not the key of {0}"),
        ({"client_cert": "broken.pem", "client_key": "key.pem"}, "http.client_cert: {0}broken.pem and its key cannot"),
        ({"client_cert": "cert.pem", "client_key": "locked.pem"}, "http.client_key: the key has a passphrase, which"),
        ({"client_key": "key.pem"}, "http.client_key needs http.client_cert; name the certificate, too"),
    ],
)
def test_a_file_that_is_missing_or_wrong_spoils_its_credential_with_a_sentence(
    files: Path, settings: dict[str, str], sentence: str
) -> None:
    config = configured("https://127.0.0.1:9/v1", {name: files / file for name, file in settings.items()})
    with Http(config) as http, pytest.raises(ListingError) as caught:
        Getter(http, config.credentials[0])("files")
    assert str(caught.value).startswith(sentence.format(f"{files}/"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("written", ["{path}", "file:{path}", "${{FOLDER}}/key.pem", "file:${{FOLDER}}/key.pem"])
@pytest.mark.parametrize("place", ["own", "shared"])
def test_a_file_is_named_by_its_path_or_by_a_reference(files: Path, written: str, place: str) -> None:
    http = f"http: {{client_key: '{written.format(path=files / 'key.pem')}', client_cert: {files}/cert.pem}}"
    own, shared = (http, "") if place == "own" else ("http: {}", http)
    path = files / "inventory.yaml"
    path.write_text(f"{shared}\ncredentials:\n  - {{name: a, type: openai, api_key: '${{KEY}}', {own}}}\n")
    config = load_config(path, env={"FOLDER": str(files), "KEY": "sk-1"})
    assert config.credentials[0].http.client_key == files / "key.pem"
    assert files / "key.pem" in config.sources()


def test_what_a_file_holds_is_no_path_and_is_not_repeated(files: Path) -> None:
    path = files / "inventory.yaml"
    path.write_text(
        "http: {client_key: '${PEM}'}\ncredentials:\n  - {name: a, type: openai, api_key: '${KEY}'}\n",
    )
    pem = (files / "key.pem").read_text()
    with pytest.raises(ConfigError, match=r"http\.client_key: is no path; write what it holds into a file") as caught:
        load_config(path, env={"PEM": pem, "KEY": "sk-1"})
    assert "PRIVATE" not in str(caught.value)


def test_http_goes_to_this_machine_only_unless_it_is_said(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    credential = "  - {{name: a, type: {kind}, api_key: '${{KEY}}', base_url: '{url}'{more}}}\n"
    more = {"openai": "", "portkey-workspace": ""}

    def load(kind: str, url: str, said: str = "") -> Config:
        path.write_text("credentials:\n" + credential.format(kind=kind, url=url, more=more[kind] + said))
        return load_config(path, env={"KEY": "sk-1"})

    for kind in more:
        for url in ("http://127.0.0.1:1/v1", "http://[::1]/v1", "http://localhost/v1", "https://example.com/v1"):
            load(kind, url)
        for url in ("http://gateway:8787/v1", "http://10.0.0.1/v1", "HTTP://Example.com/v1", "http://127.0.0.1.x/v1"):
            with pytest.raises(ConfigError, match=r"unencrypted; write https://, or set allow_http: true where nobody"):
                load(kind, url)
            load(kind, url, ", allow_http: true")
    [workspace] = load("portkey-workspace", "http://gateway:8787/v1", ", allow_http: true").workspaces
    assert workspace.route("openai").allow_http
