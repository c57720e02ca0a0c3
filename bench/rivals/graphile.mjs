// graphile-worker: batches, local queue and concurrency as its performance page sets them.
import { Logger, makeWorkerUtils, run, runMigrations } from "graphile-worker";
import { answer, countdown, cursor, enqueue, ENQUEUERS, fail, Gatherer, main, now, pool, until } from "./common.mjs";

const logger = new Logger(() => (level, message) => level === "error" && fail(message));
const CHUNK = 10000;

const STORE = `WITH v AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::timestamptz[]) AS v (id, cursor, job, started_at)
  ), kept AS (
    INSERT INTO history (job_id, connection_id, status, started_at, finished_at)
    SELECT v.job, v.id, 'completed', v.started_at, clock_timestamp() FROM v
  )
  UPDATE connections c SET cursor = v.cursor::jsonb, updated_at = now() FROM v WHERE c.id = v.id`;

function options(told, clients, tasks) {
  const worker = { concurrentJobs: told.concurrency, completeJobBatchDelay: 0, failJobBatchDelay: 0 };
  if (told.local_queue > 0) worker.localQueue = { size: told.local_queue };
  return { pgPool: clients, taskList: tasks, noHandleSignals: true, logger, preset: { worker } };
}

main({
  // Fills the queue; with `work` each job is in the queue of its connection.
  async load(told) {
    const clients = pool(told, 2);
    await runMigrations({ pgPool: clients, logger });
    for (let first = 1; first <= told.jobs; first += CHUNK) {
      await clients.query(
        `SELECT count(*) FROM graphile_worker.add_jobs(ARRAY(
           SELECT ('job', json_build_object('connection', i), CASE WHEN $3::boolean THEN 'c' || i END,
                   NULL, NULL, NULL, NULL, NULL)::graphile_worker.job_spec
           FROM generate_series($1::int, $2::int) i))`,
        [first, Math.min(first + CHUNK - 1, told.jobs), told.work !== null]);
    }
    await clients.end();
  },

  async drain(told) {
    const clients = pool(told, told.concurrency + 1);
    const left = countdown(told.jobs);
    const writer = new Gatherer((items) => clients.query({
      name: "store", text: STORE,
      values: [items.map((i) => i.connection), items.map((i) => cursor(i.job)), items.map((i) => i.job),
        items.map((i) => i.started)],
    }));
    const work = async ({ connection }, { job }) => {
      await writer.add({ connection, job: job.id, started: new Date() });
      left.one();
    };
    const noop = () => void left.one();
    const started = now();
    const runner = await run(options(told, clients, { job: told.work ? work : noop }));
    await left.done;
    await until(async () => (await clients.query("SELECT FROM graphile_worker._private_jobs LIMIT 1")).rowCount === 0);
    answer({ seconds: (now() - started) / 1e9 });
    await runner.stop();
    await clients.end();
  },

  // Executes jobs and reports when each began.
  async receive(told) {
    const clients = pool(told, told.concurrency + 1);
    await runMigrations({ pgPool: clients, logger });
    const left = countdown(told.count);
    const entries = [];
    const job = ({ id }) => {
      entries.push([id, now()]);
      left.one();
    };
    const runner = await run(options(told, clients, { job }));
    answer({ ready: true });
    await left.done;
    answer({ entries });
    await runner.stop();
    await clients.end();
  },

  async enqueue(told) {
    const clients = pool(told, ENQUEUERS);
    const utils = await makeWorkerUtils({ pgPool: clients, logger });
    await enqueue(told, (id) => utils.addJob("job", { id }));
    await utils.release();
    await clients.end();
  },
});
