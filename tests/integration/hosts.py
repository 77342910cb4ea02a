"""Hosts that share one lake, each a configuration and processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from etl.simulator import Account

from .conftest import HTTP, Row, direct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from etl.places import Lake
    from etl.simulator import Simulator


def names(count: int) -> list[str]:
    return [f"team-{number}" for number in range(count)]


def many(simulator: Simulator, count: int, files: int = 12) -> list[Row]:
    """Credentials of one server, each with an account of its own."""
    for number, name in enumerate(names(count)):
        simulator.accounts[f"sk-{name}"] = Account(files, seed=number)
    return [direct(simulator, f"sk-{name}", name=name) for name in names(count)]


class Host:
    """Another host: its commands, as processes of their own."""

    def __init__(
        self, folder: Path, lake: Lake, credentials: list[Row], *, at: Sequence[str] = (), **settings: Any
    ) -> None:
        folder.mkdir()
        self.at = at
        """What goes before every command, so that it runs elsewhere."""
        self.config = folder / "inventory.yaml"
        self.secrets = {one["name"].upper().replace("-", "_"): one["api_key"] for one in credentials}
        self.environment = os.environ | self.secrets | {"LAKE_CATALOG": str(lake.url)}
        credentials = [one | {"api_key": f"${{{name}}}"} for one, name in zip(credentials, self.secrets, strict=True)]
        store = {"ducklake": {"catalog": "${LAKE_CATALOG}", "data_path": lake.data_path}}
        self.config.write_text(json.dumps({"store": store, "http": HTTP, "credentials": credentials} | settings))

    def start(self, *words: str) -> subprocess.Popen[str]:
        said = words if "--config" in words else ("--config", str(self.config), *words)
        command = [*self.at, sys.executable, "-c", "from etl.cli import main; main()", *said]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str) -> tuple[int, str, str]:
        with self.start(*words) as process:
            said, complained = process.communicate(timeout=120)
        return process.returncode, said, complained
