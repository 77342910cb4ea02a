"""The real gateway stands between a client and the simulator."""

import json
from typing import Any

import httpx
import pytest

from etl.simulator import Account, Simulator

TOKEN = "sk-behind-the-gateway"


@pytest.fixture
def account(simulator: Simulator) -> Account:
    account = simulator.accounts[TOKEN] = Account(25, seed=3)
    return account


def by_provider(simulator: Simulator) -> dict[str, str]:
    return {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": simulator.url,
        "authorization": f"Bearer {TOKEN}",
    }


def by_config(simulator: Simulator) -> dict[str, str]:
    config = {"provider": "openai", "api_key": TOKEN, "custom_host": simulator.url}
    return {"x-portkey-config": json.dumps(config)}


def get(gateway: str, headers: dict[str, str], **params: Any) -> httpx.Response:
    return httpx.get(f"{gateway}/files", headers=headers, params=params, timeout=10)


@pytest.mark.parametrize("mode", [by_provider, by_config])
def test_lists_the_files_of_the_account(gateway: str, simulator: Simulator, account: Account, mode: Any) -> None:
    answer = get(gateway, mode(simulator), order="asc")
    assert answer.status_code == 200
    assert answer.headers["x-portkey-provider"] == "openai"
    assert answer.json()["data"] == list(account.files.values())
    assert answer.json()["has_more"] is False


@pytest.mark.parametrize("mode", [by_provider, by_config])
def test_passes_paging_on(gateway: str, simulator: Simulator, account: Account, mode: Any) -> None:
    ids = list(account.files)
    after: dict[str, str] = {}
    for start in (0, 10, 20):
        page = get(gateway, mode(simulator), limit=10, order="asc", **after).json()
        assert [record["id"] for record in page["data"]] == ids[start : start + 10]
        assert page["has_more"] is (start < 20)
        after = {"after": page["last_id"]}
    assert [request.params.get("limit") for request in simulator.requests] == ["10", "10", "10"]


def test_sends_the_provider_key_only(gateway: str, simulator: Simulator, account: Account) -> None:
    assert get(gateway, by_config(simulator), purpose="batch").json()["data"]
    (request,) = simulator.requests
    assert request.account == TOKEN
    assert request.params == {"purpose": "batch"}
    assert not [name for name in request.headers if name.startswith("x-portkey-")]
    assert len(account.files) == 25


def test_refuses_a_wrong_key_as_the_provider_does(gateway: str, simulator: Simulator) -> None:
    answer = get(gateway, by_provider(simulator))
    assert answer.status_code == 401
    assert TOKEN in answer.json()["error"]["message"]
