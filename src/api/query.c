/* SPDX-License-Identifier: Apache-2.0 */
/* Answers to queries that are one text: from the cache at once, or when ClickHouse has answered
 * (http-api §8.6–§8.8). */
#include "api/query_priv.h"

#include "base/limits.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define TIMER_MS        100
#define EXTRA_BYTES_MAX 1024
#define TEXT_KEEP_BYTES (64 * KIB)

/* --- how the caller wants it --------------------------------------------------------------- */

static bool media_is(struct slice have, const char *want)
{
    size_t n = strlen(want);
    return have.len == n && strncasecmp(have.ptr, want, n) == 0;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (*s.ptr == ' ' || *s.ptr == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static struct slice cut(struct slice *rest, char at)
{
    const char *p = rest->len > 0 ? memchr(rest->ptr, at, rest->len) : NULL;
    struct slice head = {rest->ptr, p != NULL ? (size_t)(p - rest->ptr) : rest->len};
    size_t used = head.len + (p != NULL);
    *rest = (struct slice){rest->ptr + used, rest->len - used};
    return trim(head);
}

/* Thousandths; 1000 when nothing is said. */
static uint32_t quality(struct slice parameters)
{
    while (parameters.len > 0) {
        struct slice p = cut(&parameters, ';');
        char number[8] = "";
        if (p.len < 3 || (p.ptr[0] | 32) != 'q' || p.ptr[1] != '=' || p.len - 2 >= sizeof(number))
            continue;
        memcpy(number, p.ptr + 2, p.len - 2);
        double q = strtod(number, NULL);
        return q >= 1 ? 1000 : q > 0 ? (uint32_t)(q * 1000) : 0;
    }
    return 1000;
}

/* The path's ending, else the best of Accept; the first of equals. */
static enum query_output output_of(const struct http_request *r)
{
    static const struct {
        const char *media;
        enum query_output output;
    } known[] = {
        {"application/json", QUERY_OUTPUT_JSON},
        {"*/*", QUERY_OUTPUT_JSON},
        {"application/*", QUERY_OUTPUT_JSON},
        {"application/x-ndjson", QUERY_OUTPUT_NDJSON},
        {"application/ndjson", QUERY_OUTPUT_NDJSON},
        {"application/jsonl", QUERY_OUTPUT_NDJSON},
        {"application/jsonlines", QUERY_OUTPUT_NDJSON},
        {"text/csv", QUERY_OUTPUT_CSV},
    };
    static const char csv[] = ".csv", ndjson[] = ".ndjson";
    struct slice path = r->path;
    if (path.len >= sizeof(csv) && memcmp(path.ptr + path.len - 4, csv, 4) == 0)
        return QUERY_OUTPUT_CSV;
    if (path.len >= sizeof(ndjson) && memcmp(path.ptr + path.len - 7, ndjson, 7) == 0)
        return QUERY_OUTPUT_NDJSON;
    enum query_output best = QUERY_OUTPUT_JSON;
    uint32_t best_q = 0;
    struct slice accept = http_field_get(r, "accept");
    while (accept.len > 0) {
        struct slice parameters = cut(&accept, ',');
        struct slice media = cut(&parameters, ';');
        uint32_t q = quality(parameters);
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]) && q > best_q; i++)
            if (media_is(media, known[i].media)) {
                best = known[i].output;
                best_q = q;
            }
    }
    return best;
}

static bool flag_of(struct api_loop *a, const struct http_request *r, const char *key)
{
    struct buf *b = &a->query->text;
    buf_reset(b);
    return http_query_get(r->query, key, b) == 1 &&
           (slice_eq_str(buf_slice(b), "1") || slice_eq_str(buf_slice(b), "true"));
}

