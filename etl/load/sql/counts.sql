select
    (select count(*) from difference) as touched,
    (select count(*) from held_deletions where credential = $credential) as held,
    (select count(*) from difference where change = 'missing') as missing,
    (
        select count(*) from files
        where credential = $credential and ($purpose is null or coalesce(purpose, $purpose) = $purpose)
    ) as known,
    (select count(*) from difference where expired) as expired,
    last_complete_at is null as first,
    scope::varchar as scope
from credentials
where name = $credential;
