/* SPDX-License-Identifier: Apache-2.0 */
#include "api/auth.h"

#include "access/operator.h"
#include "api/auth_keys.h"
#include "api/client_address.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define LINES_PER_SECOND 10  /* of one kind and one loop; the rest is counted */
#define SHOWN_BYTES      128 /* of a text that came from outside, in a log line */

enum gate {
    GATE_ADMIN,
    GATE_POLICY,
    GATE_PIPE,
    GATES
};
static const char *const gate_names[GATES] = {"admin", "policy", "pipe"};

/* Lines that anybody can cause: so many a second, and how many were left out. */
struct line_budget {
    uint64_t second, used, dropped;
};

struct api_auth {
    struct access_jwt *verifier; /* NULL: there are no keys yet */
    bool no_memory;              /* the verifier could not be made: no token is good */
    uint64_t keys_version, config_version;
    struct access_operator operators;
    struct client_networks proxies;
    struct buf token, line, role;
    char address[CLIENT_ADDRESS_CAP];
    struct line_budget denials[GATES], keys_used, keys_wrong;
    struct metric *denied[GATES], *key_failures, *tokens[3];
};

/* ---- settings and keys ------------------------------------------------------------------------
 */

static void make_verifier(struct api_loop *a, struct api_auth *s)
{
    const struct config *c = a->config;
    struct access_jwt_rules rules = {.require_exp = c->auth.require_exp,
                                     .issuer = slice_str(c->auth.issuer),
                                     .audience = slice_str(c->auth.audience)};
    struct access_keys *keys = a->shared->keys != NULL
                                   ? auth_keys_current(a->shared->keys)
                                   : access_keys_secret((struct slice){NULL, 0});
    access_jwt_free(s->verifier);
    s->verifier = keys != NULL ? access_jwt_new(keys, &rules) : NULL;
    s->no_memory = keys != NULL && s->verifier == NULL;
    access_keys_unref(keys);
}

void api_auth_settle(struct api_loop *a)
{
    struct api_auth *s = a->auth;
    uint64_t keys = a->shared->keys != NULL ? auth_keys_version(a->shared->keys) : 0;
    bool config = s->config_version != a->config_version;
    if (!config && s->keys_version == keys && !s->no_memory)
        return;
    s->keys_version = keys;
    s->config_version = a->config_version;
    make_verifier(a, s);
    if (!config)
        return;
    access_operator_init(&s->operators, slice_str(a->config->auth.operator_key),
                         slice_str(a->config->auth.operator_key_next));
    client_networks_set(&s->proxies, a->config->server.trusted_proxies,
                        a->config->server.trusted_proxy_count);
}

int api_auth_new(struct api_loop *a)
{
    static const char denied[] = "wavehouse_authz_denied_total";
    static const char denied_help[] = "Requests that were denied, by the gate that did.";
    static const char tokens[] = "wavehouse_auth_tokens_total";
    static const char tokens_help[] = "Tokens looked at, by what was found.";
    struct api_auth *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    for (int i = 0; i < GATES; i++)
        s->denied[i] =
            metric_new(METRIC_COUNTER, denied, denied_help, "gate=\"%s\"", gate_names[i]);
    s->key_failures = metric_new(METRIC_COUNTER, "wavehouse_auth_operator_key_failures_total",
                                 "Requests with a wrong operator key.", NULL);
    s->tokens[ACCESS_JWT_GOOD] = metric_new(METRIC_COUNTER, tokens, tokens_help, "result=\"good\"");
    s->tokens[ACCESS_JWT_EXPIRED] =
        metric_new(METRIC_COUNTER, tokens, tokens_help, "result=\"expired\"");
    s->tokens[ACCESS_JWT_INVALID] =
        metric_new(METRIC_COUNTER, tokens, tokens_help, "result=\"invalid\"");
    buf_init(&s->token, LIMIT_TOKEN_BYTES);
    buf_init(&s->line, SIZE_MAX);
    buf_init(&s->role, LIMIT_TOKEN_BYTES);
    a->auth = s;
    s->config_version = a->config_version - 1; /* anything else than in force */
    api_auth_settle(a);
    return 0;
}

void api_auth_free(struct api_loop *a)
{
    struct api_auth *s = a->auth;
    if (s == NULL)
        return;
    access_jwt_free(s->verifier);
    client_networks_free(&s->proxies);
    buf_fini(&s->token);
    buf_fini(&s->line);
    buf_fini(&s->role);
    explicit_bzero(&s->operators, sizeof(s->operators));
    free(s);
    a->auth = NULL;
}

