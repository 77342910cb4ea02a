select pg_advisory_unlock(hashtextextended('turn', 0))
