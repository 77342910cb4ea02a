"""What the providers' own SDKs list, each paging in its own way, is what our adapters list."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from etl.config import Config
from etl.extract.fetch import fetch
from etl.extract.http import Http
from etl.simulator import Account, Simulator

PAGES = Path(__file__).parents[1] / "pages"
SDKS = Path(__file__).parents[2] / ".sdks/bin/python"
KEY = "sk-for-the-oracles"
FILES = 73
"""On pages of 10."""

OPENAI_LIKE = "files = [(file.id, file.bytes, file.created_at) for file in {files}]"
ANTHROPIC = "files = [(file.id, file.size_bytes, file.created_at.timestamp()) for file in {files}]"
ORACLES: dict[str, tuple[dict[str, Any], str]] = {
    "openai": (
        {},
        "import openai; client = openai.OpenAI(base_url=f'{url}/v1', api_key=key);"
        + OPENAI_LIKE.format(files="client.files.list(limit=10)"),
    ),
    "azure-openai v1": (
        {},
        "import openai; client = openai.OpenAI(base_url=f'{url}/openai/v1', api_key=key,"
        " default_headers={'api-key': key});" + OPENAI_LIKE.format(files="client.files.list(limit=10)"),
    ),
    # Without `has_more` this SDK asks for the first page for ever, so its iteration is left out.
    "azure-openai classic": (
        {"api_version": "2024-10-21"},
        "import openai; client = openai.AzureOpenAI(azure_endpoint=url, api_key=key, api_version='2024-10-21');"
        + OPENAI_LIKE.format(files="client.files.list().data"),
    ),
    "anthropic": (
        {},
        "import anthropic; client = anthropic.Anthropic(base_url=url, api_key=key);"
        + ANTHROPIC.format(files="client.files.list(limit=10)"),
    ),
    "anthropic beta": (
        {"beta": "files-api-2025-04-14"},
        "import anthropic; client = anthropic.Anthropic(base_url=url, api_key=key);"
        + ANTHROPIC.format(files="client.beta.files.list(limit=10)"),
    ),
    "gemini": (
        {},
        (
            "from google import genai; client = genai.Client(api_key=key, http_options={'base_url': url});"
            "files = [(file.name, file.size_bytes, file.create_time.timestamp())"
            " for file in client.files.list(config={'page_size': 10})]"
        ),
    ),
    "mistral": (
        {},
        (
            "from mistralai.client import Mistral; client = Mistral(api_key=key, server_url=url);"
            "pages = [client.files.list(page=page, page_size=10) for page in range(9)];"
            "files = [(file.id, file.size_bytes, file.created_at) for page in pages for file in page.data];"
            "assert {page.total for page in pages} == {len(files)}"
        ),
    ),
    "groq": (
        {},
        "import groq; client = groq.Groq(base_url=url, api_key=key);"
        + OPENAI_LIKE.format(files="client.files.list().data"),
    ),
    "together": (
        {},
        "import together; client = together.Together(base_url=url, api_key=key);"
        + OPENAI_LIKE.format(files="client.files.list().data"),
    ),
    "cohere": (
        {},
        (
            "import cohere; client = cohere.Client(api_key=key, base_url=url);"
            "pages = [client.datasets.list(limit=10, offset=offset) for offset in range(0, 90, 10)];"
            "files = [(file.id, sum(part.size_bytes for part in file.dataset_parts), file.created_at.timestamp())"
            " for page in pages for file in page.datasets]"
        ),
    ),
}
"""Settings of ours, and the code that lists by the SDK."""

pytestmark = pytest.mark.skipif(not SDKS.exists(), reason="the SDKs are not installed in .sdks: run make test")


@pytest.fixture(scope="module")
def provider() -> Iterator[Simulator]:
    with Simulator({KEY: Account(FILES, seed=8)}, page_limit=10) as simulator:
        yield simulator


def told_by_the_sdk(url: str, code: str) -> list[tuple[str, int, float]]:
    around = f"import json, sys; url, key = sys.argv[1:]\n{code}\njson.dump(files, sys.stdout)"
    command = [str(SDKS), "-W", "ignore", "-c", around, url, KEY]
    done = subprocess.run(command, env={"NO_PROXY": "*"}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [(file_id, size, moment) for file_id, size, moment in json.loads(done.stdout)]


def told_by_us(url: str, kind: str, settings: dict[str, Any]) -> list[tuple[str, int, float]]:
    recorded = json.loads((PAGES / f"{kind}.json").read_text())["credential"]
    credential = recorded | {"base_url": url + urlsplit(recorded["base_url"]).path, "api_key": KEY} | settings
    config = Config.model_validate({"http": {"requests_per_second": 1000}, "credentials": [credential]})
    with Http(config) as http:
        listing = fetch(config.credentials[0], http)
    assert (str(listing.status), listing.rejected) == ("complete", ())
    return [(row["file_id"], row["bytes"], row["created_at"].timestamp()) for row in listing.files.to_pylist()]


@pytest.mark.parametrize("name", ORACLES)
def test_an_sdk_and_our_adapter_tell_the_same_ids_sizes_and_times(name: str, provider: Simulator) -> None:
    settings, code = ORACLES[name]
    kind = name.split(maxsplit=1)[0]
    url = provider.speaking(kind)
    told = told_by_the_sdk(url, code)
    assert len(told) == FILES
    assert sorted(told_by_us(url, kind, settings)) == sorted(told)
