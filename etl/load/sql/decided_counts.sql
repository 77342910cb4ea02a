select
    credential,
    count(*) filter (change = 'baseline') as baseline,
    count(*) filter (change = 'created') as created,
    count(*) filter (change = 'updated' and len(changed_fields) > 0) as updated,
    count(*) filter (change = 'deleted') as deleted,
    count(*) filter (change = 'restored') as restored,
    count(*) filter (change = 'held') as held
from difference
group by credential;
