-- What a listing (`listed`) says against what is known. Ids in $present are there, though unreadable.
create or replace temp table difference as
select
    coalesce(listed.file_id, known.file_id) as file_id,
    case
        when known.file_id is null then 'new'
        when listed.file_id is null then 'missing'
        else 'updated'
    end as change,
    case when listed.file_id is not null and known.file_id is not null then list_filter([
        case when listed.provider is distinct from known.provider then 'provider' end,
        case when listed.filename is distinct from known.filename then 'filename' end,
        case when listed.bytes is distinct from known.bytes then 'bytes' end,
        case when listed.purpose is distinct from known.purpose then 'purpose' end,
        case when listed.status is distinct from known.status then 'status' end,
        case when listed.status_details is distinct from known.status_details then 'status_details' end,
        case when listed.mime_type is distinct from known.mime_type then 'mime_type' end,
        case when listed.created_at is distinct from known.created_at then 'created_at' end,
        case when listed.expires_at is distinct from known.expires_at then 'expires_at' end,
        case when $track_extra and listed.extra is distinct from known.extra then 'extra' end
    ], lambda field: field is not null) end as changed_fields,
    case when listed.file_id is not null and known.file_id is not null then list_filter([
        case when (listed.provider is null) <> (known.provider is null) then 'provider' end,
        case when (listed.filename is null) <> (known.filename is null) then 'filename' end,
        case when (listed.bytes is null) <> (known.bytes is null) then 'bytes' end,
        case when (listed.purpose is null) <> (known.purpose is null) then 'purpose' end,
        case when (listed.status is null) <> (known.status is null) then 'status' end,
        case when (listed.status_details is null) <> (known.status_details is null) then 'status_details' end,
        case when (listed.mime_type is null) <> (known.mime_type is null) then 'mime_type' end,
        case when (listed.created_at is null) <> (known.created_at is null) then 'created_at' end,
        case when (listed.expires_at is null) <> (known.expires_at is null) then 'expires_at' end
    ], lambda field: field is not null) end as come_or_gone
from listed
full join (select * from files where credential = $credential) as known on known.file_id = listed.file_id
where known.file_id is null
    or (
        listed.file_id is null
        and ($purpose is null or known.purpose = $purpose)
        and known.file_id not in (select unnest(cast($present as varchar[])))
    )
    or (
        listed.file_id is not null
        and (
            listed.provider is distinct from known.provider
            or listed.filename is distinct from known.filename
            or listed.bytes is distinct from known.bytes
            or listed.purpose is distinct from known.purpose
            or listed.status is distinct from known.status
            or listed.status_details is distinct from known.status_details
            or listed.mime_type is distinct from known.mime_type
            or listed.created_at is distinct from known.created_at
            or listed.expires_at is distinct from known.expires_at
            or ($track_extra and listed.extra is distinct from known.extra)
        )
    );

-- A field that comes or goes for every one of many files is news about the API, not about the files.
update difference
set changed_fields = list_filter(changed_fields, lambda field: not list_contains(quiet.fields, field))
from (
    select list(field) as fields
    from (
        select field
        from (select unnest(come_or_gone) as field from difference where change = 'updated')
        group by field
        having count(*) > $count
            and count(*) = (select count(*) from listed) - (select count(*) from difference where change = 'new')
    )
    having count(*) > 0
) as quiet
where change = 'updated';
