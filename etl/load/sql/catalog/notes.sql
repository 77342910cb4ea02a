create table if not exists file_inventory_notes (name text primary key, notes bytea not null)
