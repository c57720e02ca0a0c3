-- Each line a rule, with the number of rows that break it.
WITH expected AS (
    SELECT r.name, s.id, s.connection_id
    FROM run.readers r JOIN sync.signals s ON (r.tenant IS NULL OR s.tenant_id = r.tenant) AND (r.connection IS NULL OR s.connection_id = r.connection)
)
SELECT 'no signal is read twice by a reader' AS rule,
       (SELECT count(*) FROM (SELECT 1 FROM run.was_read GROUP BY reader, connection_id, id HAVING count(*) > 1) x) AS broken
UNION ALL
SELECT 'each signal is read', (SELECT count(*) FROM expected e
    WHERE NOT EXISTS (SELECT 1 FROM run.was_read w WHERE w.reader = e.name AND w.id = e.id AND w.connection_id = e.connection_id))
UNION ALL
SELECT 'nothing else is', (SELECT count(*) FROM run.was_read w
    WHERE NOT EXISTS (SELECT 1 FROM expected e WHERE w.reader = e.name AND w.id = e.id AND w.connection_id = e.connection_id))
UNION ALL
SELECT 'those of a connection in the order of their landing', (SELECT count(*) FROM (
    SELECT id < lag(id) OVER (PARTITION BY reader, connection_id ORDER BY n) AS back FROM run.was_read WHERE dedupe_key NOT LIKE 'own%') x WHERE back)
UNION ALL
SELECT 'all readers see the same order', (SELECT count(*) FROM (
    SELECT a.n, lag(b.n) OVER (ORDER BY a.n) > b.n AS differs
    FROM run.was_read a JOIN run.was_read b ON b.reader = 'again' AND b.id = a.id AND b.connection_id = a.connection_id
    WHERE a.reader = 'all') x WHERE differs)
UNION ALL
SELECT 'they were in more than one month', (SELECT CASE WHEN count(DISTINCT tableoid) > 1 THEN 0 ELSE 1 END FROM sync.signals);
