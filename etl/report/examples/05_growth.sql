-- Growth per month
select date_trunc('month', created_at)::date as "month", count(*) as files, format_bytes(sum(bytes)::bigint) as size
from unique_files
where created_at is not null
group by all
order by "month" desc;
