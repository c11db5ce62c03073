/* SPDX-License-Identifier: Apache-2.0 */
#include "query/runner.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "clickhouse/http_pool.h"
#include "io/clock.h"
#include "query/cache.h"
#include "query/depend.h"
#include "query/render.h"
#include "query/wire.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNNER_MAGIC 0x71526e72u
#define TICK_MS      1000
#define MS_NS        UINT64_C(1000000)
#define SECOND_NS    UINT64_C(1000000000)
#define TTL_MIN_NS   (10 * SECOND_NS)   /* http-api §8.7 */
#define TTL_MAX_NS   (3600 * SECOND_NS) /* and with a table that we cannot watch: TTL_MIN_NS */
#define TTL_FACTOR   1000
/* ClickHouse's own words about a timeout are better than ours: it gets that much longer. */
#define TIMEOUT_GRACE_MS  1000
#define DEPEND_TIMEOUT_MS 30000
#define URL_BYTES_MAX     (1 * MIB)

struct query_stream {
    struct query_job job; /* first */
    struct query_statement statement;
    struct query_terms terms;
    char *server_zone;
    enum query_form form;
    struct queue *done;
    void *user;
    struct query_piece *last; /* made at the start: there is always room for the end */
    _Atomic size_t window;    /* bytes on their way to the reader */
    _Atomic bool paused, cancelled;
    uint64_t queued_ns;
};

enum run_kind {
    RUN_ENTRY,
    RUN_STREAM,
    RUN_DEPEND /* what system.tables says about views */
};

/* A statement on ClickHouse. */
struct run {
    struct run *next, *prev;
    struct query_runner *runner;
    enum run_kind kind;
    struct query_entry *entry;
    struct query_stream *stream;
    struct ch_transfer *transfer;
    struct query_render *render; /* NULL: the bytes go on as they are */
    struct query_guard guard;
    struct buf settings, sql, out;
    struct buf question;
    uint64_t started_ns, moved_ns, input_bytes;
    bool head_sent, too_large, no_memory, bad;
    char query_id[48];
};

struct query_runner {
    uint32_t magic;
    struct query_cache *cache;
    struct queue jobs;
    pthread_t thread;
    bool thread_runs;
    _Atomic bool stopping;
    pthread_mutex_t lock; /* next, depend */
    struct query_runner_options next;
    _Atomic bool reloaded;
    struct query_depend *depend;
    struct query_runner_options options; /* the thread's */
    struct ch_pool *pool;
    struct run *runs;
    uint32_t run_count;
    bool depend_runs;
    uint64_t refreshes; /* of the schema, when depend was made */
    uint64_t depend_sum;
    uint64_t next_tick_ns;
    char id_prefix[24];
    uint64_t id_next;
    struct query_answer *busy, *stopped, *no_memory;
    struct metric *query_seconds, *sql_seconds, *stream_seconds, *running, *waiting;
    struct metric *errors[QUERY_STOPPED + 1];
};

/* --- answers ------------------------------------------------------------------------------- */

static void count_error(struct query_runner *q, enum query_class class)
{
    if (q->errors[class] != NULL)
        metric_add(q->errors[class], 1);
}

static struct query_answer *answer_text(enum query_class class, const char *text)
{
    struct buf b;
    buf_init(&b, 4096);
    buf_put_str(&b, text);
    struct query_answer *a = query_answer_new(class, &b);
    buf_fini(&b);
    return a;
}

static const struct query_statement *statement_of(const struct run *r)
{
    return r->kind == RUN_ENTRY ? &r->entry->statement : &r->stream->statement;
}

static bool is_raw(const struct run *r)
{
    return r->kind == RUN_ENTRY ? r->entry->terms.rendering == QUERY_RAW_DATA
                                : r->stream->form == QUERY_FORM_RAW;
}

/* What went wrong goes to the operator too, when it is the operator's: not what was asked. */
static void log_failure(enum query_class class, struct slice text)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped;
    if ((class == QUERY_UNAVAILABLE || class == QUERY_MISCONFIGURED || class == QUERY_UNKNOWN) &&
        log_limit_pass(&limit, &dropped))
        log_warn("query.failed", "%s: %.*s repeated=%" PRIu64, query_class_name(class),
                 (int)(text.len < 500 ? text.len : 500), text.len > 0 ? text.ptr : "", dropped);
}

