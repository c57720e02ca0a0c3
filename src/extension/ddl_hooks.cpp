// DROP, RENAME, SET TABLESPACE and TEMPLATE need a database without connections: its worker steps aside
// before the command runs and comes back when its transaction has ended, whichever way. Other commands change
// what a worker should be doing; it is told at commit. Commands that change the engine's settings are
// audited.
#include "extension/ddl_hooks.hpp"

#include "extension/deferred.hpp"
#include "extension/shared_state.hpp"

extern "C" {
#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"
}

namespace sync_engine {

namespace {

ProcessUtility_hook_type previous_utility_hook = nullptr;
object_access_hook_type previous_access_hook = nullptr;

bool owns_database(Oid database) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(DatabaseRelationId, database, GetUserId());
#else
    return pg_database_ownercheck(database, GetUserId());
#endif
}

bool is_template(Oid database) {
    HeapTuple tuple = SearchSysCache1(DATABASEOID, ObjectIdGetDatum(database));
    if (!HeapTupleIsValid(tuple)) {
        return false;
    }
    const bool result = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple))->datistemplate;
    ReleaseSysCache(tuple);
    return result;
}

const DefElem* find_option(List* options, const char* name) {
    ListCell* cell = nullptr;
    foreach (cell, options) {
        const DefElem* option = lfirst_node(DefElem, cell);
        if (strcmp(option->defname, name) == 0) {
            return option;
        }
    }
    return nullptr;
}

// The database that the command needs for itself, or null.
const char* database_to_empty(Node* command) {
    switch (nodeTag(command)) {
        case T_DropdbStmt:
            return castNode(DropdbStmt, command)->dbname;
        case T_RenameStmt: {
            const RenameStmt* rename = castNode(RenameStmt, command);
            return rename->renameType == OBJECT_DATABASE ? rename->subname : nullptr;
        }
        case T_AlterDatabaseStmt: {
            const AlterDatabaseStmt* alter = castNode(AlterDatabaseStmt, command);
            return find_option(alter->options, "tablespace") != nullptr ? alter->dbname : nullptr;
        }
        case T_CreatedbStmt: {
            const DefElem* source = find_option(castNode(CreatedbStmt, command)->options, "template");
            return source != nullptr && source->arg != nullptr ? defGetString(const_cast<DefElem*>(source))
                                                               : nullptr;
        }
        default:
            return nullptr;
    }
}

// A function of the schema in this database; invalid where the extension is not there, or is of a version
// before the function. Whoever runs the command need not have rights on the schema.
Oid find_function(const char* name, int arguments, const Oid* types) {
    if (RecoveryInProgress() || XactReadOnly || !OidIsValid(get_extension_oid(kExtensionName, true))) {
        return InvalidOid;
    }
    return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
                           PointerGetDatum(buildoidvector(types, arguments)),
                           ObjectIdGetDatum(get_namespace_oid("sync", true)));
}

// What the command sets: a setting of ours, or all of them.
bool sets_engine(const VariableSetStmt* set) {
    return set != nullptr && (set->kind == VAR_RESET_ALL ||
                              (set->name != nullptr && pg_strncasecmp(set->name, "sync_engine.", 12) == 0));
}

// Notices what differs from when it was last called.
void audit_catalog_settings(bool by_command) {
    const Oid types[] = {BOOLOID, BOOLOID};
    const Oid function = find_function("_audit_settings", 2, types);
    if (OidIsValid(function)) {
        OidFunctionCall2(function, BoolGetDatum(false), BoolGetDatum(by_command));
    }
}

// What ALTER DATABASE or ALTER ROLE sets, or null.
const VariableSetStmt* catalog_set(Node* command) {
    if (IsA(command, AlterDatabaseSetStmt)) {
        return castNode(AlterDatabaseSetStmt, command)->setstmt;
    }
    return IsA(command, AlterRoleSetStmt) ? castNode(AlterRoleSetStmt, command)->setstmt : nullptr;
}

void audit_before(Node* command) {
    if (sets_engine(catalog_set(command))) {
        // What others have done shall not be taken for this command's.
        audit_catalog_settings(false);
    }
}

void audit_after(Node* command) {
    if (sets_engine(catalog_set(command))) {
        CommandCounterIncrement();
        audit_catalog_settings(true);
    }
}

void before_command(Node* command) {
    audit_before(command);
    const char* name = database_to_empty(command);
    if (name == nullptr || RecoveryInProgress()) {
        return;
    }
    const Oid database = get_database_oid(name, true);
    if (!OidIsValid(database) || is_template(database)) {
        return;
    }
    // Only copying works from within; and whoever may not run the command shall not disturb the worker with
    // it.
    if ((database != MyDatabaseId || IsA(command, CreatedbStmt)) && owns_database(database)) {
        hold_database(database);
    }
}

void after_role_setting(const AlterRoleSetStmt* alter) {
    // Workers run as the bootstrap superuser.
    if (alter->role != nullptr && get_rolespec_oid(alter->role, true) != BOOTSTRAP_SUPERUSERID) {
        return;
    }
    defer_worker_restart(alter->database != nullptr ? get_database_oid(alter->database, true) : InvalidOid);
}

// The command has succeeded.
void after_command(Node* command) {
    audit_after(command);
    switch (nodeTag(command)) {
        case T_AlterDatabaseSetStmt: {
            const Oid database = get_database_oid(castNode(AlterDatabaseSetStmt, command)->dbname, true);
            if (OidIsValid(database)) {
                defer_worker_restart(database);
            }
            break;
        }
        case T_AlterRoleSetStmt:
            after_role_setting(castNode(AlterRoleSetStmt, command));
            break;
        case T_AlterDatabaseStmt:
        case T_CreatedbStmt:
        case T_DropdbStmt:
            defer_launcher_cycle();
            break;
        default:
            break;
    }
}

void on_utility(PlannedStmt* statement, const char* query, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo params, QueryEnvironment* environment, DestReceiver* destination,
                QueryCompletion* completion) {
    Node* command = statement->utilityStmt;
    const bool concerned = IsA(command, DropdbStmt) || IsA(command, RenameStmt) ||
                           IsA(command, CreatedbStmt) || IsA(command, AlterDatabaseStmt) ||
                           IsA(command, AlterDatabaseSetStmt) || IsA(command, AlterRoleSetStmt);
    if (concerned) {
        before_command(command);
    }
    (previous_utility_hook != nullptr ? previous_utility_hook : standard_ProcessUtility)(
        statement, query, read_only_tree, context, params, environment, destination, completion);
    if (concerned) {
        after_command(command);
    }
}

// Every way to lose the extension comes past here: DROP EXTENSION, DROP OWNED, DROP SCHEMA ... CASCADE.
void on_object_access(ObjectAccessType access, Oid class_id, Oid object, int sub_object, void* argument) {
    if (previous_access_hook != nullptr) {
        previous_access_hook(access, class_id, object, sub_object, argument);
    }
    if (access == OAT_DROP && class_id == ExtensionRelationId) {
        const char* name = get_extension_name(object);
        if (name != nullptr && strcmp(name, kExtensionName) == 0) {
            defer_recheck();
        }
    }
}

}  // namespace

void install_ddl_hooks() {
    previous_utility_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
    previous_access_hook = object_access_hook;
    object_access_hook = on_object_access;
}

}  // namespace sync_engine
