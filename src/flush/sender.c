/* SPDX-License-Identifier: Apache-2.0 */
/* A sender: one thread, one native connection, one job at a time (doc/flush.md, "Sending").
 * While it sends a unit, its helper may build the next one (ahead.h).
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
#include "clickhouse/http_client.h"
#include "flush/ahead.h"
#include "flush/job.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENDER_MAGIC     0x53454e44u
#define DEAD_ENTRY_BYTES (64 * KIB) /* a dead letter entry is closed beyond this */
#define YIELD_NS         2000000000u
#define IDLE_RELEASE_MS                                                                          \
    10000                     /* without work for so long, buffers and connection are given back \
                               */
#define AHEAD_ROWS_MIN   1000 /* smaller units are built in no time */
#define PROPOSE_RETRY_MS 5
#define PROPOSE_TRIES    400
#define TOKEN_CAP        (64 + LIMIT_NAME_BYTES + 128)

struct flush_sender {
    uint32_t magic;
    struct flush_sender_options options;
    struct queue queue;
    pthread_t thread;
    _Atomic bool stop;
    struct flush_job job;
    struct flush_proposal proposal; /* one at a time */
    struct ch_target *target;       /* that the two clients were made with; NULL: there are none */
    struct ch_native *native;
    struct ch_http *http;
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
    struct metric *insert_seconds;
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

static void count_error(enum ch_outcome outcome)
{
    metric_add(metric_new(METRIC_COUNTER, "wavehouse_clickhouse_errors_total",
                          "Operations on ClickHouse that failed, by class", "class=\"%s\"",
                          ch_outcome_name(outcome)),
               1);
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

/* ---- inserting ---- */

/* The rows' name: all rows of the plan have its token, fewer have it with their place and digest.
 */
static void token_of(const struct flush_job *job, const struct flush_rows *rows, char *out)
{
    if (rows->count == job->plan.rows)
        (void)snprintf(out, TOKEN_CAP, "%s", job->token);
    else
        (void)snprintf(out, TOKEN_CAP, "%s/%u-%u.%016" PRIx64, job->token, rows->ranges[0].lo,
                       rows->ranges[rows->range_count - 1].hi - 1, flush_rows_digest(rows));
}

static enum ch_outcome insert_native(struct flush_sender *s, const struct flush_group *g,
                                     const char *token, bool ignore_views, struct ch_error *ce)
{
    struct ch_insert insert = {.table = s->job.plan.table,
                               .columns = g->names,
                               .types = g->types,
                               .column_count = g->column_count,
                               .token = token,
                               .ignore_views = ignore_views,
                               .row_count = g->rows.count,
                               .write_columns = ch_block_send,
                               .ctx = g->block};
    must(ch_block_rows(g->block) == g->rows.count);
    return ch_native_insert(s->native, &insert, ce);
}

static void put_url(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        char c = *text;
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (plain)
            buf_put_u8(out, (uint8_t)c);
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
}

/* Servers before 20 know none of the settings, nor tokens. */
static bool server_is_old(const struct schema_catalog *c)
{
    struct slice v = schema_catalog_version(c);
    return v.len >= 2 && v.ptr[0] == '1' && v.ptr[1] >= '0' && v.ptr[1] <= '9';
}

static enum ch_outcome insert_http(struct flush_sender *s, const char *token, bool ignore_views,
                                   struct ch_error *ce)
{
    const struct schema_table *t = s->source.table;
    struct buf sql, settings, answer;
    buf_init(&sql, SIZE_MAX);
    buf_init(&settings, SIZE_MAX);
    buf_init(&answer, 64 * KIB);
    buf_put_str(&sql, "INSERT INTO ");
    schema_put_quoted(&sql, t->name, '`');
    const char *comma = " (";
    for (uint32_t i = 0; i < t->column_count; i++)
        if (t->columns[i].insertable) {
            buf_put_str(&sql, comma);
            schema_put_quoted(&sql, t->columns[i].name, '`');
            comma = ", ";
        }
    buf_put_str(&sql, ") FORMAT JSONEachRow");
    if (!server_is_old(s->source.catalog)) {
        buf_put_str(&settings,
                    "&async_insert=0&input_format_null_as_default=1"
                    "&date_time_input_format=best_effort&input_format_skip_unknown_fields=0"
                    "&insert_deduplicate=1"
                    "&insert_deduplication_token=");
        put_url(&settings, token);
        if (ignore_views)
            buf_put_str(&settings, "&materialized_views_ignore_errors=1");
    }
    buf_put_u8(&settings, 0);
    enum ch_outcome outcome = CH_UNAVAILABLE;
    if (s->http == NULL)
        s->http = ch_http_new(ch_target_options(s->target));
    if (s->http == NULL || !buf_ok(&sql) || !buf_ok(&settings)) {
        ce->code = 0;
        (void)snprintf(ce->text, sizeof(ce->text), "out of memory");
    } else {
        struct ch_http_request q = {.sql = buf_slice(&sql),
                                    .body = buf_slice(&s->build->body),
                                    .settings = settings.ptr,
                                    .response_max = 64 * KIB};
        outcome = ch_http_query(s->http, &q, &answer, ce);
    }
    buf_fini(&sql);
    buf_fini(&settings);
    buf_fini(&answer);
    return outcome;
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

/* A materialized view refused the rows, for good. ClickHouse has stored them in the table by then
 * (or does so with the view's errors ignored), so halves of them, under tokens of their own, would
 * be stored again, and dead letters would be there twice. Not known of other engines: rows that go
 * through a Null table are nowhere but in its views. */
static bool view_refused(const struct flush_sender *s, enum ch_outcome outcome,
                         const struct ch_error *ce)
{
    bool final = outcome == CH_DATA || outcome == CH_SPLIT_PARTITIONS ||
                 (outcome == CH_SCHEMA && s->job.give_up) || (outcome == CH_BUG && s->job.as_data);
    return final && s->source.table->dedup_window >= 0 &&
           strstr(ce->text, "while pushing to view") != NULL;
}

static enum ch_outcome insert_once(struct flush_sender *s, const struct flush_group *g,
                                   const char *token, bool ignore_views, struct ch_error *ce)
{
    uint64_t start = io_monotonic_ns();
    enum ch_outcome outcome = g != NULL ? insert_native(s, g, token, ignore_views, ce)
                                        : insert_http(s, token, ignore_views, ce);
    metric_observe(s->insert_seconds, io_monotonic_ns() - start);
    if (s->options.flush->inserted != NULL)
        s->options.flush->inserted(s->options.flush->ctx, s->source.table->name);
    return outcome;
}

/* The same rows under the same token, without the views. A server that does not know the setting
 * gives the same refusal again, and that counts. */
static enum ch_outcome insert_past_views(struct flush_sender *s, const struct flush_group *g,
                                         const struct flush_rows *rows, const char *token,
                                         enum ch_outcome refused, struct ch_error *ce)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped;
    struct ch_error again = {0};
    enum ch_outcome outcome = insert_once(s, g, token, true, &again);
    if (outcome == CH_DATA || outcome == CH_SPLIT_PARTITIONS || outcome == CH_SCHEMA ||
        outcome == CH_BUG)
        return refused;
    count_error(refused);
    if (outcome == CH_OK && log_limit_pass(&limit, &dropped))
        log_error("flush.view_failed",
                  "table=%s rows=%u code=%d: %s; the rows are in the table, but this view has none "
                  "of them; repeated=%" PRIu64,
                  s->job.plan.table.ptr, rows->count, ce->code, ce->text, dropped);
    *ce = again;
    return outcome;
}

/* Send one group (g NULL: the lines in build.body). 0: stored, or cut into halves, or
 * dead-lettered. */
static int group_send(struct flush_sender *s, const struct flush_group *g,
                      const struct flush_rows *rows)
{
    struct flush_job *job = &s->job;
    struct ch_error ce = {0};
    char token[TOKEN_CAP];
    token_of(job, rows, token);
    enum ch_outcome outcome = insert_once(s, g, token, false, &ce);
    if (view_refused(s, outcome, &ce))
        outcome = insert_past_views(s, g, rows, token, outcome, &ce);
    if (outcome == CH_OK) {
        job->stored += rows->count;
        s->unsaved = true;
        return 0;
    }
    count_error(outcome);
    int step = retry(s, outcome, ce.code, ce.text);
    if (outcome == CH_SCHEMA)
        s->options.flush->request_refresh(s->options.flush->ctx);
    if (outcome == CH_SCHEMA && job->give_up)
        return dead_rows(s, rows);
    if (outcome == CH_DATA || outcome == CH_SPLIT_PARTITIONS ||
        (outcome == CH_BUG && job->as_data)) {
        s->split = true;
        s->unsaved = true;
        return group_refused(s, rows);
    }
    return step;
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

static void clients_free(struct flush_sender *s)
{
    ch_native_free(s->native);
    ch_http_free(s->http);
    ch_target_unref(s->target);
    s->native = NULL;
    s->http = NULL;
    s->target = NULL;
}

static int job_connect(struct flush_sender *s)
{
    struct ch_error ce = {0};
    if (s->target != s->job.target) {
        clients_free(s);
        s->target = ch_target_ref(s->job.target);
    }
    if (s->native == NULL)
        s->native = ch_native_new(ch_target_options(s->target));
    if (s->native == NULL)
        return retry_memory(s);
    enum ch_outcome outcome = ch_native_ping(s->native, &ce);
    if (outcome != CH_OK) {
        /* An idle connection may have died of old age. */
        ch_native_disconnect(s->native);
        outcome = ch_native_ping(s->native, &ce);
    }
    if (outcome == CH_OK) {
        s->job.reached = true;
        return 0;
    }
    count_error(outcome);
    return retry(s, outcome, ce.code, ce.text);
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
    int rc = job_connect(s);
    if (rc == 0)
        rc = job_schema(s);
    while (rc == 0 && job->unit_count > 0) {
        s->split = false;
        rc = unit_run(s);
        bool late =
            io_monotonic_ns() - s->started_ns > YIELD_NS || atomic_load(s->options.stopping);
        if (rc == 0 && job->unit_count > 0 && late) {
            job->result = FLUSH_RESULT_YIELD;
            return commit_progress(s);
        }
        if (rc == 0 && s->split)
            rc = commit_progress(s);
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
    clients_free(s);
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
    s->insert_seconds = metric_new(METRIC_SECONDS, "wavehouse_clickhouse_duration_seconds",
                                   "Time of operations on ClickHouse", "op=\"insert\"");
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
