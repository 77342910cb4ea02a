select file_id, filename, bytes, purpose, status, created_at, expires_at, first_seen_at, changed_at
from files
where credential = $credential
    and ($text is null or contains(lower(filename), lower($text)) or file_id = $text)
order by created_at desc nulls last, file_id
limit $limit offset $offset;
