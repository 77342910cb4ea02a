-- The offenders of a rule that are there now, each once though several credentials see it.
select
    offenders.credential, files.provider, file_id, filename, bytes, purpose, created_at, expires_at, first_seen_at,
    last_complete_at as as_of
from (select distinct credential, file_id from offenders) as offenders
join files using (credential, file_id)
join credentials on credentials.name = offenders.credential
anti join held_deletions using (credential, file_id) -- most likely gone already
where active
qualify row_number() over (
    partition by coalesce(files.provider, base_url), file_id order by last_complete_at desc nulls last, credential
) = 1
order by credential, bytes desc nulls last, file_id;
