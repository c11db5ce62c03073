/* SPDX-License-Identifier: Apache-2.0 */
/* The path of one event from the request to the log (http-api §7).
 *
 *   head known      ingest_on_head       the door knows the table? room? Refused before the body
 *                                        is read
 *   body complete   ingest_on_request    the door says what is in it → collect: each record parsed,
 *                                        checked, written in canonical form into the open part;
 *                                        a body that takes longer does so in turns with others
 *                                        (ingest_turns.c)
 *                   submit               parts are proposed to the log thread in order
 *                                        (or waits for another request: ingest_dedupe.c)
 *   committed       ingest_on_committed  the last part is back → the door answers
 *
 * Nothing is proposed before the whole body was read and checked, so a syntax error in an array
 * stores nothing. A part is one log entry; only bodies over LIMIT_WAL_ENTRY_BYTES need more than
 * one. Entries are committed one by one: when a later part finds no room the answer is 503, the
 * parts before it stay stored, and those after it are refused with it. */
#include "api/ingest.h"

#include "base/limits.h"
#include "base/magic.h"
#include "io/clock.h"

#include <errno.h>
#include <stdio.h>

#define IN_FLIGHT_BYTES_MAX (256 * MIB) /* per loop */
#define QUIET_MAX           256         /* proposals gathered before the log thread is woken */
#define QUIET_NS_MAX        500000      /* and for how long at most */

/* --- refusals ------------------------------------------------------------------------------ */

static struct metric *refusal_metric(const struct api_metrics *m, enum ingest_reason reason)
{
    switch (reason) {
    case INGEST_SYNTAX:
        return m->rejected_json;
    case INGEST_RECORD:
        return NULL; /* counted where records are */
    case INGEST_LIMITED:
        return m->rejected_limit;
    case INGEST_BUSY:
        return m->in_flight_refused;
    case INGEST_LOG:
        return m->rejected_log;
    case INGEST_DENIED:
        return m->rejected_denied;
    default:
        return m->rejected_request;
    }
}

void ingest_refuse_why(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                       const struct ingest_refusal *why)
{
    struct metric *m = refusal_metric(&a->metrics, why->reason);
    if (m != NULL)
        metric_add(m, 1);
    door->refuse(a, r, why);
}

void ingest_refuse(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   enum ingest_reason reason, int status, struct slice text, int retry_after_s)
{
    struct ingest_refusal why = {.reason = reason,
                                 .status = status,
                                 .text = text,
                                 .retry_after_s = retry_after_s};
    ingest_refuse_why(a, door, r, &why);
}

void ingest_refuse_busy(struct api_loop *a, const struct ingest_door *door, struct http_request *r)
{
    ingest_refuse(a, door, r, INGEST_BUSY, 503, SLICE_LIT("service unavailable"), 1);
}

/* --- the head ------------------------------------------------------------------------------ */

int ingest_on_head(struct api_loop *a, const struct ingest_door *door, struct http_request *r,
                   struct http_admit *admit)
{
    const char *cause;
    if (door->on_head(a, r) != 0 || !ingest_ack_head(a, door, r))
        return 1;
    if (a->in_flight_bytes > IN_FLIGHT_BYTES_MAX) {
        ingest_refuse_busy(a, door, r);
        return 1;
    }
    if (!commit_accepting(a->shared->log, &cause)) {
        ingest_refuse(a, door, r, INGEST_LOG, 503, SLICE_LIT("service unavailable"), 30);
        return 1;
    }
    admit->body_max = a->config->server.max_body;
    return 0;
}

/* --- to the log and back ------------------------------------------------------------------- */

void ingest_reply(struct ingest_op *op, struct slice body, bool is_const)
{
    char text[64];
    struct slice extra = {text, 0};
    if (op->offset > 0) {
        static const char name[] = "X-WaveHouse-Offset: ";
        char digits[20];
        size_t at = sizeof(digits);
        for (uint64_t n = op->offset; n > 0; n /= 10)
            digits[--at] = (char)('0' + n % 10);
        memcpy(text, name, sizeof(name) - 1);
        extra.len = sizeof(name) - 1;
        memcpy(text + extra.len, digits + at, sizeof(digits) - at);
        extra.len += sizeof(digits) - at;
        memcpy(text + extra.len, "\r\n", 2);
        extra.len += 2;
    }
    struct http_reply reply = {.status = op->ack == INGEST_ACK_COMMITTED ? 202 : 200,
                               .content_type = "application/json",
                               .extra = extra,
                               .body = body};
    if (is_const)
        http_reply_json_extra(op->request, extra, body);
    else
        http_reply(op->request, &reply);
}

static void offset_find(struct ingest_op *op)
{
    for (const struct ingest_part *part = op->parts; part != NULL; part = part->next)
        if (part->batch.count > 0)
            op->offset = part->proposal.index;
}

