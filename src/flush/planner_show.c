/* SPDX-License-Identifier: Apache-2.0 */
/* How the planner stands: metrics of tables and shelves, the spool, the backlog; and the figures
 * that flush_stats_get gives to other threads. */
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "flush/planner.h"
#include "io/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define METRICS_EVERY_NS  1000000000u
#define PROGRESS_EVERY_NS 30000000000u

struct table_metrics {
    struct metric *pending, *oldest, *shelves[STORE_SHELVES];
    int64_t shelf_now[STORE_SHELVES];
};

void planner_table_label(struct buf *out, const struct flush_table *t)
{
    buf_init(out, SIZE_MAX);
    metric_label_escape(out, flush_table_name(t));
    buf_put_u8(out, 0);
    must(buf_ok(out));
}

static struct table_metrics *metrics_of(struct flush_table *t)
{
    if (t->metrics != NULL)
        return t->metrics;
    struct table_metrics *m = calloc(1, sizeof(*m));
    must(m != NULL);
    struct buf label;
    planner_table_label(&label, t);
    m->pending =
        metric_new(METRIC_GAUGE, "wavehouse_ingest_pending_records",
                   "Committed records that are not yet in ClickHouse", "table=\"%s\"", label.ptr);
    m->oldest = metric_new(METRIC_GAUGE, "wavehouse_ingest_oldest_pending_seconds",
                           "Age of the oldest pending record", "table=\"%s\"", label.ptr);
    m->shelves[STORE_DEAD] = metric_new(METRIC_GAUGE, "wavehouse_dlq_records", "Dead letters kept",
                                        "table=\"%s\"", label.ptr);
    m->shelves[STORE_HELD] =
        metric_new(METRIC_GAUGE, "wavehouse_ingest_held_records",
                   "Records held until their table has the columns", "table=\"%s\"", label.ptr);
    buf_fini(&label);
    return t->metrics = m;
}

/* ---- shelves ---- */

struct shelf_counts {
    struct planner *p;
    enum store_shelf shelf;
    uint64_t bytes;
};

static void zero_counts(void *ctx, struct flush_table *t)
{
    (void)ctx;
    if (t->metrics != NULL)
        memset(((struct table_metrics *)t->metrics)->shelf_now, 0,
               sizeof(((struct table_metrics *)t->metrics)->shelf_now));
}

static void count_letters(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct shelf_counts *c = ctx;
    struct flush_table *t = flush_ledger_table(c->p->ledger, table);
    c->bytes += bytes;
    if (t != NULL)
        metrics_of(t)->shelf_now[c->shelf] = (int64_t)records;
}

static void show_counts(void *ctx, struct flush_table *t)
{
    (void)ctx;
    struct table_metrics *m = t->metrics;
    for (int i = 0; m != NULL && i < STORE_SHELVES; i++)
        metric_set(m->shelves[i], m->shelf_now[i]);
}

void planner_show_shelves(struct planner *p)
{
    struct err e = {0};
    struct shelf_counts dead = {.p = p, .shelf = STORE_DEAD}, held = {.p = p, .shelf = STORE_HELD};
    flush_ledger_each(p->ledger, zero_counts, NULL);
    if (store_letter_counts(p->options.store, STORE_DEAD, count_letters, &dead, &e) != 0 ||
        store_letter_counts(p->options.store, STORE_HELD, count_letters, &held, &e) != 0)
        return;
    flush_ledger_each(p->ledger, show_counts, NULL);
    p->held_stored = held.bytes;
}

/* ---- once a second ---- */

struct show {
    const struct planner *p;
    uint64_t wall, backlog_rows;
};

static void show_table(void *ctx, struct flush_table *t)
{
    struct show *show = ctx;
    uint64_t wall = show->wall, oldest;
    uint64_t rows = flush_table_pending(t, &oldest);
    if (rows == 0 && !t->pending_shown)
        return;
    struct table_metrics *m = metrics_of(t);
    metric_set(m->pending, (int64_t)rows);
    metric_set(m->oldest, rows > 0 && oldest > 0 && wall > oldest
                              ? (int64_t)((wall - oldest) / 1000000000u)
                              : 0);
    if (rows > 0 && planner_is_stale(show->p, oldest, wall))
        show->backlog_rows += rows;
    t->pending_shown = rows > 0;
}

