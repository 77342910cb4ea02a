-- What active credentials hold now, each file once, as `unique_files` tells files apart but in half the time: only
-- what several credentials see is sorted. Stale means: every credential that sees the file is stale.
create or replace temp table current_files as
with placed as (
    select
        coalesce(files.provider, credentials.base_url) as place, files.provider, file_id, filename, bytes, purpose,
        created_at, expires_at, files.credential, freshness.stale, credentials.last_complete_at
    from files
    join credentials on credentials.name = files.credential
    join freshness on freshness.credential = files.credential
    where credentials.active
),
shared as (
    select place, file_id, list(credential order by credential) as credentials, bool_and(stale) as stale
    from placed
    group by place, file_id
    having count(*) > 1
)
select
    provider, file_id, filename, bytes, purpose, created_at, expires_at, [credential] as credentials, stale
from placed
anti join shared using (place, file_id)
union all
select
    placed.provider, file_id, placed.filename, placed.bytes, placed.purpose, placed.created_at, placed.expires_at,
    shared.credentials, shared.stale
from placed
join shared using (place, file_id)
qualify row_number() over (
    partition by place, file_id order by last_complete_at desc nulls last, credential
) = 1;
