"""File Inventory: one trustworthy, queryable, historical inventory of every file your LLM providers hold.

from etl import load_config, open_inventory, sync

config = load_config("config/inventory.yaml")
with open_inventory(config) as store:
    run = sync(config, store)
"""

from typing import TYPE_CHECKING, Any

from etl.sync import sync

if TYPE_CHECKING:
    from etl.config import Config, load_config
    from etl.load.store import Outcome, Run, Store, open_inventory

__all__ = ["Config", "Outcome", "Run", "Store", "load_config", "open_inventory", "sync"]

_LAZY = {
    "Config": "etl.config",
    "load_config": "etl.config",
    "Outcome": "etl.load.store",
    "Run": "etl.load.store",
    "Store": "etl.load.store",
    "open_inventory": "etl.load.store",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command line starts quickly."""
    from importlib import import_module  # noqa: PLC0415 - only here

    if name not in _LAZY:
        raise AttributeError(f"module 'etl' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
