/* SPDX-License-Identifier: Apache-2.0 */
/* The planner thread: reads the committed log into the ledger, cuts plans, hands jobs to senders,
 * keeps positions and dead letters in the store (planner_store.c), says how it stands
 * (planner_show.c). See doc/flush.md.
 *
 * One turn: take messages → read the log to its end → act on what is due → store (at most once a
 * second) → sleep until a commit, a message or the next due time. A table is looked at again when
 * everything is read that a sender had committed before it gave its job back. */
#include "flush/planner.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "flush/scan.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS        1000000u
#define TURN_ENTRIES_MAX 16384 /* entries read before messages are looked at again */
#define TURN_NAP_MS      2     /* after a turn with entries: many commits make one turn */
#define SCHEMA_AGAIN_NS  1000000000u
#define SCHEMA_ATTEMPTS  4  /* then the rows of a dropped table become dead letters */
#define BUG_ATTEMPTS     4  /* then an answer that we do not understand is bisected */
#define PARTS_BACKOFF    10 /* × retry_min after TOO_MANY_PARTS: merges take their time */
#define PROPOSE_AGAIN_NS 1000000000u

/* ---- small things ---- */

static uint64_t rnd(struct planner *p)
{
    uint64_t x = p->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return p->random = x;
}

/* ---- reading the log ---- */

static void alarm_entry(uint64_t index, const char *what)
{
    log_error("flush.bad_entry", "index=%" PRIu64 ": %s; the entry is skipped", index, what);
}

/* Count the oldest run of a table again: after a restart it reached over a plan's end. */
static int recount(struct planner *p, struct flush_table *t, struct err *e)
{
    struct flush_run *run = flush_table_oldest(t);
    struct flush_scan scan;
    struct flush_scan_entry entry;
    uint64_t rows = 0, bytes = 0;
    struct flush_span span = {run->first, run->last};
    int rc = flush_scan_open(&scan, p->options.wal, flush_table_name(t), &span, 1, e);
    while (rc == 0 && (rc = flush_scan_next(&scan, &entry, e)) == 0) {
        rows += entry.batch.count;
        bytes += entry.batch.text.len;
    }
    flush_scan_close(&scan);
    if (rc != WH_EEND)
        return rc;
    flush_ledger_recount(p->ledger, t, rows, bytes);
    return 0;
}

/* Does somebody wait for this entry? Then its table is flushed soon. */
static void watch_entry(struct planner *p, uint64_t index, const struct wal_batch *batch)
{
    if (batch->count == 0)
        return;
    uint64_t first_ns = wal_batch_get(batch, 0).received_ns;
    if ((batch->flags & WAL_BATCH_HELD) != 0) {
        flush_watch_held(&p->watches, first_ns);
        return;
    }
    struct flush_table *t = flush_ledger_table(p->ledger, batch->table);
    if (t != NULL && flush_watch_attach(&p->watches, first_ns, index, &t->watches))
        flush_ledger_want(p->ledger, t);
}

static int read_events(struct planner *p, const struct wal_view *v, uint64_t now)
{
    struct wal_batch batch;
    struct err e = {0};
    if (wal_batch_parse(v->payload, &batch, &e) != 0) {
        alarm_entry(v->index, e.text);
        return 0;
    }
    if (v->index > p->stored.applied_index) {
        int rc = flush_shelf_events(&p->shelf, v, &batch);
        if (rc != 0)
            return rc;
    }
    int rc = 0;
    if ((batch.flags & WAL_BATCH_HELD) == 0) {
        flush_spool_entry(&p->spool, v->payload.len, batch.text.len);
        rc = flush_ledger_events(p->ledger, v->index, batch.table, batch.count, batch.text.len,
                                 v->time_ns, now);
    }
    if (rc == 0 && flush_watches_any(&p->watches))
        watch_entry(p, v->index, &batch);
    return rc;
}

