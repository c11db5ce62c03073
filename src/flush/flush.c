/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/flush.h"

#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "flush/planner.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FLUSH_MAGIC 0x464c5553u

struct flush {
    uint32_t magic;
    struct planner planner;
    pthread_t thread;
    /* The planner says here that it has ended. */
    pthread_mutex_t lock;
    pthread_cond_t ended_cond;
    bool ended;
};

struct load {
    struct planner *p;
    int rc;
};

static void load_position(void *ctx, struct slice table, uint64_t index)
{
    struct load *load = ctx;
    if (load->rc == 0)
        load->rc = flush_ledger_position(load->p->ledger, table, index);
}

/* A fresh ledger: also used to forget positions that turn out to be another log's. */
static int make_ledger(struct planner *p, struct err *e)
{
    struct flush_rules rules = flush_rules_of(&p->options);
    flush_ledger_free(p->ledger);
    p->ledger = flush_ledger_new(&rules);
    return p->ledger == NULL ? err_set(e, -ENOMEM, "flush: out of memory") : 0;
}

/* Where to start reading. The log is the truth: when the store knows nothing, or of entries that
 * the log does not have, everything retained is read. */
static int load_state(struct planner *p, struct err *e)
{
    struct load load = {.p = p};
    struct wal_stats ws;
    int rc = make_ledger(p, e);
    if (rc != 0)
        return rc;
    rc = store_flush_load(p->options.store, slice_str(p->options.cluster), &p->stored,
                          load_position, &load, e);
    if (rc != 0 && rc != WH_ENOTFOUND)
        return rc;
    if (load.rc != 0)
        return err_set(e, load.rc, "flush: out of memory");
    wal_stats_get(p->options.wal, &ws);
    if (rc == 0 && p->stored.applied_index > ws.last_index) {
        log_warn("flush.positions_foreign",
                 "the store knows entry %" PRIu64 ", the log ends at %" PRIu64
                 ": positions are made again from the log",
                 p->stored.applied_index, ws.last_index);
        rc = WH_ENOTFOUND;
    }
    if (rc != WH_ENOTFOUND)
        return 0;
    memset(&p->stored, 0, sizeof(p->stored));
    p->reset = p->dirty = true;
    return make_ledger(p, e);
}

static int open_cursor(struct planner *p, struct err *e)
{
    int rc = wal_cursor_open(&p->cursor, p->options.wal, p->stored.low_index, e);
    if (rc == WH_ENOTFOUND && p->stored.low_index > 0) /* a store older than the log's beginning */
        rc = wal_cursor_open(&p->cursor, p->options.wal, 0, e);
    struct wal_stats ws;
    wal_stats_get(p->options.wal, &ws);
    uint64_t first = p->stored.low_index > ws.first_index ? p->stored.low_index : ws.first_index;
    p->applied_index = first > 0 ? first - 1 : 0;
    return rc;
}

static void *flush_main(void *arg)
{
    struct flush *f = arg;
    planner_run(&f->planner);
    (void)pthread_mutex_lock(&f->lock);
    f->ended = true;
    (void)pthread_cond_signal(&f->ended_cond);
    (void)pthread_mutex_unlock(&f->lock);
    return NULL;
}

static int planner_init(struct planner *p, const struct flush_options *options, struct err *e)
{
    p->options = *options;
    (void)ch_target_ref(p->options.clickhouse);
    p->reachable = true;
    p->dlq_dropped = metric_new(METRIC_COUNTER, "wavehouse_dlq_dropped_total",
                                "Dead letters dropped to stay within dlq.max_bytes", NULL);
    flush_shelf_init(&p->shelf, &p->options.fold);
    flush_watches_init(&p->watches);
    flush_pace_restart(&p->pace);
    p->pace.rows_per_s = options->catch_up_rows_per_s;
    planner_gauges_make(p);
    (void)pthread_mutex_init(&p->lock, NULL);
    if (io_random(&p->random, sizeof(p->random)) != 0 || p->random == 0)
        p->random = 0x9e3779b97f4a7c15u;
    int rc = queue_init(&p->queue, SIZE_MAX);
    if (rc != 0)
        return err_set_errno(e, rc, "flush: cannot make a queue");
    rc = load_state(p, e);
    if (rc == 0)
        rc = open_cursor(p, e);
    if (rc == 0)
        planner_show_shelves(p);
    return rc;
}

static void planner_fini(struct planner *p)
{
    commit_unsubscribe(p->options.commit, &p->queue);
    for (uint32_t i = 0; i < p->sender_count; i++)
        flush_sender_stop(p->senders[i]);
    if (p->cursor != NULL)
        wal_cursor_close(p->cursor);
    flush_watches_fini(&p->watches);
    flush_ledger_free(p->ledger);
    ch_target_unref(p->options.clickhouse);
    if (p->reload)
        ch_target_unref(p->next_options.clickhouse);
    flush_shelf_fini(&p->shelf);
    flush_receipt_fini(&p->receipt);
    flush_receipt_fini(&p->published);
    queue_fini(&p->queue);
    (void)pthread_mutex_destroy(&p->lock);
}

