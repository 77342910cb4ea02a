"""Every page, and the report, are valid HTML; a validator of its own says so."""

import json
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from etl.report import ReportFormat
from etl.report.inventory import moment, open_published
from etl.report.report import report, written
from etl.web.app import create_app

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it wishes for a successor of httpx
    from starlette.testclient import TestClient

TOOLS = Path(__file__).parents[1] / "gateway"
VALIDATOR = TOOLS / "node_modules" / ".bin" / "html-validate"


def faults(folder: Path) -> list[str]:
    """Validate all pages of a folder; return what is wrong, and where."""
    if not shutil.which("node") or not VALIDATOR.exists():
        pytest.skip("node or tests/gateway/node_modules missing: run make test")
    pages = map(str, sorted(folder.glob("*.html")))
    command = [str(VALIDATOR), "--config", str(TOOLS / ".htmlvalidate.json"), "--formatter", "json", *pages]
    told = subprocess.run(command, cwd=TOOLS, stdout=subprocess.PIPE, text=True, check=False).stdout
    return [
        f"{Path(page['filePath']).name}:{fault['line']}:{fault['column']} {fault['message']}"
        for page in json.loads(told)
        for fault in page["messages"]
    ]


def test_the_validator_finds_faults(tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(
        "<!doctype html><html lang=en><title>x</title><p><div></div></p><b id=a id=a></b>"
    )
    assert len(faults(tmp_path)) > 2


def test_the_report_is_valid_html(story: Any, tmp_path: Path) -> None:
    with open_published(story.config.store) as inventory:
        page = written(report(inventory, moment("7d")), ReportFormat.HTML)
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    assert faults(tmp_path) == []


def test_every_page_is_valid_html(story: Any, keeper: Any, tmp_path: Path) -> None:
    with open_published(story.config.store) as inventory:
        [run] = inventory.query("select max(run_id) as id from runs").read_all()["id"].to_pylist()
        files = inventory.query("select file_id from files where credential = 'hostile' limit 3").read_all()
    paths = {
        "overview": "/",
        "changes": "/changes?kind=baseline",
        "credential": "/credentials/hostile",
        "held": "/credentials/doomed",
        "runs": "/runs",
        "run": f"/runs/{run}",
        "sql": f"/sql?q={quote('select credential, count(*) from files group by all')}",
        "nothing": "/credentials/nobody",
    }
    paths |= {
        f"file {n}": f"/credentials/hostile/files/{quote(key, safe='')}"
        for n, key in enumerate(files["file_id"].to_pylist())
    }
    with TestClient(create_app(keeper), base_url="http://127.0.0.1", headers={"accept": "text/html"}) as browser:
        for name, path in paths.items():
            answer = browser.get(path)
            assert answer.status_code == (404 if name == "nothing" else 200), answer.text
            (tmp_path / f"{name}.html").write_text(answer.text, encoding="utf-8")
    assert faults(tmp_path) == []
