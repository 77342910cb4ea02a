-- What a person decided about the held deletions of one credential, as differences.
create or replace temp table difference as
select credential, file_id, 'deleted' as change
from held_deletions
where credential = $credential;

delete from held_deletions where credential = $credential;
