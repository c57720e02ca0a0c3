// The calendar of a cron expression: local times, found by jumps from field to field.
#include <algorithm>
#include <bit>

#include "core/cron.hpp"

namespace sync_engine {

namespace {

// After which the Gregorian calendar repeats, weekdays included.
constexpr int kCycleYears = 400;
constexpr std::uint32_t kAllDays = 0xFFFFFFFE;
constexpr int kSaturday = 6;

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
    return a / b - (a % b < 0 ? 1 : 0);
}

// 2000-01-01 was a Saturday.
int weekday_of(std::int64_t day) {
    const std::int64_t since = (day + kSaturday) % 7;
    return static_cast<int>(since < 0 ? since + 7 : since);
}

// The lowest value of the set from `from` on, the highest up to `to`; -1 where there is none.
int first_from(std::uint64_t set, int from) {
    const std::uint64_t rest = from > 63 ? 0 : set >> from << from;
    return rest == 0 ? -1 : std::countr_zero(rest);
}

int last_to(std::uint64_t set, int to) {
    const std::uint64_t rest = to < 0 ? 0 : to >= 63 ? set : set & ((std::uint64_t{2} << to) - 1);
    return rest == 0 ? -1 : 63 - std::countl_zero(rest);
}

// The first second of a day at or after `from` that the expression asks for, -1 where the day has none.
int time_at_or_after(const CronExpression& cron, int from) {
    int hour = first_from(cron.hours, from / 3600);
    if (hour < 0) {
        return -1;
    }
    const int first_minute = first_from(cron.minutes, 0);
    const int first_second = first_from(cron.seconds, 0);
    if (hour == from / 3600) {
        int minute = first_from(cron.minutes, from / 60 % 60);
        if (minute == from / 60 % 60) {
            const int second = first_from(cron.seconds, from % 60);
            if (second >= 0) {
                return hour * 3600 + minute * 60 + second;
            }
            minute = first_from(cron.minutes, minute + 1);
        }
        if (minute >= 0) {
            return hour * 3600 + minute * 60 + first_second;
        }
        hour = first_from(cron.hours, hour + 1);
        if (hour < 0) {
            return -1;
        }
    }
    return hour * 3600 + first_minute * 60 + first_second;
}

int time_at_or_before(const CronExpression& cron, int to) {
    int hour = last_to(cron.hours, to / 3600);
    if (hour < 0) {
        return -1;
    }
    const int last_minute = last_to(cron.minutes, 59);
    const int last_second = last_to(cron.seconds, 59);
    if (hour == to / 3600) {
        int minute = last_to(cron.minutes, to / 60 % 60);
        if (minute == to / 60 % 60) {
            const int second = last_to(cron.seconds, to % 60);
            if (second >= 0) {
                return hour * 3600 + minute * 60 + second;
            }
            minute = last_to(cron.minutes, minute - 1);
        }
        if (minute >= 0) {
            return hour * 3600 + minute * 60 + last_second;
        }
        hour = last_to(cron.hours, hour - 1);
        if (hour < 0) {
            return -1;
        }
    }
    return hour * 3600 + last_minute * 60 + last_second;
}

struct Month {
    std::int64_t first_day;  // since 2000-01-01
    int length;
    int first_weekday;

    Month(std::int64_t year, int month)
        : first_day(days_from_civil(year, month, 1)),
          length(days_in_month(year, month)),
          first_weekday(weekday_of(first_day)) {}

    [[nodiscard]] int weekday(int day) const { return (first_weekday + day - 1) % 7; }

    // Monday to Friday next to that day, within the month.
    [[nodiscard]] int nearest_working_day(int day) const {
        switch (weekday(day)) {
            case 0:
                return day == length ? day - 2 : day + 1;
            case kSaturday:
                return day == 1 ? 3 : day - 1;
            default:
                return day;
        }
    }

