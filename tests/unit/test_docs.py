"""The pages about providers say what the code does."""

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from etl.config import load_config, shipped
from etl.providers import KINDS, PROVIDERS
from etl.providers.portkey import LOST, REWRITTEN, UPSTREAMS
from etl.transform.record import SCHEMA

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "config/providers.md").read_text()


def rows() -> dict[str, list[str]]:
    """The cells of the table's rows, by type."""
    lines = re.findall(r"^\| `([a-z-]+)` \|(.*)\|$", PAGE.split("## Behind Portkey")[0], re.MULTILINE)
    return {kind: [cell.strip() for cell in cells.split(" | ")] for kind, cells in lines}


def test_every_provider_has_one_row_and_the_other_way_round() -> None:
    assert list(rows()) == list(PROVIDERS)
    assert {len(cells) for cells in rows().values()} == {5}
    assert all(cell for cells in rows().values() for cell in cells)


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_row_names_the_columns_that_stay_null(kind: str) -> None:
    told = {"file_id", "provider", "extra"} | set(PROVIDERS[kind].reading.fields)
    null = re.findall(r"`(\w+)`", rows()[kind][3])
    assert null == [name for name in SCHEMA.names if name not in told]


@pytest.mark.parametrize("kind", PROVIDERS)
def test_a_row_names_the_settings_that_only_this_type_has(kind: str) -> None:
    row = " ".join(rows()[kind])
    common = {"name", "type", "base_url", "provider", "purpose", "labels", "headers", "schedule", "stale_after"}
    common |= {"track_extra", "allow_http", "http", "brake", "quota", "api_key", "version"}
    own = PROVIDERS[kind].settings.model_fields.keys() - common
    assert kind == "portkey" or [name for name in sorted(own) if f"`{name}" not in row] == []


def test_the_page_about_portkey_names_every_kind_of_provider_behind_it() -> None:
    behind = PAGE.split("## Behind Portkey")[1].split("## Adding")[0]
    named = set(re.findall(r"`(?:upstream: )?([a-z-]+)`", behind))
    assert REWRITTEN.keys() <= named
    assert UPSTREAMS.keys() <= named
    assert len(LOST & named) == 5


def test_how_to_add_a_provider_names_what_exists() -> None:
    adding = PAGE.split("## Adding a provider")[1]
    for path in re.findall(r"`((?:etl|tests)/[\w/.]+)`", adding):
        assert (ROOT / path.replace("TYPE", "openai")).exists(), path


def test_the_readme_leads_to_the_page() -> None:
    assert "(config/providers.md)" in (ROOT / "README.md").read_text()


def test_the_examples_in_the_starter_are_right_once_they_are_uncommented(tmp_path: Path) -> None:
    text = re.sub(r"^  # (?=- \{?name:|  \w)", "  ", shipped("inventory.yaml").read_text(), flags=re.MULTILINE)
    path = tmp_path / "inventory.yaml"
    path.write_text(text)
    config = load_config(path, env=dict.fromkeys(re.findall(r"\$\{(\w+)}", text), "value"))
    credentials = text.split("\n# http:")[0]
    assert len(config.credentials) == len(re.findall(r"^  - ", credentials, re.MULTILINE))
    assert {credential.type for credential in config.credentials} == KINDS.keys()
    assert YAML(typ="safe", pure=True).load(path)["store"] == "data/inventory.duckdb"
