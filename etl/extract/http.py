"""The one place that speaks HTTP: it can send nothing but GET, and only to configured hosts."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections import deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from pathlib import Path
from threading import BoundedSemaphore, Event, Lock
from typing import TYPE_CHECKING, Any, Protocol, Self

import httpx
import tenacity

from etl.errors import (
    Cancelled,
    EndNotProven,
    ListingError,
    Refused,
    Unreachable,
    Unsupported,
    WrongShape,
    blot,
    redact,
)
from etl.extract import tls
from etl.extract.spool import Spool
from etl.providers import adapter
from etl.providers.base import Answer, described
from etl.transform.plain import decode_json, skimmer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from etl.config import Config
    from etl.providers import Credential
    from etl.providers.base import RequestSettings
    from etl.transform.record import Json

log = logging.getLogger(__name__)
logging.getLogger("httpcore").setLevel(logging.WARNING)  # its debug lines hold headers that may echo a key

LONGEST_WAIT = 60.0
"""Seconds; the most that a Retry-After is obeyed before the next try."""

LONGEST_MESSAGE = 500
"""Characters; servers answer with whole web pages."""

HEALING = frozenset({408, 409, 429})
"""Statuses below 500 that trying again may heal."""

SPENT = frozenset(
    {
        "insufficient_quota",
        "billing_hard_limit_reached",
        "billing_not_active",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "project_spend_limit_exceeded",
    }
)
"""Error codes of a 429 that is no throttle: the money is spent."""

_MOST_REDIRECTS = 3

_HINTS = {
    401: "the key is not accepted; check that it is current and belongs to this route",
    403: "the key may not list files; give it read permission for files",
    404: "there is no file list at this URL; check base_url, which usually ends in /v1",
    412: "a budget is exhausted; raise it at the gateway",
}


class _Transient(Unreachable):
    """A fault that trying again may heal."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait
        """Seconds the server asked for."""


class Turn(Protocol):
    """Lets only so many requests to one host be in flight."""

    def acquire(self, *, timeout: float) -> bool:
        """Wait so many seconds for a turn; return whether it came."""

    def release(self) -> None:
        """Give it back."""


