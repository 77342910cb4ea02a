-- What must never be: a file that is there twice, or two changes of one number, among what a run touched.
with mine as (
    select min(change_id) as first from file_changes where run_id = $run_id
),

twice as (
    select credential || ' has ' || file_id || ' twice' as breach
    from files
    where credential in (select distinct credential from file_changes where run_id = $run_id)
    group by credential, file_id
    having count(*) > 1
    union all
    select 'two changes have the number ' || change_id
    from file_changes
    where change_id >= (select first from mine)
    group by change_id
    having count(*) > 1
)

select min(breach) as breach from twice;
