select listings.credential, epoch(listings.finished_at) - epoch(listings.started_at) as seconds
from credentials
inner join listings
    on listings.credential = credentials.name and listings.finished_at = credentials.last_attempt_at;
