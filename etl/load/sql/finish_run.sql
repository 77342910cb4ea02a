update runs set finished_at = $finished_at, status = $status, totals = $totals where run_id = $run_id;
