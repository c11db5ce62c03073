/* SPDX-License-Identifier: Apache-2.0 */
/* POST /v1/ingest (http-api §7): the path of one event from the request to the log.
 *
 *   head known      ingest_on_head       table known? body limit? Refused before the body is read
 *   body complete   ingest_on_request    framing → collect: each record parsed, checked, written
 *                                        in canonical form into the batch of the open part
 *                   submit               parts are proposed to the log thread in order
 *   committed       ingest_on_committed  the last part is back → answer
 *
 * Nothing is proposed before the whole body was read and checked, so a syntax error in an array
 * stores nothing. A part is one log entry; only bodies over LIMIT_WAL_ENTRY_BYTES need more than
 * one. Entries are committed one by one: when a later part finds no room the answer is 503, and the
 * parts before it stay stored. */
#include "api/api_priv.h"
#include "base/limits.h"
#include "base/magic.h"
#include "io/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define OP_IDLE_NS          (UINT64_C(5) * 1000000000)
#define IN_FLIGHT_BYTES_MAX (256 * MIB) /* per loop */
#define RECORD_SLACK_BYTES  1024        /* what stamping and canonical timestamps may add */
#define QUIET_MAX           256         /* proposals gathered before the log thread is woken */
#define QUIET_NS_MAX        500000      /* and for how long at most */
#define SNIFF_BYTES         512         /* http-api §7.1 */

struct ingest_part {
    struct ingest_part *next;
    struct ingest_op *op;
    struct proposal proposal;
    struct wal_batch_builder batch;
};

/* One request on its way through the log. */
struct ingest_op {
    struct ingest_op *next; /* free list */
    struct http_request *request;
    struct ingest_part *parts, *last_part; /* used by this request, in order */
    struct ingest_part *spare_parts;       /* memory kept from earlier requests */
    struct ingest_outcomes outcomes;
    struct record_result result; /* of the record at hand */
    uint32_t outstanding;        /* parts at the log thread */
    int worst;                   /* the first part that was not committed decides the answer */
    bool single;
    uint64_t records, first_ns, body_bytes;
    uint64_t idle_since_ns;
};

/* --- memory -------------------------------------------------------------------------------- */

static struct ingest_op *op_take(struct api_loop *a, struct http_request *r)
{
    struct ingest_op *op = a->idle_ops;
    if (op != NULL) {
        a->idle_ops = op->next;
    } else {
        op = calloc(1, sizeof(*op));
        if (op == NULL)
            return NULL;
        buf_init(&op->outcomes.entries, SIZE_MAX);
    }
    op->request = r;
    op->outstanding = 0;
    op->worst = 0;
    op->body_bytes = r->body.len;
    a->in_flight_bytes += op->body_bytes;
    return op;
}

static void parts_reset(struct ingest_op *op)
{
    while (op->parts != NULL) {
        struct ingest_part *part = op->parts;
        op->parts = part->next;
        part->next = op->spare_parts;
        op->spare_parts = part;
    }
    op->last_part = NULL;
}

static void op_release(struct api_loop *a, struct ingest_op *op)
{
    parts_reset(op);
    a->in_flight_bytes -= op->body_bytes;
    op->request = NULL;
    op->idle_since_ns = io_monotonic_ns();
    op->next = a->idle_ops;
    a->idle_ops = op;
}

static void op_free(struct ingest_op *op)
{
    parts_reset(op);
    while (op->spare_parts != NULL) {
        struct ingest_part *part = op->spare_parts;
        op->spare_parts = part->next;
        wal_batch_fini(&part->batch);
        free(part);
    }
    buf_fini(&op->outcomes.entries);
    free(op);
}

void ingest_shrink(struct api_loop *a)
{
    uint64_t now = io_monotonic_ns();
    struct ingest_op **at = &a->idle_ops;
    /* Most recently used first: after the first old one, all are old. */
    while (*at != NULL && now - (*at)->idle_since_ns < OP_IDLE_NS)
        at = &(*at)->next;
    struct ingest_op *op = *at;
    *at = NULL;
    while (op != NULL) {
        struct ingest_op *next = op->next;
        op_free(op);
        op = next;
    }
}

void ingest_free_all(struct api_loop *a)
{
    while (a->idle_ops != NULL) {
        struct ingest_op *op = a->idle_ops;
        a->idle_ops = op->next;
        op_free(op);
    }
}

static struct ingest_part *part_open(struct ingest_op *op)
{
    struct ingest_part *part = op->spare_parts;
    if (part != NULL) {
        op->spare_parts = part->next;
        wal_batch_reset(&part->batch);
    } else {
        part = calloc(1, sizeof(*part));
        if (part == NULL)
            return NULL;
        wal_batch_init(&part->batch);
    }
    part->op = op;
    part->next = NULL;
    if (op->last_part != NULL)
        op->last_part->next = part;
    else
        op->parts = part;
    op->last_part = part;
    return part;
}

