select change, count(*) as changes
from file_changes
where observed_at >= $since and credential in (select name from credentials where active)
group by change;
