/* SPDX-License-Identifier: Apache-2.0 */
/* Who asks, and may they (http-api §4, access-control §1–§3, §10, §12).
 *
 *   struct api_identity id;
 *   if (!api_identify(a, r, &id)) return;                 answered: tokens cannot be judged yet
 *   if (api_gate_table(a, r, &id, table, ACCESS_SELECT, &decision)) { … }   else answered, logged
 *   api_identity_fini(&id);
 *
 * Identifying never rejects: a bad token becomes a caller without a role, and the gate says why it
 * denies. It is cheap (verified tokens are remembered by hash), so whoever needs it at the head and
 * again when the body is there asks twice rather than keep it. On the loop's thread; never blocks.
 */
#ifndef WH_API_AUTH_H
#define WH_API_AUTH_H

#include "api/api_priv.h"
#include "access/gate.h"

/* What one request may do is decided on one policy: the snapshot taken here. */
struct api_identity {
    struct access_caller caller;        /* its role points into claims */
    struct access_claims *claims;       /* of a good token; NULL: none. One reference */
    const struct access_policy *policy; /* NULL: none is loaded. One reference */
};

/* False: answered 503 (a token came, and no JWKS was ever fetched); *out needs no fini then. */
bool api_identify(struct api_loop *a, struct http_request *r, struct api_identity *out);
void api_identity_fini(struct api_identity *id);

/* May the caller do this? True, and *out says within which grant (as long as id); or false:
 * answered 401 or 403 and logged (access-control §12). */
bool api_gate_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                    struct slice table, enum access_op op, struct access_decision *out);
bool api_gate_ops(struct api_loop *a, struct http_request *r, const struct api_identity *id);
/* The pipe's allowed_roles (access-control §3: admin always; exact names, "" matches nobody). */
bool api_gate_pipe(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                   struct slice pipe, const struct slice *roles, uint32_t role_count);

#endif
