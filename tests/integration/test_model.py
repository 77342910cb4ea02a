"""Whatever happens, the inventory says what a plain model of the contract says; `make model` takes more time."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .model.machine import Inventory

STEPS = settings(
    max_examples=10,
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=True,  # the same histories each time; make model looks for others
    print_blob=True,
    phases=[Phase.generate],  # a failure prints what replays it; make model looks for the shortest history
    suppress_health_check=list(HealthCheck),
)


def test_the_inventory_equals_a_plain_model_after_every_step_of_any_history() -> None:
    run_state_machine_as_test(Inventory, settings=STEPS)
