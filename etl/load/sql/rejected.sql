-- A record that stays bad is noted once, not once a run.
insert into rejected_records
select $run_id, $credential, page, "position", reason, record
from bad
where (reason, record) not in (select (reason, record) from rejected_records where credential = $credential);
