-- A clock set back must not put a change before the one it follows.
select greatest($now, last_attempt_at) as observed_at from credentials where name = $credential;
