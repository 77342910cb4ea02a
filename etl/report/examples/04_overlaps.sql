-- Which credentials see the same files?
select credentials, count(*) as files, format_bytes(sum(bytes)::bigint) as size
from unique_files
where len(credentials) > 1
group by credentials
order by files desc;
