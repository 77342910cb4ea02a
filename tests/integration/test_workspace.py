"""A workspace of Portkey: its providers are credentials by themselves, and `discover` tells what nobody lists."""

from typing import Any

import pytest

from etl import cli
from etl.errors import ConfigError
from etl.simulator import Account, Reply, Simulator

from .conftest import Lab, Row
from .serving import serving

KEY = "pk-of-the-workspace"


def provider(slug: str, vendor: str = "openai", status: str = "active", **more: Any) -> Row:
    record = {
        "object": "provider",
        "slug": slug,
        "name": slug.title(),
        "status": status,
        "integration_id": f"int-{vendor}",
    }
    return record | more


def integration(vendor: str) -> Row:
    return {"object": "integration", "id": f"uuid-{vendor}", "slug": f"int-{vendor}", "ai_provider_id": vendor}


@pytest.fixture
def portkey(simulator: Simulator) -> Simulator:
    """Three providers, one of them exhausted, and a virtual key; pages of 100."""
    simulator.portkey_api_key = KEY
    simulator.accounts |= {
        slug: Account(30 + place, seed=place) for place, slug in enumerate(("search", "chat", "old"))
    }
    simulator.admin = {
        "providers": [provider("search"), provider("chat", "azure-openai"), provider("old", status="exhausted")],
        "integrations": [integration("openai"), integration("azure-openai")],
        "virtual-keys": [{"slug": "vk-1", "status": "active"}, {"slug": "search", "status": "active"}],
    }
    return simulator


def workspace(simulator: Simulator, **settings: Any) -> Row:
    named = {"name": "acme", "type": "portkey-workspace", "base_url": simulator.url, "api_key": KEY}
    return named | {"http": {"attempts": 1}} | settings


def listed(lab: Lab) -> dict[str, tuple[str, int]]:
    rows = lab.rows("select credential, status, records from listings where run_id = (select max(run_id) from runs)")
    return {row["credential"]: (row["status"], row["records"]) for row in rows}


def active(lab: Lab) -> set[str]:
    return {row["name"] for row in lab.rows("select name from credentials where active")}


def test_every_active_provider_is_a_credential(lab: Lab, portkey: Simulator) -> None:
    config = lab.config(workspace(portkey, labels={"team": "all"}))
    assert lab.sync(config).status == "complete"
    assert listed(lab) == {"acme": ("complete", 0), "acme.search": ("complete", 30), "acme.chat": ("complete", 31)}
    rows = lab.rows("select name, provider, workspace, labels->>'team' as team from credentials order by name")
    assert [tuple(row.values()) for row in rows] == [
        ("acme", None, None, "all"),
        ("acme.chat", "azure-openai", "acme", "all"),
        ("acme.search", "openai", "acme", "all"),
    ]
    assert {row["provider"] for row in lab.published().of("acme.chat").files} == {"azure-openai"}


def test_new_ones_are_taken_up_and_vanished_ones_stay_inactive_with_their_files(lab: Lab, portkey: Simulator) -> None:
    config = lab.config(workspace(portkey))
    lab.sync(config)
    portkey.accounts["fresh"] = Account(5, seed=9)
    portkey.admin["providers"] = [provider("search"), provider("fresh")]
    lab.sync(config)
    assert listed(lab) == {"acme": ("complete", 0), "acme.search": ("complete", 30), "acme.fresh": ("complete", 5)}
    assert active(lab) == {"acme", "acme.search", "acme.fresh"}
    assert len(lab.published().of("acme.chat").files) == 31
    assert lab.published().log("deleted") == []


@pytest.mark.parametrize(
    ("patterns", "taken"),
    [
        ({"include": ["s*"]}, {"acme.search"}),
        ({"exclude": ["chat"]}, {"acme.search"}),
        ({"include": ["*a*"], "exclude": ["s*"]}, {"acme.chat"}),
    ],
)
def test_patterns_choose(lab: Lab, portkey: Simulator, patterns: Row, taken: set[str]) -> None:
    lab.sync(lab.config(workspace(portkey, **patterns)))
    assert active(lab) == {"acme"} | taken


