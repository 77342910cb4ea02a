-- What the credentials that are configured hold, a file that several of them see counted once.
select
    count(*) as unique_files,
    case when count(*) > 0 then sum(bytes)::bigint else 0 end as unique_known_bytes
from unique_files
where list_has_any(credentials, (select coalesce(list(name), []) from credentials where active));
