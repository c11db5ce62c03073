/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/shelf.h"

#include "base/le.h"
#include "base/log.h"
#include "base/magic.h"
#include "flush/entry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An op: u32 bytes, u32 kind, u64 log index, u64 time of the entry, bytes. */
enum {
    OP_BYTES = 0,
    OP_KIND = 4,
    OP_INDEX = 8,
    OP_TIME = 16,
    OP_HEAD = 24
};
enum op_kind {
    OP_DEAD,    /* a WAL_DEAD_LETTER payload */
    OP_HELD,    /* a WAL_EVENTS payload with WAL_BATCH_HELD */
    OP_ORIGIN,  /* an origin section */
    OP_CONTROL, /* a WAL_CONTROL payload */
    OP_FOLD     /* one of another room */
};

void flush_shelf_init(struct flush_shelf *s, const struct flush_fold *fold)
{
    memset(s, 0, sizeof(*s));
    s->fold = *fold;
    buf_init(&s->ops, SIZE_MAX);
}

void flush_shelf_fini(struct flush_shelf *s)
{
    buf_fini(&s->ops);
}

void flush_shelf_reset(struct flush_shelf *s)
{
    buf_reset(&s->ops);
    s->held_bytes = 0;
    s->held = s->urgent = s->folded = false;
}

/* ---- noting ---- */

static int op_add(struct flush_shelf *s, enum op_kind kind, const struct wal_view *v,
                  struct slice bytes)
{
    size_t before = s->ops.len;
    buf_put_le32(&s->ops, (uint32_t)bytes.len);
    buf_put_le32(&s->ops, kind);
    buf_put_le64(&s->ops, v->index);
    buf_put_le64(&s->ops, v->time_ns);
    buf_put_slice(&s->ops, bytes);
    if (buf_ok(&s->ops))
        return 0;
    s->ops.failed = false;
    s->ops.len = before;
    return -ENOMEM;
}

int flush_shelf_events(struct flush_shelf *s, const struct wal_view *v,
                       const struct wal_batch *events)
{
    int rc = 0;
    if ((events->flags & WAL_BATCH_ORIGIN) != 0) {
        rc = op_add(s, OP_ORIGIN, v, events->origin);
        s->urgent = true;
    }
    if (rc == 0 && (events->flags & WAL_BATCH_HELD) != 0) {
        rc = op_add(s, OP_HELD, v, v->payload);
        if (rc == 0) {
            s->held = true;
            s->held_bytes += events->text.len;
        }
    }
    return rc;
}

int flush_shelf_dead(struct flush_shelf *s, const struct wal_view *v)
{
    struct flush_dead dead;
    if (flush_dead_get(v->payload, &dead, NULL) != 0 || dead.fate == FLUSH_FATE_DROPPED)
        return 0;
    int rc = op_add(s, OP_DEAD, v, v->payload);
    if (rc == 0 && dead.fate == FLUSH_FATE_HELD) {
        s->held = true;
        s->held_bytes += v->payload.len;
    }
    return rc;
}

int flush_shelf_control(struct flush_shelf *s, const struct wal_view *v)
{
    enum flush_control_kind kind;
    bool folded = s->fold.claims != NULL && s->fold.claims(s->fold.ctx, v->payload);
    if (!folded && !flush_control_kind(v->payload, &kind))
        return 0;
    int rc = op_add(s, folded ? OP_FOLD : OP_CONTROL, v, v->payload);
    if (rc == 0) {
        s->urgent = true;
        s->folded = s->folded || folded;
    }
    return rc;
}

/* ---- applying ---- */

struct op {
    enum op_kind kind;
    uint64_t index, time_ns;
    struct slice bytes;
};

struct apply {
    struct store_txn *txn;
    uint32_t jobs_kept;
    struct flush_receipt *receipt;
};

static bool op_next(struct slice *at, struct op *op)
{
    if (at->len == 0)
        return false;
    op->bytes = (struct slice){at->ptr + OP_HEAD, le32_get(at->ptr + OP_BYTES)};
    op->kind = (enum op_kind)le32_get(at->ptr + OP_KIND);
    op->index = le64_get(at->ptr + OP_INDEX);
    op->time_ns = le64_get(at->ptr + OP_TIME);
    at->ptr += OP_HEAD + op->bytes.len;
    at->len -= OP_HEAD + op->bytes.len;
    return true;
}

