"""The list of files as OpenAI's clients read it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl.simulator import Account, Simulator

from .conftest import Lab, Row, direct, quickly
from .serving import Site, serving

NOW = 1_795_000_000
WAYS = {"a": "a", "a-again": "a", "b": "b", "c": "c"}
"""Credentials, and the account behind each."""


def credentials(simulator: Simulator) -> list[Row]:
    return [
        direct(simulator, f"sk-{account}", name=name, provider=account, labels={"team": account, "env": name})
        for name, account in WAYS.items()
    ]


@pytest.fixture(scope="module")
def accounts() -> dict[str, Account]:
    """Three providers; b and c use ids of each other and of a, and made several files in one second."""
    made = {name: Account(8, seed=seed, now=NOW) for seed, name in enumerate("abc")}
    for name in "bc":
        made[name].files |= {
            key: file | {"created_at": file["created_at"] + 7, "filename": f"of {name}"}
            for key, file in list(made["a"].files.items())[::2]
        }
    twin = {"id": "file-same", "created_at": NOW, "bytes": 1, "object": "file", "filename": "x", "purpose": "batch"}
    for account in made.values():
        account.files |= {f"file-{n}": twin | {"id": f"file-{n}"} for n in range(5)}
        account.files["file-ageless"] = twin | {"id": "file-ageless", "created_at": None}
    return made


@pytest.fixture(scope="module")
def site(accounts: dict[str, Account], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    tokens = {f"sk-{name}": account for name, account in accounts.items()}
    with Simulator(tokens) as simulator, quickly():
        lab = Lab(tmp_path_factory.mktemp("files"), [])
        config = lab.config(*credentials(simulator))
        lab.sync(config)
        with serving(config) as site:
            yield site


def page(site: Site, **params: Any) -> dict[str, Any]:
    answer = site.client.get("/v1/files", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def pages(site: Site, **params: Any) -> Iterator[list[Row]]:
    body = page(site, **params)
    while True:
        yield body["data"]
        assert body["first_id"], body["last_id"] == (body["data"][0]["id"], body["data"][-1]["id"])
        if not body["has_more"]:
            return
        body = page(site, **params, after=body["data"][-1]["id"])


def keys(files: list[Row]) -> list[tuple[str, str]]:
    return [(file["inventory"]["provider"], file["id"]) for file in files]


def expected(accounts: dict[str, Account], names: str = "abc") -> set[tuple[str, str]]:
    return {(name, key) for name in names for key in accounts[name].files}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 10_000])
def test_pages_hold_every_file_once_though_ids_are_shared(
    site: Site, accounts: dict[str, Account], limit: int, order: str
) -> None:
    files = [file for data in pages(site, limit=limit, order=order) for file in data]
    assert len(files) == len(keys(files)) == len(set(keys(files)))
    assert set(keys(files)) == expected(accounts)
    times = [file["created_at"] or 0 for file in files]
    assert times == sorted(times, reverse=order == "desc")


def test_a_file_is_shown_as_its_provider_tells_it(site: Site, accounts: dict[str, Account]) -> None:
    [told] = [file for file in page(site)["data"] if keys([file]) == [("a", next(iter(accounts["a"].files)))]]
    of = accounts["a"].files[told["id"]]
    seen = told.pop("inventory")
    assert told == {"expires_at": None} | of
    assert seen.pop("first_seen_at").endswith("Z")
    assert seen == {"provider": "a", "credentials": ["a", "a-again"]}


def test_what_is_not_told_is_null(site: Site) -> None:
    file = page(site, credential="a", order="asc", limit=1)["data"][0]
    assert (file["id"], file["created_at"], file["status"]) == ("file-ageless", None, None)


def test_filters_narrow_the_list(site: Site, accounts: dict[str, Account]) -> None:
    def listed(**params: Any) -> set[tuple[str, str]]:
        return set(keys(page(site, **params)["data"]))

    assert listed(credential="b") == expected(accounts, "b")
    assert listed(**{"label.team": ["a", "b"]}) == expected(accounts, "ab")
    assert listed(**{"label.team": "a", "label.env": "b"}) == set()
    assert listed(purpose="batch") == {
        (name, key) for name in "abc" for key, file in accounts[name].files.items() if file["purpose"] == "batch"
    }
    assert listed(as_of="1d") == set()
    assert listed(as_of=datetime.now(UTC).isoformat()) == expected(accounts)


@pytest.mark.parametrize(
    ("params", "status", "param", "words"),
    [
        ({"limit": 0}, 400, "limit", "greater than or equal to 1"),
        ({"limit": 10_001}, 400, "limit", "less than or equal to 10000"),
        ({"order": "up"}, 400, "order", "'asc' or 'desc'"),
        ({"as_of": "soon"}, 400, "as_of", "soon is no time"),
        ({"after": "file-never"}, 404, "after", "No such File object: file-never"),
        ({"credential": "aa"}, 404, None, "has no credential aa; did you mean a"),
        ({"lable.team": "a"}, 400, None, "no parameter is called lable.team"),
    ],
)
def test_what_cannot_be_listed_is_refused(site: Site, params: Row, status: int, param: str | None, words: str) -> None:
    answer = site.client.get("/v1/files", params=params)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert words in error["message"]


def test_one_file_is_shown_by_its_id(site: Site, accounts: dict[str, Account]) -> None:
    own = list(accounts["b"].files)[3]
    assert site.client.get(f"/v1/files/{own}").json()["id"] == own
    missing = site.client.get("/v1/files/file-never")
    assert (missing.status_code, missing.json()["error"]["message"]) == (404, "No such File object: file-never")


def test_an_id_of_several_providers_needs_a_credential(site: Site) -> None:
    several = site.client.get("/v1/files/file-1")
    assert several.status_code == 409
    assert several.json()["error"]["message"] == (
        "3 files have the id file-1; add credential=a or credential=b or credential=c"
    )
    one = site.client.get("/v1/files/file-1", params={"credential": "c"})
    assert one.json()["inventory"]["provider"] == "c"


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_a_publish_between_two_pages_loses_and_repeats_nothing_that_stays(tmp_path: Path, order: str) -> None:
    accounts = {name: Account(60, seed=seed, now=NOW) for seed, name in enumerate("ab")}
    with Simulator({f"sk-{name}": account for name, account in accounts.items()}) as simulator, quickly():
        lab = Lab(tmp_path, [])
        config = lab.config(*[one for one in credentials(simulator) if one["provider"] in accounts])
        lab.sync(config)
        before, listed = expected(accounts, "ab"), []
        with serving(config) as site:
            for number, data in enumerate(pages(site, limit=7, order=order)):
                listed += keys(data)
                provider, last = listed[-1]
                accounts["a"].add(2)
                if number % 2:  # the file that tells where the next page begins gets a twin, or goes
                    twin = {"id": last, "created_at": NOW - number * 1_000_000, "purpose": "batch"}
                    accounts["b" if provider == "a" else "a"]._put([twin])
                else:
                    accounts[provider].remove(last)
                run = site.client.post("/api/sync?wait=true", json={}).json()
                assert run["status"] == "complete", [one["error"] for one in run["listings"]]
    assert len(listed) == len(set(listed))
    assert before & expected(accounts, "ab") <= set(listed)


def test_the_answer_says_which_credentials_are_stale(tmp_path: Path) -> None:
    with Simulator({"sk-a": Account(3)}) as simulator, quickly():
        lab = Lab(tmp_path, [])
        config = lab.config(
            direct(simulator, "sk-a", name="well"), direct(simulator, "sk-no", name="never"), stale_after="1h"
        )
        run = lab.sync(config)
        with serving(config) as site:
            told = page(site)["inventory"]
            assert told["stale"] == [{"credential": "never", "since": None}]
            assert page(site, credential="well")["inventory"]["stale"] == []
    assert abs(datetime.fromisoformat(told["published_at"]) - run.finished_at) < timedelta(seconds=5)


@pytest.mark.embedded
def test_nothing_is_listed_where_nothing_is_published(tmp_path: Path) -> None:
    with Simulator() as simulator, quickly(), serving(Lab(tmp_path, []).config(direct(simulator))) as site:
        answer = site.client.get("/v1/files")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "server_error")
    assert "nothing is published there yet" in answer.json()["error"]["message"]
