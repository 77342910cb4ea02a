create table credentials (
    name varchar not null,
    type varchar not null,
    provider varchar,
    base_url varchar not null,
    labels json,
    key_fingerprint varchar,
    active boolean not null,
    stale_after double not null,        -- seconds
    scope json,                         -- which files the last listing could show
    last_attempt_at timestamptz,
    last_complete_at timestamptz
);

create table runs (
    run_id varchar not null,
    "trigger" varchar not null,
    started_at timestamptz not null,
    finished_at timestamptz,
    status varchar not null,            -- running, complete, partial, failed, interrupted
    totals json
);

create table listings (
    run_id varchar not null,
    credential varchar not null,
    status varchar not null,            -- complete, held, incomplete, failed, unsupported
    reason varchar,
    started_at timestamptz not null,
    finished_at timestamptz not null,
    pages bigint not null,
    requests bigint not null,
    retries bigint not null,
    bytes_received bigint not null,
    records bigint not null,            -- = baseline + created + updated + restored + unchanged
    baseline bigint not null,
    created bigint not null,
    updated bigint not null,
    deleted bigint not null,
    restored bigint not null,
    unchanged bigint not null,
    held bigint not null,
    rejected bigint not null,
    first_id varchar,
    last_id varchar,
    scope json not null,                -- which files it could show
    error varchar
);

create table files (
    credential varchar not null,
    file_id varchar not null,
    provider varchar,
    filename varchar,
    bytes bigint,
    purpose varchar,
    status varchar,
    status_details varchar,
    mime_type varchar,
    created_at timestamptz,
    expires_at timestamptz,
    extra json,
    first_seen_at timestamptz not null,
    changed_at timestamptz not null
);

create table file_changes (
    change_id bigint not null,
    run_id varchar not null,
    observed_at timestamptz not null,
    credential varchar not null,
    file_id varchar not null,
    change varchar not null,            -- baseline, created, updated, deleted, restored
    reason varchar,                     -- of a deletion: missing, expired
    changed_fields varchar[],           -- of an update
    provider varchar,
    filename varchar,
    bytes bigint,
    purpose varchar,
    status varchar,
    status_details varchar,
    mime_type varchar,
    created_at timestamptz,
    expires_at timestamptz,
    extra json
);

create table held_deletions (
    run_id varchar not null,            -- the run that first held it
    credential varchar not null,
    file_id varchar not null
);

create table rejected_records (
    run_id varchar not null,            -- the run that first met it
    credential varchar not null,
    page bigint not null,
    "position" bigint not null,
    reason varchar not null,
    record varchar not null
);

create view file_history as
select * exclude (next_at), next_at as valid_to
from (
    select
        credential, file_id, change, reason, changed_fields, provider, filename, bytes, purpose, status,
        status_details, mime_type, created_at, expires_at, extra, change_id, run_id, observed_at as valid_from,
        lead(observed_at) over (partition by credential, file_id order by change_id) as next_at
    from file_changes
)
where change <> 'deleted';

create macro files_as_of(ts) as table
select
    credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, first_seen_at, observed_at as changed_at
from (
    select
        *,
        row_number() over (partition by credential, file_id order by change_id desc) as nth,
        min(observed_at) over (partition by credential, file_id) as first_seen_at
    from file_changes
    where observed_at <= ts::timestamptz
)
where nth = 1 and change <> 'deleted';

-- A file id is unique only within its provider; where that is not told, within its server.
create view unique_files as
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

create view freshness as
select
    credentials.name as credential,
    credentials.last_complete_at as as_of,
    listings.status as verdict,
    listings.reason,
    listings.error,
    credentials.last_attempt_at,
    credentials.active
        and coalesce(
            credentials.last_complete_at < now() - to_seconds(credentials.stale_after)
            or credentials.last_complete_at > now() + interval 1 hour,  -- a clock was wrong
            true
        ) as stale,
    credentials.active
from credentials
left join listings
    on listings.credential = credentials.name and listings.finished_at = credentials.last_attempt_at;
