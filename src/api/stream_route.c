/* SPDX-License-Identifier: Apache-2.0 */
/* GET /v1/stream (http-api §11): the request, in the stream room's terms. Who may see what is
 * decided there, event by event; here nobody is refused for rights. */
#include "api/auth.h"

#include "access/jwt.h"
#include "io/clock.h"
#include "schema/instant.h"

#include <errno.h>
#include <stdlib.h>

#define NS_PER_S       UINT64_C(1000000000)
#define NAMES_MAX      (STREAM_TABLES_MAX * LIMIT_NAME_BYTES)
#define INSTANT_TEXT   128 /* longer is no instant */
#define EXP_DIGITS_MAX 32

struct stream_settings api_stream_settings(const struct config *c)
{
    return (struct stream_settings){
        .keepalive_ms = c->stream.keepalive_ms,
        .keepalive_buckets = (uint32_t)c->stream.keepalive_buckets,
        .max_subscribers = (uint32_t)c->stream.max_subscribers,
        .close_on_token_expiry = c->stream.close_on_token_expiry,
    };
}

/* The tables that the query names, into a->text. How many; -1: answered. */
static int tables(struct api_loop *a, struct http_request *r, struct slice out[STREAM_TABLES_MAX])
{
    size_t ends[STREAM_TABLES_MAX];
    struct slice rest = r->query;
    int n = 0, rc;
    buf_reset(&a->text);
    while ((rc = http_query_next(&rest, "table", &a->text)) == 1) {
        size_t start = n > 0 ? ends[n - 1] : 0;
        if (n == STREAM_TABLES_MAX || a->text.len - start > LIMIT_NAME_BYTES) {
            rc = WH_ELIMIT;
            break;
        }
        if (a->text.len > start)
            ends[n++] = a->text.len;
    }
    if (rc == WH_ELIMIT)
        http_reply_error(r, 400, SLICE_LIT("too many tables, or a name that is too long"), 0);
    else if (rc != 0)
        http_reply_error(r, 400, SLICE_LIT("invalid percent-encoding in the query"), 0);
    else if (n == 0)
        http_reply_error(r, 400, SLICE_LIT("missing required query parameter: table"), 0);
    if (rc != 0 || n == 0)
        return -1;
    for (int i = 0; i < n; i++) {
        size_t start = i > 0 ? ends[i - 1] : 0;
        out[i] = (struct slice){a->text.ptr + start, ends[i] - start};
    }
    return n;
}

static bool instant(struct slice text, uint64_t *ns)
{
    int64_t seconds;
    uint32_t rest;
    if (!instant_parse_rfc3339(text, &seconds, &rest) || seconds < 0 ||
        (uint64_t)seconds > UINT64_MAX / NS_PER_S - 1)
        return false;
    *ns = (uint64_t)seconds * NS_PER_S + rest;
    return true;
}

/* From where on: the header wins, also one that cannot be read, which means no replay. */
static void from(struct http_request *r, struct stream_ask *ask)
{
    struct slice last = http_field_get(r, "last-event-id");
    if (last.len > 0) {
        if (instant(last, &ask->from_ns) && ask->from_ns < UINT64_MAX)
            ask->from = STREAM_AFTER;
        return;
    }
    struct buf since;
    buf_init(&since, INSTANT_TEXT);
    if (http_query_get(r->query, "since", &since) == 1 && instant(buf_slice(&since), &ask->from_ns))
        ask->from = STREAM_SINCE;
    buf_fini(&since);
}

static bool positional(const struct http_request *r)
{
    struct buf frames;
    buf_init(&frames, INSTANT_TEXT);
    bool is = http_query_get(r->query, "frames", &frames) == 1 &&
              slice_eq_str(buf_slice(&frames), "positional");
    buf_fini(&frames);
    return is;
}

/* The token was good, so exp is a number if it is there at all. */
static uint64_t expires(const struct access_claims *claims)
{
    char digits[EXP_DIGITS_MAX];
    const struct json_node *n =
        claims != NULL ? access_claims_find(claims, SLICE_LIT("exp")) : NULL;
    if (n == NULL || n->kind != JSON_NUMBER)
        return 0;
    struct slice raw = json_raw(access_claims_doc(claims), n);
    /* What is cut off is a fraction, or an exponent without which it is over earlier. */
    size_t len = raw.len < sizeof(digits) ? raw.len : sizeof(digits) - 1;
    memcpy(digits, raw.ptr, len);
    digits[len] = '\0';
    double s = strtod(digits, NULL);
    return s > 0 && s < (double)(UINT64_MAX / NS_PER_S) ? (uint64_t)(s * (double)NS_PER_S) : 0;
}

/* Nobody is refused, but the operator is told about those who will see nothing. */
static void tell_denied(struct api_loop *a, struct http_request *r, const struct api_identity *id,
                        const struct slice *names, int n)
{
    struct access_decision d;
    for (int i = 0; i < n; i++) {
        if (a->catalog == NULL || schema_catalog_find(a->catalog, names[i]) == NULL ||
            api_may_table(a, id, names[i], ACCESS_SELECT, &d))
            continue;
        d.status = 200;
        api_denied_table(a, r, id, names[i], &d);
    }
}

void api_stream(struct api_loop *a, struct http_request *r)
{
    struct slice names[STREAM_TABLES_MAX];
    struct api_identity id;
    int n = tables(a, r, names);
    if (n < 0 || !api_identify(a, r, &id))
        return;
    struct stream_ask ask = {.tables = names,
                             .table_count = (uint32_t)n,
                             .caller = &id.caller,
                             .claims = id.claims,
                             .unrestricted = a->config->insecure_open,
                             .positional = positional(r),
                             .expires_ns = expires(id.claims),
                             .note =
                                 id.caller.bad_token ? access_jwt_message(id.caller.token) : NULL};
    from(r, &ask);
    tell_denied(a, r, &id, names, n);
    if (stream_subscribe(a->stream, r, &ask) != 0)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    api_identity_fini(&id);
}
