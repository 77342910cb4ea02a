select files.*, held_deletions.run_id as held_by
from files
left join held_deletions using (credential, file_id)
where files.credential = $credential and files.file_id = $file_id;
