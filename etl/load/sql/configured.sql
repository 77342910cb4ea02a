-- The credentials as configured now (`configured`); those no longer configured stay, inactive.
update credentials set active = false where name not in (select name from configured);

update credentials
set
    type = configured.type,
    provider = configured.provider,
    base_url = configured.base_url,
    workspace = configured.workspace,
    labels = configured.labels,
    key_fingerprint = configured.key_fingerprint,
    active = true,
    stale_after = configured.stale_after,
    quota_files = configured.quota_files,
    quota_bytes = configured.quota_bytes
from configured
where configured.name = credentials.name;

insert into credentials by name
select
    name, type, provider, base_url, workspace, labels, key_fingerprint, true as active, stale_after, quota_files, quota_bytes
from configured
where name not in (select name from credentials);