static void apply_dead(struct apply *a, const struct op *op)
{
    struct flush_dead dead;
    struct flush_dead_item item;
    if (flush_dead_get(op->bytes, &dead, NULL) != 0)
        return;
    enum store_shelf shelf = dead.fate == FLUSH_FATE_HELD ? STORE_HELD : STORE_DEAD;
    while (flush_dead_next(&dead, &item, NULL) == 0) {
        struct store_letter l = {.id = {.index = item.index,
                                        .ordinal = item.ordinal,
                                        .epoch = store_txn_epoch(a->txn)},
                                 .code = item.code,
                                 .failed_at_ns = dead.failed_at_ns,
                                 .received_ns = item.received_ns,
                                 .table = dead.table,
                                 .text = item.text,
                                 .sender = item.sender,
                                 .record = item.record};
        store_txn_letter_put(a->txn, shelf, &l);
    }
}

static void apply_held(struct apply *a, const struct op *op)
{
    struct wal_batch batch;
    if (wal_batch_parse(op->bytes, &batch, NULL) != 0 || batch.table.len == 0 ||
        batch.table.len > LIMIT_NAME_BYTES)
        return;
    for (uint32_t i = 0; i < batch.count; i++) {
        struct wal_batch_record record = wal_batch_get(&batch, i);
        struct store_letter l = {.id = {.index = op->index,
                                        .ordinal = i,
                                        .epoch = store_txn_epoch(a->txn)},
                                 .failed_at_ns = record.received_ns,
                                 .received_ns = record.received_ns,
                                 .table = batch.table,
                                 .sender = batch.sender,
                                 .record = record.text};
        store_txn_letter_put(a->txn, STORE_HELD, &l);
    }
}

/* An id of a payload as this store has it; false: of a log that this store does not know. */
static bool id_resolve(const struct apply *a, struct store_letter_id *id)
{
    uint32_t epoch = store_txn_epoch(a->txn);
    if (id->epoch != FLUSH_EPOCH_THIS)
        return id->epoch < epoch;
    id->epoch = epoch;
    return true;
}

static bool job_read(struct apply *a, uint64_t job, struct buf *copy, struct flush_job_spec *spec)
{
    struct slice value;
    if (!store_txn_job_get(a->txn, job, &value))
        return false;
    buf_put_slice(copy, value);
    return buf_ok(copy) && flush_job_get(buf_slice(copy), spec, NULL) == 0;
}

static void job_write(struct apply *a, uint64_t job, const struct flush_job_spec *spec)
{
    struct buf value;
    buf_init(&value, SIZE_MAX);
    flush_job_put(&value, spec);
    must(buf_ok(&value)); /* a few hundred bytes */
    store_txn_job_put(a->txn, job, buf_slice(&value));
    buf_fini(&value);
}

static void apply_log_origin(struct apply *a, const struct op *op, const struct flush_origin *o)
{
    struct flush_job_spec spec;
    struct buf copy;
    buf_init(&copy, SIZE_MAX);
    if (job_read(a, o->job, &copy, &spec)) {
        spec.next_index = o->next_index;
        spec.next_ordinal = o->next_ordinal;
        spec.rows = o->rows;
        spec.changed_ns = op->time_ns;
        job_write(a, o->job, &spec);
    }
    buf_fini(&copy);
}

static void apply_origin(struct apply *a, const struct op *op)
{
    struct flush_origin o;
    if (flush_origin_get(op->bytes, &o, NULL) != 0)
        return;
    if (o.kind == FLUSH_FROM_LOG) {
        apply_log_origin(a, op, &o);
        return;
    }
    for (uint32_t i = 0; i < o.count; i++) {
        struct store_letter_id id = flush_origin_id(&o, i);
        if (id_resolve(a, &id))
            (void)store_txn_letter_remove(a->txn, o.shelf, id);
    }
}

static void apply_edit(struct apply *a, const struct op *op)
{
    struct flush_edit edit;
    if (flush_edit_get(op->bytes, &edit, NULL) != 0 || !id_resolve(a, &edit.id))
        return;
    if (store_txn_letter_replace(a->txn, edit.shelf, edit.id, edit.record))
        log_info("dlq.edited", "id=%" PRIu32 "-%" PRIu64 "-%" PRIu32 " index=%" PRIu64 " by=%.*s",
                 edit.id.epoch, edit.id.index, edit.id.ordinal, op->index, SLICE_ARG(edit.who));
}

/* ---- purge ---- */

void flush_receipt_fini(struct flush_receipt *r)
{
    free(r->tables);
    memset(r, 0, sizeof(*r));
}

