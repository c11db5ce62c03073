/* SPDX-License-Identifier: Apache-2.0 */
/* A sender: one thread, two clients of ClickHouse (insert.h), one job at a time (doc/flush.md,
 * "Sending"). While it sends a unit, its helper may build the next one (ahead.h).
 *
 * The job's units lie on a stack. A unit is built into groups (build.h); what the encoder refuses
 * is dead-lettered and committed before anything is sent; then each group is one INSERT whose token
 * names its rows. A group that ClickHouse refuses for its data is cut in halves, which go back on
 * the stack after a progress entry with the whole stack is committed: from then on a restart knows
 * the same units. Any trouble that may pass ends the job; the planner gives it again later. */
#include "flush/sender.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_MAGIC     0x53454e44u
#define YIELD_NS         2000000000u /* a job gives way to others, or at least says how far it is */
#define IDLE_RELEASE_MS  10000       /* without work: buffers and connections are given back */
#define PROPOSE_RETRY_MS 5
#define PROPOSE_TRIES    400

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

int sender_commit(struct flush_sender *s, uint8_t type)
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
    if (rc == 0) {
        s->job.last_index = fp->p.index;
        return 0;
    }
    (void)snprintf(s->job.text, sizeof(s->job.text), "the log takes no entry: %s", err_text(rc));
    return STEP_LOG;
}

/* Letters of a unit that went back on the stack before they were committed: it brings them again.
 */
static void letters_drop(struct flush_sender *s)
{
    buf_reset(&s->proposal.payload);
    s->dead.count = 0;
}

static int commit_progress(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    letters_drop(s);
    flush_progress_put(&s->proposal.payload, job->plan.table, job->plan_index, job->units,
                       job->unit_count);
    s->unsaved = false;
    return sender_commit(s, WAL_FLUSH_PLAN);
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
    letters_drop(s);
    flush_done_put(&s->proposal.payload, &done);
    return sender_commit(s, WAL_FLUSH_DONE);
}

/* ---- failures ---- */

int sender_retry(struct flush_sender *s, enum ch_outcome outcome, int32_t code, const char *text)
{
    struct flush_job *job = &s->job;
    job->outcome = outcome;
    job->code = code;
    (void)snprintf(job->text, sizeof(job->text), "%.*s", (int)sizeof(job->text) - 1, text);
    return STEP_RETRY;
}

int sender_retry_memory(struct flush_sender *s)
{
    return sender_retry(s, CH_UNAVAILABLE, 0, "out of memory");
}

int sender_build_failed(struct flush_sender *s, int rc, const struct err *e)
{
    if (rc > 0)
        return rc; /* one of our own steps */
    if (rc == -ENOMEM || rc == WH_EFULL)
        return sender_retry_memory(s);
    static struct log_limit limit = LOG_LIMIT(60);
    uint64_t dropped;
    if (log_limit_pass(&limit, &dropped))
        log_error("flush.log_unreadable",
                  "table=%s: %s; its rows stay in the log and are tried again; repeated=%" PRIu64,
                  s->job.plan.table.ptr, e->text, dropped);
    return sender_retry(s, CH_BUG, 0, e->text);
}

/* ---- jobs ---- */

static int job_connect(struct flush_sender *s)
{
    struct ch_error ce = {0};
    enum ch_outcome outcome = flush_client_connect(s->client, s->job.target, &ce);
    if (outcome != CH_OK)
        return sender_retry(s, outcome, ce.code, ce.text);
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
                                      .refuse = sender_refused,
                                      .ctx = s};
    job->no_schema = s->source.catalog == NULL;
    if (job->no_schema)
        return sender_retry(s, CH_UNAVAILABLE, 0, "the schema is not known yet");
    s->source.table = schema_catalog_find(s->source.catalog, job->plan.table);
    if (s->source.table != NULL) {
        if (job->warn_window)
            check_window(s->source.table);
        return 0;
    }
    int step = sender_retry(s, CH_SCHEMA, 60, "the table does not exist in ClickHouse");
    if (job->give_up)
        return 0;
    o->request_refresh(o->ctx);
    return step;
}

static int job_steps(struct flush_sender *s)
{
    struct flush_job *job = &s->job;
    uint64_t saved_ns = s->started_ns;
    bool stored;
    int rc = job_connect(s);
    if (rc == 0)
        rc = job_schema(s);
    if (rc == 0) {
        flush_build_shed(s->build, s->source.table);
        flush_build_shed(s->other, s->source.table);
    }
    while (rc == 0 && job->unit_count > 0) {
        s->split = false;
        rc = sender_unit(s);
        bool late = io_monotonic_ns() - saved_ns > YIELD_NS;
        bool gives_way = job->unit_count > 0 && (atomic_load(s->options.stopping) ||
                                                 (late && atomic_load(s->options.crowded)));
        /* What is in flight is not on the stack, and so would count as done. */
        if (rc == 0 && (gives_way || late || job->unit_count == 0))
            rc = sender_land(s, NULL, &stored);
        if (rc == 0 && gives_way) {
            job->result = FLUSH_RESULT_YIELD;
            return commit_progress(s);
        }
        if (rc == 0 && (s->split || late)) {
            rc = commit_progress(s);
            saved_ns = io_monotonic_ns();
        }
    }
    if (rc != 0 && sender_land(s, NULL, &stored) == STEP_LOG)
        rc = STEP_LOG;
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
    job->last_index = 0;
    s->unsaved = false;
    s->started_ns = io_monotonic_ns();
    memset(&s->source, 0, sizeof(s->source));
    s->mark = (struct flush_mark){0};
    s->alone = s->second_ready = false;
    if (!job->overlap || s->second->target != job->target)
        flush_client_release(s->second);
    int rc = job_steps(s);
    sender_ahead_end(s);
    must(!s->flight.busy);
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
    flush_client_release(s->client);
    flush_client_release(s->second);
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
    flush_client_init(s->client = &s->clients[0]);
    flush_client_init(s->second = &s->clients[1]);
    flush_rows_init(&s->flight.rows);
    flush_rows_init(&s->flight.next);
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
    flush_rows_fini(&s->flight.rows);
    flush_rows_fini(&s->flight.next);
    flush_rows_fini(&s->left);
    flush_rows_fini(&s->right);
    s->magic = 0;
    free(s);
}
