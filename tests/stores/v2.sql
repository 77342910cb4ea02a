-- What schema 2 added.
insert into rule_results values
    ('run-3', 'old-files', 'critical', 'Ask their owners.', 2, ['file_id=f1', 'file_id=f2'], null),
    ('run-3', 'broken', 'warning', 'Never.', null, [], 'Parser Error');

update credentials set quota_files = 10, quota_bytes = 2500000000000 where name = 'acme';
