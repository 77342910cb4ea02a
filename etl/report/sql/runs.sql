select run_id, "trigger", started_at, finished_at, status, totals
from runs
where $before is null or started_at < $before
order by started_at desc
limit $limit;