/* --- the head ------------------------------------------------------------------------------ */

/* Decode `table`, find it; otherwise answer and return NULL (http-api §7.2, 1–3). */
static const struct schema_table *find_table(struct api_loop *a, struct http_request *r)
{
    buf_reset(&a->name);
    int rc = http_query_get(r->query, "table", &a->name);
    if (rc == WH_ESYNTAX) {
        http_reply_error(r, 400, SLICE_LIT("invalid percent-encoding in table"), 0);
        return NULL;
    }
    if (rc == 0 || (rc == 1 && a->name.len == 0)) {
        http_reply_error(r, 400, SLICE_LIT("missing table"), 0);
        return NULL;
    }
    if (a->catalog == NULL) {
        http_reply_error(r, 503, SLICE_LIT("schema not loaded yet"), 5);
        return NULL;
    }
    const struct schema_table *t =
        rc == 1 ? schema_catalog_find(a->catalog, buf_slice(&a->name)) : NULL;
    if (t == NULL) {
        /* Perhaps it was created a moment ago: the next try may find it. */
        discovery_nudge(a->shared->discovery);
        buf_reset(&a->text);
        buf_put_slice(&a->text, SLICE_LIT("unknown table: "));
        buf_put_slice(&a->text, buf_slice(&a->name));
        http_reply_error(r, 404, buf_slice(&a->text), 0);
    }
    return t;
}

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
    "application/jsonlines"

/* http-api §7.1. CSV and TSV are refused in both modes: they could only fail as JSON. */
static bool check_media(struct api_loop *a, struct http_request *r)
{
    struct slice m = media_type(r->content_type);
    if (media_is_ndjson(m) || media_is(m, "application/json"))
        return true;
    bool table_text = media_is(m, "text/csv") || media_is(m, "text/tab-separated-values");
    if (!a->config->ingest.content_type_strict && !table_text)
        return true;
    buf_reset(&a->text);
    if (m.len == 0) {
        buf_put_slice(&a->text, SLICE_LIT("no Content-Type: ingest requires one of " MEDIA_LIST));
    } else {
        buf_put_slice(&a->text, SLICE_LIT("Content-Type \""));
        buf_put_slice(&a->text, r->content_type);
        buf_put_slice(&a->text, SLICE_LIT("\": ingest requires one of " MEDIA_LIST));
    }
    http_reply_error(r, 415, buf_slice(&a->text), 0);
    return false;
}

int ingest_on_head(struct api_loop *a, struct http_request *r, struct http_admit *admit)
{
    if (find_table(a, r) == NULL || !check_media(a, r)) {
        metric_add(a->metrics.rejected_request, 1);
        return 1;
    }
    const char *cause;
    if (a->in_flight_bytes > IN_FLIGHT_BYTES_MAX) {
        metric_add(a->metrics.in_flight_refused, 1);
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return 1;
    }
    if (!commit_accepting(a->shared->log, &cause)) {
        metric_add(a->metrics.rejected_log, 1);
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 30);
        return 1;
    }
    admit->body_max = a->config->server.max_body;
    return 0;
}

/* --- reading the body ---------------------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static enum json_framing framing_of(struct http_request *r)
{
    struct slice body = r->body;
    size_t i = 0;
    while (i < body.len && i < SNIFF_BYTES && is_space(body.ptr[i]))
        i++;
    if (i < body.len && i < SNIFF_BYTES && body.ptr[i] == '[')
        return JSON_ITEMS;
    return media_is_ndjson(media_type(r->content_type)) ? JSON_LINES : JSON_ONE;
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

static void reply_invalid_json(struct api_loop *a, struct http_request *r, const char *detail)
{
    metric_add(a->metrics.rejected_json, 1);
    buf_reset(&a->text);
    buf_put_slice(&a->text, SLICE_LIT("invalid json"));
    if (detail != NULL) {
        buf_put_slice(&a->text, SLICE_LIT(": "));
        buf_put_str(&a->text, detail);
    }
    http_reply_error(r, 400, buf_slice(&a->text), 0);
}

/* Check one record and add it to the open part; its outcome goes into op->result. 0, or -ENOMEM. */
static int add_record(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                      const struct json_doc *doc)
{
    size_t bytes = doc->nodes[0].len;
    if (bytes > LIMIT_RECORD_BYTES) {
        op->result.status = 413;
        (void)snprintf(op->result.message, sizeof(op->result.message), "record exceeded %llu bytes",
                       (unsigned long long)LIMIT_RECORD_BYTES);
        return 0;
    }
    struct ingest_part *part = op->last_part;
    if (part == NULL || (part->batch.count > 0 &&
                         part->batch.text.len + part->batch.items.len + bytes + RECORD_SLACK_BYTES >
                             LIMIT_WAL_ENTRY_BYTES))
        part = part_open(op);
    if (part == NULL)
        return -ENOMEM;
    struct record_options options = {.ignore_unknown = a->config->ingest.unknown_ignore,
                                     .stamp_received = a->config->ingest.stamp_received};
    uint64_t received_ns = op->first_ns + op->records;
    size_t text_off = part->batch.text.len;
    int rc = record_check(a->checker, t, schema_catalog_timezone(a->catalog), &options, doc,
                          received_ns, &part->batch.text, &op->result);
    if (rc < 0)
        return rc;
    if (op->result.status != 0) {
        metric_add(a->metrics.rejected_record, 1);
        if (op->result.unknown_column) /* added a moment ago? The next try may know it. */
            discovery_nudge(a->shared->discovery);
        return 0;
    }
    if (op->result.unknown_ignored > 0)
        metric_add(a->metrics.ingest_unknown_ignored, op->result.unknown_ignored);
    op->records++;
    return wal_batch_add(&part->batch, received_ns, text_off);
}