class Http:
    """A pool of connections for one run; a context manager.

    Args:
        config: Whom to ask, and how.
        turns: Makes what a request to a host waits for; by default, a semaphore of `http.per_host`.
    """

    def __init__(self, config: Config, turns: Callable[[str], Turn] | None = None) -> None:
        self._secrets = config.secrets()
        origins = {_origin(httpx.URL(credential.base_url)) for credential in config.credentials}
        turns = turns or (lambda _: BoundedSemaphore(config.http.per_host))
        self._hosts = {origin: turns(origin) for origin in origins}
        self._memory = (config.store.parent if isinstance(config.store, Path) else None), config.memory_limit
        self._stop = Event()
        self._connections: set[socket.socket] = set()
        self._keepalive = config.http.workers
        self._encrypted = any(origin.startswith("https:") for origin in origins)
        self._clients: dict[tls.Identity, httpx.Client] = {}
        self._making = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients.values():
            client.close()

    def cancel(self) -> None:
        """End every listing in hand, also those that wait for a silent server."""
        self._stop.set()
        for connection in list(self._connections):
            _hang_up(connection)

    def _client(self, settings: RequestSettings) -> httpx.Client:
        """Return the client for what these settings say of TLS."""
        who = tls.identity(settings)
        with self._making:
            if who not in self._clients:
                self._clients[who] = httpx.Client(
                    headers={
                        "accept": "application/json",
                        "user-agent": f"file-inventory/{version('llm-file-inventory')}",
                    },
                    cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
                    limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._keepalive),
                    event_hooks={"request": [self._only_reads]},
                    verify=tls.context(who, encrypted=self._encrypted),
                )
            return self._clients[who]

    def _note_connection(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember open sockets: https://www.python-httpx.org/advanced/extensions/#trace."""
        if event in {"connection.connect_tcp.complete", "connection.start_tls.complete"}:
            connection: socket.socket = info["return_value"].get_extra_info("socket")
            self._connections.add(connection)
            if self._stop.is_set():
                _hang_up(connection)

    def spool(self) -> Spool:
        """Return where a listing keeps its records."""
        return Spool(*self._memory)

    def pause(self, seconds: float) -> None:
        """Sleep; raise Cancelled when the run is told to stop."""
        if self._stop.wait(seconds):
            raise Cancelled("the run was told to stop")

    def blot(self, text: str) -> str:
        """Blot out every secret of the configuration."""
        return blot(text, self._secrets)

    def redact(self, text: str) -> str:
        """Blot out secrets, then keep to a length that a line can hold."""
        clean = redact(text, self._secrets)
        return clean if len(clean) <= LONGEST_MESSAGE else f"{clean[:LONGEST_MESSAGE]}..."

    def _only_reads(self, request: httpx.Request) -> None:
        if request.method != "GET" or _origin(request.url) not in self._hosts:
            raise Refused(f"refused to send {request.method} to {request.url.host}: only configured hosts are read", 0)

    def send(
        self, url: httpx.URL, limits: RequestSettings, headers: Mapping[str, str], until: float
    ) -> tuple[httpx.Response, bytes]:
        """Send one GET and return the response with its whole body, by the monotonic time `until`.

        Raises a ListingError on transport faults.
        """
        client = self._client(limits)
        timeout = httpx.Timeout(limits.read_timeout, connect=limits.connect_timeout)
        with self._turn(_origin(url), until):
            page_until = time.monotonic() + limits.page_timeout
            try:
                trace = {"trace": self._note_connection}
                with client.stream("GET", url, headers=headers, timeout=timeout, extensions=trace) as response:
                    return response, self._body(response, limits.max_page_bytes, page_until, until)
            except httpx.TransportError as error:
                if told := tls.fault(error, _origin(url)):
                    raise Unreachable(told) from None
                raise _Transient(f"{_place(url)} gave no answer: {_cause(error)}") from None
            except httpx.HTTPError as error:
                raise WrongShape(f"{_place(url)} gave an answer that cannot be read: {_cause(error)}") from None

    @contextmanager
    def _turn(self, origin: str, until: float) -> Iterator[None]:
        """Wait until the host takes another request."""
        if not self._hosts[origin].acquire(timeout=max(0.0, until - time.monotonic())):
            raise Unreachable("it took longer than listing_timeout")
        try:
            self.pause(0)
            yield
        finally:
            self._hosts[origin].release()

    def _body(self, response: httpx.Response, limit: int, page_until: float, until: float) -> bytes:
        chunks, size = [], 0
        for chunk in response.iter_bytes():
            chunks.append(chunk)
            size += len(chunk)
            if self._stop.is_set():
                raise Cancelled("the run was told to stop")
            if size > limit:
                raise WrongShape(f"{_place(response.url)} sent more than max_page_bytes ({limit}) for one page")
            now = time.monotonic()
            if now > until:
                raise Unreachable("it took longer than listing_timeout")
            if now > page_until:
                raise _Transient(f"{_place(response.url)} took longer than page_timeout for one page")
        return b"".join(chunks)


@dataclass
class Getter:
    """The `get` of one listing: paced, retried within its time limit, counted."""

    http: Http
    credential: Credential
    requests: int = 0
    retries: int = 0
    bytes_received: int = 0
    stalled: bool = False
    """Whether the last page brought nothing new: then there is no next one."""
    skims: bool = True
    """Whether pages are most likely plain, and then skimmed first."""
    _asked: set[httpx.URL] = field(default_factory=set)

    def __post_init__(self) -> None:
        provider = adapter(self.credential)
        own = {name: value.get_secret_value() for name, value in self.credential.headers.items()}
        self._headers = {
            **provider.headers(self.credential),
            **{name.lower(): value for name, value in own.items()},
        }
        self._unsupported = provider.unsupported
        self._skim = skimmer(provider.reading)
        rate = self.credential.http.requests_per_second
        at_once = int(rate) if rate == int(rate) else 1
        self._sent: deque[float] = deque(maxlen=at_once)
        self._window = at_once / rate
        self._until = time.monotonic() + self.credential.http.listing_timeout

    def __call__(self, path: str, **params: str | int | None) -> Answer:
        """Return one page's answer; raise a ListingError when none comes, EndNotProven when it was asked before."""
        given = {name: value for name, value in params.items() if value is not None}
        url = httpx.URL(f"{self.credential.base_url}/{path}", params=given)
        if self.stalled:
            raise EndNotProven("an empty page says that there is more")
        if url in self._asked:
            raise EndNotProven("the server's cursor leads back to a page that was already read")
        self._asked.add(url)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.credential.http.attempts)
            | tenacity.stop_before_delay(max(0.0, self._until - time.monotonic())),
            wait=_wait,
            retry=tenacity.retry_if_exception_type(_Transient),
            sleep=self.http.pause,
            before_sleep=self._note_retry,
            reraise=True,
        )
        try:
            return retrying(self._once, url)
        except _Transient as error:
            tries = retrying.statistics["attempt_number"]
            raise Unreachable(f"{error} ({tries} tries)" if tries > 1 else str(error)) from None

    def _note_retry(self, state: tenacity.RetryCallState) -> None:
        self.retries += 1
        error = self.http.redact(str(state.outcome.exception() if state.outcome else ""))
        wait = state.next_action.sleep if state.next_action else 0.0
        log.info("retry", extra={"credential": self.credential.name, "wait": round(wait, 2), "error": error})

    def _once(self, url: httpx.URL) -> Answer:
        for _ in range(_MOST_REDIRECTS + 1):
            self._keep_pace()
            self.requests += 1
            response, body = self.http.send(url, self.credential.http, self._headers, self._until)
            self.bytes_received += response.num_bytes_downloaded
            if response.next_request is None:
                return self._answer(response, body)
            url = self._same_host(url, response.next_request.url)
        raise Refused(f"{_place(url)} redirects in circles; set base_url to where the file list is", 310)

    def _same_host(self, url: httpx.URL, target: httpx.URL) -> httpx.URL:
        if _origin(url) != _origin(target):
            raise Refused(
                f"{_place(url)} redirects to {_origin(target)}, which is not followed: it could take the key;"
                " set base_url to the right host",
                302,
            )
        return target

    def _keep_pace(self) -> None:
        if time.monotonic() > self._until:
            raise Unreachable("it took longer than listing_timeout")
        if len(self._sent) == self._sent.maxlen:
            self.http.pause(max(0.0, self._sent[0] + self._window - time.monotonic()))
        self._sent.append(time.monotonic())

    def _answer(self, response: httpx.Response, content: bytes) -> Answer:
        place = _place(response.url)
        if response.is_success:
            skimmed = self._skim(content) if self.skims else None
            return Answer(skimmed or decode(content, place), response.headers)
        try:
            body = decode(content, place)
        except WrongShape:
            body = None
        raise self._failure(response, body)

    def _failure(self, response: httpx.Response, body: Json) -> ListingError:
        status = response.status_code
        said = f": {described(body)}" if body is not None else ""
        message = self.http.redact(f"{_place(response.url)} answered {status}{said}")
        if self._unsupported(status, body):
            return Unsupported(f"this route has no file list{said}")
        if (status in HEALING or status >= 500) and not _is_spent(body):  # noqa: PLR2004 - server errors
            asked = retry_after(response.headers)
            return _Transient(message, retry_delay(body) if asked is None else asked)
        hint = f" ({_HINTS[status]})" if status in _HINTS and len(self._asked) == 1 else ""
        return Refused(message + hint, status)


