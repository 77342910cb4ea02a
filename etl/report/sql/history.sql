-- What each stretch of time, so many microseconds wide, added to the files and bytes of active credentials.
select
    make_timestamptz(epoch_us(observed_at) // $width * $width) as "at", change, sum(changes)::bigint as changes,
    sum(files)::bigint as files, sum(bytes)::bigint as bytes
from change_totals
where credential in (select name from credentials where active)
group by "at", change
order by "at", change;