/* The only object of the body. False: answered. */
static bool collect_one(struct api_loop *a, struct ingest_op *op, const struct schema_table *t)
{
    struct json_doc doc;
    int rc = json_reader_next(a->reader, &doc);
    if (rc == WH_EEND) {
        http_reply_error(op->request, 400, SLICE_LIT("empty body"), 0);
        return false;
    }
    if (rc == WH_ESYNTAX || rc == WH_ELIMIT) {
        reply_invalid_json(a, op->request, NULL);
        return false;
    }
    if (rc == 0 && a->config->ingest.reject_trailing_data && json_reader_trailing(a->reader)) {
        reply_invalid_json(a, op->request, "data after the first value");
        return false;
    }
    if (rc == 0)
        rc = add_record(a, op, t, &doc);
    if (rc != 0) {
        http_reply_error(op->request, 503, SLICE_LIT("service unavailable"), 1);
        return false;
    }
    if (op->result.status != 0) {
        http_reply_error(op->request, op->result.status, slice_str(op->result.message), 0);
        return false;
    }
    return true;
}

/* Every element or line. False: answered. */
static bool collect_many(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                         bool lines)
{
    for (;;) {
        struct json_doc doc;
        int rc = json_reader_next(a->reader, &doc);
        if (rc == WH_EEND)
            break;
        if ((rc == WH_ESYNTAX || rc == WH_ELIMIT) && lines) {
            metric_add(a->metrics.rejected_json, 1);
            outcome_error(&op->outcomes, SLICE_LIT("invalid json"));
            continue;
        }
        if (rc == WH_ESYNTAX || rc == WH_ELIMIT) {
            reply_invalid_json(a, op->request, json_reader_error(a->reader));
            return false;
        }
        if (rc == 0)
            rc = add_record(a, op, t, &doc);
        if (rc != 0) {
            http_reply_error(op->request, 503, SLICE_LIT("service unavailable"), 1);
            return false;
        }
        if (op->result.status != 0)
            outcome_error(&op->outcomes, slice_str(op->result.message));
        else
            outcome_ok(&op->outcomes);
    }
    if (lines && op->outcomes.total == 0) {
        http_reply_error(op->request, 400, SLICE_LIT("empty ndjson body"), 0);
        return false;
    }
    return true;
}

/* Read and check the whole body with acceptance instants from first_ns on. False: answered. */
static bool collect(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                    enum json_framing framing, uint64_t first_ns)
{
    parts_reset(op);
    outcomes_reset(&op->outcomes);
    op->records = 0;
    op->first_ns = first_ns;
    op->single = framing == JSON_ONE;
    struct slice body = op->request->body;
    int rc = json_reader_begin(a->reader, body.ptr, body.len, framing);
    if (rc != 0) {
        http_reply_error(op->request, 503, SLICE_LIT("service unavailable"), 1);
        return false;
    }
    return op->single ? collect_one(a, op, t) : collect_many(a, op, t, framing == JSON_LINES);
}

/* --- to the log and back ------------------------------------------------------------------- */

static void op_answer(struct api_loop *a, struct ingest_op *op)
{
    struct http_request *r = op->request;
    if (op->worst != 0) {
        metric_add(a->metrics.rejected_log, 1);
        if (op->worst == WH_ELIMIT)
            http_reply_error(r, 413, SLICE_LIT("record is larger than a log segment can hold"), 0);
        else
            http_reply_error(r, 503, SLICE_LIT("service unavailable"),
                             op->worst == WH_EFULL ? 1 : 30);
    } else {
        metric_add(a->metrics.ingest_records, (int64_t)op->records);
        metric_add(a->metrics.ingest_bytes, (int64_t)op->body_bytes);
        metric_observe(a->metrics.ingest_seconds, io_monotonic_ns() - r->received_ns);
        if (op->single) {
            http_reply_json_const(r, SLICE_LIT("{\"ok\":true}"));
        } else {
            buf_reset(&a->text);
            outcomes_write(&op->outcomes, &a->text);
            api_reply_text(a, r, 200);
        }
    }
    op_release(a, op);
}

