select
    observed_at, credential, change, reason, changed_fields, file_id, filename, bytes, purpose, status, created_at,
    expires_at, change_id, run_id
from file_changes
where observed_at >= $since
    and ($credential is null or credential = $credential)
    and (change = $change or ($change is null and change <> 'baseline'))
order by change_id;
