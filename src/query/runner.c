/* SPDX-License-Identifier: Apache-2.0 */
#include "query/runner_priv.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RUNNER_MAGIC      0x71526e72u
#define TICK_MS           1000
#define SECOND_NS         UINT64_C(1000000000)
#define TTL_MIN_NS        (10 * SECOND_NS)   /* http-api §8.7 */
#define TTL_MAX_NS        (3600 * SECOND_NS) /* and with a table that we cannot watch: TTL_MIN_NS */
#define TTL_FACTOR        1000
#define DEPEND_TIMEOUT_MS 30000
#define URL_BYTES_MAX     (1 * MIB)

/* --- runs ---------------------------------------------------------------------------------- */

void runner_run_free(struct run *r)
{
    struct query_runner *q = r->runner;
    *(r->prev != NULL ? &r->prev->next : &q->runs) = r->next;
    if (r->next != NULL)
        r->next->prev = r->prev;
    q->run_count--;
    q->stream_count -= r->kind == RUN_STREAM;
    metric_set(q->running, q->run_count);
    query_render_free(r->render);
    query_guard_fini(&r->guard);
    buf_fini(&r->settings);
    buf_fini(&r->sql);
    buf_fini(&r->out);
    buf_fini(&r->question);
    free(r);
}

struct run *runner_run_new(struct query_runner *q, enum run_kind kind)
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
    q->stream_count += kind == RUN_STREAM;
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
    runner_count_error(q, answer->class);
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
    metric_observe(runner_is_raw(r) ? q->sql_seconds : q->query_seconds, took);
    struct query_answer *a = runner_judge(r, end);
    bool cut = end->outcome != CH_TRANSFER_EXCEPTION && end->was_sent;
    if (a != NULL && a->class != QUERY_FINE && cut && r->entry->statement.writes)
        a->fate_unknown = true;
    entry_end(q, r->entry, a, took);
    runner_run_free(r);
}

