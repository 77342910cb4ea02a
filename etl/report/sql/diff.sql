-- What differs between two times, whatever happened between them: what came and went again is not in it.
with moved as (
    select
        credential, file_id,
        max(change_id) filter (observed_at <= $since::timestamptz) as before_id,
        max(change_id) as after_id,
        arg_min(change, change_id) filter (observed_at > $since::timestamptz) as first_change
    from file_changes
    where observed_at <= $until::timestamptz and ($credential is null or credential = $credential)
    group by credential, file_id
    having max(observed_at) > $since::timestamptz
),
versions as (
    select
        moved.credential, moved.file_id, first_change, was, became,
        was is not null and was.change <> 'deleted' as before,
        became.change <> 'deleted' as after
    from moved
    join (
        select change_id, struct_pack(
            change, reason, provider, filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at
        ) as became
        from file_changes
    ) as latest on latest.change_id = after_id
    left join (
        select change_id, struct_pack(
            change, reason, provider, filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at
        ) as was
        from file_changes
    ) as earlier on earlier.change_id = before_id
),
compared as (
    select
        *,
        list_filter([
            case when was.provider is distinct from became.provider then 'provider' end,
            case when was.filename is distinct from became.filename then 'filename' end,
            case when was.bytes is distinct from became.bytes then 'bytes' end,
            case when was.purpose is distinct from became.purpose then 'purpose' end,
            case when was.status is distinct from became.status then 'status' end,
            case when was.status_details is distinct from became.status_details then 'status_details' end,
            case when was.mime_type is distinct from became.mime_type then 'mime_type' end,
            case when was.created_at is distinct from became.created_at then 'created_at' end,
            case when was.expires_at is distinct from became.expires_at then 'expires_at' end
        ], lambda field: field is not null) as differing
    from versions
)
select
    credential, file_id,
    case
        when before and after then 'updated'
        when before then 'deleted'
        when was is not null then 'restored'
        when first_change = 'baseline' then 'baseline'
        else 'created'
    end as change,
    case when before and not after then became.reason end as reason,
    case when before and after then differing end as changed_fields,
    became.filename as filename, became.purpose as purpose, became.status as status,
    case when before then was.bytes end as bytes_before, case when after then became.bytes end as bytes,
    became.created_at as created_at, became.expires_at as expires_at
from compared
where (before or after) and (before <> after or len(differing) > 0)
order by credential, change, file_id;
