select
    freshness.credential,
    freshness.verdict,
    freshness.reason,
    freshness.error,
    freshness.as_of,
    freshness.stale and freshness.as_of is not null as stale,
    credentials.stale_after,
    coalesce(waiting.files, 0) as held,
    coalesce(expiring.files, 0) as expiring,
    expiring.nearest
from freshness
join credentials on credentials.name = freshness.credential
left join (
    select credential, count(*) as files from held_deletions group by credential
) as waiting on waiting.credential = freshness.credential
left join (
    select credential, count(*) as files, min(expires_at) as nearest
    from files
    where expires_at > now() and expires_at <= now() + to_seconds($expiring_within::double)
    group by credential
) as expiring on expiring.credential = freshness.credential
where freshness.active and freshness.last_attempt_at is not null
order by freshness.credential;