/* Once a second: how full the log is, and for how long it will do. */
static void spool_turn(struct planner *p, uint64_t now)
{
    struct flush_spool *s = &p->spool;
    uint64_t capacity = wal_capacity(p->options.wal);
    if (flush_spool_step(s, now, flush_ledger_totals(p->ledger).bytes, capacity, p->reachable))
        log_warn("spool.filling",
                 "bytes=%" PRIu64 " of %" PRIu64
                 " hours_left=%.1f: the log fills up while ClickHouse is away; then events are "
                 "refused with 503. Bring ClickHouse back, or raise wal.max_bytes",
                 s->bytes, s->capacity, s->hours_left);
    metric_set(p->gauges.bytes, (int64_t)s->bytes);
    metric_set(p->gauges.capacity, (int64_t)s->capacity);
    metric_set(p->gauges.in, (int64_t)s->in_per_s);
    metric_set(p->gauges.growth, (int64_t)s->growth_per_s);
    metric_set(p->gauges.hours, (int64_t)s->hours_left);
}

/* Once a second: what waited through an outage, and when it will be there. Returns seconds. */
static uint64_t backlog_turn(struct planner *p, uint64_t rows, uint64_t now)
{
    struct flush_pace *pace = &p->pace;
    uint64_t eta_s = flush_pace_progress(pace, rows, now);
    bool worth_a_line = pace->active || rows > p->options.max_rows;
    if (p->reachable && rows > 0 && worth_a_line &&
        (!pace->active || now - pace->said_ns >= PROGRESS_EVERY_NS)) {
        log_info("flush.catching_up",
                 "rows_left=%" PRIu64 " rows_per_second=%.0f eta_s=%" PRIu64 " senders=%" PRIu32,
                 rows, pace->rows_per_s_seen > 0 ? pace->rows_per_s_seen : 0, eta_s, pace->running);
        pace->active = true;
        pace->said_ns = now;
    } else if (pace->active && rows == 0) {
        log_info("flush.caught_up", "what waited is in ClickHouse");
        pace->active = false;
    }
    metric_set(p->gauges.backlog, (int64_t)rows);
    metric_set(p->gauges.eta, (int64_t)eta_s);
    return eta_s;
}

void planner_gauges_make(struct planner *p)
{
    struct planner_gauges *g = &p->gauges;
    g->bytes = metric_new(METRIC_GAUGE, "wavehouse_spool_bytes",
                          "Bytes of the log that records take which are not in ClickHouse", NULL);
    g->capacity = metric_new(METRIC_GAUGE, "wavehouse_spool_capacity_bytes",
                             "Bytes that the log may come to: wal.max_bytes, or the disk's", NULL);
    g->in = metric_new(METRIC_GAUGE, "wavehouse_spool_in_bytes_per_second",
                       "What comes into the log, averaged over ten minutes", NULL);
    g->growth = metric_new(METRIC_GAUGE, "wavehouse_spool_growth_bytes_per_second",
                           "How fast wavehouse_spool_bytes grows, averaged alike", NULL);
    g->hours = metric_new(METRIC_GAUGE, "wavehouse_spool_hours_left",
                          "How long ClickHouse can stay away at that rate", NULL);
    g->backlog = metric_new(METRIC_GAUGE, "wavehouse_flush_backlog_records",
                            "Records of tables that are behind by more than half a minute", NULL);
    g->eta = metric_new(METRIC_GAUGE, "wavehouse_flush_backlog_eta_seconds",
                        "Until they are in ClickHouse, at the present speed; 0: unknown", NULL);
}

void planner_publish(struct planner *p, uint64_t now)
{
    planner_publish_shelf(p);
    struct flush_totals totals = flush_ledger_totals(p->ledger);
    struct show show = {.p = p, .wall = io_realtime_ns()};
    bool second = now >= p->metrics_ns;
    uint64_t backlog_rows = p->stats.backlog_rows, eta_s = p->stats.backlog_eta_s;
    if (second) {
        p->metrics_ns = now + METRICS_EVERY_NS;
        flush_ledger_each(p->ledger, show_table, &show);
        if (p->replayed)
            spool_turn(p, now);
        backlog_rows = show.backlog_rows;
        eta_s = backlog_turn(p, backlog_rows, now);
    }
    const struct flush_spool *spool = &p->spool;
    (void)pthread_mutex_lock(&p->lock);
    p->stats = (struct flush_stats){.pending_rows = totals.rows,
                                    .pending_bytes = totals.bytes,
                                    .open_plans = totals.open_plans,
                                    .applied_index = p->applied_index,
                                    .low_index = p->stored.low_index,
                                    .replayed = p->replayed,
                                    .reachable = p->reachable,
                                    .stalled = p->stalled,
                                    .spool_bytes = spool->bytes,
                                    .spool_capacity = spool->capacity,
                                    .spool_in_per_s = spool->in_per_s,
                                    .spool_growth_per_s = spool->growth_per_s,
                                    .spool_hours_left = spool->hours_left,
                                    .backlog_rows = backlog_rows,
                                    .backlog_eta_s = eta_s};
    (void)pthread_mutex_unlock(&p->lock);
}
