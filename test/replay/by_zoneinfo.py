"""When a cron expression runs, by Python's own calendar and time zones: what the judge's list is held against."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

BOUNDS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
SECOND = timedelta(seconds=1)


def values_of(text, low, high):
    """The values of a field of numbers; None where it is of another kind."""
    values = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            first, last = low, high
        elif not first.isdigit() or (last and not last.isdigit()):
            return None
        last = last or (high if step else first)
        values.update(range(int(first), int(last) + 1, int(step or 1)))
    return values


def end_of_gap(zone, low, high):
    """The first instant after the one change of the offset that lies between two instants."""
    before = low.astimezone(zone).utcoffset()
    while high - low > SECOND:
        middle = low + timedelta(seconds=(high - low).total_seconds() // 2)
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def instants_of(local, zone, gap, fold):
    both = [local.replace(tzinfo=zone, fold=n).astimezone(timezone.utc) for n in (0, 1)]
    if both[0].astimezone(zone).replace(tzinfo=None) == local:
        return both if fold == "both" else [both[fold == "second"]]
    # A local time that does not exist: with fold=1 the offset is that after the gap, which leads to before it.
    return [end_of_gap(zone, both[1], both[0])] if gap == "run_after" else []


def instants(expression, zone, gap, fold, first, days):
    """The instants of so many local days, as a set; None for expressions that this does not read."""
    fields = expression.split()
    fields = fields if len(fields) == 6 else ["0", *fields]
    if len(fields) != 6 or fields[2][0] == "*" or (fields[3][0] != "*" and fields[5][0] != "*"):
        return None
    sets = [values_of(text, *bounds) for text, bounds in zip(fields, BOUNDS)]
    if None in sets:
        return None
    seconds, minutes, hours, in_month, months, weekdays = sets
    found = set()
    for day in (first + timedelta(days=n) for n in range(days)):
        if day.day in in_month and day.month in months and {day.isoweekday(), day.isoweekday() % 7} & weekdays:
            for local in (datetime(day.year, day.month, day.day, h, m, s)
                          for h in hours for m in minutes for s in seconds):
                found.update(instants_of(local, ZoneInfo(zone), gap, fold))
    return found
