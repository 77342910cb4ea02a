-- Write the decided differences of some credentials to the log, then to the files.
insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + row_number() over (), $run_id, observed_at, credential,
    file_id, change, null, changed_fields, provider, filename, bytes, purpose, status, status_details, mime_type,
    created_at, expires_at, extra
from difference
join batch using (credential)
where change in ('baseline', 'created', 'restored') or (change = 'updated' and len(changed_fields) > 0);

insert into change_totals
select
    $run_id, observed_at, credential, change, null,
    count(*) filter (change <> 'updated' or len(changed_fields) > 0),
    count(*) filter (change <> 'updated'), sum(coalesce(bytes, 0) - coalesce(bytes_before, 0))
from difference
join batch using (credential)
where change in ('baseline', 'created', 'restored', 'updated')
group by credential, observed_at, change
order by credential, change;

insert into files
select
    credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, observed_at, observed_at
from difference
join batch using (credential)
where change in ('baseline', 'created');

insert into files
select
    credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, seen.first_seen_at, observed_at
from difference
join batch using (credential)
join (
    select credential, file_id, min(observed_at) as first_seen_at
    from file_changes
    semi join (from difference where change = 'restored') using (credential, file_id)
    group by credential, file_id
) as seen using (credential, file_id)
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
    changed_at = case when len(changed_fields) > 0 then new.observed_at else files.changed_at end
from (from difference join batch using (credential) where change = 'updated') as new
where files.credential = new.credential and files.file_id = new.file_id;
