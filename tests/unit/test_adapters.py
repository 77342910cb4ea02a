"""What is special to each provider: what it is configured with, how it pages, what its fields mean."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from etl.config import Config, load_config
from etl.errors import ConfigError, EndNotProven, ListingError, WrongShape
from etl.extract.http import LONGEST_WAIT, retry_delay
from etl.providers import PROVIDERS, adapter
from etl.providers.base import Answer
from etl.providers.cohere import READING as COHERE
from etl.providers.openrouter import READING as OPENROUTER
from etl.providers.together import READING as TOGETHER
from etl.transform.normalise import normalise

Load = Callable[..., Any]
CANARY = "c4n4ry-0123456789"
ENV = {"KEY": CANARY}
AZURE = {"type": "azure-openai", "base_url": "https://acme.openai.azure.com", "api_key": "${KEY}"}


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration with one credential, and return that."""

    def load(**settings: Any) -> Any:
        path = tmp_path / "inventory.yaml"
        path.write_text(json.dumps({"credentials": [{"name": "a"} | settings]}))
        return load_config(path, env=ENV).credentials[0]

    return load


def follow(credential: Any, *bodies: Any) -> tuple[list[Any], list[Any], str | None]:
    """Play bodies in order; return what was asked, the ids of each page, and the error at the end."""
    asked: list[Any] = []

    def get(path: str, **params: str | int | None) -> Answer:
        given = {name: value for name, value in params.items() if value is not None}
        asked.append((path, given))
        return Answer(bodies[len(asked) - 1], {})

    seen: list[Any] = []
    try:
        for page in adapter(credential).pages(get, credential):
            seen.append([record.get("id", record.get("name")) for record in page.records])  # noqa: PERF401 - may raise
    except ListingError as error:
        return asked, seen, f"{type(error).__name__}: {error}"
    return asked, seen, None


# Settings


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"type": "groq"}, "credentials[0].api_key (of a): is missing; add it"),
        ({"type": "fireworks", "api_key": "${KEY}"}, "credentials[0].account_id (of a): is missing; add it"),
        ({"type": "azure-openai", "api_key": "${KEY}"}, "credentials[0].base_url (of a): is missing; add it"),
        (
            {"type": "azure-openai", "base_url": "https://acme.openai.azure.com"},
            "Azure OpenAI wants one of the two: api_key: ${AZURE_OPENAI_API_KEY}, or entra_token",
        ),
        (AZURE | {"entra_token": "${KEY}"}, "Azure OpenAI wants one of the two: "),
        (
            AZURE | {"api_version": "latest"},
            "is not a version; write v1, preview, or a date",
        ),
        ({"type": "gemini", "api_key": "${KEY}", "purpose": "batch"}, "gemini tells no purpose of a file"),
        ({"type": "mistral", "api_key": CANARY}, "api_key (of a): is written out; put a reference here"),
        (
            {"type": "fireworks", "api_key": "${KEY}", "account_id": "../x"},
            "is not the id of an account",
        ),
        (
            {"type": "openrouter", "api_key": "${KEY}", "provider": "cohere"},
            "should be 'openai' or 'anthropic'",
        ),
        ({"type": "cohere", "api_key": "${KEY}", "organization": "x"}, "organization (of a): unknown key"),
        ({"type": "portkey", "base_url": "https://g/v1", "upstream": "groq"}, "add authorization: ${GROQ_API_KEY}"),
        (
            {"type": "portkey", "base_url": "https://g/v1", "upstream": "groq", "authorization": "${KEY}"}
            | {"provider": "openai"},
            "upstream is a route by itself: leave virtual_key, provider and config out",
        ),
        (
            {"type": "portkey", "base_url": "https://g/v1", "upstream": "xai", "authorization": "${KEY}"}
            | {"purpose": "batch"},
            "xai tells no purpose of a file; leave purpose out",
        ),
        (
            {"type": "portkey", "base_url": "https://g/v1", "upstream": "cohere"},
            "should be 'anthropic', ",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said_in_a_sentence(load: Load, settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(**settings)
    assert fault in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        (AZURE, {"api-key": CANARY}),
        (
            {"type": "azure-openai", "base_url": AZURE["base_url"], "entra_token": "${KEY}"},
            {"authorization": f"Bearer {CANARY}"},
        ),
        ({"type": "anthropic", "api_key": "${KEY}"}, {"x-api-key": CANARY, "anthropic-version": "2023-06-01"}),
        (
            {"type": "anthropic", "api_key": "${KEY}", "version": "2026-10-21", "workspace_id": "wrkspc_1"},
            {
                "authorization": f"Bearer {CANARY}",
                "anthropic-version": "2026-10-21",
                "anthropic-workspace-id": "wrkspc_1",
            },
        ),
        ({"type": "gemini", "api_key": "${KEY}"}, {"x-goog-api-key": CANARY}),
        ({"type": "cohere", "api_key": "${KEY}"}, {"authorization": f"Bearer {CANARY}"}),
        (
            {"type": "portkey", "api_key": "${KEY}", "upstream": "groq", "authorization": "${KEY}"},
            {
                "x-portkey-api-key": CANARY,
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": "https://api.groq.com/openai/v1",
                "authorization": f"Bearer {CANARY}",
            },
        ),
        (
            {"type": "portkey", "base_url": "https://g/v1", "upstream": "anthropic", "authorization": "${KEY}"},
            {
                "x-portkey-provider": "openai",
                "x-portkey-custom-host": "https://api.anthropic.com/v1",
                "x-portkey-forward-headers": "x-api-key,anthropic-version",
                "x-api-key": CANARY,
                "anthropic-version": "2023-06-01",
                "authorization": f"Bearer {CANARY}",
            },
        ),
    ],
)
def test_a_key_is_carried_in_these_headers(load: Load, settings: dict[str, Any], headers: dict[str, str]) -> None:
    credential = load(**settings)
    assert adapter(credential).headers(credential) == headers


