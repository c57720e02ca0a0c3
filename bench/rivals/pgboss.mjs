// pg-boss: batches of 1,000, fetched again at once while they come back full.
import { PgBoss } from "pg-boss";
import {
  answer, countdown, cursor, enqueue, ENQUEUERS, fail, main, now, pool, STORE_CURSORS, until,
} from "./common.mjs";

const QUEUE = "job";
const CHUNK = 10000;

async function start(told, more) {
  // Neither maintenance nor cron passes beside the measurement.
  const boss = new PgBoss({
    host: told.socket_dir, user: "postgres", database: told.database, max: 10, supervise: false, schedule: false,
    ...more,
  });
  boss.on("error", fail);
  await boss.start();
  return boss;
}

main({
  // Fills the queue; `work` is how jobs of a connection are kept apart: "group", "singleton", or not at all.
  async load(told) {
    const boss = await start(told);
    await boss.createQueue(QUEUE, { policy: told.work === "singleton" ? "singleton" : "standard" });
    const own = { group: (i) => ({ group: { id: `c${i}` } }), singleton: (i) => ({ singletonKey: `c${i}` }) };
    for (let first = 1; first <= told.jobs; first += CHUNK) {
      const count = Math.min(CHUNK, told.jobs - first + 1);
      await boss.insert(QUEUE, Array.from({ length: count }, (_, i) => (
        { data: { connection: first + i }, ...own[told.work]?.(first + i) })));
    }
    await boss.stop();
  },

  async drain(told) {
    const clients = pool(told, told.workers);
    const boss = await start(told);
    const left = countdown(told.jobs);
    // Its option `transactional`, which commits this with the completion, was slower.
    const work = async (jobs) => {
      const values = [jobs.map((job) => job.data.connection), jobs.map((job) => cursor(job.id))];
      await clients.query({ name: "store", text: STORE_CURSORS, values });
      jobs.forEach(left.one);
    };
    const started = now();
    await boss.work(QUEUE, {
      batchSize: told.batch, localConcurrency: told.workers, burstWhenBatchFull: true, pollingIntervalSeconds: 0.5,
      ...(told.work === "group" && { groupConcurrency: 1 }),
    }, told.work ? work : async (jobs) => jobs.forEach(left.one));
    await left.done;
    await until(async () => (await clients.query(
      "SELECT FROM pgboss.job WHERE name = $1 AND state < 'completed' LIMIT 1", [QUEUE])).rowCount === 0);
    answer({ seconds: (now() - started) / 1e9 });
    await boss.stop();
    await clients.end();
  },

  // Executes jobs and reports when each began.
  async receive(told) {
    const boss = await start(told, { useListenNotify: true });
    await boss.createQueue(QUEUE, { notify: true });
    const left = countdown(told.count);
    const entries = [];
    await boss.work(QUEUE, { batchSize: told.batch, localConcurrency: told.workers }, async (jobs) => {
      const entered = now();
      for (const job of jobs) {
        entries.push([job.data.id, entered]);
        left.one();
      }
    });
    answer({ ready: true });
    await left.done;
    answer({ entries });
    await boss.stop();
  },

  async enqueue(told) {
    const boss = await start(told, { useListenNotify: true, max: ENQUEUERS });
    await enqueue(told, (id) => boss.send(QUEUE, { id }));
    await boss.stop();
  },
});
