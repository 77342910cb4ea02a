-- By provider, purpose, credential and each label key. What several credentials see counts for each of them.
with grouped as (
    select
        provider, purpose, credentials, stale, count(*) as files, sum(bytes)::bigint as bytes,
        count(*) - count(bytes) as unknown_sizes
    from current_files
    group by all
),
label_keys as (
    select distinct unnest(json_keys(labels)) as label from credentials where active
),
labelled as (
    select distinct label, labels ->> label as name, seen.credentials
    from (select distinct credentials, unnest(credentials) as credential from grouped) as seen
    join credentials on credentials.name = seen.credential
    cross join label_keys
),
named as (
    select 'provider' as kind, provider as name, grouped.* from grouped
    union all by name
    select 'purpose' as kind, purpose as name, grouped.* from grouped
    union all by name
    select 'credential' as kind, unnest(credentials) as name, grouped.* from grouped
    union all by name
    select 'label ' || labelled.label as kind, labelled.name, grouped.* from grouped join labelled using (credentials)
)
select
    kind, name, sum(files)::bigint as files, sum(bytes)::bigint as bytes,
    sum(unknown_sizes)::bigint as unknown_sizes, coalesce(sum(files) filter (stale), 0)::bigint as stale_files
from named
group by kind, name
order by kind, bytes desc nulls last, files desc, name;
