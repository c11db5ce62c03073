/* SPDX-License-Identifier: Apache-2.0 */
/* A body's records, one after the other, into the parts of its request: all of them, or so many
 * that others are not kept waiting (ingest_turns.c). */
#include "api/ingest.h"

#include "base/limits.h"

#include <stdio.h>

/* Work of one record, counted in bytes of text: besides its own bytes, what any record costs. */
#define RECORD_WORK  256
#define REFUSAL_WORK 1024

static const char *refused_by(const struct ingest_op *op)
{
    return op->dry_run ? record_rule_name(op->result.rule) : NULL;
}

static void refuse_record(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_refusal why = {.reason = INGEST_RECORD,
                                 .status = op->result.status,
                                 .row = op->outcomes.total,
                                 .code = op->result.code,
                                 .retry_after_s = op->result.status == 503 ? 30 : 0,
                                 .rule = refused_by(op),
                                 .text = slice_str(op->result.message)};
    ingest_refuse_why(a, op->door, op->request, &why);
}

/* A record ended the request. */
static enum ingest_collected not_taken(struct api_loop *a, struct ingest_op *op, int rc)
{
    if (rc == WH_EAGAIN)
        return INGEST_MUST_WAIT;
    if (op->dedupe.no_room)
        ingest_refuse(a, op->door, op->request, INGEST_BUSY, 503,
                      SLICE_LIT("dedupe store unavailable"), 5);
    else
        ingest_refuse_busy(a, op->door, op->request);
    return INGEST_ANSWERED;
}

static void refuse_syntax(struct api_loop *a, struct ingest_op *op, struct ingest_source *source)
{
    struct ingest_refusal why = {.reason = INGEST_SYNTAX,
                                 .status = 400,
                                 .row = op->outcomes.total,
                                 .code = source->code,
                                 .text = slice_str(source->error(source))};
    ingest_refuse_why(a, op->door, op->request, &why);
}

/* A body with at most one record. */
static enum ingest_collected collect_one(struct api_loop *a, struct ingest_op *op,
                                         const struct ingest_ask *ask, struct ingest_source *source)
{
    struct json_doc doc;
    int rc = source->next(source, &doc);
    if (rc == WH_EEND) {
        ingest_refuse(a, op->door, op->request, INGEST_REQUEST, 400, slice_str(ask->empty), 0);
        return INGEST_ANSWERED;
    }
    if (rc == WH_ESYNTAX || rc == WH_ELIMIT) {
        refuse_syntax(a, op, source);
        return INGEST_ANSWERED;
    }
    if (rc == 0)
        rc = ingest_record_add(a, op, ask->table, &doc);
    if (rc != 0)
        return not_taken(a, op, rc);
    if (op->result.status != 0) {
        refuse_record(a, op);
        return INGEST_ANSWERED;
    }
    return INGEST_COLLECTED;
}

/* One more refused record: does it refuse all of them? */
static bool too_many(const struct ingest_op *op)
{
    const struct ingest_terms *t = op->terms;
    const struct ingest_outcomes *o = &op->outcomes;
    return t->atomic && o->failed > t->errors_num &&
           (double)o->failed > t->errors_ratio * (double)o->total;
}

static enum ingest_collected refuse_count(struct api_loop *a, struct ingest_op *op)
{
    char text[96];
    (void)snprintf(text, sizeof(text), "more than %d records in one request: send them in several",
                   LIMIT_REQUEST_RECORDS);
    ingest_refuse(a, op->door, op->request, INGEST_REQUEST, 413, slice_str(text), 0);
    return INGEST_ANSWERED;
}

/* Records for about so much work. */
static enum ingest_collected collect_many(struct api_loop *a, struct ingest_op *op,
                                          const struct ingest_ask *ask,
                                          struct ingest_source *source, uint64_t work)
{
    for (uint64_t done = 0;;) {
        struct json_doc doc;
        if (done >= work)
            return INGEST_MORE;
        int rc = source->next(source, &doc);
        if (rc == WH_EEND)
            break;
        if (op->outcomes.total == LIMIT_REQUEST_RECORDS)
            return refuse_count(a, op);
        done += rc == 0 ? doc.nodes[0].len + RECORD_WORK : REFUSAL_WORK;
        if ((rc == WH_ESYNTAX || rc == WH_ELIMIT) && source->resumes) {
            if (!op->dry_run)
                metric_add(a->metrics.rejected_json, 1);
            outcome_refused(&op->outcomes, slice_str(source->error(source)), source->code,
                            op->dry_run ? "syntax" : NULL);
            if (!too_many(op))
                continue;
            refuse_syntax(a, op, source);
            return INGEST_ANSWERED;
        }
        if (rc == WH_ESYNTAX || rc == WH_ELIMIT) {
            refuse_syntax(a, op, source);
            return INGEST_ANSWERED;
        }
        if (rc == 0)
            rc = ingest_record_add(a, op, ask->table, &doc);
        if (rc != 0)
            return not_taken(a, op, rc);
        if (op->result.status != 0) {
            outcome_refused(&op->outcomes, slice_str(op->result.message), op->result.code,
                            refused_by(op));
            if (too_many(op)) {
                refuse_record(a, op);
                return INGEST_ANSWERED;
            }
        } else if (op->duplicate) {
            outcome_duplicate(&op->outcomes);
        } else if (op->dry_run) {
            outcome_shown(&op->outcomes, buf_slice(&op->shown));
        } else {
            outcome_ok(&op->outcomes);
        }
        if (op->ack != INGEST_ACK_NONE && op->result.status == 0 && !op->duplicate)
            ingest_ack_placed(op);
    }
    if (op->outcomes.total == 0 && ask->empty != NULL) {
        ingest_refuse(a, op->door, op->request, INGEST_REQUEST, 400, slice_str(ask->empty), 0);
        return INGEST_ANSWERED;
    }
    return INGEST_COLLECTED;
}

bool ingest_collect_begin(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask,
                          uint64_t first_ns)
{
    ingest_op_reset(op);
    op->first_ns = first_ns;
    op->dry_run = op->outcomes.dry_run = ask->dry_run;
    op->terms = &ask->terms;
    op->access = &ask->access;
    op->source = ingest_source_open(a->readers, ask);
    if (op->source == NULL) {
        ingest_refuse_busy(a, op->door, op->request);
        return false;
    }
    op->single = op->source->single;
    return true;
}

enum ingest_collected ingest_collect(struct api_loop *a, struct ingest_op *op,
                                     const struct ingest_ask *ask, uint64_t work)
{
    return op->single ? collect_one(a, op, ask, op->source)
                      : collect_many(a, op, ask, op->source, work);
}