static int read_plan(struct planner *p, const struct wal_view *v, uint64_t now, struct err *e)
{
    enum flush_plan_kind kind;
    struct flush_plan plan;
    struct flush_progress progress;
    struct flush_table *t = NULL;
    int rc = flush_plan_kind(v->payload, &kind, e);
    if (rc == 0 && kind == FLUSH_KIND_PROGRESS) {
        rc = flush_progress_get(v->payload, &progress, e);
        return rc == 0 ? flush_ledger_progress(p->ledger, &progress) : rc;
    }
    if (rc == 0)
        rc = flush_plan_get(v->payload, &plan, e);
    if (rc == 0)
        rc = flush_ledger_plan(p->ledger, v->index, &plan, now, &t);
    return rc == 0 && t->recount ? recount(p, t, e) : rc;
}

static int read_done(struct planner *p, const struct wal_view *v, struct err *e)
{
    struct flush_done done;
    struct flush_table *t = NULL;
    int rc = flush_done_get(v->payload, &done, e);
    if (rc == 0)
        rc = flush_ledger_done(p->ledger, &done, &t);
    if (rc == 0)
        p->dirty = true;
    if (rc == 0 && t->watches.first != NULL &&
        flush_watch_flushed(&p->watches, &t->watches, t->through))
        flush_ledger_want(p->ledger, t);
    return rc == 0 && t->recount ? recount(p, t, e) : rc;
}

static void watch_dead(struct planner *p, const struct flush_dead *dead)
{
    struct flush_dead at = *dead;
    struct flush_dead_item item;
    while (flush_dead_next(&at, &item, NULL) == 0)
        if (dead->fate == FLUSH_FATE_HELD)
            flush_watch_put_aside(&p->watches, item.index);
        else
            flush_watch_dead_letter(&p->watches, item.index, item.ordinal, item.code, item.text,
                                    dead->fate == FLUSH_FATE_DROPPED);
}

static int read_dead(struct planner *p, const struct wal_view *v, struct err *e)
{
    struct flush_dead dead;
    int rc = flush_dead_get(v->payload, &dead, e);
    if (rc != 0)
        return rc;
    rc = flush_ledger_dead(p->ledger, &dead);
    if (rc < 0)
        return rc;
    int fate = rc;
    rc = v->index > p->stored.applied_index ? flush_shelf_dead(&p->shelf, v) : 0;
    /* Last: after a failure the entry is read again. */
    if (rc == 0 && fate == 0 && flush_watches_any(&p->watches))
        watch_dead(p, &dead);
    return rc;
}

static int read_entry(struct planner *p, const struct wal_view *v, uint64_t now, struct err *e)
{
    int rc = 0;
    switch (v->type) {
    case WAL_EVENTS:
        rc = read_events(p, v, now);
        break;
    case WAL_FLUSH_PLAN:
        rc = read_plan(p, v, now, e);
        break;
    case WAL_FLUSH_DONE:
        rc = read_done(p, v, e);
        break;
    case WAL_DEAD_LETTER:
        rc = read_dead(p, v, e);
        break;
    case WAL_CONTROL:
        if (v->index > p->stored.applied_index)
            rc = flush_shelf_control(&p->shelf, v);
        break;
    default:
        break;
    }
    /* A payload of ours that does not parse: it cannot get better, and it must not stop the rest.
     */
    if (rc == WH_ECORRUPT && v->type != WAL_EVENTS) {
        alarm_entry(v->index, e->text);
        rc = 0;
    }
    return rc < 0 ? rc : 0;
}

