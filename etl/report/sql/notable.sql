-- The largest files that came or went since a time, the largest first.
select file_changes.*
from file_changes
join credentials on name = credential and active
where observed_at >= $since and change in ('created', 'deleted', 'restored')
order by bytes desc nulls last, change_id desc
limit $limit;
