// The signals of a page: what is wrong with them, and the columns of those that are new, a pass each.
#include "core/time.hpp"
#include "extension/boundary.hpp"
#include "extension/json_values.hpp"
#include "extension/records.hpp"
#include "extension/seen_keys.hpp"

extern "C" {
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
}

using namespace sync_engine;

namespace {

// A longer key than an index entry may be is kept by its digest.
constexpr int kLongestKey = 512;
constexpr char kDigestPrefix[] = "sha256:";
constexpr char kHexDigits[] = "0123456789abcdef";

bool has_kind(JsonbContainer* signal) {
    const JsonbValue* kind = getKeyJsonValueFromContainer(signal, "kind", 4, nullptr);
    return kind == nullptr || (kind->type == jbvString && kind->val.string.len > 0);
}

// Null: there is nothing wrong.
const char* find_fault(const JsonbValue& element) {
    if (element.type != jbvBinary || !JsonContainerIsObject(element.val.binary.data)) {
        return psprintf(" is a JSON %s, not an object", type_name(element));
    }
    JsonbContainer* signal = element.val.binary.data;
    if (!has_kind(signal)) {
        return ".kind is not a non-empty string";
    }
    const JsonbValue* key = find(signal, "dedupe_key");
    if (key != nullptr && key->type != jbvString && key->type != jbvNumeric) {
        return ".dedupe_key is not a string";
    }
    const JsonbValue* time = find(signal, "occurred_at");
    if (time != nullptr && (time->type != jbvString || !parse_utc(string_of(*time)))) {
        return ".occurred_at is not a time such as 2026-03-01T12:15:00Z";
    }
    return nullptr;
}

// Of its bytes in UTF-8, whatever the database's encoding.
text* digest_of(const char* key, int length) {
    const char* utf8 = pg_server_to_any(key, length, PG_UTF8);
    const int utf8_length = utf8 == key ? length : static_cast<int>(strlen(utf8));
    const text* input = cstring_to_text_with_len(utf8, utf8_length);
    const bytea* hash = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(input)));
    const int bytes = static_cast<int>(VARSIZE_ANY_EXHDR(hash));
    const int prefix = sizeof kDigestPrefix - 1;
    auto* result = static_cast<text*>(palloc(VARHDRSZ + prefix + 2 * bytes));
    SET_VARSIZE(result, VARHDRSZ + prefix + 2 * bytes);
    char* to = VARDATA(result);
    memcpy(to, kDigestPrefix, prefix);
    to += prefix;
    for (int i = 0; i < bytes; ++i) {
        const auto byte = static_cast<unsigned char>(VARDATA_ANY(hash)[i]);
        *to++ = kHexDigits[byte >> 4];
        *to++ = kHexDigits[byte & 15];
    }
    return result;
}

text* stored_key(const JsonbValue& key) {
    if (key.type == jbvNumeric) {
        const char* digits =
            DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(key.val.numeric)));
        const int length = static_cast<int>(strlen(digits));
        return length > kLongestKey ? digest_of(digits, length) : cstring_to_text_with_len(digits, length);
    }
    return key.val.string.len > kLongestKey
               ? digest_of(key.val.string.val, key.val.string.len)
               : cstring_to_text_with_len(key.val.string.val, key.val.string.len);
}

enum Column { kind, occurred_at, dedupe_key, payload, column_count };

// The next element that is an object: in an array with which nothing is wrong, all are.
bool next_signal(JsonbIterator** it, JsonbValue* element) {
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(it, element, true)) != WJB_DONE) {
        if (token == WJB_ELEM && element->type == jbvBinary) {
            return true;
        }
    }
    return false;
}

struct NewKeys {
    KeySet set;
    DedupeKey** of_signals;  // null for one without a key
};

// A key that comes twice is new the first time and seen the second.
NewKeys read_keys(Jsonb* signals) {
    static DedupeKey repeated = {nullptr, true};
    const uint32 count = JB_ROOT_COUNT(signals);
    NewKeys keys = {make_key_set(count), static_cast<DedupeKey**>(palloc0(sizeof(DedupeKey*) * (count + 1)))};
    JsonbIterator* it = JsonbIteratorInit(&signals->root);
    JsonbValue element;
    for (uint32 i = 0; next_signal(&it, &element); ++i) {
        if (const JsonbValue* given = find(element.val.binary.data, "dedupe_key")) {
            DedupeKey* added = add_key(&keys.set, stored_key(*given));
            keys.of_signals[i] = added == nullptr ? &repeated : added;
        }
    }
    return keys;
}

