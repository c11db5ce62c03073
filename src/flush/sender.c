/* SPDX-License-Identifier: Apache-2.0 */
/* A sender: one thread, one client of ClickHouse (insert.h), one job at a time (doc/flush.md,
 * "Sending"). While it sends a unit, its helper may build the next one (ahead.h).
 *
 * The job's units lie on a stack. A unit is built into groups (build.h); what the encoder refuses
 * is dead-lettered and committed before anything is sent; then each group is one INSERT whose token
 * names its rows. A group that ClickHouse refuses for its data is cut in halves, which go back on
 * the stack after a progress entry with the whole stack is committed: from then on a restart knows
 * the same units. Any trouble that may pass ends the job; the planner gives it again later. */
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "flush/ahead.h"
#include "flush/insert.h"
#include "flush/job.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_MAGIC     0x53454e44u
#define DEAD_ENTRY_BYTES (64 * KIB)  /* a dead letter entry is closed beyond this */
#define YIELD_NS         2000000000u /* a job gives way to others, or at least says how far it is */
#define IDLE_RELEASE_MS                                                                          \
    10000                     /* without work for so long, buffers and connection are given back \
                               */
#define AHEAD_ROWS_MIN   1000 /* smaller units are built in no time */
#define PROPOSE_RETRY_MS 5
#define PROPOSE_TRIES    400
#define DOUBT_REFUSALS   4 /* so often rows that may be stored are sent again as they are */

struct flush_sender {
    uint32_t magic;
    struct flush_sender_options options;
    struct queue queue;
    pthread_t thread;
    _Atomic bool stop;
    struct flush_job job;
    struct flush_proposal proposal; /* one at a time */
    struct flush_client client;
    struct flush_build builds[2]; /* at hand, and the helper's; they change places */
    struct flush_build *build, *other;
    struct flush_ahead *ahead; /* NULL: not made yet */
    struct flush_rows unit, left, right;
    struct flush_source source; /* of the job at hand */
    struct flush_mark mark;     /* in its plan */
    struct dead_items {
        uint32_t count;       /* items in the payload */
        int32_t code;         /* of the first of them */
        enum flush_fate fate; /* of all of them */
    } dead, ahead_dead;       /* in proposal.payload; in ahead_payload */
    struct buf ahead_payload;
    bool split;   /* halves on the stack that no progress entry knows */
    bool unsaved; /* the stack differs from what a restart would find */
    uint64_t started_ns;
};

/* Ends of a step, besides 0. */
enum {
    STEP_RETRY = 1,
    STEP_LOG = 2
};

/* ---- proposals ---- */

static void on_decided(struct proposal *p)
{
    struct flush_proposal *fp =
        (struct flush_proposal *)(void *)((char *)p - offsetof(struct flush_proposal, p));
    queue_push(fp->to, &fp->msg.link);
}

int flush_propose(struct commit_log *c, struct flush_proposal *fp, uint8_t type, struct queue *to)
{
    must(buf_ok(&fp->payload));
    fp->msg.kind = FLUSH_MSG_PROPOSAL;
    fp->to = to;
    memset(&fp->p, 0, sizeof(fp->p));
    fp->p.type = type;
    fp->p.parts[0] = (struct iovec){fp->payload.ptr, fp->payload.len};
    fp->p.part_count = 1;
    fp->p.on_done = on_decided;
    return commit_propose(c, &fp->p);
}

/* Wait for the next message. NULL after timeout_ms without one, or when asked to stop. */
static struct flush_msg *next_msg(struct flush_sender *s, int timeout_ms)
{
    for (;;) {
        struct queue_link *link = queue_pop(&s->queue);
        if (link != NULL)
            return QUEUE_ITEM(link, struct flush_msg, link);
        if (!queue_sleep(&s->queue))
            continue;
        struct pollfd fd = {.fd = queue_fd(&s->queue), .events = POLLIN};
        int n = poll(&fd, 1, timeout_ms);
        queue_wake_ack(&s->queue);
        if (n == 0 && queue_count(&s->queue) == 0)
            return NULL;
        if (atomic_load(&s->stop) && timeout_ms >= 0 && queue_count(&s->queue) == 0)
            return NULL;
    }
}

