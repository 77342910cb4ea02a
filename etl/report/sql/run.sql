select run_id, "trigger", started_at, finished_at, status, totals from runs where run_id = $run_id;