/* Up to the commit mark, or TURN_ENTRIES_MAX; *more when there is more. Returns entries read. */
static uint32_t read_log(struct planner *p, uint64_t now, bool *more)
{
    struct wal_view v;
    struct err e = {0};
    uint32_t n = 0;
    int rc = 0;
    *more = false;
    while (n < TURN_ENTRIES_MAX && !planner_shelf_full(p)) {
        if (p->reread) /* memory ran out on the entry before: the cursor stands behind it */
            rc = wal_cursor_seek(p->cursor, p->applied_index + 1, &e);
        if (rc == 0)
            rc = wal_cursor_next(p->cursor, &v, &e);
        p->reread = rc != 0 && rc != WH_EEND;
        if (rc == 0 && (rc = read_entry(p, &v, p->replayed ? now : 0, &e)) != 0)
            p->reread = true;
        if (rc != 0)
            break;
        p->applied_index = v.index;
        n++;
    }
    *more = rc == 0 && n == TURN_ENTRIES_MAX;
    bool stalled = rc != 0 && rc != WH_EEND;
    if (stalled && !p->stalled)
        log_error("flush.stalled",
                  "index=%" PRIu64
                  ": %s; nothing after it reaches ClickHouse until this entry can be "
                  "read; it is tried again every second",
                  p->applied_index + 1, e.text[0] != '\0' ? e.text : err_text(rc));
    p->stalled = stalled;
    if (rc == WH_EEND && !p->replayed) {
        p->replayed = true;
        p->replayed_index = p->applied_index;
        log_info("flush.replayed", "index=%" PRIu64 " pending_rows=%" PRIu64 " open_plans=%" PRIu64,
                 p->applied_index, flush_ledger_totals(p->ledger).rows,
                 flush_ledger_totals(p->ledger).open_plans);
    }
    return n;
}

/* ---- plans ---- */

static uint64_t fingerprint_of(struct planner *p, struct slice table)
{
    struct schema_catalog *c = p->options.catalog(p->options.ctx);
    const struct schema_table *t = c != NULL ? schema_catalog_find(c, table) : NULL;
    uint64_t fingerprint = t != NULL ? t->fingerprint : 0;
    schema_catalog_unref(c);
    return fingerprint;
}

static void propose_plan(struct planner *p, struct flush_table *t, uint64_t now)
{
    struct flush_plan plan = {0};
    char token[64 + LIMIT_NAME_BYTES + 64];
    struct flush_proposal *fp = calloc(1, sizeof(*fp));
    flush_ledger_cut(p->ledger, t, now, &plan);
    if (fp == NULL) {
        flush_ledger_cut_failed(p->ledger, t, now + PROPOSE_AGAIN_NS);
        return;
    }
    int n = snprintf(token, sizeof(token), "%s/%.*s/%" PRIu64 "-%" PRIu64, p->options.cluster,
                     SLICE_ARG(plan.table), plan.first, plan.last);
    must(n > 0 && (size_t)n < sizeof(token));
    plan.token = (struct slice){token, (size_t)n};
    plan.fingerprint = fingerprint_of(p, plan.table);
    buf_init(&fp->payload, SIZE_MAX);
    flush_plan_put(&fp->payload, &plan);
    fp->owner = t;
    int rc = buf_ok(&fp->payload) ? flush_propose(p->options.commit, fp, WAL_FLUSH_PLAN, &p->queue)
                                  : -ENOMEM;
    if (rc == 0) {
        p->proposals++;
        return;
    }
    buf_fini(&fp->payload);
    free(fp);
    flush_ledger_cut_failed(p->ledger, t, now + PROPOSE_AGAIN_NS);
}

static void plan_decided(struct planner *p, struct flush_proposal *fp, uint64_t now)
{
    p->proposals--;
    if (fp->p.result != 0) {
        static struct log_limit limit = LOG_LIMIT(60);
        uint64_t dropped;
        struct flush_table *t = fp->owner;
        if (fp->p.result != WH_ESTOPPED && log_limit_pass(&limit, &dropped))
            log_warn("flush.log_full",
                     "table=%s: no room for a flush plan (%s); tried again every second; "
                     "repeated=%" PRIu64,
                     t->name, err_text(fp->p.result), dropped);
        flush_ledger_cut_failed(p->ledger, t, now + PROPOSE_AGAIN_NS);
    }
    buf_fini(&fp->payload);
    free(fp);
}

