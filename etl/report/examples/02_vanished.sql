-- What vanished this week?
select observed_at, credential, filename, bytes, purpose, reason, file_id
from file_changes
where change = 'deleted' and observed_at >= now() - interval 7 days
order by change_id desc;
