"""What monitors are told, compared with what is in the store."""

import shutil
import subprocess
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from etl.report.inventory import open_published
from etl.simulator import FAULTS, Account, Simulator

from .conftest import TOKEN, Lab, direct
from .serving import serving

DAY = 86_400
OTHER = "sk-the-key-of-another"


class Scrape:
    """What one scrape told."""

    def __init__(self, client: httpx.Client) -> None:
        response = client.get("/metrics")
        assert response.status_code == 200
        self.text = response.text
        families = list(text_string_to_metric_families(self.text))
        self.samples = [sample for family in families for sample in family.samples]

    def __call__(self, name: str, **labels: str) -> float | None:
        """The value of one series; None where there is none."""
        values = [
            sample.value
            for sample in self.samples
            if sample.name == f"file_inventory_{name}" and sample.labels == labels
        ]
        assert len(values) <= 1
        return values[0] if values else None

    def of(self, name: str, credential: str = "acme") -> float | None:
        return self(name, credential=credential)

    def verdict(self, credential: str = "acme") -> list[str]:
        return [
            sample.labels["verdict"]
            for sample in self.samples
            if sample.name == "file_inventory_last_verdict"
            and sample.labels["credential"] == credential
            and sample.value
        ]

    def names(self, label: str = "credential") -> set[str]:
        return {sample.labels[label] for sample in self.samples if label in sample.labels}


@pytest.fixture
def account(simulator: Simulator) -> Account:
    """Forty files: three of unknown size, two that expire within the week, one later, one in the past."""
    account = simulator.accounts[TOKEN] = Account(40, seed=1)
    now = int(time.time())
    expiries = [now + DAY, now + 6 * DAY, now + 8 * DAY, now - DAY]
    for number, key in enumerate(list(account.files)):
        expires = expiries[number] if number < len(expiries) else None
        size = None if number < 3 else 1000 + number
        account.files[key] = account.files[key] | {"expires_at": expires, "bytes": size}
    return account


def test_the_figures_are_those_of_the_store(lab: Lab, simulator: Simulator, account: Account) -> None:
    config = lab.config(direct(simulator), direct(simulator, name="again"), direct(simulator, name="later"))
    lab.sync(config, "acme", "again")
    with serving(config) as site:
        told = Scrape(site.client)
    row = lab.published().of("acme").freshness[0]
    assert told.of("last_complete_timestamp_seconds") == pytest.approx(row["as_of"].timestamp(), abs=1e-5)
    assert told.of("last_attempt_timestamp_seconds") == pytest.approx(row["last_attempt_at"].timestamp(), abs=1e-5)
    assert told.of("credential_stale") == 0
    assert told.of("files") == len(account.files) == 40
    assert told.of("known_bytes") == sum(1000 + number for number in range(3, 40))
    assert told.of("files_of_unknown_size") == 3
    assert told.of("expiring_files") == 2
    assert told.of("held_deletions") == 0
    assert told.verdict() == ["complete"]
    assert told("unique_files") == 40
    assert told("unique_known_bytes") == told.of("known_bytes") == told.of("known_bytes", "again")
    assert told("store_bytes", file="published") == lab.path.stat().st_size
    assert told("store_bytes", file="writer") == lab.path.with_name("inventory.writer.duckdb").stat().st_size
    assert told("published_timestamp_seconds") == pytest.approx(lab.path.stat().st_mtime)
    assert told("ready") == 1
    assert told("next_run_timestamp_seconds") is None


def test_what_is_not_known_has_no_sample(lab: Lab, simulator: Simulator, account: Account) -> None:
    simulator.accounts[OTHER] = Account(5, seed=2)
    simulator.faults[OTHER] = FAULTS["forbidden"]
    config = lab.config(direct(simulator), direct(simulator, OTHER, name="refused"), direct(simulator, name="later"))
    for key in account.files:
        account.files[key] = account.files[key] | {"bytes": None}
    lab.sync(config, "acme", "refused")
    with serving(config) as site:
        told = Scrape(site.client)
    assert (told.of("files"), told.of("known_bytes"), told.of("files_of_unknown_size")) == (40, None, 40)
    for name in ("refused", "later"):
        unknown = ("last_complete_timestamp_seconds", "files", "known_bytes", "files_of_unknown_size", "expiring_files")
        assert {told.of(figure, name) for figure in unknown} == {None}
        assert told.of("credential_stale", name) == 1
    assert told.verdict("refused") == ["failed"]
    assert told.verdict("later") == []
    assert told.of("last_attempt_timestamp_seconds", "later") is None
    assert told("listings_total", credential="later", verdict="complete") == 0


def test_an_empty_account_holds_nothing_which_is_known(lab: Lab, simulator: Simulator) -> None:
    simulator.accounts[TOKEN] = Account()
    config = lab.config(direct(simulator))
    lab.sync(config)
    with serving(config) as site:
        told = Scrape(site.client)
    assert {told.of(figure) for figure in ("files", "known_bytes", "files_of_unknown_size", "expiring_files")} == {0}
    assert (told("unique_files"), told("unique_known_bytes")) == (0, 0)