/* Commit what is in proposal.payload. 0 or STEP_LOG; the payload is empty afterwards. */
static int commit_payload(struct flush_sender *s, uint8_t type)
{
    struct flush_proposal *fp = &s->proposal;
    int rc = buf_ok(&fp->payload) ? WH_EFULL : -ENOMEM;
    for (int i = 0; rc == WH_EFULL && i < PROPOSE_TRIES; i++) {
        rc = flush_propose(s->options.flush->commit, fp, type, &s->queue);
        if (rc == WH_EFULL)
            (void)poll(NULL, 0, PROPOSE_RETRY_MS);
    }
    if (rc == 0) {
        struct flush_msg *m = next_msg(s, -1);
        must(m != NULL && m->kind == FLUSH_MSG_PROPOSAL);
        rc = fp->p.result;
    }
    buf_reset(&fp->payload);
    if (rc == 0)
        return 0;
    (void)snprintf(s->job.text, sizeof(s->job.text), "the log takes no entry: %s", err_text(rc));
    return STEP_LOG;
}

static int commit_progress(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    flush_progress_put(&s->proposal.payload, job->plan.table, job->plan_index, job->units,
                       job->unit_count);
    s->unsaved = false;
    return commit_payload(s, WAL_FLUSH_PLAN);
}

static int commit_done(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    struct flush_done done = {.table = job->plan.table,
                              .plan_index = job->plan_index,
                              .first = job->plan.first,
                              .last = job->plan.last,
                              .stored = job->plan.rows - job->dead,
                              .dead = job->dead};
    flush_done_put(&s->proposal.payload, &done);
    return commit_payload(s, WAL_FLUSH_DONE);
}

/* ---- failures ---- */

static int retry(struct flush_sender *s, enum ch_outcome outcome, int32_t code, const char *text)
{
    struct flush_job *job = &s->job;
    job->outcome = outcome;
    job->code = code;
    (void)snprintf(job->text, sizeof(job->text), "%.*s", (int)sizeof(job->text) - 1, text);
    return STEP_RETRY;
}

static int retry_memory(struct flush_sender *s)
{
    return retry(s, CH_UNAVAILABLE, 0, "out of memory");
}

/* What reading the log or the encoder answered. */
static int build_failed(struct flush_sender *s, int rc, const struct err *e)
{
    if (rc > 0)
        return rc; /* one of our own steps */
    if (rc == -ENOMEM || rc == WH_EFULL)
        return retry_memory(s);
    static struct log_limit limit = LOG_LIMIT(60);
    uint64_t dropped;
    if (log_limit_pass(&limit, &dropped))
        log_error("flush.log_unreadable",
                  "table=%s: %s; its rows stay in the log and are tried again; repeated=%" PRIu64,
                  s->job.plan.table.ptr, e->text, dropped);
    return retry(s, CH_BUG, 0, e->text);
}

/* ---- dead letters ---- */

/* Not ClickHouse's text: it quotes the value, and a log line holds no payload. */
static void dead_say(const struct flush_sender *s, uint32_t rows)
{
    static struct log_limit limit = LOG_LIMIT(10), held_limit = LOG_LIMIT(10);
    uint64_t dropped;
    if (s->dead.fate == FLUSH_FATE_DROPPED) {
        log_error("flush.dropped",
                  "table=%s rows=%u: refused by ClickHouse and dlq.enabled is false",
                  s->job.plan.table.ptr, rows);
    } else if (s->dead.fate == FLUSH_FATE_HELD) {
        if (log_limit_pass(&held_limit, &dropped))
            log_warn("flush.held",
                     "table=%s rows=%u: a column that they have is gone; they are held until it is "
                     "back; repeated=%" PRIu64,
                     s->job.plan.table.ptr, rows, dropped);
    } else if (log_limit_pass(&limit, &dropped))
        log_warn("flush.dead_letters",
                 "table=%s rows=%u code=%d: refused for good, kept with the reason beside them; "
                 "repeated=%" PRIu64,
                 s->job.plan.table.ptr, rows, s->dead.code, dropped);
}

