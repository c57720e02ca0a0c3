// Cron expressions as text.
#include <algorithm>
#include <charconv>
#include <vector>

#include "core/cron.hpp"

namespace sync_engine {

namespace {

constexpr std::size_t kMostText = 1000;
constexpr int kMostBeforeLast = 30;

struct Field {
    const char* name;
    int low;
    int high;
    const char* const* names;  // of three letters each, for low, low + 1, ...
    int name_count;
};

constexpr const char* kMonthNames[] = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                       "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr const char* kWeekdayNames[] = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

constexpr Field kSecond = {"second", 0, 59, nullptr, 0};
constexpr Field kMinute = {"minute", 0, 59, nullptr, 0};
constexpr Field kHour = {"hour", 0, 23, nullptr, 0};
constexpr Field kDay = {"day of month", 1, 31, nullptr, 0};
constexpr Field kMonth = {"month", 1, 12, kMonthNames, 12};
constexpr Field kWeekday = {"day of week", 0, 7, kWeekdayNames, 7};

struct Alias {
    std::string_view name;
    std::string_view meaning;
};
constexpr Alias kAliases[] = {
    {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"}, {"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
    {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@hourly", "0 * * * *"}};

constexpr const char* kFieldsHint =
    "Five fields: minute hour day-of-month month day-of-week, or six with seconds first; for instance 30 2 * "
    "* "
    "MON-FRI.";

// Of ASCII letters, whatever the locale.
std::string upper(std::string_view text) {
    std::string out(text);
    std::transform(out.begin(), out.end(), out.begin(),
                   [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    return out;
}

bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

std::vector<std::string_view> split(std::string_view text, bool (*separates)(char), bool keep_empty) {
    std::vector<std::string_view> parts;
    std::size_t begin = 0;
    for (std::size_t i = 0; i <= text.size(); ++i) {
        if (i == text.size() || separates(text[i])) {
            if (keep_empty || i > begin) {
                parts.push_back(text.substr(begin, i - begin));
            }
            begin = i + 1;
        }
    }
    return parts;
}

std::string quoted(std::string_view text) {
    return '"' + std::string(text) + '"';
}

// A number and nothing else.
std::optional<int> number(std::string_view text) {
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || error != std::errc() || end != text.data() + text.size() || text.front() == '-') {
        return std::nullopt;
    }
    return value;
}

std::optional<int> named(const Field& field, std::string_view text) {
    for (int i = 0; i < field.name_count; ++i) {
        if (text == field.names[i]) {
            return field.low + i;
        }
    }
    return std::nullopt;
}

// Reads one expression; the first fault is kept.
class Parser {
  public:
    std::variant<CronExpression, CronFault> parse(std::string_view text);

  private:
    void fail(std::string message, std::string hint = kFieldsHint) {
        if (!fault_) {
            fault_ = CronFault{std::move(message), std::move(hint)};
        }
    }
    void fail_in(const Field& field, std::string_view item, const std::string& why);

    std::optional<int> value(const Field& field, std::string_view item, std::string_view text);
    std::uint64_t item(const Field& field, std::string_view text);
    std::uint64_t simple_field(const Field& field, std::string_view text);
    bool special_day(std::string_view item);
    bool special_weekday(std::string_view item);
    void days(std::string_view text);
    void weekdays(std::string_view text);

    CronExpression cron_;
    std::optional<CronFault> fault_;
};

void Parser::fail_in(const Field& field, std::string_view item, const std::string& why) {
    fail("the " + std::string(field.name) + " field cannot be " + quoted(item) + ": " + why,
         "It takes values from " + std::to_string(field.low) + " to " + std::to_string(field.high) +
             ", ranges (1-5), lists (1,3) and steps (*/2).");
}

std::optional<int> Parser::value(const Field& field, std::string_view item, std::string_view text) {
    std::optional<int> found = named(field, text);
    if (!found) {
        found = number(text);
    }
    if (!found) {
        fail_in(field, item, text.empty() ? "a value is missing" : quoted(text) + " is no value of it");
        return std::nullopt;
    }
    if (*found < field.low || *found > field.high) {
        fail_in(field, item, std::to_string(*found) + " is out of its range");
        return std::nullopt;
    }
    return found;
}

// `*`, a value, a range, or one of these with a step; a step of a value goes on to the field's end.
std::uint64_t Parser::item(const Field& field, std::string_view text) {
    const std::size_t slash = text.find('/');
    const std::string_view base = text.substr(0, slash);
    int step = 1;
    if (slash != std::string_view::npos) {
        const std::optional<int> given = number(text.substr(slash + 1));
        if (!given || *given < 1) {
            fail_in(field, text, "a step is a number from 1 on");
            return 0;
        }
        step = *given;
    }
    int first = field.low;
    int last = field.high == 7 ? 6 : field.high;
    if (base != "*") {
        const std::size_t dash = base.find('-');
        const std::optional<int> low = value(field, text, base.substr(0, dash));
        if (!low) {
            return 0;
        }
        first = *low;
        if (dash != std::string_view::npos) {
            const std::optional<int> high = value(field, text, base.substr(dash + 1));
            if (!high) {
                return 0;
            }
            last = *high;
            // SAT-SUN ends on the Sunday after, which is 7.
            if (field.high == 7 && last == 0 && first > 0) {
                last = 7;
            }
            if (last < first) {
                fail_in(field, text, "the range runs backwards");
                return 0;
            }
        } else if (slash == std::string_view::npos) {
            last = first;
        } else if (field.high == 7) {
            first %= 7;  // Sunday is the first of the week for steps
        }
    }
    std::uint64_t set = 0;
    for (int i = first; i <= last; i += std::min(step, 100)) {
        set |= std::uint64_t{1} << i;
    }
    return set;
}

std::uint64_t Parser::simple_field(const Field& field, std::string_view text) {
    std::uint64_t set = 0;
    for (const std::string_view part : split(
             text, [](char c) { return c == ','; }, true)) {
        set |= item(field, part);
    }
    return set;
}

// L, L-3, LW, 15W.
bool Parser::special_day(std::string_view item) {
    if (item == "L") {
        cron_.days_before_last |= 1;
        return true;
    }
    if (item == "LW") {
        cron_.last_working_day = true;
        return true;
    }
    if (item.starts_with("L-")) {
        const std::optional<int> before = number(item.substr(2));
        if (!before || *before > kMostBeforeLast) {
            fail_in(kDay, item,
                    "L-n is for n days before the last, up to " + std::to_string(kMostBeforeLast));
        } else {
            cron_.days_before_last |= std::uint32_t{1} << *before;
        }
        return true;
    }
    if (item.size() > 1 && item.ends_with('W')) {
        if (const std::optional<int> day = value(kDay, item, item.substr(0, item.size() - 1))) {
            cron_.nearest_weekdays |= std::uint32_t{1} << *day;
        }
        return true;
    }
    return false;
}

// FRI#2, FRIL.
bool Parser::special_weekday(std::string_view item) {
    const std::size_t hash = item.find('#');
    if (hash != std::string_view::npos) {
        const std::optional<int> day = value(kWeekday, item, item.substr(0, hash));
        const std::optional<int> nth = number(item.substr(hash + 1));
        if (day && (!nth || *nth < 1 || *nth > 5)) {
            fail_in(kWeekday, item, "after # comes which of the month's, 1 to 5");
        } else if (day) {
            cron_.nth_weekdays[static_cast<std::size_t>(*day % 7)] |= static_cast<std::uint8_t>(1 << *nth);
        }
        return true;
    }
    if (item == "L") {
        fail_in(kWeekday, item, "it does not say the last of which weekday, as FRIL does");
        return true;
    }
    if (item.size() > 1 && item.ends_with('L')) {
        if (const std::optional<int> day = value(kWeekday, item, item.substr(0, item.size() - 1))) {
            cron_.last_weekdays |= static_cast<std::uint8_t>(1 << (*day % 7));
        }
        return true;
    }
    return false;
}

void Parser::days(std::string_view text) {
    cron_.any_day = text == "?" || text.starts_with('*');
    for (const std::string_view part : split(
             text == "?" ? "*" : text, [](char c) { return c == ','; }, true)) {
        if (!special_day(part)) {
            cron_.days |= static_cast<std::uint32_t>(item(kDay, part));
        }
    }
}

void Parser::weekdays(std::string_view text) {
    cron_.any_weekday = text == "?" || text.starts_with('*');
    for (const std::string_view part : split(
             text == "?" ? "*" : text, [](char c) { return c == ','; }, true)) {
        if (!special_weekday(part)) {
            const std::uint64_t set = item(kWeekday, part);
            cron_.weekdays |= static_cast<std::uint8_t>((set | set >> 7) & 0x7F);
        }
    }
}

std::variant<CronExpression, CronFault> Parser::parse(std::string_view text) {
    if (text.size() > kMostText) {
        return CronFault{"the expression is longer than " + std::to_string(kMostText) + " characters",
                         kFieldsHint};
    }
    const std::string whole = upper(text);
    std::vector<std::string_view> fields = split(whole, is_blank, false);
    if (fields.size() == 1 && fields[0].starts_with('@')) {
        for (const Alias& alias : kAliases) {
            if (upper(alias.name) == fields[0]) {
                return Parser().parse(alias.meaning);
            }
        }
        return CronFault{quoted(text) + " is not known",
                         "There are @yearly, @monthly, @weekly, @daily, @midnight and @hourly."};
    }
    if (fields.size() != 5 && fields.size() != 6) {
        return CronFault{
            "a cron expression has five fields, or six with seconds, not " + std::to_string(fields.size()),
            kFieldsHint};
    }
    cron_.has_seconds = fields.size() == 6;
    cron_.seconds = 1;
    if (cron_.has_seconds) {
        cron_.seconds = simple_field(kSecond, fields[0]);
        fields.erase(fields.begin());
    }
    cron_.minutes = simple_field(kMinute, fields[0]);
    cron_.hours = static_cast<std::uint32_t>(simple_field(kHour, fields[1]));
    cron_.every_hour = fields[1].starts_with('*');
    days(fields[2]);
    cron_.months = static_cast<std::uint32_t>(simple_field(kMonth, fields[3]));
    weekdays(fields[4]);
    if (fault_) {
        return *fault_;
    }
    return cron_;
}

}  // namespace

std::variant<CronExpression, CronFault> parse_cron(std::string_view text) {
    return Parser().parse(text);
}

}  // namespace sync_engine
