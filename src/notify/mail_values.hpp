// Values of a notification's payload as people read them. Internal to mail_content. Whatever is missing or of
// another type than expected reads as empty text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <rapidjson/document.h>

#include "notify/mail_content.hpp"

namespace sync_engine {

inline constexpr std::size_t kMaxTitleCharacters = 300;
inline constexpr std::size_t kMaxBlockCharacters = 2000;
inline constexpr std::size_t kMaxValueCharacters = 300;
inline constexpr std::size_t kMaxCellCharacters = 120;
inline constexpr std::size_t kMaxTableRows = 50;

using Json = rapidjson::Value;

// The member of that name where it is an object, else one that is empty.
const Json& object_at(const Json& object, std::string_view name);
// The same for an array.
const Json& array_at(const Json& object, std::string_view name);

// A string, number or truth value on one line.
std::string text_of(const Json& value, std::size_t max_characters = kMaxValueCharacters);
std::string text_at(const Json& object, std::string_view name,
                    std::size_t max_characters = kMaxValueCharacters);
// With its line breaks.
std::string block_at(const Json& object, std::string_view name);

std::optional<double> number_at(const Json& object, std::string_view name);
// "5,000"
std::string count_at(const Json& object, std::string_view name);
// Whether there is a number that is not 0.
bool any_at(const Json& object, std::string_view name);
// "2026-03-01 12:15 UTC"; the local time where there is a member <name>_local.
std::string time_at(const Json& object, std::string_view name);

// "340 ms", "5.1 s", "30 min", "2 h 5 min", "3 d 4 h"
std::string duration_text(double seconds);
// "512 bytes", "41.0 kB"
std::string bytes_text(double bytes);
// 0.983 as "98.3%"
std::string percent_text(double fraction);

// "Anvils (acme/anvils, github)"
std::string connection_text(const Json& connection);
// Its name, else its id.
std::string name_text(const Json& object);

// "auto_paused" as "Auto paused"
std::string words_of(std::string_view identifier);

// The URL where it is http or https and can be written into a mail, else empty.
std::string link_url(std::string_view url);

// Adds the row where there is a value.
void add_row(MailSection& section, std::string_view label, std::string value);
// Adds the section where it tells anything.
void add_section(MailContent& content, MailSection section);
// How many rows to add of `count`; notes how many of `total` are left out.
std::size_t shown_rows(MailTable& table, std::size_t count, std::optional<double> total = std::nullopt);

}  // namespace sync_engine