void query_terms_make(const struct api_loop *a, struct query_terms *out)
{
    *out = (struct query_terms){
        .rendering = a->config->query.timestamp_iso ? QUERY_ROWS_ISO : QUERY_ROWS_CANONICAL,
        .modern = query_style_of(schema_catalog_version(a->catalog)) == QUERY_PARAMETERS,
        .cache_ttl_ms = -1,
        .server_zone = schema_catalog_timezone(a->catalog),
    };
}

/* --- answers ------------------------------------------------------------------------------- */

static bool has_tag(struct slice list, const char *tag)
{
    while (list.len > 0) {
        struct slice one = cut(&list, ',');
        if (slice_eq_str(one, "*"))
            return true;
        if (one.len > 2 && one.ptr[0] == 'W' && one.ptr[1] == '/')
            one = (struct slice){one.ptr + 2, one.len - 2};
        if (slice_eq_str(one, tag))
            return true;
    }
    return false;
}

/* What is known may be kept by the caller's own cache, but not used without asking: an insert makes
 * it void at once. */
static void answer_fine(struct api_loop *a, struct http_request *r,
                        const struct query_answer *answer, const char *cache)
{
    char tag[24];
    struct buf *extra = &a->query->extra;
    (void)snprintf(tag, sizeof(tag), "\"%016" PRIx64 "\"", answer->etag);
    buf_reset(extra);
    buf_put_str(extra, "X-Cache: ");
    buf_put_str(extra, cache);
    buf_put_str(extra, "\r\nCache-Control: private, no-cache\r\nETag: ");
    buf_put_str(extra, tag);
    buf_put_str(extra, "\r\n");
    struct slice known = http_field_get(r, "if-none-match");
    bool same = known.len > 0 && has_tag(known, tag);
    http_reply(r, &(struct http_reply){.status = same ? 304 : 200,
                                       .content_type = same ? NULL : "application/json",
                                       .extra = buf_slice(extra),
                                       .body = answer->body});
}

static void answer_raw(struct http_request *r, const struct query_answer *answer)
{
    http_reply(r, &(struct http_reply){.status = 200,
                                       .content_type = "application/json",
                                       .extra = SLICE_LIT("Cache-Control: no-store\r\n"
                                                          "X-Content-Type-Options: nosniff\r\n"),
                                       .body = answer->body});
}

/* ClickHouse's 4xx is the caller's, as are errors of what was asked whatever their status; of the
 * rest nobody who reads this is to blame. */
static int raw_status(const struct query_answer *answer)
{
    switch (answer->class) {
    case QUERY_REJECTED:
    case QUERY_LIMIT_EXCEEDED:
    case QUERY_ACCESS_DENIED:
        return 400;
    case QUERY_BUSY:
    case QUERY_STOPPED:
        return 503;
    default:
        return answer->class != QUERY_MISCONFIGURED && answer->http_status >= 400 &&
                       answer->http_status < 500
                   ? 400
                   : 502;
    }
}

void api_query_refuse(struct api_loop *a, struct http_request *r, const struct query_answer *answer,
                      bool raw, bool writes)
{
    bool busy = answer->class == QUERY_BUSY || answer->class == QUERY_STOPPED;
    bool legacy = a->config->errors.clickhouse_legacy && !busy;
    int status = raw ? raw_status(answer) : legacy ? 500 : query_class_status(answer->class);
    int retry_after = legacy || (raw && !busy) ? 0 : query_class_retry_after(answer->class);
    bool retryable = query_class_retryable(answer->class);
    const char *class = query_class_name(answer->class);
    struct buf *text = &a->query->text;
    if (writes && !busy) {
        /* A client repeats what it is told 5xx; a write that may have happened is not repeated. */
        retryable = false;
        retry_after = 0;
        if (answer->fate_unknown && !raw) {
            status = 424;
            class = query_class_name(QUERY_UNKNOWN);
        }
    }
    buf_reset(text);
    buf_put_str(text, "{\"error\":");
    buf_put_json_string(text, answer->body);
    if (!raw || busy) {
        buf_printf(text, ",\"code\":\"%s\",\"retryable\":%s", class, retryable ? "true" : "false");
        if (answer->exception_code != 0)
            buf_printf(text, ",\"exception_code\":%" PRId32, answer->exception_code);
    } else if (answer->exception_code != 0) {
        buf_printf(text, ",\"exception_code\":%" PRId32, answer->exception_code);
    }
    buf_put_u8(text, '}');
    if (!buf_ok(text)) {
        http_reply_error(r, 500, SLICE_LIT("internal server error"), 0);
        return;
    }
    http_reply(r, &(struct http_reply){.status = status,
                                       .content_type = "application/json",
                                       .extra = raw || writes
                                                    ? SLICE_LIT("Cache-Control: no-store\r\n")
                                                    : (struct slice){NULL, 0},
                                       .body = buf_slice(text),
                                       .retry_after_s = retry_after});
}

