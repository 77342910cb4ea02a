-- Files that changed most often
select credential, file_id, any_value(filename) as filename, count(*) as versions, max(valid_from) as latest
from file_history
group by credential, file_id
order by versions desc, latest desc
limit 50;
