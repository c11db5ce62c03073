/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/ingest?table=T (http-api §7): one object, an array, NDJSON, CSV or TSV. */
#include "api/ingest.h"

#include "base/limits.h"

#include <inttypes.h>
#include <strings.h>

#define SNIFF_BYTES 512 /* http-api §7.1 */

static void refuse_request(struct api_loop *a, struct http_request *r, int status,
                           struct slice text)
{
    ingest_refuse(a, &door_wavehouse, r, INGEST_REQUEST, status, text, 0);
}

/* --- table --------------------------------------------------------------------------------- */

/* Decode `table`, find it; otherwise answer and return NULL (http-api §7.2, 1–3). */
static const struct schema_table *find_table(struct api_loop *a, struct http_request *r)
{
    buf_reset(&a->name);
    int rc = http_query_get(r->query, "table", &a->name);
    if (rc == WH_ESYNTAX) {
        refuse_request(a, r, 400, SLICE_LIT("invalid percent-encoding in table"));
        return NULL;
    }
    if (rc == 0 || (rc == 1 && a->name.len == 0)) {
        refuse_request(a, r, 400, SLICE_LIT("missing table"));
        return NULL;
    }
    if (a->catalog == NULL) {
        ingest_refuse(a, &door_wavehouse, r, INGEST_NO_SCHEMA, 503,
                      SLICE_LIT("schema not loaded yet"), 5);
        return NULL;
    }
    const struct schema_table *t =
        rc == 1 ? schema_catalog_find(a->catalog, buf_slice(&a->name)) : NULL;
    if (t == NULL) {
        /* Perhaps it was created a moment ago: the next try may find it. */
        discovery_nudge(a->shared->discovery);
        if (!ingest_gate_unknown(a, &door_wavehouse, r, NULL, buf_slice(&a->name)))
            return NULL;
        buf_reset(&a->text);
        buf_put_slice(&a->text, SLICE_LIT("unknown table: "));
        buf_put_slice(&a->text, buf_slice(&a->name));
        ingest_refuse(a, &door_wavehouse, r, INGEST_UNKNOWN_TABLE, 404, buf_slice(&a->text), 0);
    }
    return t;
}

/* --- format -------------------------------------------------------------------------------- */

static struct slice media_type(struct slice content_type)
{
    struct slice m = content_type;
    const char *semicolon = m.len > 0 ? memchr(m.ptr, ';', m.len) : NULL;
    if (semicolon != NULL)
        m.len = (size_t)(semicolon - m.ptr);
    while (m.len > 0 && (m.ptr[m.len - 1] == ' ' || m.ptr[m.len - 1] == '\t'))
        m.len--;
    return m;
}

static bool media_is(struct slice m, const char *name)
{
    return m.len == strlen(name) && strncasecmp(m.ptr, name, m.len) == 0;
}

static bool media_is_ndjson(struct slice m)
{
    return media_is(m, "application/x-ndjson") || media_is(m, "application/ndjson") ||
           media_is(m, "application/jsonl") || media_is(m, "application/jsonlines");
}

#define MEDIA_LIST                                                                    \
    "application/json, application/x-ndjson, application/ndjson, application/jsonl, " \
    "application/jsonlines, text/csv, text/tab-separated-values"

/* A CSV or TSV body, and what its Content-Type says about a header (http-api §7.9). */
struct table_text {
    bool is, misspelt; /* misspelt: of header= */
    enum text_format format;
    enum text_header header;
};

static struct slice trimmed(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct slice){s.ptr + 1, s.len - 1};
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* One parameter: `header=present`. */
static void read_parameter(struct table_text *t, struct slice p)
{
    const char *equals = p.len > 0 ? memchr(p.ptr, '=', p.len) : NULL;
    if (equals == NULL ||
        !media_is(trimmed((struct slice){p.ptr, (size_t)(equals - p.ptr)}), "header"))
        return;
    struct slice v = trimmed((struct slice){equals + 1, (size_t)(p.ptr + p.len - equals - 1)});
    if (v.len >= 2 && v.ptr[0] == '"' && v.ptr[v.len - 1] == '"')
        v = (struct slice){v.ptr + 1, v.len - 2};
    if (media_is(v, "present"))
        t->header = TEXT_HEADER_NAMES;
    else if (media_is(v, "absent"))
        t->header = TEXT_HEADER_NONE;
    else
        t->misspelt = true;
}

