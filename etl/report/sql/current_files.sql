-- What active credentials hold (of `shown_files`), each file once, as `unique_files` tells files apart, but much faster:
-- only what several of them see is sorted. Stale means: every credential that sees the file is stale.
create or replace temp table shared_files as
with placed as (
    select
        coalesce(files.provider, credentials.base_url) as place, files.provider, file_id, filename, bytes, purpose,
        created_at, expires_at, files.credential, freshness.stale, credentials.last_complete_at
    from shown_files as files
    join credentials on credentials.name = files.credential
    join freshness on freshness.credential = files.credential
    -- A hash finds all candidates, and a few too many.
    where credentials.active
        and hash(file_id) in (select hash(file_id) from shown_files group by hash(file_id) having count(*) > 1)
)
select
    * exclude (credential, stale, last_complete_at),
    list(credential order by credential) over same_file as credentials,
    bool_and(stale) over same_file as stale
from placed
window same_file as (partition by place, file_id)
qualify count(*) over same_file > 1
    and row_number() over (partition by place, file_id order by last_complete_at desc nulls last, credential) = 1;

create or replace temp view current_files as
select
    files.provider, files.file_id, files.filename, files.bytes, files.purpose, files.created_at, files.expires_at,
    [files.credential] as credentials, freshness.stale
from shown_files as files
join credentials on credentials.name = files.credential
join freshness on freshness.credential = files.credential
anti join shared_files
    on shared_files.file_id = files.file_id and shared_files.place = coalesce(files.provider, credentials.base_url)
where credentials.active
union all
select provider, file_id, filename, bytes, purpose, created_at, expires_at, credentials, stale
from shared_files;
