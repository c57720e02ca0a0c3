// Which tenant a caller is confined to. Functions that run with their owner's rights are not bound by
// policies: they ask here.
#include "extension/bound_tenant.hpp"
#include "extension/boundary.hpp"
#include "extension/cron_call.hpp"
#include "extension/guc.hpp"

extern "C" {
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
}

using namespace sync_engine;

namespace {

constexpr char kTenantRole[] = "sync_tenant";
constexpr char kAdminRole[] = "sync_admin";

// Who the session acts as outside of every such function. A superuser and whoever administers the engine are
// members of the tenants' role by no more than their greater rights.
bool acts_as_tenant() {
    const Oid role = GetOuterUserId();
    const Oid tenants = get_role_oid(kTenantRole, true);
    const Oid admins = get_role_oid(kAdminRole, true);
    return OidIsValid(tenants) && !superuser_arg(role) && has_privs_of_role(role, tenants) &&
           !(OidIsValid(admins) && has_privs_of_role(role, admins));
}

}  // namespace

const char* sync_engine::bound_tenant() {
    const char* tenant = guc::tenant_id == nullptr ? "" : guc::tenant_id;
    return tenant[0] != '\0' || acts_as_tenant() ? tenant : nullptr;
}

SYNC_ENGINE_FUNCTION(bound_tenant) {
    const char* tenant = bound_tenant();
    if (tenant == nullptr) {
        PG_RETURN_NULL();
    }
    PG_RETURN_TEXT_P(cstring_to_text(tenant));
}

SYNC_ENGINE_FUNCTION(sees_tenant) {
    const char* tenant = bound_tenant();
    PG_RETURN_BOOL(tenant == nullptr || (tenant[0] != '\0' && view_of(PG_GETARG_TEXT_PP(0)) == tenant));
}
