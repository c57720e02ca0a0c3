#include "core/utf8.hpp"

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

TEST(Utf8, MeasuresWellFormedCharactersOnly) {
    EXPECT_EQ(utf8_character_length("a"), 1U);
    EXPECT_EQ(utf8_character_length("\xC3\xBC!"), 2U);
    EXPECT_EQ(utf8_character_length("\xE2\x82\xAC"), 3U);
    EXPECT_EQ(utf8_character_length("\xF0\x9F\x98\x80"), 4U);
    // Nothing, a lone continuation, overlong, cut, a surrogate, above U+10FFFF.
    for (const char* bad : {"", "\x80", "\xC0\x80", "\xE2\x82", "\xED\xA0\x80", "\xF4\x90\x80\x80"}) {
        EXPECT_EQ(utf8_character_length(bad), 0U);
    }
}

TEST(Utf8, TruncatesBetweenCharacters) {
    EXPECT_EQ(truncate_utf8("abc", 3), "abc");
    EXPECT_EQ(truncate_utf8("ab\xE2\x82\xAC", 4), "ab");
    EXPECT_EQ(truncate_utf8("ab\xE2\x82\xAC", 5), "ab\xE2\x82\xAC");
    EXPECT_EQ(truncate_utf8("\xE2\x82\xAC", 1), "");
}

}  // namespace
}  // namespace sync_engine
