select * exclude (credential, file_id), lead(observed_at) over (order by change_id) as valid_to
from file_changes
where credential = $credential and file_id = $file_id
order by change_id;
