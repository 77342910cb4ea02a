-- What each stretch of time, so many microseconds wide, added to the files and bytes of active credentials. Only files
-- whose size changed need the version before; they are told by their hash, and a few too many do no harm.
with seen as (
    select *, hash(credential, file_id) as file
    from file_changes
    where credential in (select name from credentials where active)
),
resized as (
    select file from seen where list_contains(changed_fields, 'bytes')
    union all
    select file from seen where bytes is not null and file in (select file from seen where bytes is null)
),
differences as (
    select
        observed_at,
        change,
        case when change = 'deleted' then -bytes when change <> 'updated' then bytes end as bytes
    from seen
    where file not in (from resized)
    union all
    select
        observed_at,
        change,
        if(change = 'deleted', 0, coalesce(bytes, 0))
        - coalesce(if(lag(change) over versions = 'deleted', 0, lag(bytes) over versions), 0) as bytes
    from seen
    where file in (from resized)
    window versions as (partition by credential, file_id order by change_id)
)
select
    make_timestamptz(epoch_us(observed_at) // $width * $width) as "at",
    change,
    count(*) as changes,
    sum(case when change = 'deleted' then -1 when change = 'updated' then 0 else 1 end)::bigint as files,
    coalesce(sum(bytes), 0)::bigint as bytes
from differences
group by "at", change
order by "at", change;
