"""Through the real Portkey gateway: the list follows the provider behind it, and what the gateway makes of it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from etl.extract.probe import Probe, probe
from etl.providers.portkey import LOST, UPSTREAMS
from etl.simulator import FAULTS, Account, Fault, Reply, Request, Simulator
from etl.simulator.faults import instead

from .conftest import TOKEN, Lab, Row, behind, direct, instant

OTHER = "sk-of-another-account"

pytestmark = pytest.mark.usefixtures("account")


@pytest.fixture
def account(simulator: Simulator) -> Account:
    """25 files, 10 a page, no two of one name."""
    simulator.page_limit = 10
    account = simulator.accounts[TOKEN] = Account(25, seed=3)
    for number, file in enumerate(account.files.values()):
        file["filename"] = f"{number}-{file['filename']}"
    return account


def files(lab: Lab, *columns: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(row[column] for column in columns) for row in lab.published().files)


def via(gateway: str, simulator: Simulator, provider: str, host: str, **settings: Any) -> Row:
    """A credential of a provider behind the gateway, at the simulator."""
    return behind(gateway, simulator, provider=provider, custom_host=f"{simulator.speaking(host)}", **settings)


# Lists that the gateway rewrites


def test_cohere_has_no_sizes_and_no_proven_end(lab: Lab, simulator: Simulator, account: Account, gateway: str) -> None:
    config = lab.config(via(gateway, simulator, "cohere", "cohere"))
    listing = lab.listing(config)
    assert (listing.status, listing.reason, listing.requests) == ("incomplete", "end_not_proven", 1)
    assert listing.error == "the gateway asks Cohere for one page only, and does not tell whether there are more"
    assert len(lab.published().files) == 10
    for row in lab.published().files:
        truth = account.files[row["file_id"]]
        assert (row["filename"], row["purpose"]) == (truth["filename"], truth["purpose"])
        assert row["created_at"].replace(microsecond=0) == instant(truth["created_at"])
        assert (row["bytes"], row["status"], row["provider"]) == (None, "processed", "cohere")
    account.remove(*list(account.files)[:9])
    assert lab.listing(config).deleted == 0
    assert lab.published().log("deleted") == []


def test_fireworks_ends_where_the_gateway_ends_and_is_complete_only_on_one_page(
    lab: Lab, simulator: Simulator, account: Account, gateway: str
) -> None:
    route = behind(
        gateway,
        simulator,
        provider="fireworks-ai",
        custom_host=f"{simulator.speaking('fireworks')}/v1/accounts/acme",
    )
    listing = lab.listing(lab.config(route))
    assert (listing.status, listing.reason, listing.requests) == ("incomplete", "end_not_proven", 1)
    assert listing.error == "the gateway asks Fireworks for one page only, of 10 of 25 datasets"
    account.remove(*list(account.files)[8:])
    assert lab.listing(lab.config(route)).status == "complete"
    for row in lab.published().files:
        assert (row["bytes"], row["purpose"], row["extra"]) == (None, None, None)
        assert datetime(2020, 1, 1, tzinfo=UTC) < row["created_at"] < datetime(2100, 1, 1, tzinfo=UTC)


def test_fireworks_names_that_come_twice_are_one_id_so_nothing_is_deleted(
    lab: Lab, simulator: Simulator, account: Account, gateway: str
) -> None:
    account.remove(*list(account.files)[8:])
    for key in list(account.files)[:2]:
        account.files[key]["filename"] = "same"
    route = behind(
        gateway,
        simulator,
        provider="fireworks-ai",
        custom_host=f"{simulator.speaking('fireworks')}/v1/accounts/acme",
    )
    listing = lab.listing(lab.config(route))
    assert (listing.status, listing.records) == ("incomplete", 7)
    assert listing.error == "the gateway makes an id of the display name, and 1 datasets share that of another"


@pytest.mark.parametrize(
    ("provider", "host"),
    [("openai", "openai/v1"), ("azure-openai", "azure-openai/openai/v1"), ("azure-ai", "openai/v1")],
)
def test_a_list_in_the_form_of_openai_passes_whole(
    lab: Lab, simulator: Simulator, account: Account, gateway: str, provider: str, host: str
) -> None:
    headers = {"x-portkey-azure-resource-name": "acme", "x-portkey-azure-api-version": "2024-10-21"}
    listing = lab.listing(lab.config(via(gateway, simulator, provider, host, headers=headers)))
    assert (listing.status, listing.pages) == ("complete", 3)
    assert files(lab, "file_id", "bytes") == sorted((key, file["bytes"]) for key, file in account.files.items())
    assert {row["provider"] for row in lab.published().files} == {provider}


# Answers that are none


def odd(status: int) -> Fault:
    return lambda _request, reply: Reply(status, reply.body, reply.headers)


@pytest.mark.parametrize("status", [203, 206])
def test_a_success_may_have_another_status(lab: Lab, simulator: Simulator, gateway: str, status: int) -> None:
    simulator.faults[TOKEN] = odd(status)
    assert lab.listing(lab.config(behind(gateway, simulator))).status == "complete"


def test_success_with_failed_guardrails_is_a_success(lab: Lab, simulator: Simulator) -> None:
    simulator.faults[TOKEN] = odd(246)
    assert lab.listing(lab.config(behind(simulator.url, simulator))).status == "complete"


@pytest.mark.parametrize("provider", sorted(LOST))
def test_what_a_root_url_answers_is_no_list(lab: Lab, simulator: Simulator, gateway: str, provider: str) -> None:
    models = {"object": "list", "data": [{"id": "model-1"}, {"id": "model-2"}]}
    simulator.faults[TOKEN] = instead(Reply.json(models))
    root = behind(gateway, simulator, provider=provider, custom_host=f"{simulator.url}/files")
    listing = lab.listing(lab.config(root))
    assert (listing.status, listing.records) == ("failed", 0)
    assert lab.published().files == []


@pytest.mark.parametrize("records", [[], [{"id": "model-1"}], [{"id": "a", "filename": "a"}, {"id": "b"}]])
def test_a_gateway_that_passes_on_what_a_root_url_answers_is_not_believed(
    lab: Lab, simulator: Simulator, records: list[Row]
) -> None:
    simulator.faults[TOKEN] = instead(Reply.json({"object": "list", "data": records}))
    listing = lab.listing(lab.config(behind(simulator.url, simulator, provider="groq")))
    assert (listing.status, listing.reason) == ("failed", "wrong_shape")
    assert listing.error == (
        "this gateway asks groq for its root URL, not for its files;"
        " use upstream, or the provider's own type without a gateway"
    )


def test_a_gateway_that_has_learnt_to_list_files_is_believed(lab: Lab, simulator: Simulator, account: Account) -> None:
    listing = lab.listing(lab.config(behind(simulator.url, simulator, provider="groq")))
    assert (listing.status, listing.records) == ("complete", len(account.files))


# Several targets


def choosing(gateway: str, simulator: Simulator, mode: str, *tokens: str) -> Row:
    targets = [{"provider": "openai", "api_key": token, "custom_host": simulator.url} for token in tokens]
    config = {"strategy": {"mode": mode}, "targets": targets}
    return {"name": "acme", "type": "portkey", "base_url": gateway, "config": config}


DOUBT = (
    "its gateway config chooses among several targets, and each may be another account;"
    " give each target a credential of its own"
)


@pytest.mark.parametrize("mode", ["loadbalance", "fallback"])
def test_a_config_of_several_targets_is_never_complete_and_check_warns(
    lab: Lab, simulator: Simulator, gateway: str, mode: str
) -> None:
    simulator.accounts[OTHER] = simulator.accounts[TOKEN] = Account(8, seed=1)
    config = lab.config(choosing(gateway, simulator, mode, TOKEN, OTHER))
    listing = lab.listing(config)
    assert (listing.status, listing.reason, listing.error) == ("incomplete", "end_not_proven", DOUBT)
    assert listing.records == 8
    assert list(probe(config)) == [Probe("acme", None, DOUBT)]


def test_a_config_of_one_target_is_as_good_as_none(
    lab: Lab, simulator: Simulator, account: Account, gateway: str
) -> None:
    config = lab.config(choosing(gateway, simulator, "single", TOKEN))
    assert (lab.listing(config).status, len(lab.published().files)) == ("complete", len(account.files))
    assert list(probe(config)) == [Probe("acme", None)]


def test_a_page_of_another_target_ends_the_list(lab: Lab, simulator: Simulator, account: Account, gateway: str) -> None:
    simulator.accounts[OTHER] = account
    simulator.faults[TOKEN] = FAULTS["page2_500"]
    listing = lab.listing(lab.config(choosing(gateway, simulator, "fallback", TOKEN, OTHER)))
    assert (listing.status, listing.reason) == ("incomplete", "end_not_proven")
    assert listing.error == "config.targets[1] of the gateway config gave this page, config.targets[0] the one before"
    assert files(lab, "file_id") == sorted((key,) for key in list(account.files)[:10])


# Upstreams

HOSTS = {"groq": "/openai/v1"}


def up(gateway: str, simulator: Simulator, upstream: str, **settings: Any) -> Row:
    host = simulator.speaking(upstream) + HOSTS.get(upstream, "/v1")
    route = {"upstream": upstream, "authorization": TOKEN, "custom_host": host}
    return {"name": "acme", "type": "portkey", "base_url": gateway} | route | settings


upstreams = pytest.mark.parametrize("upstream", sorted(UPSTREAMS))


@upstreams
def test_an_upstream_is_listed_as_it_is_without_a_gateway(
    lab: Lab, simulator: Simulator, account: Account, gateway: str, upstream: str
) -> None:
    listing = lab.listing(lab.config(up(gateway, simulator, upstream)))
    assert (listing.status, listing.records) == ("complete", len(account.files))
    through = lab.published().files
    host = simulator.speaking(upstream) + HOSTS.get(upstream, "/v1")
    lab.listing(lab.config(direct(simulator, name="bare", type=upstream, base_url=host)))
    without = lab.published().of("bare").files
    when = dict.fromkeys(("credential", "first_seen_at", "changed_at"))
    assert [row | when for row in through] == [row | when for row in without]
    assert {row["provider"] for row in through} == {upstream}
    assert_same_requests(simulator.requests)


def assert_same_requests(requests: list[Request]) -> None:
    half = len(requests) // 2
    asked = [(request.path, request.params) for request in requests]
    assert asked[:half] == asked[half:]


@upstreams
def test_an_upstream_that_refuses_the_key_says_so(lab: Lab, simulator: Simulator, gateway: str, upstream: str) -> None:
    listing = lab.listing(lab.config(up(gateway, simulator, upstream, authorization="sk-of-nobody")))
    assert (listing.status, listing.reason, listing.requests) == ("failed", "refused", 1)
    assert "answered 401" in str(listing.error)
    assert "sk-of-nobody" not in str(listing.error)


@upstreams
def test_an_upstream_is_checked_with_one_small_page(
    simulator: Simulator, lab: Lab, gateway: str, upstream: str
) -> None:
    assert list(probe(lab.config(up(gateway, simulator, upstream)))) == [Probe("acme", None)]
    assert len(simulator.requests) == 1
