-- what fills our quota, by team and purpose?
select labels ->> 'team' as team, purpose, count(*) as files, sum(bytes) as bytes
from {{ source('file_inventory', 'files') }}
join {{ source('file_inventory', 'credentials') }} on name = credential
where active
group by all
