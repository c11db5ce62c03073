/* SPDX-License-Identifier: Apache-2.0 */
#include "access/gate.h"

static void deny(const struct access_caller *caller, struct access_decision *out,
                 const char *reason)
{
    out->gate = ACCESS_DENIED;
    out->status = caller->bad_token ? 401 : 403;
    out->reason =
        caller->bad_token ? "the token did not verify, and without one this is denied" : reason;
    if (caller->bad_token)
        out->message = access_jwt_message(caller->token);
    else if (out->role.len == 0)
        out->message = "forbidden: request has no role and no public default_role is configured";
    else
        out->message = "forbidden";
}

/* The effective role, and whether it decides already. */
static bool resolve(const struct access_policy *policy, const struct access_caller *caller,
                    struct access_decision *out)
{
    *out = (struct access_decision){.gate = ACCESS_DENIED, .role = caller->role};
    if (policy == NULL) {
        deny(caller, out, "no policy is loaded");
        return true;
    }
    struct slice admin = access_policy_admin_role(policy);
    if (caller->is_operator)
        out->role = admin;
    else if (caller->bad_token || caller->role.len == 0)
        out->role = access_policy_default_role(policy);
    if (slice_eq(out->role, admin)) {
        out->gate = ACCESS_UNRESTRICTED;
        return true;
    }
    if (out->role.len == 0) {
        deny(caller, out, "the request has no role, and there is no default_role");
        return true;
    }
    return false;
}

void access_gate_table(const struct access_policy *policy, const struct access_caller *caller,
                       struct slice table, enum access_op op, struct access_decision *out)
{
    if (resolve(policy, caller, out))
        return;
    out->grant = access_policy_grant(policy, table, op, out->role);
    if (out->grant != NULL)
        out->gate = ACCESS_GRANTED;
    else
        deny(caller, out, "the role has no grant for this operation on this table");
}

void access_gate_ops(const struct access_policy *policy, const struct access_caller *caller,
                     struct access_decision *out)
{
    /* Break-glass: the operator key opens these also when no policy is loaded. */
    if (policy == NULL && caller->is_operator) {
        *out = (struct access_decision){.gate = ACCESS_UNRESTRICTED, .role = SLICE_LIT("admin")};
        return;
    }
    if (!resolve(policy, caller, out))
        deny(caller, out, "only the admin role may do this");
}

void access_gate_pipe(const struct access_policy *policy, const struct access_caller *caller,
                      const struct slice *roles, uint32_t role_count, struct access_decision *out)
{
    if (resolve(policy, caller, out))
        return;
    for (uint32_t i = 0; i < role_count && out->gate == ACCESS_DENIED; i++)
        if (slice_eq(roles[i], out->role))
            out->gate = ACCESS_GRANTED;
    if (out->gate == ACCESS_DENIED)
        deny(caller, out, "the role is not among the pipe's allowed_roles");
}