static void answer_written(struct http_request *r)
{
    http_reply(r, &(struct http_reply){.status = 200,
                                       .content_type = "application/json",
                                       .extra = SLICE_LIT("X-Cache: BYPASS\r\n"
                                                          "Cache-Control: no-store\r\n"),
                                       .body = SLICE_LIT("[]")});
}

static void answer_back(struct api_loop *a, struct query_op *op, const struct query_answer *answer)
{
    struct http_request *r = op->request;
    if (a->stopping)
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    else if (answer->class != QUERY_FINE)
        api_query_refuse(a, r, answer, op->raw, op->writes);
    else if (op->raw)
        answer_raw(r, answer);
    else if (op->writes)
        answer_written(r);
    else
        answer_fine(a, r, answer, "MISS");
}

/* --- waiting ------------------------------------------------------------------------------- */

static void op_free(struct api_loop *a, struct query_op *op)
{
    *(op->prev != NULL ? &op->prev->next : &a->query->first) = op->next;
    if (op->next != NULL)
        op->next->prev = op->prev;
    free(a->query->spare);
    a->query->spare = op;
}

static struct query_op *op_new(struct query_loop *ql)
{
    struct query_op *op = ql->spare != NULL ? ql->spare : malloc(sizeof(*op));
    ql->spare = NULL;
    if (op == NULL)
        return NULL;
    memset(op, 0, sizeof(*op));
    op->next = ql->first;
    if (op->next != NULL)
        op->next->prev = op;
    ql->first = op;
    return op;
}

void query_wait(struct api_loop *a, struct http_request *r, const struct query_statement *s,
                const struct query_terms *terms)
{
    struct query_loop *ql = a->query;
    struct query_op *op = op_new(ql);
    struct query_answer *hit = NULL;
    if (op == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    op->request = r;
    op->raw = terms->rendering == QUERY_RAW_DATA;
    op->writes = s->writes;
    op->ask.done = &ql->answers;
    switch (query_run(a->shared->query, s, terms, &op->ask, &hit)) {
    case QUERY_RUN_WAIT:
        return;
    case QUERY_RUN_HIT:
        answer_fine(a, r, hit, "HIT");
        query_answer_unref(hit);
        break;
    case QUERY_RUN_NO_MEMORY:
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        break;
    }
    op_free(a, op);
}

void query_on_answers(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->query->answers)) != NULL) {
        struct query_op *op =
            QUEUE_ITEM(QUEUE_ITEM(link, struct query_ask, link), struct query_op, ask);
        struct query_answer *answer = op->ask.answer;
        if (op->raw && op->writes) /* it may have made a table, or changed one */
            discovery_nudge(a->shared->discovery);
        answer_back(a, op, answer);
        query_answer_unref(answer);
        op_free(a, op);
    }
}

