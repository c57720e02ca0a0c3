#include "core/time.hpp"

#include <cstdio>

namespace sync_engine {
namespace {

constexpr int kMaxOffsetHours = 15;

// A cursor over the text; every read_ function leaves it after what was read and returns false on a mismatch.
struct Reader {
    std::string_view rest;

    bool at_end() const { return rest.empty(); }

    bool accept(char wanted) {
        if (rest.empty() || rest.front() != wanted) {
            return false;
        }
        rest.remove_prefix(1);
        return true;
    }

    bool next_is_digit() const { return !rest.empty() && rest.front() >= '0' && rest.front() <= '9'; }

    int take_digit() {
        const int digit = rest.front() - '0';
        rest.remove_prefix(1);
        return digit;
    }

    bool read_two_digits(int max, int& value) {
        value = 0;
        for (int i = 0; i < 2; ++i) {
            if (!next_is_digit()) {
                return false;
            }
            value = value * 10 + take_digit();
        }
        return value <= max;
    }
};

bool read_year(Reader& in, std::int64_t& year) {
    const bool negative = in.accept('-');
    if (!negative) {
        in.accept('+');
    }
    int digits = 0;
    bool leading_zero = false;
    for (year = 0; in.next_is_digit(); ++digits) {
        const int digit = in.take_digit();
        leading_zero = leading_zero || (digits == 0 && digit == 0);
        year = year * 10 + digit;
        if (digits >= 6) {
            return false;
        }
    }
    if (digits < 4 || (digits > 4 && leading_zero) || (negative && year == 0)) {
        return false;
    }
    year = negative ? -year : year;
    return true;
}

bool read_date(Reader& in, std::int64_t& days) {
    std::int64_t year = 0;
    int month = 0;
    int day = 0;
    if (!read_year(in, year) || !in.accept('-') || !in.read_two_digits(12, month) || month == 0 ||
        !in.accept('-') || !in.read_two_digits(31, day) || day == 0 || day > days_in_month(year, month)) {
        return false;
    }
    days = days_from_civil(year, month, day);
    return true;
}

// Microseconds of a fraction whose point is already read, rounded half up at the seventh digit.
bool read_fraction(Reader& in, std::int64_t& micros) {
    if (!in.next_is_digit()) {
        return false;
    }
    micros = 0;
    int digits = 0;
    for (; in.next_is_digit(); ++digits) {
        const int digit = in.take_digit();
        if (digits < 6) {
            micros = micros * 10 + digit;
        } else if (digits == 6 && digit >= 5) {
            ++micros;
        }
    }
    for (; digits < 6; ++digits) {
        micros *= 10;
    }
    return true;
}

// Microseconds since midnight.
bool read_time_of_day(Reader& in, std::int64_t& micros) {
    int hour = 0;
    int minute = 0;
    int second = 0;
    std::int64_t fraction = 0;
    if (!in.read_two_digits(24, hour) || !in.accept(':') || !in.read_two_digits(59, minute)) {
        return false;
    }
    if (in.accept(':')) {
        if (!in.read_two_digits(60, second)) {
            return false;
        }
        if ((in.accept('.') || in.accept(',')) && !read_fraction(in, fraction)) {
            return false;
        }
    }
    micros = ((hour * 60 + minute) * 60 + second) * kMicrosPerSecond + fraction;
    return hour < 24 || micros == kSecondsPerDay * kMicrosPerSecond;
}

// Seconds that local time is ahead of UTC; 0 where no offset is written.
bool read_offset(Reader& in, std::int64_t& seconds) {
    seconds = 0;
    if (in.at_end() || in.accept('Z') || in.accept('z')) {
        return true;
    }
    const bool negative = in.accept('-');
    if (!negative && !in.accept('+')) {
        return false;
    }
    int hour = 0;
    int minute = 0;
    if (!in.read_two_digits(kMaxOffsetHours, hour)) {
        return false;
    }
    if (!in.at_end()) {
        in.accept(':');
        if (!in.read_two_digits(59, minute)) {
            return false;
        }
    }
    seconds = (hour * 60 + minute) * 60;
    seconds = negative ? -seconds : seconds;
    return true;
}

}  // namespace

CivilDate civil_from_days(std::int64_t days) {
    const std::int64_t since_year_zero = days + 730'425;
    const std::int64_t era = (since_year_zero >= 0 ? since_year_zero : since_year_zero - 146'096) / 146'097;
    const std::int64_t day_of_era = since_year_zero - era * 146'097;
    const std::int64_t year_of_era =
        (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
    const std::int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    const int shifted_month = static_cast<int>((5 * day_of_year + 2) / 153);
    const int month = shifted_month + (shifted_month < 10 ? 3 : -9);
    const int day = static_cast<int>(day_of_year - (153 * shifted_month + 2) / 5 + 1);
    return {year_of_era + era * 400 + (month <= 2 ? 1 : 0), month, day};
}

std::optional<TimestampUs> parse_utc(std::string_view text) {
    Reader in{text};
    std::int64_t days = 0;
    std::int64_t micros = 0;
    std::int64_t offset_seconds = 0;
    if (!read_date(in, days)) {
        return std::nullopt;
    }
    if (!in.at_end()) {
        if (!in.accept('T') && !in.accept('t') && !in.accept(' ')) {
            return std::nullopt;
        }
        if (!read_time_of_day(in, micros) || !read_offset(in, offset_seconds) || !in.at_end()) {
            return std::nullopt;
        }
    }
    // Six digits of a year overflow 64 bits of microseconds, so whole seconds are added up and tested first.
    const std::int64_t seconds = days * kSecondsPerDay - offset_seconds;
    TimestampUs result = 0;
    if (__builtin_mul_overflow(seconds, kMicrosPerSecond, &result) ||
        __builtin_add_overflow(result, micros, &result) || !is_finite(result)) {
        return std::nullopt;
    }
    return result;
}

std::size_t format_utc(TimestampUs t, char (&buffer)[kUtcTextSize]) {
    buffer[0] = '\0';
    if (!is_finite(t)) {
        return 0;
    }
    constexpr std::int64_t kMicrosPerDay = kSecondsPerDay * kMicrosPerSecond;
    std::int64_t days = t / kMicrosPerDay;
    std::int64_t micros = t % kMicrosPerDay;
    if (micros < 0) {
        micros += kMicrosPerDay;
        --days;
    }
    const CivilDate date = civil_from_days(days);
    const int second_of_day = static_cast<int>(micros / kMicrosPerSecond);
    const int fraction = static_cast<int>(micros % kMicrosPerSecond);
    const long year = static_cast<long>(date.year < 0 ? -date.year : date.year);
    int length = std::snprintf(buffer, kUtcTextSize, "%s%04ld-%02d-%02dT%02d:%02d:%02d",
                               date.year < 0 ? "-" : "", year, date.month, date.day, second_of_day / 3'600,
                               second_of_day / 60 % 60, second_of_day % 60);
    if (fraction != 0) {
        length += std::snprintf(buffer + length, kUtcTextSize - length, ".%06d", fraction);
        while (buffer[length - 1] == '0') {
            --length;
        }
    }
    buffer[length++] = 'Z';
    buffer[length] = '\0';
    return static_cast<std::size_t>(length);
}

std::string format_utc(TimestampUs t) {
    char buffer[kUtcTextSize];
    return std::string(buffer, format_utc(t, buffer));
}

}  // namespace sync_engine
