select table_name from duckdb_tables()
where database_name = 'store' and schema_name = 'main' and table_name <> 'schema_versions'
order by table_name;
