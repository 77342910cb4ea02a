-- What fills our quota?
select purpose, count(*) as files, format_bytes(sum(bytes)::bigint) as size, count(*) - count(bytes) as unknown_sizes
from unique_files
group by purpose
order by sum(bytes) desc nulls last;
