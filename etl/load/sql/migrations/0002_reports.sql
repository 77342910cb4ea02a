-- What every step added up to, so that a history of years is read in no time.
create table change_totals (
    run_id varchar not null,
    observed_at timestamptz not null,
    credential varchar not null,
    change varchar not null,
    reason varchar,                     -- of a deletion: missing, expired
    changes bigint not null,
    files bigint not null,              -- more, or less, than before
    bytes bigint not null               -- the same, of files whose size is known
);

insert into change_totals
select
    run_id, observed_at, credential, change, reason, count(*),
    sum(case change when 'deleted' then -1 when 'updated' then 0 else 1 end),
    sum(if(change = 'deleted', 0, coalesce(bytes, 0)) - if(before is null or before = 'deleted', 0, coalesce(was, 0)))
from (
    select
        run_id, observed_at, credential, change, reason, bytes,
        lag(change) over versions as before,
        lag(bytes) over versions as was
    from file_changes
    window versions as (partition by credential, file_id order by change_id)
)
group by run_id, observed_at, credential, change, reason
order by observed_at, credential, change;

create table rule_results (
    run_id varchar not null,
    rule varchar not null,
    severity varchar not null,          -- warning, critical
    message varchar not null,
    offenders bigint,                   -- NULL: it could not be checked
    examples varchar[] not null,
    error varchar                       -- why it could not
);

alter table credentials add column quota_files bigint;
alter table credentials add column quota_bytes bigint;

-- How full the accounts are whose limits are known.
create view quota_use as
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

create or replace macro files_as_of(ts) as table
select
    credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, first_seen_at, observed_at as changed_at
from file_changes
join (
    select credential, max(change_id) as change_id, min(observed_at) as first_seen_at
    from file_changes
    where observed_at <= ts::timestamptz
    group by credential, file_id
) as latest using (credential, change_id)
where change <> 'deleted';
