"""Airflow: one run of File Inventory an hour; the task fails unless every listing was complete."""

from datetime import UTC, datetime

from airflow.sdk import dag, task

from etl import load_config, open_inventory, sync


@dag(schedule="@hourly", start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False, max_active_runs=1)
def file_inventory() -> None:
    """Keep the inventory."""

    @task
    def listed() -> dict[str, int]:
        """List every credential that $FILE_INVENTORY_CONFIG names."""
        config = load_config()
        with open_inventory(config) as store:
            run = sync(config, store, trigger="schedule")
        if run.status != "complete":
            wrong = [f"{one.credential} {one.status}: {one.error or one.reason}" for one in run.listings]
            raise RuntimeError("; ".join(wrong))
        return run.totals

    listed()


inventory = file_inventory()