    [[nodiscard]] int first_of(int weekday) const { return 1 + (weekday - first_weekday + 7) % 7; }
};

std::uint32_t bit(int n) {
    return std::uint32_t{1} << n;
}

std::uint32_t month_days(const CronExpression& cron, const Month& month) {
    const std::uint32_t all = kAllDays & (0xFFFFFFFFU >> (31 - month.length));
    std::uint32_t days = cron.days & all;
    for (int n = first_from(cron.nearest_weekdays, 1); n > 0; n = first_from(cron.nearest_weekdays, n + 1)) {
        if (n <= month.length) {
            days |= bit(month.nearest_working_day(n));
        }
    }
    for (int n = first_from(cron.days_before_last, 0); n >= 0; n = first_from(cron.days_before_last, n + 1)) {
        if (n < month.length) {
            days |= bit(month.length - n);
        }
    }
    if (cron.last_working_day) {
        days |= bit(month.nearest_working_day(month.length));
    }
    return days;
}

std::uint32_t weekday_days(const CronExpression& cron, const Month& month) {
    std::uint32_t days = 0;
    for (int weekday = 0; weekday < 7; ++weekday) {
        const bool each = (cron.weekdays >> weekday & 1) != 0;
        const bool last = (cron.last_weekdays >> weekday & 1) != 0;
        const std::uint8_t nth = cron.nth_weekdays[static_cast<std::size_t>(weekday)];
        if (!each && !last && nth == 0) {
            continue;
        }
        int count = 0;
        for (int day = month.first_of(weekday); day <= month.length; day += 7) {
            ++count;
            if (each || (nth >> count & 1) != 0 || (last && day + 7 > month.length)) {
                days |= bit(day);
            }
        }
    }
    return days;
}

std::uint32_t days_of(const CronExpression& cron, const Month& month) {
    const std::uint32_t by_day = month_days(cron, month);
    const std::uint32_t by_weekday = weekday_days(cron, month);
    return cron.any_day || cron.any_weekday ? by_day & by_weekday : by_day | by_weekday;
}

std::int64_t bits(std::uint64_t set) {
    return std::popcount(set);
}

std::int64_t bits_below(std::uint64_t set, int n) {
    return bits(set & ((std::uint64_t{1} << n) - 1));
}

bool has(std::uint64_t set, int n) {
    return (set >> n & 1) != 0;
}

// How many times of a day before that one match.
std::int64_t times_before(const CronExpression& cron, int time) {
    const std::int64_t in_minute = bits(cron.seconds);
    const std::int64_t in_hour = bits(cron.minutes) * in_minute;
    std::int64_t count = bits_below(cron.hours, time / 3600) * in_hour;
    if (has(cron.hours, time / 3600)) {
        count += bits_below(cron.minutes, time / 60 % 60) * in_minute;
        if (has(cron.minutes, time / 60 % 60)) {
            count += bits_below(cron.seconds, time % 60);
        }
    }
    return count;
}

// How many days since 2000-01-01, from the first to before the second, match.
std::int64_t days_between(const CronExpression& cron, std::int64_t from, std::int64_t to) {
    std::int64_t count = 0;
    while (from < to) {
        const CivilDate date = civil_from_days(from);
        const Month month(date.year, date.month);
        const std::int64_t end = std::min(to, month.first_day + month.length);
        if (has(cron.months, date.month)) {
            const std::uint64_t days = std::uint64_t{days_of(cron, month)} >> date.day;
            count += bits_below(days, static_cast<int>(end - from));
        }
        from = end;
    }
    return count;
}

}  // namespace

std::uint32_t cron_days(const CronExpression& cron, std::int64_t year, int month) {
    return days_of(cron, Month(year, month));
}

bool cron_matches(const CronExpression& cron, LocalSeconds local) {
    const std::int64_t day = floor_div(local, kSecondsPerDay);
    const int time = static_cast<int>(local - day * kSecondsPerDay);
    const CivilDate date = civil_from_days(day);
    return (cron.hours >> (time / 3600) & 1) != 0 && (cron.minutes >> (time / 60 % 60) & 1) != 0 &&
           (cron.seconds >> (time % 60) & 1) != 0 && (cron.months >> date.month & 1) != 0 &&
           (cron_days(cron, date.year, date.month) >> date.day & 1) != 0;
}

std::int64_t cron_count_local(const CronExpression& cron, LocalSeconds from, LocalSeconds to) {
    if (from >= to) {
        return 0;
    }
    const std::int64_t first = floor_div(from, kSecondsPerDay);
    const std::int64_t last = floor_div(to, kSecondsPerDay);
    const std::int64_t in_day = bits(cron.hours) * bits(cron.minutes) * bits(cron.seconds);
    return days_between(cron, first, last) * in_day -
           days_between(cron, first, first + 1) *
               times_before(cron, static_cast<int>(from - first * kSecondsPerDay)) +
           days_between(cron, last, last + 1) *
               times_before(cron, static_cast<int>(to - last * kSecondsPerDay));
}

std::optional<LocalSeconds> cron_at_or_after(const CronExpression& cron, LocalSeconds local) {
    std::int64_t start = floor_div(local, kSecondsPerDay);
    const int today = time_at_or_after(cron, static_cast<int>(local - start * kSecondsPerDay));
    const int first_time = time_at_or_after(cron, 0);
    const CivilDate date = civil_from_days(start);
    for (std::int64_t year = date.year; year <= date.year + kCycleYears; ++year) {
        int number = first_from(cron.months, year == date.year ? date.month : 1);
        for (; number > 0; number = first_from(cron.months, number + 1)) {
            const Month month(year, number);
            const std::uint32_t days = days_of(cron, month);
            const bool current = year == date.year && number == date.month;
            int day = first_from(days, current ? date.day : 1);
            if (current && day == date.day) {
                if (today >= 0) {
                    return start * kSecondsPerDay + today;
                }
                day = first_from(days, day + 1);
            }
            if (day > 0) {
                return (month.first_day + day - 1) * kSecondsPerDay + first_time;
            }
        }
    }
    return std::nullopt;
}

std::optional<LocalSeconds> cron_at_or_before(const CronExpression& cron, LocalSeconds local) {
    const std::int64_t start = floor_div(local, kSecondsPerDay);
    const int today = time_at_or_before(cron, static_cast<int>(local - start * kSecondsPerDay));
    const int last_time = time_at_or_before(cron, static_cast<int>(kSecondsPerDay - 1));
    const CivilDate date = civil_from_days(start);
    for (std::int64_t year = date.year; year >= date.year - kCycleYears; --year) {
        int number = last_to(cron.months, year == date.year ? date.month : 12);
        for (; number > 0; number = last_to(cron.months, number - 1)) {
            const Month month(year, number);
            const std::uint32_t days = days_of(cron, month);
            const bool current = year == date.year && number == date.month;
            int day = last_to(days, current ? date.day : 31);
            if (current && day == date.day) {
                if (today >= 0) {
                    return start * kSecondsPerDay + today;
                }
                day = last_to(days, day - 1);
            }
            if (day > 0) {
                return (month.first_day + day - 1) * kSecondsPerDay + last_time;
            }
        }
    }
    return std::nullopt;
}

}  // namespace sync_engine
