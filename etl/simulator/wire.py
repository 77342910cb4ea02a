"""The HTTP/1.1 server below the simulator: it sends the answers it is given, also the broken ones."""

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPMethod, HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, cast

import msgspec


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    delay: float = 0.0
    """Seconds of silence before the first byte."""
    stall: int | None = None
    """Go silent after so many bytes of the body."""
    cut: int | None = None
    """Close the connection after so many bytes of the body."""

    @classmethod
    def json(cls, value: Any, status: int = 200, **headers: str) -> "Reply":
        """Encode a JSON body; `retry_after="2"` adds the header Retry-After."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return cls(status, msgspec.json.encode(value), {"content-type": "application/json"} | named)

    @classmethod
    def error(cls, status: int, message: str, code: str | None = None, param: str | None = None) -> "Reply":
        """Put an error in OpenAI's words."""
        kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        return cls.json({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)

    def head(self) -> bytes:
        """Status line and headers as sent."""
        length = {} if self.status == HTTPStatus.NO_CONTENT else {"content-length": str(len(self.body))}
        lines = [f"{name}: {value}\r\n" for name, value in (length | self.headers).items()]
        phrase = HTTPStatus(self.status).phrase if self.status in set(HTTPStatus) else "Odd"
        return f"HTTP/1.1 {self.status} {phrase}\r\n{''.join(lines)}\r\n".encode("latin-1")


Answer = Callable[[str, str, dict[str, str]], Reply]
"""Takes method, target and headers (names in lower case)."""


class Server(ThreadingTCPServer):
    """Serves on 127.0.0.1 with a thread a connection."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, port: int, answer: Answer) -> None:
        self.answer = answer
        self.stopping = threading.Event()
        self.connections: dict[socket.socket, threading.Thread] = {}
        super().__init__(("127.0.0.1", port), Handler)

    def start(self) -> None:
        """Serve in the background."""
        threading.Thread(target=self.serve_forever, args=(0.02,), name="simulator", daemon=True).start()

    def stop(self) -> None:
        """End every connection, also the silent ones, and free the port."""
        self.stopping.set()
        self.shutdown()
        for connection, thread in list(self.connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(timeout=5)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the thread of a new connection."""
        thread = threading.Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self.connections[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that has ended."""
        super().shutdown_request(request)
        self.connections.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about a client that has gone."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Serve every method alike: which ones are allowed is for the answer to say."""
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def serve(self) -> None:
        """Answer one request."""
        server = cast("Server", self.server)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = server.answer(self.command, self.path, headers)
        if reply.delay and server.stopping.wait(reply.delay):
            self.close_connection = True
            return
        self.send(reply)
        if reply.stall is not None:
            server.stopping.wait()
        self.close_connection |= reply.cut is not None or reply.stall is not None

    def send(self, reply: Reply) -> None:
        """Send headers and body in one write."""
        ends = [end for end in (reply.cut, reply.stall) if end is not None]
        body = reply.body[: min(ends)] if ends else reply.body
        self.wfile.write(reply.head() + (b"" if self.command == HTTPMethod.HEAD else body))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Keep quiet."""
