"""`make model`: thousands of steps from one seed; a failure prints what replays it."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from conftest import Lakes
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Inventory

EXAMPLES, LENGTH = 10, 50


def main() -> None:
    parser = argparse.ArgumentParser(description="Drive an inventory beside a model that knows the truth.")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=["file", "lake"], default="file", help="what the inventories are kept in")
    parser.add_argument("--no-shrink", action="store_true", help="report the first failure as it is")
    asked = parser.parse_args()
    if asked.store == "lake":
        with TemporaryDirectory(prefix="lakes-") as folder, Lakes(Path(folder)) as Inventory.lakes:
            _drive(asked)
    else:
        _drive(asked)


def _drive(asked: argparse.Namespace) -> None:
    phases = [Phase.generate] if asked.no_shrink else [Phase.generate, Phase.shrink]
    few = settings(
        max_examples=EXAMPLES,
        stateful_step_count=LENGTH,
        deadline=None,
        database=None,
        print_blob=True,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    began, turn = time.monotonic(), asked.seed * 1_000_000
    while Inventory.did["steps"] < asked.steps:
        try:
            run_state_machine_as_test(seed(turn)(Inventory), settings=few)
        except BaseException:
            sys.stdout.write(f"\nThis came in turn {turn}; make model SEED={asked.seed} finds it again.\n")
            raise
        turn += 1
        took, steps = time.monotonic() - began, Inventory.did["steps"]
        sys.stdout.write(f"seed {asked.seed}: {steps:,} steps in {took:.0f} s, {steps / took:.0f} a second\n")
        sys.stdout.flush()
    sys.stdout.write(", ".join(f"{count:,} {what}" for what, count in sorted(Inventory.did.items())) + "\n")


if __name__ == "__main__":
    main()
