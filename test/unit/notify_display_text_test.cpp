#include "notify/display_text.hpp"

#include <string>

#include <gtest/gtest.h>

#include "core/utf8.hpp"

namespace sync_engine {
namespace {

using std::string_literals::operator""s;

TEST(DisplayText, ALineHoldsNoBreaksAndNoControls) {
    EXPECT_EQ(display_line("a\r\nBcc: b\n\nc\td\x0b"
                           "e",
                           100),
              "a Bcc: b c d e");
    EXPECT_EQ(display_line("a\0b\x1b[31mc\x7f"
                           "d"s,
                           100),
              "a b [31mc d");
    EXPECT_EQ(display_line("a\xE2\x80\xA8"
                           "b\xE2\x80\xA9"
                           "c\xC2\x85"
                           "d\xC2\x9B"
                           "e",
                           100),
              "a b c d e");
    EXPECT_EQ(display_line(" \n a \n ", 100), "a");
    EXPECT_EQ(display_line("\r\n\t ", 100), "");
}

TEST(DisplayText, ABlockKeepsItsBreaks) {
    EXPECT_EQ(display_block("a\r\nb\nc\rd", 100), "a\nb\nc\nd");
    EXPECT_EQ(display_block("\n\na\n\n\n\nb  c\n\n", 100), "a\n\nb c");
}

TEST(DisplayText, WhatIsInvisibleOrTurnsTheTextGoes) {
    EXPECT_EQ(display_line("a\xE2\x80\xAE"
                           "b\xE2\x80\x8F"
                           "c\xE2\x81\xA6"
                           "d\xE2\x81\xA9"
                           "e\xD8\x9C"
                           "f",
                           100),
              "abcdef");
    EXPECT_EQ(display_line("a\xE2\x80\x8B"
                           "b\xEF\xBB\xBF"
                           "c\xC2\xAD"
                           "d",
                           100),
              "abcd");
    EXPECT_EQ(display_line("a\xF3\xA0\x81\xA1"
                           "b",
                           100),
              "ab");  // a tag
    // Letters that are written from right to left stay, and so do the joiners of emoji.
    EXPECT_EQ(display_line("\xD7\xA9\xD7\x9C", 100), "\xD7\xA9\xD7\x9C");
    EXPECT_EQ(display_line("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80", 100),
              "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80");
}

TEST(DisplayText, WhatIsNotUtf8IsReplaced) {
    EXPECT_EQ(display_line("a\xFF\xC0\x80z", 100), "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz");
    EXPECT_EQ(display_line("\xED\xA0\x80", 100), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
    EXPECT_EQ(display_line("\xE2\x82", 100), "\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(DisplayText, IsCutBetweenCharacters) {
    EXPECT_EQ(display_line("abc", 3), "abc");
    EXPECT_EQ(display_line("abcd", 3), "ab\xE2\x80\xA6");
    EXPECT_EQ(display_line("\xE2\x82\xAC\xE2\x82\xAC\xE2\x82\xAC", 2), "\xE2\x82\xAC\xE2\x80\xA6");
    EXPECT_EQ(display_line("ab   cd", 3), "a\xE2\x80\xA6");
    EXPECT_EQ(display_line(std::string(1'000'000, 'x'), 200).size(), 199U + 3U);
    EXPECT_EQ(display_line("abc   ", 3), "abc");
}

}  // namespace
}  // namespace sync_engine
