select credential, run_id, status, reason, error, started_at, finished_at, records
from listings
where credential in (select name from credentials where active)
qualify row_number() over (partition by credential order by started_at desc) <= $listings
order by credential, started_at;
