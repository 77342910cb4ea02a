select application_name
from pg_locks
join pg_stat_activity using (pid)
where locktype = 'advisory' and granted and objsubid = 1
    and pg_locks.database = (select oid from pg_database where datname = current_database())
    and (classid::bigint << 32 | objid::bigint) = hashtextextended(%(name)s, 0)
limit 1
