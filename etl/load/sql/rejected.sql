-- A record that stays bad is noted once, not once a run.
insert into rejected_records
select $run_id, credential, page, "position", reason, record
from bad
where (credential, reason, record) not in (select (credential, reason, record) from rejected_records);