def decode(content: bytes, place: str) -> Json:
    """Decode JSON; raise WrongShape if it is none."""
    try:
        return decode_json(content)
    except (ValueError, RecursionError):
        kind = "an empty body" if not content else "a web page" if content.lstrip()[:1] == b"<" else "no valid JSON"
        raise WrongShape(f"{place} answered with {kind} instead of a file list") from None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds a server asks to wait: in milliseconds, else `retry-after` as seconds or HTTP date.

    Capped at LONGEST_WAIT; None for what is absent, negative, past or garbage.
    https://www.rfc-editor.org/rfc/rfc9110#field.retry-after; Azure has a name of its own (azure-core, _utils.py).
    """
    for name, scale in (("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) * scale
        except ValueError:
            seconds = _seconds_until(value, now or datetime.now(UTC))
        if seconds >= 0:
            return min(seconds, LONGEST_WAIT)
    return _reset(headers, now or datetime.now(UTC))


def _reset(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read `x-ratelimit-reset` where it is a moment in unix seconds, as Cohere's is (cohere, core/http_client.py)."""
    value = headers.get("x-ratelimit-reset", "")
    seconds = int(value) - now.timestamp() if re.fullmatch(r"\d{10}", value) else -1.0
    return min(seconds, LONGEST_WAIT) if seconds >= 0 else None


def retry_delay(body: Json) -> float | None:
    """Return the seconds that a Google API asks to wait, which it writes into the body.

    https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto, RetryInfo
    """
    error = body.get("error") if isinstance(body, dict) else None
    details = error.get("details") if isinstance(error, dict) else None
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"\d{1,9}(\.\d{1,9})?s", delay):
            return min(float(delay[:-1]), LONGEST_WAIT)
    return None


def _seconds_until(date: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return -1.0
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()


_jitter = tenacity.wait_random_exponential(multiplier=0.5, max=30)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _Transient) else None
    return _jitter(state) if asked is None else asked


def _is_spent(body: Json) -> bool:
    error = body.get("error") if isinstance(body, dict) else None
    return isinstance(error, dict) and not SPENT.isdisjoint(str(error.get(key)) for key in ("code", "type"))


def _origin(url: httpx.URL) -> str:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{url.host}:{port}"


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _place(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}{url.path}"


def _cause(error: httpx.HTTPError) -> str:
    kind = type(error).__name__
    return f"{kind}: {error}" if str(error) else kind
