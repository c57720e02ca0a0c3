\set connection random(1, :connections)
\set type random(0, 3)
CALL run.trigger(:connection, (ARRAY['incremental', 'full', 'webhook', 'backfill'])[1 + :type]);