@pytest.mark.parametrize(
    "endpoint",
    ["https://acme.openai.azure.com", "https://acme.openai.azure.com/", "https://acme.openai.azure.com/openai/v1/"],
)
def test_azure_takes_the_endpoint_however_it_is_copied(load: Load, endpoint: str) -> None:
    assert load(**AZURE | {"base_url": endpoint}).base_url == "https://acme.openai.azure.com"


def test_azure_takes_a_version_that_yaml_reads_as_a_date(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text(f"credentials: [{{name: a, {json.dumps(AZURE)[1:-1]}, api_version: 2024-10-21}}]")
    assert load_config(path, env=ENV).credentials[0].api_version == "2024-10-21"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("v1", ("openai/v1/files", {"limit": 10_000, "order": "asc"})),
        ("preview", ("openai/v1/files", {"limit": 10_000, "order": "asc", "api-version": "preview"})),
        ("2024-10-21", ("openai/files", {"api-version": "2024-10-21"})),
    ],
)
def test_azure_is_asked_by_its_version(load: Load, version: str, asked: Any) -> None:
    assert follow(load(**AZURE, api_version=version), {"data": [{"id": "a"}]}) == ([asked], [["a"]], None)


# Paging


def test_a_list_that_comes_whole_may_not_say_that_there_is_more(load: Load) -> None:
    credential = load(type="groq", api_key="${KEY}")
    assert follow(credential, {"data": [{"id": "a"}], "has_more": False})[1:] == ([["a"]], None)
    assert follow(credential, {"data": [{"id": "a"}], "has_more": True})[1:] == (
        [["a"]],
        "EndNotProven: the server says that there is more, but its API has no next page to ask for",
    )


def test_anthropic_follows_the_envelope_that_came(load: Load) -> None:
    credential = load(type="anthropic", api_key="${KEY}")
    new = {"data": [{"id": "a"}], "next_page": "page_2"}, {"data": [{"id": "b"}]}
    old = {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}, {"data": [{"id": "b"}], "has_more": False}
    limit = {"limit": 1000}
    assert follow(credential, *new) == ([("files", limit), ("files", limit | {"page": "page_2"})], [["a"], ["b"]], None)
    assert follow(credential, *old) == ([("files", limit), ("files", limit | {"after_id": "a"})], [["a"], ["b"]], None)
    assert follow(credential, new[0], *old)[0][2] == ("files", limit | {"after_id": "a"})