/* ClickHouse has said no. */
static struct query_answer *answer_exception(struct run *r, int32_t code, int status,
                                             struct slice text)
{
    struct query_runner *q = r->runner;
    struct buf words;
    const struct query_statement *s = statement_of(r);
    enum query_class class = query_classify(code, &s->limits, q->options.timeout_ms);
    buf_init(&words, LIMIT_SQL_BODY_BYTES);
    if (is_raw(r)) {
        while (text.len > 0 && (text.ptr[text.len - 1] == '\n' || text.ptr[text.len - 1] == '\r'))
            text.len--;
        buf_put_slice(&words, text);
    } else {
        query_failure_text(&words, text, s);
    }
    if (!is_raw(r))
        log_failure(class, buf_slice(&words));
    if (query_code_is_schema(code) && q->options.request_refresh != NULL)
        q->options.request_refresh(q->options.ctx);
    struct query_answer *a = query_answer_new(class, &words);
    buf_fini(&words);
    if (a != NULL) {
        a->exception_code = code;
        a->http_status = status;
    }
    return a;
}

static struct query_answer *answer_too_large(struct run *r)
{
    char text[160];
    (void)snprintf(text, sizeof(text),
                   "clickhouse response exceeded %" PRIu64
                   " bytes; narrow the query or use FORMAT JSONEachRow with streaming",
                   (uint64_t)LIMIT_QUERY_RESULT_BYTES);
    (void)r;
    return answer_text(QUERY_TOO_LARGE, text);
}

/* An answer of status 200 that is none: cut, or with an exception in it. */
static struct query_answer *answer_bad(struct run *r)
{
    struct slice text = r->guard.found      ? buf_slice(&r->guard.text)
                        : r->render != NULL ? query_render_exception(r->render)
                                            : (struct slice){NULL, 0};
    int32_t code = query_code_in_text(text);
    if (code != 0)
        return answer_exception(r, code, 500, text);
    struct query_answer *a =
        answer_text(QUERY_UNAVAILABLE, is_raw(r)
                                           ? "clickhouse request failed: the answer is not complete"
                                           : "ClickHouse's answer is not complete");
    if (a != NULL)
        log_failure(QUERY_UNAVAILABLE, a->body);
    return a;
}

static struct query_answer *answer_transport(struct run *r, const struct ch_transfer_end *end)
{
    char text[640];
    log_failure(QUERY_UNAVAILABLE, end->text);
    if (is_raw(r)) {
        (void)snprintf(text, sizeof(text), "clickhouse request failed: %.*s",
                       (int)(end->text.len < 500 ? end->text.len : 500), end->text.ptr);
    } else { /* where ClickHouse is, is not the caller's to know */
        (void)snprintf(text, sizeof(text), "%s",
                       end->outcome == CH_TRANSFER_TIMEOUT ? "ClickHouse took too long"
                                                           : "ClickHouse cannot be reached");
    }
    struct query_answer *a = answer_text(QUERY_UNAVAILABLE, text);
    if (a != NULL)
        a->exception_code = 0;
    return a;
}

/* Of what has ended. NULL: no memory. */
static struct query_answer *judge(struct run *r, const struct ch_transfer_end *end)
{
    if (r->too_large)
        return answer_too_large(r);
    if (r->no_memory)
        return NULL;
    if (r->bad || r->guard.found)
        return answer_bad(r);
    switch (end->outcome) {
    case CH_TRANSFER_EXCEPTION:
        return answer_exception(r, end->code, end->status, end->text);
    case CH_TRANSFER_FAILED:
    case CH_TRANSFER_TIMEOUT:
        return answer_transport(r, end);
    case CH_TRANSFER_STOPPED:
    case CH_TRANSFER_DONE:
        break;
    }
    if (r->render != NULL) {
        int rc = query_render_finish(r->render, &r->out);
        if (rc == WH_EFULL)
            return answer_too_large(r);
        if (rc != 0)
            return answer_bad(r);
    }
    if (r->kind == RUN_STREAM)
        return answer_text(QUERY_FINE, "");
    return query_answer_new(QUERY_FINE, &r->out);
}

/* --- runs ---------------------------------------------------------------------------------- */

static void run_free(struct run *r)
{
    struct query_runner *q = r->runner;
    *(r->prev != NULL ? &r->prev->next : &q->runs) = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    q->run_count--;
    metric_set(q->running, q->run_count);
    query_render_free(r->render);
    query_guard_fini(&r->guard);
    buf_fini(&r->settings);
    buf_fini(&r->sql);
    buf_fini(&r->out);
    buf_fini(&r->question);
    free(r);
}

