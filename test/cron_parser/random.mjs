// Random numbers that a seed repeats (mulberry32), and the expressions made of them.

export class Random {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  fraction() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), this.state | 1);
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  between(low, high) {
    return low + Math.floor(this.fraction() * (high - low + 1));
  }

  chance(probability) {
    return this.fraction() < probability;
  }

  of(list) {
    return list[this.between(0, list.length - 1)];
  }
}

const months = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
const weekdays = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const second = { low: 0, high: 59 };
const minute = { low: 0, high: 59 };
const hour = { low: 0, high: 23 };
const day = { low: 1, high: 31, question: true };
const month = { low: 1, high: 12, names: months };
const weekday = { low: 0, high: 7, names: weekdays, question: true };
const aliases = ['@yearly', '@annually', '@monthly', '@weekly', '@daily', '@hourly'];

// What both sides read but mean, or only one of them reads. The generator makes these too and leaves them out, counted;
// docs/cron.md explains each, examples.csv shows it.
const exclusions = [
  {
    // Vixie's rule: 0 0 */2 * SUN is both for us, either for cron-parser, to which only a bare * or ? is no restriction.
    name: 'stepped star in one field of days, the other restricted',
    applies: ({ day, weekday }) =>
      (day.startsWith('*/') && !isStar(weekday)) || (weekday.startsWith('*/') && !isStar(day)),
  },
  {
    // Steps of weekdays from a value on end on Saturday for us, on the Sunday after for cron-parser (5/2 is 5 and 7),
    // to which Sunday as 7 is the end.
    name: 'step of weekdays from a value on that meets the Sunday after',
    applies: ({ weekday }) => {
      const found = weekday.match(/^(\w+)\/(\d+)$/);
      if (!found || found[1] === '0' || /^sun$/i.test(found[1])) return false;
      const from = weekdays.includes(found[1].toLowerCase()) ? weekdays.indexOf(found[1].toLowerCase()) : Number(found[1]);
      return (7 - from) % Number(found[2]) === 0;
    },
  },
  {
    // cron-parser refuses a range of weekdays that ends with the name of Sunday.
    name: 'range of weekdays that ends with SUN',
    applies: ({ weekday }) => /[1-6a-z]-(sun|0)\b/i.test(weekday),
  },
  {
    // cron-parser refuses a list that names a value twice.
    name: 'list that names a value twice',
    applies: (fields) => fields.repeats,
  },
  {
    // cron-parser reads L in capitals only.
    name: 'l in small letters',
    applies: ({ day, weekday }) => /l(,|$)/.test(day) || /l(,|$)/.test(weekday),
  },
  {
    // cron-parser takes one # by itself.
    name: '# in a list',
    applies: ({ weekday }) => weekday.includes('#') && weekday.includes(','),
  },
  {
    // cron-parser knows neither.
    name: 'L-3, LW and 15W in day-of-month, @midnight',
    applies: ({ day, whole }) => /L-|W/i.test(day) || whole === '@midnight',
  },
];

const isStar = (field) => field === '*' || field === '?';

function written(random, value, names, low) {
  if (names && value - low < names.length && random.chance(0.4)) {
    const name = names[value - low];
    return random.of([name, name.toUpperCase(), name[0].toUpperCase() + name.slice(1)]);
  }
  return random.chance(0.03) ? String(value).padStart(2, '0') : String(value);
}

// One item of a list: [text, values].
function item(random, { low, high, names }) {
  const first = random.between(low, high);
  const values = [];
  let text = written(random, first, names, low);
  let last = first;
  let step = 1;
  if (random.chance(0.4)) {
    last = random.between(first, high);
    text += `-${written(random, last, names, low)}`;
    if (random.chance(0.3)) text += `/${(step = random.between(1, high - low))}`;
  }
  for (let value = first; value <= last; value += step) values.push(high === 7 ? value % 7 : value);
  return [text, values];
}

function field(random, what, repeats) {
  const { low, high, names, question } = what;
  const kind = random.between(0, 9);
  if (kind < 3) return question && random.chance(0.1) ? '?' : '*';
  if (kind === 3) return `*/${random.between(1, random.chance(0.1) ? 2 * high : high)}`;
  if (kind === 4) return `${written(random, random.between(low, high), names, low)}/${random.between(1, high)}`;
  if (kind === 5) {
    const texts = [];
    const seen = new Set();
    for (let n = random.between(2, 4); n > 0; n--) {
      const [text, values] = item(random, what);
      if (values.some((value) => seen.has(value))) {
        if (!random.chance(0.02)) continue;
        repeats.found = true;
      }
      values.forEach((value) => seen.add(value));
      texts.push(text);
    }
    return texts.join(',');
  }
  return item(random, what)[0];
}

function dayField(random, repeats) {
  if (!random.chance(0.12)) return random.chance(0.4) ? '*' : field(random, day, repeats);
  return random.of(['L', 'L', 'L', `${random.between(1, 27)},L`, 'l', 'L-3', 'LW', '15W']);
}

function weekdayField(random, repeats) {
  if (!random.chance(0.15)) return random.chance(0.4) ? '*' : field(random, weekday, repeats);
  const one = written(random, random.between(0, 7), weekdays, 0).replace(/^0(?=.)/, '');
  return random.of([`${one}L`, `${one}L`, `${one}#${random.between(1, 5)}`, `${one}#${random.between(1, 5)}`,
    `${random.between(1, 3)},${random.between(4, 6)}L`, `${one}l`, '1#2,3']);
}

// An expression that both read alike, counting in `excluded` those that were left out on the way to it. `hours`, where
// given, is what the hour field is likely to name, on days that are likely to be any.
export function expression(random, excluded, hours) {
  for (;;) {
    const repeats = { found: false };
    const daily = hours && random.chance(0.7);
    const fields = {
      minute: field(random, minute, repeats),
      hour: hours && random.chance(0.7) ? random.of(hours) : field(random, hour, repeats),
      day: daily ? '*' : dayField(random, repeats),
      month: daily || random.chance(0.6) ? '*' : field(random, month, repeats),
      weekday: daily ? '*' : weekdayField(random, repeats),
    };
    const seconds = random.chance(0.2) ? `${field(random, second, repeats)} ` : '';
    let whole = `${seconds}${fields.minute} ${fields.hour} ${fields.day} ${fields.month} ${fields.weekday}`;
    if (random.chance(0.01)) {
      whole = random.of([...aliases, '@midnight']);
      Object.assign(fields, { day: '*', weekday: '*' });
      repeats.found = false;
    }
    const reason = exclusions.find(({ applies }) => applies({ ...fields, whole, repeats: repeats.found }));
    if (!reason) return whole;
    excluded.set(reason.name, (excluded.get(reason.name) ?? 0) + 1);
  }
}
