create table if not exists schema_versions (version bigint not null, applied_at timestamptz not null);
