select
    credentials, file_id, filename, bytes, purpose, expires_at, expires_at < $now as overdue, count(*) over () as total
from current_files
where expires_at < $until
order by expires_at, file_id
limit $limit;
