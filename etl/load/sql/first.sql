-- The first files ever of some credentials: all that is listed is new, and nothing is to be compared.
insert into file_changes
select
    (select coalesce(max(change_id), 0) from file_changes) + nth, $run_id, observed_at, credential, file_id,
    if(first, 'baseline', 'created'), null, null, provider, filename, bytes, purpose, status, status_details,
    mime_type, created_at, expires_at, extra
from listed
join batch using (credential)
where all_new;

insert into change_totals
select
    $run_id, observed_at, credential, if(first, 'baseline', 'created'), null, count(*), count(*),
    coalesce(sum(bytes), 0)
from listed
join batch using (credential)
where all_new
group by credential, observed_at, first;

insert into files
select
    credential, file_id, provider, filename, bytes, purpose, status, status_details, mime_type, created_at,
    expires_at, extra, observed_at, observed_at
from listed
join batch using (credential)
where all_new;
