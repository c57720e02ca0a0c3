// metadata.sync: the object in which the engine keeps what applications may read of a connection.
#include "extension/boundary.hpp"

extern "C" {
#include "utils/jsonb.h"
}

using namespace sync_engine;

namespace {

constexpr char kOwnKey[] = "sync";

JsonbValue key_value(const char* text) {
    JsonbValue key;
    key.type = jbvString;
    key.val.string.val = const_cast<char*>(text);
    key.val.string.len = static_cast<int>(strlen(text));
    return key;
}

// Whatever lies under a key that should hold an object.
struct Held {
    JsonbContainer* object;  // null where it is no object
    JsonbValue* unreadable;  // what is there instead; null where there is nothing, or JSON's null
};

Held held_by(JsonbValue* value) {
    if (value == nullptr || value->type == jbvNull) {
        return {nullptr, nullptr};
    }
    if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data)) {
        return {value->val.binary.data, nullptr};
    }
    return {nullptr, value};
}

// The pairs of `held` but for the keys of `patch` (and `except`), into an object that is open. What cannot
// hold our keys (an array, a string) is kept under a key of its own: nothing is lost.
void push_pairs(JsonbParseState** state, const Held& held, JsonbContainer* patch, const char* except) {
    if (held.unreadable != nullptr) {
        JsonbValue key = key_value("unreadable");
        pushJsonbValue(state, WJB_KEY, &key);
        pushJsonbValue(state, WJB_VALUE, held.unreadable);
    }
    if (held.object == nullptr) {
        return;
    }
    JsonbIterator* it = JsonbIteratorInit(held.object);
    JsonbValue key;
    JsonbValue value;
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE) {
        if (token != WJB_KEY) {
            continue;
        }
        JsonbIteratorNext(&it, &value, true);
        const bool left_out =
            except != nullptr && key.val.string.len == static_cast<int>(strlen(except)) &&
            memcmp(key.val.string.val, except, static_cast<std::size_t>(key.val.string.len)) == 0;
        if (!left_out &&
            (patch == nullptr || getKeyJsonValueFromContainer(patch, key.val.string.val, key.val.string.len,
                                                              nullptr) == nullptr)) {
            pushJsonbValue(state, WJB_KEY, &key);
            pushJsonbValue(state, WJB_VALUE, &value);
        }
    }
}

// A root as a value of its own: a scalar is kept in an array of one.
JsonbValue* root_value(Jsonb* json, JsonbValue* storage) {
    if (!JsonbExtractScalar(&json->root, storage)) {
        storage->type = jbvBinary;
        storage->val.binary.data = &json->root;
        storage->val.binary.len = static_cast<int>(VARSIZE_ANY_EXHDR(json));
    }
    return storage;
}

}  // namespace

SYNC_ENGINE_FUNCTION(metadata_with) {
    if (PG_ARGISNULL(1)) {
        PG_RETURN_NULL();
    }
    Jsonb* patch = PG_GETARG_JSONB_P(1);
    if (!JB_ROOT_IS_OBJECT(patch)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("patch must be an object")));
    }
    JsonbValue storage;
    const Held metadata = held_by(PG_ARGISNULL(0) ? nullptr : root_value(PG_GETARG_JSONB_P(0), &storage));
    const Held own = held_by(metadata.object == nullptr
                                 ? nullptr
                                 : getKeyJsonValueFromContainer(metadata.object, kOwnKey,
                                                                static_cast<int>(strlen(kOwnKey)), nullptr));
    JsonbParseState* state = nullptr;
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    push_pairs(&state, metadata, nullptr, kOwnKey);
    JsonbValue key = key_value(kOwnKey);
    pushJsonbValue(&state, WJB_KEY, &key);
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    push_pairs(&state, own, &patch->root, nullptr);
    push_pairs(&state, {&patch->root, nullptr}, nullptr, nullptr);
    pushJsonbValue(&state, WJB_END_OBJECT, nullptr);
    PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
}
