"""A run that is killed at any step, or finds no room, loses nothing: the next one makes all good by itself."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import quickly
from .crashing import FAILED, Stage, staged, synced, told

MOMENTS = 8


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with quickly(), staged(tmp_path_factory.mktemp("crashes")) as stage:
        yield stage


def test_a_run_takes_the_steps_that_the_tests_know_of(stage: Stage) -> None:
    assert {"apply", "commit", "committed", "checkpoint", "copy", "replace", "replaced"} <= set(stage.steps)
    assert 20 < len(stage.steps) < 80


def test_a_run_that_is_killed_before_any_step_is_made_good_by_the_next(stage: Stage, tmp_path: Path) -> None:
    last = {name: step for step, name in enumerate(stage.steps)}
    for name, step in last.items():  # of the second credential, when the first is done
        config = stage.at(tmp_path / name)
        assert stage.crew.run(config, step=step)[0] == -9, name
        assert stage.is_made_good(config), name


def test_a_run_that_is_killed_at_any_moment_is_made_good_by_the_next(stage: Stage, tmp_path: Path) -> None:
    killed = 0
    for moment in range(MOMENTS):
        config = stage.at(tmp_path / f"{moment}")
        killed += stage.crew.run(config, after=0.02 + 0.4 * moment / MOMENTS)[0] == -9
        assert stage.is_made_good(config), moment
    assert killed > 0


def test_a_first_run_that_is_killed_before_any_step_is_made_good_by_the_next(stage: Stage, tmp_path: Path) -> None:
    for step in range(0, len(stage.steps), 8):
        config = stage.at(tmp_path / f"{step}", copied=False)
        assert stage.crew.run(config, step=step)[0] == -9
        assert synced(config) == "complete"
        assert [row["change"] for row in told(config.store) if "change" in row] == ["baseline"] * 2 * 299


@pytest.mark.parametrize("share", [0.1, 0.9, 1.1, 10])
def test_a_disk_that_is_full_costs_nothing_but_the_run(stage: Stage, tmp_path: Path, share: float) -> None:
    config = stage.at(tmp_path / "store")
    status, said = stage.crew.run(config, room=int(share * config.store.stat().st_size))
    assert (status, told(config.store)) == ((FAILED, stage.before) if share < 5 else (0, stage.expected)), said
    assert status == 0 or "cannot be read or written" in said
    assert stage.is_made_good(config)
