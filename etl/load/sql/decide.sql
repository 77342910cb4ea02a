-- Give every difference its final word.
update difference set change = case
    when file_id in (
        select file_id from file_changes where credential = $credential and change = 'deleted'
    ) then 'restored'
    when $first then 'baseline'
    else 'created'
end
where change = 'new';

-- A listing that is not complete says nothing about what it lacks.
delete from difference where change = 'missing' and not $complete;

-- What came back is no longer held; what was held stays held until a person decides.
delete from held_deletions
where credential = $credential
    and (
        file_id in (select file_id from listed)
        or file_id in (select unnest(cast($present as varchar[])))
    );

update difference set change = case
    when $hold or file_id in (select file_id from held_deletions where credential = $credential) then 'held'
    else 'deleted'
end
where change = 'missing';

insert into held_deletions
select $run_id, $credential, file_id
from difference
where change = 'held'
    and file_id not in (select file_id from held_deletions where credential = $credential);