/* ---- log lines --------------------------------------------------------------------------------
 */

/* May one more line be written now? */
static bool may_say(struct line_budget *b)
{
    uint64_t second = io_monotonic_ns() / 1000000000;
    if (second != b->second) {
        b->second = second;
        b->used = 0;
    }
    if (b->used == LINES_PER_SECOND) {
        b->dropped++;
        return false;
    }
    b->used++;
    return true;
}

/* name="value", cut and quoted so that it stays one word of one line whatever it holds. */
static void put_field(struct buf *line, const char *name, struct slice value)
{
    buf_printf(line, " %s=", name);
    buf_put_json_string(line, (struct slice){value.ptr,
                                             value.len < SHOWN_BYTES ? value.len : SHOWN_BYTES});
}

static const char *method_name(enum http_method m)
{
    static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "other"};
    return names[m];
}

/* What every line says: which request it was. Never its target, which may hold a token. */
static void put_request(struct api_loop *a, const struct http_request *r, struct buf *line)
{
    buf_printf(line, " route=%s method=%s", a->route != NULL ? a->route : "-",
               method_name(r->method));
    put_field(line, "request_id", r->request_id);
    put_field(line, "client", api_client_address(a, r));
}

static void say_dropped(struct line_budget *b, struct buf *line)
{
    if (b->dropped > 0)
        buf_printf(line, " repeated=%" PRIu64, b->dropped);
    b->dropped = 0;
}

static void say_key(struct api_loop *a, const struct http_request *r, bool right)
{
    struct api_auth *s = a->auth;
    struct line_budget *b = right ? &s->keys_used : &s->keys_wrong;
    bool ops = a->route != NULL && strncmp(a->route, "/v1/ops", 7) == 0;
    if (!may_say(b) && !(right && ops)) /* what an operator changes is told each time */
        return;
    buf_reset(&s->line);
    buf_put_str(&s->line, r->is_control ? "by the control socket:"
                          : right       ? "the operator key was used:"
                                        : "a wrong operator key was sent:");
    put_request(a, r, &s->line);
    say_dropped(b, &s->line);
    if (right)
        log_info("auth.operator", "%.*s", SLICE_ARG(buf_slice(&s->line)));
    else
        log_warn("auth.operator_key_wrong", "%.*s", SLICE_ARG(buf_slice(&s->line)));
}

static void say_denied(struct api_loop *a, const struct http_request *r, enum gate gate,
                       const struct api_identity *id, const struct access_decision *d,
                       struct slice object)
{
    struct api_auth *s = a->auth;
    struct line_budget *b = &s->denials[gate];
    metric_add(s->denied[gate], 1);
    if (!may_say(b))
        return;
    buf_reset(&s->line);
    buf_printf(&s->line, "gate=%s", gate_names[gate]);
    put_field(&s->line, "reason", slice_str(d->reason != NULL ? d->reason : d->message));
    put_field(&s->line, "role", id->caller.role);
    put_field(&s->line, "resolved_role", d->role);
    if (gate != GATE_ADMIN)
        put_field(&s->line, gate == GATE_PIPE ? "pipe" : "table", object);
    put_request(a, r, &s->line);
    buf_printf(&s->line, " status=%d", d->status);
    say_dropped(b, &s->line);
    log_warn("auth.denied", "%.*s", SLICE_ARG(buf_slice(&s->line)));
}

void api_auth_timer(struct api_loop *a)
{
    struct api_auth *s = a->auth;
    uint64_t second = io_monotonic_ns() / 1000000000;
    for (int i = 0; i < GATES; i++) {
        struct line_budget *b = &s->denials[i];
        if (b->dropped == 0 || b->second == second)
            continue;
        log_warn("auth.denied", "gate=%s repeated=%" PRIu64, gate_names[i], b->dropped);
        b->dropped = 0;
    }
    if (s->keys_wrong.dropped > 0 && s->keys_wrong.second != second) {
        log_warn("auth.operator_key_wrong", "a wrong operator key was sent: repeated=%" PRIu64,
                 s->keys_wrong.dropped);
        s->keys_wrong.dropped = 0;
    }
}

struct slice api_client_address(struct api_loop *a, const struct http_request *r)
{
    struct api_auth *s = a->auth;
    return client_address(&s->proxies, r, s->address);
}

/* ---- identity ---------------------------------------------------------------------------------
 */

