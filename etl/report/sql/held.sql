select
    held_deletions.credential,
    min(held_deletions.run_id) as run_id,
    count(*) as files,
    sum(files.bytes)::bigint as bytes,
    count(*) - count(files.bytes) as unknown_sizes,
    (list(
        {file_id: held_deletions.file_id, filename: files.filename, bytes: files.bytes, purpose: files.purpose}
        order by files.bytes desc nulls last, held_deletions.file_id
    ))[:$preview] as preview,
    any_value(freshness.error) as error
from held_deletions
left join files using (credential, file_id)
left join freshness on freshness.credential = held_deletions.credential
group by held_deletions.credential
order by held_deletions.credential;
