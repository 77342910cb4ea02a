insert into listings by name
select
    $run_id as run_id, $credential as credential, $status as status, $reason as reason, $started_at as started_at,
    $finished_at as finished_at, $pages as pages, $requests as requests, $retries as retries,
    $bytes_received as bytes_received, $records as records, $baseline as baseline, $created as created,
    $updated as updated, $deleted as deleted, $restored as restored, $unchanged as unchanged, $held as held,
    $rejected as rejected, $first_id as first_id, $last_id as last_id, $scope as scope,
    $error as error;

update credentials
set last_attempt_at = $finished_at
where name = $credential;

update credentials
set last_complete_at = $finished_at
where name = $credential and $status = 'complete';

-- What is missing may be judged only by listings of one scope.
update credentials
set scope = case
    when $status in ('complete', 'held') or scope is null then $scope
    when scope in ($scope, '{"rejected":' || $scope || '}') then scope
    when starts_with(scope::varchar, '{"rejected":') then '{"rejected":"mixed"}'
    else '"mixed"'
end
where name = $credential and $status in ('complete', 'held', 'incomplete');
