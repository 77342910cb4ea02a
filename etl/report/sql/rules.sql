-- What the rules found at the end of the latest run that checked any.
select
    rule_results.rule, severity, message, offenders, examples, error, runs.finished_at as checked_at,
    offenders is null as unchecked,
    case when offenders is null then 'unchecked' when offenders > 0 then 'broken' else 'kept' end as state
from rule_results
join runs using (run_id)
where run_id = (select max(run_id) from rule_results)
order by state = 'kept', severity, rule_results.rule;
