-- Write the decided differences of one credential to the log, then to the files.
insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + row_number() over (), $run_id, $observed_at, $credential,
    file_id, change, null, changed_fields, provider, filename, bytes, purpose, status, status_details, mime_type,
    created_at, expires_at, extra
from difference
where change in ('baseline', 'created', 'restored') or (change = 'updated' and len(changed_fields) > 0);

insert into change_totals
select
    $run_id, $observed_at, $credential, change, null,
    count(*) filter (change <> 'updated' or len(changed_fields) > 0),
    count(*) filter (change <> 'updated'), sum(coalesce(bytes, 0) - coalesce(bytes_before, 0))
from difference
where change in ('baseline', 'created', 'restored', 'updated')
group by change
order by change;

insert into files
select
    $credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, $observed_at, $observed_at
from difference
where change in ('baseline', 'created');

insert into files
select
    $credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, seen.first_seen_at, $observed_at
from difference
join (
    select file_id, min(observed_at) as first_seen_at
    from file_changes
    where credential = $credential and file_id in (select file_id from difference where change = 'restored')
    group by file_id
) as seen using (file_id)
where change = 'restored';

update files
set
    provider = new.provider,
    filename = new.filename,
    bytes = new.bytes,
    purpose = new.purpose,
    status = new.status,
    status_details = new.status_details,
    mime_type = new.mime_type,
    created_at = new.created_at,
    expires_at = new.expires_at,
    extra = case when len(changed_fields) > 0 then new.extra else files.extra end,
    changed_at = case when len(changed_fields) > 0 then $observed_at else files.changed_at end
from difference as new
where change = 'updated' and files.credential = $credential and files.file_id = new.file_id;