static struct run *run_new(struct query_runner *q, enum run_kind kind)
{
    struct run *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->runner = q;
    r->kind = kind;
    r->started_ns = r->moved_ns = io_monotonic_ns();
    query_guard_init(&r->guard, (struct slice){NULL, 0});
    buf_init(&r->settings, URL_BYTES_MAX);
    buf_init(&r->sql, LIMIT_SQL_BODY_BYTES * 2);
    buf_init(&r->out, LIMIT_QUERY_RESULT_BYTES);
    buf_init(&r->question, SIZE_MAX);
    (void)snprintf(r->query_id, sizeof(r->query_id), "%s%" PRIu64, q->id_prefix, q->id_next++);
    r->next = q->runs;
    if (r->next != NULL)
        r->next->prev = r;
    q->runs = r;
    q->run_count++;
    metric_set(q->running, q->run_count);
    return r;
}

/* --- answers as one text ------------------------------------------------------------------- */

static uint64_t ttl_of(struct query_runner *q, const struct query_entry *e, uint64_t took_ns)
{
    if (e->terms.cache_ttl_ms >= 0)
        return (uint64_t)e->terms.cache_ttl_ms * MS_NS;
    bool unsure = e->statement.tables_unknown;
    const char *p = e->statement.tables.ptr, *end = p + e->statement.tables.len;
    (void)pthread_mutex_lock(&q->lock);
    while (p < end && !unsure) {
        size_t n = strnlen(p, (size_t)(end - p));
        unsure = query_depend_unsure(q->depend, (struct slice){p, n});
        p += n + 1;
    }
    (void)pthread_mutex_unlock(&q->lock);
    uint64_t ttl = took_ns < TTL_MAX_NS / TTL_FACTOR ? took_ns * TTL_FACTOR : TTL_MAX_NS;
    return ttl < TTL_MIN_NS || unsure ? TTL_MIN_NS : ttl;
}

/* answer: one reference, taken; NULL: no memory. */
static void entry_end(struct query_runner *q, struct query_entry *e, struct query_answer *answer,
                      uint64_t took_ns)
{
    uint64_t ttl = 0;
    if (answer == NULL) {
        answer = q->no_memory;
        query_answer_ref(answer);
    }
    if (answer->class == QUERY_FINE) {
        answer->took_ns = took_ns;
        ttl = ttl_of(q, e, took_ns);
    }
    count_error(q, answer->class);
    if (e->statement.writes)
        query_cache_bump_all(q->cache);
    query_cache_finish(q->cache, e, answer, ttl);
    query_answer_unref(answer);
    query_entry_unref(q->cache, e);
}

static enum ch_flow on_entry_bytes(void *ctx, struct slice bytes)
{
    struct run *r = ctx;
    r->moved_ns = io_monotonic_ns();
    r->input_bytes += bytes.len;
    int rc = r->input_bytes > LIMIT_QUERY_RESULT_BYTES
                 ? WH_EFULL
                 : query_render_feed(r->render, bytes, &r->out);
    r->too_large = rc == WH_EFULL;
    r->no_memory = rc == -ENOMEM;
    /* What comes behind it may be the rest of an exception, but the connection is of no more use.
     */
    r->bad = rc == WH_ESYNTAX;
    return rc == 0 ? CH_FLOW_ON : CH_FLOW_STOP;
}

static void on_entry_end(void *ctx, const struct ch_transfer_end *end)
{
    struct run *r = ctx;
    struct query_runner *q = r->runner;
    uint64_t took = io_monotonic_ns() - r->started_ns;
    metric_observe(is_raw(r) ? q->sql_seconds : q->query_seconds, took);
    struct query_answer *a = judge(r, end);
    bool cut = end->outcome != CH_TRANSFER_EXCEPTION && end->was_sent;
    if (a != NULL && a->class != QUERY_FINE && cut && r->entry->statement.writes)
        a->fate_unknown = true;
    entry_end(q, r->entry, a, took);
    run_free(r);
}

static bool run_launch(struct run *r, const struct query_statement *s,
                       const struct query_terms *terms, enum query_wire wire, uint64_t timeout_ms,
                       struct ch_transfer_ask *ask)
{
    struct query_runner *q = r->runner;
    if (query_wire_make(s, terms, wire, q->options.timeout_ms, &r->settings, &r->sql) != 0)
        return false;
    ask->sql = r->sql.len > 0 ? buf_slice(&r->sql) : buf_slice(&s->sql);
    ask->settings = buf_slice(&r->settings);
    ask->query_id = r->query_id;
    ask->timeout_ms = timeout_ms;
    ask->may_repeat = !s->writes && wire != QUERY_WIRE_RAW && wire != QUERY_WIRE_RAW_JSON;
    ask->ctx = r;
    return ch_transfer_start(q->pool, ask, &r->transfer) == 0;
}

