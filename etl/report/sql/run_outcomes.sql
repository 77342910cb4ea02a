from listings where run_id = $run_id order by started_at, credential;