/* ---- jobs ---- */

static int job_units(struct flush_job *job, const struct flush_open *o)
{
    uint32_t n = o->units != NULL ? o->unit_count : flush_piece_count(o->rows, o->piece_rows);
    int rc = flush_rows_reserve(&job->units, &job->unit_cap, n);
    if (rc != 0)
        return rc;
    job->unit_count = n;
    for (uint32_t i = 0; i < n && o->units != NULL && rc == 0; i++)
        rc = flush_rows_copy(&job->units[i], &o->units[i]);
    if (o->units != NULL)
        return rc;
    /* Piece by piece, the first on top of the stack. */
    uint32_t piece = o->piece_rows != 0 ? o->piece_rows : o->rows;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        struct flush_range range = {i * piece, i + 1 < n ? (i + 1) * piece : o->rows};
        struct flush_rows rows = {.ranges = &range,
                                  .range_count = 1,
                                  .range_cap = 1,
                                  .count = range.hi - range.lo};
        rc = flush_rows_minus(&job->units[n - 1 - i], &rows, &o->dead);
    }
    return rc;
}

static uint32_t senders_at_work_max(const struct planner *p)
{
    uint32_t n = p->options.max_open_conns;
    return n < 1 ? 1 : n > p->sender_count ? p->sender_count : n;
}

/* Everything that a sender needs to know of the table's open plan, copied: the ledger may move on.
 */
static int job_fill(struct planner *p, struct flush_job *job, struct flush_table *t)
{
    const struct flush_open *o = t->open;
    char *token = strdup(o->token);
    struct flush_span *spans = malloc((o->span_count + 1) * sizeof(*spans));
    if (token == NULL || spans == NULL || job_units(job, o) != 0) {
        free(token);
        free(spans);
        return -ENOMEM;
    }
    free(job->token);
    free(job->spans);
    job->token = token;
    job->spans = memcpy(spans, o->spans, o->span_count * sizeof(*spans));
    job->span_count = o->span_count;
    job->owner = t;
    job->plan = (struct flush_plan){.table = flush_table_name(t),
                                    .token = slice_str(token),
                                    .first = o->first,
                                    .last = o->last,
                                    .bytes = o->bytes,
                                    .fingerprint = o->fingerprint,
                                    .rows = o->rows};
    job->plan_index = o->index;
    job->dead = o->dead.count;
    job->doubt = t->doubt;
    if (job->doubt.plan_index != o->index)
        job->doubt =
            (struct flush_doubt){.plan_index = o->index, .all = o->index <= p->replayed_index};
    job->give_up = t->schema_attempts >= SCHEMA_ATTEMPTS;
    job->as_data = t->outcome == CH_BUG && t->attempts >= BUG_ATTEMPTS;
    job->dlq_enabled =
        p->options.dlq == NULL || p->options.dlq(p->options.ctx, flush_table_name(t));
    job->hold = p->options.hold != NULL && p->options.hold(p->options.ctx, flush_table_name(t));
    job->warn_window = !t->window_warned;
    job->overlap = 2 * senders_at_work_max(p) <= p->options.max_open_conns;
    job->target = ch_target_ref(p->options.clickhouse);
    return 0;
}

/* That are still to be sent. */
static uint32_t job_rows(const struct flush_job *job)
{
    uint32_t rows = 0;
    for (uint32_t i = 0; i < job->unit_count; i++)
        rows += job->units[i].count;
    return rows;
}

bool planner_is_stale(const struct planner *p, uint64_t oldest_ns, uint64_t wall)
{
    uint64_t usual = FLUSH_STALE_NS + 2 * p->options.interval_ms * NS_PER_MS;
    return oldest_ns != 0 && wall > oldest_ns && wall - oldest_ns > usual;
}

