-- The files of a time before, with those that a first listing found later: they were there before we looked.
create or replace temp table former_files as
from files_as_of($since)
union all by name
select * exclude (change_id, run_id, observed_at, change, reason, changed_fields), observed_at as first_seen_at,
    observed_at as changed_at
from file_changes
where change = 'baseline' and observed_at > $since::timestamptz;

create or replace temp view shown_files as from former_files;
