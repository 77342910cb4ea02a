"""Hand work to the service that keeps the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from etl.errors import ConfigError, StoreBusy, StoreError
from etl.load.store import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.config import Config


def sync(busy: StoreBusy, config: Config, names: Sequence[str]) -> Run:
    """Have the service list every credential (or those named), and wait for the run.

    Raises:
        StoreBusy: Who holds the store is no service.
        ConfigError: The service does not know a name, or wants another token.
        StoreError: It gives no answer, or cannot do it.
    """
    body = {"credentials": list(names)} if names else {}
    return msgspec.json.decode(_post(busy, config, "/api/sync?wait=true", body), type=Run)


def decide(busy: StoreBusy, config: Config, decision: str, name: str) -> int:
    """Have the service approve or reject the held deletions of a credential; return how many. Raises as `sync`."""
    return int(msgspec.json.decode(_post(busy, config, f"/api/credentials/{name}/{decision}", {}))["files"])


def _post(busy: StoreBusy, config: Config, path: str, body: Any) -> bytes:
    if busy.service is None:
        raise busy
    token = config.serve.token
    headers = {"authorization": f"Bearer {token.get_secret_value()}"} if token else {}
    try:
        response = httpx.post(busy.service + path, json=body, headers=headers, timeout=None, trust_env=False)  # noqa: S113 - a run takes its time
    except httpx.HTTPError as error:
        raise StoreError(f"the service at {busy.service} gave no answer ({error}); see its log") from None
    if response.is_success:
        return response.content
    raise _failure(busy.service, response)


def _failure(service: str, response: httpx.Response) -> ConfigError | StoreError:
    match response.status_code:
        case 401:
            return ConfigError(f"the service at {service} asks for its token; set serve.token as it is set there")
        case 404:
            return ConfigError(_message(response))
    return StoreError(f"the service at {service} cannot do it: {_message(response)}")


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answered {response.status_code}"
