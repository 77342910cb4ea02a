select min(observed_at) as first, max(observed_at) as last
from file_changes
where credential in (select name from credentials where active);
