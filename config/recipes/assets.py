"""Dagster: one run of File Inventory an hour; the asset fails unless every listing was complete."""

from dagster import Definitions, Failure, MaterializeResult, ScheduleDefinition, asset

from etl import load_config, open_inventory, sync


@asset
def file_inventory() -> MaterializeResult:
    """List every credential that $FILE_INVENTORY_CONFIG names."""
    config = load_config()
    with open_inventory(config) as store:
        run = sync(config, store, trigger="schedule")
    if run.status != "complete":
        wrong = [one for one in run.listings if one.status != "complete"]
        raise Failure("; ".join(f"{one.credential} is {one.status}: {one.error or one.reason}" for one in wrong))
    return MaterializeResult(metadata=run.totals)


hourly = ScheduleDefinition(name="hourly", target=[file_inventory], cron_schedule="0 * * * *")
defs = Definitions(assets=[file_inventory], schedules=[hourly])