static const char *const fate_names[] = {
    [FLUSH_FATE_DEAD] = "dlq", [FLUSH_FATE_DROPPED] = "dropped", [FLUSH_FATE_HELD] = "held"};

static int dead_commit(struct flush_sender *s)
{
    if (s->dead.count == 0)
        return 0;
    uint32_t n = s->dead.count;
    s->dead.count = 0;
    flush_dead_set_count(&s->proposal.payload, n);
    int rc = commit_payload(s, WAL_DEAD_LETTER);
    if (rc != 0)
        return rc;
    struct flush_job *job = &s->job;
    job->dead += n;
    struct buf label;
    buf_init(&label, SIZE_MAX);
    metric_label_escape(&label, job->plan.table);
    buf_put_u8(&label, 0);
    if (buf_ok(&label))
        metric_add(metric_new(METRIC_COUNTER, "wavehouse_ingest_poison_total",
                              "Records that ClickHouse refuses for good",
                              "table=\"%s\",reason=\"%s\",disposition=\"%s\"", label.ptr,
                              job->give_up ? "schema" : "data", fate_names[s->dead.fate]),
                   n);
    buf_fini(&label);
    dead_say(s, n);
    return 0;
}

/* Would the item make the entry too long, or does it belong to another one? */
static bool dead_full(const struct dead_items *dead, const struct buf *payload,
                      const struct flush_dead_item *item, enum flush_fate fate)
{
    return dead->count > 0 &&
           (payload->len + item->record.len > DEAD_ENTRY_BYTES || fate != dead->fate);
}

static int dead_put(const struct flush_job *job, struct dead_items *dead, struct buf *payload,
                    const struct flush_dead_item *item, enum flush_fate fate)
{
    if (dead->count == 0) {
        struct flush_dead head = {.table = job->plan.table,
                                  .plan_index = job->plan_index,
                                  .failed_at_ns = io_realtime_ns(),
                                  .fate = fate};
        buf_reset(payload);
        flush_dead_put_head(payload, &head);
        dead->code = item->code;
        dead->fate = fate;
    }
    flush_dead_put_item(payload, item);
    dead->count++;
    return buf_ok(payload) ? 0 : -ENOMEM;
}

static enum flush_fate dead_item(const struct flush_job *job, const struct flush_row *row,
                                 int32_t code, struct slice text, bool unknown_column,
                                 struct flush_dead_item *item)
{
    enum flush_fate fate = unknown_column && job->hold ? FLUSH_FATE_HELD
                           : job->dlq_enabled          ? FLUSH_FATE_DEAD
                                                       : FLUSH_FATE_DROPPED;
    *item = (struct flush_dead_item){.index = row->index,
                                     .received_ns = row->record.received_ns,
                                     .ordinal = row->ordinal,
                                     .row = row->row,
                                     .code = code,
                                     .text = text,
                                     .sender = row->sender};
    if (fate != FLUSH_FATE_DROPPED)
        item->record = row->record.text;
    return fate;
}

static int on_refused(void *ctx, const struct flush_row *row, int32_t code, struct slice text,
                      bool unknown_column)
{
    struct flush_sender *s = ctx;
    struct flush_dead_item item;
    enum flush_fate fate = dead_item(&s->job, row, code, text, unknown_column, &item);
    if (dead_full(&s->dead, &s->proposal.payload, &item, fate)) {
        int rc = dead_commit(s);
        if (rc != 0)
            return rc;
    }
    return dead_put(&s->job, &s->dead, &s->proposal.payload, &item, fate);
}

/* On the helper's thread, which commits nothing: with more refusals than one entry holds it gives
 * up. Of the job it reads what stays as it is while the job runs. */
static int on_refused_ahead(void *ctx, const struct flush_row *row, int32_t code, struct slice text,
                            bool unknown_column)
{
    struct flush_sender *s = ctx;
    struct flush_dead_item item;
    enum flush_fate fate = dead_item(&s->job, row, code, text, unknown_column, &item);
    if (dead_full(&s->ahead_dead, &s->ahead_payload, &item, fate))
        return WH_EFULL;
    return dead_put(&s->job, &s->ahead_dead, &s->ahead_payload, &item, fate);
}