static void start_entry(struct query_runner *q, struct query_entry *e)
{
    bool raw = e->terms.rendering == QUERY_RAW_DATA;
    if (atomic_load(&e->cancelled)) {
        query_answer_ref(q->stopped);
        entry_end(q, e, q->stopped, 0);
        return;
    }
    struct query_render_options options = {.shape = raw || e->statement.writes ? QUERY_RENDER_COPY
                                                                               : QUERY_RENDER_ARRAY,
                                           .keep_zeros = e->terms.rendering == QUERY_ROWS_ISO,
                                           .utc = e->terms.modern,
                                           .server_zone = e->terms.server_zone};
    struct run *r = run_new(q, RUN_ENTRY);
    struct ch_transfer_ask ask = {.on_bytes = on_entry_bytes, .on_end = on_entry_end};
    if (r != NULL) {
        r->entry = e;
        r->render = query_render_new(&options);
    }
    if (r == NULL || r->render == NULL ||
        !run_launch(r, &e->statement, &e->terms, raw ? QUERY_WIRE_RAW_JSON : QUERY_WIRE_ROWS,
                    q->options.timeout_ms + TIMEOUT_GRACE_MS, &ask)) {
        if (r != NULL)
            run_free(r);
        entry_end(q, e, NULL, 0);
    }
}

/* --- answers in pieces --------------------------------------------------------------------- */

static void send_piece(struct query_stream *st, struct query_piece *p, enum query_piece_kind kind)
{
    p->kind = kind;
    p->user = st->user;
    queue_push(st->done, &p->link);
}

static struct query_piece *piece_new(struct slice bytes)
{
    struct query_piece *p = malloc(sizeof(*p) + bytes.len);
    if (p == NULL)
        return NULL;
    memset(p, 0, sizeof(*p));
    p->len = bytes.len;
    if (bytes.len > 0)
        memcpy(p->bytes, bytes.ptr, bytes.len);
    return p;
}

void query_piece_free(struct query_piece *p)
{
    if (p == NULL)
        return;
    query_answer_unref(p->answer);
    free(p);
}

/* The stream is its owner's again with the last piece. answer: one reference, taken. */
static void stream_end(struct query_runner *q, struct query_stream *st, struct query_answer *answer)
{
    struct query_piece *p = st->last;
    st->last = NULL;
    if (answer == NULL) {
        answer = q->no_memory;
        query_answer_ref(answer);
    }
    count_error(q, answer->class);
    bool fine = answer->class == QUERY_FINE;
    p->answer = answer;
    send_piece(st, p, fine ? QUERY_PIECE_END : QUERY_PIECE_FAILED);
}

static void send_head(struct run *r, struct slice type)
{
    if (r->head_sent)
        return;
    struct query_piece *p = piece_new(type);
    r->head_sent = true;
    if (p != NULL)
        send_piece(r->stream, p, QUERY_PIECE_HEAD);
    else
        r->no_memory = true;
}

static void on_stream_head(void *ctx, const struct ch_transfer_head *head)
{
    struct run *r = ctx;
    if (r->stream->form != QUERY_FORM_NDJSON && r->stream->form != QUERY_FORM_NDJSON_ISO)
        query_guard_init(&r->guard, head->exception_tag);
    else
        r->moved_ns = io_monotonic_ns();
    /* The head goes out with the first byte, or with the end: an error may come first. */
    buf_put_slice(&r->question, head->content_type);
}

/* What r->out holds goes to the reader. */
static bool flush_out(struct run *r)
{
    if (!buf_ok(&r->out))
        r->no_memory = true;
    if (r->out.len == 0 || r->no_memory)
        return !r->no_memory;
    send_head(r, buf_slice(&r->question));
    struct query_piece *p = r->no_memory ? NULL : piece_new(buf_slice(&r->out));
    if (p == NULL) {
        r->no_memory = true;
        return false;
    }
    atomic_fetch_add(&r->stream->window, p->len);
    send_piece(r->stream, p, QUERY_PIECE_BYTES);
    buf_reset(&r->out);
    return true;
}

static enum ch_flow on_stream_bytes(void *ctx, struct slice bytes)
{
    struct run *r = ctx;
    struct query_stream *st = r->stream;
    r->moved_ns = io_monotonic_ns();
    if (atomic_load(&st->cancelled))
        return CH_FLOW_STOP;
    if (atomic_load(&st->window) >= QUERY_STREAM_WINDOW) {
        atomic_store(&st->paused, true);
        return CH_FLOW_PAUSE;
    }
    int rc = 0;
    if (r->render != NULL)
        rc = query_render_feed(r->render, bytes, &r->out);
    else
        query_guard_feed(&r->guard, bytes, &r->out);
    r->bad = rc == WH_ESYNTAX;
    r->too_large = rc == WH_EFULL; /* one row */
    r->no_memory = r->no_memory || rc == -ENOMEM;
    return flush_out(r) && rc == 0 ? CH_FLOW_ON : CH_FLOW_STOP;
}

