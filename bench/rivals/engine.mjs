// The engine's side of the latency: sync.trigger, by the same driver as the rivals'.
import { enqueue, ENQUEUERS, main, pool } from "./common.mjs";

main({
  async enqueue(told) {
    const clients = pool(told, ENQUEUERS);
    await enqueue(told, (id) => clients.query({ name: "trigger", text: "SELECT sync.trigger($1)", values: [id] }));
    await clients.end();
  },
});