/* ClickHouse's own words for a key that is no column, in lines that went as JSONEachRow. */
static bool unknown_field(const struct flush_job *job)
{
    return job->outcome == CH_DATA && job->code == 117 &&
           strstr(job->text, "Unknown field") != NULL;
}

static int on_dead_row(void *ctx, const struct flush_row *row)
{
    struct flush_sender *s = ctx;
    return on_refused(ctx, row, s->job.code, slice_str(s->job.text), unknown_field(&s->job));
}

/* Dead-letter these rows with the job's code and text, and commit. */
static int dead_rows(struct flush_sender *s, const struct flush_rows *rows)
{
    struct err e = {0};
    int rc = flush_each_row(&s->source, rows, on_dead_row, s, &e);
    return rc != 0 ? build_failed(s, rc, &e) : dead_commit(s);
}

/* ---- units ---- */

static int unit_push(struct flush_job *job, const struct flush_rows *rows)
{
    if (rows->count == 0)
        return 0;
    if (job->unit_count == job->unit_cap) {
        uint32_t cap = job->unit_cap == 0 ? 8 : job->unit_cap * 2;
        struct flush_rows *units = realloc(job->units, cap * sizeof(*units));
        if (units == NULL)
            return -ENOMEM;
        for (uint32_t i = job->unit_cap; i < cap; i++)
            flush_rows_init(&units[i]);
        job->units = units;
        job->unit_cap = cap;
    }
    int rc = flush_rows_copy(&job->units[job->unit_count], rows);
    if (rc == 0)
        job->unit_count++;
    return rc;
}

/* These rows were sent together and refused for their data. */
static int group_refused(struct flush_sender *s, const struct flush_rows *rows)
{
    if (rows->count == 1)
        return dead_rows(s, rows);
    if (flush_rows_split(rows, &s->left, &s->right) != 0 || unit_push(&s->job, &s->right) != 0)
        return retry_memory(s);
    if (unit_push(&s->job, &s->left) != 0) {
        s->job.unit_count--; /* all of them go back: not a half twice, under another token */
        return retry_memory(s);
    }
    return 0;
}

/* ---- rows that may be stored ---- */

static bool is_refusal(const struct flush_job *job, enum ch_outcome outcome)
{
    return outcome == CH_DATA || outcome == CH_SPLIT_PARTITIONS ||
           (outcome == CH_SCHEMA && job->give_up) || (outcome == CH_BUG && job->as_data);
}

/* Note what an insert's end says of its rows; true when it is a refusal that does not count yet:
 * the rows may be stored from an earlier time, and then halves of them, under tokens of their own,
 * would be stored again. A refusal that passes (the schema was changed, and is changed back) costs
 * a few attempts; one that stays counts in the end. */
static bool doubt_take(struct flush_job *job, const struct flush_rows *rows,
                       enum ch_outcome outcome)
{
    struct flush_doubt *d = &job->doubt;
    uint64_t digest = flush_rows_digest(rows);
    bool same = d->one && d->digest == digest;
    if (is_refusal(job, outcome) && (same || d->all) && d->refusals < DOUBT_REFUSALS) {
        d->refusals++;
        return true;
    }
    if (outcome == CH_UNKNOWN_FATE || outcome == CH_UNAVAILABLE ||
        (outcome == CH_BUG && !job->as_data)) {
        if (!same)
            d->refusals = 0;
        d->one = true;
        d->digest = digest;
        return false;
    }
    if (same)
        d->one = false;
    if (is_refusal(job, outcome))
        d->all = false;
    if (outcome == CH_OK || is_refusal(job, outcome))
        d->refusals = 0;
    return false;
}

/* Send one group (g NULL: the lines in build.body). 0: stored, or cut into halves, or
 * dead-lettered. */
