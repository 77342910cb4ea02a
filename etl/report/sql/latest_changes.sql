select
    change_id, run_id, observed_at, credential, file_id, change, reason, changed_fields, filename, bytes, purpose,
    status, expires_at
from file_changes
where ($before is null or change_id < $before)
    and ($since is null or observed_at >= $since)
    and ($credential is null or credential = $credential)
    and (change = $change or ($change is null and change <> 'baseline'))
    and ($text is null or contains(lower(filename), lower($text)) or file_id = $text)
order by change_id desc
limit $limit;