/* The first table in line that may have a sender, and the one before it: fresh plans pass backlog
 * that must wait (flush/pace.h). NULL: none may. */
static struct flush_table *next_ready(struct planner *p, uint64_t now, uint64_t *next_ns,
                                      struct flush_table **before, bool *backlog)
{
    uint64_t wall = io_realtime_ns();
    bool may = flush_pace_may(&p->pace, senders_at_work_max(p), now, next_ns);
    *before = NULL;
    for (struct flush_table *t = p->ready; t != NULL; *before = t, t = t->ready_next) {
        *backlog = planner_is_stale(p, t->open->time_ns, wall);
        if (may || !*backlog)
            return t;
    }
    return NULL;
}

/* The sender that worked last is taken first, so with fewer at work than there are, the others stay
 * idle and give their connections back. */
static void dispatch(struct planner *p, uint64_t now, uint64_t *next_ns)
{
    while (p->ready != NULL && p->sender_count - p->idle_count < senders_at_work_max(p)) {
        if (!p->reachable && (p->idle_count < p->sender_count || now < p->probe_ns))
            return; /* one probe at a time while ClickHouse is away */
        struct flush_table *before;
        bool backlog;
        struct flush_table *t = next_ready(p, now, next_ns, &before, &backlog);
        if (t == NULL)
            return;
        struct flush_sender *s = p->idle[p->idle_count - 1];
        struct flush_job *job = flush_sender_job(s);
        if (job_fill(p, job, t) != 0)
            return; /* out of memory: the next turn tries again */
        if (before == NULL)
            p->ready = t->ready_next;
        else
            before->ready_next = t->ready_next;
        if (p->ready_last == t)
            p->ready_last = before;
        p->idle_count--;
        flush_ledger_running(p->ledger, t);
        job->sender = s;
        job->backlog = backlog;
        if (backlog)
            flush_pace_begin(&p->pace, job->paced = job_rows(job), now);
        flush_sender_give(s);
    }
}

static void make_ready(struct planner *p, struct flush_table *t)
{
    flush_ledger_ready(p->ledger, t);
    t->ready_next = NULL;
    if (p->ready == NULL)
        p->ready = t;
    else
        p->ready_last->ready_next = t;
    p->ready_last = t;
}

/* Returns when to look again. */
static uint64_t act(struct planner *p, uint64_t now)
{
    uint64_t next = UINT64_MAX;
    struct flush_table *t;
    while (p->replayed && !p->stopping && (t = flush_ledger_due(p->ledger, now, &next)) != NULL) {
        if (t->phase == FLUSH_WAITING)
            make_ready(p, t);
        else
            propose_plan(p, t, now);
    }
    if (!p->stopping)
        dispatch(p, now, &next);
    atomic_store(&p->crowded, p->ready != NULL || p->outdated_jobs > 0);
    if (!p->reachable && p->ready != NULL && p->idle_count == p->sender_count && p->probe_ns < next)
        next = p->probe_ns;
    return next;
}

/* ---- results ---- */

/* Whoever waits out a backoff is tried at once. */
static void hurry(struct planner *p)
{
    for (struct flush_table *t = p->landed; t != NULL; t = t->ready_next)
        t->landed_until_ns = 0;
    flush_ledger_hurry(p->ledger);
}

static void set_reachable(struct planner *p, bool reachable, const struct flush_job *job)
{
    if (reachable && !p->reachable) {
        log_info("clickhouse.recovered", "after %u attempts", p->down_attempts);
        flush_pace_restart(&p->pace);
        hurry(p);
    } else if (!reachable && job->outcome == CH_CONFIG && p->down_outcome != CH_CONFIG) {
        log_error("clickhouse.refused",
                  "code=%d: %s; check clickhouse.username and clickhouse.password; events are kept "
                  "in the log and sent later",
                  job->code, job->text);
    } else if (!reachable && p->down_outcome == CH_OK) {
        log_warn("clickhouse.unreachable",
                 "class=%s code=%d: %s; events are kept in the log and sent later",
                 ch_outcome_name(job->outcome), job->code, job->text);
    }
    p->reachable = reachable;
    if (reachable)
        p->down_outcome = CH_OK;
    else if (p->down_outcome != CH_CONFIG)
        p->down_outcome = job->outcome;
}

