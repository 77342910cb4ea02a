-- Fields that came (+) for every known file that is listed, or that no listed file tells any more (-).
select coalesce(list(field), []) as fields
from (
    select field
    from (select unnest(come_and_gone) as field from difference where change = 'updated')
    group by field
    having count(*) > $few
        and case
            when field[1] = '-' then not list_contains($told, field[2:])
            else count(*) = (select count(*) from listed) - (select count(*) from difference where change = 'new')
        end
);
