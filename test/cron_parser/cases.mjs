// Makes random cases and asks cron-parser.
// usage: node cases.mjs FOLDER SEED FAR NEAR
// Reads FOLDER/changes.csv, the server's changes of the clocks (zone, at, offset before, after; the row of 1970-01-01 has the
// offset that a zone begins with). Writes disputed.csv (zone, year: where the two time zone databases differ) and cases.csv
// (expression, zone, after, theirs: milliseconds since 1970, theirs is empty where nothing is found). FAR of the cases have no
// change of the clocks near them, at least NEAR have one.
import { readFileSync, writeFileSync } from 'node:fs';
import { next } from './next.mjs';
import { changesOf, isKnown } from './zones.mjs';
import { Random, expression } from './random.mjs';

const [folder, seed, count, nearCount] = process.argv.slice(2);
const random = new Random(Number(seed));
const wanted = Number(count);
const wantedNear = Number(nearCount);
const first = Date.UTC(1970, 0, 1) / 1000;
const last = Date.UTC(2100, 0, 1) / 1000;
const aDay = 86_400;
const yearOf = (epoch) => new Date(epoch * 1000).getUTCFullYear();
const say = (text) => console.log(`# ${text}`);

function readChanges() {
  const zones = new Map();
  for (const line of readFileSync(`${folder}/changes.csv`, 'utf8').trim().split('\n')) {
    const [name, at, before, after] = line.split(',');
    if (!zones.has(name)) zones.set(name, []);
    zones.get(name).push({ at: Number(at), before: Number(before), after: Number(after) });
  }
  return zones;
}

// The years in which the offsets of two lists of changes differ.
function disputedYears(one, other) {
  const years = new Set();
  const instants = [...new Set([...one, ...other].map(({ at }) => at))].sort((a, b) => a - b);
  const offset = (list, at) => list.findLast((change) => change.at <= at).after;
  instants.forEach((at, i) => {
    if (offset(one, at) === offset(other, at)) return;
    const until = instants[i + 1] ?? last + aDay;
    for (let year = yearOf(at - aDay); year <= yearOf(until + aDay); year++) years.add(year);
  });
  return years;
}

// Near: a change within a day before `from` or until a day after `to`.
function isNear(changes, from, to) {
  let low = 0;
  let high = changes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (changes[middle].at < from - aDay) low = middle + 1;
    else high = middle;
  }
  return low < changes.length && changes[low].at <= to + aDay;
}

const server = readChanges();
const zones = [];
const disputed = [];
let unknown = 0;
for (const [name, listed] of server) {
  if (!isKnown(name)) {
    unknown++;
    continue;
  }
  const own = changesOf(name);
  const years = disputedYears(listed, own);
  for (const year of years) disputed.push(`${name},${year}`);
  zones.push({ name, changes: listed.filter(({ at }) => at > first), years });
}
writeFileSync(`${folder}/disputed.csv`, disputed.map((line) => `${line}\n`).join(''));
say(`Node.js ${process.versions.node}, ICU ${process.versions.icu}, time zones ${process.versions.tz}; seed ${seed}`);
say(`${zones.length} zones that both know; ${unknown} of the server's are left out, which Node.js does not know`);
const contested = zones.filter(({ years }) => years.size > 0);
say(`${disputed.length} zone-years of ${contested.length} zones are left out, in which the two databases differ` +
  (contested.length > 0 ? `: ${contested.map(({ name, years }) => `${name} ${Math.min(...years)}-${Math.max(...years)}`).join(', ')}` : ''));

// The hour of a change by the clock before and after it, and those around.
function hoursAround({ at, before, after }) {
  const shown = [at + before, at + after].map((local) => Math.floor((((local % aDay) + aDay) % aDay) / 3600));
  const [low, high] = [Math.min(...shown), Math.max(...shown)];
  return [`${low}`, `${high}`, `${(low + 23) % 24}`, `${low}-${high}`, `${Math.max(0, low - 1)}-${high}`, `*/${random.between(1, 12)}`,
    `${low}-23`, `0-${high}`, '0-23', '*'];
}

const cases = [];
const excluded = new Map();
let far = 0;
let near = 0;
let aside = 0;
while (far < wanted || near < wantedNear) {
  const zone = random.of(zones);
  let after = random.between(first, last - 1);
  let hours;
  if (zone.changes.length > 0 && (far >= wanted || random.chance(0.2))) {
    const change = random.of(zone.changes);
    const hour = 3600;
    after = Math.max(first, change.at + (random.chance(0.5) ? random.between(-2 * hour, 2 * hour) : random.between(-26 * hour, 3 * hour)));
    hours = hoursAround(change);
  }
  const text = expression(random, excluded, hours);
  const ms = after * 1000 + (random.chance(0.1) ? random.between(1, 999) : 0);
  const found = next(text, zone.name, ms);
  const until = found === null ? after : found / 1000;
  let agreed = until < last && after < last;
  for (let year = yearOf(after); agreed && year <= yearOf(until + aDay); year++) agreed = !zone.years.has(year);
  if (!agreed) {
    aside++;
    continue;
  }
  if (isNear(zone.changes, after, until)) near++;
  else if (far < wanted) far++;
  else continue;
  cases.push(`"${text}",${zone.name},${ms},${found ?? ''}\n`);
}
writeFileSync(`${folder}/cases.csv`, cases.join(''));
say(`${cases.length} cases; ${aside} were left out that reach into such a zone-year or beyond 2099`);
for (const [name, times] of excluded) say(`${times} expressions left out: ${name}`);
