// Receivers of webhooks for the executor's tests. A line of JSON on standard input is a call, {"call": name, ...}; its
// answer is a line on standard output, {"ok": value} or {"error": text}. It ends with its input.
//
// Whether a request is genuine is for the npm package standardwebhooks to say, which lies in the folder that
// SYNC_WEBHOOK_VERIFIER names, or beside this file.
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import readline from 'node:readline';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const beside = path.dirname(fileURLToPath(import.meta.url));
const folder = process.env.SYNC_WEBHOOK_VERIFIER || beside;
const { Webhook } = createRequire(path.join(folder, 'package.json'))('standardwebhooks');

const arrived = []; // every request, in the order of arrival
const paths = new Map(); // {script: behaviours of the next requests, behaviour: of those after them}

// What the next request on this path meets.
function behaviourOf(name) {
  const known = paths.get(name) || {};
  return (known.script && known.script.shift()) || known.behaviour || { status: 204 };
}

function endless(response, headers) {
  response.writeHead(headers.status || 200, headers.headers || {});
  const more = () => {
    if (!response.destroyed) {
      response.write('and so on, ');
      setTimeout(more, 20);
    }
  };
  more();
}

const kinds = {
  reply(response, { status = 200, headers = {}, body = '' }) {
    response.writeHead(status, headers);
    response.end(Buffer.from(body, 'utf8'));
  },
  bytes(response, { status = 200, base64 }) {
    response.writeHead(status);
    response.end(Buffer.from(base64, 'base64'));
  },
  huge(response, { status = 200, bytes = 100_000_000 }) {
    response.writeHead(status);
    const chunk = Buffer.alloc(65536, 'x');
    const more = () => {
      while (bytes > 0 && !response.destroyed) {
        bytes -= chunk.length;
        if (!response.write(chunk)) {
          response.once('drain', more);
          return;
        }
      }
      response.end();
    };
    more();
  },
  endless,
  // The status line comes at once, then a header now and then, and never the last one.
  slow_headers(response) {
    const socket = response.socket;
    socket.write('HTTP/1.1 200 OK\r\n');
    const more = () => {
      if (!socket.destroyed) {
        socket.write('X-Patience: wanted\r\n');
        setTimeout(more, 200);
      }
    };
    more();
  },
  hang() {},
  close(response) {
    response.socket.destroy();
  },
  raw(response, { text }) {
    response.socket.end(text);
  },
};

function take(request, response) {
  const parts = [];
  const record = {
    number: arrived.length,
    method: request.method,
    path: request.url,
    port: request.socket.localPort,
    headers: request.headers,
    raw_headers: request.rawHeaders,
    at: Date.now() / 1000,
    complete: false,
    closed: false,
  };
  arrived.push(record);
  request.on('data', (part) => parts.push(part));
  response.on('close', () => { record.closed = true; });
  request.on('end', () => {
    const body = Buffer.concat(parts);
    record.body = body.toString('utf8');
    record.bytes = body.length;
    record.complete = true;
    const behaviour = behaviourOf(request.url);
    record.behaviour = behaviour;
    const act = () => kinds[behaviour.kind || 'reply'](response, behaviour);
    setTimeout(act, (behaviour.after || 0) * 1000);
  });
}

const calls = {
  // A port that is served, over TLS where there are key and certificate (PEM).
  listen({ key, cert, host = '127.0.0.1', port = 0 }) {
    const server = key ? https.createServer({ key, cert }, take) : http.createServer(take);
      server.requestTimeout = 0;
    return new Promise((resolve, reject) => {
      server.on('error', reject);
      server.listen(port, host, () => resolve(server.address().port));
    });
  },
  script({ path: name, behaviours }) {
    paths.set(name, { ...paths.get(name), script: behaviours });
  },
  behave({ path: name, behaviour }) {
    paths.set(name, { ...paths.get(name), behaviour });
  },
  // Those below a path.
  requests({ under = '/' }) {
    return arrived.filter((request) => request.path.startsWith(under));
  },
  count: ({ path: name }) => arrived.filter((request) => request.path === name && request.complete).length,
  // What the package says of a request that arrived: its parsed body, or why it is not genuine.
  verify({ number, secret, changes = {} }) {
    const { headers, body } = { ...arrived[number], ...changes };
    try {
      return { genuine: true, body: new Webhook(secret).verify(body, headers) };
    } catch (error) {
      return { genuine: false, why: error.message };
    }
  },
  // Headers of a message that is signed the way a sender does.
  sign({ secret, id, timestamp, body }) {
    const signature = new Webhook(secret).sign(id, new Date(timestamp * 1000), body);
    return { 'webhook-id': id, 'webhook-timestamp': String(timestamp), 'webhook-signature': signature };
  },
};

const lines = readline.createInterface({ input: process.stdin });
for await (const line of lines) {
  let answer;
  try {
    const { call, ...parameters } = JSON.parse(line);
    answer = { ok: (await calls[call](parameters)) ?? null };
  } catch (error) {
    answer = { error: error.stack || String(error) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
}
process.exit(0);
