update runs set status = 'interrupted', finished_at = $now where status = 'running';
