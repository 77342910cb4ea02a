-- Each order has a branch of its own, so that DuckDB reads no more than the first rows.
with wanted as not materialized (
    select
        change_id, observed_at, run_id, credential, file_id, change, reason, changed_fields, provider, filename, bytes,
        purpose, status, status_details, mime_type, created_at, expires_at
    from file_changes
    where (list_contains($changes, change) or ($changes is null and change <> 'baseline'))
        and ($credential is null or credential = $credential)
        and ($since is null or observed_at >= $since)
        and ($until is null or observed_at < $until)
)
(
    from wanted
    where $ascending and ($after is null or change_id > $after)
    order by change_id
    limit $limit
)
union all
(
    from wanted
    where not $ascending and ($after is null or change_id < $after)
    order by change_id desc
    limit $limit
);
