// JSON as connectors read it: what PostgreSQL would refuse is replaced, numbers keep their text, nothing
// crashes.
#include "connectors/json_text.hpp"

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace sync_engine {
namespace {

using namespace std::string_literals;

constexpr std::string_view kReplaced = "\xEF\xBF\xBD";

std::string repeated(std::string_view text, std::size_t times) {
    std::string out;
    out.reserve(text.size() * times);
    for (std::size_t i = 0; i < times; ++i) {
        out += text;
    }
    return out;
}

// What goes into the database for `raw`, or "refused: why".
std::string through(std::string_view raw) {
    const CleanJson clean = clean_json(raw);
    rapidjson::Document document;
    std::string error;
    if (!parse_json(clean.text, document, error)) {
        EXPECT_TRUE(document.IsNull());
        return "refused: " + error;
    }
    return json_of(document);
}

bool refused(std::string_view raw) {
    return through(raw).starts_with("refused: ");
}

TEST(CleanJson, LeavesGoodTextAlone) {
    for (const auto* text :
         {R"({"a":[1,2.50,-3e+7,true,false,null],"b":"\"\\\/\b\f\n\r\t\u00e9"})",
          "\"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\"", " \r\n\t[ ] ", "\"\x7F\"", "", "null"}) {
        const CleanJson clean = clean_json(text);
        EXPECT_EQ(clean.text, text);
        EXPECT_EQ(clean.replaced, 0U);
    }
}

TEST(CleanJson, KeepsTheFirstAndLastCharacterOfEachLength) {
    for (const auto* text :
         {"\"\xC2\x80\"", "\"\xDF\xBF\"", "\"\xE0\xA0\x80\"", "\"\xED\x9F\xBF\"", "\"\xEE\x80\x80\"",
          "\"\xEF\xBF\xBF\"", "\"\xF0\x90\x80\x80\"", "\"\xF4\x8F\xBF\xBF\""}) {
        EXPECT_EQ(clean_json(text).text, text);
        EXPECT_EQ(clean_json(text).replaced, 0U);
    }
}

struct BadBytes {
    const char* what;
    std::string bytes;
    std::size_t replaced;
};

TEST(CleanJson, ReplacesEveryClassOfBytesThatAreNoUtf8) {
    const std::vector<BadBytes> cases = {
        {"lone continuation byte", "\x80", 1},
        {"last continuation byte", "\xBF", 1},
        {"overlong slash of two bytes", "\xC0\xAF", 2},
        {"overlong of two bytes, upper end", "\xC1\xBF", 2},
        {"overlong of three bytes", "\xE0\x80\xAF", 3},
        {"overlong of three bytes, upper end", "\xE0\x9F\xBF", 3},
        {"overlong of four bytes", "\xF0\x80\x80\xAF", 4},
        {"overlong of four bytes, upper end", "\xF0\x8F\xBF\xBF", 4},
        {"first surrogate", "\xED\xA0\x80", 3},
        {"last surrogate", "\xED\xBF\xBF", 3},
        {"a pair of surrogates", "\xED\xA0\xBD\xED\xB8\x80", 6},
        {"above U+10FFFF", "\xF4\x90\x80\x80", 4},
        {"five bytes long", "\xF8\x88\x80\x80\x80", 5},
        {"six bytes long", "\xFC\x84\x80\x80\x80\x80", 6},
        {"FE", "\xFE", 1},
        {"FF, which marks numbers inside", "\xFF", 1},
        {"cut after one of two bytes", "\xC3", 1},
        {"cut after one of three", "\xE2", 1},
        {"cut after two of three", "\xE2\x82", 2},
        {"cut after one of four", "\xF0", 1},
        {"cut after three of four", "\xF0\x9F\x98", 3},
        {"Latin-1", "\xE9t\xE9", 2},
    };
    for (const auto& [what, bytes, replaced] : cases) {
        SCOPED_TRACE(what);
        const CleanJson clean = clean_json("{\"a\":\"x" + bytes + "y\"}");
        EXPECT_EQ(clean.replaced, replaced);
        EXPECT_EQ(through("{\"a\":\"x" + bytes + "y\"}"), clean.text);
        // Also where the text ends with it, and where it stands outside a string.
        EXPECT_TRUE(refused("{\"a\":\"" + bytes));
        EXPECT_TRUE(refused("{\"a\":" + bytes + "}"));
    }
}

