#include "extension/result_element.hpp"

extern "C" {
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"
}

namespace sync_engine {
namespace {

constexpr int kMostIdDigits = 18;
constexpr int kUuidTextLength = 36;

int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

}  // namespace

bool read_id(const JsonbValue* value, int64* id) {
    const char* text = nullptr;
    int length = 0;
    if (value != nullptr && value->type == jbvString) {
        text = value->val.string.val;
        length = value->val.string.len;
    } else if (value != nullptr && value->type == jbvNumeric) {
        text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
        length = static_cast<int>(strlen(text));
    }
    if (length < 1 || length > kMostIdDigits) {
        return false;
    }
    *id = 0;
    for (int i = 0; i < length; ++i) {
        if (text[i] < '0' || text[i] > '9') {
            return false;
        }
        *id = *id * 10 + (text[i] - '0');
    }
    return true;
}

bool read_uuid(const JsonbValue* value, pg_uuid_t* uuid) {
    if (value == nullptr || value->type != jbvString || value->val.string.len != kUuidTextLength) {
        return false;
    }
    const char* text = value->val.string.val;
    int digits = 0;
    for (int i = 0; i < kUuidTextLength; ++i) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-') {
                return false;
            }
            continue;
        }
        const int digit = hex_digit(text[i]);
        if (digit < 0) {
            return false;
        }
        unsigned char& byte = uuid->data[digits / 2];
        byte = static_cast<unsigned char>(digits % 2 == 0 ? digit << 4 : byte | digit);
        ++digits;
    }
    return true;
}

}  // namespace sync_engine
