/* SPDX-License-Identifier: Apache-2.0 */
/* One record: what http-api §7.2 step 6 does before the log. */
#include "api/ingest.h"

#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define CODE_UNKNOWN_FIELD 117  /* INCORRECT_DATA, what ClickHouse says to an unknown key */
#define RECORD_SLACK_BYTES 1024 /* what stamping and canonical timestamps may add */

/* The part that a record of so many bytes goes to. */
static struct ingest_part *part_for(struct ingest_op *op, size_t bytes, bool held)
{
    struct ingest_part *part = op->open[held];
    if (part == NULL ||
        (part->batch.count > 0 && part->batch.text.len + part->batch.items.len +
                                          part->batch.ids.len + bytes + RECORD_SLACK_BYTES >
                                      LIMIT_WAL_ENTRY_BYTES))
        part = ingest_part_open(op, held);
    return part;
}

void ingest_refuse_value(struct record_result *result, const struct ch_value_error *e)
{
    result->status = 400;
    result->rule = RECORD_VALUE;
    result->code = e->code;
    (void)snprintf(result->message, sizeof(result->message), "column \"%s\": %s", e->column,
                   e->text);
}

/* What ClickHouse would say to the values of a record that is otherwise right. 0 or -ENOMEM. */
static int judge_values(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                        const struct json_doc *doc, struct buf *text, size_t text_off)
{
    struct ch_value_error e;
    if (buf_reserve(text, LIMIT_JSON_PADDING) != 0)
        return -ENOMEM;
    struct slice canonical = {text->ptr + text_off, text->len - text_off};
    if (op->dry_run)
        return ingest_dry_run_show(a, op, t, canonical);
    int rc = ch_verdict_check(a->verdict, a->catalog, t, doc, canonical, &e);
    if (rc != WH_ESYNTAX)
        return rc;
    ingest_refuse_value(&op->result, &e);
    return 0;
}

static void count_refusal(struct api_loop *a, const struct ingest_op *op)
{
    if (op->dry_run)
        return;
    metric_add(op->result.rule == RECORD_VALUE ? a->metrics.rejected_value
                                               : a->metrics.rejected_record,
               1);
}

/* A dry run says which column is missing: that is what is asked. */
static bool may_hold(const struct ingest_op *op)
{
    return op->settings->unknown_columns == CONFIG_UNKNOWN_HOLD && !op->dry_run &&
           op->terms->unknown != INGEST_UNKNOWN_REJECT;
}

static bool held_full(struct api_loop *a)
{
    uint64_t max = atomic_load_explicit(&a->shared->held_bytes_max, memory_order_relaxed);
    return flush_held_bytes(a->shared->flush) >= max;
}

/* The record just written lacks a column: it moves to a part of its own, which *part is then. */
static int hold_record(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                       struct ingest_part **part, size_t *text_off)
{
    struct buf *text = &(*part)->batch.text;
    size_t len = text->len - *text_off;
    discovery_nudge(a->shared->discovery);
    if (held_full(a)) {
        op->result.status = 503;
        op->result.rule = RECORD_UNKNOWN;
        op->result.unknown_column = true;
        (void)snprintf(op->result.message, sizeof(op->result.message),
                       "a column is missing in table \"%.*s\", and the records that wait for one "
                       "have reached ingest.held_max_bytes",
                       SLICE_ARG(t->name));
        return 0;
    }
    struct ingest_part *held = part_for(op, len, true);
    if (held == NULL)
        return -ENOMEM;
    size_t at = held->batch.text.len;
    buf_put(&held->batch.text, text->ptr + *text_off, len);
    text->len = *text_off;
    *part = held;
    *text_off = at;
    return buf_ok(&held->batch.text) ? 0 : -ENOMEM;
}

static bool ignores_unknown(const struct ingest_op *op)
{
    return op->terms->unknown == INGEST_UNKNOWN_IGNORE ||
           (op->terms->unknown == INGEST_UNKNOWN_AS_SET &&
            op->settings->unknown_columns == CONFIG_UNKNOWN_IGNORE);
}

