"""What is shipped: the wheel holds all that a run needs, and the public names are what they say."""

import subprocess
import sys
import zipfile
from pathlib import Path

import etl

ROOT = Path(__file__).parents[2]
DEMO = "from etl import cli; cli.main(['demo', '--files', '2000'])"


def test_the_public_names_can_be_imported() -> None:
    for name in etl.__all__:
        assert getattr(etl, name).__module__.startswith("etl.")
    assert callable(etl.sync)


def test_the_wheel_runs_without_the_source_tree(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("llm_file_inventory-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
        names = set(archive.namelist())
    shipped = {path.name for path in (ROOT / "config").glob("*.*")}
    assert {Path(name).name for name in names if name.startswith("etl/shipped/")} == shipped
    assert "etl/py.typed" in names
    kinds = (".sql", ".html", ".css", ".js", ".svg")
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "etl").rglob("*") if path.suffix in kinds}
    assert sources <= names
    where = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import etl; print(etl.__file__); {DEMO}"
    ran = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, check=True, capture_output=True, text=True, timeout=120
    )
    assert ran.stdout.startswith(str(tmp_path / "site"))
    assert "6 of 6 complete" in ran.stdout
