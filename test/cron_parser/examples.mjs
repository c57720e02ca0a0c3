// What cron-parser says to the examples of examples.csv, as TAP; each has to stand in docs/cron.md as well.
// usage: node examples.mjs
// Columns: the class of the difference (compare.sql), expression, zone, after, ours, theirs; `none` is nothing found,
// `refused` no expression.
import { readFileSync } from 'node:fs';
import { next } from './next.mjs';

const here = (name) => readFileSync(new URL(name, import.meta.url), 'utf8');
const documented = here('../../docs/cron.md');

function fields(line) {
  return line.match(/("[^"]*"|[^,]*)(,|$)/g).slice(0, 6).map((field) => field.replace(/,$/, '').replace(/^"|"$/g, ''));
}

function theirs(expression, zone, after) {
  try {
    const found = next(expression, zone, Date.parse(after));
    return found === null ? 'none' : new Date(found).toISOString().replace('T', ' ').replace(/:00\.000Z/, 'Z');
  } catch {
    return 'refused';
  }
}

for (const line of here('examples.csv').trim().split('\n')) {
  const [, expression, zone, after, ours, expected] = fields(line);
  const found = theirs(expression, zone, after);
  console.log(`${found === expected ? 'ok' : 'not ok'} - cron-parser: ${expression} in ${zone} after ${after}: ${found}`);
  const row = `| \`${expression}\` | ${zone} | ${after} | ${ours} | ${expected} |`;
  console.log(`${documented.includes(row) ? 'ok' : 'not ok'} - docs/cron.md has ${row}`);
}
