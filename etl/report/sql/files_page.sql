-- One page of files, each once though several credentials see it, in the order of their creation: those whose
-- creation is not told are the oldest. Nothing in the order moves when other files come or go.
with seen as not materialized (
    select shown.*, coalesce(shown.provider, credentials.base_url) as account, credentials.last_complete_at as as_of
    from (
        from files where $as_of is null
        union all by name
        from files_as_of($as_of) where $as_of is not null
    ) as shown
    join credentials on credentials.name = shown.credential
    where list_contains($credentials, credential) and ($purpose is null or purpose = $purpose)
),
placed as (
    select coalesce(epoch_us(min(created_at)), -9223372036854775807) as made, file_id, account
    from seen
    group by file_id, account
),
page as (
    from placed
    where $made is null
        or ($ascending and (made, file_id, account) > ($made, $file_id, $account))
        or (not $ascending and (made, file_id, account) < ($made, $file_id, $account))
    order by
        case when $ascending then made end, case when $ascending then file_id end,
        case when $ascending then account end,
        made desc, file_id desc, account desc
    limit $limit
),
twins as (
    select file_id
    from placed
    where file_id in (select file_id from page)
    group by file_id
    having count(*) > 1
),
-- What the credential says that was listed completely last.
told as (
    select
        page.made, seen.*,
        min(seen.created_at) over same_file as made_at,
        min(first_seen_at) over same_file as seen_since,
        list(credential order by credential) over same_file as credentials
    from page
    join seen using (file_id, account)
    window same_file as (partition by file_id, account)
    qualify row_number() over (partition by file_id, account order by as_of desc nulls last, credential) = 1
)
select
    file_id as id, bytes, epoch(made_at)::bigint as created_at, epoch(expires_at)::bigint as expires_at, filename,
    purpose, status, status_details, provider, credentials, seen_since as first_seen_at,
    file_id in (from twins) as has_twin
from told
order by
    case when $ascending then made end, case when $ascending then file_id end, case when $ascending then account end,
    made desc, file_id desc, account desc;
