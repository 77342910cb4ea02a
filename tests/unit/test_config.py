"""A configuration is right as a whole, or refused with every fault in it named and no secret told."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from etl.config import Config, json_schema, load_config, shipped, store_path
from etl.errors import ConfigError
from etl.providers import KINDS
from etl.providers.base import Brake, RequestSettings
from etl.providers.openai import OpenAICredential
from etl.providers.portkey import PortkeyCredential

CANARY = "c4n4ry-0123456789"
ENV = {"KEY": CANARY, "PORTKEY": "portkey-" + CANARY}
LITERAL = "is written out; put a reference here, ${NAME} of the environment or file:/path, and the secret there"
OPENAI = {"name": "a", "type": "openai", "api_key": "${KEY}"}
GATEWAY = "http://127.0.0.1:8787/v1"

Load = Callable[..., Config]
Faults = Callable[..., list[str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "inventory.yaml"


@pytest.fixture
def load(path: Path) -> Load:
    """Write a configuration, as text or as a value, and load it."""

    def load(content: Any, env: Mapping[str, str] = ENV) -> Config:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return load_config(path, env=env)

    return load


@pytest.fixture
def faults(load: Load, path: Path) -> Faults:
    """Load a configuration that is wrong; return the lines without the name of the file."""

    def faults(content: Any, env: Mapping[str, str] = ENV) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(content, env)
        lines = str(caught.value).splitlines()
        assert all(line.startswith(str(path)) for line in lines)
        return [line.removeprefix(f"{path}: ") for line in lines]

    return faults


def with_credential(**settings: Any) -> dict[str, Any]:
    return {"credentials": [{"name": "a"} | settings]}


def with_top(**settings: Any) -> dict[str, Any]:
    return {"credentials": [OPENAI]} | settings


# Credentials


@pytest.mark.parametrize(
    "settings",
    [
        {"virtual_key": "${KEY}"},
        {"provider": "@team-slug"},
        {"provider": "openai", "authorization": "${KEY}"},
        {"provider": "openai", "authorization": "Bearer ${KEY}", "custom_host": "https://files.example.com/v1"},
        {"provider": "openai", "virtual_key": "${KEY}"},
        {"provider": "azure-openai", "headers": {"x-portkey-azure-ad-token": "${KEY}"}},
        {"config": "pc-files-1234"},
        {"config": {"provider": "openai", "api_key": "${KEY}"}},
        {"config": "${KEY}"},
    ],
)
def test_every_way_through_portkey_is_valid_hosted_or_not(load: Load, settings: dict[str, Any]) -> None:
    hosted = load(with_credential(type="portkey", api_key="${PORTKEY}", **settings)).credentials[0]
    assert isinstance(hosted, PortkeyCredential)
    assert (hosted.base_url, hosted.type) == ("https://api.portkey.ai/v1", "portkey")
    self_hosted = load(with_credential(type="portkey", base_url=GATEWAY + "/", **settings)).credentials[0]
    assert (self_hosted.base_url, self_hosted.type) == (GATEWAY, "portkey")


@pytest.mark.parametrize(
    "settings",
    [{"api_key": "${KEY}"}, {"base_url": "http://127.0.0.1:1/v1"}, {"base_url": "https://files.example.com"}],
)
def test_only_openai_itself_wants_a_key(load: Load, settings: dict[str, Any]) -> None:
    assert isinstance(load(with_credential(type="openai", **settings)).credentials[0], OpenAICredential)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (
            {"type": "portkey", "api_key": "${KEY}"},
            (
                "names no provider account: add virtual_key, provider or config"
                " (without one, hosted Portkey lists the files it stores itself)"
            ),
        ),
        (
            {"type": "portkey", "api_key": "${KEY}", "virtual_key": "${KEY}", "custom_host": "https://x.example"},
            "custom_host needs provider: name the kind of API that the host speaks",
        ),
        (
            {"type": "portkey", "api_key": "${KEY}", "provider": "openai"},
            (
                "provider openai needs its own key: add authorization: ${...}"
                " (the gateway would send the words 'Bearer undefined')"
            ),
        ),
        (
            {"type": "portkey", "virtual_key": "${KEY}"},
            "hosted Portkey wants its key; add api_key: ${PORTKEY_API_KEY}",
        ),
        ({"type": "openai"}, "OpenAI wants a key; add api_key: ${OPENAI_API_KEY}"),
    ],
)
def test_a_credential_that_cannot_work_is_refused_with_the_mend(
    faults: Faults, settings: dict[str, Any], fault: str
) -> None:
    assert faults(with_credential(**settings)) == [f"credentials[0] (of a): {fault}"]


@pytest.mark.parametrize("config", ["{oops", '{"provider": "openai", "api_key": "${KEY}"'])
def test_an_inline_config_that_is_no_json_is_refused(faults: Faults, config: str) -> None:
    (fault,) = faults(with_credential(type="portkey", base_url=GATEWAY, config=config))
    assert fault.startswith("credentials[0].config (of a): ")


def test_an_inline_config_with_a_date_in_it_is_refused_in_words(faults: Faults) -> None:
    text = f"credentials: [{{name: a, type: portkey, base_url: '{GATEWAY}', config: {{since: 2026-01-01}}}}]"
    (fault,) = faults(text)
    assert fault.startswith("credentials[0].config (of a): ")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("api.openai.com/v1", "is not a URL; write it whole, such as https://api.openai.com/v1"),
        ("ftp://x/v1", "is not a URL; write it whole, such as https://api.openai.com/v1"),
        ("https://", "is not a URL; write it whole, such as https://api.openai.com/v1"),
        ("https://user@x/v1", "must hold no user, password, query or fragment: put keys where they are asked for"),
        ("https://:pw@x/v1", "must hold no user, password, query or fragment: put keys where they are asked for"),
        ("https://x/v1?key=1", "must hold no user, password, query or fragment: put keys where they are asked for"),
        ("https://x/v1#f", "must hold no user, password, query or fragment: put keys where they are asked for"),
    ],
)
def test_a_base_url_is_whole_and_bare(faults: Faults, url: str, fault: str) -> None:
    assert faults(with_credential(**OPENAI | {"base_url": url})) == [f"credentials[0].base_url (of a): {fault}"]


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "ä", "../a"])
def test_a_name_holds_only_plain_characters(faults: Faults, name: str) -> None:
    fault = "may hold only letters, digits, dots, dashes and underscores, after a letter or digit"
    assert faults(with_credential(**OPENAI | {"name": name})) == [f"credentials[0].name (of {name}): {fault}"]


def test_two_credentials_of_one_name_are_refused(faults: Faults) -> None:
    assert faults({"credentials": [OPENAI, OPENAI | {"name": "b"}, OPENAI]}) == [
        "two credentials have the name a: give each its own"
    ]


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        ({"name": "a"}, f"credentials[0] (of a): has no type; add type: and one of {', '.join(KINDS)}"),
        ({"name": "a", "type": "opanai"}, "credentials[0] (of a): type opanai is not known; did you mean openai?"),
        (
            {"name": "a", "type": "s3"},
            f"credentials[0] (of a): type s3 is not known; known are {', '.join(sorted(KINDS))}",
        ),
        ({"type": "openai", "api_key": "${KEY}"}, "credentials[0].name: is missing; add it"),
    ],
)
def test_a_credential_needs_a_name_and_a_known_type(faults: Faults, entry: dict[str, Any], fault: str) -> None:
    assert faults({"credentials": [entry]}) == [fault]


@pytest.mark.parametrize("header", ["", "a b", "a:b", "a\r\nb", "ä"])
def test_a_header_needs_a_name_that_http_can_carry(faults: Faults, header: str) -> None:
    (fault,) = faults(with_credential(**OPENAI, headers={header: "value"}))
    assert fault.startswith("credentials[0].headers")


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "ä", "a\x00b"])
@pytest.mark.parametrize("setting", ["header", "organization", "project", "provider"])
def test_what_is_sent_as_a_header_holds_only_what_http_can_carry(faults: Faults, setting: str, value: str) -> None:
    settings: dict[str, Any] = {"organization": {"type": "openai"}, "project": {"type": "openai"}}.get(
        setting, {"type": "portkey", "virtual_key": "${KEY}"}
    )
    settings |= {"headers": {"x-team": value}} if setting == "header" else {setting: value}
    (fault,) = faults(with_credential(base_url=GATEWAY, **settings))
    where = "headers.x-team" if setting == "header" else setting
    assert fault == f"credentials[0].{where} (of a): holds characters that no HTTP header can carry"


def test_a_credential_is_found_by_name_or_refused_with_the_nearest(load: Load) -> None:
    config = load({"credentials": [OPENAI, OPENAI | {"name": "billing"}]})
    assert config.credential("billing") is config.credentials[1]
    with pytest.raises(ConfigError, match=r"^no credential is named biling; did you mean billing\?$"):
        config.credential("biling")


def test_scope_tells_what_decides_which_files_are_listed(load: Load) -> None:
    openai = with_credential(**OPENAI, purpose="batch", organization="org-1", project="proj-1")
    assert json.loads(load(openai).credentials[0].scope()) == {
        "type": "openai",
        "base_url": "https://api.openai.com/v1",
        "purpose": "batch",
        "organization": "org-1",
        "project": "proj-1",
        "keys": load(openai).credentials[0].fingerprint(),
    }
    saved = with_credential(
        type="portkey", base_url=GATEWAY, provider="openai", config="pc-1", custom_host="https://x.example"
    )
    assert json.loads(load(saved).credentials[0].scope()) == {
        "type": "portkey",
        "base_url": GATEWAY,
        "provider": "openai",
        "custom_host": "https://x.example",
        "route": "pc-1",
        "keys": None,
    }


def test_scope_tells_one_inline_config_from_another_and_holds_nothing_of_it(load: Load) -> None:
    def scope(host: str, key: str = "${KEY}") -> str:
        config = {"targets": [{"provider": "openai", "api_key": key, "custom_host": host, "user": "${KEY}"}]}
        return load(with_credential(type="portkey", base_url=GATEWAY, config=config)).credentials[0].scope()

    here, there = scope("https://x.example"), scope("https://y.example")
    rotated = json.loads(scope("https://x.example", "${PORTKEY}"))
    assert json.loads(here) | {"keys": rotated["keys"]} == rotated != json.loads(here)
    assert json.loads(here)["route"] != json.loads(there)["route"]
    assert re.fullmatch(r"[0-9a-f]{12}", json.loads(here)["route"])
    assert CANARY not in here


def test_what_is_referred_to_in_headers_and_gateway_configs_is_a_secret_whatever_its_name(load: Load) -> None:
    settings = {
        "headers": {"x-team": "${T}"},
        "config": {"user": "${U}", "provider": "openai"},
        "labels": {"a": "${L}"},
    }
    env = {"T": "team", "U": "user", "L": "label", "H": GATEWAY}
    config = load(with_credential(type="portkey", base_url="${H}", **settings), env)
    assert {"team", "user"} <= config.secrets()
    assert config.secrets().isdisjoint({"label", GATEWAY, "openai"})


def test_a_fingerprint_tells_keys_apart_without_telling_them(load: Load) -> None:
    prints = [load(with_credential(**OPENAI), {"KEY": key}).credentials[0].fingerprint() for key in ("k1", "k1", "k2")]
    assert prints[0] == prints[1] != prints[2]
    assert [len(text or "") for text in prints] == [12, 12, 12]
    assert load(with_credential(type="openai", base_url=GATEWAY)).credentials[0].fingerprint() is None


@pytest.mark.parametrize(
    ("settings", "provider"),
    [
        ({"type": "openai", "api_key": "${KEY}"}, "openai"),
        ({"type": "openai", "base_url": GATEWAY}, None),
        ({"type": "openai", "base_url": GATEWAY, "provider": "groq"}, "groq"),
        ({"type": "portkey", "base_url": GATEWAY, "virtual_key": "${KEY}"}, None),
        ({"type": "portkey", "base_url": GATEWAY, "provider": "@slug"}, None),
        ({"type": "portkey", "base_url": GATEWAY, "provider": "groq", "authorization": "${KEY}"}, "groq"),
    ],
)
def test_the_provider_of_files_is_told_only_where_the_configuration_knows_it(
    load: Load, settings: dict[str, Any], provider: str | None
) -> None:
    assert load(with_credential(**OPENAI | settings)).credentials[0].file_provider == provider


# References and secrets


def test_references_are_read_from_the_environment_and_from_files(load: Load, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{CANARY}\r\n\n")
    config = load(
        {
            "store": "${DIR}/inventory.duckdb",
            "credentials": [
                OPENAI | {"base_url": "http://${HOST}:${PORT}/v1", "labels": {"team": "${TEAM}", "cost": "5 ${not}"}},
                {"name": "b", "type": "openai", "api_key": f"file:{secret}", "headers": {"x-key": "${KEY}"}},
            ],
            "serve": {"token": "${KEY}"},
            "http": {"attempts": "${TRIES}"},
        },
        ENV | {"DIR": "data", "HOST": "localhost", "PORT": "1", "TEAM": "search", "TRIES": "3", "not": "euros"},
    )
    first, second = config.credentials
    assert config.store == Path("data/inventory.duckdb")
    assert (first.base_url, first.labels, first.http.attempts) == (
        "http://localhost:1/v1",
        {"team": "search", "cost": "5 euros"},
        3,
    )
    assert list(second.secrets()) == [CANARY, CANARY]
    assert config.secrets() == {CANARY}


@pytest.mark.parametrize("text", ["$KEY", "${}", "${1}", "$ {KEY}", "100 $", "${KEY"])
def test_what_only_resembles_a_reference_is_plain_text(load: Load, text: str) -> None:
    assert load(with_credential(**OPENAI, labels={"x": text})).credentials[0].labels == {"x": text}


@pytest.mark.parametrize(
    ("reference", "fault"),
    [
        ("${NONE}", "the environment has no NONE; set it before starting"),
        ("${NONE}${NEITHER}${KEY}", "the environment has no NONE, NEITHER; set it before starting"),
        ("${EMPTY}", "${EMPTY} is empty"),
        ("${BLANK}", "${BLANK} is empty"),
        ("${BROKEN}", "holds characters that no HTTP header can carry"),
        ("${UMLAUT}", "holds characters that no HTTP header can carry"),
        ("file:{dir}/none", "the file {dir}/none cannot be read: No such file or directory"),
        ("file:{dir}", "the file {dir} cannot be read: Is a directory"),
        ("file:{dir}/empty", "file:{dir}/empty is empty"),
        ("file:{dir}/binary", "the file {dir}/binary cannot be read: not text"),
        (
            "file:{dir}/lines",
            "holds characters that no HTTP header can carry",
        ),
    ],
)
def test_a_reference_that_yields_no_usable_secret_is_named(
    faults: Faults, tmp_path: Path, reference: str, fault: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "lines").write_text(f"{CANARY}\n{CANARY}\n")
    env = ENV | {"EMPTY": "", "BLANK": "  ", "BROKEN": f"{CANARY}\n{CANARY}", "UMLAUT": f"{CANARY}ü"}
    lines = faults(with_credential(**OPENAI | {"api_key": reference.replace("{dir}", str(tmp_path))}), env)
    assert lines == ["credentials[0].api_key (of a): " + fault.replace("{dir}", str(tmp_path))]


def test_a_path_from_the_environment_may_hold_any_letters(load: Load) -> None:
    assert load(with_top(store="${DIR}/x.duckdb"), ENV | {"DIR": "/srv/jürgen"}).store == Path("/srv/jürgen/x.duckdb")


PORTKEY: dict[str, Any] = {"type": "portkey", "base_url": GATEWAY, "provider": "openai"}


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        (OPENAI | {"api_key": CANARY}, "api_key"),
        (OPENAI | {"api_key": ""}, "api_key"),
        (OPENAI | {"api_key": 12345}, "api_key"),
        (PORTKEY | {"virtual_key": CANARY}, "virtual_key"),
        (PORTKEY | {"authorization": f"Bearer {CANARY}"}, "authorization"),
        (PORTKEY | {"config": {"provider": "openai", "api_key": CANARY}}, "config.api_key"),
        (PORTKEY | {"config": {"targets": [{"virtual_key": CANARY}]}}, "config.targets[0].virtual_key"),
        (PORTKEY | {"config": {"aws_secret_access_key": CANARY}}, "config.aws_secret_access_key"),
        pytest.param(PORTKEY | {"config": {"api_keys": [CANARY]}}, "config.api_keys[0]", id="in a list"),
        pytest.param(PORTKEY | {"config": json.dumps({"api_key": CANARY})}, "config.api_key", id="in a config as text"),
        (OPENAI | {"headers": {"Authorization": CANARY}}, "headers.Authorization"),
        (OPENAI | {"headers": {"x-api-key": CANARY}}, "headers.x-api-key"),
        (OPENAI | {"headers": {"Cookie": CANARY}}, "headers.Cookie"),
        (OPENAI | {"headers": {"x-portkey-aws-session-token": CANARY}}, "headers.x-portkey-aws-session-token"),
        pytest.param(
            OPENAI | {"headers": {"x-portkey-vertex-service-account-json": json.dumps({"private_key": CANARY})}},
            "headers.x-portkey-vertex-service-account-json",
            id="service account",
        ),
    ],
)
def test_a_secret_that_is_written_out_is_refused_and_not_repeated(
    faults: Faults, settings: dict[str, Any], place: str
) -> None:
    lines = faults(with_credential(**settings))
    assert f"credentials[0].{place} (of a): {LITERAL}" in lines
    assert not [line for line in lines if CANARY in line]


def test_the_token_of_the_service_is_a_secret_too(faults: Faults) -> None:
    assert faults(with_top(serve={"token": CANARY})) == [f"serve.token: {LITERAL}"]


def test_labels_and_plain_headers_are_never_secrets(load: Load) -> None:
    settings = {
        "labels": {"key": "value", "token": "blue", "cost-centre-secret": "5"},
        "headers": {"x-team": "search", "x-portkey-trace-id": "t"},
    }
    (credential,) = load(with_credential(**OPENAI, **settings)).credentials
    assert credential.labels == settings["labels"]
    assert {name: value.get_secret_value() for name, value in credential.headers.items()} == settings["headers"]
    assert list(credential.secrets()) == [CANARY]


@pytest.mark.parametrize(
    ("settings", "secrets"),
    [
        ({"virtual_key": "${KEY}"}, {CANARY}),
        ({"config": "pc-files-1234"}, set()),
        ({"config": {"targets": [{"api_key": "${KEY}"}]}}, {CANARY, json.dumps({"targets": [{"api_key": CANARY}]})}),
        ({"virtual_key": "${KEY}", "headers": {"x-portkey-azure-ad-token": "${PORTKEY}"}}, set(ENV.values())),
        pytest.param(
            {"provider": "openai", "authorization": "Bearer ${KEY}"}, {CANARY, f"Bearer {CANARY}"}, id="bearer"
        ),
        pytest.param(
            {"virtual_key": "${PORTKEY}", "headers": {"authorization": "Basic ${KEY}"}},
            {CANARY, f"Basic {CANARY}", ENV["PORTKEY"]},
            id="basic",
        ),
        pytest.param(
            {"virtual_key": "${PORTKEY}", "headers": {"x-portkey-vertex-service-account-json": "${KEY}"}},
            {CANARY, ENV["PORTKEY"]},
            id="service account",
        ),
    ],
)
def test_every_secret_is_known_for_redaction(load: Load, settings: dict[str, Any], secrets: set[str]) -> None:
    (credential,) = load(with_credential(type="portkey", base_url=GATEWAY, **settings)).credentials
    assert set(credential.secrets()) == secrets


def test_no_secret_is_shown_by_a_configuration(load: Load) -> None:
    config = load(
        {
            "credentials": [
                OPENAI | {"headers": {"x-api-key": "${KEY}", "x-team": "${KEY}"}},
                {"name": "b", "authorization": "${KEY}", "config": {"api_key": "${KEY}"}} | PORTKEY,
                {"name": "c", "virtual_key": "${KEY}", "api_key": "${KEY}"} | PORTKEY,
            ],
            "serve": {"token": "${KEY}"},
        }
    )
    shown = [repr(config), str(config), config.model_dump_json(), repr(config.model_dump())]
    assert not [text for text in shown if CANARY in text]


@pytest.mark.parametrize(
    "content",
    [
        f"credentials: [{{name: a, type: openai, api_key: {CANARY}, unknown: {CANARY}}}]",
        f"credentials: [{{name: a, type: openai, api_key: '${{KEY}}', purpose: [{CANARY}], base_url: {CANARY}}}]",
        f"credentials: [{{name: a, type: portkey, config: {{api_key: {CANARY}}}, custom_host: x}}]",
        f"credentials: [{{name: a, type: openai, headers: {{x-key: '{CANARY}ü'}}}}]",
        f"api_key: {CANARY}\nserve: {{token: [{CANARY}], port: {CANARY}}}",
        pytest.param(f"credentials: [{{api_key: {CANARY}, api_key: {CANARY}}}]", id="twice"),
        pytest.param(f"credentials:\n  - api_key: {CANARY}: {CANARY}", id="syntax"),
    ],
)
def test_no_secret_is_told_by_an_error(faults: Faults, content: str) -> None:
    assert CANARY not in "\n".join(faults(content))


# Finding the store


@pytest.mark.parametrize(
    ("content", "store"),
    [
        (with_top(store="data/x.duckdb"), "data/x.duckdb"),
        (with_top(), "data/inventory.duckdb"),
        (with_top(store="${DIR}/x.duckdb"), "here/x.duckdb"),
        (with_top(store="${UMLAUT}/x.duckdb"), "jürgen/x.duckdb"),
        (with_credential(**OPENAI | {"base_url": "${URL}", "http": {"attempts": "${TRIES}"}}), "data/inventory.duckdb"),
        ({"store": "x.duckdb", "credentials": "wrong"}, "x.duckdb"),
    ],
)
def test_those_who_only_look_for_the_store_need_nothing_else(path: Path, content: dict[str, Any], store: str) -> None:
    path.write_text(json.dumps(content))
    assert store_path(path, env={"DIR": "here", "UMLAUT": "jürgen"}) == Path(store)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("store: 5", "store: is not a path; write one such as data/inventory.duckdb"),
        ("store: ${NONE}", "store: the environment has no NONE; set it before starting"),
    ],
)
def test_a_store_that_cannot_be_found_is_told(path: Path, content: str, fault: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        store_path(path, env={})
    assert str(caught.value) == f"{path}: {fault}"


def test_a_missing_configuration_leads_to_no_store(path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        store_path(path)


# Settings


def test_what_is_left_out_has_the_documented_default(load: Load) -> None:
    config = load(with_top())
    assert config.model_dump(exclude={"credentials"}) == {
        "store": Path("data/inventory.duckdb"),
        "memory_limit": None,
        "schedule": None,
        "timezone": "UTC",
        "stale_after": 86_400.0,
        "http": {
            "workers": 16,
            "per_host": 8,
            "requests_per_second": 10.0,
            "connect_timeout": 10.0,
            "read_timeout": 60.0,
            "page_timeout": 300.0,
            "listing_timeout": 3600.0,
            "attempts": 6,
            "max_page_bytes": 256_000_000,
            "ca_bundle": None,
            "client_cert": None,
            "client_key": None,
        },
        "brake": {"recheck_percent": 10.0, "hold_percent": 50.0, "count": 20},
        "jitter": None,
        "serve": {
            "host": "127.0.0.1",
            "port": 8080,
            "token": None,
            "stop_grace": 5.0,
            "query_timeout": 30.0,
            "query_rows": 100_000,
            "query_memory": "512MB",
        },
        "log": {"level": "info", "format": "auto"},
        "alerts": {"to": (), "repeat": 86_400.0, "expiring_within": 604_800.0},
        "report": {"schedule": None, "since": 604_800.0, "format": "html"},
        "rules": (),
        "ray": None,
    }


def test_an_account_may_hold_what_its_provider_documents_unless_the_configuration_says_otherwise(load: Load) -> None:
    def quota(**settings: object) -> tuple[int | None, int | None]:
        [credential] = load(with_credential(**OPENAI | settings)).credentials
        return credential.quota.files, credential.quota.bytes

    assert quota(provider="openai") == (None, 2_500_000_000_000)
    assert quota(provider="gemini", quota={"files": 7}) == (7, 20_000_000_000)
    assert quota(provider="gemini", quota={"bytes": "1.5GiB"}) == (None, 1_610_612_736)
    assert quota(provider="gemini", quota={"bytes": None}) == (None, None)
    assert quota(provider="nobody") == (None, None)


@pytest.mark.parametrize("size", ["much", "5", "-1GB", "1XB", 0, True, 1.5])
def test_a_size_that_is_none_is_refused(load: Load, size: object) -> None:
    with pytest.raises(ConfigError, match=r"credentials\[0\]\.quota\.bytes"):
        load(with_credential(**OPENAI, quota={"bytes": size}))


def test_secrets_stay_references_for_those_who_send_nothing(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(
        "store: ${STORE}/x.duckdb\n"
        "serve: {token: '${TOKEN}'}\n"
        "credentials:\n"
        "  - {name: a, type: openai, api_key: 'file:/nowhere', headers: {x-org: '${ORG}'}}\n"
        "  - {name: b, type: portkey, api_key: '${KEY}', config: {provider: openai, api_key: '${INNER}'}}\n"
    )
    config = load_config(path, env={"STORE": "/s"}, secrets=False)
    assert config.store == Path("/s/x.duckdb")
    assert {"file:/nowhere", "${KEY}", "${INNER}", "${TOKEN}"} <= config.secrets()
    with pytest.raises(ConfigError, match="the environment has no KEY"):
        load_config(path, env={"STORE": "/s"})
    path.write_text(path.read_text().replace("'${KEY}'", "plain"))
    with pytest.raises(ConfigError, match="is written out"):
        load_config(path, env={"STORE": "/s"}, secrets=False)


def test_settings_reach_the_credentials_unless_they_have_their_own(load: Load) -> None:
    own = {
        "schedule": "every 1h",
        "stale_after": "2h",
        "http": {"attempts": 1, "read_timeout": "60s"},
        "brake": {"count": 0},
    }
    config = load(
        {
            "schedule": "*/15 * * * *",
            "stale_after": "7d",
            "http": {"workers": 2, "attempts": 3, "read_timeout": "5s"},
            "brake": {"hold_percent": 20},
            "credentials": [OPENAI, OPENAI | {"name": "b"} | own],
        }
    )
    first, second = config.credentials
    assert (first.schedule, first.stale_after, first.http, first.brake) == (
        "*/15 * * * *",
        7 * 86_400.0,
        RequestSettings(attempts=3, read_timeout=5.0),
        Brake(hold_percent=20),
    )
    assert (second.schedule, second.stale_after, second.http, second.brake) == (
        "every 1h",
        7200.0,
        RequestSettings(attempts=1, read_timeout=60.0),
        Brake(hold_percent=20, count=0),
    )


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("5m", 300), ("1h", 3600), ("7d", 604_800), ("1.5 h", 5400), (" 2s ", 2), (90, 90)],
)
def test_a_duration_is_a_number_and_a_unit(load: Load, written: str | int, seconds: float) -> None:
    assert load(with_top(stale_after=written)).stale_after == seconds


@pytest.mark.parametrize("written", ["soon", "10", "-5s", "5 minutes", "1h30m", "", True, None, [5], "1e3s"])
def test_what_is_no_duration_is_refused(faults: Faults, written: Any) -> None:
    assert faults(with_top(stale_after=written)) == [
        "stale_after: is not a duration; write a number and a unit: 500ms, 10s, 5m, 1h, 7d"
    ]


@pytest.mark.parametrize("written", ["0s", 0, -1])
def test_a_duration_is_more_than_nothing(faults: Faults, written: Any) -> None:
    assert faults(with_top(stale_after=written)) == ["stale_after: should be greater than 0"]


@pytest.mark.parametrize("number", [".inf", ".nan"])
@pytest.mark.parametrize("setting", ["http: {read_timeout", "http: {requests_per_second", "brake: {hold_percent"])
def test_numbers_without_end_are_refused(faults: Faults, setting: str, number: str) -> None:
    (fault,) = faults(f"credentials: [{{name: a, type: openai, api_key: '${{KEY}}'}}]\n{setting}: {number}}}")
    assert fault.startswith(setting.replace(": {", "."))


@pytest.mark.parametrize("schedule", ["*/15 * * * *", "0 3 * * mon-fri", "every 15m", "every 1 d"])
def test_a_schedule_is_five_cron_fields_or_a_rhythm(load: Load, schedule: str) -> None:
    assert load(with_top(schedule=schedule)).schedule == schedule


@pytest.mark.parametrize(
    "schedule", ["hourly", "* * * *", "* * * * * *", "99 * * * *", "every day", "every 5", "every 0s"]
)
def test_what_is_no_schedule_is_refused(faults: Faults, schedule: str) -> None:
    fault = 'schedule: is not a schedule; write five cron fields such as "*/15 * * * *", or: every 15m'
    assert faults(with_top(schedule=schedule)) == [fault]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_a_time_zone_goes_by_its_name(load: Load, zone: str) -> None:
    assert load(with_top(timezone=zone)).timezone == zone


@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "", "../etc/passwd", "/etc/localtime", "CEST+2"])
def test_an_unknown_time_zone_is_refused(faults: Faults, zone: str) -> None:
    assert faults(with_top(timezone=zone)) == [
        "timezone: is not a time zone; write a name such as UTC or Europe/Berlin"
    ]


def test_numbers_may_stand_where_text_is_wanted(load: Load) -> None:
    (credential,) = load(with_credential(**OPENAI | {"name": 2026, "labels": {"cost-centre": 4711}})).credentials
    assert (credential.name, credential.labels) == ("2026", {"cost-centre": "4711"})


def test_a_configuration_cannot_be_altered(load: Load) -> None:
    config = load(with_top())
    with pytest.raises(ValueError, match="frozen"):
        config.store = Path("elsewhere")  # type: ignore[misc]


# Faults


def test_all_faults_are_told_at_once_with_file_place_and_credential(load: Load, path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(
            {
                "store": "x.duckdb",
                "timezone": "Mars",
                "credentials": [
                    OPENAI | {"name": "first", "api_key": "${NONE}", "base_url": "nowhere"},
                    {"name": "second", "type": "portkey", "provider": "@x", "api_key": CANARY, "virtualkey": "x"},
                    {"type": "openai", "purpose": True, "api_key": "${KEY}"},
                ],
                "http": {"workers": 0, "read_timeout": "soon"},
                "brake": {"hold_percent": "half"},
            }
        )
    assert sorted(str(caught.value).splitlines()) == sorted(
        f"{path}: {fault}"
        for fault in (
            "timezone: is not a time zone; write a name such as UTC or Europe/Berlin",
            "credentials[0].api_key (of first): the environment has no NONE; set it before starting",
            "credentials[0].base_url (of first): is not a URL; write it whole, such as https://api.openai.com/v1",
            f"credentials[1].api_key (of second): {LITERAL}",
            "credentials[1].virtualkey (of second): unknown key; did you mean virtual_key?",
            "credentials[2].name: is missing; add it",
            "credentials[2].purpose: is not text; put it in quotes",
            "http.workers: should be greater than or equal to 1",
            "http.read_timeout: is not a duration; write a number and a unit: 500ms, 10s, 5m, 1h, 7d",
            "brake.hold_percent: should be a valid number, unable to parse string as a number",
        )
    )


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (with_top(sotre="x"), "sotre: unknown key; did you mean store?"),
        (with_top(http={"worker": 1}), "http.worker: unknown key; did you mean workers?"),
        (with_top(brake={"cuont": 1}), "brake.cuont: unknown key; did you mean count?"),
        (with_top(serve={"prot": 1}), "serve.prot: unknown key; did you mean port?"),
        (with_top(brake={"x": 1}), "brake.x: unknown key; known are count, hold_percent, recheck_percent"),
        (
            with_credential(**OPENAI, purpos="batch"),
            "credentials[0].purpos (of a): unknown key; did you mean purpose?",
        ),
        (
            with_credential(**OPENAI, http={"workers": 1, "atempts": 1}),
            "credentials[0].http.atempts (of a): unknown key; did you mean attempts?",
        ),
        (
            with_credential(**OPENAI, brake={"cont": 1}),
            "credentials[0].brake.cont (of a): unknown key; did you mean count?",
        ),
        (
            with_credential(**PORTKEY, virtual_key="${KEY}", custom_hots="x"),
            "credentials[0].custom_hots (of a): unknown key; did you mean custom_host?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_known_at_every_level(
    faults: Faults, content: dict[str, Any], fault: str
) -> None:
    assert fault in faults(content)


def test_only_the_whole_configuration_sets_how_many_are_at_work(faults: Faults) -> None:
    (fault,) = faults(with_credential(**OPENAI, http={"workers": 1}))
    assert fault.startswith("credentials[0].http.workers (of a): unknown key; ")


@pytest.mark.parametrize(
    ("content", "start"),
    [
        ({"credentials": []}, "credentials: "),
        ({"credentials": {}}, "credentials: "),
        ({"credentials": 5}, "credentials: "),
        ({"credentials": "text"}, "credentials: "),
        ({"credentials": [5]}, "credentials[0]: "),
        (with_top(store=5), "store: "),
        (with_top(http=[]), "http: "),
        (with_credential(**OPENAI | {"labels": "x"}), "credentials[0].labels (of a): "),
    ],
)
def test_what_is_of_the_wrong_type_is_told_once_and_in_plain_words(
    faults: Faults, content: dict[str, Any], start: str
) -> None:
    (fault,) = faults(content)
    assert fault.startswith(start)
    assert LITERAL not in fault
    assert not [word for word in ("Tuple", "tuple", "Input", "<class", "object to extract") if word in fault]


def test_credentials_are_needed(faults: Faults) -> None:
    assert faults({"store": "x"}) == ["credentials: is missing; add it"]


@pytest.mark.parametrize("content", ["", "\n# nothing yet\n", "[]", "5", "text"])
def test_a_file_without_settings_is_refused(faults: Faults, content: str) -> None:
    assert faults(content) == ["the file holds no settings; write a starter with: file-inventory init PATH"]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        ("store: x\ncredentials: [\n", 3, "expected the node content"),
        ("store: x\n\ta: b\n", 2, "found character '\\t'"),
        ("store: x\nstore: y\n", 2, 'found duplicate key "store"'),
        ("store: x\nhttp:\n  attempts: 1\n  attempts: 2\n", 4, 'found duplicate key "attempts"'),
        ("store: x\n---\nstore: y\n", 2, "but found another document"),
        ("store: !!python/name:os.system x\n", 1, "could not determine a constructor"),
    ],
)
def test_a_fault_of_the_yaml_is_told_with_its_line(faults: Faults, content: str, line: int, problem: str) -> None:
    (fault,) = faults(content)
    assert f"inventory.yaml:{line}: not valid YAML: " in fault
    assert problem in fault


def test_a_configuration_that_holds_itself_is_refused(faults: Faults) -> None:
    assert len(faults("credentials: &a\n  - labels: *a\n")) == 1


def test_a_missing_file_is_refused_with_the_mend(path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value) == f"{path}: no such file; write a starter there with: file-inventory init {path}"


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{tmp_path}: cannot be read: "):
        load_config(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"store: \xff", b"store: '\x01'"])
def test_a_file_that_is_no_text_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{path}"):
        load_config(path)


def test_the_environment_may_name_the_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(json.dumps(with_top(store="here.duckdb")))
    assert load_config(env=ENV | {"FILE_INVENTORY_CONFIG": str(path)}).store == Path("here.duckdb")
    monkeypatch.chdir(path.parent)
    (path.parent / "config").mkdir()
    path.rename(path.parent / "config/inventory.yaml")
    assert load_config(env=ENV).store == Path("here.duckdb")
    monkeypatch.setenv("KEY", CANARY)
    assert load_config().store == Path("here.duckdb")


# What is shipped


@pytest.mark.parametrize(("name", "count"), [("inventory.yaml", 1), ("demo.yaml", 6)])
def test_the_shipped_configurations_load(name: str, count: int) -> None:
    references = re.findall(r"\$\{(\w+)}", shipped(name).read_text())
    env = {name: "http://127.0.0.1:1/v1" if name.endswith("URL") else "value" for name in references}
    config = load_config(shipped(name), env=env)
    assert len(config.credentials) == count
    assert {credential.type for credential in config.credentials} <= KINDS.keys()


def test_the_shipped_schema_is_the_one_of_the_code() -> None:
    assert shipped("inventory.schema.json").read_text() == json_schema()


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    schema = json.loads(shipped("inventory.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", ["inventory.yaml", "demo.yaml"])
def test_the_schema_accepts_the_shipped_configurations(schema: jsonschema.Draft202012Validator, name: str) -> None:
    assert list(schema.iter_errors(YAML(typ="safe", pure=True).load(shipped(name)))) == []


@pytest.mark.parametrize(
    "content",
    [
        with_top(sotre="x"),
        with_top(http={"worker": 1}),
        with_top(http={"read_timeout": "soon"}),
        with_credential(**OPENAI, purpos="batch"),
        with_credential(**OPENAI | {"type": "opanai"}),
        {"credentials": []},
        {},
    ],
)
def test_the_schema_refuses_what_the_code_refuses(
    schema: jsonschema.Draft202012Validator, faults: Faults, content: dict[str, Any]
) -> None:
    assert list(schema.iter_errors(content))
    assert faults(content)


@pytest.mark.parametrize(
    "content",
    [
        with_credential(type="portkey", api_key="${KEY}", config={"provider": "openai", "api_key": "${KEY}"}),
        with_top(stale_after="24h", schedule="every 15m", serve={"token": "${KEY}"}, brake={"count": 5}),
    ],
)
def test_the_schema_accepts_what_the_code_accepts(
    schema: jsonschema.Draft202012Validator, load: Load, content: dict[str, Any]
) -> None:
    assert list(schema.iter_errors(content)) == []
    assert load(content).credentials[0].name == "a"


# Files that are made to do harm


NINE = range(9)
LAUGHS = {
    "aliases": "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in NINE),
    "merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n + 1}: &a{n + 1} {{<<: [{', '.join([f'*a{n}'] * 9)}]}}\n" for n in NINE),
}


@pytest.mark.parametrize("bomb", LAUGHS.values(), ids=LAUGHS)
@pytest.mark.parametrize("read", [load_config, store_path])
def test_aliases_that_multiply_are_refused(tmp_path: Path, bomb: str, read: Callable[[Path], Any]) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(bomb)
    with pytest.raises(ConfigError, match=r"^[^\n]*: its aliases stand for more than 100,000 values; write out what"):
        read(path)


def test_aliases_that_somebody_means_are_written_out(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("""
credentials:
  - &one {name: a, type: openai, api_key: "${KEY}", labels: &labels {team: search}}
  - {<<: *one, name: b}
  - {name: c, type: groq, api_key: "${KEY}", labels: *labels}
