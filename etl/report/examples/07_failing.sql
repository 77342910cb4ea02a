-- Failing credentials
select credential, verdict, reason, error, as_of, last_attempt_at
from freshness
where active and (stale or verdict <> 'complete' or verdict is null)
order by as_of nulls first;
