select count(*) as files, max(run_id) as run_id from held_deletions where credential = $credential;
