"""Dagster: one run of File Inventory an hour. The asset fails unless every listing was complete."""

from dagster import Definitions, Failure, MaterializeResult, ScheduleDefinition, asset

from etl import load_config, open_inventory, sync


@asset
def file_inventory() -> MaterializeResult:
    """List every credential of the configuration that $FILE_INVENTORY_CONFIG names."""
    config = load_config()
    with open_inventory(config) as store:
        run = sync(config, store, trigger="schedule")
    if run.status != "complete":
        wrong = (one for one in run.listings if one.status != "complete")
        told = "; ".join(f"{one.credential}: {one.status}, {one.error or one.reason}" for one in wrong)
        raise Failure(f"the run is {run.status}: {told}")
    return MaterializeResult(metadata=run.totals)


hourly = ScheduleDefinition(name="hourly", target=[file_inventory], cron_schedule="0 * * * *")
defs = Definitions(assets=[file_inventory], schedules=[hourly])
