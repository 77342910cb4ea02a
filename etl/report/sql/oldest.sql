select credentials, file_id, filename, bytes, purpose, created_at
from current_files
where created_at is not null
order by created_at, file_id
limit $limit;
