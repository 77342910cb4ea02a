select
    count(*) as files, sum(bytes)::bigint as bytes, count(*) - count(bytes) as unknown_sizes,
    count(*) filter (stale) as stale_files, min(created_at) as oldest,
    count(*) filter (len(credentials) > 1) as shared_files
from current_files;