static void on_stream_end(void *ctx, const struct ch_transfer_end *end)
{
    struct run *r = ctx;
    struct query_runner *q = r->runner;
    struct query_stream *st = r->stream;
    metric_observe(q->stream_seconds, io_monotonic_ns() - r->started_ns);
    struct query_answer *a = NULL;
    if (atomic_load(&st->cancelled)) {
        query_answer_ref(q->stopped);
        a = q->stopped;
    } else {
        a = judge(r, end);
        query_guard_finish(&r->guard, &r->out);
        if (a != NULL && a->class == QUERY_FINE) {
            if (flush_out(r))
                send_head(r, buf_slice(&r->question)); /* of an empty answer */
            if (r->no_memory) {
                query_answer_unref(a);
                a = NULL;
            }
        }
    }
    stream_end(q, st, a);
    run_free(r);
}

static void start_stream(struct query_runner *q, struct query_stream *st)
{
    static const enum query_wire wires[] = {[QUERY_FORM_NDJSON] = QUERY_WIRE_LINES,
                                            [QUERY_FORM_NDJSON_ISO] = QUERY_WIRE_LINES,
                                            [QUERY_FORM_CSV] = QUERY_WIRE_CSV,
                                            [QUERY_FORM_RAW] = QUERY_WIRE_RAW};
    if (atomic_load(&st->cancelled)) {
        query_answer_ref(q->stopped);
        stream_end(q, st, q->stopped);
        return;
    }
    struct query_render_options options = {.shape = QUERY_RENDER_LINES,
                                           .keep_zeros = st->form == QUERY_FORM_NDJSON_ISO,
                                           .utc = st->terms.modern,
                                           .server_zone = st->terms.server_zone};
    struct run *r = run_new(q, RUN_STREAM);
    struct ch_transfer_ask ask = {.on_head = on_stream_head,
                                  .on_bytes = on_stream_bytes,
                                  .on_end = on_stream_end};
    bool good = r != NULL;
    if (good)
        r->stream = st;
    if (good && wires[st->form] == QUERY_WIRE_LINES)
        good = (r->render = query_render_new(&options)) != NULL;
    /* Its deadlines are watch_stream's: a reader may take its time. */
    if (good && run_launch(r, &st->statement, &st->terms, wires[st->form], 0, &ask))
        return;
    if (r != NULL)
        run_free(r);
    stream_end(q, st, NULL);
}

/* Resumed, given up, or out of patience with ClickHouse. */
static void watch_stream(struct run *r, uint64_t now)
{
    struct query_runner *q = r->runner;
    struct query_stream *st = r->stream;
    uint64_t patience = (q->options.timeout_ms + TIMEOUT_GRACE_MS) * MS_NS;
    bool paused = atomic_load(&st->paused);
    bool late = !paused && now > r->moved_ns && now - r->moved_ns > patience;
    if (atomic_load(&st->cancelled) || late) {
        struct query_answer *a = q->stopped;
        if (late)
            a = answer_text(QUERY_UNAVAILABLE, is_raw(r)
                                                   ? "clickhouse request failed: it took too long"
                                                   : "ClickHouse took too long");
        else
            query_answer_ref(a);
        ch_transfer_cancel(r->transfer);
        stream_end(q, st, a);
        run_free(r);
    } else if (paused && atomic_load(&st->window) < QUERY_STREAM_WINDOW / 2) {
        atomic_store(&st->paused, false);
        r->moved_ns = now;
        ch_transfer_resume(r->transfer); /* may end in on_stream_bytes, never in on_stream_end */
    }
}

/* --- which tables change together ---------------------------------------------------------- */

static enum ch_flow on_depend_bytes(void *ctx, struct slice bytes)
{
    struct run *r = ctx;
    buf_put_slice(&r->out, bytes);
    return buf_ok(&r->out) ? CH_FLOW_ON : CH_FLOW_STOP;
}

