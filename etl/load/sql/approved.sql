-- With its deletions applied, the listing that was held counts as complete.
update credentials
set last_complete_at = listings.finished_at
from listings
where credentials.name = $credential
    and listings.credential = $credential
    and listings.finished_at = credentials.last_attempt_at
    and listings.status = 'held';
