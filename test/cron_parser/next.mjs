// What cron-parser says: milliseconds since 1970, or null where it finds nothing.
import { createRequire } from 'node:module';

const { CronExpressionParser } = createRequire(import.meta.url)('cron-parser');

export function next(expression, zone, after) {
  try {
    return CronExpressionParser.parse(expression, { currentDate: new Date(after), tz: zone }).next().getTime();
  } catch (error) {
    // A day that no month has, or no end to the search; all else is a refusal.
    if (/Invalid explicit day of month definition|loop limit exceeded/.test(error.message)) return null;
    throw new Error(`${expression}: ${error.message}`, { cause: error });
  }
}
