/* SPDX-License-Identifier: Apache-2.0 */
/* Who may write what (access-control §5, §8): the gate of a request, and the rules on its records.
 *
 * Rules are bound once per request: claims filled in, columns found, stamps in the form in which
 * they are stored. A caller without rules (admin, or a grant without any) costs its records
 * nothing. */
#include "api/ingest.h"

#include "base/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define ARENA_BYTES (16 * KIB)
#define ARENA_MAX   (8 * MIB) /* LIMIT_CLAIM_VALUES long claims */

/* A loop's memory for the request at hand. */
struct ingest_access_loop {
    struct arena arena;
    struct buf text, stamps;
    struct record_result result;
    uint64_t stamped[LIMIT_TABLE_COLUMNS / 64];
};

int ingest_access_loop_new(struct api_loop *a)
{
    struct ingest_access_loop *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return -ENOMEM;
    arena_init(&s->arena, ARENA_BYTES, ARENA_MAX);
    buf_init(&s->text, SIZE_MAX);
    buf_init(&s->stamps, SIZE_MAX);
    a->access = s;
    return 0;
}

void ingest_access_loop_free(struct api_loop *a)
{
    struct ingest_access_loop *s = a->access;
    if (s == NULL)
        return;
    arena_fini(&s->arena);
    buf_fini(&s->text);
    buf_fini(&s->stamps);
    free(s);
    a->access = NULL;
}

void ingest_access_fini(struct ingest_access *access)
{
    api_identity_fini(&access->identity);
}

/* ---- the gate ---------------------------------------------------------------------------------
 */

static bool refuse(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   int status, struct slice text, int retry_after_s)
{
    ingest_refuse(a, door, r, INGEST_DENIED, status, text, retry_after_s);
    return false;
}

static bool identify(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                     const struct api_credentials *credentials, struct ingest_access *out)
{
    if (api_identify_with(a, r, credentials, &out->identity))
        return true;
    return refuse(a, door, r, 503, SLICE_LIT(API_KEYS_PENDING), API_KEYS_PENDING_RETRY_AFTER_S);
}

static bool decide(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   const struct api_credentials *credentials, struct slice table,
                   struct ingest_access *out)
{
    if (!identify(a, door, r, credentials, out))
        return false;
    if (api_decide_table(a, r, &out->identity, table, ACCESS_INSERT, &out->decision))
        return true;
    (void)refuse(a, door, r, out->decision.status, slice_str(out->decision.message), 0);
    ingest_access_fini(out);
    return false;
}

bool ingest_gate_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                      struct slice table, struct ingest_access *out)
{
    return decide(a, door, r, NULL, table, out);
}

bool ingest_gate_unknown(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                         const struct api_credentials *credentials, struct slice table)
{
    struct ingest_access access = {.restricted = false};
    if (!a->config->api.hide_unknown_tables)
        return true;
    if (!decide(a, door, r, credentials, table, &access))
        return false;
    ingest_access_fini(&access);
    return true;
}

/* ---- binding ----------------------------------------------------------------------------------
 */

/* {"column":value} as it is stored: times in canonical form, the kind judged as of any record. 0,
 * WH_EREMOTE with words in e, -ENOMEM. */
static int settle_stamp(struct api_loop *a, const struct schema_table *t,
                        struct access_check_rule *rule, struct err *e)
{
    struct ingest_access_loop *s = a->access;
    struct json_doc doc;
    struct json_reader *reader = ops_reader(a);
    struct record_options options = {.defaults = true};
    buf_reset(&s->text);
    buf_put_u8(&s->text, '{');
    buf_put(&s->text, rule->stamp.ptr + 1, rule->stamp.len - 1);
    buf_put_u8(&s->text, '}');
    size_t len = s->text.len;
    buf_reset(&s->stamps);
    if (reader == NULL || buf_reserve(&s->text, LIMIT_JSON_PADDING) != 0 ||
        json_reader_begin(reader, s->text.ptr, len, JSON_ONE) != 0 ||
        json_reader_next(reader, &doc) != 0)
        return err_set(e, -ENOMEM, "out of memory");
    int rc = record_check(a->checker, t, schema_catalog_timezone(a->catalog), &options, &doc, 0,
                          &s->stamps, &s->result);
    if (rc > 0)
        return err_set(e, WH_EREMOTE, ACCESS_CHECK_FAILED, SLICE_ARG(rule->column->name));
    if (rc < 0)
        return err_set(e, rc, "out of memory");
    s->stamps.ptr[0] = ',';
    rule->stamp = arena_dup(&s->arena, (struct slice){s->stamps.ptr, s->stamps.len - 1});
    return rule->stamp.ptr != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
}

