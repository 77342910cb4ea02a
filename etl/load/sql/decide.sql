-- Give every difference of what is applied (`batch`) its final word.
delete from difference where credential not in (select credential from batch);

update difference set change = case
    when (difference.credential, file_id) in (
        select (credential, file_id)
        from file_changes
        where change = 'deleted' and credential in (select credential from batch)
    ) then 'restored'
    when batch.first then 'baseline'
    else 'created'
end
from batch
where batch.credential = difference.credential and change = 'new';

-- A listing that is not complete says nothing about what it lacks.
delete from difference
where change = 'missing' and credential in (select credential from batch where not complete);

update difference set change = case
    when batch.hold or (difference.credential, file_id) in (select (credential, file_id) from held_deletions) then 'held'
    else 'deleted'
end
from batch
where batch.credential = difference.credential and change = 'missing';

insert into held_deletions
select $run_id, credential, file_id
from difference
where change = 'held' and (credential, file_id) not in (select (credential, file_id) from held_deletions);
