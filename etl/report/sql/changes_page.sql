select
    change_id, observed_at, run_id, credential, file_id, change, reason, changed_fields, provider, filename, bytes,
    purpose, status, status_details, mime_type, created_at, expires_at
from file_changes
where (list_contains($changes, change) or ($changes is null and change <> 'baseline'))
    and ($credential is null or credential = $credential)
    and ($since is null or observed_at >= $since)
    and ($until is null or observed_at < $until)
    and ($after is null or case when $ascending then change_id > $after else change_id < $after end)
order by case when $ascending then change_id end, change_id desc
limit $limit;