TEST(CleanJson, ResynchronisesAfterABadByte) {
    EXPECT_EQ(through("\"\xE2\xC3\xA9\""), "\"" + std::string(kReplaced) + "\xC3\xA9\"");
    EXPECT_EQ(through("\"\xF0\x9F\x98\""), "\"" + repeated(kReplaced, 3) + "\"");
    // A quote after a cut character still ends the string.
    EXPECT_EQ(through("[\"\xE2\x82\",1]"), "[\"" + repeated(kReplaced, 2) + "\",1]");
}

TEST(CleanJson, ReplacesNulInBothSpellings) {
    EXPECT_EQ(clean_json(R"("a\u0000b")").text, R"("a\ufffdb")");
    EXPECT_EQ(clean_json(R"("a\u0000b")").replaced, 1U);
    EXPECT_EQ(clean_json("\"a\0b\""s).text, "\"a" + std::string(kReplaced) + "b\"");
    EXPECT_EQ(clean_json("\"a\0b\""s).replaced, 1U);
    EXPECT_EQ(through(R"({"\u0000":"\u0000\u0000"})"),
              "{\"" + std::string(kReplaced) + "\":\"" + repeated(kReplaced, 2) + "\"}");
    // Escaped backslashes before it: an even number leaves plain text, an odd number the escape.
    EXPECT_EQ(clean_json(R"("\\u0000")").text, R"("\\u0000")");
    EXPECT_EQ(clean_json(R"("\\\u0000")").text, R"("\\\ufffd")");
    EXPECT_EQ(clean_json(R"("\\\\u0000")").text, R"("\\\\u0000")");
    // Outside strings it must not end the text early: what follows would go unread.
    EXPECT_TRUE(refused("{}\0{\"a\":1}"s));
    EXPECT_TRUE(refused("\0"s));
}

TEST(CleanJson, ReplacesLoneSurrogateEscapes) {
    EXPECT_EQ(clean_json(R"("\ud83d\ude00")").text, R"("\ud83d\ude00")");
    EXPECT_EQ(clean_json(R"("\uD83D\uDE00")").replaced, 0U);
    EXPECT_EQ(through(R"("\ud83d\ude00")"), "\"\xF0\x9F\x98\x80\"");
    EXPECT_EQ(clean_json(R"("\ud83d")").text, R"("\ufffd")");
    EXPECT_EQ(clean_json(R"("\ude00")").text, R"("\ufffd")");
    EXPECT_EQ(clean_json(R"("\ude00\ud83d")").text, R"("\ufffd\ufffd")");
    EXPECT_EQ(clean_json(R"("\ud83d\ud83d\ude00")").text, R"("\ufffd\ud83d\ude00")");
    EXPECT_EQ(clean_json(R"("\ud83dx\ude00")").replaced, 2U);
    EXPECT_EQ(clean_json(R"("\ud83d\u0041")").text, R"("\ufffd\u0041")");
    EXPECT_EQ(clean_json(R"("\ud83d\n")").text, R"("\ufffd\n")");
    EXPECT_EQ(clean_json(R"("\ud83d\u0000")").text, R"("\ufffd\ufffd")");
    EXPECT_EQ(clean_json(R"("\ud83d\\ude00")").text, R"("\ufffd\\ude00")");
    EXPECT_EQ(clean_json(R"("\uDBFF\uDFFF")").replaced, 0U);
    EXPECT_EQ(clean_json(R"("\uD7FF\uE000")").replaced, 0U);
    // A high surrogate at the very end of a cut text.
    for (const auto* cut : {R"("\ud83d)", R"("\ud83d\)", R"("\ud83d\u)", R"("\ud83d\ude0)"}) {
        EXPECT_TRUE(refused(cut)) << cut;
    }
}

