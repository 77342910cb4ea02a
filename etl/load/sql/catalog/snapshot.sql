select snapshot_id, snapshot_time from ducklake_snapshot order by snapshot_id desc limit 1
