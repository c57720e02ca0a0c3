// Looking into jsonb without copying it.
#pragma once

#include <string_view>

#include "extension/compat.hpp"

extern "C" {
#include "utils/jsonb.h"
}

namespace sync_engine {

inline const char* type_name(const JsonbValue& value) {
    switch (value.type) {
        case jbvNull:
            return "null";
        case jbvString:
            return "string";
        case jbvNumeric:
            return "number";
        case jbvBool:
            return "boolean";
        default:
            return value.type == jbvBinary && JsonContainerIsArray(value.val.binary.data) ? "array"
                                                                                          : "object";
    }
}

// The value of a key; null where there is none or JSON's null.
inline JsonbValue* find(JsonbContainer* object, const char* key) {
    JsonbValue* value = getKeyJsonValueFromContainer(object, key, static_cast<int>(strlen(key)), nullptr);
    return value == nullptr || value->type == jbvNull ? nullptr : value;
}

inline std::string_view string_of(const JsonbValue& value) {
    return {value.val.string.val, static_cast<std::size_t>(value.val.string.len)};
}

}  // namespace sync_engine
