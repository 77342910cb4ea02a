-- What every table, view and column means, for those who look at the database itself; see also comments_of_views.sql.
comment on table credentials is 'A credential as last configured: one way into one provider account.';
comment on column credentials.name is 'Unique; the credential of every other table.';
comment on column credentials.type is 'The listing API that is spoken: portkey, openai, ...';
comment on column credentials.provider is 'Who holds the files, as far as the configuration tells it.';
comment on column credentials.base_url is 'Where the listing API is.';
comment on column credentials.labels is 'The operator''s own, as JSON: labels->>''team''.';
comment on column credentials.key_fingerprint is '12 hex digits that tell one set of keys from another.';
comment on column credentials.active is 'Whether it is configured now; what is not counts in no sum.';
comment on column credentials.stale_after is 'Seconds after which its last complete listing is too old.';
comment on column credentials.scope is 'Which files its last listing could show, as JSON.';
comment on column credentials.last_attempt_at is 'When it was last listed, with whatever verdict.';
comment on column credentials.last_complete_at is 'When it was last listed completely.';
comment on column credentials.quota_files is 'Most files that the account may hold; NULL: no limit is known.';
comment on column credentials.quota_bytes is 'Most bytes that the account may hold; NULL: no limit is known.';
comment on column credentials.workspace is 'The workspace of the configuration that it was found in; NULL where it is configured itself.';

comment on table runs is 'A run: one cycle over a set of credentials.';
comment on column runs.run_id is 'Begins with the time it started: a later run has a greater one.';
comment on column runs."trigger" is 'Who asked for it: cli, schedule, api.';
comment on column runs.started_at is 'When it began.';
comment on column runs.finished_at is 'When it ended; NULL while it goes on.';
comment on column runs.status is 'running; complete: every listing was; failed: none brought anything; partial; interrupted.';
comment on column runs.totals is 'The sums over its listings, as JSON.';

comment on table listings is 'All pages of one credential in one run, with the verdict on them.';
comment on column listings.run_id is 'The run.';
comment on column listings.credential is 'The credential.';
comment on column listings.status is 'The verdict: complete, held, incomplete, failed, unsupported.';
comment on column listings.reason is 'Why it is not complete, in a word or two.';
comment on column listings.started_at is 'When the first page was asked for.';
comment on column listings.finished_at is 'When the last page was read.';
comment on column listings.pages is 'Pages that were read.';
comment on column listings.requests is 'Requests that were sent, repeated ones too.';
comment on column listings.retries is 'Requests that repeated a failed one.';
comment on column listings.bytes_received is 'Bytes of the answers.';
comment on column listings.records is 'Files listed: baseline + created + updated + restored + unchanged.';
comment on column listings.baseline is 'Files that were there before we looked.';
comment on column listings.created is 'Files that are new.';
comment on column listings.updated is 'Files that changed.';
comment on column listings.deleted is 'Files that are gone.';
comment on column listings.restored is 'Files that were gone and are back.';
comment on column listings.unchanged is 'Files that are as they were.';
comment on column listings.held is 'Deletions that wait for a person.';
comment on column listings.rejected is 'Records that could not be read.';
comment on column listings.first_id is 'The first file id listed.';
comment on column listings.last_id is 'The last file id listed.';
comment on column listings.scope is 'Which files it could show, as JSON.';
comment on column listings.error is 'What went wrong, in a sentence.';

comment on table files is 'A file that is there now, as one credential sees it.';
comment on column files.credential is 'The credential that sees it.';
comment on column files.file_id is 'The provider''s id; unique within a credential.';
comment on column files.provider is 'Who holds it; NULL where neither configuration nor answer tells.';
comment on column files.filename is 'Its name; NULL where the provider tells none.';
comment on column files.bytes is 'Its size in bytes; NULL where the provider does not tell, never 0 for that.';
comment on column files.purpose is 'What it is for, as the provider calls it: an open set.';
comment on column files.status is 'Its state, as the provider calls it: an open set.';
comment on column files.status_details is 'More on its state, where told.';
comment on column files.mime_type is 'Its media type, where told.';
comment on column files.created_at is 'When it was uploaded or made, as the provider tells.';
comment on column files.expires_at is 'When the provider will delete it; NULL: not told, or never.';
comment on column files.extra is 'Fields of the record that have no column, as JSON.';
comment on column files.first_seen_at is 'When we first saw it.';
comment on column files.changed_at is 'When we last saw it change.';

