-- Log and carry out the decided deletions of one credential: the last known record stays in the log.
insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + row_number() over (), $run_id, $observed_at, $credential,
    file_id, 'deleted',
    if(has_expired(provider, created_at, expires_at, $observed_at), 'expired', 'missing'), null,
    provider, filename, bytes, purpose, status, status_details, mime_type, created_at, expires_at, extra
from files
where credential = $credential and file_id in (select file_id from difference where change = 'deleted');

insert into change_totals
select
    $run_id, $observed_at, $credential, 'deleted',
    if(has_expired(provider, created_at, expires_at, $observed_at), 'expired', 'missing'), count(*), -count(*), -coalesce(sum(bytes), 0)
from files
where credential = $credential and file_id in (select file_id from difference where change = 'deleted')
group by all;

delete from files
where credential = $credential and file_id in (select file_id from difference where change = 'deleted');
