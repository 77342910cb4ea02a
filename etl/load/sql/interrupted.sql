update runs set status = 'interrupted', finished_at = $now where status = 'running' and run_id in (select unnest($run_ids));
