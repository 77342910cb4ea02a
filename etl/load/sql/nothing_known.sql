-- Of which credentials no listing brought anything yet.
select name as credential
from credentials
where scope is null and name in (select credential from batch);
