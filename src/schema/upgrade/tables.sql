-- A view does not follow its table: _finished_jobs gets the columns that sync_jobs has now.
DO $$
DECLARE
    source pg_catalog.regclass;
BEGIN
    SELECT d.refobjid INTO STRICT source
    FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
    WHERE r.ev_class = 'sync._finished_jobs'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjsubid = 1 AND d.refobjid <> r.ev_class;
    EXECUTE pg_catalog.format('CREATE OR REPLACE VIEW sync._finished_jobs AS SELECT * FROM %s %s',
                              CASE source WHEN 'sync.sync_jobs'::pg_catalog.regclass THEN 'ONLY' END, source);
END
$$;
