select name, type, provider, base_url, labels, key_fingerprint, active, stale_after, last_attempt_at, last_complete_at
from credentials
where name = $credential;