@pytest.mark.parametrize(
    "answer",
    [
        lambda: Reply.error(500, "down", "server_error"),
        lambda: Reply.json({"success": False, "data": {"message": "Unauthorised Request"}}, 401),
        lambda: Reply.json({"object": "list", "data": None}),
        lambda: Reply.json({"object": "list", "total": 5, "data": []}),
        lambda: Reply.json({"object": "list", "total": 5, "data": [provider("search")]}),
        lambda: Reply.json({"object": "list", "total": 1, "data": [{"name": "no slug"}]}),
    ],
)
def test_what_portkey_cannot_tell_is_as_it_was(
    lab: Lab, portkey: Simulator, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = lab.config(workspace(portkey))
    lab.sync(config)
    plain = portkey._administered
    monkeypatch.setattr(
        portkey, "_administered", lambda request: answer() if "providers" in request.path else plain(request)
    )
    run = lab.sync(config)
    assert run.status == "partial"
    assert listed(lab) == {"acme": ("failed", 0), "acme.search": ("complete", 30), "acme.chat": ("complete", 31)}
    [failed] = [outcome for outcome in run.listings if outcome.credential == "acme"]
    assert failed.error
    assert failed.error.startswith("its providers cannot be found: ")
    assert KEY not in failed.error


def test_many_pages_are_read_to_the_end(lab: Lab, portkey: Simulator) -> None:
    many = [provider(f"p-{number:03}") for number in range(120)]
    portkey.accounts |= {one["slug"]: Account(1, seed=number) for number, one in enumerate(many)}
    portkey.admin["providers"] = many
    run = lab.sync(lab.config(workspace(portkey)))
    assert (run.status, run.totals["records"], run.totals["credentials"]) == ("complete", 120, 121)


def test_vendors_that_may_not_be_read_are_unknown(lab: Lab, portkey: Simulator) -> None:
    del portkey.admin["integrations"]
    lab.sync(lab.config(workspace(portkey)))
    assert {row["provider"] for row in lab.rows("select provider from credentials")} == {None}


def test_a_run_over_some_names_leaves_the_others_as_they_are(lab: Lab, portkey: Simulator) -> None:
    portkey.accounts["direct"] = Account(7, seed=5)
    direct = {"name": "direct", "type": "openai", "base_url": portkey.url, "api_key": "direct"}
    config = lab.config(workspace(portkey), direct)
    lab.sync(config)
    lab.sync(config, "direct")
    assert listed(lab) == {"direct": ("complete", 7)}
    assert active(lab) == {"acme", "acme.search", "acme.chat", "direct"}
    lab.sync(config, "acme.chat")
    assert listed(lab) == {"acme": ("complete", 0), "acme.chat": ("complete", 31)}
    lab.sync(config, "acme")
    assert set(listed(lab)) == {"acme", "acme.search", "acme.chat"}
    with pytest.raises(ConfigError, match="no credential is named acm"):
        lab.sync(config, "acm.chat")


def test_the_service_measures_and_lists_what_was_found(lab: Lab, portkey: Simulator) -> None:
    with serving(lab.config(workspace(portkey))) as site:
        site.service.sync((), "api").result(30)
        site.service.sync(["acme.chat"], "api").result(30)
        text = site.client.get("/metrics").text
        assert 'file_inventory_files{credential="acme.chat"} 31.0' in text
        assert 'file_inventory_listings_total{credential="acme.chat",verdict="complete"} 2.0' in text
        assert 'file_inventory_listings_total{credential="acme.chat",verdict="failed"} 0.0' in text
        states = {row["credential"]: row["state"] for row in site.client.get("/api/status").json()["credentials"]}
        assert states == {"acme": "fresh", "acme.chat": "fresh", "acme.search": "fresh"}


def test_one_account_found_and_configured_is_counted_once(lab: Lab, portkey: Simulator) -> None:
    again = {"name": "again", "type": "portkey", "base_url": portkey.url, "api_key": KEY, "provider": "@search"}
    lab.sync(lab.config(workspace(portkey), again | {"vendor": "openai"}))
    assert lab.rows("select count(*) as n from files") == [{"n": 91}]
    assert lab.rows("select count(*) as n from unique_files") == [{"n": 61}]


CONFIG = """
store: {store}
http: {{attempts: 1}}
credentials:
  - {{name: named, type: portkey, base_url: {url}, api_key: "${{PK}}", provider: "@{slug}"}}
  - {{name: by-key, type: portkey, base_url: {url}, api_key: "${{PK}}", virtual_key: "${{VK}}"}}
"""


def discovered(lab: Lab, text: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    path = lab.path.with_name("inventory.yaml")
    path.write_text(text)
    with pytest.raises(SystemExit) as left:
        cli.main(["--config", str(path), *(arguments or ("discover",))])
    return int(left.value.code or 0), capsys.readouterr().out.splitlines()


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PK", KEY)
    monkeypatch.setenv("VK", "vk-1")


def test_discover_tells_what_is_listed_missing_and_unknown(
    lab: Lab, portkey: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    text = CONFIG.format(store=lab.path, url=portkey.url, slug="search")
    assert discovered(lab, text, capsys) == (
        1,
        [
            "missing    provider chat (azure-openai), active: no credential lists it",
            "left       provider old (openai), exhausted: no credential lists it",
            "listed     provider search (openai): named",
            "listed     virtual key vk-1: by-key",
        ],
    )
    text = CONFIG.format(store=lab.path, url=portkey.url, slug="old").replace("${VK}", "${PK}")
    status, lines = discovered(lab, text, capsys)
    assert status == 1
    assert "exhausted  provider old (openai): named" in lines
    assert lines[-1].startswith("unknown    by-key: Portkey has no provider or virtual key ")
    assert KEY not in lines[-1]


def test_discover_finds_nothing_wanting_where_a_workspace_takes_all(
    lab: Lab, portkey: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"""
store: {lab.path}
credentials:
  - {{name: acme, type: portkey-workspace, base_url: {portkey.url}, api_key: "${{PK}}", exclude: [old]}}
  - {{name: by-key, type: portkey, base_url: {portkey.url}, api_key: "${{PK}}", virtual_key: "${{VK}}"}}
"""
    status, lines = discovered(lab, text, capsys)
    assert (status, [line.split()[0] for line in lines]) == (0, ["listed", "left", "listed", "listed"])
    assert discovered(lab, text, capsys, "check")[1][0] == "ok      acme"


def test_discover_says_why_it_cannot(lab: Lab, portkey: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    portkey.portkey_api_key = "another"
    text = CONFIG.format(store=lab.path, url=portkey.url, slug="search")
    status, [line] = discovered(lab, text, capsys)
    assert status == 1
    assert line.startswith("failed     named: its providers cannot be found: ")
    assert "Unauthorised Request" in line
    text = f"store: {lab.path}\ncredentials: [{{name: a, type: openai, base_url: {portkey.url}}}]\n"
    assert discovered(lab, text, capsys)[0] == 2