// What is missing is left null.
void read_signal(JsonbContainer* signal, const DedupeKey* key, Datum* values, bool* nulls) {
    memset(nulls, true, column_count);
    if (key != nullptr) {
        values[dedupe_key] = PointerGetDatum(key->key);
        nulls[dedupe_key] = false;
    }
    if (const JsonbValue* given = find(signal, "kind")) {
        values[kind] =
            PointerGetDatum(cstring_to_text_with_len(given->val.string.val, given->val.string.len));
        nulls[kind] = false;
    }
    if (const JsonbValue* given = find(signal, "occurred_at")) {
        if (const auto time = parse_utc(string_of(*given))) {
            values[occurred_at] = TimestampTzGetDatum(*time);
            nulls[occurred_at] = false;
        }
    }
    if (JsonbValue* given = find(signal, "payload")) {
        values[payload] = JsonbPGetDatum(JsonbValueToJsonb(given));
        nulls[payload] = false;
    }
}

}  // namespace

SYNC_ENGINE_FUNCTION(signals_fault) {
    Jsonb* signals = PG_GETARG_JSONB_P(0);
    if (!JB_ROOT_IS_ARRAY(signals) || JB_ROOT_IS_SCALAR(signals)) {
        JsonbValue scalar;
        const char* type = JsonbExtractScalar(&signals->root, &scalar) ? type_name(scalar) : "object";
        PG_RETURN_TEXT_P(cstring_to_text(psprintf("signals is a JSON %s, not an array", type)));
    }
    JsonbIterator* it = JsonbIteratorInit(&signals->root);
    JsonbValue element;
    JsonbIteratorToken token;
    int64 index = 0;
    while ((token = JsonbIteratorNext(&it, &element, true)) != WJB_DONE) {
        if (token != WJB_ELEM) {
            continue;
        }
        CHECK_FOR_INTERRUPTS();
        if (const char* fault = find_fault(element)) {
            PG_RETURN_TEXT_P(
                cstring_to_text(psprintf("signals[%lld]%s", static_cast<long long>(index), fault)));
        }
        ++index;
    }
    PG_RETURN_NULL();
}

// Of an array that signals_fault has nothing against. Arguments: the array, tenant and connection, and the
// indexes that hold the dedupe keys seen so far, or null.
SYNC_ENGINE_FUNCTION(new_signals) {
    if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2)) {
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("signals of nobody")));
    }
    const ResultSet rows = begin_result_set(fcinfo);
    Jsonb* signals = PG_GETARG_JSONB_P(0);
    const NewKeys keys = read_keys(signals);
    if (!PG_ARGISNULL(3)) {
        mark_seen(keys.set, PG_GETARG_DATUM(1), PG_GETARG_INT64(2), PG_GETARG_ARRAYTYPE_P(3));
    }
    MemoryContext signal_context =
        AllocSetContextCreate(CurrentMemoryContext, "sync_engine signal", ALLOCSET_DEFAULT_SIZES);
    JsonbIterator* it = JsonbIteratorInit(&signals->root);
    JsonbValue element;
    for (uint32 i = 0; next_signal(&it, &element); ++i) {
        const DedupeKey* key = keys.of_signals[i];
        if (key != nullptr && key->seen) {
            continue;
        }
        CHECK_FOR_INTERRUPTS();
        MemoryContext caller = MemoryContextSwitchTo(signal_context);
        Datum values[column_count];
        bool nulls[column_count];
        read_signal(element.val.binary.data, key, values, nulls);
        tuplestore_putvalues(rows.store, rows.descriptor, values, nulls);
        MemoryContextSwitchTo(caller);
        MemoryContextReset(signal_context);
    }
    MemoryContextDelete(signal_context);
    return static_cast<Datum>(0);
}

// Looks at the lock without taking it, so that nobody is held up.
SYNC_ENGINE_FUNCTION(is_locked) {
    const auto key = static_cast<uint64>(PG_GETARG_INT64(0));
    LOCKTAG tag;
    SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, static_cast<uint32>(key >> 32), static_cast<uint32>(key), 1);
    int holders = 0;
    GetLockConflicts(&tag, ExclusiveLock, &holders);
    PG_RETURN_BOOL(holders > 0);
}