static int part_propose(struct api_loop *a, struct ingest_part *part, struct slice table)
{
    struct wal_batch_builder *b = &part->batch;
    int rc = wal_batch_finish(b, table, part->op->request->peer);
    if (rc != 0)
        return rc;
    struct proposal *p = &part->proposal;
    *p = (struct proposal){.type = WAL_EVENTS, .done = &a->committed};
    p->part_count = wal_batch_parts(b, p->parts);
    p->queued_ns = io_monotonic_ns();
    rc = commit_propose_quiet(a->shared->log, p);
    if (rc == 0 && a->quiet_count++ == 0) {
        a->quiet_since_ns = p->queued_ns;
        loop_defer(a->loop);
    }
    /* Connections that never stop being ready must not hold back the others. */
    if (a->quiet_count >= QUIET_MAX || p->queued_ns - a->quiet_since_ns > QUIET_NS_MAX)
        ingest_kick(a);
    return rc;
}

void ingest_kick(void *api_loop)
{
    struct api_loop *a = api_loop;
    a->quiet_count = 0;
    commit_kick(a->shared->log);
}

/* Propose every part, in order. A refusal stops there: the answer waits for those already under
 * way (http-api §7.7: leading records may be stored). */
static void parts_propose(struct api_loop *a, struct ingest_op *op, struct slice table)
{
    for (struct ingest_part *part = op->parts; part != NULL && op->worst == 0; part = part->next) {
        if (part->batch.count == 0)
            continue;
        int rc = part_propose(a, part, table);
        if (rc == 0)
            op->outstanding++;
        else
            op->worst = rc;
    }
}

static void shift_instants(struct ingest_op *op, uint64_t shift)
{
    for (struct ingest_part *part = op->parts; part != NULL; part = part->next)
        wal_batch_shift(&part->batch, shift);
    op->first_ns += shift;
}

/* Acceptance instants must grow along the log, for they identify events (http-api §11.2). They are
 * handed out when reading starts; if another loop has proposed later ones meanwhile, this request
 * takes new ones. The lock covers the push only, except in that rare case for a table whose
 * received_timestamp column is stamped: there the records are written again. */
static bool submit(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                   enum json_framing framing)
{
    struct api_shared *s = a->shared;
    bool going = true;
    (void)pthread_mutex_lock(&s->order_lock);
    if (op->first_ns <= s->received_last_ns) {
        uint64_t first_ns = s->received_last_ns + 1;
        if (t->received_timestamp >= 0 && a->config->ingest.stamp_received)
            going = collect(a, op, t, framing, first_ns);
        else
            shift_instants(op, first_ns - op->first_ns);
    }
    if (going && op->records > 0) {
        s->received_last_ns = op->first_ns + op->records - 1;
        parts_propose(a, op, t->name);
    }
    (void)pthread_mutex_unlock(&s->order_lock);
    return going;
}

void ingest_on_request(struct api_loop *a, struct http_request *r)
{
    const struct schema_table *t = find_table(a, r);
    if (t == NULL)
        return;
    enum json_framing framing = framing_of(r);
    if (r->body.len == 0) {
        metric_add(a->metrics.rejected_request, 1);
        http_reply_error(r, 400,
                         framing == JSON_LINES ? SLICE_LIT("empty ndjson body")
                                               : SLICE_LIT("empty body"),
                         0);
        return;
    }
    if (framing == JSON_LINES && has_overlong_line(r->body)) {
        reply_invalid_json(a, r, "line over 10485760 bytes");
        return;
    }
    struct ingest_op *op = op_take(a, r);
    if (op == NULL) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return;
    }
    if (!collect(a, op, t, framing, io_realtime_ns()) || !submit(a, op, t, framing)) {
        op_release(a, op);
        return;
    }
    if (op->outstanding == 0)
        op_answer(a, op);
}

void ingest_on_committed(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->committed)) != NULL) {
        struct proposal *p = QUEUE_ITEM(link, struct proposal, link);
        struct ingest_part *part = QUEUE_ITEM(p, struct ingest_part, proposal);
        struct ingest_op *op = part->op;
        must(op->outstanding > 0);
        if (p->result != 0 && op->worst == 0)
            op->worst = p->result;
        if (--op->outstanding == 0)
            op_answer(a, op);
    }
}