static int group_send(struct flush_sender *s, const struct flush_group *g,
                      const struct flush_rows *rows)
{
    struct flush_job *job = &s->job;
    struct ch_error ce = {0};
    char token[FLUSH_TOKEN_CAP];
    flush_token_of(job, rows, token);
    struct flush_insert in = {.name = job->plan.table,
                              .table = s->source.table,
                              .catalog = s->source.catalog,
                              .group = g,
                              .lines = buf_slice(&s->build->body),
                              .row_count = rows->count,
                              .token = token,
                              .give_up = job->give_up,
                              .as_data = job->as_data,
                              .options = s->options.flush};
    enum ch_outcome outcome = flush_client_insert(&s->client, &in, &ce);
    bool doubted = doubt_take(job, rows, outcome);
    if (outcome == CH_OK) {
        job->stored += rows->count;
        s->unsaved = true;
        return 0;
    }
    int step = retry(s, outcome, ce.code, ce.text);
    if (outcome == CH_SCHEMA || doubted)
        s->options.flush->request_refresh(s->options.flush->ctx);
    if (doubted || !is_refusal(job, outcome))
        return step;
    if (outcome == CH_SCHEMA)
        return dead_rows(s, rows);
    s->split = true;
    s->unsaved = true;
    return group_refused(s, rows);
}

/* Send these rows as JSONEachRow. */
static int lines_send(struct flush_sender *s, const struct flush_rows *rows)
{
    struct err e = {0};
    int rc = flush_build_lines(s->build, &s->source, rows, &e);
    return rc != 0 ? build_failed(s, rc, &e) : group_send(s, NULL, rows);
}

/* The built groups, one after the other. What is left when one meets trouble goes back on the
 * stack. */
static int groups_send(struct flush_sender *s)
{
    uint32_t i;
    int rc = 0;
    for (i = 0; i < s->build->group_count && rc == 0; i++) {
        const struct flush_group *g = s->build->groups[i];
        if (g->rows.count > 0)
            rc = g->block != NULL ? group_send(s, g, &g->rows) : lines_send(s, &g->rows);
    }
    if (rc == STEP_RETRY)
        for (uint32_t k = i - 1; k < s->build->group_count; k++)
            if (unit_push(&s->job, &s->build->groups[k]->rows) != 0)
                return STEP_LOG; /* without a progress entry: the stack is not whole */
    return rc;
}

/* Put the unit back whole, after trouble before any of it was sent. */
static int unit_back(struct flush_sender *s, int step)
{
    return unit_push(&s->job, &s->unit) == 0 ? step : STEP_LOG;
}

/* The unit that comes next is built while this one is sent. */
static void ahead_begin(struct flush_sender *s)
{
    const struct flush_job *job = &s->job;
    if (job->unit_count == 0 || job->units[job->unit_count - 1].count < AHEAD_ROWS_MIN)
        return;
    if (s->ahead == NULL && (s->ahead = flush_ahead_new()) == NULL)
        return;
    struct flush_source src = s->source;
    src.refuse = on_refused_ahead;
    s->ahead_dead.count = 0;
    (void)flush_ahead_start(s->ahead, s->other, &src, &job->units[job->unit_count - 1]);
}

/* Is the unit at hand built already? Then it is in s->build, its refused rows in the payload. */
static bool ahead_take(struct flush_sender *s)
{
    if (s->ahead == NULL || !flush_ahead_busy(s->ahead) ||
        flush_ahead_wait(s->ahead, &s->unit, &s->mark) != 0)
        return false;
    struct flush_build *built = s->other;
    s->other = s->build;
    s->build = built;
    s->dead = s->ahead_dead;
    buf_reset(&s->proposal.payload);
    if (s->dead.count > 0)
        buf_put_slice(&s->proposal.payload, buf_slice(&s->ahead_payload));
    return true;
}

static void ahead_end(struct flush_sender *s)
{
    if (s->ahead != NULL && flush_ahead_busy(s->ahead))
        (void)flush_ahead_wait(s->ahead, &s->unit, &s->mark);
}

