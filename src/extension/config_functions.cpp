// The configuration that a job runs with: the connection's merged over the provider's, and a verdict on
// whether the connection leads a secret of the provider astray.
#include <optional>
#include <string>
#include <string_view>

#include "core/url.hpp"
#include "extension/boundary.hpp"

extern "C" {
#include "miscadmin.h"
#include "utils/jsonb.h"
}

using namespace sync_engine;

namespace {

constexpr char kReservedKey[] = "sync_engine";
constexpr const char* kUrlKeys[] = {"base_url", "url"};
constexpr const char* kEntryKeys[] = {"headers", "query"};

// Where a URL leads, as plain data: the strings of core::Url must not be alive while PostgreSQL is called.
struct Place {
    char origin[288];
    char host[256];
    char host_and_port[272];
};

bool find_place(const char* text, int length, Place* place) {
    const std::optional<Url> url = parse_url({text, static_cast<std::size_t>(length)});
    if (!url) {
        return false;
    }
    const std::string origin = url->origin();
    strlcpy(place->origin, origin.c_str(), sizeof place->origin);
    strlcpy(place->host, url->host.c_str(), sizeof place->host);
    strlcpy(place->host_and_port, origin.c_str() + url->scheme.size() + 3, sizeof place->host_and_port);
    return true;
}

JsonbValue string_value(const char* text, int length) {
    JsonbValue value;
    value.type = jbvString;
    value.val.string.val = const_cast<char*>(text);
    value.val.string.len = length;
    return value;
}

JsonbValue string_value(const char* text) {
    return string_value(text, static_cast<int>(strlen(text)));
}

bool string_equals(const JsonbValue& value, const char* text) {
    const int length = static_cast<int>(strlen(text));
    return value.type == jbvString && value.val.string.len == length &&
           memcmp(value.val.string.val, text, length) == 0;
}

// The object behind a value, or null where it is something else or nothing.
JsonbContainer* as_object(const JsonbValue* value) {
    if (value == nullptr || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data)) {
        return nullptr;
    }
    return value->val.binary.data;
}

JsonbValue* find_key(JsonbContainer* object, const char* key, int length) {
    return object == nullptr ? nullptr : getKeyJsonValueFromContainer(object, key, length, nullptr);
}

JsonbValue* find_key(JsonbContainer* object, const char* key) {
    return find_key(object, key, static_cast<int>(strlen(key)));
}

// A lone {"$env": ...} or {"$file": ...}, at any depth.
bool holds_secret(JsonbContainer* container) {
    JsonbIterator* it = JsonbIteratorInit(container);
    JsonbValue value;
    bool single = false;
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE) {
        if (token == WJB_BEGIN_OBJECT) {
            single = value.val.object.nPairs == 1;
        } else if (token == WJB_KEY) {
            if (single && (string_equals(value, "$env") || string_equals(value, "$file"))) {
                return true;
            }
            single = false;
        }
    }
    return false;
}

bool same_value(JsonbValue* a, JsonbValue* b) {
    if (a == nullptr || b == nullptr) {
        return a == b;
    }
    return compareJsonbContainers(&JsonbValueToJsonb(a)->root, &JsonbValueToJsonb(b)->root) == 0;
}

void push_merged(JsonbParseState** state, JsonbContainer* target, JsonbContainer* patch);

// One key of a merged object: what RFC 7396 makes of a target's value (may be null) and the patch's.
void push_patched(JsonbParseState** state, JsonbValue* key, JsonbValue* target, JsonbValue* patch) {
    if (patch->type == jbvNull) {
        return;
    }
    pushJsonbValue(state, WJB_KEY, key);
    if (JsonbContainer* patch_object = as_object(patch)) {
        pushJsonbValue(state, WJB_BEGIN_OBJECT, nullptr);
        push_merged(state, as_object(target), patch_object);
        pushJsonbValue(state, WJB_END_OBJECT, nullptr);
    } else {
        pushJsonbValue(state, WJB_VALUE, patch);
    }
}

