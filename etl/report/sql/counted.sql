select
    name as credential, labels, as_of,
    stale or not freshness.active as stale  -- what is listed no more is not fresh
from credentials
join freshness on freshness.credential = credentials.name
where name = $credential or ($credential is null and credentials.active)
order by name;
