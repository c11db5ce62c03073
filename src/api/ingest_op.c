/* SPDX-License-Identifier: Apache-2.0 */
#include "api/ingest.h"

#include "base/magic.h"
#include "io/clock.h"

#include <stdlib.h>

#define OP_IDLE_NS (UINT64_C(5) * 1000000000)

struct ingest_op *ingest_op_take(struct api_loop *a, const struct ingest_door *door,
                                 struct http_request *r)
{
    struct ingest_op *op = a->idle_ops;
    if (op != NULL) {
        a->idle_ops = op->next;
    } else {
        op = calloc(1, sizeof(*op));
        if (op == NULL)
            return NULL;
        buf_init(&op->outcomes.entries, SIZE_MAX);
        buf_init(&op->shown, SIZE_MAX);
        buf_init(&op->ack_places, SIZE_MAX);
    }
    op->door = door;
    op->request = r;
    op->outstanding = 0;
    op->worst = 0;
    op->duplicate = false;
    op->dedupe.active = false;
    op->dedupe.until_ns = 0;
    op->offset = 0;
    op->charged = false;
    op->desk = NULL;
    op->turn_key = 0;
    op->turns = NULL;
    op->ack = INGEST_ACK_NONE;
    op->body_bytes = r->body.len;
    a->in_flight_bytes += op->body_bytes;
    return op;
}

void ingest_op_reset(struct ingest_op *op)
{
    ingest_dedupe_reset(op);
    while (op->parts != NULL) {
        struct ingest_part *part = op->parts;
        op->parts = part->next;
        part->next = op->spare_parts;
        op->spare_parts = part;
    }
    op->last_part = op->open[0] = op->open[1] = NULL;
    ingest_ack_reset(op);
    outcomes_reset(&op->outcomes);
    op->records = 0;
}

void ingest_op_release(struct api_loop *a, struct ingest_op *op)
{
    must(op->desk == NULL && op->turns == NULL);
    ingest_op_reset(op);
    a->in_flight_bytes -= op->body_bytes;
    op->request = NULL;
    op->idle_since_ns = io_monotonic_ns();
    op->next = a->idle_ops;
    a->idle_ops = op;
}

/* Free a list of idle requests. */
static void ops_free(struct ingest_op *op)
{
    while (op != NULL) {
        struct ingest_op *next = op->next;
        while (op->spare_parts != NULL) {
            struct ingest_part *part = op->spare_parts;
            op->spare_parts = part->next;
            wal_batch_fini(&part->batch);
            buf_fini(&part->watch.dead);
            buf_fini(&part->ack_numbers);
            buf_fini(&part->stamps);
            free(part);
        }
        buf_fini(&op->outcomes.entries);
        buf_fini(&op->shown);
        buf_fini(&op->ack_places);
        free(op);
        op = next;
    }
}

void ingest_shrink(struct api_loop *a)
{
    uint64_t now = io_monotonic_ns();
    struct ingest_op **at = &a->idle_ops;
    /* Most recently used first: after the first old one, all are old. */
    while (*at != NULL && now - (*at)->idle_since_ns < OP_IDLE_NS)
        at = &(*at)->next;
    struct ingest_op *old = *at;
    *at = NULL;
    ops_free(old);
    ingest_turns_shrink(a);
}

void ingest_free_all(struct api_loop *a)
{
    ops_free(a->idle_ops);
    a->idle_ops = NULL;
}

struct ingest_part *ingest_part_open(struct ingest_op *op, bool held)
{
    struct ingest_part *part = op->spare_parts;
    if (part != NULL) {
        op->spare_parts = part->next;
        wal_batch_reset(&part->batch);
        buf_reset(&part->ack_numbers);
        buf_reset(&part->stamps);
        buf_reset(&part->watch.dead);
        part->watch.dead_count = 0;
        part->watched = false;
    } else {
        part = calloc(1, sizeof(*part));
        if (part == NULL)
            return NULL;
        wal_batch_init(&part->batch);
        buf_init(&part->watch.dead, SIZE_MAX);
        buf_init(&part->ack_numbers, SIZE_MAX);
        buf_init(&part->stamps, SIZE_MAX);
    }
    part->op = op;
    part->reserved = false;
    part->next = NULL;
    if (op->last_part != NULL)
        op->last_part->next = part;
    else
        op->parts = part;
    op->last_part = part;
    op->open[held] = part;
    if (held)
        part->batch.flags = WAL_BATCH_HELD;
    return part;
}