void ingest_answer(struct api_loop *a, struct ingest_op *op)
{
    struct http_request *r = op->request;
    if (op->worst == WH_ELIMIT) {
        ingest_refuse(a, op->door, r, INGEST_LOG, 413,
                      SLICE_LIT("record is larger than a log segment can hold"), 0);
    } else if (op->worst != 0) {
        ingest_refuse(a, op->door, r, INGEST_LOG, 503, SLICE_LIT("service unavailable"),
                      op->worst == WH_EFULL ? 1 : 30);
    } else {
        if (!op->dry_run) {
            metric_add(a->metrics.ingest_records, (int64_t)op->records);
            metric_add(a->metrics.ingest_bytes, (int64_t)op->body_bytes);
            metric_observe(a->metrics.ingest_seconds, io_monotonic_ns() - r->received_ns);
            offset_find(op);
        }
        if (op->ack == INGEST_ACK_NONE || ingest_ack_settle(a, op))
            op->door->reply(a, op);
    }
    ingest_op_release(a, op);
}

static int part_propose(struct api_loop *a, struct ingest_part *part, struct slice table,
                        const struct proposal *after)
{
    struct wal_batch_builder *b = &part->batch;
    const struct http_request *r = part->op->request;
    buf_reset(&a->sender);
    buf_put_slice(&a->sender, r->peer);
    buf_put_u8(&a->sender, ' ');
    buf_put_slice(&a->sender, r->request_id);
    int rc = buf_ok(&a->sender) ? wal_batch_finish(b, table, buf_slice(&a->sender)) : -ENOMEM;
    if (rc != 0)
        return rc;
    struct proposal *p = &part->proposal;
    *p = (struct proposal){.type = WAL_EVENTS,
                           .after = after,
                           .gated = part->op->desk != NULL,
                           .done = &a->committed};
    p->part_count = wal_batch_parts(b, p->parts);
    p->queued_ns = io_monotonic_ns();
    rc = commit_propose_quiet(a->shared->log, p);
    if (rc == 0 && a->quiet_count++ == 0) {
        a->quiet_since_ns = p->queued_ns;
        loop_defer(a->loop);
    }
    /* Connections that never stop being ready must not hold back the others. */
    if (a->quiet_count >= QUIET_MAX || p->queued_ns - a->quiet_since_ns > QUIET_NS_MAX)
        ingest_kick(a);
    return rc;
}

void ingest_kick(void *api_loop)
{
    struct api_loop *a = api_loop;
    a->quiet_count = 0;
    commit_kick(a->shared->log);
}

/* Propose every part, in order. A refusal stops there, here as on the log thread: the answer waits
 * for those already under way (http-api §7.7: leading records may be stored, and no others). */
static void parts_propose(struct api_loop *a, struct ingest_op *op, struct slice table)
{
    const struct proposal *before = NULL;
    for (struct ingest_part *part = op->parts; part != NULL && op->worst == 0; part = part->next) {
        if (part->batch.count == 0)
            continue;
        int rc = op->ack != INGEST_ACK_NONE ? ingest_ack_watch(a, part) : 0;
        if (rc == 0)
            rc = part_propose(a, part, table, before);
        if (rc == 0) {
            before = &part->proposal;
            op->outstanding++;
        } else {
            op->worst = rc;
            ingest_ack_forget(a, part);
        }
    }
}

static void shift_instants(struct ingest_op *op, uint64_t shift)
{
    for (struct ingest_part *part = op->parts; part != NULL; part = part->next)
        wal_batch_shift(&part->batch, shift);
    op->first_ns += shift;
}

static enum ingest_collected move_instants(struct api_loop *a, struct ingest_op *op,
                                           const struct ingest_ask *ask, uint64_t first_ns)
{
    bool stamped = ask->table->received_timestamp >= 0 && a->config->ingest.stamp_received;
    if (stamped && op->desk == NULL) /* short: written again */
        return ingest_collect_begin(a, op, ask, first_ns)
                   ? ingest_collect(a, op, ask, INGEST_WORK_ALL)
                   : INGEST_ANSWERED;
    if (stamped && ingest_stamps_move(a, op, ask->table, first_ns - op->first_ns) != 0) {
        ingest_refuse_busy(a, op->door, op->request);
        return INGEST_ANSWERED;
    }
    shift_instants(op, first_ns - op->first_ns);
    return INGEST_COLLECTED;
}

/* Acceptance instants must grow along the log, for they identify events (http-api §11.2). They are
 * handed out when reading starts; if later ones have been proposed meanwhile, by another loop or
 * between two slices, this request takes new ones. The lock covers the push only, except then for a
 * table whose received_timestamp column is stamped: there the stamps are written again. */