TEST(CleanJson, EscapesRawControlCharactersInsideStrings) {
    for (int c = 1; c < 0x20; ++c) {
        const std::string raw = "{\"k" + std::string(1, static_cast<char>(c)) + "\":\"v" +
                                std::string(1, static_cast<char>(c)) + "\"}";
        EXPECT_FALSE(refused(raw)) << c;
        EXPECT_EQ(clean_json(raw).replaced, 0U);
    }
    EXPECT_EQ(clean_json("\"a\nb\tc\x1F\"").text, R"("a\u000ab\u0009c\u001f")");
    EXPECT_EQ(clean_json("[\n\t1]").text, "[\n\t1]");
    EXPECT_TRUE(
        refused("[\x0B"
                "1]"));
}

TEST(CleanJson, DoesNotMakeGoodJsonOfABadEscape) {
    // The backslash escapes nothing here, so the text is broken and stays so.
    EXPECT_TRUE(refused("\"a\\\nb\""));
    EXPECT_TRUE(refused("\"a\\\x01\""));
    EXPECT_TRUE(refused("\"a\\\0\""s));
    EXPECT_TRUE(refused("\"a\\\xFF\""));
    EXPECT_TRUE(refused("\"a\\\xC3\xA9\""));
    EXPECT_TRUE(refused(R"("\x41")"));
    EXPECT_TRUE(refused(R"("\u12")"));
    EXPECT_TRUE(refused(R"("\uzzzz")"));
    EXPECT_TRUE(refused(R"("\u 123")"));
    EXPECT_TRUE(refused("\"\\"));
    EXPECT_TRUE(refused("\\"));
    // A bad escape does not hide the quote that ends the string.
    EXPECT_EQ(clean_json("\"\\u\",\"\n\"").text, "\"\\u\",\"\\u000a\"");
}

TEST(CleanJson, SurvivesRandomBytes) {
    std::mt19937 random(20260301);
    const std::string alphabet =
        "\"\\u{}[]:,0123456789abcdefDdEe+-.\n\t\0\xC3\xA9\xE2\xED\xA0\xF0\x9F\xFFntrls "s;
    for (int round = 0; round < 20'000; ++round) {
        std::string raw;
        for (auto length = random() % 40; length > 0; --length) {
            raw += round % 2 == 0 ? static_cast<char>(random()) : alphabet[random() % alphabet.size()];
        }
        const CleanJson once = clean_json(raw);
        const CleanJson twice = clean_json(once.text);
        EXPECT_EQ(twice.replaced, 0U);
        rapidjson::Document document;
        std::string error;
        if (parse_json(once.text, document, error)) {
            // What is written can be read again and is written the same.
            EXPECT_EQ(through(json_of(document)), json_of(document));
        } else {
            EXPECT_FALSE(error.empty());
        }
    }
}

TEST(ParseJson, KeepsNumbersAsTheyAreWritten) {
    for (const auto* number :
         {"0", "-0", "-0.0", "2500.2500", "1e400", "-1E+400", "1e-400", "9007199254740993",
          "18446744073709551616", "-9223372036854775809", "123456789012345678901234567890",
          "0.1000000000000000055511151231257827021181583404541015625", "1E5", "1e05", "1.0e-0", "4294967296",
          "-2147483649", "0.000"}) {
        EXPECT_EQ(through(number), number);
        EXPECT_EQ(through("{\"n\":[" + std::string(number) + "," + number + "]}"),
                  "{\"n\":[" + std::string(number) + "," + number + "]}");
        rapidjson::Document document;
        std::string error;
        ASSERT_TRUE(parse_json(number, document, error)) << number;
        EXPECT_TRUE(is_number(document));
        EXPECT_FALSE(is_string(document));
        EXPECT_EQ(number_text(document), number);
        EXPECT_EQ(json_type_name(document), "number");
    }
}

TEST(ParseJson, KeepsNumbersThatNoDoubleHolds) {
    const std::string many_digits = "1" + repeated("0", 999) + "7";
    EXPECT_EQ(through(many_digits), many_digits);
    EXPECT_EQ(through("-" + many_digits + "." + many_digits), "-" + many_digits + "." + many_digits);
    EXPECT_EQ(through("[1e400,\"1e400\",{\"1e400\":1}]"), "[1e400,\"1e400\",{\"1e400\":1}]");
    EXPECT_EQ(through(R"([1e400,"a\"1e500\\",2500.2500])"), R"([1e400,"a\"1e500\\",2500.2500])");
}

