-- One line for each thing in schema sync, as the catalogs have it, whoever owns it and whatever its OID: equal lines are
-- equal objects. For psql -At. Some builds of the server stamp each column that is made with an option pg_attver, which
-- differs between any two tables and is not ours to compare.
WITH relation AS (
    SELECT c.* FROM pg_class c WHERE c.relnamespace = 'sync'::regnamespace
), extension AS (
    SELECT e.* FROM pg_extension e WHERE e.extname = 'sync_engine'
), granted AS (
    SELECT 'pg_class'::regclass AS classid, c.oid AS objid, 0 AS sub, c.relacl AS acl, NULL::aclitem[] AS initial FROM relation c
    UNION ALL SELECT 'pg_attribute'::regclass, a.attrelid, a.attnum, a.attacl, NULL FROM pg_attribute a JOIN relation c ON c.oid = a.attrelid
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, 0, p.proacl, NULL FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace
    UNION ALL SELECT 'pg_namespace'::regclass, n.oid, 0, n.nspacl, NULL FROM pg_namespace n WHERE n.nspname = 'sync'
    UNION ALL
    SELECT i.classoid::regclass, i.objoid, i.objsubid, NULL, i.initprivs FROM pg_init_privs i
    WHERE i.classoid = 'pg_class'::regclass AND i.objoid IN (SELECT oid FROM relation)
       OR i.classoid = 'pg_proc'::regclass AND i.objoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'sync'::regnamespace)
       OR i.classoid = 'pg_namespace'::regclass AND i.objoid = 'sync'::regnamespace
), line (kind, name, what) AS (
    SELECT 'member', pg_describe_object(d.classid, d.objid, d.objsubid), d.deptype::text
    FROM pg_depend d, extension e
    WHERE d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    UNION ALL
    SELECT 'extension', e.extname, concat_ws(' ', e.extversion, e.extrelocatable,
        (SELECT string_agg(c.oid::regclass || ' ' || quote_literal(k.condition), ', ' ORDER BY c.relname)
         FROM unnest(e.extconfig, e.extcondition) k (oid, condition) JOIN pg_class c ON c.oid = k.oid))
    FROM extension e
    UNION ALL
    SELECT 'relation', c.oid::regclass::text, concat_ws(' ', c.relkind, c.relpersistence, am.amname, c.reloptions::text, c.relrowsecurity,
        c.relforcerowsecurity, c.relreplident, pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid), c.reltype <> 0)
    FROM relation c LEFT JOIN pg_am am ON am.oid = c.relam
    UNION ALL
    SELECT 'child', i.inhrelid::regclass::text, i.inhparent::regclass::text || ' ' || i.inhseqno
    FROM pg_inherits i JOIN relation c ON c.oid = i.inhrelid
    UNION ALL
    SELECT 'column', a.attrelid::regclass || '.' || a.attname, concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull,
        'identity', a.attidentity, 'generated', a.attgenerated, a.attstorage, a.attcompression, a.attstattarget, a.attislocal, a.attinhcount,
        (SELECT string_agg(o, ' ' ORDER BY o) FROM unnest(a.attoptions) o WHERE o NOT LIKE 'pg\_attver=%'), pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute a JOIN relation c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND c.relkind NOT IN ('i', 'I', 't')
    UNION ALL
    SELECT 'constraint', k.conrelid::regclass || ' ' || k.conname, concat_ws(' ', pg_get_constraintdef(k.oid), k.convalidated, k.conislocal,
        k.coninhcount, k.connoinherit)
    FROM pg_constraint k WHERE k.connamespace = 'sync'::regnamespace
    UNION ALL
    SELECT 'index', i.indexrelid::regclass::text, concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisprimary, i.indisclustered,
        i.indisreplident)
    FROM pg_index i JOIN relation c ON c.oid = i.indexrelid
    UNION ALL
    SELECT 'trigger', t.tgrelid::regclass || ' ' || t.tgname, concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled)
    FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
    UNION ALL
    SELECT 'view', c.oid::regclass::text, pg_get_viewdef(c.oid) FROM relation c WHERE c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'sequence', s.seqrelid::regclass::text, concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache,
        s.seqcycle)
    FROM pg_sequence s JOIN relation c ON c.oid = s.seqrelid
    UNION ALL
    SELECT 'routine', p.oid::regprocedure::text, CASE WHEN p.prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END
    FROM pg_proc p WHERE p.pronamespace = 'sync'::regnamespace
    UNION ALL
    SELECT 'type', t.oid::regtype::text, concat_ws(' ', t.typtype, t.typcategory, format_type(t.typbasetype, t.typtypmod),
        (SELECT string_agg(l.enumlabel, ' ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid))
    FROM pg_type t WHERE t.typnamespace = 'sync'::regnamespace
    UNION ALL
    SELECT 'statistics', s.stxname::text, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s WHERE s.stxnamespace = 'sync'::regnamespace
    UNION ALL
    SELECT 'policy', p.polrelid::regclass || ' ' || p.polname, concat_ws(' ', p.polcmd, pg_get_expr(p.polqual, p.polrelid),
        pg_get_expr(p.polwithcheck, p.polrelid))
    FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
    UNION ALL
    SELECT 'comment', pg_describe_object(d.classoid, d.objoid, d.objsubid), d.description
    FROM pg_description d
    WHERE d.classoid = 'pg_class'::regclass AND d.objoid IN (SELECT oid FROM relation)
       OR d.classoid = 'pg_proc'::regclass AND d.objoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'sync'::regnamespace)
       OR d.classoid = 'pg_trigger'::regclass AND d.objoid IN (SELECT t.oid FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid)
       OR d.classoid = 'pg_constraint'::regclass
          AND d.objoid IN (SELECT k.oid FROM pg_constraint k WHERE k.connamespace = 'sync'::regnamespace)
       OR d.classoid = 'pg_namespace'::regclass AND d.objoid = 'sync'::regnamespace
       OR d.classoid = 'pg_extension'::regclass AND d.objoid IN (SELECT oid FROM extension)
    UNION ALL
    SELECT CASE WHEN g.initial IS NULL THEN 'privileges' ELSE 'initial privileges' END,
           CASE WHEN g.classid = 'pg_attribute'::regclass THEN 'column ' || g.objid::regclass || '.' || g.sub
                ELSE pg_describe_object(g.classid, g.objid, g.sub) END,
           (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(COALESCE(g.acl, g.initial)) a)
    FROM granted g WHERE COALESCE(g.acl, g.initial) IS NOT NULL
)
SELECT (kind || ': ' || name || ': ' || replace(COALESCE(what, ''), E'\n', '\n')) COLLATE "C" AS text FROM line ORDER BY text;
