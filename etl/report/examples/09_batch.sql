-- Largest batch outputs
select filename, format_bytes(bytes) as size, created_at, credentials, file_id
from unique_files
where purpose = 'batch_output'
order by bytes desc nulls last
limit 50;
