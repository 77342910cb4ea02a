select pg_advisory_lock(hashtextextended('turn', 0))
