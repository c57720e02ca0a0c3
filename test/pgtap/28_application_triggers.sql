-- Claims and completions write rows by their place, without a plan. What an application has put on the tables counts all the same:
-- its triggers, generated columns and rules.
\ir include/setup.psql
SELECT plan(22);
SELECT fix_jitter();

CREATE TABLE public.audit (n bigint GENERATED ALWAYS AS IDENTITY, what text, who text);
CREATE FUNCTION audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.audit (what, who)
    VALUES (format('%s %s %s', TG_TABLE_NAME, TG_WHEN, TG_OP),
            to_jsonb(COALESCE(NEW, OLD)) ->> CASE TG_TABLE_NAME WHEN 'sync_jobs' THEN 'status' ELSE 'external_id' END);
    RETURN COALESCE(NEW, OLD);
END
$$;
CREATE FUNCTION audit_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.audit (what, who) SELECT 'changed', string_agg(c.external_id, ',') FROM changed c;
    RETURN NULL;
END
$$;

CREATE FUNCTION one_run(id text) RETURNS text LANGUAGE sql AS $$
    SELECT c.outcome
    FROM (SELECT jsonb_agg(jsonb_build_object('job_id', k.job_id, 'claim_token', k.claim_token, 'next_cursor', jsonb_build_object('at', id))) AS results
          FROM sync.claim_jobs('executor', 10, at('10:00')) k) r
    CROSS JOIN LATERAL sync.complete_jobs(r.results, at('10:01')) c
$$;

-- Without any of them
SELECT is(sync._rows_are_plain(true), true, 'the engine''s own tables may be written by place');
SELECT connection('plain', NULL, at('09:00'));
SELECT job('plain', scheduled_at => at('09:00'));
SELECT is(one_run('plain'), 'completed', 'a run without triggers');

-- A row trigger on connections, on two of its columns, and one that sees all rows of a statement
CREATE TRIGGER audit_connection AFTER UPDATE OF last_incremental_finished_at ON sync.connections FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_name AFTER UPDATE OF name ON sync.connections FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_all AFTER UPDATE ON sync.connections REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION audit_rows();
SELECT connection('first', NULL, at('09:00'));
SELECT job('first', scheduled_at => at('09:00'));
SELECT is(one_run('first'), 'completed', 'a run of a connection with triggers');
SELECT results_eq('SELECT what, who FROM public.audit ORDER BY n', $$VALUES ('connections AFTER UPDATE', 'first'), ('changed', 'first')$$,
                  'triggers on what has changed fire, others do not');
