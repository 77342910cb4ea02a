-- What came back is no longer held, nor what is there though unreadable; the rest stays held until a person decides.
delete from held_deletions
where (credential, file_id) in (select (credential, file_id) from listed)
    or (credential, file_id) in (select (credential, file_id) from present);