// The pairs of `patch` merged over those of `target`, into an object that is open. Either may be null: {}.
void push_merged(JsonbParseState** state, JsonbContainer* target, JsonbContainer* patch) {
    check_stack_depth();
    JsonbValue key;
    JsonbValue value;
    JsonbIteratorToken token;
    JsonbIterator* it = target == nullptr ? nullptr : JsonbIteratorInit(target);
    while (it != nullptr && (token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE) {
        if (token != WJB_KEY) {
            continue;
        }
        JsonbIteratorNext(&it, &value, true);
        JsonbValue* patched = find_key(patch, key.val.string.val, key.val.string.len);
        if (patched == nullptr) {
            pushJsonbValue(state, WJB_KEY, &key);
            pushJsonbValue(state, WJB_VALUE, &value);
        } else {
            push_patched(state, &key, &value, patched);
        }
    }
    it = patch == nullptr ? nullptr : JsonbIteratorInit(patch);
    while (it != nullptr && (token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE) {
        if (token != WJB_KEY) {
            continue;
        }
        JsonbIteratorNext(&it, &value, true);
        if (find_key(target, key.val.string.val, key.val.string.len) == nullptr) {
            push_patched(state, &key, nullptr, &value);
        }
    }
}

struct AllowedHosts {
    Datum* elements;
    bool* nulls;
    int count;
};

bool is_allowed(const AllowedHosts& allowed, const Place& place) {
    for (int i = 0; i < allowed.count; ++i) {
        if (allowed.nulls[i]) {
            continue;
        }
        const char* entry = TextDatumGetCString(allowed.elements[i]);
        if (pg_strcasecmp(entry, place.host) == 0 || pg_strcasecmp(entry, place.host_and_port) == 0 ||
            pg_strcasecmp(entry, place.origin) == 0) {
            return true;
        }
    }
    return false;
}

// The place that a configuration's first URL names. false: there is none, or it is not a fixed http(s) URL.
bool find_config_place(JsonbContainer* config, Place* place) {
    for (const char* key : kUrlKeys) {
        const JsonbValue* url = find_key(config, key);
        if (url != nullptr) {
            return url->type == jbvString && find_place(url->val.string.val, url->val.string.len, place);
        }
    }
    return false;
}

// Why the URL under `key` is refused, or null.
const char* refuse_url(JsonbContainer* provider, JsonbContainer* merged, const char* key,
                       const AllowedHosts& allowed) {
    JsonbValue* before = find_key(provider, key);
    JsonbValue* after = find_key(merged, key);
    if (after == nullptr || same_value(before, after)) {
        return nullptr;
    }
    Place was;
    Place is;
    if (after->type != jbvString || !find_place(after->val.string.val, after->val.string.len, &is)) {
        return psprintf(
            "the connection sets \"%s\" to what is not a plain http or https URL while the provider "
            "holds a secret",
            key);
    }
    const bool same_origin = before != nullptr && before->type == jbvString &&
                             find_place(before->val.string.val, before->val.string.len, &was) &&
                             strcmp(was.origin, is.origin) == 0;
    if (same_origin || is_allowed(allowed, is)) {
        return nullptr;
    }
    return psprintf(
        "the connection leads \"%s\" to %s, which is not among the provider's allowed_hosts, while the "
        "provider holds a secret",
        key, is.origin);
}

// Whether an entry of `key` that holds a secret in the provider's configuration is another in the merged one.
bool changes_secret_entry(JsonbContainer* provider, JsonbContainer* merged, const char* key) {
    JsonbValue* value = find_key(provider, key);
    JsonbContainer* before = as_object(value);
    if (before == nullptr) {
        // Not entries by name: then it is one thing as a whole.
        return value != nullptr && value->type == jbvBinary && holds_secret(value->val.binary.data) &&
               !same_value(value, find_key(merged, key));
    }
    JsonbContainer* after = as_object(find_key(merged, key));
    JsonbIterator* it = JsonbIteratorInit(before);
    JsonbValue name;
    JsonbValue entry;
    JsonbIteratorToken token;
    while ((token = JsonbIteratorNext(&it, &name, true)) != WJB_DONE) {
        if (token != WJB_KEY) {
            continue;
        }
        JsonbIteratorNext(&it, &entry, true);
        if (entry.type == jbvBinary && holds_secret(entry.val.binary.data) &&
            !same_value(&entry, find_key(after, name.val.string.val, name.val.string.len))) {
            return true;
        }
    }
    return false;
}

// Why a connection's configuration must not be used, or null. Only called where the provider holds a secret.
const char* find_refusal(JsonbContainer* provider, JsonbContainer* merged, const AllowedHosts& allowed) {
    for (const char* key : kUrlKeys) {
        if (const char* refused = refuse_url(provider, merged, key, allowed)) {
            return refused;
        }
    }
    Place place;
    if (find_config_place(merged, &place) && is_allowed(allowed, place)) {
        return nullptr;
    }
    if (!same_value(find_key(provider, "auth"), find_key(merged, "auth"))) {
        return "the connection changes \"auth\" of a provider that holds a secret";
    }
    for (const char* key : kEntryKeys) {
        if (changes_secret_entry(provider, merged, key)) {
            return psprintf("the connection changes an entry of \"%s\" that holds a secret of the provider",
                            key);
        }
    }
    return nullptr;
}

void push_string(JsonbParseState** state, const char* key, const char* text) {
    JsonbValue name = string_value(key);
    JsonbValue value = string_value(text);
    pushJsonbValue(state, WJB_KEY, &name);
    pushJsonbValue(state, WJB_VALUE, &value);
}

// The reserved object: what the executor needs to know about where the secrets may go.
void push_reserved(JsonbParseState** state, JsonbContainer* provider, JsonbContainer* merged,
                   const AllowedHosts& allowed) {
    const bool has_secret = provider != nullptr && holds_secret(provider);
    Place place;
    const bool has_place = find_config_place(provider, &place);
    JsonbValue key = string_value(kReservedKey);
    pushJsonbValue(state, WJB_KEY, &key);
    pushJsonbValue(state, WJB_BEGIN_OBJECT, nullptr);

    JsonbValue origin_key = string_value("origin");
    JsonbValue origin = string_value(place.origin, has_place ? static_cast<int>(strlen(place.origin)) : 0);
    origin.type = has_place ? jbvString : jbvNull;
    pushJsonbValue(state, WJB_KEY, &origin_key);
    pushJsonbValue(state, WJB_VALUE, &origin);

    JsonbValue secret_key = string_value("provider_has_secret");
    JsonbValue secret;
    secret.type = jbvBool;
    secret.val.boolean = has_secret;
    pushJsonbValue(state, WJB_KEY, &secret_key);
    pushJsonbValue(state, WJB_VALUE, &secret);

    JsonbValue hosts_key = string_value("allowed_hosts");
    pushJsonbValue(state, WJB_KEY, &hosts_key);
    pushJsonbValue(state, WJB_BEGIN_ARRAY, nullptr);
    for (int i = 0; i < allowed.count; ++i) {
        if (!allowed.nulls[i]) {
            JsonbValue host = string_value(TextDatumGetCString(allowed.elements[i]));
            pushJsonbValue(state, WJB_ELEM, &host);
        }
    }
    pushJsonbValue(state, WJB_END_ARRAY, nullptr);

    const char* refused = has_secret ? find_refusal(provider, merged, allowed) : nullptr;
    if (refused != nullptr) {
        push_string(state, "refused", refused);
    }
    pushJsonbValue(state, WJB_END_OBJECT, nullptr);
}

// An argument's object without the reserved key; null where it is NULL or not an object.
JsonbContainer* object_argument(FunctionCallInfo fcinfo, int argument) {
    if (PG_ARGISNULL(argument)) {
        return nullptr;
    }
    Jsonb* json = PG_GETARG_JSONB_P(argument);
    if (!JB_ROOT_IS_OBJECT(json)) {
        return nullptr;
    }
    if (find_key(&json->root, kReservedKey) == nullptr) {
        return &json->root;
    }
    JsonbParseState* state = nullptr;
    JsonbIterator* it = JsonbIteratorInit(&json->root);
    JsonbValue key;
    JsonbValue value;
    JsonbIteratorToken token;
    pushJsonbValue(&state, WJB_BEGIN_OBJECT, nullptr);
    while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE) {
        if (token == WJB_KEY) {
            JsonbIteratorNext(&it, &value, true);
            if (!string_equals(key, kReservedKey)) {
                pushJsonbValue(&state, WJB_KEY, &key);
                pushJsonbValue(&state, WJB_VALUE, &value);
            }
        }
    }
    return &JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, nullptr))->root;
}

}  // namespace

SYNC_ENGINE_FUNCTION(merge_config) {
    JsonbContainer* provider = object_argument(fcinfo, 0);
    JsonbContainer* connection = object_argument(fcinfo, 1);
    AllowedHosts allowed = {nullptr, nullptr, 0};
    if (!PG_ARGISNULL(2)) {
        deconstruct_text_array(PG_GETARG_ARRAYTYPE_P(2), &allowed.elements, &allowed.nulls, &allowed.count);
    }
    JsonbParseState* merging = nullptr;
    pushJsonbValue(&merging, WJB_BEGIN_OBJECT, nullptr);
    push_merged(&merging, provider, connection);
    Jsonb* merged = JsonbValueToJsonb(pushJsonbValue(&merging, WJB_END_OBJECT, nullptr));

    JsonbParseState* result = nullptr;
    pushJsonbValue(&result, WJB_BEGIN_OBJECT, nullptr);
    push_merged(&result, &merged->root, nullptr);
    push_reserved(&result, provider, &merged->root, allowed);
    PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&result, WJB_END_OBJECT, nullptr)));
}
