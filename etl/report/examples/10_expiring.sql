-- Expiring next week
select expires_at, filename, format_bytes(bytes) as size, purpose, credentials, file_id
from unique_files
where expires_at between now() and now() + interval 7 days
order by expires_at;