comment on table file_changes is 'A change, and the record after it; of a deletion the record as last known.';
comment on column file_changes.change_id is 'Rises with every change.';
comment on column file_changes.run_id is 'The run that saw it; of an approved deletion the run that held it.';
comment on column file_changes.observed_at is 'When we saw it; it happened since the listing before.';
comment on column file_changes.credential is 'The credential that sees the file.';
comment on column file_changes.file_id is 'The provider''s id.';
comment on column file_changes.change is 'baseline (there before we looked), created, updated, deleted, restored.';
comment on column file_changes.reason is 'Of a deletion: missing, or expired (its expires_at had passed).';
comment on column file_changes.changed_fields is 'Of an update: the columns that differ from the version before.';
comment on column file_changes.provider is 'As in files.';
comment on column file_changes.filename is 'As in files.';
comment on column file_changes.bytes is 'As in files.';
comment on column file_changes.purpose is 'As in files.';
comment on column file_changes.status is 'As in files.';
comment on column file_changes.status_details is 'As in files.';
comment on column file_changes.mime_type is 'As in files.';
comment on column file_changes.created_at is 'As in files.';
comment on column file_changes.expires_at is 'As in files.';
comment on column file_changes.extra is 'As in files.';

comment on table change_totals is 'What one step added up to: the change log summed by time, credential and kind.';
comment on column change_totals.run_id is 'As in file_changes.';
comment on column change_totals.observed_at is 'As in file_changes.';
comment on column change_totals.credential is 'As in file_changes.';
comment on column change_totals.change is 'As in file_changes.';
comment on column change_totals.reason is 'As in file_changes.';
comment on column change_totals.changes is 'Entries of the change log; 0 where only a field came that the API told of no file before.';
comment on column change_totals.files is 'Files more, or less, than before.';
comment on column change_totals.bytes is 'Bytes more, or less, than before; unknown sizes count as 0.';

comment on table held_deletions is 'A file whose deletion waits for a person to approve or reject it.';
comment on column held_deletions.run_id is 'The run that first held it.';
comment on column held_deletions.credential is 'The credential.';
comment on column held_deletions.file_id is 'The file; it is still in files.';

comment on table rejected_records is 'A record that could not be read, set aside.';
comment on column rejected_records.run_id is 'The run that first met it.';
comment on column rejected_records.credential is 'The credential.';
comment on column rejected_records.page is 'The page it stood on, from 1.';
comment on column rejected_records."position" is 'Its place on the page, from 1.';
comment on column rejected_records.reason is 'What is wrong with it.';
comment on column rejected_records.record is 'The record as it came.';

comment on table rule_results is 'What a rule of the configuration found at the end of a run.';
comment on column rule_results.run_id is 'The run.';
comment on column rule_results.rule is 'The name of the rule.';
comment on column rule_results.severity is 'warning or critical.';
comment on column rule_results.message is 'What it means, and what to do, in the operator''s words.';
comment on column rule_results.offenders is 'Rows that break it; 0: it is kept; NULL: it could not be checked.';
comment on column rule_results.examples is 'The first offenders, as text.';
comment on column rule_results.error is 'Why it could not be checked.';

comment on table schema_versions is 'The versions of this schema that the store went through; the highest is the one it has.';
comment on column schema_versions.version is 'From 1. Columns and views are added, seldom changed, never reused.';
comment on column schema_versions.applied_at is 'When the store took it up.';

comment on view file_history is 'Every version of every file, with the time it was valid; deletions end a version.';

comment on view unique_files is 'A file that is there now, once though several credentials of one account see it.';

comment on view freshness is 'How far each credential can be believed.';

comment on view quota_use is 'How full the account of each active credential is whose limits are known.';
