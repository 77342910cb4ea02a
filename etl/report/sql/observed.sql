select min(observed_at) as first, max(observed_at) as last
from change_totals
where credential in (select name from credentials where active);