/* Rows that nobody looks at are refused by the thousand when a client learns a new key: say so. */
static void say_unknown(const struct ingest_op *op)
{
    static struct log_limit limit = LOG_LIMIT(60);
    uint64_t dropped;
    if (log_limit_pass(&limit, &dropped))
        log_warn("ingest.unknown_column",
                 "%s: the record is refused; add the column, or see ingest.unknown_columns; "
                 "repeated=%" PRIu64,
                 op->result.message, dropped);
}

int ingest_record_add(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                      const struct json_doc *doc)
{
    size_t bytes = doc->nodes[0].len;
    if (bytes > LIMIT_RECORD_BYTES) {
        op->result.status = 413;
        op->result.rule = RECORD_SIZE;
        op->result.code = 0;
        (void)snprintf(op->result.message, sizeof(op->result.message), "record exceeded %llu bytes",
                       (unsigned long long)LIMIT_RECORD_BYTES);
        return 0;
    }
    struct ingest_part *part = part_for(op, bytes, false);
    if (part == NULL)
        return -ENOMEM;
    const struct ingest_terms *terms = op->terms;
    struct record_options options = {.ignore_unknown = ignores_unknown(op),
                                     .hold_unknown = may_hold(op),
                                     .stamp_received = a->config->ingest.stamp_received &&
                                                       !op->access->stamps_received,
                                     .defaults = terms->defaults,
                                     .any_kind = terms->strict,
                                     .only = terms->only,
                                     .stamped = op->access->stamped};
    bool has_what_it_must = !op->dedupe.active || ingest_dedupe_identify(a, op, doc);
    uint64_t received_ns = op->first_ns + op->records;
    size_t text_off = part->batch.text.len;
    int rc = record_check(a->checker, t, schema_catalog_timezone(a->catalog), &options, doc,
                          received_ns, &part->batch.text, &op->result);
    bool judged = op->settings->validation_strict || terms->strict || op->dry_run;
    if (rc == 0 && op->access->restricted) {
        rc = ingest_access_record(op, doc, &part->batch.text, text_off);
        if (rc == 0)
            rc = op->result.status;
    }
    if (rc == 0 && op->result.unknown_held > 0)
        rc = hold_record(a, op, t, &part, &text_off);
    else if (rc == 0 && judged)
        rc = judge_values(a, op, t, doc, &part->batch.text, text_off);
    if (rc < 0)
        return rc;
    if (op->result.rule == RECORD_UNKNOWN && judged)
        op->result.code = CODE_UNKNOWN_FIELD;
    if (op->result.status == 0 && !has_what_it_must)
        ingest_dedupe_missing(op);
    if (op->result.status != 0 || op->dry_run)
        part->batch.text.len = text_off;
    if (op->result.status != 0) {
        count_refusal(a, op);
        if (op->result.unknown_column && !op->dry_run)
            say_unknown(op);
        if (op->result.unknown_column) /* added a moment ago? The next try may know it. */
            discovery_nudge(a->shared->discovery);
        return 0;
    }
    bool with_id = op->dedupe.active && op->dedupe.has_id;
    if (op->dry_run) {
        rc = with_id ? ingest_dedupe_look_up(a, op) : 0;
        op->duplicate = rc == 1;
        return rc < 0 ? rc : 0;
    }
    if (op->result.unknown_ignored > 0)
        metric_add(a->metrics.ingest_unknown_ignored, op->result.unknown_ignored);
    rc = with_id ? ingest_dedupe_reserve(a, op) : 0;
    op->duplicate = rc == 1;
    if (rc != 0) {
        part->batch.text.len = text_off;
        return rc == 1 ? 0 : rc;
    }
    if (op->result.unknown_held > 0)
        metric_add(a->metrics.ingest_held, 1);
    op->records++;
    rc = op->ack != INGEST_ACK_NONE ? ingest_ack_record(op, part) : 0;
    if (rc == 0 && op->desk != NULL && options.stamp_received && t->received_timestamp >= 0) {
        buf_put_le32(&part->stamps, op->result.stamp_off);
        rc = buf_ok(&part->stamps) ? 0 : -ENOMEM;
    }
    if (rc == 0)
        rc = wal_batch_add(&part->batch, received_ns, text_off);
    return with_id ? ingest_dedupe_keep(op, part, rc) : rc;
}