static void on_depend_end(void *ctx, const struct ch_transfer_end *end)
{
    struct run *r = ctx;
    struct query_runner *q = r->runner;
    struct query_depend *d = NULL;
    struct slice database = slice_str(ch_target_options(q->options.clickhouse)->database);
    q->depend_runs = false;
    int rc = end->outcome != CH_TRANSFER_DONE ? WH_EREMOTE
                                              : query_depend_new(buf_slice(&r->out), database, &d);
    if (rc == 0) {
        struct ch_hash128 h = ch_cityhash128(r->out.len > 0 ? r->out.ptr : "", r->out.len);
        (void)pthread_mutex_lock(&q->lock);
        struct query_depend *old = q->depend;
        q->depend = d;
        (void)pthread_mutex_unlock(&q->lock);
        query_depend_free(old);
        if (old == NULL || q->depend_sum != (h.low ^ h.high))
            query_cache_bump_all(q->cache); /* a view or a table is another one now */
        q->depend_sum = h.low ^ h.high;
    } else if (!atomic_load(&q->stopping)) {
        log_warn("query.dependencies",
                 "which views read which tables is not known now: %.*s; answers about views may be "
                 "10 s old",
                 (int)(end->text.len < 300 ? end->text.len : 300),
                 end->text.len > 0 ? end->text.ptr : "the answer is not what was asked for");
    }
    run_free(r);
}

static void ask_depend(struct query_runner *q)
{
    uint64_t now = q->options.refreshes != NULL ? q->options.refreshes(q->options.ctx) : 0;
    if (now == q->refreshes || q->depend_runs)
        return;
    q->refreshes = now;
    struct run *r = run_new(q, RUN_DEPEND);
    if (r == NULL)
        return;
    query_depend_sql(&r->question, slice_str(ch_target_options(q->options.clickhouse)->database));
    struct ch_transfer_ask ask = {.sql = buf_slice(&r->question),
                                  .settings = SLICE_LIT("&wait_end_of_query=1"
                                                        "&default_format=RowBinary"),
                                  .timeout_ms = DEPEND_TIMEOUT_MS,
                                  .may_repeat = true,
                                  .ctx = r,
                                  .on_bytes = on_depend_bytes,
                                  .on_end = on_depend_end};
    if (!buf_ok(&r->question) || ch_transfer_start(q->pool, &ask, &r->transfer) != 0)
        run_free(r);
    else
        q->depend_runs = true;
}

/* --- the thread ---------------------------------------------------------------------------- */

/* New settings. Runs go on as they began. */
static void adopt(struct query_runner *q)
{
    if (!atomic_exchange(&q->reloaded, false))
        return;
    (void)pthread_mutex_lock(&q->lock);
    struct query_runner_options next = q->next;
    (void)ch_target_ref(next.clickhouse);
    (void)pthread_mutex_unlock(&q->lock);
    if (next.clickhouse != q->options.clickhouse) {
        if (ch_pool_set_target(q->pool, next.clickhouse) != 0) {
            ch_target_unref(next.clickhouse);
            atomic_store(&q->reloaded, true); /* at the next turn again */
            return;
        }
        query_cache_bump_all(q->cache);
        q->refreshes = UINT64_MAX;
    }
    query_cache_resize(q->cache, next.cache_bytes);
    ch_target_unref(q->options.clickhouse);
    q->options = next;
}

static void start_job(struct query_runner *q, struct query_job *job)
{
    if (job->is_stream)
        start_stream(q, (struct query_stream *)(void *)job);
    else
        start_entry(q, (struct query_entry *)(void *)job);
}

static void watch_runs(struct query_runner *q)
{
    uint64_t now = io_monotonic_ns();
    for (struct run *r = q->runs, *next; r != NULL; r = next) {
        next = r->next;
        if (r->kind == RUN_STREAM) {
            watch_stream(r, now);
        } else if (r->kind == RUN_ENTRY && atomic_load(&r->entry->cancelled)) {
            ch_transfer_cancel(r->transfer);
            query_answer_ref(q->stopped);
            entry_end(q, r->entry, q->stopped, 0);
            run_free(r);
        }
    }
}

static void tick(struct query_runner *q)
{
    uint64_t now = io_monotonic_ns();
    if (now < q->next_tick_ns)
        return;
    q->next_tick_ns = now + TICK_MS * MS_NS;
    query_cache_sweep(q->cache);
    ask_depend(q);
}

static void *runner_main(void *arg)
{
    struct query_runner *q = arg;
    (void)pthread_setname_np(pthread_self(), "wh-query");
    while (!atomic_load(&q->stopping)) {
        struct queue_link *link;
        adopt(q);
        while (q->run_count < q->options.max_concurrent && (link = queue_pop(&q->jobs)) != NULL)
            start_job(q, QUEUE_ITEM(link, struct query_job, link));
        metric_set(q->waiting, (int64_t)queue_count(&q->jobs));
        watch_runs(q);
        tick(q);
        /* While there is no room, only sockets and queue_wake matter. */
        bool full = q->run_count >= q->options.max_concurrent;
        if (!full && !queue_sleep(&q->jobs))
            continue;
        ch_pool_turn(q->pool, queue_fd(&q->jobs), TICK_MS);
        queue_wake_ack(&q->jobs);
    }
    return NULL;
}

