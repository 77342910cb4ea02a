-- What each team stores, by purpose.
select
    credentials.labels ->> 'team' as team,
    files.purpose,
    count(*) as files,
    sum(files.bytes) as bytes
from {{ source('file_inventory', 'files') }} as files
join {{ source('file_inventory', 'credentials') }} as credentials on credentials.name = files.credential
where credentials.active
group by all
