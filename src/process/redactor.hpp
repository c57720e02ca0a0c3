#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sync_engine {

// Knows every secret value this process has seen and removes them from text that leaves it. The time to scrub
// a text does not grow with the number of values. Values shorter than four bytes are not looked for: they
// would blank out ordinary words.
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
    static constexpr std::size_t kFilterBits = 1 << 16;

    void remember(std::string value);
    // The longest value that `text` begins with; empty when there is none.
    std::string_view match(std::string_view text) const;

    std::unordered_map<std::uint32_t, std::vector<std::string>>
        by_prefix_;                    // by first four bytes, longest first
    std::bitset<kFilterBits> filter_;  // which prefixes there are, hashed
};

}  // namespace sync_engine
