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
 *
 * With --insecure-open every gate opens for everybody, as ACCESS_UNRESTRICTED and in the role
 * "public". */
#ifndef WH_API_AUTH_H
#define WH_API_AUTH_H

#include "access/gate.h"
#include "api/api_priv.h"

/* What one request may do is decided on one policy: the snapshot taken here. */
struct api_identity {
    struct access_caller caller;        /* its role points into claims, or the loop's memory */
    struct access_claims *claims;       /* of a good token; NULL: none. One reference */
    const struct access_policy *policy; /* NULL: none is loaded. One reference */
};

/* False: answered 503 (a token came, and no JWKS was ever fetched); *out needs no fini then. */
bool api_identify(struct api_loop *a, struct http_request *r, struct api_identity *out);
void api_identity_fini(struct api_identity *id); /* twice is fine */

/* May the caller do this? True, and *out says within which grant (as long as id); or false:
 * answered 401 or 403 and logged (access-control §12). */
bool api_gate_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                    struct slice table, enum access_op op, struct access_decision *out);
bool api_gate_ops(struct api_loop *a, struct http_request *r, const struct api_identity *id);
/* The pipe's allowed_roles (access-control §3: admin always; exact names, "" matches nobody). */
bool api_gate_pipe(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                   struct slice pipe, const struct slice *roles, uint32_t role_count);

/* ---- for doors with answers of their own, and for what is not rejected (streams) ---- */

/* What a protocol that is not ours has for credentials; it goes first. */
struct api_credentials {
    struct slice password; /* a token, or an operator key; ptr NULL: none was sent */
};
/* As api_identify without answering. False: to be answered 503 with API_KEYS_PENDING. other NULL:
 * none. */
bool api_identify_with(struct api_loop *a, struct http_request *r,
                       const struct api_credentials *other, struct api_identity *out);
#define API_KEYS_PENDING               "token keys not loaded yet"
#define API_KEYS_PENDING_RETRY_AFTER_S 30

/* As api_gate_table without answering: false, and out->status and out->message say what to answer;
 * counted and logged. */
bool api_decide_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                      struct slice table, enum access_op op, struct access_decision *out);
/* Denied for a reason that shows only later: count and log it, too. */
void api_denied_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                      struct slice table, const struct access_decision *d);
/* The same question without a trace: nothing is counted or logged. */
bool api_may_table(struct api_loop *a, const struct api_identity *id, struct slice table,
                   enum access_op op, struct access_decision *out);
bool api_may_ops(struct api_loop *a, const struct api_identity *id);
/* The caller's effective role; as long as id. */
struct slice api_role(struct api_loop *a, const struct api_identity *id);

/* Who sent the request: the peer, or what the proxies named in server.trusted_proxies say about it.
 * Without a port. Valid until the loop asks again. */
struct slice api_client_address(struct api_loop *a, const struct http_request *r);

/* The loop's share. settle: other settings or keys are in force (called by api_refresh); timer:
 * says what was left out of the log. */
int api_auth_new(struct api_loop *a) WH_MUST_CHECK;
void api_auth_free(struct api_loop *a);
void api_auth_settle(struct api_loop *a);
void api_auth_timer(struct api_loop *a);

#endif
