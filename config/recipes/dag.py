"""Airflow: one run of File Inventory an hour. The task fails unless every listing was complete."""

from datetime import UTC, datetime

from airflow.sdk import dag, task

from etl import load_config, open_inventory, sync


@task
def list_files() -> dict[str, int]:
    """List every credential of the configuration that $FILE_INVENTORY_CONFIG names."""
    config = load_config()
    with open_inventory(config) as store:
        run = sync(config, store, trigger="schedule")
    if run.status != "complete":
        wrong = (one for one in run.listings if one.status != "complete")
        told = "; ".join(f"{one.credential}: {one.status}, {one.error or one.reason}" for one in wrong)
        raise RuntimeError(f"the run is {run.status}: {told}")
    return run.totals


@dag(schedule="@hourly", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def file_inventory() -> None:
    """Keep the inventory."""
    list_files()


inventory = file_inventory()
