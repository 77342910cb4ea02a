-- The files of a time before, with those that a first listing found later: they were there before we looked. Only what
-- sums are made of is read.
create or replace temp table former_files as
select
    credential, file_id, provider, cast(null as varchar) as filename, bytes, purpose,
    cast(null as timestamptz) as created_at, cast(null as timestamptz) as expires_at
from files_as_of($since)
union all by name
select credential, file_id, provider, bytes, purpose
from file_changes
where change = 'baseline' and observed_at > $since::timestamptz;

create or replace temp view shown_files as from former_files;
