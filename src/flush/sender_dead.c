/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are refused for good: into entries of dead letters, as held rows, or dropped and
 * counted. */
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "flush/sender.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define DEAD_ENTRY_BYTES (64 * KIB) /* a dead letter entry is closed beyond this */

/* Not ClickHouse's text: it quotes the value, and a log line holds no payload. */
static void dead_say(const struct flush_sender *s, uint32_t rows)
{
    static struct log_limit limit = LOG_LIMIT(10), held_limit = LOG_LIMIT(10),
                            dropped_limit = LOG_LIMIT(10);
    uint64_t dropped;
    if (s->dead.fate == FLUSH_FATE_DROPPED) {
        if (log_limit_pass(&dropped_limit, &dropped))
            log_warn("flush.dropped",
                     "table=%s rows=%u: refused by ClickHouse, and dlq.enabled is false for this "
                     "table; repeated=%" PRIu64,
                     s->job.plan.table.ptr, rows, dropped);
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

int sender_dead_commit(struct flush_sender *s)
{
    if (s->dead.count == 0)
        return 0;
    uint32_t n = s->dead.count;
    s->dead.count = 0;
    flush_dead_set_count(&s->proposal.payload, n);
    int rc = sender_commit(s, WAL_DEAD_LETTER);
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
    /* What came off a shelf goes back to one, whatever the setting is now. */
    enum flush_fate fate = unknown_column && job->hold          ? FLUSH_FATE_HELD
                           : job->dlq_enabled || row->reentered ? FLUSH_FATE_DEAD
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

int sender_refused(void *ctx, const struct flush_row *row, int32_t code, struct slice text,
                   bool unknown_column)
{
    struct flush_sender *s = ctx;
    struct flush_dead_item item;
    enum flush_fate fate = dead_item(&s->job, row, code, text, unknown_column, &item);
    if (dead_full(&s->dead, &s->proposal.payload, &item, fate)) {
        int rc = sender_dead_commit(s);
        if (rc != 0)
            return rc;
    }
    return dead_put(&s->job, &s->dead, &s->proposal.payload, &item, fate);
}

/* On the helper's thread, which commits nothing: with more refusals than one entry holds it gives
 * up. Of the job it reads what stays as it is while the job runs. */
int sender_refused_ahead(void *ctx, const struct flush_row *row, int32_t code, struct slice text,
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
    return sender_refused(ctx, row, s->job.code, slice_str(s->job.text), unknown_field(&s->job));
}

int sender_dead_rows(struct flush_sender *s, const struct flush_rows *rows)
{
    struct err e = {0};
    int rc = flush_each_row(&s->source, rows, on_dead_row, s, &e);
    return rc != 0 ? sender_build_failed(s, rc, &e) : sender_dead_commit(s);
}
