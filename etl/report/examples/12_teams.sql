-- Storage by team and environment
select labels ->> 'team' as team, labels ->> 'env' as env, count(*) as files, format_bytes(sum(bytes)::bigint) as size
from files
join credentials on name = credential
where active
group by all
order by sum(bytes) desc nulls last;