/* --- for others ---------------------------------------------------------------------------- */

enum query_run_outcome query_run(struct query_runner *q, const struct query_statement *s,
                                 const struct query_terms *terms, struct query_ask *ask,
                                 struct query_answer **hit)
{
    struct query_entry *e = NULL;
    switch (query_cache_find(q->cache, s, terms, ask, hit, &e)) {
    case QUERY_CACHE_HIT:
        return QUERY_RUN_HIT;
    case QUERY_CACHE_JOINED:
        return QUERY_RUN_WAIT;
    case QUERY_CACHE_NO_MEMORY:
        return QUERY_RUN_NO_MEMORY;
    case QUERY_CACHE_NEW:
        break;
    }
    if (queue_try_push(&q->jobs, &e->job.link) != 0) {
        query_answer_ref(q->busy);
        entry_end(q, e, q->busy, 0);
    }
    return QUERY_RUN_WAIT;
}

bool query_cancel(struct query_runner *q, struct query_ask *ask)
{
    bool mine = query_cache_cancel(q->cache, ask);
    if (mine)
        queue_wake(&q->jobs);
    return mine;
}

int query_stream_start(struct query_runner *q, const struct query_statement *s,
                       const struct query_terms *terms, enum query_form form, struct queue *done,
                       void *user, struct query_stream **out)
{
    struct query_stream *st = calloc(1, sizeof(*st));
    if (st == NULL)
        return -ENOMEM;
    st->job.is_stream = true;
    query_statement_init(&st->statement);
    st->statement.sql.max = s->sql.max;
    buf_put_slice(&st->statement.sql, buf_slice(&s->sql));
    buf_put_slice(&st->statement.values, buf_slice(&s->values));
    buf_put_slice(&st->statement.value_ends, buf_slice(&s->value_ends));
    st->statement.is_prefer_column = s->is_prefer_column;
    st->statement.writes = s->writes;
    st->statement.reads_only = s->reads_only;
    st->statement.limits = s->limits;
    st->terms = *terms;
    st->server_zone = slice_dup(terms->server_zone);
    st->terms.server_zone =
        st->server_zone != NULL ? slice_str(st->server_zone) : (struct slice){NULL, 0};
    st->form = form;
    st->done = done;
    st->user = user;
    st->last = piece_new((struct slice){NULL, 0});
    int rc = st->server_zone == NULL || st->last == NULL || !query_statement_ok(&st->statement)
                 ? -ENOMEM
                 : queue_try_push(&q->jobs, &st->job.link);
    if (rc == 0)
        *out = st;
    else
        query_stream_free(st);
    return rc;
}

void query_stream_took(struct query_runner *q, struct query_stream *st, size_t n)
{
    size_t before = atomic_fetch_sub(&st->window, n);
    if (atomic_load(&st->paused) && before - n < QUERY_STREAM_WINDOW / 2)
        queue_wake(&q->jobs);
}

void query_stream_cancel(struct query_runner *q, struct query_stream *st)
{
    if (!atomic_exchange(&st->cancelled, true))
        queue_wake(&q->jobs);
}

void query_stream_free(struct query_stream *st)
{
    query_statement_fini(&st->statement);
    query_piece_free(st->last);
    free(st->server_zone);
    free(st);
}

void query_runner_bump(struct query_runner *q, struct slice table)
{
    CHECK_MAGIC(q, RUNNER_MAGIC);
    uint32_t count = 0;
    query_cache_bump(q->cache, query_cache_slot(table));
    (void)pthread_mutex_lock(&q->lock);
    const uint16_t *slots = query_depend_slots(q->depend, table, &count);
    for (uint32_t i = 0; i < count; i++)
        query_cache_bump(q->cache, slots[i]);
    (void)pthread_mutex_unlock(&q->lock);
}

void query_runner_bump_all(struct query_runner *q)
{
    CHECK_MAGIC(q, RUNNER_MAGIC);
    query_cache_bump_all(q->cache);
}

void query_runner_reload(struct query_runner *q, const struct query_runner_options *options)
{
    CHECK_MAGIC(q, RUNNER_MAGIC);
    (void)pthread_mutex_lock(&q->lock);
    struct ch_target *old = q->next.clickhouse;
    q->next = *options;
    (void)ch_target_ref(q->next.clickhouse);
    (void)pthread_mutex_unlock(&q->lock);
    ch_target_unref(old);
    atomic_store(&q->reloaded, true);
    queue_wake(&q->jobs);
}

