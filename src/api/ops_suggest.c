/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/schema/suggest[?table=NAME]: a sample of records → a CREATE TABLE statement that takes
 * them. The suggestion is tried on the sample, as strict ingest would, and a column whose type
 * refuses a value is widened, so that what is suggested accepts what was shown. */
#include "api/api_priv.h"
#include "base/limits.h"
#include "schema/suggest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <strings.h>

enum {
    TRIES_MAX = 5 /* a column is widened three times at most */
};

struct sample {
    struct api_loop *a;
    struct slice body;
    enum json_framing framing;
    struct suggest *suggest;
    struct suggest_options options;
    struct schema_catalog *catalog; /* the suggested table */
    struct ch_verdict *verdict;
    uint64_t records, invalid, tried, accepted;
    bool widened; /* a column was, in this pass */
};

/* ---- the sample */

/* One object, an array, or lines, whatever Content-Type says: who tries things out by hand sends
 * none. Several values one after the other are lines. */
static int find_framing(struct sample *p)
{
    struct json_reader *reader = ops_reader(p->a);
    struct json_doc doc;
    size_t i = 0;
    while (i < p->body.len && strchr(" \t\r\n", p->body.ptr[i]) != NULL && p->body.ptr[i] != '\0')
        i++;
    p->framing = JSON_ITEMS;
    if (reader == NULL)
        return -ENOMEM;
    if (i < p->body.len && p->body.ptr[i] == '[')
        return 0;
    p->framing = JSON_ONE;
    int rc = json_reader_begin(reader, p->body.ptr, p->body.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == WH_EEND || rc == -ENOMEM)
        return rc;
    if (rc != 0 || json_reader_trailing(reader))
        p->framing = JSON_LINES;
    return 0;
}

enum {
    ENOUGH = 1 /* what `each` returns to end the walk */
};

/* Call each(p, doc) for every object of the sample; whatever else is there is counted. 0, -ENOMEM,
 * or WH_ESYNTAX, WH_ELIMIT: the reader says why. */
static int for_each(struct sample *p, int (*each)(struct sample *p, const struct json_doc *doc))
{
    struct json_reader *reader = ops_reader(p->a);
    struct json_doc doc;
    p->invalid = 0;
    int rc = json_reader_begin(reader, p->body.ptr, p->body.len, p->framing);
    while (rc == 0) {
        rc = json_reader_next(reader, &doc);
        bool bad_line = p->framing == JSON_LINES && (rc == WH_ESYNTAX || rc == WH_ELIMIT);
        if (bad_line || (rc == 0 && doc.nodes[0].kind != JSON_OBJECT)) {
            p->invalid++;
            rc = 0;
        } else if (rc == 0) {
            rc = each(p, &doc);
        }
        if (p->framing == JSON_ONE)
            break;
    }
    return rc == WH_EEND || rc == ENOUGH ? 0 : rc;
}

static int look_at(struct sample *p, const struct json_doc *doc)
{
    int rc = suggest_add(p->suggest, doc);
    p->records += rc == 0;
    return rc == WH_ELIMIT ? ENOUGH : rc;
}

/* ---- trying the suggestion */

static int make_catalog(struct sample *p)
{
    struct schema_builder *b = schema_builder_new();
    if (b == NULL)
        return -ENOMEM;
    schema_catalog_unref(p->catalog);
    schema_builder_server(b, p->options.server_version, SLICE_LIT("UTC"));
    int rc = schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("MergeTree"), 0);
    for (uint32_t i = 0; rc == 0 && i < suggest_column_count(p->suggest); i++) {
        struct suggest_column c = suggest_column(p->suggest, i);
        if (c.type.len > 0)
            rc = schema_builder_column(b, c.name, c.type,
                                       slice_str(c.default_expr.len > 0 ? "DEFAULT" : ""),
                                       c.default_expr);
    }
    p->catalog = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    return p->catalog == NULL ? -ENOMEM : 0;
}

/* Each column once in a pass: its new type is named after it. */
static void widen_column(struct sample *p, const char *name)
{
    for (uint32_t i = 0; i < suggest_column_count(p->suggest); i++)
        if (slice_eq_str(suggest_column(p->suggest, i).name, name))
            p->widened = suggest_widen(p->suggest, i) || p->widened;
}