static struct table_text table_text_of(const struct http_request *r)
{
    struct slice all = r->content_type, m = media_type(all);
    struct table_text t = {.header = TEXT_HEADER_SNIFF, .format = TEXT_CSV};
    if (media_is(m, "text/tab-separated-values"))
        t.format = TEXT_TSV;
    else if (!media_is(m, "text/csv"))
        return t;
    t.is = true;
    const char *p = memchr(all.ptr, ';', all.len), *end = all.ptr + all.len;
    while (p != NULL) {
        const char *next = memchr(p + 1, ';', (size_t)(end - p - 1));
        const char *stop = next != NULL ? next : end;
        read_parameter(&t, trimmed((struct slice){p + 1, (size_t)(stop - p - 1)}));
        p = next;
    }
    return t;
}

static bool check_table_text(struct api_loop *a, struct http_request *r, const struct table_text *t)
{
    if (!t->misspelt)
        return true;
    buf_reset(&a->text);
    buf_put_slice(&a->text, SLICE_LIT("Content-Type \""));
    buf_put_slice(&a->text, r->content_type);
    buf_put_slice(&a->text, SLICE_LIT("\": header must be present or absent"));
    ingest_refuse(a, &door_wavehouse, r, INGEST_MEDIA, 415, buf_slice(&a->text), 0);
    return false;
}

