select
    batch.credential,
    coalesce(found.touched, 0) as touched,
    coalesce(waiting.held, 0) as held,
    coalesce(found.missing, 0) as missing,
    coalesce(there.known, 0) as known,
    coalesce(found.expired, 0) as expired,
    last_complete_at is null as first,
    scope::varchar as scope
from batch
join credentials on credentials.name = batch.credential
left join (
    select
        credential, count(*) as touched, count(*) filter (change = 'missing') as missing,
        count(*) filter (expired) as expired
    from difference
    group by credential
) as found using (credential)
left join (select credential, count(*) as held from held_deletions group by credential) as waiting using (credential)
left join (
    select credential, count(*) filter (batch.purpose is null or coalesce(files.purpose, batch.purpose) = batch.purpose) as known
    from files
    join batch using (credential)
    group by credential
) as there using (credential);
