-- Files of unknown size
select credential, purpose, count(*) as files
from files
where bytes is null
group by all
order by files desc;