static void metrics_make(struct query_runner *q)
{
    static const char name[] = "wavehouse_clickhouse_duration_seconds";
    static const char help[] = "Time of operations on ClickHouse";
    static const char errors[] = "wavehouse_clickhouse_errors_total";
    static const char errors_help[] = "Operations on ClickHouse that failed, by class";
    q->query_seconds = metric_new(METRIC_SECONDS, name, help, "op=\"query\"");
    q->sql_seconds = metric_new(METRIC_SECONDS, name, help, "op=\"sql\"");
    q->stream_seconds = metric_new(METRIC_SECONDS, name, help, "op=\"stream\"");
    q->running = metric_new(METRIC_GAUGE, "wavehouse_query_running",
                            "Statements on ClickHouse at this moment.", NULL);
    q->waiting = metric_new(METRIC_GAUGE, "wavehouse_query_waiting",
                            "Statements that wait for their turn.", NULL);
    for (int c = QUERY_REJECTED; c < QUERY_BUSY; c++) /* the rest is not ClickHouse's */
        q->errors[c] = metric_new(METRIC_COUNTER, errors, errors_help, "class=\"%s\"",
                                  strchr(query_class_name((enum query_class)c), '.') + 1);
}

int query_runner_start(struct query_runner **out, const struct query_runner_options *options,
                       struct err *e)
{
    struct query_runner *q = calloc(1, sizeof(*q));
    uint64_t random = 0;
    if (q == NULL)
        return err_set_errno(e, -ENOMEM, "starting queries");
    q->magic = RUNNER_MAGIC;
    q->jobs.fd = -1;
    (void)pthread_mutex_init(&q->lock, NULL);
    q->options = q->next = *options;
    (void)ch_target_ref(options->clickhouse);
    (void)ch_target_ref(options->clickhouse);
    metrics_make(q);
    int rc = io_random(&random, sizeof(random));
    (void)snprintf(q->id_prefix, sizeof(q->id_prefix), "wh-%016" PRIx64 "-", random);
    q->cache = query_cache_new(options->cache_bytes);
    q->pool = ch_pool_new(options->clickhouse);
    q->busy = answer_text(QUERY_BUSY, "too many queries wait for ClickHouse");
    q->stopped = answer_text(QUERY_STOPPED, "service unavailable");
    q->no_memory = answer_text(QUERY_BUSY, "service unavailable");
    if (rc == 0 && (q->cache == NULL || q->pool == NULL || q->busy == NULL || q->stopped == NULL ||
                    q->no_memory == NULL))
        rc = -ENOMEM;
    if (rc == 0)
        rc = queue_init(&q->jobs, LIMIT_QUERIES_WAITING);
    if (rc == 0)
        rc = -pthread_create(&q->thread, NULL, runner_main, q);
    if (rc != 0) {
        query_runner_free(q);
        return err_set_errno(e, rc, "starting queries");
    }
    q->thread_runs = true;
    *out = q;
    return 0;
}

void query_runner_stop(struct query_runner *q)
{
    CHECK_MAGIC(q, RUNNER_MAGIC);
    struct queue_link *link;
    atomic_store(&q->stopping, true);
    if (q->thread_runs) {
        queue_wake(&q->jobs);
        (void)pthread_join(q->thread, NULL);
        q->thread_runs = false;
    }
    while (q->runs != NULL) {
        struct run *r = q->runs;
        ch_transfer_cancel(r->transfer);
        query_answer_ref(q->stopped);
        if (r->kind == RUN_ENTRY)
            entry_end(q, r->entry, q->stopped, 0);
        else if (r->kind == RUN_STREAM)
            stream_end(q, r->stream, q->stopped);
        else
            query_answer_unref(q->stopped);
        run_free(r);
    }
    while ((link = queue_pop(&q->jobs)) != NULL) {
        struct query_job *job = QUEUE_ITEM(link, struct query_job, link);
        query_answer_ref(q->stopped);
        if (job->is_stream)
            stream_end(q, (struct query_stream *)(void *)job, q->stopped);
        else
            entry_end(q, (struct query_entry *)(void *)job, q->stopped, 0);
    }
}

void query_runner_free(struct query_runner *q)
{
    if (q == NULL)
        return;
    CHECK_MAGIC(q, RUNNER_MAGIC);
    ch_pool_free(q->pool);
    query_cache_free(q->cache);
    query_depend_free(q->depend);
    query_answer_unref(q->busy);
    query_answer_unref(q->stopped);
    query_answer_unref(q->no_memory);
    if (q->jobs.fd >= 0)
        queue_fini(&q->jobs);
    ch_target_unref(q->options.clickhouse);
    ch_target_unref(q->next.clickhouse);
    (void)pthread_mutex_destroy(&q->lock);
    q->magic = 0;
    free(q);
}
