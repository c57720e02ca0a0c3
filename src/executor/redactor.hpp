#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sync_engine {

// Knows every secret value this process has seen and removes them from text that leaves it.
// Values shorter than four bytes are not looked for: they would blank out ordinary words.
class Redactor {
  public:
    static constexpr std::size_t kShortest = 4;

    // Remembers `value`, also as it looks percent-encoded and escaped in JSON. Idempotent.
    void add(std::string_view value);

    // `text` with every known value replaced by "[redacted]".
    std::string scrub(std::string_view text) const;

    // scrub, without a copy when there is nothing to remove.
    void scrub_in_place(std::string& text) const;

  private:
    void remember(std::string value);

    std::vector<std::string> values_;  // longest first, so that a value inside another leaves no tail
};

}  // namespace sync_engine
