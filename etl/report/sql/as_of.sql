-- The inventory as it was known at a time: what is made here stands before the tables and views of the same names.
create temp table asked as select $as_of::timestamptz as moment;

create temp table files as from inventory.files_as_of($as_of);

create temp view file_changes as
from inventory.file_changes where observed_at <= (select moment from asked);

create temp view change_totals as
from inventory.change_totals where observed_at <= (select moment from asked);

create temp view runs as
from inventory.runs where finished_at <= (select moment from asked);

create temp view listings as
from inventory.listings where finished_at <= (select moment from asked);

create temp view rejected_records as
from inventory.rejected_records where run_id in (select run_id from runs);

create temp view rule_results as
from inventory.rule_results where run_id in (select run_id from runs);

-- What waits still, and what was approved since: it was deleted later than the run that held it. What was rejected, or
-- came back, is not known any more.
create temp view held_deletions as
from inventory.held_deletions where run_id in (select run_id from runs)
union all
select run_id, credential, file_id
from inventory.file_changes
where change = 'deleted' and observed_at > (select moment from asked) and run_id in (select run_id from runs);

-- As configured now, but for those that were not listed yet.
create temp view credentials as
select known.* replace (listed.attempted as last_attempt_at, listed.completed as last_complete_at)
from inventory.credentials as known
join (
    select credential, max(finished_at) as attempted, max(finished_at) filter (status = 'complete') as completed
    from listings
    group by credential
) as listed on listed.credential = known.name;

create temp view freshness as
select
    credentials.name as credential,
    credentials.last_complete_at as as_of,
    listings.status as verdict,
    listings.reason,
    listings.error,
    credentials.last_attempt_at,
    credentials.active
        and coalesce(
            credentials.last_complete_at < (select moment from asked) - to_seconds(credentials.stale_after), true
        ) as stale,
    credentials.active
from credentials
left join listings
    on listings.credential = credentials.name and listings.finished_at = credentials.last_attempt_at;

create temp view unique_files as
select
    files.* exclude (credential, first_seen_at, changed_at),
    list(files.credential order by files.credential) over same_file as credentials,
    min(first_seen_at) over same_file as first_seen_at,
    max(changed_at) over same_file as changed_at
from files
join credentials on credentials.name = files.credential
window same_file as (partition by coalesce(files.provider, credentials.base_url), file_id)
qualify row_number() over (
    partition by coalesce(files.provider, credentials.base_url), file_id
    order by last_complete_at desc nulls last, files.credential
) = 1;

create temp view file_history as
select * exclude (next_at), next_at as valid_to
from (
    select
        credential, file_id, change, reason, changed_fields, provider, filename, bytes, purpose, status,
        status_details, mime_type, created_at, expires_at, extra, change_id, run_id, observed_at as valid_from,
        lead(observed_at) over (partition by credential, file_id order by change_id) as next_at
    from file_changes
)
where change <> 'deleted';

create temp view quota_use as
select
    credentials.name as credential, provider, coalesce(stored.files, 0) as files, quota_files,
    coalesce(stored.bytes, 0) as bytes, quota_bytes, coalesce(stored.unknown_sizes, 0) as unknown_sizes,
    greatest(coalesce(stored.files, 0) / quota_files, coalesce(stored.bytes, 0) / quota_bytes)::double as used
from credentials
left join (
    select credential, count(*) as files, sum(bytes)::bigint as bytes, count(*) - count(bytes) as unknown_sizes
    from files
    group by credential
) as stored on stored.credential = credentials.name
where active and (quota_files is not null or quota_bytes is not null);
