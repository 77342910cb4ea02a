-- Log and carry out the decided deletions of some credentials: the last known record stays in the log.
create or replace temp table lost as
select files.*, observed_at, if(has_expired(provider, created_at, expires_at, observed_at), 'expired', 'missing') as reason
from files
semi join (from difference where change = 'deleted') using (credential, file_id)
join batch using (credential);

insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + row_number() over (), $run_id, observed_at, credential,
    file_id, 'deleted', reason, null, provider, filename, bytes, purpose, status, status_details, mime_type,
    created_at, expires_at, extra
from lost;

insert into change_totals
select $run_id, observed_at, credential, 'deleted', reason, count(*), -count(*), -coalesce(sum(bytes), 0)
from lost
group by credential, observed_at, reason;

delete from files
using lost
where files.credential = lost.credential and files.file_id = lost.file_id;
