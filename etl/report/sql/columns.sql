select table_name as name, list({name: column_name, type: data_type} order by ordinal_position) as columns
from information_schema.columns
where table_catalog = 'inventory' and table_schema = 'main' and table_name <> 'schema_versions'
group by table_name
order by table_name;
