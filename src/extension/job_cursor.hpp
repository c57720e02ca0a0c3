// Where a job goes on.
#pragma once

#include "extension/job_functions.hpp"
#include "extension/json_values.hpp"

namespace sync_engine {

// The job's own cursor; for an incremental one else that of its connection, which its metadata hold. As
// sync._job_cursor has it.
inline NullableDatum job_cursor(NullableDatum own, bool incremental, NullableDatum metadata) {
    if (!own.isnull && !is_json_null(own.value)) {
        return own;
    }
    NullableDatum cursor = {};
    cursor.isnull = true;
    if (metadata.isnull || !incremental) {
        return cursor;
    }
    Jsonb* root = DatumGetJsonbP(metadata.value);
    JsonbValue* own_object = JB_ROOT_IS_OBJECT(root) ? find(&root->root, "sync") : nullptr;
    if (own_object == nullptr || own_object->type != jbvBinary ||
        !JsonContainerIsObject(own_object->val.binary.data)) {
        return cursor;
    }
    JsonbValue* stored = find(own_object->val.binary.data, "cursor");
    if (stored != nullptr) {
        cursor.value = JsonbPGetDatum(JsonbValueToJsonb(stored));
        cursor.isnull = false;
    }
    return cursor;
}

}  // namespace sync_engine