TEST(ParseJson, WritesNumbersBeyondNumericAsText) {
    // PostgreSQL's jsonb keeps numbers as numeric: up to 131072 digits before the point and 16383 after it.
    for (const auto* number : {"1e131073", "1e200000", "-1e200000", "1e-16384", "1e99999999999999999999",
                               "1e-99999999999999999999", "0e2147483648", "1e-9223372036854775808"}) {
        EXPECT_EQ(through(number), "\"" + std::string(number) + "\"");
    }
    EXPECT_EQ(through("1e131071"), "1e131071");
    EXPECT_EQ(through("1e-16383"), "1e-16383");
    EXPECT_EQ(through("1.5e-16382"), "1.5e-16382");
    EXPECT_EQ(through("1.5e-16383"), "\"1.5e-16383\"");
    const std::string long_number = repeated("9", 131'073);
    EXPECT_EQ(through("[" + long_number + "]"), "[\"" + long_number + "\"]");
    EXPECT_EQ(through(long_number.substr(1)), long_number.substr(1));
    EXPECT_EQ(through("0." + repeated("3", 16'384)), "\"0." + repeated("3", 16'384) + "\"");
}

TEST(ParseJson, RefusesWhatIsNoNumber) {
    for (const auto* text :
         {"01",     "-",       "+1",     ".5",         "1.",        "1.e5",      "1e",
          "1e+",    "0x10",    "NaN",    "Infinity",   "-Infinity", "1_000",     "1,5",
          "--1",    "1e400.5", "01e400", "[1e400,01]", "[1e400 1]", "{1e400:1}", "{\"a\":1e400,1:2}",
          "-1e400x"}) {
        EXPECT_TRUE(refused(text)) << text;
    }
}

TEST(ParseJson, RefusesWhatIsNoJson) {
    for (const auto* text : {"",
                             " ",
                             "{",
                             "}",
                             "[",
                             "]",
                             "{\"a\"",
                             "{\"a\":",
                             "{\"a\":1",
                             "{\"a\":1,",
                             "[1,",
                             "[1,]",
                             "{\"a\":1,}",
                             "{a:1}",
                             "{'a':1}",
                             "\"a",
                             "tru",
                             "nul",
                             "True",
                             "{}{}",
                             "[] []",
                             "// c\n1",
                             "/* c */1",
                             "<!DOCTYPE html><html><body>Login</body></html>",
                             "<?xml version=\"1.0\"?><a/>",
                             "callback({\"a\":1})",
                             ")]}',\n{}",
                             "a=1&b=2",
                             "undefined"}) {
        EXPECT_TRUE(refused(text)) << text;
    }
}

TEST(ParseJson, RefusesATextThatIsCutAnywhere) {
    const std::string whole = R"({"a":[1.5e3,{"b":"\u00e9\ud83d\ude00"},true,null],"c":-0.25})";
    ASSERT_FALSE(refused(whole));
    for (std::size_t length = 0; length < whole.size(); ++length) {
        EXPECT_TRUE(refused(whole.substr(0, length))) << whole.substr(0, length);
    }
}

TEST(ParseJson, SaysWhereTheTextIsBroken) {
    rapidjson::Document document;
    std::string error;
    EXPECT_FALSE(parse_json(R"({"a":1,"b":x})", document, error));
    EXPECT_TRUE(error.ends_with(" at byte 11")) << error;
    EXPECT_FALSE(parse_json("", document, error));
    EXPECT_NE(error.find("empty"), std::string::npos) << error;
}

TEST(ParseJson, PassesOverAByteOrderMark) {
    EXPECT_EQ(through("\xEF\xBB\xBF{\"a\":1}"), "{\"a\":1}");
    EXPECT_EQ(through("\xEF\xBB\xBF[1e400]"), "[1e400]");
    EXPECT_TRUE(refused("\xEF\xBB\xBF"));
    EXPECT_TRUE(refused("\xEF\xBB\xBF\xEF\xBB\xBF{}"));
    // UTF-16 is not read.
    EXPECT_TRUE(refused("\xFF\xFE{\0}\0"s));
}

TEST(ParseJson, BoundsTheDepth) {
    const auto nested = [](std::size_t levels) { return repeated("[", levels) + repeated("]", levels); };
    EXPECT_EQ(through(nested(kMaxJsonDepth)), nested(kMaxJsonDepth));
    EXPECT_TRUE(through(nested(kMaxJsonDepth + 1)).starts_with("refused: nested deeper than 200 levels"));
    EXPECT_FALSE(refused(repeated("{\"a\":", 200) + "1" + repeated("}", 200)));
    for (const std::size_t levels : {201U, 1'000U, 100'000U, 1'000'000U}) {
        EXPECT_TRUE(refused(nested(levels)));
        EXPECT_TRUE(refused(repeated("{\"a\":", levels) + "1" + repeated("}", levels)));
        EXPECT_TRUE(refused(repeated("[", levels)));
        EXPECT_TRUE(refused(repeated("[{\"a\":", levels)));
        EXPECT_TRUE(refused("[1e400," + nested(levels) + "]"));
    }
    // Width is not depth.
    EXPECT_EQ(through("[" + repeated("[],", 100'000) + "[]]").size(), 300'004U);
}

TEST(ParseJson, LeavesNothingOfAFailedTextBehind) {
    rapidjson::Document document;
    std::string error;
    ASSERT_TRUE(parse_json("{\"a\":1}", document, error));
    ASSERT_FALSE(parse_json("{\"b\":1", document, error));
    EXPECT_TRUE(document.IsNull());
    ASSERT_TRUE(parse_json("[2]", document, error));
    EXPECT_EQ(json_of(document), "[2]");
}

TEST(JsonText, WritesStringsThatComeBackTheSame) {
    for (const auto& text : {""s, "plain"s, "\"\\/\b\f\n\r\t"s, "\x01\x1F\x7F"s, "a\0b"s,
                             "\xC3\xA9\xF0\x9F\x98\x80"s, "2500.2500"s, "</script>"s}) {
        std::string out = "x";
        append_json_text(out, text);
        rapidjson::Document document;
        std::string error;
        ASSERT_TRUE(parse_json(out.substr(1), document, error)) << out;
        EXPECT_TRUE(is_string(document));
        EXPECT_FALSE(is_number(document));
        EXPECT_EQ(string_view_of(document), text);
    }
}

TEST(JsonText, KeepsMembersInOrderAndTwice) {
    EXPECT_EQ(through(R"( { "b" : 1 , "a" : { } , "b" : [ ] , "" : "" } )"),
              R"({"b":1,"a":{},"b":[],"":""})");
}

TEST(JsonText, FindsMembers) {
    rapidjson::Document document;
    std::string error;
    ASSERT_TRUE(parse_json(R"({"a":1,"n":null,"":2,"ab":3})", document, error));
    ASSERT_NE(member(document, "a"), nullptr);
    EXPECT_EQ(number_text(*member(document, "a")), "1");
    EXPECT_EQ(number_text(*member(document, "")), "2");
    EXPECT_EQ(number_text(*member(document, std::string_view("abc", 2))), "3");
    EXPECT_EQ(member(document, "n"), nullptr);
    EXPECT_EQ(member(document, "x"), nullptr);
    EXPECT_EQ(member(*member(document, "a"), "a"), nullptr);
    ASSERT_TRUE(parse_json("[]", document, error));
    EXPECT_EQ(member(document, "a"), nullptr);
}

TEST(JsonText, NamesTypes) {
    rapidjson::Document document;
    std::string error;
    ASSERT_TRUE(parse_json(R"([null,true,false,{},[],"",1,"1"])", document, error));
    std::string names;
    for (const auto& value : document.GetArray()) {
        names += std::string(json_type_name(value)) + " ";
    }
    EXPECT_EQ(names, "null boolean boolean object array string number string ");
}

}  // namespace
}  // namespace sync_engine
