-- What the configured credentials hold, a file that several of them see counted once; NULL where none was ever listed.
select
    case when files > 0 or listed then files end as unique_files,
    case when files > 0 then bytes when listed then 0 end as unique_known_bytes
from (select count(*) as files, sum(bytes)::bigint as bytes from current_files)
cross join (select coalesce(bool_or(last_complete_at is not null), false) as listed from credentials where active);
