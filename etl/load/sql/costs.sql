select listings.credential, (epoch_us(listings.finished_at) - epoch_us(listings.started_at)) / 1e6 as seconds
from credentials
inner join listings
    on listings.credential = credentials.name and listings.finished_at = credentials.last_attempt_at;
