select
    freshness.credential,
    case
        when not freshness.active then 'inactive'
        when held.deletions > 0 then 'held'
        when freshness.stale then 'stale'
        else 'fresh'
    end as state,
    freshness.verdict,
    freshness.as_of,
    coalesce(stored.files, 0) as files,
    stored.bytes,
    coalesce(stored.unknown_sizes, 0) as unknown_sizes,
    coalesce(held.deletions, 0) as held_deletions,
    freshness.last_attempt_at,
    freshness.reason,
    freshness.error
from freshness
left join (
    select credential, count(*) as files, sum(bytes)::bigint as bytes, count(*) - count(bytes) as unknown_sizes
    from files
    group by credential
) as stored using (credential)
left join (
    select credential, count(*) as deletions from held_deletions group by credential
) as held using (credential)
order by freshness.active desc, freshness.credential;
