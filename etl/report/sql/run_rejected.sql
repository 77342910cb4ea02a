select credential, page, "position", reason, record, count(*) over () as total
from rejected_records
where run_id = $run_id
order by credential, page, "position"
limit $limit;
