select * exclude (run_id, scope) from listings where run_id = $run_id order by credential;