static int bind(struct api_loop *a, const struct schema_table *t, struct ingest_access *out,
                struct err *e)
{
    struct ingest_access_loop *s = a->access;
    const struct access_grant *g = out->decision.grant;
    arena_reset(&s->arena);
    int rc = access_check_bind(&s->arena, g, out->identity.claims, t, &out->check, e);
    if (rc != 0)
        return rc;
    memset(s->stamped, 0, sizeof(s->stamped));
    for (uint32_t i = 0; i < out->check.count && rc == 0; i++) {
        struct access_check_rule *rule = &out->check.rules[i];
        uint32_t ordinal = rule->column->ordinal;
        if (rule->one_of)
            continue;
        s->stamped[ordinal / 64] |= (uint64_t)1 << (ordinal % 64);
        out->stamps_received = out->stamps_received || (int32_t)ordinal == t->received_timestamp;
        rc = settle_stamp(a, t, rule, e);
    }
    out->stamped = s->stamped;
    out->stamps = &s->stamps;
    return rc;
}

bool ingest_gate(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                 const struct api_credentials *credentials, const struct schema_table *table,
                 struct ingest_access *out)
{
    struct err e;
    if (!decide(a, door, r, credentials, table->name, out))
        return false;
    const struct access_grant *g = out->decision.grant;
    out->restricted = out->decision.gate == ACCESS_GRANTED &&
                      (g->rule_count | g->allow_columns.count | g->deny_columns.count) != 0;
    int rc = out->restricted ? bind(a, table, out, &e) : 0;
    if (rc == 0)
        return true;
    if (rc == WH_EREMOTE) { /* nothing that this caller could send would go in */
        struct access_decision d = out->decision;
        d.status = 403;
        d.reason = e.text;
        api_denied_table(a, r, &out->identity, table->name, &d);
        (void)refuse(a, door, r, 403, slice_str(e.text), 0);
    } else {
        ingest_refuse(a, door, r, INGEST_BUSY, 503, SLICE_LIT("service unavailable"), 1);
    }
    ingest_access_fini(out);
    return false;
}

/* ---- records ----------------------------------------------------------------------------------
 */

static void say(struct record_result *result, enum record_rule rule, struct slice column)
{
    column.len = column.len < LIMIT_NAME_BYTES ? column.len : LIMIT_NAME_BYTES;
    result->status = 403;
    result->rule = rule;
    result->code = 0;
    if (rule == RECORD_CHECK)
        (void)snprintf(result->message, sizeof(result->message), ACCESS_CHECK_FAILED,
                       SLICE_ARG(column));
    else
        (void)snprintf(result->message, sizeof(result->message),
                       "column \"%.*s\" not allowed for insert", SLICE_ARG(column));
}

int ingest_access_record(struct ingest_op *op, const struct json_doc *doc, struct buf *text,
                         size_t text_off)
{
    const struct ingest_access *access = op->access;
    struct slice column;
    if (access_check_columns(access->decision.grant, doc, &column)) {
        say(&op->result, RECORD_COLUMN, column);
        return 0;
    }
    buf_reset(access->stamps);
    const struct schema_column *failed = access_check_record(&access->check, doc, access->stamps);
    if (failed != NULL) {
        say(&op->result, RECORD_CHECK, failed->name);
        return 0;
    }
    struct slice stamps = buf_slice(access->stamps);
    if (!buf_ok(access->stamps))
        return -ENOMEM;
    if (stamps.len == 0)
        return 0;
    bool empty = text->len - text_off == 2; /* {} */
    text->len--;
    buf_put(text, stamps.ptr + empty, stamps.len - empty);
    buf_put_u8(text, '}');
    return buf_ok(text) ? 0 : -ENOMEM;
}
