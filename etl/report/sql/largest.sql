select credentials, file_id, filename, bytes, purpose, created_at
from current_files
where bytes is not null
order by bytes desc, file_id
limit $limit;