static void count_retry(const struct flush_table *t, const char *reason)
{
    struct buf label;
    planner_table_label(&label, t);
    metric_add(metric_new(METRIC_COUNTER, "wavehouse_ingest_retries_total",
                          "Inserts that will be tried again", "table=\"%s\",reason=\"%s\"",
                          label.ptr, reason),
               1);
    buf_fini(&label);
}

/* Only when the schema was asked for again since the last one: rows do not become dead letters
 * because discovery fails. */
static void count_schema_attempt(struct planner *p, struct flush_table *t)
{
    uint64_t refreshes = p->options.refreshes(p->options.ctx);
    if (refreshes == t->schema_refreshes)
        return;
    t->schema_refreshes = refreshes;
    t->schema_attempts++;
}

/* After a job that must come again: when. */
static uint64_t retry_after(struct planner *p, struct flush_table *t, const struct flush_job *job)
{
    const struct flush_options *o = &p->options;
    if (job->result == FLUSH_RESULT_LOG)
        return PROPOSE_AGAIN_NS;
    if (job->no_schema) /* discovery has its own backoff; be there when it is through */
        return SCHEMA_AGAIN_NS;
    if (job->stored > 0) /* a plan in pieces moves on: the next trouble is a new one */
        t->attempts = 0;
    t->attempts++;
    if (job->outcome == CH_SCHEMA && job->reached)
        count_schema_attempt(p, t);
    uint64_t wait = flush_backoff_ns(o->retry_min_ms, o->retry_max_ms, t->attempts, rnd(p));
    uint64_t parts = PARTS_BACKOFF * o->retry_min_ms;
    if (job->outcome == CH_TOO_MANY_PARTS && wait < parts * NS_PER_MS)
        wait = flush_backoff_ns(parts, parts, 1, rnd(p));
    if (job->outcome == CH_CONFIG)
        wait = flush_backoff_ns(o->retry_max_ms, o->retry_max_ms, 1, rnd(p));
    return wait;
}

static void log_outcome(struct flush_table *t, const struct flush_job *job, uint64_t wait_ns)
{
    bool passing = job->outcome == CH_UNAVAILABLE || job->outcome == CH_UNKNOWN_FATE;
    if (t->outcome == (int)job->outcome || (passing && t->attempts < 2))
        return; /* a single cut connection is no news */
    if (job->outcome == CH_OK)
        log_info("flush.table_recovered", "table=%s rows=%u", t->name, job->stored);
    else if (job->outcome == CH_CONFIG)
        log_error("flush.table_refused",
                  "table=%s code=%d: %s; check the user's rights, nothing is dropped meanwhile",
                  t->name, job->code, job->text);
    else
        log_warn("flush.table_failing",
                 "table=%s class=%s code=%d attempt=%u next_ms=%" PRIu64 ": %s", t->name,
                 ch_outcome_name(job->outcome), job->code, t->attempts, wait_ns / NS_PER_MS,
                 job->text);
    t->outcome = (int)job->outcome;
}

/* What the job has committed may not be read yet: then the ledger does not know that its rows are
 * done, and they would be sent again. */
static void table_landed(struct planner *p, const struct flush_job *job, uint64_t until_ns)
{
    struct flush_table *t = job->owner;
    t->landed_index = job->last_index;
    t->landed_until_ns = until_ns;
    t->ready_next = p->landed;
    p->landed = t;
}

/* Tables whose job has ended and is read to its end. */
static void landed_end(struct planner *p)
{
    struct flush_table **at = &p->landed, *t;
    while ((t = *at) != NULL) {
        if (t->landed_index > p->applied_index) {
            at = &t->ready_next;
            continue;
        }
        *at = t->ready_next;
        flush_ledger_ended(p->ledger, t, t->landed_until_ns);
    }
}

