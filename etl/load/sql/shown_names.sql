-- What a reader may ask: the tables and views of the inventory, and what was made of them for this reader.
select table_name from duckdb_tables() where database_name in ('inventory', 'temp') and schema_name = 'main'
union
select view_name from duckdb_views() where database_name in ('inventory', 'temp') and schema_name = 'main' and not internal;
