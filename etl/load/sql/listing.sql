-- Note what listings brought (`outcomes`).
insert into listings by name from outcomes;

update credentials
set last_attempt_at = finished_at,
    last_complete_at = if(status = 'complete', finished_at, last_complete_at)
from outcomes
where name = outcomes.credential;

-- What is missing may be judged only by listings of one scope.
update credentials
set scope = case
    when status in ('complete', 'held') or credentials.scope is null then outcomes.scope
    when credentials.scope in (outcomes.scope, '{"rejected":' || outcomes.scope || '}') then credentials.scope
    when starts_with(credentials.scope::varchar, '{"rejected":') then '{"rejected":"mixed"}'
    else '"mixed"'
end
from outcomes
where name = outcomes.credential and status in ('complete', 'held', 'incomplete');