static enum ingest_collected submit(struct api_loop *a, struct ingest_op *op,
                                    const struct ingest_ask *ask)
{
    struct commit_log *log = a->shared->log;
    enum ingest_collected how = INGEST_COLLECTED;
    uint64_t last_ns = commit_order_lock(log);
    if (op->first_ns <= last_ns)
        how = move_instants(a, op, ask, last_ns + 1);
    if (how == INGEST_COLLECTED && op->records > 0) {
        commit_order_take(log, op->first_ns + op->records - 1);
        parts_propose(a, op, ask->table->name);
    }
    commit_order_unlock(log);
    return how;
}

/* Every part is committed, or refused. */
static void op_decided(struct api_loop *a, struct ingest_op *op)
{
    if (op->ack == INGEST_ACK_NONE || !ingest_ack_wait(a, op))
        ingest_answer(a, op);
}

enum ingest_collected ingest_submit(struct api_loop *a, struct ingest_op *op,
                                    const struct ingest_ask *ask, enum ingest_collected how)
{
    if (how == INGEST_COLLECTED && !ask->dry_run && !ingest_limit(a, op, ask->table->name))
        how = INGEST_ANSWERED;
    if (how == INGEST_COLLECTED && !ask->dry_run)
        how = submit(a, op, ask);
    if (how == INGEST_MUST_WAIT) {
        enum ingest_wait wait = ingest_dedupe_wait(a, op);
        if (wait != INGEST_WAIT_OVER)
            how = wait == INGEST_WAITING ? INGEST_WAITS : INGEST_ANSWERED;
    }
    return how;
}

void ingest_read(struct api_loop *a, struct ingest_op *op, enum ingest_collected how)
{
    if (!op->dry_run)
        ingest_dedupe_count(a, op);
    if (how == INGEST_ANSWERED)
        ingest_op_release(a, op);
    else if (op->outstanding == 0)
        op_decided(a, op);
}

/* From a short body to the log, in one go. */
static void run(struct api_loop *a, struct ingest_op *op, const struct ingest_ask *ask)
{
    enum ingest_collected how;
    do {
        how = ingest_collect_begin(a, op, ask, io_realtime_ns())
                  ? ingest_collect(a, op, ask, INGEST_WORK_ALL)
                  : INGEST_ANSWERED;
        how = ingest_submit(a, op, ask, how);
    } while (how == INGEST_MUST_WAIT);
    if (how != INGEST_WAITS)
        ingest_read(a, op, how);
}

bool ingest_ask_again(struct api_loop *a, struct ingest_op *op, struct ingest_ask *ask)
{
    *ask = (struct ingest_ask){.body = op->request->body};
    api_refresh(a);
    a->route = op->door->route;
    if (op->door->on_body(a, op->request, ask) != 0)
        return false;
    op->settings = config_table_find(a->config, ask->table->name);
    return ingest_dedupe_begin(a, op, ask);
}

void ingest_again(struct api_loop *a, struct ingest_op *op)
{
    struct ingest_ask ask;
    if (op->request->body.len > INGEST_AT_ONCE_BYTES) {
        ingest_turns_put(a, op, op->turn_key);
        return;
    }
    if (ingest_ask_again(a, op, &ask))
        run(a, op, &ask);
    else
        ingest_op_release(a, op);
    ingest_access_fini(&ask.access);
}

void ingest_on_request(struct api_loop *a, const struct ingest_door *door, struct http_request *r)
{
    struct ingest_ask ask = {.body = r->body};
    bool answered = door->on_body(a, r, &ask) != 0;
    struct ingest_op *op = answered ? NULL : ingest_op_take(a, door, r);
    if (op == NULL) {
        ingest_access_fini(&ask.access);
        if (!answered)
            ingest_refuse_busy(a, door, r);
        return;
    }
    op->settings = config_table_find(a->config, ask.table->name);
    if (!ask.dry_run)
        ingest_ack_begin(a, op);
    if (r->body.len > INGEST_AT_ONCE_BYTES)
        ingest_turns_put(a, op, ingest_turn_key(ask.table->name));
    else if (ingest_dedupe_begin(a, op, &ask))
        run(a, op, &ask);
    else
        ingest_op_release(a, op);
    ingest_access_fini(&ask.access);
}

void ingest_on_committed(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->committed)) != NULL) {
        struct proposal *p = QUEUE_ITEM(link, struct proposal, link);
        struct ingest_part *part = QUEUE_ITEM(p, struct ingest_part, proposal);
        struct ingest_op *op = part->op;
        must(op->outstanding > 0);
        ingest_dedupe_settle(part, p->result == 0);
        if (p->result != 0 && op->worst == 0)
            op->worst = p->result;
        if (p->result != 0)
            ingest_ack_forget(a, part);
        if (--op->outstanding > 0)
            continue;
        ingest_turns_committed(a, op);
        op_decided(a, op);
    }
}
