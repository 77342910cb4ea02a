-- Fields that came (+) for every known file that is listed, or that most of them had and none tells any more (-).
select coalesce(list(field), []) as fields
from (
    select field
    from (
        select
            unnest(come_and_gone) as field,
            (select count(*) from listed) - (select count(*) from difference where change = 'new') as known
        from difference
        where change = 'updated'
    )
    group by field, known
    having count(*) > $few
        and case
            when field[1] = '-' then not list_contains($told, field[2:]) and 2 * count(*) > known
            else count(*) = known
        end
);
