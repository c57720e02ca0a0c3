// Cron expressions in plain English.
#include <array>
#include <bit>
#include <cstdio>
#include <functional>
#include <vector>

#include "core/cron.hpp"

namespace sync_engine {

namespace {

constexpr std::array<const char*, 7> kWeekdays = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                                  "Thursday", "Friday", "Saturday"};
constexpr std::array<const char*, 13> kMonths = {"",        "January",  "February", "March",  "April",
                                                 "May",     "June",     "July",     "August", "September",
                                                 "October", "November", "December"};
constexpr std::array<const char*, 6> kOrdinals = {"", "first", "second", "third", "fourth", "fifth"};
constexpr std::uint64_t kSixty = (std::uint64_t{1} << 60) - 1;
constexpr std::uint32_t kDayHours = (1U << 24) - 1;
constexpr std::uint32_t kMonthDays = 0xFFFFFFFE;
constexpr std::uint32_t kYearMonths = 0x1FFE;
// So many times of a day are told one by one.
constexpr int kMostTimes = 8;

using Name = std::function<std::string(int)>;

std::string join(const std::vector<std::string>& parts) {
    std::string out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        out += i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ";
        out += parts[i];
    }
    return out;
}

// "1, 3 and 5 to 9": three or more in a row are a range.
std::vector<std::string> parts_of(std::uint64_t set, const Name& name) {
    std::vector<std::string> parts;
    for (int i = 0; i < 64; ++i) {
        if ((set >> i & 1) == 0) {
            continue;
        }
        int last = i;
        while (last < 63 && (set >> (last + 1) & 1) != 0) {
            ++last;
        }
        if (last - i >= 2) {
            parts.push_back(name(i) + " to " + name(last));
            i = last;
        } else {
            parts.push_back(name(i));
        }
    }
    return parts;
}

std::string list(std::uint64_t set, const Name& name) {
    return join(parts_of(set, name));
}

std::string plain(int value) {
    return std::to_string(value);
}

std::string two_digits(int value) {
    return (value < 10 ? "0" : "") + std::to_string(value);
}

std::string ordinal(int value) {
    const bool teen = value / 10 == 1;
    const char* ending = teen              ? "th"
                         : value % 10 == 1 ? "st"
                         : value % 10 == 2 ? "nd"
                         : value % 10 == 3 ? "rd"
                                           : "th";
    return std::to_string(value) + ending;
}

// The n of a set that is every nth value from 0 on; 0 where it is none.
int step_of(std::uint64_t set, int values) {
    const int second =
        (set & 1) == 0 || std::popcount(set) < 2 ? 0 : std::countr_zero(set & ~std::uint64_t{1});
    for (int i = 0; second > 0 && i < values; ++i) {
        if ((set >> i & 1) != (i % second == 0 ? 1U : 0U)) {
            return 0;
        }
    }
    return second;
}

std::string within_minute(const CronExpression& cron) {
    if (!cron.has_seconds || cron.seconds == 1) {
        return "";
    }
    if (cron.seconds == kSixty) {
        return "every second of ";
    }
    const int step = step_of(cron.seconds, 60);
    if (step > 0) {
        return "every " + std::to_string(step) + " seconds of ";
    }
    return (std::popcount(cron.seconds) > 1 ? "at seconds " : "at second ") + list(cron.seconds, plain) +
           " of ";
}

std::string times_of_day(const CronExpression& cron) {
    std::vector<std::string> times;
    for (int hour = 0; hour < 24; ++hour) {
        for (int minute = 0; minute < 60; ++minute) {
            if ((cron.hours >> hour & 1) != 0 && (cron.minutes >> minute & 1) != 0) {
                times.push_back(two_digits(hour) + ":" + two_digits(minute));
            }
        }
    }
    return join(times);
}