bool runner_run_launch(struct run *r, const struct query_statement *s,
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

/* How long the transfer may take. Old servers do not know a role's limit to the millisecond
 * (query_wire_make): there it is kept here. */
static uint64_t patience_ms(const struct query_runner *q, const struct query_entry *e)
{
    uint64_t own = e->terms.modern ? 0 : e->statement.limits.max_execution_ms;
    return own > 0 && own < q->options.timeout_ms ? own : q->options.timeout_ms + TIMEOUT_GRACE_MS;
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
    struct run *r = runner_run_new(q, RUN_ENTRY);
    struct ch_transfer_ask ask = {.on_bytes = on_entry_bytes, .on_end = on_entry_end};
    if (r != NULL) {
        r->entry = e;
        r->render = query_render_new(&options);
    }
    if (r == NULL || r->render == NULL ||
        !runner_run_launch(r, &e->statement, &e->terms, raw ? QUERY_WIRE_RAW_JSON : QUERY_WIRE_ROWS,
                           patience_ms(q, e), &ask)) {
        if (r != NULL)
            runner_run_free(r);
        entry_end(q, e, NULL, 0);
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
    runner_run_free(r);
}

static void ask_depend(struct query_runner *q)
{
    uint64_t now = q->options.refreshes != NULL ? q->options.refreshes(q->options.ctx) : 0;
    if (now == q->refreshes || q->depend_runs)
        return;
    q->refreshes = now;
    struct run *r = runner_run_new(q, RUN_DEPEND);
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
        runner_run_free(r);
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

static void end_job(struct query_runner *q, struct query_job *job, struct query_answer *answer)
{
    query_answer_ref(answer);
    if (job->is_stream)
        runner_stream_end(q, (struct query_stream *)(void *)job, answer);
    else
        entry_end(q, (struct query_entry *)(void *)job, answer, 0);
}

/* A quarter of the places, one at least, is for answers that are not paced by a reader. */
bool runner_may_stream(const struct query_runner *q)
{
    uint32_t most = q->options.max_concurrent - (q->options.max_concurrent + 3) / 4;
    return q->stream_count < (most > 0 ? most : 1);
}

static void start_job(struct query_runner *q, struct query_job *job)
{
    uint64_t waited = io_monotonic_ns() - job->queued_ns;
    if (waited > q->options.timeout_ms * MS_NS) {
        end_job(q, job, q->busy);
    } else if (!job->is_stream) {
        start_entry(q, (struct query_entry *)(void *)job);
    } else if (runner_may_stream(q)) {
        runner_stream_start(q, (struct query_stream *)(void *)job);
    } else if (q->aside_count >= LIMIT_QUERIES_WAITING) {
        end_job(q, job, q->busy);
    } else {
        job->next = NULL;
        *q->aside_end = job;
        q->aside_end = &job->next;
        q->aside_count++;
    }
}

static struct query_job *take_aside(struct query_runner *q)
{
    struct query_job *job = q->aside_first;
    q->aside_first = job->next;
    q->aside_count--;
    if (q->aside_first == NULL)
        q->aside_end = &q->aside_first;
    return job;
}

/* Whoever has waited too long, or has left, is told now: a place may not come for a long time. */
static void watch_aside(struct query_runner *q)
{
    uint64_t now = io_monotonic_ns(), most = q->options.timeout_ms * MS_NS;
    struct query_job **at = &q->aside_first;
    while (*at != NULL) {
        struct query_job *job = *at;
        bool left = atomic_load(&((struct query_stream *)(void *)job)->cancelled);
        if (!left && (now <= job->queued_ns || now - job->queued_ns <= most)) {
            at = &job->next;
            continue;
        }
        *at = job->next;
        q->aside_count--;
        end_job(q, job, left ? q->stopped : q->busy);
    }
    q->aside_end = at;
}

static void watch_runs(struct query_runner *q)
{
    uint64_t now = io_monotonic_ns();
    for (struct run *r = q->runs, *next; r != NULL; r = next) {
        next = r->next;
        if (r->kind == RUN_STREAM) {
            runner_stream_watch(r, now);
        } else if (r->kind == RUN_ENTRY && atomic_load(&r->entry->cancelled)) {
            ch_transfer_cancel(r->transfer);
            query_answer_ref(q->stopped);
            entry_end(q, r->entry, q->stopped, 0);
            runner_run_free(r);
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
        while (q->run_count < q->options.max_concurrent && q->aside_count > 0 &&
               runner_may_stream(q))
            start_job(q, take_aside(q));
        while (q->run_count < q->options.max_concurrent && (link = queue_pop(&q->jobs)) != NULL)
            start_job(q, QUEUE_ITEM(link, struct query_job, link));
        metric_set(q->waiting, (int64_t)(queue_count(&q->jobs) + q->aside_count));
        watch_runs(q);
        watch_aside(q);
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
    e->job.queued_ns = io_monotonic_ns();
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
    q->aside_end = &q->aside_first;
    (void)pthread_mutex_init(&q->lock, NULL);
    q->options = q->next = *options;
    (void)ch_target_ref(options->clickhouse);
    (void)ch_target_ref(options->clickhouse);
    metrics_make(q);
    int rc = io_random(&random, sizeof(random));
    (void)snprintf(q->id_prefix, sizeof(q->id_prefix), "wh-%016" PRIx64 "-", random);
    q->cache = query_cache_new(options->cache_bytes);
    q->pool = ch_pool_new(options->clickhouse);
    q->busy = runner_answer_text(QUERY_BUSY, "too many queries wait for ClickHouse");
    q->stopped = runner_answer_text(QUERY_STOPPED, "service unavailable");
    q->no_memory = runner_answer_text(QUERY_BUSY, "service unavailable");
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
            runner_stream_end(q, r->stream, q->stopped);
        else
            query_answer_unref(q->stopped);
        runner_run_free(r);
    }
    while (q->aside_count > 0)
        end_job(q, take_aside(q), q->stopped);
    while ((link = queue_pop(&q->jobs)) != NULL)
        end_job(q, QUEUE_ITEM(link, struct query_job, link), q->stopped);
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
