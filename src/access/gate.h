/* SPDX-License-Identifier: Apache-2.0 */
/* The decision at the door of a surface (access-control §1, §3, §10): a credential alone never
 * rejects; here it is decided whether this caller may do this, and with what words it is denied. */
#ifndef WH_ACCESS_GATE_H
#define WH_ACCESS_GATE_H

#include "access/jwt.h"
#include "access/policy.h"

/* What authentication made of a request. */
struct access_caller {
    bool is_operator;             /* the operator key was right */
    bool bad_token;               /* a token was sent and did not verify: */
    enum access_jwt_result token; /* why */
    struct slice role;            /* of a good token; empty: none */
};

enum access_gate {
    ACCESS_DENIED,
    ACCESS_GRANTED,     /* within the grant */
    ACCESS_UNRESTRICTED /* as admin: no column, filter, check or limit applies */
};

struct access_decision {
    enum access_gate gate;
    struct slice role;                /* effective: the token's, else default_role */
    const struct access_grant *grant; /* of ACCESS_GRANTED; as long as the policy */
    /* of ACCESS_DENIED */
    int status;          /* 401 or 403 */
    const char *message; /* for the client: {"error":message} */
    const char *reason;  /* for the log and for operators */
};

/* May the caller select from, or insert into, the table? policy NULL: none is loaded. Any thread.
 */
void access_gate_table(const struct access_policy *policy, const struct access_caller *caller,
                       struct slice table, enum access_op op, struct access_decision *out);

/* May the caller use /v1/ops? */
void access_gate_ops(const struct access_policy *policy, const struct access_caller *caller,
                     struct access_decision *out);

/* May the caller use a pipe that these roles may use (exact names; "" matches nobody)? */
void access_gate_pipe(const struct access_policy *policy, const struct access_caller *caller,
                      const struct slice *roles, uint32_t role_count, struct access_decision *out);

#endif
