// metadata.sync: the object in which the engine keeps what applications may read of a connection.
#include "core/time.hpp"
#include "extension/boundary.hpp"

extern "C" {
#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
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

struct Pair {
    JsonbValue key;
    JsonbValue value;
};

// What is set in the engine's object.
struct Patch {
    Pair* pairs;
    int count;
};

bool same_key(const JsonbValue& a, const JsonbValue& b) {
    return a.val.string.len == b.val.string.len &&
           memcmp(a.val.string.val, b.val.string.val, static_cast<std::size_t>(a.val.string.len)) == 0;
}

bool has_key(const Patch& patch, const JsonbValue& key) {
    for (int i = 0; i < patch.count; ++i) {
        if (same_key(patch.pairs[i].key, key)) {
            return true;
        }
    }
    return false;
}

// The pairs of `held` but for the keys of `but`, into an object that is open. What cannot hold our keys (an
// array, a string) is kept under a key of its own: nothing is lost.
void push_pairs(JsonbParseState** state, const Held& held, const Patch& but) {
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
        if (!has_key(but, key)) {
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

// The metadata in the function's first argument with that patch.
Datum patched(FunctionCallInfo fcinfo, const Patch& patch) {
    JsonbValue storage;
    const Held metadata = held_by(PG_ARGISNULL(0) ? nullptr : root_value(PG_GETARG_JSONB_P(0), &storage));
    Pair own_pair = {key_value(kOwnKey), {}};
    const Held own = held_by(
        metadata.object == nullptr
            ? nullptr
            : getKeyJsonValueFromContainer(metadata.object, kOwnKey, own_pair.key.val.string.len, nullptr));
    JsonbParseState* state = nullptr;
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    push_pairs(&state, metadata, {&own_pair, 1});
    pushJsonbValue(&state, WJB_KEY, &own_pair.key);
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    push_pairs(&state, own, patch);
    for (int i = 0; i < patch.count; ++i) {
        pushJsonbValue(&state, WJB_KEY, &patch.pairs[i].key);
        pushJsonbValue(&state, WJB_VALUE, &patch.pairs[i].value);
    }
    pushJsonbValue(&state, WJB_END_OBJECT, nullptr);
    return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr)));
}

}  // namespace

SYNC_ENGINE_FUNCTION(metadata_with) {
    if (PG_ARGISNULL(1)) {
        PG_RETURN_NULL();
    }
    Jsonb* given = PG_GETARG_JSONB_P(1);
    if (!JB_ROOT_IS_OBJECT(given)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("patch must be an object")));
    }
    Patch patch = {static_cast<Pair*>(palloc(sizeof(Pair) * (JB_ROOT_COUNT(given) + 1))), 0};
    JsonbIterator* it = JsonbIteratorInit(&given->root);
    JsonbIteratorToken token;
    Pair pair;
    while ((token = JsonbIteratorNext(&it, &pair.key, true)) != WJB_DONE) {
        if (token == WJB_KEY) {
            JsonbIteratorNext(&it, &pair.value, true);
            patch.pairs[patch.count++] = pair;
        }
    }
    return patched(fcinfo, patch);
}

SYNC_ENGINE_FUNCTION(metadata_run) {
    Pair pairs[3];
    Patch patch = {pairs, 0};
    char time[kUtcTextSize];
    JsonbValue cursor_storage;
    if (!PG_ARGISNULL(1)) {
        const std::size_t length = format_utc(PG_GETARG_TIMESTAMPTZ(1), time);
        JsonbValue value;
        value.type = length == 0 ? jbvNull : jbvString;
        value.val.string.val = time;
        value.val.string.len = static_cast<int>(length);
        pairs[patch.count++] = {key_value("next_run_at"), value};
    }
    if (!PG_ARGISNULL(2)) {
        JsonbValue value;
        value.type = jbvNumeric;
        value.val.numeric = int64_to_numeric(PG_GETARG_INT32(2));
        pairs[patch.count++] = {key_value("last_jitter_seconds"), value};
    }
    if (!PG_ARGISNULL(3)) {
        pairs[patch.count++] = {key_value("cursor"), *root_value(PG_GETARG_JSONB_P(3), &cursor_storage)};
    }
    return patched(fcinfo, patch);
}
