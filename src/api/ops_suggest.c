/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/schema/suggest[?table=NAME]: a sample of records → a CREATE TABLE statement that takes
 * them. The suggestion is tried on the sample, as strict ingest would, and a column whose type
 * refuses a value is widened, so that what is suggested accepts what was shown. */
#include "api/ingest.h"
#include "api/suggest_text.h"
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
    struct ingest_ask ask;
    struct schema_catalog *text; /* CSV, TSV: the table that it is read through */
    struct ingest_source *source;
    struct suggest *suggest;
    struct suggest_options options;
    struct schema_catalog *catalog; /* the suggested table */
    struct ch_verdict *verdict;
    uint64_t records, invalid, tried, accepted;
    bool widened; /* a column was, in this pass */
};

/* ---- the sample */

static bool is_media(const struct http_request *r, const char *type)
{
    size_t n = strlen(type);
    return r->content_type.len >= n && strncasecmp(r->content_type.ptr, type, n) == 0;
}

/* One object, an array, or lines, whatever Content-Type says: who tries things out by hand sends
 * none. Several values one after the other are lines. */
static int find_json_format(struct sample *p)
{
    struct json_reader *reader = ops_reader(p->a);
    struct slice body = p->ask.body;
    struct json_doc doc;
    size_t i = 0;
    while (i < body.len && (body.ptr[i] == ' ' || (body.ptr[i] >= '\t' && body.ptr[i] <= '\r')))
        i++;
    p->ask.format = INGEST_JSON_ITEMS;
    if (reader == NULL)
        return -ENOMEM;
    if (i < body.len && body.ptr[i] == '[')
        return 0;
    p->ask.format = INGEST_JSON_ONE;
    int rc = json_reader_begin(reader, body.ptr, body.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(reader, &doc);
    if (rc == -ENOMEM)
        return rc;
    if (rc != WH_EEND && (rc != 0 || json_reader_trailing(reader)))
        p->ask.format = INGEST_JSON_LINES;
    return 0;
}

static int find_format(struct sample *p, const struct http_request *r)
{
    bool csv = is_media(r, "text/csv");
    if (!csv && !is_media(r, "text/tab-separated-values"))
        return find_json_format(p);
    p->ask.format = INGEST_TEXT;
    p->ask.text = (struct text_options){.format = csv ? TEXT_CSV : TEXT_TSV,
                                        .header = TEXT_HEADER_NAMES,
                                        .any_value = true};
    int rc = suggest_text_table(p->ask.body, p->ask.text.format, &p->text);
    p->ask.table = rc == 0 ? suggest_text_find(p->text) : NULL;
    return rc;
}

enum {
    ENOUGH = 1 /* what `each` returns to end the walk */
};

/* Call each(p, doc) for every object of the sample; whatever else is there is counted. 0, -ENOMEM,
 * or WH_ESYNTAX, WH_ELIMIT: the source says why. */
static int for_each(struct sample *p, int (*each)(struct sample *p, const struct json_doc *doc))
{
    struct json_doc doc;
    int rc = 0;
    p->invalid = 0;
    p->source = ingest_source_open(p->a->readers, &p->ask);
    if (p->source == NULL)
        return -ENOMEM;
    while (rc == 0) {
        rc = p->source->next(p->source, &doc);
        bool bad = (rc == WH_ESYNTAX || rc == WH_ELIMIT) && p->source->resumes;
        if (bad || (rc == 0 && doc.nodes[0].kind != JSON_OBJECT)) {
            p->invalid++;
            rc = 0;
        } else if (rc == 0) {
            rc = each(p, &doc);
        }
        if (p->source->single)
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
    schema_catalog_unref(p->text);
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

static void refuse(struct http_request *r, int rc, struct sample *p)
{
    struct buf *out = &p->a->text;
    if (rc == -ENOMEM) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    buf_reset(out);
    if (rc == WH_ELIMIT || (p->ask.format == INGEST_TEXT && p->ask.table == NULL))
        buf_put_str(out, "the first line must name every column");
    else if (rc == WH_ESYNTAX)
        buf_put_str(out, p->source->error(p->source));
    else if (p->ask.format == INGEST_TEXT)
        buf_put_str(out, "no record in the sample: send a line of names, then rows");
    else
        buf_put_str(out,
                    "no record in the sample: send JSON objects, one, an array, or a line each");
    http_reply_error(r, 400, buf_slice(out), 0);
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
    struct sample p = {.a = a,
                       .ask = {.body = r->body},
                       .suggest = suggest_new(),
                       .verdict = ch_verdict_new(),
                       .options = {.table = given == 1 ? buf_slice(&a->name) : SLICE_LIT("events"),
                                   .server_version = schema_catalog_version(a->catalog),
                                   .stamped = a->config->ingest.stamp_received}};
    int rc = p.suggest == NULL || p.verdict == NULL ? -ENOMEM : find_format(&p, r);
    bool readable = p.ask.format != INGEST_TEXT || p.ask.table != NULL;
    if (rc == 0 && readable)
        rc = for_each(&p, look_at);
    if (rc == 0 && p.records > 0)
        rc = suggest_and_try(&p);
    if (rc == 0 && p.records > 0)
        answer(&p, r);
    else
        refuse(r, rc, &p);
    sample_fini(&p);
}
