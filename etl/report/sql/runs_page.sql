-- A run's id begins with the time it began: a later run has a greater one.
select run_id, "trigger", started_at, finished_at, status, totals
from runs
where ($run_id is null or run_id = $run_id)
    and ($credential is null or run_id in (select run_id from listings where credential = $credential))
    and ($since is null or started_at >= $since)
    and ($until is null or started_at < $until)
    and ($after is null or case when $ascending then run_id > $after else run_id < $after end)
order by case when $ascending then run_id end, run_id desc
limit $limit;
