set idle_session_timeout = 0;
set lock_timeout = '10min'
