select name, pg_try_advisory_lock(hashtextextended(name, 0)) as taken from unnest(%(names)s::text[]) as name
