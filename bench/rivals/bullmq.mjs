// BullMQ on Redis. Its free edition has neither groups nor batches: a deduplication id for each connection keeps a
// second job of it out of the queue until the first has finished; the handlers share the statement for cursors.
import { Queue, Worker } from "bullmq";
import {
  answer, countdown, cursor, enqueue, fail, Gatherer, main, now, pool, STORE_CURSORS, until,
} from "./common.mjs";

const QUEUE = "job";
const CHUNK = 5000;

const connection = (told) => ({ connection: { path: told.redis } });

function worker(told, handler, more) {
  const made = new Worker(QUEUE, handler, {
    ...connection(told), concurrency: told.concurrency, autorun: false, ...more,
  });
  made.on("error", fail);
  made.on("failed", (_, error) => fail(error));
  return made;
}

async function counts(queue) {
  const { completed, waiting, active } = await queue.getJobCounts("completed", "waiting", "active");
  return { completed, left: waiting + active };
}

main({
  // An append-only file that holds nothing, then the queue.
  async load(told) {
    const queue = new Queue(QUEUE, connection(told));
    const redis = await queue.client;
    await redis.flushall("SYNC");
    await redis.config("SET", "appendfsync", "everysec");
    await redis.bgrewriteaof();
    await until(async () => (await redis.info("persistence")).includes("aof_rewrite_in_progress:0"));
    for (let first = 1; first <= told.jobs; first += CHUNK) {
      const count = Math.min(CHUNK, told.jobs - first + 1);
      await queue.addBulk(Array.from({ length: count }, (_, i) => ({
        name: "job", data: { connection: first + i },
        opts: told.work ? { deduplication: { id: `c${first + i}` } } : {},
      })));
    }
    await redis.config("SET", "appendfsync", told.appendfsync);
    await queue.close();
  },

  async drain(told) {
    const clients = pool(told, 2);
    const left = countdown(told.jobs);
    const writer = new Gatherer((items) => clients.query({
      name: "store", text: STORE_CURSORS, values: [items.map((i) => i.connection), items.map((i) => cursor(i.job))],
    }));
    const work = (job) => writer.add({ connection: job.data.connection, job: job.id });
    const made = worker(told, told.work ? work : async () => {}, told.work ? {} : { removeOnComplete: { count: 0 } });
    await made.waitUntilReady();
    made.on("completed", left.one);
    const started = now();
    const running = made.run();
    await left.done;
    const seconds = (now() - started) / 1e9;
    await made.close();
    await running;
    const queue = new Queue(QUEUE, connection(told));
    answer({ seconds, ...(await counts(queue)) });
    await queue.close();
    await clients.end();
  },

  // Executes jobs and reports when each began.
  async receive(told) {
    const left = countdown(told.count);
    const entries = [];
    const made = worker(told, async (job) => {
      entries.push([job.data.id, now()]);
      left.one();
    }, { removeOnComplete: { count: 0 } });
    await made.waitUntilReady();
    const running = made.run();
    answer({ ready: true });
    await left.done;
    answer({ entries });
    await made.close();
    await running;
  },

  async enqueue(told) {
    const queue = new Queue(QUEUE, connection(told));
    await queue.waitUntilReady();
    await enqueue(told, (id) => queue.add("job", { id }));
    await queue.close();
  },
});
