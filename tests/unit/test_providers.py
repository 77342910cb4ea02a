"""Every provider keeps one contract over its recorded pages; then what is special to each."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from etl.config import Config
from etl.errors import ListingError, Refused, Unreachable, WrongShape
from etl.providers import PROVIDERS, AnyCredential, Credential, Provider
from etl.providers.base import Answer, Get, Page, described, sent, told
from etl.providers.paging import listed
from etl.transform.normalise import normalise
from etl.transform.plain import columns, skimmer
from etl.transform.record import SCHEMA

PAGES = Path(__file__).parents[1] / "pages"
GATEWAY = "http://127.0.0.1:8787/v1"
CANARY = "c4n4ry-0123456789"
FIRST = {"limit": 10_000, "order": "asc"}
WHOLE = {"groq", "together"}
"""Their lists come in one answer."""
PLAIN = {"portkey", "openai", "azure-openai", "groq", "xai"}
"""Their pages take the fast path."""
MAY_BE_BARE = {"gemini", "fireworks"}
"""Their empty pages are empty objects."""


def credential(**settings: Any) -> Any:
    return Config.model_validate({"credentials": [{"name": "a"} | settings]}).credentials[0]


def always(body: Any, **headers: str) -> Get:
    """Give one answer to every request."""

    def get(path: str, **_params: str | int | None) -> Answer:
        assert path
        return Answer(body, {name.replace("_", "-"): value for name, value in headers.items()})

    return get


OPENAI = credential(type="openai", api_key=CANARY)


# The contract


class Recording:
    """Plays recorded answers back, each to the very request it was given to, and once."""

    def __init__(self, kind: str) -> None:
        recorded = json.loads((PAGES / f"{kind}.json").read_text())
        self.credential: AnyCredential = credential(**recorded["credential"])
        self.provider: Provider = PROVIDERS[kind]
        self.answers: list[Any] = recorded["answers"]
        self.left = list(self.answers)

    def get(self, path: str, **params: str | int | None) -> Answer:
        asked = path, {name: value for name, value in params.items() if value is not None}
        answer = next(answer for answer in self.left if (answer["path"], answer["params"]) == asked)
        self.left.remove(answer)
        return Answer(answer["body"], answer["headers"])

    def pages(self) -> list[Page]:
        return list(self.provider.pages(self.get, self.credential))


@pytest.fixture(params=sorted(PROVIDERS))
def recording(request: pytest.FixtureRequest) -> Recording:
    return Recording(request.param)


def test_every_provider_has_recorded_pages_and_the_other_way_round() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.json")) == sorted(PROVIDERS)


def test_the_registry_knows_each_provider_by_its_own_type() -> None:
    assert {kind: provider.type for kind, provider in PROVIDERS.items()} == {kind: kind for kind in PROVIDERS}


def test_a_recording_has_several_pages_where_there_can_be_some(recording: Recording) -> None:
    assert (len(recording.answers) > 1) is (recording.provider.type not in WHOLE)


def test_every_recorded_page_is_asked_for_once_and_no_other(recording: Recording) -> None:
    assert len(recording.pages()) == len(recording.answers)
    assert recording.left == []


def test_recorded_records_fit_the_schema(recording: Recording) -> None:
    rows = []
    for number, page in enumerate(recording.pages(), start=1):
        batch, rejected = normalise(page.records, recording.provider.reading, provider=page.provider, page=number)
        batch.validate(full=True)
        assert (batch.schema, rejected) == (SCHEMA, [])
        rows += batch.to_pylist()
    ids = [row["file_id"] for row in rows]
    assert all(ids)
    assert len(set(ids)) == len(ids)
    assert len({row["provider"] for row in rows} - {None}) == 1
    assert [row["extra"] for row in rows if "://" in str(row["extra"])] == []
    instants = [row[name] for row in rows for name in ("created_at", "expires_at") if row[name]]
    assert {instant.tzinfo is not None and instant.utcoffset().total_seconds() for instant in instants} == {0.0}
    assert all(datetime(2015, 1, 1, tzinfo=UTC) < row["created_at"] < datetime(2100, 1, 1, tzinfo=UTC) for row in rows)
    assert all(row["filename"] and (row["bytes"] is None or row["bytes"] >= 0) for row in rows)


def test_recorded_pages_read_the_same_fast_and_slow(recording: Recording) -> None:
    reading = recording.provider.reading
    skim = skimmer(reading)
    for answer in recording.answers:
        skimmed = skim(json.dumps(answer["body"]).encode())
        plain = skimmed is not None and columns(skimmed[reading.records], reading) is not None
        assert plain is (recording.provider.type in PLAIN)
        if skimmed is not None:
            assert normalise(skimmed[reading.records], reading) == normalise(answer["body"][reading.records], reading)


def test_the_keys_are_in_the_headers_and_never_in_a_request_line(recording: Recording) -> None:
    secrets = list(recording.credential.secrets())
    carried = "\n".join(recording.provider.headers(recording.credential).values())
    assert secrets
    assert not [secret for secret in secrets if secret not in carried]
    lines = [recording.credential.base_url] + [f"{answer['path']} {answer['params']}" for answer in recording.answers]
    assert not [line for line in lines for secret in secrets if secret in line]


def test_header_names_are_in_lower_case(recording: Recording) -> None:
    names = recording.provider.headers(recording.credential)
    assert [name for name in names if name != name.lower() or "_" in name] == []


def test_an_answer_without_a_list_is_never_an_empty_list(recording: Recording) -> None:
    bodies: list[Any] = [None, [], "", {"error": {"message": "no"}}, {"html-message": "<html>"}, {"0": {"id": "a"}}]
    for body in bodies if recording.provider.type in MAY_BE_BARE else [*bodies, {}]:
        with pytest.raises(WrongShape):
            list(recording.provider.pages(always(body), recording.credential))


# Paging


def page(*ids: Any, **envelope: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": file_id} for file_id in ids]} | envelope


def follow(*answers: Any, credential: Credential = OPENAI) -> tuple[list[Any], list[Any], str | None]:
    """Play bodies or errors in order; return what was asked, the ids of each page, and the error at the end."""
    asked: list[Any] = []

    def get(path: str, **params: str | int | None) -> Answer:
        asked.append({name: value for name, value in params.items() if value is not None})
        answer = answers[len(asked) - 1]
        if isinstance(answer, Exception):
            raise answer
        assert path == "files"
        return Answer(answer, {})

    seen: list[Any] = []
    try:
        for read in PROVIDERS[credential.type].pages(get, credential):
            ids = [record["id"] if isinstance(record, dict) else record for record in read.records]
            seen.append(ids)
    except ListingError as error:
        return asked, seen, f"{type(error).__name__}: {error}"
    return asked, seen, None


def test_pages_are_followed_to_the_end() -> None:
    bodies = page("a", "b", has_more=True), page("c", has_more=True), page("d", "e", has_more=False)
    asked = [FIRST, FIRST | {"after": "b"}, FIRST | {"after": "c"}]
    assert follow(*bodies) == (asked, [["a", "b"], ["c"], ["d", "e"]], None)


@pytest.mark.parametrize("more", [{}, {"has_more": None}, {"has_more": False}])
def test_a_missing_has_more_means_done(more: dict[str, Any]) -> None:
    assert follow(page("a", last_id="a", **more)) == ([FIRST], [["a"]], None)


def test_a_short_page_is_not_the_end() -> None:
    bodies = page("a", has_more=True), page("b", has_more=True), page(has_more=False)
    assert follow(*bodies)[1:] == ([["a"], ["b"], []], None)


def test_an_empty_list_is_a_list() -> None:
    assert follow(page(first_id=None, last_id=None, has_more=False)) == ([FIRST], [[]], None)


@pytest.mark.parametrize(
    ("first", "after"),
    [
        (page("a", "b", has_more=True, last_id=None), "b"),
        (page("a", "b", has_more=True, last_id=""), "b"),
        (page("a", "b", has_more=True), "b"),
        (page("a", "b", has_more=True, last_id="x"), "b"),
        (page("a", None, has_more=True, last_id="x"), "x"),
        (page("a", "", has_more=True, last_id="x"), "x"),
        (page("a", 5, has_more=True, last_id="x"), "x"),
        (page(has_more=True, last_id="x"), "x"),
    ],
)
def test_the_cursor_is_the_last_id_that_can_be_one(first: Any, after: str) -> None:
    assert follow(first, page("z", has_more=False))[0][1] == FIRST | {"after": after}


@pytest.mark.parametrize(
    "first",
    [
        page(has_more=True),
        page(has_more=True, last_id=None),
        page(has_more=True, last_id=""),
        page("a", None, has_more=True, last_id=None),
        page("a", "", has_more=True, last_id=""),
        page("a", has_more=True, last_id=7) | {"data": [{"id": "a"}, "b"]},
        page("a", has_more=True, last_id={}) | {"data": [{"id": "a"}, None]},
    ],
)
def test_more_without_a_cursor_proves_no_end(first: Any) -> None:
    asked, seen, error = follow(first)
    assert (asked, len(seen)) == ([FIRST], 1)
    assert error == "EndNotProven: the server says that there is more, but gives no cursor to ask for it"


@pytest.mark.parametrize("more", ["false", "yes", 2, [], {}, ""])
def test_a_has_more_that_says_neither_is_no_page_end(more: Any) -> None:
    _, seen, error = follow(page("a", has_more=more))
    assert seen == [["a"]]
    assert error == f"WrongShape: has_more is neither true nor false: {more!r}"


def test_an_odd_page_ends_the_listing_after_the_good_ones() -> None:
    _, seen, error = follow(page("a", has_more=True), {"object": "list"})
    assert seen == [["a"]]
    assert error == "WrongShape: the answer is not a page of a file list: an object with object"


@pytest.mark.parametrize("error", [Unreachable("down"), Refused("gone", 404), Refused("odd", 400)])
def test_a_later_page_is_not_asked_for_in_another_way(error: ListingError) -> None:
    asked, seen, said = follow(page("a", has_more=True), error)
    assert (len(asked), seen, said) == (2, [["a"]], f"{type(error).__name__}: {error}")


@pytest.mark.parametrize("status", [400, 422])
def test_a_limit_that_is_refused_is_lowered_and_then_left_out(status: int) -> None:
    refused = Refused("limit too large", status)
    small = {"limit": 100, "order": "asc"}
    assert follow(refused, page("a", has_more=True), page("b")) == (
        [FIRST, small, small | {"after": "a"}],
        [["a"], ["b"]],
        None,
    )
    assert follow(refused, refused, page("a", has_more=True), page("b")) == (
        [FIRST, small, {}, {"after": "a"}],
        [["a"], ["b"]],
        None,
    )


def test_when_every_form_is_refused_the_first_refusal_is_told() -> None:
    refusals = [Refused(f"no {number}", 400) for number in (1, 2, 3)]
    assert follow(*refusals) == ([FIRST, {"limit": 100, "order": "asc"}, {}], [], "Refused: no 1")
    assert follow(refusals[0], Refused("who are you", 401))[2] == "Refused: no 1"


@pytest.mark.parametrize("error", [Refused("no", status) for status in (401, 403, 404, 412)] + [Unreachable("down")])
def test_other_refusals_are_believed_at_once(error: ListingError) -> None:
    assert follow(error) == ([FIRST], [], f"{type(error).__name__}: {error}")


def test_the_purpose_is_asked_for_on_every_page() -> None:
    batch = credential(type="openai", api_key=CANARY, purpose="batch")
    refused = Refused("limit too large", 400)
    asked, _, error = follow(refused, refused, page("a", has_more=True), page("b"), credential=batch)
    assert [params.get("purpose") for params in asked] == ["batch"] * 4
    assert error is None


def test_no_page_is_asked_for_twice() -> None:
    bodies = [page(f"f{number}", has_more=number < 50) for number in range(51)]
    asked, seen, _ = follow(Refused("limit", 400), *bodies)
    assert len({json.dumps(params, sort_keys=True) for params in asked}) == len(asked) == len(seen) + 1 == 52


@pytest.mark.parametrize(
    ("settings", "headers", "provider"),
    [
        ({"type": "openai", "api_key": CANARY}, {}, "openai"),
        ({"type": "openai", "base_url": GATEWAY}, {}, None),
        ({"type": "openai", "base_url": GATEWAY}, {"x_portkey_provider": "groq"}, "groq"),
        ({"type": "openai", "base_url": GATEWAY, "provider": "mistral"}, {"x_portkey_provider": "groq"}, "mistral"),
        ({"type": "portkey", "base_url": GATEWAY, "provider": "@slug"}, {"x_portkey_provider": "azure-ai"}, "azure-ai"),
        ({"type": "portkey", "base_url": GATEWAY, "virtual_key": "v"}, {}, None),
        (
            {"type": "portkey", "base_url": GATEWAY, "provider": "azure-openai", "authorization": CANARY},
            {"x_portkey_provider": "openai"},
            "azure-openai",
        ),
    ],
)
def test_the_provider_comes_from_the_configuration_else_from_the_answer(
    settings: dict[str, Any], headers: dict[str, str], provider: str | None
) -> None:
    account = credential(**settings)
    pages = PROVIDERS[account.type].pages(always(page("a"), **headers), account)
    assert [read.provider for read in pages] == [provider]


# Headers


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"type": "openai", "base_url": GATEWAY}, {}),
        ({"type": "openai", "api_key": "k"}, {"authorization": "Bearer k"}),
        (
            {"type": "openai", "api_key": "k", "organization": "org-1", "project": "proj-1"},
            {"authorization": "Bearer k", "openai-organization": "org-1", "openai-project": "proj-1"},
        ),
        (
            {"type": "portkey", "api_key": "p", "virtual_key": "v"},
            {"x-portkey-api-key": "p", "x-portkey-virtual-key": "v"},
        ),
        (
            {"type": "portkey", "api_key": "p", "provider": "@slug"},
            {"x-portkey-api-key": "p", "x-portkey-provider": "@slug"},
        ),
        (
            {"type": "portkey", "base_url": GATEWAY, "provider": "openai", "authorization": "k"},
            {"x-portkey-provider": "openai", "authorization": "Bearer k"},
        ),
        (
            {"type": "portkey", "base_url": GATEWAY, "provider": "openai", "authorization": "Bearer k"},
            {"x-portkey-provider": "openai", "authorization": "Bearer k"},
        ),
        (
            {
                "type": "portkey",
                "api_key": "p",
                "provider": "openai",
                "authorization": "k",
                "custom_host": "https://x.example/v1/",
            },
            {
                "x-portkey-api-key": "p",
                "x-portkey-provider": "openai",
                "authorization": "Bearer k",
                "x-portkey-custom-host": "https://x.example/v1",
            },
        ),
        (
            {"type": "portkey", "api_key": "p", "config": "pc-files-1234"},
            {"x-portkey-api-key": "p", "x-portkey-config": "pc-files-1234"},
        ),
        (
            {"type": "portkey", "base_url": GATEWAY, "config": {"provider": "openai", "api_key": "kü"}},
            {"x-portkey-config": '{"provider": "openai", "api_key": "k\\u00fc"}'},
        ),
    ],
)
def test_a_credential_is_carried_by_these_headers(settings: dict[str, Any], headers: dict[str, str]) -> None:
    account = credential(**settings)
    assert PROVIDERS[account.type].headers(account) == headers
    assert all(value.isascii() for value in headers.values())


def test_headers_without_a_value_are_not_sent() -> None:
    assert sent(x_one="1", x_two=None, three="") == {"x-one": "1", "three": ""}


# Answers that are no list


@pytest.mark.parametrize(
    ("status", "body", "answer"),
    [
        (500, {"status": "failure", "message": "Model is required"}, True),
        (
            500,
            {
                "message": "listFiles is not supported by Google Vertex AI",
                "status": "failure",
                "provider": "vertex-ai",
            },
            True,
        ),
        (500, {"status": "failure", "message": "Something went wrong"}, False),
        (400, {"status": "failure", "message": "Model is required"}, False),
        (500, {"error": {"message": "Model is required by the upstream"}}, False),
        (500, {"html-message": "Message: fetch failed"}, False),
        (500, None, False),
        (500, [], False),
        (503, {"message": "listFiles is not supported by Google Vertex AI"}, False),
    ],
)
def test_the_gateway_says_in_two_ways_that_there_is_no_file_list(status: int, body: Any, answer: bool) -> None:  # noqa: FBT001
    assert PROVIDERS["portkey"].unsupported(status, body) is answer
    assert PROVIDERS["openai"].unsupported(status, body) is False


@pytest.mark.parametrize(
    ("body", "description"),
    [
        (None, "an empty answer"),
        ([], "a JSON list"),
        ([{"id": "a"}], "a JSON list"),
        ("text", "a JSON str"),
        (5, "a JSON int"),
        (True, "a JSON bool"),
        ({}, "an empty object"),
        ({"0": {"id": "a"}, "1": {"id": "b"}}, "an object with 0, 1"),
        ({"object": "list"}, "an object with object"),
        ({"object": "list", "data": None}, "an object with data, object"),
        ({"data": {"0": {}}}, "an object with data"),
        (dict.fromkeys("gfedcba"), "an object with a, b, c, d, e"),
        ({"html-message": "<html>Sign in</html>"}, "a web page"),
        ({"error": {"message": "Something broke", "type": "server_error"}, "provider": "openai"}, "Something broke"),
        ({"error": "invalid_grant"}, "invalid_grant"),
        ({"error": {"code": 5}, "data": []}, "an object with data, error"),
        ({"error": {"message": ["a"]}}, "an object with error"),
        ({"message": "Provider portkey not found", "status": "failure"}, "Provider portkey not found"),
        ({"data": [{"id": "a"}], "error": {"message": "partly"}}, "partly"),
    ],
)
def test_what_is_no_page_is_refused_and_described(body: Any, description: str) -> None:
    assert described(body) == description
    with pytest.raises(WrongShape) as caught:
        listed(body)
    assert str(caught.value) == f"the answer is not a page of a file list: {description}"


@pytest.mark.parametrize("error", [{}, {"error": None}, {"error": ""}, {"error": {}}])
def test_a_page_may_say_that_there_was_no_error(error: dict[str, Any]) -> None:
    assert listed({"data": [{"id": "a"}]} | error) == [{"id": "a"}]


def test_the_records_may_stand_under_another_key() -> None:
    assert listed({"files": [1]}, "files") == [1]
    with pytest.raises(WrongShape):
        listed({"data": [1]}, "files")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ({"message": "m"}, "m"),
        ({"error": None, "message": "m"}, "m"),
        ({"error": {"message": ""}}, None),
        ({"error": {"message": 5}}, None),
        ({"error": {}}, None),
        ({}, None),
        (None, None),
        (["error"], None),
    ],
)
def test_the_message_of_an_error_is_found_in_its_usual_forms(body: Any, message: str | None) -> None:
    assert told(body) == message


def test_a_provider_has_a_file_list_unless_it_knows_better() -> None:
    def no_pages(_get: Any, _credential: Credential) -> Iterator[Page]:
        return iter(())

    bare: Callable[[int, Any], bool] = Provider(
        "x", Credential, lambda _: {}, no_pages, PROVIDERS["openai"].reading
    ).unsupported
    assert bare(500, {"message": "Model is required"}) is False
