-- What readers see of a lake, statement by statement: its tables without the columns that a lake adds unseen
-- (filename, rowid and others would make names in joins ambiguous), and its views and macros over those.
select 'create view inventory.' || table_name || ' as from lake.' || table_name as statement
from duckdb_tables()
where database_name = 'lake' and schema_name = 'main'
union all
select sql
from duckdb_views()
where database_name = 'lake' and schema_name = 'main'
union all
select
    'create macro ' || function_name || '(' || array_to_string(parameters, ', ') || ') as '
    || case function_type when 'table_macro' then 'table ' else '' end || macro_definition
from duckdb_functions()
where database_name = 'lake' and schema_name = 'main' and function_type in ('macro', 'table_macro');
