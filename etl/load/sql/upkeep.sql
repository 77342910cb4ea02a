-- Keep a lake small and quick. What a reader may still have open is removed only once it is old enough.
call ducklake_flush_inlined_data('store');
call ducklake_rewrite_data_files('store', delete_threshold => 0.05);
call ducklake_merge_adjacent_files('store');
call ducklake_expire_snapshots('store', older_than => $before);
call ducklake_cleanup_old_files('store', older_than => $before);
call ducklake_delete_orphaned_files('store', older_than => $before);
