select change, reason, sum(changes)::bigint as changes, sum(bytes)::bigint as bytes
from change_totals
where observed_at >= $since and credential in (select name from credentials where active)
group by change, reason
having sum(changes) > 0
order by change, reason;
