-- The files of one id, one for each provider that uses it.
select
    file_id as id, bytes, epoch(min(created_at) over same_file)::bigint as created_at,
    epoch(expires_at)::bigint as expires_at, filename, purpose, status, status_details, files.provider,
    list(credential order by credential) over same_file as credentials,
    min(first_seen_at) over same_file as first_seen_at
from files
join credentials on credentials.name = files.credential
where file_id = $file_id and list_contains($credentials, credential)
window same_file as (partition by coalesce(files.provider, base_url))
qualify row_number() over (
    partition by coalesce(files.provider, base_url) order by last_complete_at desc nulls last, credential
) = 1
order by credential;