static int start_senders(struct planner *p, struct err *e)
{
    /* All of them, whatever max_open_conns says now: that may change, and one that waits is only a
     * thread asleep. */
    for (uint32_t i = 0; i < FLUSH_SENDERS_MAX; i++) {
        struct flush_sender_options o = {.flush = &p->options,
                                         .planner = &p->queue,
                                         .stopping = &p->stop,
                                         .crowded = &p->crowded,
                                         .number = i};
        struct flush_sender *s = flush_sender_start(&o, e);
        if (s == NULL)
            return e->code;
        p->senders[p->sender_count++] = s;
        p->idle[p->idle_count++] = s;
    }
    return 0;
}

int flush_start(struct flush **out, const struct flush_options *options, struct err *e)
{
    struct flush *f = aligned_alloc(_Alignof(struct flush), sizeof(*f));
    if (f == NULL)
        return err_set(e, -ENOMEM, "flush: out of memory");
    memset(f, 0, sizeof(*f));
    f->magic = FLUSH_MAGIC;
    struct planner *p = &f->planner;
    pthread_condattr_t attr;
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&f->ended_cond, &attr);
    (void)pthread_condattr_destroy(&attr);
    int rc = planner_init(p, options, e);
    if (rc == 0)
        rc = start_senders(p, e);
    if (rc == 0 && (rc = commit_subscribe(options->commit, &p->queue)) != 0)
        (void)err_set_errno(e, rc, "flush: cannot subscribe to commits");
    if (rc == 0) {
        rc = -pthread_create(&f->thread, NULL, flush_main, f);
        if (rc != 0)
            (void)err_set_errno(e, rc, "flush: cannot start the planner");
    }
    if (rc != 0) {
        planner_fini(p);
        f->magic = 0;
        free(f);
        return rc;
    }
    (void)pthread_setname_np(f->thread, "wh-planner");
    *out = f;
    return 0;
}

void flush_reload(struct flush *f, const struct flush_options *options)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    (void)pthread_mutex_lock(&f->planner.lock);
    if (f->planner.reload) /* nobody took the last one */
        ch_target_unref(f->planner.next_options.clickhouse);
    f->planner.next_options = *options;
    (void)ch_target_ref(options->clickhouse);
    f->planner.reload = true;
    (void)pthread_mutex_unlock(&f->planner.lock);
    queue_wake(&f->planner.queue);
}

int flush_stop(struct flush *f, uint64_t timeout_ms)
{
    if (f == NULL)
        return 0;
    CHECK_MAGIC(f, FLUSH_MAGIC);
    uint64_t end = io_monotonic_ns() + timeout_ms * 1000000u;
    struct timespec until = {.tv_sec = (time_t)(end / 1000000000u),
                             .tv_nsec = (long)(end % 1000000000u)};
    int rc = 0;
    atomic_store(&f->planner.stop, true);
    queue_wake(&f->planner.queue);
    (void)pthread_mutex_lock(&f->lock);
    while (!f->ended && rc == 0)
        rc = pthread_cond_timedwait(&f->ended_cond, &f->lock, &until);
    bool ended = f->ended;
    (void)pthread_mutex_unlock(&f->lock);
    if (!ended) {
        log_warn("flush.stop_timeout",
                 "an insert still runs after %" PRIu64 " ms; it is sent again at the next start",
                 timeout_ms);
        return -ETIMEDOUT;
    }
    (void)pthread_join(f->thread, NULL);
    planner_fini(&f->planner);
    (void)pthread_mutex_destroy(&f->lock);
    (void)pthread_cond_destroy(&f->ended_cond);
    f->magic = 0;
    free(f);
    return 0;
}

void flush_stats_get(struct flush *f, struct flush_stats *out)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    (void)pthread_mutex_lock(&f->planner.lock);
    *out = f->planner.stats;
    (void)pthread_mutex_unlock(&f->planner.lock);
}

uint64_t flush_shelf_index(struct flush *f)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    return atomic_load(&f->planner.shelf_index);
}

uint64_t flush_held_bytes(struct flush *f)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    return atomic_load(&f->planner.held_bytes);
}

void flush_shelf_watch(struct flush *f, struct queue *wake)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    (void)pthread_mutex_lock(&f->planner.lock);
    f->planner.shelf_watch = wake;
    (void)pthread_mutex_unlock(&f->planner.lock);
}

void flush_shelf_want(struct flush *f, uint64_t index)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    atomic_store(&f->planner.shelf_want, index);
    queue_wake(&f->planner.queue); /* it may have passed it before */
}

int flush_receipt_take(struct flush *f, uint64_t index, uint64_t *records, uint64_t *bytes,
                       uint64_t *time_ns, struct flush_receipt_table **tables,
                       uint32_t *table_count)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    struct flush_receipt *r = &f->planner.published;
    int rc = WH_ENOTFOUND;
    (void)pthread_mutex_lock(&f->planner.lock);
    if (r->index == index) {
        rc = r->failed ? -ENOMEM : 0;
        *records = r->records;
        *bytes = r->bytes;
        *time_ns = r->time_ns;
        *tables = r->tables;
        *table_count = r->table_count;
        r->tables = NULL;
        r->table_count = 0;
    }
    (void)pthread_mutex_unlock(&f->planner.lock);
    return rc;
}

struct flush_watches *flush_watches_of(struct flush *f)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    return &f->planner.watches;
}

void flush_offsets_ask(struct flush *f, struct flush_offsets *q)
{
    CHECK_MAGIC(f, FLUSH_MAGIC);
    q->msg.kind = FLUSH_MSG_OFFSETS;
    queue_push(&f->planner.queue, &q->msg.link);
}