static int try_record(struct sample *p, const struct json_doc *doc)
{
    const struct schema_table *t = schema_catalog_find(p->catalog, SLICE_LIT("t"));
    struct record_options options = {.ignore_unknown = true, .stamp_received = p->options.stamped};
    struct record_result result;
    struct ch_value_error e;
    struct buf *text = &p->a->text;
    if (t == NULL || p->tried++ == p->records)
        return ENOUGH;
    buf_reset(text);
    int rc = record_check(p->a->checker, t, SLICE_LIT("UTC"), &options, doc, 1, text, &result);
    if (rc != 0)
        return rc < 0 ? rc : 0; /* not accepted: the answer's count says so */
    if (buf_reserve(text, LIMIT_JSON_PADDING) != 0)
        return -ENOMEM;
    rc = ch_verdict_check(p->verdict, p->catalog, t, doc, buf_slice(text), &e);
    p->accepted += rc == 0 && result.unknown_ignored == 0;
    if (rc == WH_ESYNTAX) {
        widen_column(p, e.column);
        rc = 0;
    }
    return rc;
}

static int suggest_and_try(struct sample *p)
{
    int rc = 0;
    p->widened = true;
    for (int i = 0; i < TRIES_MAX && rc == 0 && p->widened; i++) {
        p->widened = false;
        p->tried = p->accepted = 0;
        rc = suggest_finish(p->suggest, &p->options);
        if (rc == 0)
            rc = make_catalog(p);
        if (rc == 0)
            rc = for_each(p, try_record);
    }
    return rc;
}

/* ---- the route */

static void sample_fini(struct sample *p)
{
    suggest_free(p->suggest);
    ch_verdict_free(p->verdict);
    schema_catalog_unref(p->catalog);
}

static void answer(struct sample *p, struct http_request *r)
{
    struct buf *out = &p->a->text;
    buf_reset(out);
    suggest_write(p->suggest, out);
    buf_printf(out, ",\"records\":%" PRIu64 ",\"accepted\":%" PRIu64, p->records, p->accepted);
    if (p->invalid > 0)
        buf_printf(out, ",\"invalid\":%" PRIu64, p->invalid);
    buf_put_u8(out, '}');
    api_reply_text(p->a, r, 200);
}

static void refuse(struct http_request *r, int rc, const struct sample *p)
{
    struct buf *out = &p->a->text;
    if (rc == -ENOMEM) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    buf_reset(out);
    if (rc == WH_ESYNTAX || rc == WH_ELIMIT)
        buf_printf(out, "invalid json: %s", json_reader_error(ops_reader(p->a)));
    else
        buf_put_str(out,
                    "no record in the sample: send JSON objects, one, an array, or a line each");
    http_reply_error(r, 400, buf_slice(out), 0);
}

static bool is_table_text(const struct http_request *r)
{
    static const char *const types[] = {"text/csv", "text/tab-separated-values"};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        size_t n = strlen(types[i]);
        if (r->content_type.len >= n && strncasecmp(r->content_type.ptr, types[i], n) == 0)
            return true;
    }
    return false;
}

void ops_suggest(struct api_loop *a, struct http_request *r)
{
    int given = api_table_parameter(a, r);
    if (given < 0)
        return;
    if (a->catalog == NULL) {
        http_reply_error(r, 503, SLICE_LIT("schema not loaded yet"), 5);
        return;
    }
    if (is_table_text(r)) {
        http_reply_error(r, 415, SLICE_LIT("a sample is JSON: one object, an array, or NDJSON"), 0);
        return;
    }
    struct sample p = {.a = a,
                       .body = r->body,
                       .suggest = suggest_new(),
                       .verdict = ch_verdict_new(),
                       .options = {.table = given == 1 ? buf_slice(&a->name) : SLICE_LIT("events"),
                                   .server_version = schema_catalog_version(a->catalog),
                                   .stamped = a->config->ingest.stamp_received}};
    int rc = p.suggest == NULL || p.verdict == NULL ? -ENOMEM : find_framing(&p);
    if (rc == 0)
        rc = for_each(&p, look_at);
    if (rc == 0 && p.records > 0)
        rc = suggest_and_try(&p);
    if (rc == 0 && p.records > 0)
        answer(&p, r);
    else
        refuse(r, rc, &p);
    sample_fini(&p);
}
