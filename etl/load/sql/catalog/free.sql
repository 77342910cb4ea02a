select pg_advisory_unlock(hashtextextended(name, 0)) from unnest(%(names)s::text[]) as name
