-- One row a credential, its columns named as the metrics; what depends on the time is decided when it is asked.
select
    credentials.name as credential,
    credentials.active and credentials.workspace is not null as found,
    epoch(credentials.last_attempt_at) as last_attempt_timestamp_seconds,
    epoch(credentials.last_complete_at) as last_complete_timestamp_seconds,
    listings.status as verdict,
    epoch(listings.finished_at) - epoch(listings.started_at) as last_listing_duration_seconds,
    case when credentials.last_complete_at is not null then 0 end as none, -- known to be none; else nobody knows
    coalesce(stored.files, none) as files,
    case when stored.files > 0 then stored.bytes else none end as known_bytes,
    coalesce(stored.unknown_sizes, none) as files_of_unknown_size,
    coalesce(stored.expiries, []) as expiries,
    coalesce(held.deletions, 0) as held_deletions
from credentials
left join listings
    on listings.credential = credentials.name and listings.finished_at = credentials.last_attempt_at
left join (
    select
        credential,
        count(*) as files,
        sum(bytes)::bigint as bytes,
        count(*) - count(bytes) as unknown_sizes,
        list(epoch(expires_at) order by expires_at) filter (expires_at is not null) as expiries
    from files
    group by credential
) as stored on stored.credential = credentials.name
left join (
    select credential, count(*) as deletions from held_deletions group by credential
) as held on held.credential = credentials.name
order by credentials.name;
