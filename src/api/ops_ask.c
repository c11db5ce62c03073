/* SPDX-License-Identifier: Apache-2.0 */
#include "api/ops_ask.h"

#include "base/limits.h"
#include "io/clock.h"
#include "schema/instant.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define NAME_BYTES_MAX 64 /* of a parameter; longer ones are none of ours */

void ops_ask_refuse(struct ops_ask *q, const char *fmt, ...)
{
    va_list ap;
    if (q->bad)
        return;
    q->bad = true;
    va_start(ap, fmt);
    (void)vsnprintf(q->why, sizeof(q->why), fmt, ap);
    va_end(ap);
}

/* Is name one of the words in known? */
static bool is_known(const char *known, struct slice name)
{
    for (const char *p = known; *p != '\0';) {
        size_t n = strcspn(p, " ");
        if (slice_eq(name, (struct slice){p, n}))
            return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

static void refuse_unknown(struct ops_ask *q, struct slice name, const char *known)
{
    int shown = (int)(name.len < NAME_BYTES_MAX ? name.len : NAME_BYTES_MAX);
    ops_ask_refuse(q, "unknown %s \"%.*s\"; known are: %s", q->in_body ? "member" : "parameter",
                   shown, name.ptr, known);
}

static void start(struct ops_ask *q, struct api_loop *a, struct http_request *r)
{
    *q = (struct ops_ask){.a = a, .r = r, .status = 400};
    buf_init(&q->value, LIMIT_OPS_BODY_BYTES);
}

void ops_ask_query(struct ops_ask *q, struct api_loop *a, struct http_request *r, const char *known)
{
    start(q, a, r);
    const char *p = r->query.ptr, *end = r->query.len > 0 ? p + r->query.len : p;
    while (p < end && !q->bad) {
        const char *amp = memchr(p, '&', (size_t)(end - p));
        const char *stop = amp != NULL ? amp : end;
        const char *eq = memchr(p, '=', (size_t)(stop - p));
        struct slice name = {p, (size_t)((eq != NULL ? eq : stop) - p)};
        buf_reset(&q->value);
        if (http_percent_decode(name, true, &q->value) != 0)
            ops_ask_refuse(q, "invalid percent-encoding in the query");
        else if (stop > p && !is_known(known, buf_slice(&q->value)))
            refuse_unknown(q, buf_slice(&q->value), known);
        p = stop + 1;
    }
}

void ops_ask_body(struct ops_ask *q, struct api_loop *a, struct http_request *r, const char *known)
{
    start(q, a, r);
    q->in_body = true;
    struct json_reader *reader = ops_reader(a);
    if (reader == NULL) {
        ops_ask_refuse(q, "service unavailable");
        q->status = 503;
        return;
    }
    int rc = json_reader_begin(reader, r->body.ptr, r->body.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &q->doc);
    if (rc == WH_EEND) {
        static const struct json_node nothing = {.kind = JSON_OBJECT, .next = 1};
        q->doc = (struct json_doc){.text = "", .nodes = &nothing, .node_count = 1};
        return;
    }
    if (rc != 0 || json_reader_trailing(reader)) {
        ops_ask_refuse(q, "invalid json");
        return;
    }
    const struct json_node *nodes = q->doc.nodes;
    if (nodes[0].kind != JSON_OBJECT) {
        ops_ask_refuse(q, "the body must be a JSON object");
        return;
    }
    for (uint32_t i = 1; i < nodes[0].next && !q->bad; i = nodes[i + 1].next)
        if (!is_known(known, json_raw(&q->doc, &nodes[i])))
            refuse_unknown(q, json_raw(&q->doc, &nodes[i]), known);
}

bool ops_ask_end(struct ops_ask *q)
{
    buf_fini(&q->value);
    if (q->bad)
        http_reply_error(q->r, q->status, slice_str(q->why), q->status == 503 ? 1 : 0);
    return !q->bad;
}

const struct json_node *ops_ask_node(struct ops_ask *q, const char *name)
{
    const struct json_node *nodes = q->doc.nodes, *found = NULL;
    for (uint32_t i = 1; !q->bad && i < nodes[0].next; i = nodes[i + 1].next)
        if (slice_eq_str(json_raw(&q->doc, &nodes[i]), name))
            found = &nodes[i + 1]; /* the last counts */
    return found != NULL && found->kind != JSON_NULL ? found : NULL;
}

/* The value as text in q->value. kind: what it is in a body. False: absent. */
static bool value_get(struct ops_ask *q, const char *name, uint8_t *kind)
{
    buf_reset(&q->value);
    if (q->bad)
        return false;
    if (!q->in_body) {
        int rc = http_query_get(q->r->query, name, &q->value);
        if (rc < 0)
            ops_ask_refuse(q, "invalid %s parameter", name);
        *kind = JSON_STRING;
        return rc == 1 && q->value.len > 0;
    }
    const struct json_node *n = ops_ask_node(q, name);
    if (n == NULL)
        return false;
    *kind = n->kind;
    struct slice raw = json_raw(&q->doc, n);
    char *room = buf_extend(&q->value, raw.len);
    if (room == NULL) {
        ops_ask_refuse(q, "%s is too long", name);
        return false;
    }
    if (n->kind == JSON_STRING)
        q->value.len = json_unescape(raw, room);
    else
        memcpy(room, raw.ptr, raw.len);
    return true;
}

bool ops_ask_text(struct ops_ask *q, const char *name, struct buf *out)
{
    uint8_t kind;
    if (!value_get(q, name, &kind))
        return false;
    if (kind != JSON_STRING) {
        ops_ask_refuse(q, "\"%s\" must be text in quotes", name);
        return false;
    }
    buf_reset(out);
    buf_put_slice(out, buf_slice(&q->value));
    if (!buf_ok(out))
        ops_ask_refuse(q, "%s is too long", name);
    return buf_ok(out);
}

uint64_t ops_ask_count(struct ops_ask *q, const char *name, uint64_t absent, uint64_t min,
                       uint64_t max)
{
    uint8_t kind;
    uint64_t v = 0;
    if (!value_get(q, name, &kind))
        return absent;
    bool good = q->value.len > 0 && kind == (q->in_body ? JSON_NUMBER : JSON_STRING);
    for (size_t i = 0; good && i < q->value.len; i++) {
        char c = q->value.ptr[i];
        good = c >= '0' && c <= '9' && !__builtin_mul_overflow(v, 10u, &v) &&
               !__builtin_add_overflow(v, (uint64_t)(c - '0'), &v);
    }
    if (!good || v < min || v > max)
        ops_ask_refuse(q, "%s must be a whole number from %" PRIu64 " to %" PRIu64, name, min, max);
    return v;
}

bool ops_ask_flag(struct ops_ask *q, const char *name)
{
    uint8_t kind;
    if (!value_get(q, name, &kind))
        return false;
    struct slice s = buf_slice(&q->value);
    bool word = !q->in_body || kind == JSON_TRUE || kind == JSON_FALSE;
    bool yes = slice_eq_str(s, "true") || (!q->in_body && slice_eq_str(s, "1"));
    bool no = slice_eq_str(s, "false") || (!q->in_body && slice_eq_str(s, "0"));
    if (!word || (!yes && !no))
        ops_ask_refuse(q, "%s must be true or false", name);
    return yes;
}

uint64_t ops_ask_instant(struct ops_ask *q, const char *name)
{
    uint8_t kind;
    uint64_t ns = 0;
    if (!value_get(q, name, &kind))
        return 0;
    if (kind != JSON_STRING || !instant_parse(buf_slice(&q->value), io_realtime_ns(), &ns))
        ops_ask_refuse(q, "%s must be " INSTANT_FORMS, name);
    return ns;
}
