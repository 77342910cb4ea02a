-- Files of one name and size that are not one file: likely uploaded more than once.
with again as (
    select filename, bytes, count(*) as files, bytes * (count(*) - 1) as spare_bytes
    from current_files
    where filename is not null and bytes > 0
    group by filename, bytes
    having count(*) > 1
    order by spare_bytes desc, filename
    limit $limit
)
select
    filename, bytes, files, spare_bytes, list_sort(list_distinct(flatten(list(credentials)))) as credentials,
    min(created_at) as first_created_at
from again
join current_files using (filename, bytes)
group by all
order by spare_bytes desc, filename;