static int unit_run_native(struct flush_sender *s)
{
    struct err e = {0};
    int rc = ahead_take(s) ? 0 : flush_build_blocks(s->build, &s->source, &s->unit, &e);
    if (rc != 0)
        return unit_back(s, build_failed(s, rc, &e));
    rc = dead_commit(s);
    if (rc != 0)
        return rc;
    if (unit_push(&s->job, &s->build->rest) != 0)
        return STEP_LOG;
    ahead_begin(s);
    return groups_send(s);
}

static int unit_run_http(struct flush_sender *s)
{
    int rc = lines_send(s, &s->unit);
    return rc == STEP_RETRY ? unit_back(s, rc) : rc;
}

/* Take the top unit and finish it, or say why not. With STEP_RETRY the stack is whole again. */
static int unit_run(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    if (flush_rows_copy(&s->unit, &job->units[job->unit_count - 1]) != 0)
        return retry_memory(s);
    job->unit_count--;
    if (s->unit.count == 0)
        return 0;
    buf_reset(&s->proposal.payload);
    s->dead.count = 0;
    if (s->source.table == NULL)
        return dead_rows(s, &s->unit);
    return s->source.table->native ? unit_run_native(s) : unit_run_http(s);
}

/* ---- jobs ---- */

static int job_connect(struct flush_sender *s)
{
    struct ch_error ce = {0};
    enum ch_outcome outcome = flush_client_connect(&s->client, s->job.target, &ce);
    if (outcome != CH_OK)
        return retry(s, outcome, ce.code, ce.text);
    s->job.reached = true;
    return 0;
}

static void check_window(const struct schema_table *t)
{
    char engine[64];
    size_t n = t->engine.len < sizeof(engine) - 1 ? t->engine.len : sizeof(engine) - 1;
    memcpy(engine, t->engine.ptr, n);
    engine[n] = '\0';
    if (t->dedup_window != 0 || strstr(engine, "MergeTree") == NULL)
        return;
    log_warn("flush.dedup_window",
             "table=%.*s: ClickHouse does not look for repeated inserts, so a crash at the wrong "
             "moment may store rows twice; advice=\"ALTER TABLE %.*s MODIFY SETTING "
             "non_replicated_deduplication_window = 1000\" (old servers have no such setting: "
             "there only replicated tables remember inserts)",
             SLICE_ARG(t->name), SLICE_ARG(t->name));
}

/* The table as it is now. A table that is gone is schema trouble like any other: asked for again,
 * and after some attempts its rows are dead letters. */
static int job_schema(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    const struct flush_options *o = s->options.flush;
    s->source = (struct flush_source){.wal = o->wal,
                                      .table_name = job->plan.table,
                                      .spans = job->spans,
                                      .span_count = job->span_count,
                                      .row_count = job->plan.rows,
                                      .catalog = o->catalog(o->ctx),
                                      .mark = &s->mark,
                                      .refuse = on_refused,
                                      .ctx = s};
    job->no_schema = s->source.catalog == NULL;
    if (job->no_schema)
        return retry(s, CH_UNAVAILABLE, 0, "the schema is not known yet");
    s->source.table = schema_catalog_find(s->source.catalog, job->plan.table);
    if (s->source.table != NULL) {
        if (job->warn_window)
            check_window(s->source.table);
        return 0;
    }
    int step = retry(s, CH_SCHEMA, 60, "the table does not exist in ClickHouse");
    if (job->give_up)
        return 0;
    o->request_refresh(o->ctx);
    return step;
}

static int job_steps(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    uint64_t saved_ns = s->started_ns;
    int rc = job_connect(s);
    if (rc == 0)
        rc = job_schema(s);
    while (rc == 0 && job->unit_count > 0) {
        s->split = false;
        rc = unit_run(s);
        bool late = io_monotonic_ns() - saved_ns > YIELD_NS;
        if (rc == 0 && job->unit_count > 0 &&
            (atomic_load(s->options.stopping) || (late && atomic_load(s->options.crowded)))) {
            job->result = FLUSH_RESULT_YIELD;
            return commit_progress(s);
        }
        if (rc == 0 && (s->split || late)) {
            rc = commit_progress(s);
            saved_ns = io_monotonic_ns();
        }
    }
    if (rc == STEP_RETRY && s->unsaved && commit_progress(s) != 0)
        return STEP_LOG;
    if (rc == 0) {
        job->result = FLUSH_RESULT_DONE;
        rc = commit_done(s);
    }
    return rc;
}

