-- The first files ever of one credential: all that is listed is new, and nothing is to be compared.
insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + row_number() over (), $run_id, $observed_at, $credential,
    file_id, $change, null, null, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra
from listed;

insert into change_totals
select $run_id, $observed_at, $credential, $change, null, count(*), count(*), coalesce(sum(bytes), 0)
from listed
having count(*) > 0;

insert into files
select
    $credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, $observed_at, $observed_at
from listed;
