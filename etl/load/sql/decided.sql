-- What a person decided about the held deletions of one credential, as differences.
create or replace temp table difference as
select file_id, 'deleted' as change, cast(null as varchar[]) as changed_fields
from held_deletions
where credential = $credential;

delete from held_deletions where credential = $credential;