/* What stands behind the scheme, or ptr NULL: another scheme. */
static struct slice behind_scheme(struct slice value, const char *scheme)
{
    size_t n = strlen(scheme);
    if (value.len <= n || strncasecmp(value.ptr, scheme, n) != 0 || value.ptr[n] != ' ')
        return (struct slice){NULL, 0};
    while (n < value.len && value.ptr[n] == ' ')
        n++;
    return (struct slice){value.ptr + n, value.len - n};
}

struct found {
    struct slice bearer; /* ptr NULL: none */
    bool key_sent, key_right;
};

static void try_key(struct api_auth *s, struct slice key, struct found *f)
{
    if (key.ptr == NULL || key.len == 0)
        return;
    f->key_sent = true;
    f->key_right = f->key_right || access_operator_is(&s->operators, key);
}

/* Of several tokens the first counts; any right operator key does. */
static struct found look(struct api_auth *s, const struct http_request *r)
{
    struct found f = {.bearer = {NULL, 0}};
    for (uint32_t i = 0; i < r->field_count; i++) {
        const struct http_field *field = &r->fields[i];
        if (http_field_is(field, "x-operator-key")) {
            try_key(s, field->value, &f);
        } else if (http_field_is(field, "authorization")) {
            try_key(s, behind_scheme(field->value, "operator"), &f);
            struct slice token = behind_scheme(field->value, "bearer");
            if (f.bearer.ptr == NULL)
                f.bearer = token;
        }
    }
    return f;
}

/* A token of the URL, decoded, when there is one and it counts. */
static struct slice query_token(struct api_loop *a, const struct http_request *r)
{
    struct api_auth *s = a->auth;
    if (r->query.len == 0 || !a->config->auth.allow_query_token)
        return (struct slice){NULL, 0};
    buf_reset(&s->token);
    int rc = http_query_get(r->query, "token", &s->token);
    if (rc == 0 || (rc == 1 && s->token.len == 0))
        return (struct slice){NULL, 0};
    /* One that cannot be read is a token that was sent, and is not good. */
    return rc == 1 ? buf_slice(&s->token) : SLICE_LIT("-");
}

/* Three parts with dots between them: what else a password may be. */
static bool looks_like_token(struct slice s)
{
    const char *dot = s.len > 0 ? memchr(s.ptr, '.', s.len) : NULL;
    return dot != NULL && memchr(dot + 1, '.', (size_t)(s.ptr + s.len - dot - 1)) != NULL;
}

/* The role of good claims. It lives in them, or, when it was written with escapes, in the loop's
 * memory until the next request is identified. */
static struct slice role_of(struct api_loop *a, const struct access_claims *claims)
{
    struct api_auth *s = a->auth;
    const struct json_node *n = access_claims_find(claims, slice_str(a->config->auth.role_claim));
    if (n == NULL || n->kind != JSON_STRING)
        return (struct slice){NULL, 0};
    if ((n->flags & JSON_F_ESCAPED) == 0)
        return json_raw(access_claims_doc(claims), n);
    buf_reset(&s->role);
    bool got = access_claims_string(claims, slice_str(a->config->auth.role_claim), &s->role);
    return got && buf_ok(&s->role) ? buf_slice(&s->role) : (struct slice){NULL, 0};
}

/* False: tokens cannot be judged yet. */
static bool judge_token(struct api_loop *a, struct slice token, bool first,
                        struct api_identity *out)
{
    struct api_auth *s = a->auth;
    struct access_jwt_verdict v = {.result = ACCESS_JWT_INVALID};
    if (s->verifier == NULL && !s->no_memory)
        return false;
    if (s->verifier != NULL) {
        int64_t now_s = (int64_t)(io_realtime_ns() / 1000000000);
        if (access_jwt_verify(s->verifier, token, now_s, &v) != 0)
            v.result = ACCESS_JWT_INVALID;
    }
    if (v.unknown_key && a->shared->keys != NULL)
        auth_keys_miss(a->shared->keys);
    if (first)
        metric_add(s->tokens[v.result], 1);
    if (v.result != ACCESS_JWT_GOOD) {
        out->caller.bad_token = true;
        out->caller.token = v.result;
        return true;
    }
    out->claims = v.claims;
    out->caller.role = role_of(a, v.claims);
    return true;
}

