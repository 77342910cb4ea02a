select
    credential, file_id, filename, bytes, purpose, status, created_at, expires_at, provider, mime_type, first_seen_at,
    changed_at
from files
where ($credential is null or credential = $credential)
    and ($purpose is null or purpose = $purpose)
    and ($text is null or contains(lower(filename), lower($text)) or file_id = $text)
order by credential, created_at desc nulls last, file_id;
