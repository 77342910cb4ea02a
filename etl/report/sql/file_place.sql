-- Where in the order of files a page ended, given the id of its last file: that file may be on the list, may have left
-- it, or may be gone. Of several with this id it is the one known longest: a page ends at none that has a twin.
select made, file_id, account
from (
    select
        file_id, coalesce(shown.provider, base_url) as account, min(first_seen_at) as since,
        coalesce(epoch_us(min(created_at)), -9223372036854775807) as made,
        case when asked then 0 else 1 end as nearness
    from (
        select
            files.*,
            list_contains($credentials, credential) and ($purpose is null or purpose = $purpose) as asked
        from files
        where file_id = $after
    ) as shown
    join credentials on credentials.name = shown.credential
    group by all
    union all by name
    select
        file_id, coalesce(changed.provider, base_url) as account, min(observed_at) as since,
        coalesce(epoch_us(arg_max_null(created_at, change_id)), -9223372036854775807) as made, 2 as nearness
    from file_changes as changed
    join credentials on credentials.name = changed.credential
    where file_id = $after
    group by all
)
order by nearness, since, account
limit 1;