/* http-api §7.1 */
static bool check_media(struct api_loop *a, struct http_request *r)
{
    struct slice m = media_type(r->content_type);
    struct table_text t = table_text_of(r);
    if (t.is)
        return check_table_text(a, r, &t);
    if (media_is_ndjson(m) || media_is(m, "application/json"))
        return true;
    if (!a->config->ingest.content_type_strict)
        return true;
    buf_reset(&a->text);
    if (m.len == 0) {
        buf_put_slice(&a->text, SLICE_LIT("no Content-Type: ingest requires one of " MEDIA_LIST));
    } else {
        buf_put_slice(&a->text, SLICE_LIT("Content-Type \""));
        buf_put_slice(&a->text, r->content_type);
        buf_put_slice(&a->text, SLICE_LIT("\": ingest requires one of " MEDIA_LIST));
    }
    ingest_refuse(a, &door_wavehouse, r, INGEST_MEDIA, 415, buf_slice(&a->text), 0);
    return false;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static enum ingest_format format_of(const struct http_request *r)
{
    struct slice body = r->body;
    size_t i = 0;
    while (i < body.len && i < SNIFF_BYTES && is_space(body.ptr[i]))
        i++;
    if (i < body.len && i < SNIFF_BYTES && body.ptr[i] == '[')
        return INGEST_JSON_ITEMS;
    return media_is_ndjson(media_type(r->content_type)) ? INGEST_JSON_LINES : INGEST_JSON_ONE;
}

static bool has_overlong_line(struct slice body)
{
    while (body.len > LIMIT_NDJSON_LINE_BYTES) {
        const char *lf = memchr(body.ptr, '\n', body.len);
        size_t line = lf != NULL ? (size_t)(lf - body.ptr) : body.len;
        if (line > LIMIT_NDJSON_LINE_BYTES)
            return true;
        body.ptr += line + 1;
        body.len -= line + 1;
    }
    return false;
}

/* --- the door ------------------------------------------------------------------------------ */

static int on_head(struct api_loop *a, struct http_request *r)
{
    const struct schema_table *t = find_table(a, r);
    struct ingest_access access = {.restricted = false};
    if (t == NULL || !ingest_gate_head(a, &door_wavehouse, r, t->name, &access))
        return 1;
    bool fine = check_media(a, r) &&
                ingest_limit_head(a, &door_wavehouse, r, t->name, access.decision.role);
    ingest_access_fini(&access);
    if (!fine)
        return 1;
    if (ingest_dry_run_asked(r) >= 0)
        return 0;
    refuse_request(a, r, 400, SLICE_LIT("invalid dry_run: want 1 or 0"));
    return 1;
}

static const char *empty_table_text(const struct table_text *t)
{
    bool names = t->header == TEXT_HEADER_NAMES;
    if (t->format == TEXT_CSV)
        return names ? "empty csvwithnames body" : "empty csv body";
    return names ? "empty tsvwithnames body" : "empty tsv body";
}

static int on_body(struct api_loop *a, struct http_request *r, struct ingest_ask *ask)
{
    ask->table = find_table(a, r);
    if (ask->table == NULL || !ingest_gate(a, &door_wavehouse, r, NULL, ask->table, &ask->access))
        return 1;
    struct table_text text = table_text_of(r);
    ask->format = text.is ? INGEST_TEXT : format_of(r);
    if (text.is) {
        /* A header without rows is no empty body. */
        ask->empty = r->body.len == 0 ? empty_table_text(&text) : NULL;
        ask->text =
            (struct text_options){.format = text.format, .header = text.header, .any_case = true};
        ask->terms.defaults = true;
    } else if (ask->format == INGEST_JSON_LINES)
        ask->empty = "empty ndjson body";
    else if (ask->format == INGEST_JSON_ONE || r->body.len == 0)
        ask->empty = "empty body";
    ask->dry_run = ingest_dry_run_asked(r) == 1;
    ask->reject_trailing = a->config->ingest.reject_trailing_data;
    if (r->body.len == 0) {
        refuse_request(a, r, 400, slice_str(ask->empty));
        return 1;
    }
    if (ask->format == INGEST_JSON_LINES && has_overlong_line(r->body)) {
        ingest_refuse(a, &door_wavehouse, r, INGEST_SYNTAX, 400,
                      SLICE_LIT("invalid json: line over 10485760 bytes"), 0);
        return 1;
    }
    return 0;
}

static void reply(struct api_loop *a, struct ingest_op *op)
{
    static const char *const levels[] = {
        [INGEST_ACK_CLICKHOUSE] = "clickhouse", [INGEST_ACK_COMMITTED] = "committed"};
    struct slice word =
        op->duplicate ? SLICE_LIT("{\"duplicate\":true}") : SLICE_LIT("{\"ok\":true}");
    if (op->single && !op->dry_run && op->ack == INGEST_ACK_NONE) {
        ingest_reply(op, word, true);
        return;
    }
    buf_reset(&a->text);
    if (op->single) {
        if (op->dry_run)
            ingest_dry_run_put_single(op, &a->text);
        else
            buf_put_slice(&a->text, word);
    } else {
        outcomes_write(&op->outcomes, &a->text);
    }
    if (op->ack != INGEST_ACK_NONE && buf_ok(&a->text)) {
        a->text.len--; /* a further member */
        buf_printf(&a->text, ",\"ack\":\"%s\"}", levels[op->ack]);
    }
    if (buf_ok(&a->text))
        ingest_reply(op, buf_slice(&a->text), false);
    else
        http_reply_error(op->request, 500, SLICE_LIT("internal server error"), 0);
}

static void refuse(struct api_loop *a, struct http_request *r, const struct ingest_refusal *why)
{
    if (why->code == 0 && why->rule == NULL) {
        http_reply_error(r, why->status, why->text, why->retry_after_s);
        return;
    }
    buf_reset(&a->refusal);
    buf_put_str(&a->refusal, "{\"error\":");
    buf_put_json_string(&a->refusal, why->text);
    if (why->dead_letter)
        buf_printf(&a->refusal,
                   ",\"code\":\"clickhouse.rejected\",\"retryable\":false,\"dead_letter\":%s",
                   why->dropped ? "false" : "true");
    else if (why->code != 0 && why->reason == INGEST_SYNTAX)
        buf_put_str(&a->refusal, ",\"code\":\"clickhouse.rejected\"");
    if (why->code != 0)
        buf_printf(&a->refusal, ",\"exception_code\":%" PRId32, why->code);
    if (why->rule != NULL)
        buf_printf(&a->refusal, ",\"rule\":\"%s\"", why->rule);
    buf_put_u8(&a->refusal, '}');
    struct http_reply answer = {.status = why->status,
                                .retry_after_s = why->retry_after_s,
                                .content_type = "application/json",
                                .body = buf_slice(&a->refusal)};
    http_reply(r, &answer);
}

const struct ingest_door door_wavehouse = {.name = "wavehouse",
                                           .route = "/v1/ingest",
                                           .on_head = on_head,
                                           .on_body = on_body,
                                           .reply = reply,
                                           .refuse = refuse};
