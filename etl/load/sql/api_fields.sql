-- Fields that came (+) for every known file that is listed, or that most of them had and none tells any more (-).
select credential, list(field) as fields
from (
    select credential, field, count(*) as times
    from (select credential, unnest(come_and_gone) as field from difference where change = 'updated')
    group by all
)
join (
    select credential, few, told, files - count(*) filter (change = 'new') as known
    from batch
    join difference using (credential)
    group by credential, few, told, files
) using (credential)
where times > few
    and case
        when field[1] = '-' then not list_contains(told, field[2:]) and 2 * times > known
        else times = known
    end
group by credential;
