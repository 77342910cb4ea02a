-- Move all that the store knows so many seconds into the past; a run's id begins with its time.
update credentials set
    last_attempt_at = last_attempt_at - to_seconds($seconds),
    last_complete_at = last_complete_at - to_seconds($seconds);
update runs set started_at = started_at - to_seconds($seconds), finished_at = finished_at - to_seconds($seconds);
update listings set started_at = started_at - to_seconds($seconds), finished_at = finished_at - to_seconds($seconds);
update files set first_seen_at = first_seen_at - to_seconds($seconds), changed_at = changed_at - to_seconds($seconds);
update file_changes set observed_at = observed_at - to_seconds($seconds);
update change_totals set observed_at = observed_at - to_seconds($seconds);
update runs set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
update listings set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
update file_changes set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
update held_deletions set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
update rejected_records set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
update change_totals set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
update rule_results set run_id =
    strftime(strptime(run_id[:22], '%Y%m%dT%H%M%S.%f') - to_seconds($seconds), '%Y%m%dT%H%M%S.%fZ') || run_id[24:];