SELECT is((SELECT c.metadata #> '{sync,cursor}' FROM sync.connections c WHERE c.id = conn('first')), '{"at": "first"}', 'the cursor is there');
DROP TRIGGER audit_connection ON sync.connections;
DROP TRIGGER audit_all ON sync.connections;
TRUNCATE public.audit;

-- A generated column
ALTER TABLE sync.connections ADD COLUMN cursor_text text GENERATED ALWAYS AS (metadata #>> '{sync,cursor,at}') STORED;
SELECT connection('second', NULL, at('09:00'));
SELECT job('second', scheduled_at => at('09:00'));
SELECT is(one_run('second'), 'completed', 'a run of a connection with a generated column');
SELECT is((SELECT c.cursor_text FROM sync.connections c WHERE c.id = conn('second')), 'second', 'the column is generated anew');
ALTER TABLE sync.connections DROP COLUMN cursor_text;

-- A column of the history that is not the engine's
ALTER TABLE sync.sync_executions ADD COLUMN region text NOT NULL DEFAULT 'eu';
SELECT connection('regional', NULL, at('09:00'));
SELECT job('regional', scheduled_at => at('09:00'));
SELECT one_run('regional');
SELECT results_eq($$SELECT e.region, e.job_status FROM sync.sync_executions e WHERE e.connection_id = conn('regional')$$,
                  $$VALUES ('eu', 'succeeded')$$, 'it gets its default');
ALTER TABLE sync.sync_executions DROP COLUMN region;

-- Triggers on jobs, before and after
CREATE TRIGGER audit_before BEFORE UPDATE OR DELETE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION audit_row();
CREATE TRIGGER audit_after AFTER UPDATE OF claimed_by ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION audit_row();
SELECT connection('third', NULL, at('09:00'));
SELECT job('third', scheduled_at => at('09:00'));
SELECT is(one_run('third'), 'completed', 'a run of a job with triggers');
SELECT results_eq('SELECT what, who FROM public.audit ORDER BY n',
                  $$VALUES ('sync_jobs BEFORE UPDATE', 'running'), ('sync_jobs AFTER UPDATE', 'running'), ('sync_jobs BEFORE DELETE', 'running')$$,
                  'its triggers fire');
SELECT results_eq($$SELECT j.status, j.finished_at, e.next_cursor FROM sync.sync_jobs j JOIN sync.sync_executions e ON e.job_id = j.id
                    WHERE j.connection_id = conn('third')$$,
                  $$VALUES ('succeeded', at('10:01'), '{"at": "third"}'::jsonb)$$, 'it is finished, once');
DROP TRIGGER audit_before ON sync.sync_jobs;
DROP TRIGGER audit_after ON sync.sync_jobs;

-- Two jobs of one connection, of which one may run
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER look AFTER UPDATE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION look();
SELECT connection('two', NULL, at('09:00'));
SELECT job('two', scheduled_at => at('09:00')), job('two', 'full', scheduled_at => at('09:01'));
SELECT results_eq($$SELECT k.job_type FROM sync.claim_jobs('executor', 10, at('10:00')) k$$, $$VALUES ('incremental')$$, 'one of two jobs is claimed');
DROP TRIGGER look ON sync.sync_jobs;

-- A trigger that writes what is to be written yet
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE sync.connections SET name = 'touched' WHERE id = OLD.connection_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER touch AFTER DELETE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION touch();
SELECT is(sync.complete_job(r.id, r.claim_token, as_of => at('10:01')), true, 'a job whose end touches its connection') FROM running('two') r;
SELECT results_eq($$SELECT c.name, c.last_incremental_finished_at FROM sync.connections c WHERE c.id = conn('two')$$,
                  $$VALUES ('touched', at('10:01'))$$, 'both are written');
DROP TRIGGER touch ON sync.sync_jobs;
DELETE FROM sync.connections WHERE id = conn('two');

-- A trigger that lets nothing be deleted: the job runs on, and its connection is not free.
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE DELETE ON sync.sync_jobs FOR EACH ROW EXECUTE FUNCTION keep();
SELECT connection('kept', NULL, at('09:00'));
SELECT job('kept', scheduled_at => at('09:00'));
SELECT is(one_run('kept'), NULL, 'a job that may not be deleted');
SELECT is((job_of('kept')).status, 'running', 'runs on');
SELECT is_empty($$SELECT * FROM sync.claim_jobs('executor', 10, at('10:02'))$$, 'and nothing else of its connection does');
DROP TRIGGER keep ON sync.sync_jobs;
DELETE FROM sync.connections WHERE id = conn('kept');

-- A foreign key of an application
CREATE TABLE public.watched (job_id bigint REFERENCES sync.sync_jobs (id) ON DELETE CASCADE);
SELECT connection('watched', NULL, at('09:00'));
INSERT INTO public.watched SELECT job('watched', scheduled_at => at('09:00'));
SELECT one_run('watched');
SELECT is_empty('SELECT * FROM public.watched', 'what refers to a live job goes with it');
DROP TABLE public.watched;

-- What a trigger refuses is refused whole.
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not this one' USING ERRCODE = 'UA001'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON sync.connection_state FOR EACH ROW WHEN (NEW.running_job_id IS NOT NULL) EXECUTE FUNCTION refuse();
SELECT connection('fourth', NULL, at('09:00'));
SELECT job('fourth', scheduled_at => at('09:00'));
SELECT throws_ok($$SELECT one_run('fourth')$$, 'UA001', 'not this one', 'a trigger can refuse a lease');
SELECT is((job_of('fourth')).status, 'queued', 'the job is still queued');
DROP TRIGGER refuse ON sync.connection_state;

-- Constraints
ALTER TABLE sync.sync_jobs ADD CONSTRAINT not_by_executor CHECK (claimed_by IS DISTINCT FROM 'executor') NOT VALID;
SELECT throws_ok($$SELECT one_run('fourth')$$, '23514', NULL, 'a constraint is kept');
ALTER TABLE sync.sync_jobs DROP CONSTRAINT not_by_executor;
SELECT is(one_run('fourth'), 'completed', 'then it runs');

SELECT * FROM finish();
ROLLBACK;
