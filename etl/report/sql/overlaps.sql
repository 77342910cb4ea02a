-- Which credentials see the same files.
select credentials, count(*) as files, sum(bytes)::bigint as bytes, count(*) - count(bytes) as unknown_sizes
from shared_files
group by credentials
order by files desc, credentials;
