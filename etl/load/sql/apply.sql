-- Write the decided differences of one credential to the log, then to the files.
insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + row_number() over (), $run_id, $observed_at, $credential,
    listed.file_id, change, null, changed_fields, provider, filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at,
    extra
from difference join listed using (file_id)
where change in ('baseline', 'created', 'restored') or (change = 'updated' and len(changed_fields) > 0);

insert into files
select
    $credential, listed.file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, $observed_at, $observed_at
from difference join listed using (file_id)
where change in ('baseline', 'created');

insert into files
select
    $credential, listed.file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, seen.first_seen_at, $observed_at
from difference
join listed using (file_id)
join (
    select file_id, min(observed_at) as first_seen_at
    from file_changes
    where credential = $credential and file_id in (select file_id from difference where change = 'restored')
    group by file_id
) as seen using (file_id)
where change = 'restored';

update files
set
    provider = listed.provider,
    filename = listed.filename,
    bytes = listed.bytes,
    purpose = listed.purpose,
    status = listed.status,
    status_details = listed.status_details,
    mime_type = listed.mime_type,
    created_at = listed.created_at,
    expires_at = listed.expires_at,
    extra = case when len(changed_fields) > 0 then listed.extra else files.extra end,
    changed_at = case when len(changed_fields) > 0 then $observed_at else files.changed_at end
from difference join listed using (file_id)
where change = 'updated' and files.credential = $credential and files.file_id = difference.file_id;