static void job_ended(struct planner *p, struct flush_job *job, uint64_t now)
{
    struct flush_table *t = job->owner;
    uint64_t wait = 0;
    bool outdated = job->target != p->options.clickhouse;
    p->outdated_jobs -= outdated;
    ch_target_unref(job->target);
    job->target = NULL;
    t->doubt = job->doubt;
    p->idle[p->idle_count++] = job->sender;
    if (job->backlog)
        flush_pace_end(&p->pace, job->result == FLUSH_RESULT_DONE ? 0 : job->paced - job->stored,
                       job->result == FLUSH_RESULT_DONE);
    if (outdated && job->result == FLUSH_RESULT_RETRY) {
        /* It says nothing about the ClickHouse that is in force now. */
        table_landed(p, job, now);
        return;
    }
    if (job->reached) {
        t->window_warned = true;
        set_reachable(p, true, job);
        p->down_attempts = 0;
    }
    if (job->result == FLUSH_RESULT_DONE) {
        job->outcome = CH_OK;
        log_outcome(t, job, 0);
    } else if (job->result == FLUSH_RESULT_RETRY && !job->reached) {
        set_reachable(p, false, job);
        p->down_attempts++;
        wait = flush_backoff_ns(p->options.retry_min_ms, p->options.retry_max_ms, p->down_attempts,
                                rnd(p));
        p->probe_ns = now + wait;
        wait = 0; /* the probe time holds it back, and everybody else */
        count_retry(t, ch_outcome_name(job->outcome));
    } else if (job->result != FLUSH_RESULT_YIELD) {
        wait = retry_after(p, t, job);
        count_retry(t, job->result == FLUSH_RESULT_LOG ? "log" : ch_outcome_name(job->outcome));
        if (job->result == FLUSH_RESULT_RETRY)
            log_outcome(t, job, wait);
    }
    table_landed(p, job, now + wait);
}

static void answer_offsets(struct planner *p, struct flush_offsets *q)
{
    uint64_t first = UINT64_MAX;
    if (q->table.len == 0) {
        first = flush_ledger_low(p->ledger, UINT64_MAX);
        q->pending_rows = flush_ledger_totals(p->ledger).rows;
    } else {
        const struct flush_table *t = flush_ledger_find(p->ledger, q->table);
        if (t != NULL) {
            first = flush_table_first(t);
            q->pending_rows = flush_table_pending(t, &q->oldest_ns);
        }
    }
    q->flushed = !p->replayed ? 0 : first <= p->applied_index ? first - 1 : p->applied_index;
    queue_push(q->done, &q->msg.link);
}

static void take_messages(struct planner *p, uint64_t now)
{
    struct queue_link *link;
    while ((link = queue_pop(&p->queue)) != NULL) {
        struct flush_msg *m = QUEUE_ITEM(link, struct flush_msg, link);
        if (m->kind == FLUSH_MSG_JOB)
            job_ended(p, QUEUE_ITEM(link, struct flush_job, msg.link), now);
        else if (m->kind == FLUSH_MSG_OFFSETS)
            answer_offsets(p, QUEUE_ITEM(link, struct flush_offsets, msg.link));
        else
            plan_decided(p, QUEUE_ITEM(link, struct flush_proposal, msg.link), now);
    }
}

/* ---- settings ---- */

static void forgive_table(void *ctx, struct flush_table *t)
{
    (void)ctx;
    t->attempts = 0;
    t->schema_attempts = 0;
}

