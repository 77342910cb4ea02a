-- What listings (`listed`) of some credentials (`batch`) say against what is known.

-- One 64-bit hash stands for all that is compared, so that the join of everything is quick and holds little.
create or replace temp table touched as
select credential, file_id
from (
    select
        credential, file_id, provider,
        hash(
            filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at,
            if(list_contains($tracking, credential), extra::varchar, null)
        ) as digest
    from listed
) as listed
full join (
    select
        credential, file_id, provider,
        hash(
            filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at,
            if(list_contains($tracking, credential), extra::varchar, null)
        ) as digest
    from files
    where credential in (select credential from batch)
) as known using (credential, file_id)
where known.file_id is null
    or listed.file_id is null
    or listed.digest <> known.digest
    or listed.provider <> known.provider
    or (known.provider is null and listed.provider is not null);

-- A file is expected to be gone once its time has passed, but not if it was still listed a day after that.
-- What is `present`, though unreadable, is not missing.
create or replace temp table difference as
select
    credential,
    file_id,
    case
        when known.file_id is null then 'new'
        when listed.file_id is null then 'missing'
        else 'updated'
    end as change,
    case when listed.file_id is not null and known.file_id is not null then list_filter([
        case when listed.provider <> known.provider or known.provider is null and listed.provider is not null
            then 'provider' end,
        case when listed.filename is distinct from known.filename then 'filename' end,
        case when listed.bytes is distinct from known.bytes then 'bytes' end,
        case when listed.purpose is distinct from known.purpose then 'purpose' end,
        case when listed.status is distinct from known.status then 'status' end,
        case when listed.status_details is distinct from known.status_details then 'status_details' end,
        case when listed.mime_type is distinct from known.mime_type then 'mime_type' end,
        case when listed.created_at is distinct from known.created_at then 'created_at' end,
        case when listed.expires_at is distinct from known.expires_at then 'expires_at' end,
        case when list_contains($tracking, credential) and listed.extra is distinct from known.extra then 'extra' end
    ], lambda field: field is not null) end as changed_fields,
    case when listed.file_id is not null and known.file_id is not null then list_filter([
        case when known.provider is null and listed.provider is not null then '+provider'
            when listed.provider is null and known.provider is not null then '-provider' end,
        case when known.filename is null and listed.filename is not null then '+filename'
            when listed.filename is null and known.filename is not null then '-filename' end,
        case when known.bytes is null and listed.bytes is not null then '+bytes'
            when listed.bytes is null and known.bytes is not null then '-bytes' end,
        case when known.purpose is null and listed.purpose is not null then '+purpose'
            when listed.purpose is null and known.purpose is not null then '-purpose' end,
        case when known.status is null and listed.status is not null then '+status'
            when listed.status is null and known.status is not null then '-status' end,
        case when known.status_details is null and listed.status_details is not null then '+status_details'
            when listed.status_details is null and known.status_details is not null then '-status_details' end,
        case when known.mime_type is null and listed.mime_type is not null then '+mime_type'
            when listed.mime_type is null and known.mime_type is not null then '-mime_type' end,
        case when known.created_at is null and listed.created_at is not null then '+created_at'
            when listed.created_at is null and known.created_at is not null then '-created_at' end,
        case when known.expires_at is null and listed.expires_at is not null then '+expires_at'
            when listed.expires_at is null and known.expires_at is not null then '-expires_at' end
    ], lambda field: field is not null) end as come_and_gone,
    known.bytes as bytes_before,
    listed.file_id is null
        and has_expired(known.provider, known.created_at, known.expires_at, batch.observed_at)
        and not has_expired(
            known.provider, known.created_at, known.expires_at, credentials.last_complete_at - interval 1 day
        ) as expired,
    listed.* exclude (credential, file_id, nth) replace (coalesce(listed.provider, known.provider) as provider)
from (from listed semi join touched using (credential, file_id)) as listed
full join (
    from files semi join touched using (credential, file_id) where credential in (select credential from batch)
) as known using (credential, file_id)
join batch using (credential)
join credentials on credentials.name = batch.credential
where listed.file_id is not null
    or (
        (batch.purpose is null or coalesce(known.purpose, batch.purpose) = batch.purpose)
        and (batch.credential, known.file_id) not in (select (credential, file_id) from present)
    );
