-- The newest time in the store: no later entry may be older.
select greatest(
    (select max(finished_at) from runs),
    (select max(finished_at) from listings),
    (select max(observed_at) from file_changes)
) as latest;
