-- The listing, with the fields that the API stopped telling as they were known.
select
    listed.file_id,
    case when list_contains($gone, 'provider') then known.provider else listed.provider end as provider,
    case when list_contains($gone, 'filename') then known.filename else listed.filename end as filename,
    case when list_contains($gone, 'bytes') then known.bytes else listed.bytes end as bytes,
    case when list_contains($gone, 'purpose') then known.purpose else listed.purpose end as purpose,
    case when list_contains($gone, 'status') then known.status else listed.status end as status,
    case when list_contains($gone, 'status_details') then known.status_details else listed.status_details end as status_details,
    case when list_contains($gone, 'mime_type') then known.mime_type else listed.mime_type end as mime_type,
    case when list_contains($gone, 'created_at') then known.created_at else listed.created_at end as created_at,
    case when list_contains($gone, 'expires_at') then known.expires_at else listed.expires_at end as expires_at,
    listed.extra
from listed
left join (select * from files where credential = $credential) as known on known.file_id = listed.file_id;
