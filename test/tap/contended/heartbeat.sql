\set executor random(1, 5)
SELECT * FROM sync.heartbeat('executor' || :executor, '{}', run.clock());