@pytest.mark.parametrize(
    ("bodies", "error"),
    [
        ([{"total": 2}, {"total": 2}], None),
        ([{}, {}, {"data": []}], None),
        ([{"total": None}, {"total": None}, {"data": [], "total": None}], None),
        ([{"total": 3}, {"total": 3}, {"data": [], "total": 3}], "2 files came, of 3"),
        ([{"total": 2}, {"total": 1}], "2 files came, of 1 or 2"),
        ([{"total": 3}, {"total": 2}], "2 files came, of 2 or 3"),
        ([{"total": 3}, {"total": 4}, {"total": 4}, {"total": 4}], "4 files came, of 3 or 4"),
    ],
)
def test_mistral_ends_where_the_total_says(load: Load, bodies: list[Any], error: str | None) -> None:
    pages = [{"data": [{"id": str(number)}]} | body for number, body in enumerate(bodies)]
    asked, seen, said = follow(load(type="mistral", api_key="${KEY}"), *pages)
    assert len(seen) == len(asked) == len(bodies)
    assert [params.get("page") for _, params in asked] == [None, *range(1, len(bodies))]
    assert said == (error and f"EndNotProven: the list changed while it was read: {error}")


@pytest.mark.parametrize("total", [True, "2", 2.0, []])
def test_mistral_has_a_total_that_is_a_number(load: Load, total: Any) -> None:
    said = follow(load(type="mistral", api_key="${KEY}"), {"data": [{"id": "a"}], "total": total})[2]
    assert said == f"WrongShape: total is not a number: {total!r}"


def datasets(*ids: Any) -> dict[str, Any]:
    return {"datasets": [{"id": file_id} for file_id in ids]}


@pytest.mark.parametrize(
    ("bodies", "seen", "error"),
    [
        ([{"datasets": None}], [[]], None),
        ([datasets("a"), datasets("a")], [["a"], []], None),
        ([datasets("a", "b"), datasets("b", "c"), datasets("c")], [["a", "b"], ["c"], []], None),
        ([datasets("a", "b"), datasets("a", "b")], [["a", "b"]], "EndNotProven"),
        ([datasets("a", "b"), datasets("c")], [["a", "b"]], "EndNotProven"),
        ([datasets("a", "b"), {"datasets": None}], [["a", "b"]], "EndNotProven"),
        ([datasets("a", None)], [["a", None]], "EndNotProven"),
        ([{}], [], "WrongShape"),
        ([{"datasets": None, "message": "no"}], [], "WrongShape"),
    ],
)
def test_cohere_reads_the_last_again_to_see_that_none_moved(
    load: Load, bodies: list[Any], seen: list[Any], error: str | None
) -> None:
    asked, pages, said = follow(load(type="cohere", api_key="${KEY}"), *bodies)
    assert pages == seen
    assert (said and said.split(":")[0]) == error
    offsets = [params.get("offset") for _, params in asked]
    assert offsets[: len(seen)] == ([None, 0] if seen[:1] == [["a"]] else [None, 1, 2])[: len(offsets)][: len(seen)]


@pytest.mark.parametrize(
    ("first", "cursor"),
    [
        ({"cursor": "c", "has_more": True, "last_id": "a"}, {"cursor": "c"}),
        ({"object": "list", "has_more": True, "last_id": "a"}, {"after": "a"}),
        ({"has_more": True, "last_id": "a"}, {"after_id": "a"}),
    ],
)
def test_openrouter_follows_the_envelope_that_came(load: Load, first: dict[str, Any], cursor: dict[str, str]) -> None:
    credential = load(type="openrouter", api_key="${KEY}", workspace_id="w")
    asked, seen, error = follow(credential, first | {"data": [{"id": "a"}]}, {"data": [{"id": "b"}]})
    assert asked[1] == ("files", {"limit": 1000, "workspace_id": "w"} | cursor)
    assert (seen, error) == ([["a"], ["b"]], None)


def test_openrouter_may_not_say_that_there_is_more_without_a_cursor(load: Load) -> None:
    body = {"data": [{"id": "a"}], "cursor": None, "has_more": True}
    assert str(follow(load(type="openrouter", api_key="${KEY}"), body)[2]).startswith(EndNotProven.__name__)


@pytest.mark.parametrize(("kind", "key"), [("gemini", "files"), ("fireworks", "datasets")])
def test_an_empty_object_is_a_list_only_as_the_first_page(load: Load, kind: str, key: str) -> None:
    credential = load(type=kind, api_key="${KEY}", **({"account_id": "acme"} if kind == "fireworks" else {}))
    assert follow(credential, {})[1:] == ([[]], None)
    first = {key: [{"name": "a"}], "nextPageToken": "2"}
    assert follow(credential, first, {key: []})[1:] == ([["a"], []], None)
    seen, error = follow(credential, first, {})[1:]
    assert (seen, str(error).split(":")[0]) == ([["a"]], WrongShape.__name__)


