-- Within half a minute the server notices that the host of a session is gone, and frees its locks.
set tcp_keepalives_idle = 10;
set tcp_keepalives_interval = 5;
set tcp_keepalives_count = 3;
set idle_session_timeout = 0;
set lock_timeout = '10min'
