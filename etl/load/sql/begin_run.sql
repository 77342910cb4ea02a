insert into runs (run_id, "trigger", started_at, status) values ($run_id, $trigger, $started_at, 'running');