bool api_identify_with(struct api_loop *a, struct http_request *r,
                       const struct api_credentials *other, struct api_identity *out)
{
    struct api_auth *s = a->auth;
    bool first = !r->identified;
    *out = (struct api_identity){.policy = NULL};
    if (a->config->insecure_open)
        return true;
    struct found f = look(s, r);
    if (r->is_control) /* the socket's mode has decided who gets in */
        f.key_sent = f.key_right = true;
    struct slice password = other != NULL ? other->password : (struct slice){NULL, 0};
    if (looks_like_token(password))
        f.bearer = password;
    else
        try_key(s, password, &f);
    if (first && f.key_sent) {
        r->identified = true;
        if (!f.key_right)
            metric_add(s->key_failures, 1);
        say_key(a, r, f.key_right);
    }
    if (f.key_right) {
        out->caller.is_operator = true;
    } else {
        struct slice token = f.bearer.ptr != NULL ? f.bearer : query_token(a, r);
        if (token.ptr != NULL && !judge_token(a, token, first, out))
            return false;
        r->identified = true;
        /* Who sends a password wants to be somebody: say that it is wrong where nobody may pass. */
        if (token.ptr == NULL && password.len > 0) {
            out->caller.bad_token = true;
            out->caller.token = ACCESS_JWT_INVALID;
        }
    }
    const struct access_policy *policy =
        a->control != NULL ? control_snapshot_policy(a->control) : NULL;
    out->policy = policy != NULL ? access_policy_ref(policy) : NULL;
    return true;
}

bool api_identify(struct api_loop *a, struct http_request *r, struct api_identity *out)
{
    if (api_identify_with(a, r, NULL, out))
        return true;
    http_reply_error(r, 503, SLICE_LIT(API_KEYS_PENDING), API_KEYS_PENDING_RETRY_AFTER_S);
    return false;
}

void api_identity_fini(struct api_identity *id)
{
    access_claims_unref(id->claims);
    access_policy_unref(id->policy);
    id->claims = NULL;
    id->policy = NULL;
}

/* ---- gates ------------------------------------------------------------------------------------
 */

#define OPEN_ROLE "public" /* under --insecure-open */

static bool is_open(const struct api_loop *a, struct access_decision *out)
{
    if (a->config->insecure_open)
        *out = (struct access_decision){.gate = ACCESS_UNRESTRICTED, .role = SLICE_LIT(OPEN_ROLE)};
    return a->config->insecure_open;
}

bool api_may_table(struct api_loop *a, const struct api_identity *id, struct slice table,
                   enum access_op op, struct access_decision *out)
{
    if (is_open(a, out))
        return true;
    access_gate_table(id->policy, &id->caller, table, op, out);
    return out->gate != ACCESS_DENIED;
}

bool api_decide_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                      struct slice table, enum access_op op, struct access_decision *out)
{
    if (api_may_table(a, id, table, op, out))
        return true;
    say_denied(a, r, GATE_POLICY, id, out, table);
    return false;
}

void api_denied_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                      struct slice table, const struct access_decision *d)
{
    say_denied(a, r, GATE_POLICY, id, d, table);
}

bool api_gate_table(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                    struct slice table, enum access_op op, struct access_decision *out)
{
    if (api_decide_table(a, r, id, table, op, out))
        return true;
    http_reply_error(r, out->status, slice_str(out->message), 0);
    return false;
}

bool api_may_ops(struct api_loop *a, const struct api_identity *id)
{
    struct access_decision d;
    if (is_open(a, &d))
        return true;
    access_gate_ops(id->policy, &id->caller, &d);
    return d.gate != ACCESS_DENIED;
}

bool api_gate_ops(struct api_loop *a, struct http_request *r, const struct api_identity *id)
{
    struct access_decision d;
    if (is_open(a, &d))
        return true;
    access_gate_ops(id->policy, &id->caller, &d);
    if (d.gate != ACCESS_DENIED)
        return true;
    say_denied(a, r, GATE_ADMIN, id, &d, (struct slice){NULL, 0});
    http_reply_error(r, d.status, slice_str(d.message), 0);
    return false;
}

bool api_gate_pipe(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                   struct slice pipe, const struct slice *roles, uint32_t role_count)
{
    struct access_decision d;
    if (is_open(a, &d))
        return true;
    access_gate_pipe(id->policy, &id->caller, roles, role_count, &d);
    if (d.gate != ACCESS_DENIED)
        return true;
    say_denied(a, r, GATE_PIPE, id, &d, pipe);
    http_reply_error(r, d.status, slice_str(d.message), 0);
    return false;
}

struct slice api_role(struct api_loop *a, const struct api_identity *id)
{
    struct access_decision d;
    if (!is_open(a, &d))
        access_gate_ops(id->policy, &id->caller, &d);
    return d.role;
}
