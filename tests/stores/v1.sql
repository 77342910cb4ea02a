-- What a store of schema 1 holds: every kind of change and verdict, odd names, and much that is not known.
insert into credentials values
    ('acme', 'openai', 'openai', 'http://127.0.0.1:9/v1', '{"team": "search"}', '0123456789ab', true, 86400.0, null,
        '2026-11-04 12:00:00+00', '2026-11-03 12:00:00+00'),
    ('gone', 'gemini', null, 'http://127.0.0.1:9/v1beta', '{}', null, false, 3600.5, '"rejected"', null, null);

insert into runs
select
    'run-' || day, 'schedule', '2026-11-01 12:00:00+00'::timestamptz + to_days(day::int),
    '2026-11-01 12:00:05+00'::timestamptz + to_days(day::int), if(day = 3, 'partial', 'complete'),
    '{"credentials": 1, "records": 4}'
from range(4) as days (day);

insert into listings
select
    'run-' || day, 'acme', if(day = 3, 'held', 'complete'), if(day = 3, 'brake', null),
    '2026-11-01 12:00:00+00'::timestamptz + to_days(day::int), '2026-11-01 12:00:04+00'::timestamptz + to_days(day::int),
    2, 3, 1, 12345678901, 4, if(day = 0, 4, 0), 0, 0, 0, 0, if(day = 0, 0, 4), 0, 0, 'f1', 'f4', '{"type": "openai"}',
    if(day = 3, 'files are missing', null)
from range(4) as days (day);

insert into file_changes by name
select
    row_number() over () as change_id, 'run-' || day as run_id,
    '2026-11-01 12:00:04+00'::timestamptz + to_days(day) as observed_at, 'acme' as credential, file_id, change, reason,
    changed_fields, 'openai' as provider, filename, bytes, 'batch' as purpose, null as status_details,
    '1969-12-31 23:59:59.999999+00'::timestamptz as created_at, '{"a": [1, null, "ü"]}'::json as extra
from (values
    (0, 'f1', 'baseline', null, null, 'a.jsonl', 5),
    (0, 'f2', 'baseline', null, null, e'odd\t\u202e''";--.txt', null),
    (0, 'f3', 'baseline', null, null, null, 1000000000000000),
    (0, 'f4', 'baseline', null, null, '📎', 0),
    (1, 'f1', 'updated', null, ['bytes'], 'a.jsonl', 7),
    (1, 'f5', 'created', null, null, '', 3),
    (2, 'f1', 'deleted', 'missing', null, 'a.jsonl', 7),
    (2, 'f5', 'deleted', 'expired', null, '', 3),
    (3, 'f1', 'restored', null, null, 'a.jsonl', 9)
) as log (day, file_id, change, reason, changed_fields, filename, bytes);

insert into files by name
from files_as_of('2026-12-01 00:00:00+00');

insert into held_deletions values ('run-3', 'acme', 'f2'), ('run-3', 'acme', 'f3');

insert into rejected_records values ('run-1', 'acme', 1, 2, 'it has no id', '{"id": null}');