""")
    config = load_config(path, env={"KEY": "sk-1"})
    assert [(one.name, one.labels) for one in config.credentials] == [
        (name, {"team": "search"}) for name in ("a", "b", "c")
    ]


@pytest.mark.parametrize(
    "text", ["[" * 900_000, "[" * 300 + "]" * 300, "{a: " * 300, "".join(f"{' ' * n}a:\n" for n in range(999))]
)
def test_deep_nesting_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"^[^\n]*: is nested deeper than a configuration can be$"):
        load_config(path)


@pytest.mark.parametrize("path", ["/dev/zero", "large.yaml"])
def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("large.yaml").write_text("a: b\n" * 300_000)
    with pytest.raises(ConfigError, match=r"^[^\n]*: is larger than a configuration can be \(1 MB\)$"):
        load_config(path)


@pytest.mark.parametrize("value", ["9" * 5000, "2026-99-99", "!!int x", "!!float x", "2026-01-01T00:00:00+99:99"])
def test_a_number_or_a_date_that_is_none_is_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"store: {value}")
    with pytest.raises(ConfigError, match=r"^[^\n]*: not valid YAML: a number, a date or a tag in it cannot be read$"):
        load_config(path)


def with_secret(folder: Path, written: str) -> Path:
    path = folder / "inventory.yaml"
    path.write_text(f"credentials:\n  - {{name: a, type: openai, api_key: 'file:{folder}/secret'{written}}}\n")
    path.chmod(0o600)
    return path


def test_a_secret_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "secret").symlink_to("/dev/zero")
    with pytest.raises(
        ConfigError, match=r"api_key \(of a\): the file .*/secret is larger than a secret can be \(100 kB\)$"
    ):
        load_config(with_secret(tmp_path, ""))


def test_a_secret_behind_links_is_read(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data/secret").write_text("sk-behind-links\n")
    (tmp_path / "..data/secret").chmod(0o600)
    (tmp_path / "secret").symlink_to("..data/secret")
    config = load_config(with_secret(tmp_path, ""))
    assert config.secrets() == {"sk-behind-links"}
    assert list(config.exposed()) == []


def test_secrets_that_everybody_may_read_are_warned_of(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("sk-of-everybody")
    (tmp_path / "secret").chmod(0o604)
    path = with_secret(tmp_path, ", labels: {note: sk-abcdefghijklmnop}")
    told = "and everybody on this machine may read it; run: chmod o-r"
    secret = f"{tmp_path}/secret holds a secret, {told} {tmp_path}/secret"
    assert list(load_config(path).exposed()) == [secret]
    path.chmod(0o644)
    assert list(load_config(path).exposed()) == [f"{path} holds what looks like a key, {told} {path}", secret]
    with_secret(tmp_path, "").chmod(0o644)
    (tmp_path / "secret").chmod(0o600)
    assert list(load_config(path).exposed()) == []


# Ray


@pytest.mark.parametrize("address", ["auto", "head.example.com:6379", "10.0.0.1:6379", "[fd00::1]:6379"])
def test_a_cluster_is_named_with_the_folder_that_its_nodes_share(load: Load, address: str) -> None:
    ray = load(with_top(ray={"address": address, "shared": "/mnt/listings"})).ray
    assert ray
    assert (ray.address, ray.shared) == (address, Path("/mnt/listings"))


def test_a_ray_that_is_started_here_needs_no_folder(load: Load) -> None:
    ray = load(with_top(ray={"address": "local"})).ray
    assert ray
    assert ray.shared is None


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({}, "ray: shared is missing; name a folder that all nodes of the cluster see"),
        ({"adress": "auto", "shared": "x"}, "ray.adress: unknown key; did you mean address?"),
        (
            {"address": "ray://head:10001", "shared": "x"},
            "ray.address: is Ray Client, which cannot stream results; run on a node of the cluster, and write auto",
        ),
        (
            {"address": "head", "shared": "x"},
            "ray.address: is no Ray cluster; write auto, HOST:PORT of its head node, or local to start one here",
        ),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused(faults: Faults, settings: dict[str, str], fault: str) -> None:
    assert faults(with_top(ray=settings)) == [fault]


def test_an_unknown_key_of_a_rule_is_named(faults: Faults) -> None:
    rule = {"name": "r", "query": "select 1", "message": "Mend it.", "severty": "warning"}
    assert faults(with_top(rules=[rule])) == ["rules[0].severty: unknown key; did you mean severity?"]
