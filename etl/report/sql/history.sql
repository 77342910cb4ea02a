-- What each stretch of time added to the files and bytes of active credentials: one scan of the change log.
select
    date_trunc($step, observed_at) as "at",
    change,
    count(*) as changes,
    sum(case when change = 'deleted' then -1 when change = 'updated' then 0 else 1 end)::bigint as files,
    sum(coalesce(now_bytes, 0) - coalesce(if(was = 'deleted', null, was_bytes), 0))::bigint as bytes
from (
    select
        observed_at,
        change,
        if(change = 'deleted', null, bytes) as now_bytes,
        lag(bytes) over file as was_bytes,
        lag(change) over file as was
    from file_changes
    where credential in (select name from credentials where active)
    window file as (partition by credential, file_id order by change_id)
)
group by "at", change
order by "at", change;
