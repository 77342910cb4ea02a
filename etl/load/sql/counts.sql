select
    count(*) filter (change = 'new') as "new",
    count(*) filter (change = 'updated' and len(changed_fields) > 0) as updated,
    count(*) filter (change = 'missing') as missing,
    (
        select count(*) from files
        where credential = $credential and ($purpose is null or purpose = $purpose)
    ) as known,
    (
        select scope is not null and scope <> $scope from credentials where name = $credential
    ) as scope_changed,
    (
        select last_complete_at is null from credentials where name = $credential
    ) as first
from difference;
