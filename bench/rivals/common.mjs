// What the rivals' scripts share. Each runs one command, told by a JSON object, and answers in lines of JSON.
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";

const LIMIT_MS = 300_000;

// CLOCK_MONOTONIC in nanoseconds: the same clock in every process of the machine.
export const now = () => Number(process.hrtime.bigint());

export const answer = (reply) => process.stdout.write(`${JSON.stringify(reply)}\n`);

export function pool(told, max) {
  const clients = new pg.Pool({ host: told.socket_dir, user: "postgres", database: told.database, max });
  clients.on("error", fail);
  clients.on("connect", (client) => client.on("error", fail));
  return clients;
}

// A rival that meets an error has no figure.
export function fail(error) {
  process.stderr.write(`${error?.stack ?? error}\n`, () => process.exit(1));
}

// Runs the command of that name.
export async function main(commands) {
  process.on("unhandledRejection", fail);
  const [name, told] = [process.argv[2], JSON.parse(process.argv[3])];
  try {
    await commands[name](told);
  } catch (error) {
    fail(error);
  }
}

// A promise that is kept once `count` calls of `one` have come; they do not come without end.
export function countdown(count) {
  const done = Promise.withResolvers();
  const timer = setTimeout(() => fail(`${count} jobs did not start`), LIMIT_MS);
  const one = () => {
    count -= 1;
    if (count === 0) {
      clearTimeout(timer);
      done.resolve();
    }
  };
  return { done: done.promise, one };
}

// Asks again and again until it is so.
export async function until(question) {
  while (!(await question())) await sleep(2);
}

// Gathers what concurrent handlers want written while the write before is under way, and writes it in one statement.
export class Gatherer {
  #write;
  #waiting = [];
  #writing = false;

  constructor(write) {
    this.#write = write;
  }

  add(item) {
    const written = Promise.withResolvers();
    this.#waiting.push({ item, written });
    if (!this.#writing) {
      this.#writing = true;
      // All handlers that start in this turn belong to the first write.
      setImmediate(() => this.#run());
    }
    return written.promise;
  }

  async #run() {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0);
      try {
        await this.#write(batch.map(({ item }) => item));
        batch.forEach(({ written }) => written.resolve());
      } catch (error) {
        batch.forEach(({ written }) => written.reject(error));
      }
    }
    this.#writing = false;
  }
}

// The cursor that a job of this id returns.
export const cursor = (job) => JSON.stringify({ run: 1, job: String(job) });

// Stores cursors with their connections: the parameters are ids of connections and cursors.
export const STORE_CURSORS = `UPDATE connections c SET cursor = v.cursor::jsonb, updated_at = now()
  FROM unnest($1::bigint[], $2::text[]) AS v (id, cursor) WHERE c.id = v.id`;

// Connections of each enqueuer to PostgreSQL: calls are made in time even while a commit takes long.
export const ENQUEUERS = 4;

// Enqueues one job after the other at an even rate and reports when each call was made and acknowledged.
export async function enqueue(told, call) {
  const calls = [];
  const interval = 1e9 / told.rate;
  // Some jobs go ahead, so that connections are open and statements prepared.
  for (let i = 0; i < told.warm_up; i++) await call(i + 1);
  await sleep(200);
  const started = now();
  const pending = [];
  for (let i = 0; i < told.count; i++) {
    const ahead = started + i * interval - now();
    if (ahead > 0) await sleep(ahead / 1e6);
    const id = told.warm_up + i + 1;
    const called = now();
    pending.push(call(id).then(() => calls.push([id, called, now()])));
  }
  await Promise.all(pending);
  answer({ calls });
}