# Fields


def value(reading: Any, column: str, **record: Any) -> Any:
    batch, rejected = normalise([{"id": "a"} | record], reading)
    return rejected[0].reason if rejected else batch.to_pylist()[0][column]


@pytest.mark.parametrize(
    ("parts", "size"),
    [
        ([{"size_bytes": 3}, {"size_bytes": 4}], 7),
        ([{"size_bytes": 0}], 0),
        ([{"size_bytes": 3}, {}], None),
        ([{"size_bytes": 3}, {"size_bytes": None}], None),
        ([], None),
        (None, None),
        ("many", None),
        ([5], None),
        ([{"size_bytes": "3"}, {"size_bytes": 4}], "bytes is not a whole number: ['3', 4]"),
        ([{"size_bytes": True}], "bytes is not a whole number: [True]"),
        ([{"size_bytes": -1}, {"size_bytes": 4}], "bytes is not a whole number: [-1, 4]"),
        ([{"size_bytes": 10**15}, {"size_bytes": 10**15}], "bytes is out of range: 2000000000000000"),
    ],
)
def test_the_size_of_a_dataset_is_that_of_its_parts(parts: Any, size: Any) -> None:
    assert value(COHERE, "bytes", dataset_parts=parts) == size


@pytest.mark.parametrize(
    ("record", "size"), [({"bytes": 5}, 5), ({"size_bytes": 6}, 6), ({"size_bytes": 0, "bytes": 5}, 0), ({}, None)]
)
def test_openrouter_words_a_size_in_two_ways(record: dict[str, Any], size: int | None) -> None:
    assert value(OPENROUTER, "bytes", **record) == size


@pytest.mark.parametrize(
    ("report", "details"), [({"error": "line 3"}, "line 3"), ({"valid": True}, None), (None, None), ("odd", None)]
)
def test_together_says_what_is_wrong_with_a_file(report: Any, details: str | None) -> None:
    assert value(TOGETHER, "status_details", validation_report=report) == details


# Places


@pytest.mark.parametrize(
    ("kind", "settings", "file_id", "place"),
    [
        ("openai", {}, "file-1", "files/file-1"),
        ("openai", {}, "../a?b", "files/..%2Fa%3Fb"),
        ("azure-openai", {"base_url": "https://acme.openai.azure.com"}, "file-1", "openai/v1/files/file-1"),
        ("gemini", {}, "files/abc", "files/abc"),
        ("fireworks", {"account_id": "acme"}, "accounts/acme/datasets/d", "accounts/acme/datasets/d"),
        ("cohere", {}, "a/b", "datasets/a%2Fb"),
        ("openrouter", {}, "file-1", "files/file-1"),
        ("openrouter", {"provider": "openai", "workspace_id": "w 1"}, "f", "files/f?provider=openai&workspace_id=w+1"),
    ],
)
def test_a_file_is_found_below_the_base_url(kind: str, settings: dict[str, str], file_id: str, place: str) -> None:
    one = {"name": "a", "type": kind, "api_key": "sk-1"} | settings
    [credential] = Config.model_validate({"credentials": [one]}).credentials
    assert PROVIDERS[kind].place(credential, file_id) == place


# Hints


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"error": {"details": [{"retryDelay": "34s"}]}}, 34.0),
        ({"error": {"details": ["x", {}, {"retryDelay": "1.5s"}]}}, 1.5),
        ({"error": {"details": [{"retryDelay": "3600s"}]}}, LONGEST_WAIT),
        ({"error": {"details": [{"retryDelay": "-1s"}]}}, None),
        ({"error": {"details": [{"retryDelay": 5}]}}, None),
        ({"error": {"details": {"retryDelay": "5s"}}}, None),
        ({"error": "no"}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_google_api_says_in_the_body_how_long_to_wait(body: Any, seconds: float | None) -> None:
    assert retry_delay(body) == seconds


def test_every_type_has_settings_of_its_own() -> None:
    assert len({provider.settings for provider in PROVIDERS.values()}) == len(PROVIDERS)