/* Another ClickHouse, or another way in: try at once, and count attempts anew. */
static void retarget(struct planner *p, struct ch_target *target)
{
    ch_target_unref(p->options.clickhouse);
    p->options.clickhouse = target;
    p->outdated_jobs = p->sender_count - p->idle_count;
    p->down_attempts = 0;
    p->down_outcome = CH_OK;
    p->probe_ns = 0;
    flush_pace_restart(&p->pace);
    flush_ledger_each(p->ledger, forgive_table, NULL);
    hurry(p);
}

static void take_reload(struct planner *p)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->reload) {
        struct flush_options *o = &p->options, *n = &p->next_options;
        if (n->clickhouse == o->clickhouse)
            ch_target_unref(n->clickhouse);
        else
            retarget(p, n->clickhouse);
        o->max_open_conns = n->max_open_conns;
        o->interval_ms = n->interval_ms;
        o->max_rows = n->max_rows;
        o->max_bytes = n->max_bytes;
        o->retry_min_ms = n->retry_min_ms;
        o->retry_max_ms = n->retry_max_ms;
        o->retain_ms = n->retain_ms;
        o->catch_up_rows_per_s = p->pace.rows_per_s = n->catch_up_rows_per_s;
        o->dlq_max_bytes = n->dlq_max_bytes;
        struct flush_rules rules = flush_rules_of(o);
        flush_ledger_set_rules(p->ledger, &rules);
        p->reload = false;
        p->trim_dlq = true;
    }
    (void)pthread_mutex_unlock(&p->lock);
}

struct flush_rules flush_rules_of(const struct flush_options *o)
{
    return (struct flush_rules){.interval_ns = o->interval_ms * NS_PER_MS,
                                .max_rows = o->max_rows,
                                .max_bytes = o->max_bytes,
                                .spacing_ns = (uint64_t)FLUSH_SPACING_MS * NS_PER_MS,
                                .eager_rows = FLUSH_EAGER_ROWS,
                                .wanted_ns = (uint64_t)FLUSH_WANTED_MS * NS_PER_MS};
}

/* ---- the loop ---- */

static void wait_for_work(struct planner *p, uint64_t next_ns, bool busy)
{
    if (busy)
        (void)poll(NULL, 0, TURN_NAP_MS);
    if (!queue_sleep(&p->queue))
        return;
    uint64_t now = io_monotonic_ns();
    uint64_t wait_ms = next_ns <= now ? 0 : (next_ns - now) / NS_PER_MS + 1;
    /* A commit between the last read and queue_sleep woke nobody. */
    if (!p->stalled && !planner_shelf_full(p) &&
        wal_commit_index(p->options.wal) > p->applied_index)
        wait_ms = 0;
    struct pollfd fd = {.fd = queue_fd(&p->queue), .events = POLLIN};
    (void)poll(&fd, 1, wait_ms > 1000 ? 1000 : (int)wait_ms);
    queue_wake_ack(&p->queue);
}

static bool finished(struct planner *p)
{
    return p->stopping && p->idle_count == p->sender_count && p->proposals == 0;
}

void planner_run(struct planner *p)
{
    bool more = false;
    for (;;) {
        uint64_t now = io_monotonic_ns();
        p->stopping = atomic_load(&p->stop);
        take_reload(p);
        take_messages(p, now);
        uint32_t n = read_log(p, now, &more);
        landed_end(p);
        uint64_t next = act(p, now);
        bool was_full = planner_shelf_full(p);
        more = (planner_store_turn(p, now) && was_full) || more;
        planner_tell_fold(p);
        planner_publish(p, now);
        if (finished(p))
            break;
        if (planner_store_due(p) && p->store_ns < next)
            next = p->store_ns;
        if (!more)
            wait_for_work(p, next, n > 0);
    }
    (void)read_log(p, io_monotonic_ns(), &more);
    if (p->replayed && p->applied_index > p->stored.applied_index)
        (void)planner_store(p);
    planner_tell_fold(p);
    planner_publish(p, io_monotonic_ns());
    take_messages(p, io_monotonic_ns()); /* the loops have ended: no question comes after these */
    flush_watches_stop(&p->watches);
}
