-- Files as of a date
select credential, count(*) as files, format_bytes(sum(bytes)::bigint) as size
from files_as_of(current_date - 7)
group by credential
order by credential;