static void job_run(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    job->reached = false;
    job->no_schema = false;
    job->outcome = CH_OK;
    job->code = 0;
    job->text[0] = '\0';
    job->stored = 0;
    s->unsaved = false;
    s->started_ns = io_monotonic_ns();
    memset(&s->source, 0, sizeof(s->source));
    s->mark = (struct flush_mark){0};
    int rc = job_steps(s);
    ahead_end(s);
    schema_catalog_unref(s->source.catalog);
    if (rc != 0)
        job->result = rc == STEP_LOG ? FLUSH_RESULT_LOG : FLUSH_RESULT_RETRY;
    job->duration_ns = io_monotonic_ns() - s->started_ns;
    queue_push(s->options.planner, &job->msg.link);
}

/* ---- thread ---- */

static void release(struct flush_sender *s)
{
    flush_build_fini(s->build);
    flush_build_fini(s->other);
    flush_client_release(&s->client);
}

static void *sender_main(void *arg)
{
    struct flush_sender *s = arg;
    while (!atomic_load(&s->stop)) {
        struct flush_msg *m = next_msg(s, IDLE_RELEASE_MS);
        if (m == NULL) {
            release(s);
            continue;
        }
        must(m->kind == FLUSH_MSG_JOB);
        job_run(s);
    }
    release(s);
    return NULL;
}

struct flush_sender *flush_sender_start(const struct flush_sender_options *options, struct err *e)
{
    struct flush_sender *s = aligned_alloc(_Alignof(struct flush_sender), sizeof(*s));
    if (s == NULL) {
        (void)err_set(e, -ENOMEM, "flush: out of memory");
        return NULL;
    }
    memset(s, 0, sizeof(*s));
    s->magic = SENDER_MAGIC;
    s->options = *options;
    s->job.msg.kind = FLUSH_MSG_JOB;
    flush_build_init(s->build = &s->builds[0]);
    flush_build_init(s->other = &s->builds[1]);
    buf_init(&s->ahead_payload, LIMIT_WAL_PAYLOAD_BYTES);
    buf_init(&s->proposal.payload, LIMIT_WAL_PAYLOAD_BYTES);
    flush_client_init(&s->client);
    int rc = queue_init(&s->queue, 16);
    if (rc == 0) {
        rc = -pthread_create(&s->thread, NULL, sender_main, s);
        if (rc == 0) {
            char name[16];
            (void)snprintf(name, sizeof(name), "wh-sender%u", options->number);
            (void)pthread_setname_np(s->thread, name);
            return s;
        }
        queue_fini(&s->queue);
    }
    (void)err_set_errno(e, rc, "flush: cannot start a sender");
    free(s);
    return NULL;
}

struct flush_job *flush_sender_job(struct flush_sender *s)
{
    CHECK_MAGIC(s, SENDER_MAGIC);
    return &s->job;
}

void flush_sender_give(struct flush_sender *s)
{
    CHECK_MAGIC(s, SENDER_MAGIC);
    queue_push(&s->queue, &s->job.msg.link);
}

void flush_sender_stop(struct flush_sender *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, SENDER_MAGIC);
    atomic_store(&s->stop, true);
    queue_wake(&s->queue);
    (void)pthread_join(s->thread, NULL);
    commit_quiesce(s->options.flush->commit);
    queue_fini(&s->queue);
    for (uint32_t i = 0; i < s->job.unit_cap; i++)
        flush_rows_fini(&s->job.units[i]);
    free(s->job.units);
    free(s->job.token);
    free(s->job.spans);
    buf_fini(&s->proposal.payload);
    buf_fini(&s->ahead_payload);
    flush_ahead_free(s->ahead);
    flush_rows_fini(&s->unit);
    flush_rows_fini(&s->left);
    flush_rows_fini(&s->right);
    s->magic = 0;
    free(s);
}
