select
    columns.table_name as name, any_value(coalesce(tables.comment, views.comment)) as meaning,
    list({name: column_name, type: data_type, meaning: columns.comment} order by column_index) as columns
from duckdb_columns() as columns
left join duckdb_tables() as tables using (database_name, schema_name, table_name)
left join duckdb_views() as views on views.database_name = columns.database_name
    and views.view_name = columns.table_name
where columns.database_name = 'inventory' and columns.schema_name = 'main' and columns.table_name <> 'schema_versions'
group by columns.table_name
order by columns.table_name;
