"""What /openapi.json says is complete and true: schemathesis asks all of it, of the real service over a real store."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from etl.simulator import Account

PATHS = {
    "/api/query",
    "/api/status",
    "/api/runs",
    "/api/runs/{run_id}",
    "/api/changes",
    "/api/sync",
    "/api/credentials/{name}/approve",
    "/api/credentials/{name}/reject",
    "/v1/files",
    "/v1/files/{file_id}",
    "/healthz",
    "/readyz",
    "/metrics",
}


@pytest.fixture(scope="module")
def accounts() -> dict[str, Account]:
    """Hold few files, since every answer is checked against its schema."""
    return {"sk-one": Account(15, seed=1), "sk-two": Account(10, seed=2)}


SETTINGS = """
[[operations]]
include-name = "POST /api/query"
[operations.checks.positive_data_acceptance]
expected-statuses = ["200", "400"]
"""
"""No schema can say which text is SQL that DuckDB takes."""


@pytest.fixture
def paths(url: str, token: str) -> dict[str, Any]:
    answer = httpx.get(f"{url}/openapi.json", headers={"authorization": f"Bearer {token}"}, trust_env=False)
    told: dict[str, Any] = answer.json()["paths"]
    return told


def test_schemathesis_finds_every_answer_as_told(url: str, token: str, tmp_path: Path) -> None:
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    command = [sys.executable, "-m", "schemathesis.cli", f"--config-file={settings}", "run", f"{url}/openapi.json"]
    options = [
        "--checks=all",
        "--phases=examples,coverage,fuzzing",
        "--max-examples=5",
        "--seed=1",
        "--generation-deterministic",
        "--no-color",
    ]
    options += ["--header", f"Authorization: Bearer {token}", "--workers=2"]
    done = subprocess.run([*command, *options], env={"NO_PROXY": "*"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pages_are_no_part_of_it(paths: dict[str, Any]) -> None:
    assert set(paths) == PATHS


def test_every_operation_tells_its_answers_and_errors(paths: dict[str, Any]) -> None:
    for path, operations in paths.items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            assert "4XX" in operation["responses"]
            if path.startswith(("/api/", "/v1/")):
                assert operation["security"] == [{"HTTPBearer": []}, {"APIKeyHeader": []}]
                assert operation["responses"]["200"]["content"]["application/json"]["schema"]