static struct flush_receipt_table *receipt_table(struct flush_receipt *r, struct slice name)
{
    /* Most often the one that came last. */
    for (uint32_t i = r->table_count; i > 0; i--)
        if (slice_eq_str(name, r->tables[i - 1].table))
            return &r->tables[i - 1];
    if (r->table_count == r->table_cap) {
        uint32_t cap = r->table_cap == 0 ? 4 : r->table_cap * 2;
        struct flush_receipt_table *tables = realloc(r->tables, cap * sizeof(*tables));
        if (tables == NULL)
            return NULL;
        r->tables = tables;
        r->table_cap = cap;
    }
    struct flush_receipt_table *t = &r->tables[r->table_count++];
    memset(t, 0, sizeof(*t));
    memcpy(t->table, name.ptr, name.len);
    return t;
}

static void on_purged(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct flush_receipt *r = ctx;
    r->records += records;
    r->bytes += bytes;
    struct flush_receipt_table *t = receipt_table(r, table);
    if (t == NULL) {
        r->failed = true;
        return;
    }
    t->records += records;
    t->bytes += bytes;
}

static void apply_purge(struct apply *a, const struct op *op)
{
    struct flush_purge purge;
    struct flush_receipt *r = a->receipt;
    if (flush_purge_get(op->bytes, &purge, NULL) != 0)
        return;
    flush_receipt_fini(r);
    r->index = op->index;
    r->time_ns = op->time_ns;
    r->shelf = purge.shelf;
    (void)snprintf(r->who, sizeof(r->who), "%.*s", SLICE_ARG(purge.who));
    if (purge.count == 0)
        store_txn_letter_purge(a->txn, purge.shelf, purge.table, purge.before_ns, on_purged, r);
    for (uint32_t i = 0; i < purge.count; i++) {
        struct store_letter_id id = flush_purge_id(&purge, i);
        if (id_resolve(a, &id))
            store_txn_letter_remove_told(a->txn, purge.shelf, id, on_purged, r);
    }
}

/* ---- jobs ---- */

struct finished {
    uint64_t oldest; /* 0: none is finished */
    uint32_t count;
};

static bool count_finished(void *ctx, uint64_t job, struct slice value)
{
    struct finished *f = ctx;
    struct flush_job_spec spec;
    if (flush_job_get(value, &spec, NULL) == 0 && spec.state == FLUSH_JOB_RUNNING)
        return true;
    f->oldest = f->count == 0 ? job : f->oldest;
    f->count++;
    return true;
}

static void apply_job(struct apply *a, const struct op *op)
{
    struct flush_job_spec spec;
    struct finished finished = {0};
    if (flush_job_get(op->bytes, &spec, NULL) != 0)
        return;
    store_txn_job_put(a->txn, op->index, op->bytes);
    store_txn_job_each(a->txn, count_finished, &finished);
    if (finished.count > a->jobs_kept)
        store_txn_job_delete(a->txn, finished.oldest);
}

static void apply_job_end(struct apply *a, const struct op *op)
{
    struct flush_job_end end;
    struct flush_job_spec spec;
    struct buf copy;
    if (flush_job_end_get(op->bytes, &end, NULL) != 0)
        return;
    buf_init(&copy, SIZE_MAX);
    if (job_read(a, end.job, &copy, &spec)) {
        spec.state = end.state;
        spec.reason = end.reason;
        spec.changed_ns = op->time_ns;
        job_write(a, end.job, &spec);
    }
    buf_fini(&copy);
}

static void apply_control(struct apply *a, const struct op *op)
{
    enum flush_control_kind kind;
    if (!flush_control_kind(op->bytes, &kind))
        return;
    switch (kind) {
    case FLUSH_CONTROL_EDIT:
        apply_edit(a, op);
        break;
    case FLUSH_CONTROL_PURGE:
        apply_purge(a, op);
        break;
    case FLUSH_CONTROL_JOB:
        apply_job(a, op);
        break;
    case FLUSH_CONTROL_JOB_END:
        apply_job_end(a, op);
        break;
    }
}

void flush_shelf_apply(const struct flush_shelf *s, struct store_txn *txn, uint32_t jobs_kept,
                       struct flush_receipt *receipt)
{
    struct apply a = {.txn = txn, .jobs_kept = jobs_kept, .receipt = receipt};
    struct slice at = buf_slice(&s->ops);
    struct op op;
    while (op_next(&at, &op)) {
        switch (op.kind) {
        case OP_DEAD:
            apply_dead(&a, &op);
            break;
        case OP_HELD:
            apply_held(&a, &op);
            break;
        case OP_ORIGIN:
            apply_origin(&a, &op);
            break;
        case OP_CONTROL:
            apply_control(&a, &op);
            break;
        case OP_FOLD:
            s->fold.apply(s->fold.ctx, txn, op.index, op.time_ns, op.bytes);
            break;
        }
    }
}
