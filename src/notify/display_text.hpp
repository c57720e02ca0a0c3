// Text that tenants and remote APIs chose, made fit to be shown: UTF-8 (what is not becomes U+FFFD), without
// control characters and without characters that are invisible or turn the direction of writing (the marks
// of the bidirectional algorithm, zero-width spaces, tags).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sync_engine {

// One line: breaks and control characters become blanks, runs of blanks one, none stands at either end. What
// is longer than `max_characters` is cut and ends with an ellipsis.
std::string display_line(std::string_view text, std::size_t max_characters);

// The same with line breaks, each as \n, at most two in a row.
std::string display_block(std::string_view text, std::size_t max_characters);

}  // namespace sync_engine