def test_before_anything_is_published_there_is_an_answer_all_the_same(lab: Lab, simulator: Simulator) -> None:
    config = lab.config(direct(simulator))
    with serving(config) as site:
        assert site.client.get("/healthz").json() == {"status": "ok"}
        response = site.client.get("/readyz")
        told = Scrape(site.client)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/json"
    assert response.json()["error"]["message"] == "nothing is published yet; the first run does it"
    assert (told("ready"), told.of("credential_stale"), told.of("files"), told("unique_files")) == (0, 1, None, None)
    assert (told("store_bytes", file="published"), told("published_timestamp_seconds")) == (None, None)


def test_what_depends_on_the_time_is_right_at_each_scrape(
    lab: Lab, simulator: Simulator, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(account.files) == 40
    config = lab.config(direct(simulator), stale_after="24h")
    lab.sync(config)
    start = time.time()
    with serving(config) as site:
        seen = []
        for days in (0, 2, 7, 9, -2):
            with monkeypatch.context() as patch:
                patch.setattr("etl.web.metrics.time.time", lambda days=days: start + days * DAY)
                told = Scrape(site.client)
            seen.append((days, told.of("credential_stale"), told.of("expiring_files")))
    assert seen == [(0, 0, 2), (2, 1, 2), (7, 1, 1), (9, 1, 0), (-2, 1, 2)]


def test_each_published_database_is_read_once(
    lab: Lab, simulator: Simulator, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    config = lab.config(direct(simulator))
    lab.sync(config)

    def reading(path: Any, **limits: Any) -> Any:
        read.append(str(limits["memory_limit"]))
        return open_published(path, **limits)

    monkeypatch.setattr("etl.web.metrics.open_published", reading)
    with serving(config) as site:
        assert [Scrape(site.client).of("files") for _ in range(3)] == [40, 40, 40]
        account.add(2)
        site.service.sync((), "api").result(30)
        assert [Scrape(site.client).of("files") for _ in range(2)] == [42, 42]
    assert read.count("1GB") == 2


def test_what_the_service_does_is_counted(lab: Lab, simulator: Simulator, account: Account) -> None:
    simulator.page_limit = 10
    config = lab.config(direct(simulator))
    with serving(config) as site:
        site.service.sync((), "api").result(30)
        first = Scrape(site.client)
        account.add(3)
        account.change(2)
        simulator.faults[TOKEN] = FAULTS["page2_500"]
        site.service.sync((), "schedule").result(30)
        told = Scrape(site.client)
    rows = lab.published().listings
    assert first("listings_total", credential="acme", verdict="complete") == 1
    assert first("changes_total", credential="acme", change="baseline") == 40
    assert told("listings_total", credential="acme", verdict="incomplete") == 1
    assert told("runs_total", status="complete", trigger="api") == 1
    assert told("runs_total", status="partial", trigger="schedule") == 1
    assert told("runs_total", status="failed", trigger="schedule") == 0
    sums = {
        "records_listed_total": "records",
        "requests_total": "requests",
        "retries_total": "retries",
        "received_bytes_total": "bytes_received",
        "rejected_records_total": "rejected",
    }
    for metric, column in sums.items():
        assert told(metric, credential="acme") == sum(row[column] for row in rows), metric
    for change in ("baseline", "created", "updated", "deleted", "restored"):
        assert told("changes_total", credential="acme", change=change) == sum(row[change] for row in rows), change
    retries = told("retries_total", credential="acme")
    assert retries is not None
    assert retries > 0
    took = sum(((row["finished_at"] - row["started_at"]) for row in rows), timedelta()).total_seconds()
    assert told("listing_duration_seconds_count") == told("run_duration_seconds_count") == 2
    assert told("listing_duration_seconds_sum") == pytest.approx(took)


def test_held_deletions_wait_in_sight(lab: Lab, simulator: Simulator, account: Account) -> None:
    config = lab.config(direct(simulator))
    lab.sync(config)
    account.delete(30)
    lab.sync(config)
    with serving(config) as site:
        told = Scrape(site.client)
        assert (told.of("held_deletions"), told.of("files"), told.verdict()) == (30, 40, ["held"])
        site.service.approve("acme").result(30)
        told = Scrape(site.client)
        assert (told.of("held_deletions"), told.of("files")) == (0, 10)


def test_a_credential_that_is_removed_leaves_no_series(lab: Lab, simulator: Simulator, account: Account) -> None:
    assert account.files
    both = lab.config(direct(simulator), direct(simulator, name="gone"))
    with serving(both) as site:
        site.service.sync((), "api").result(30)
        assert Scrape(site.client).names() == {"acme", "gone"}
        site.service.config = lab.config(direct(simulator))
        assert Scrape(site.client).names() == {"acme"}
        site.service.sync((), "api").result(30)
        told = Scrape(site.client)
        assert told.names() == {"acme"}
        assert told("unique_files") == 40


def test_the_next_run_is_that_of_the_schedule(lab: Lab, simulator: Simulator, account: Account) -> None:
    assert account.files
    config = lab.config(direct(simulator), schedule="every 1h")
    lab.sync(config)
    with serving(config) as site:
        following = site.service.next_run()
        assert following is not None
        assert Scrape(site.client)("next_run_timestamp_seconds") == pytest.approx(following.timestamp())


def test_a_service_that_stops_is_not_ready(lab: Lab, simulator: Simulator, account: Account) -> None:
    assert account.files
    config = lab.config(direct(simulator))
    lab.sync(config)
    with serving(config) as site:
        assert site.client.get("/readyz").json() == {"status": "ok"}
        assert [site.client.head(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
        site.service.stop()
        response = site.client.get("/readyz")
        assert site.client.head("/readyz").status_code == 503
        assert Scrape(site.client)("ready") == 0
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "the service is stopping; ask again when it is back"


def test_a_service_whose_thread_has_ended_says_so(lab: Lab, simulator: Simulator) -> None:
    with serving(lab.config(direct(simulator))) as site:
        site.service._scheduler.shutdown(wait=False)
        response = site.client.get("/healthz")
        site.service._scheduler.start()
    assert response.status_code == 503
    assert response.status_code == 503
    assert response.json()["error"]["message"] == "a thread of the service has ended; restart it and see its log"


def test_a_published_database_that_is_spoilt_is_not_ready_and_stops_no_scrape(
    lab: Lab, simulator: Simulator, account: Account
) -> None:
    assert account.files
    config = lab.config(direct(simulator))
    lab.sync(config)
    with serving(config) as site:
        spoilt = lab.path.with_name("spoilt")
        spoilt.write_bytes(b"no database" * 1000)
        spoilt.replace(lab.path)
        response = site.client.get("/readyz")
        told = Scrape(site.client)
    assert response.status_code == 503
    told_why = "the published database cannot be read; approve, reject or the next run replaces it"
    assert response.json()["error"]["message"] == told_why
    assert (told("ready"), told.of("files")) == (0, None)


def test_the_token_guards_the_figures_but_not_the_probes(lab: Lab, simulator: Simulator, account: Account) -> None:
    assert account.files
    config = lab.config(direct(simulator), serve={"token": "let-me-in"})
    lab.sync(config)
    with serving(config) as site:
        statuses = [site.client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")]
        shown = site.client.get("/metrics", headers={"authorization": "Bearer let-me-in"})
    assert statuses == [200, 200, 401]
    assert shown.status_code == 200
    assert "let-me-in" not in shown.text
    assert TOKEN not in shown.text


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text; version=1.0.0"),
        ("application/openmetrics-text;version=none", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_the_format_is_the_one_asked_for(lab: Lab, simulator: Simulator, accept: str, content_type: str) -> None:
    with serving(lab.config(direct(simulator))) as site:
        response = site.client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith(content_type)
    if "openmetrics" in content_type:
        parsed = parse_openmetrics(response.text)  # type: ignore[no-untyped-call] # of the library
        families = {family.name: family.type for family in parsed}
        assert families["file_inventory_build"] == "info"
        assert families["file_inventory_listings"] == "counter"


def test_promtool_finds_no_fault_with_the_metrics(lab: Lab, simulator: Simulator, account: Account) -> None:
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is missing: install the Debian package prometheus")
    assert account.files
    config = lab.config(direct(simulator), schedule="every 1h")
    lab.sync(config)
    with serving(config) as site:
        site.service.sync((), "api").result(30)
        told = Scrape(site.client)
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=told.text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_routes_are_described(lab: Lab, simulator: Simulator) -> None:
    with serving(lab.config(direct(simulator))) as site:
        paths = site.client.get("/openapi.json").json()["paths"]
    for path in ("/healthz", "/readyz"):
        responses = paths[path]["get"]["responses"]
        assert responses["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/Problem")
        assert "$ref" in responses["200"]["content"]["application/json"]["schema"]
    assert set(paths["/metrics"]["get"]["responses"]["200"]["content"]) == {
        "text/plain",
        "application/openmetrics-text",
    }


def test_what_rules_found_is_measured(lab: Lab, simulator: Simulator, account: Account) -> None:
    assert account.files
    rules = [
        {"name": "all", "message": "x", "query": "from files", "severity": "critical"},
        {"name": "none", "message": "x", "query": "from files where false"},
        {"name": "odd", "message": "x", "query": "from nowhere"},
    ]
    with serving(lab.config(direct(simulator), rules=rules)) as site:
        site.service.sync((), "api").result(30)
        told = Scrape(site.client)
        assert told("rule_offenders", rule="all", severity="critical") == 40
        assert told("rule_offenders", rule="none", severity="warning") == 0
        assert told("rule_offenders", rule="odd", severity="warning") is None
        assert told("rule_unchecked", rule="odd", severity="warning") == 1
        state = site.client.get("/api/status").json()
        assert [(one["rule"], one["state"]) for one in state["rules"]] == [
            ("all", "broken"),
            ("odd", "unchecked"),
            ("none", "kept"),
        ]
        site.service.config = lab.config(direct(simulator))
        assert Scrape(site.client)("rule_offenders", rule="all", severity="critical") is None
