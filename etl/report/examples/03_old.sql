-- Files older than 180 days, by purpose
select purpose, count(*) as files, format_bytes(sum(bytes)::bigint) as size, min(created_at) as oldest
from unique_files
where created_at < now() - interval 180 days
group by purpose
order by sum(bytes) desc nulls last;
