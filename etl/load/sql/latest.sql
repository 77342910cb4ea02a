-- The newest time in the store, in microseconds since 1970: no later entry may be older.
select epoch_us(greatest(
    to_timestamp(0),
    (select max(greatest(started_at, finished_at)) from runs),
    (select max(finished_at) from listings),
    (select max(observed_at) from file_changes)
)) as microseconds;