std::string hours_of(const CronExpression& cron) {
    const int step = step_of(cron.hours, 24);
    if (cron.hours == kDayHours) {
        return "every hour";
    }
    if (step > 1) {
        return "every " + ordinal(step) + " hour";
    }
    return std::string("the ") + (std::popcount(cron.hours) > 1 ? "hours " : "hour ") +
           list(cron.hours, plain);
}

std::string time_part(const CronExpression& cron) {
    const std::string seconds = within_minute(cron);
    const bool one_by_one = std::popcount(cron.minutes) * std::popcount(cron.hours) <= kMostTimes;
    if (one_by_one) {
        return seconds.empty() ? "at " + times_of_day(cron) : seconds + times_of_day(cron);
    }
    const int step = step_of(cron.minutes, 60);
    std::string minutes;
    if (cron.minutes == kSixty) {
        minutes = "every minute";
    } else if (step > 1) {
        minutes = "every " + std::to_string(step) + " minutes";
    } else {
        minutes = std::string(seconds.empty() ? "at " : "") +
                  (std::popcount(cron.minutes) > 1 ? "minutes " : "minute ") + list(cron.minutes, plain);
    }
    if (cron.hours == kDayHours && (cron.minutes == kSixty || step > 1)) {
        return seconds + minutes;
    }
    return seconds + minutes + " of " + hours_of(cron);
}

std::vector<std::string> day_names(const CronExpression& cron) {
    std::vector<std::string> names = parts_of(cron.days, [](int day) { return "the " + ordinal(day); });
    for (const std::string& part : parts_of(cron.nearest_weekdays, ordinal)) {
        names.push_back("the working day nearest the " + part);
    }
    for (int n = 0; n < 32; ++n) {
        if ((cron.days_before_last >> n & 1) != 0) {
            names.push_back(n == 0 ? "the last day"
                                   : std::to_string(n) + (n == 1 ? " day" : " days") + " before the last");
        }
    }
    if (cron.last_working_day) {
        names.emplace_back("the last working day");
    }
    return names;
}

std::vector<std::string> weekday_names(const CronExpression& cron) {
    // Monday first, so that SAT,SUN and MON-FRI stay together.
    const std::uint64_t monday_first = (cron.weekdays >> 1) | (cron.weekdays & 1) << 6;
    std::vector<std::string> names = parts_of(monday_first, [](int day) {
        return std::string(kWeekdays[static_cast<std::size_t>((day + 1) % 7)]);
    });
    for (std::size_t weekday = 0; weekday < 7; ++weekday) {
        for (std::size_t n = 1; n <= 5; ++n) {
            if ((cron.nth_weekdays[weekday] >> n & 1) != 0) {
                names.push_back(std::string("the ") + kOrdinals[n] + " " + kWeekdays[weekday]);
            }
        }
        if ((cron.last_weekdays >> weekday & 1) != 0) {
            names.push_back(std::string("the last ") + kWeekdays[weekday]);
        }
    }
    return names;
}

bool all_days(const CronExpression& cron) {
    return cron.days == kMonthDays;
}
bool all_weekdays(const CronExpression& cron) {
    return cron.weekdays == 0x7F;
}

std::string day_part(const CronExpression& cron) {
    const std::string days = join(day_names(cron)) + " of the month";
    const std::string weekdays = join(weekday_names(cron));
    const bool both = cron.any_day || cron.any_weekday;
    if (all_days(cron) && all_weekdays(cron)) {
        return "";
    }
    if (both && all_days(cron)) {
        return " on " + weekdays;
    }
    if (both && all_weekdays(cron)) {
        return " on " + days;
    }
    return both ? " on " + days + " if it is " + weekdays : " on " + days + " and on " + weekdays;
}

}  // namespace

std::string describe_cron(const CronExpression& cron) {
    std::string out = time_part(cron) + day_part(cron);
    if (cron.months != kYearMonths) {
        out += " in " + list(cron.months,
                             [](int month) { return std::string(kMonths[static_cast<std::size_t>(month)]); });
    }
    return out;
}

}  // namespace sync_engine
