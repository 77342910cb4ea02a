"""The official SDKs of OpenAI and Portkey read the inventory, each paging in its own way."""

import json
import subprocess
from pathlib import Path

import pytest

from etl.simulator import Account

SDKS = Path(__file__).parents[2] / ".sdks/bin/python"
OPENAI = """
import openai
client = openai.OpenAI(base_url=url, api_key=token, max_retries=0)
files = [(file.id, file.created_at) for file in client.files.list(limit=400)]
"""
PORTKEY = """
import portkey_ai
client = portkey_ai.Portkey(base_url=url, api_key=token, max_retries=0)
files, page = [], client.files.list(limit=400)
while True:
    files += [(file.id, file.created_at) for file in page.data]
    if not page.has_more:
        break
    page = client.files.list(limit=400, after=page.data[-1].id)
"""
AROUND = """
import json, sys
url, token = sys.argv[1:]
{client}
json.dump(files, sys.stdout)
"""

pytestmark = pytest.mark.skipif(not SDKS.exists(), reason="the SDKs are not installed in .sdks: run make test")


def run(client: str, url: str, token: str) -> "subprocess.CompletedProcess[str]":
    command = [str(SDKS), "-c", AROUND.format(client=client), f"{url}/v1", token]
    return subprocess.run(command, env={"NO_PROXY": "*"}, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("client", [OPENAI, PORTKEY], ids=["openai", "portkey"])
def test_an_sdk_lists_every_file_once(client: str, url: str, token: str, accounts: dict[str, Account]) -> None:
    done = run(client, url, token)
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert len(listed) == 2500
    assert {tuple(file) for file in listed} == {
        (key, file["created_at"]) for account in accounts.values() for key, file in account.files.items()
    }


@pytest.mark.parametrize("client", [OPENAI, PORTKEY], ids=["openai", "portkey"])
def test_an_sdk_without_the_token_is_refused(client: str, url: str) -> None:
    done = run(client, url, "another-token")
    assert done.returncode != 0
    assert "AuthenticationError" in done.stderr
    assert "this service asks for its token" in done.stderr
