// The changes of the clocks by Node's own time zone database, found as changes.sql finds the server's.

const step = 21 * 86_400;
const end = Date.UTC(2101, 0, 1) / 1000;

class Zone {
  constructor(name) {
    this.format = new Intl.DateTimeFormat('en-US', { timeZone: name, timeZoneName: 'longOffset' });
  }

  // Seconds east of UTC: "1/1/1970, GMT-00:44:30".
  offsetAt(epoch) {
    const [, sign, hours, minutes, seconds] = this.format.format(epoch * 1000).match(/GMT(?:([+-])(\d+):(\d+)(?::(\d+))?)?$/);
    return sign ? (sign === '-' ? -1 : 1) * (hours * 3600 + minutes * 60 + Number(seconds ?? 0)) : 0;
  }
}

export function changesOf(name) {
  const zone = new Zone(name);
  let before = zone.offsetAt(0);
  const changes = [{ at: 0, before, after: before }];
  for (let stepEnd = step; stepEnd <= end; stepEnd += step) {
    const after = zone.offsetAt(stepEnd);
    let low = stepEnd - step;
    while (before !== after) {
      let high = stepEnd;
      while (high - low > 1) {
        const middle = Math.floor((low + high) / 2);
        if (zone.offsetAt(middle) === before) low = middle;
        else high = middle;
      }
      const now = zone.offsetAt(high);
      changes.push({ at: high, before, after: now });
      before = now;
      low = high;
    }
  }
  return changes;
}

export function isKnown(name) {
  try {
    return Boolean(new Intl.DateTimeFormat('en-US', { timeZone: name }));
  } catch {
    return false;
  }
}