void query_timer(void *api_loop)
{
    struct api_loop *a = api_loop;
    uint64_t now = io_monotonic_ns();
    for (struct query_op *op = a->query->first, *next; op != NULL; op = next) {
        next = op->next;
        if (op->raw || op->writes || !http_client_gone(op->request))
            continue;
        op->gone_ns = op->gone_ns != 0 ? op->gone_ns : now;
        if (now - op->gone_ns < QUERY_GONE_NS || !query_cancel(a->shared->query, &op->ask))
            continue;
        http_reply_error(op->request, 503, SLICE_LIT("the client has closed the connection"), 0);
        op_free(a, op);
    }
    if (a->query->text.cap > TEXT_KEEP_BYTES) {
        buf_fini(&a->query->text);
        buf_init(&a->query->text, SIZE_MAX);
    }
    query_stream_timer(a);
    query_offset_timer(a);
}

void api_query_answer(struct api_loop *a, struct http_request *r, const struct query_statement *s,
                      const struct query_answer_how *how)
{
    struct query_terms terms;
    query_terms_make(a, &terms);
    terms.cache_ttl_ms = how->cache_ttl_ms;
    terms.fresh = flag_of(a, r, "fresh");
    enum query_output output = s->writes ? QUERY_OUTPUT_JSON : output_of(r);
    bool iso = terms.rendering == QUERY_ROWS_ISO;
    switch (output) {
    case QUERY_OUTPUT_JSON:
        query_wait(a, r, s, &terms);
        break;
    case QUERY_OUTPUT_NDJSON:
        query_stream_answer(a, r, s, &terms, iso ? QUERY_FORM_NDJSON_ISO : QUERY_FORM_NDJSON,
                            "application/x-ndjson", (struct slice){NULL, 0});
        break;
    case QUERY_OUTPUT_CSV:
        query_stream_answer(a, r, s, &terms, QUERY_FORM_CSV,
                            "text/csv; charset=UTF-8; header=present", (struct slice){NULL, 0});
        break;
    }
}

/* --- the loop's share ---------------------------------------------------------------------- */

int query_loop_new(struct api_loop *a)
{
    struct query_loop *ql = calloc(1, sizeof(*ql));
    if (ql == NULL)
        return -ENOMEM;
    a->query = ql;
    ql->answers.fd = ql->pieces.fd = ql->offsets.fd = -1;
    query_statement_init(&ql->statement);
    buf_init(&ql->text, SIZE_MAX);
    buf_init(&ql->extra, EXTRA_BYTES_MAX);
    int rc = queue_init(&ql->answers, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&ql->pieces, SIZE_MAX);
    if (rc == 0)
        rc = queue_init(&ql->offsets, SIZE_MAX);
    if (rc == 0)
        rc = loop_watch_queue(a->loop, &ql->offsets, query_on_offsets, a);
    if (rc == 0)
        rc = loop_watch_queue(a->loop, &ql->answers, query_on_answers, a);
    if (rc == 0)
        rc = loop_watch_queue(a->loop, &ql->pieces, query_on_pieces, a);
    if (rc == 0)
        rc = loop_every(a->loop, TIMER_MS, query_timer, a);
    return rc;
}

void query_loop_free(struct api_loop *a)
{
    struct query_loop *ql = a->query;
    if (ql == NULL)
        return;
    if (ql->offsets.fd >= 0) {
        query_on_offsets(a);
        queue_fini(&ql->offsets);
    }
    query_offset_drop_all(a);
    if (ql->answers.fd >= 0) {
        query_on_answers(a);
        queue_fini(&ql->answers);
    }
    if (ql->pieces.fd >= 0) {
        query_on_pieces(a);
        queue_fini(&ql->pieces);
    }
    query_stream_drop_all(a);
    free(ql->spare);
    query_select_free(ql->select);
    pipe_loop_free(ql->pipe);
    access_predicates_free(ql->predicates);
    query_statement_fini(&ql->statement);
    buf_fini(&ql->text);
    buf_fini(&ql->extra);
    free(ql);
    a->query = NULL;
}
