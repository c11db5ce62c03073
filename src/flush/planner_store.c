/* SPDX-License-Identifier: Apache-2.0 */
/* What the planner keeps in the store: positions, letters, jobs, and where a restart begins to
 * read. One transaction has all that the log says up to one entry; after it the log may be trimmed.
 */
#include "base/limits.h"
#include "base/log.h"
#include "base/metric.h"
#include "flush/planner.h"

#include <inttypes.h>
#include <string.h>

#define NS_PER_MS      1000000u
#define STORE_EVERY_NS 1000000000u
#define STORE_BEHIND_MAX \
    100000 /* entries that a restart may read again though nothing else changed */
#define SHELF_BYTES_MAX (8 * MIB) /* letters waiting for the store; the log is not read beyond */
#define JOBS_KEPT       100       /* finished ones in the store */

bool planner_shelf_full(const struct planner *p)
{
    return p->shelf.ops.len >= SHELF_BYTES_MAX;
}

static void put_position(void *ctx, struct flush_table *t)
{
    if (t->through != t->through_stored)
        store_txn_position(ctx, flush_table_name(t), t->through);
}

static void position_stored(void *ctx, struct flush_table *t)
{
    (void)ctx;
    t->through_stored = t->through;
}

/* Half the store's largest size at most: copy-on-write and half-full pages take the rest. */
static uint64_t dlq_budget(const struct planner *p)
{
    uint64_t most = store_bytes_max(p->options.store) / 2;
    return p->options.dlq_max_bytes < most ? p->options.dlq_max_bytes : most;
}

/* One durable transaction: positions, dead letters, applied and low index. */
static int store_write(struct planner *p, uint64_t low, uint64_t *dropped, struct err *e)
{
    struct store_txn *txn;
    int rc = store_txn_begin(p->options.store, &txn, e);
    if (rc != 0)
        return rc;
    if (p->reset)
        store_txn_reset(txn, slice_str(p->options.cluster));
    flush_ledger_each(p->ledger, put_position, txn);
    flush_shelf_apply(&p->shelf, txn, JOBS_KEPT, &p->receipt);
    if (!flush_shelf_empty(&p->shelf) || p->trim_dlq)
        *dropped = store_txn_letter_trim(txn, dlq_budget(p));
    store_txn_applied(txn, p->applied_index, low);
    return store_txn_commit(txn, e);
}

/* Under the lock, so that the queue stays until it is let go of. */
static void wake_watch(struct planner *p)
{
    (void)pthread_mutex_lock(&p->lock);
    if (p->shelf_watch != NULL)
        queue_wake(p->shelf_watch);
    (void)pthread_mutex_unlock(&p->lock);
}

/* The store has what was noted of letters and jobs. */
static void shelf_stored(struct planner *p)
{
    if (!flush_shelf_empty(&p->shelf) || p->trim_dlq)
        planner_show_shelves(p);
    if (p->receipt.index != 0) {
        log_info("dlq.purged",
                 "shelf=%s records=%" PRIu64 " bytes=%" PRIu64 " index=%" PRIu64 " by=%s",
                 p->receipt.shelf == STORE_DEAD ? "dead" : "held", p->receipt.records,
                 p->receipt.bytes, p->receipt.index, p->receipt.who);
        (void)pthread_mutex_lock(&p->lock);
        flush_receipt_fini(&p->published);
        p->published = p->receipt;
        (void)pthread_mutex_unlock(&p->lock);
        memset(&p->receipt, 0, sizeof(p->receipt));
    }
    if (p->shelf.held)
        wake_watch(p);
    p->fold_due = p->fold_due || p->shelf.folded;
    flush_shelf_reset(&p->shelf);
}

bool planner_store(struct planner *p)
{
    struct err e = {0};
    uint64_t low = flush_ledger_low(p->ledger, p->applied_index + 1), dropped = 0;
    int rc = store_write(p, low, &dropped, &e);
    if (rc != 0) {
        static struct log_limit limit = LOG_LIMIT(60);
        uint64_t repeated;
        if (log_limit_pass(&limit, &repeated))
            log_error("flush.store",
                      "%s; tried again every second, the log keeps what is not stored; "
                      "repeated=%" PRIu64,
                      e.text, repeated);
        return false;
    }
    if (dropped > 0) {
        metric_add(p->dlq_dropped, (int64_t)dropped);
        log_warn("dlq.dropped",
                 "records=%" PRIu64 ": the oldest dead letters went, the rest is at dlq.max_bytes",
                 dropped);
    }
    shelf_stored(p);
    flush_ledger_each(p->ledger, position_stored, NULL);
    p->dirty = p->reset = p->trim_dlq = false;
    p->stored.applied_index = p->applied_index;
    p->stored.low_index = low;
    commit_set_trim(p->options.commit, low, p->options.retain_ms * NS_PER_MS);
    return true;
}

void planner_tell_fold(struct planner *p)
{
    struct flush_fold *fold = &p->options.fold;
    if (p->fold_due)
        p->fold_due = !fold->stored(fold->ctx, p->stored.applied_index);
}

/* What is stored is the sum of the log up to one entry, whichever; but before the log's end is
 * reached, that entry may be one that the store is past already. Not when dead letters wait: they
 * are all of later entries. */
bool planner_store_due(const struct planner *p)
{
    return planner_shelf_full(p) ||
           (p->replayed && (p->dirty || p->trim_dlq || !flush_shelf_empty(&p->shelf) ||
                            p->applied_index - p->stored.applied_index > STORE_BEHIND_MAX));
}

bool planner_store_turn(struct planner *p, uint64_t now)
{
    bool waiting =
        now < p->store_ns && (p->store_failed || (!planner_shelf_full(p) && !p->shelf.urgent));
    if (!planner_store_due(p) || waiting)
        return !planner_store_due(p);
    p->store_failed = !planner_store(p);
    p->store_ns = now + STORE_EVERY_NS;
    return !p->store_failed;
}

void planner_publish_shelf(struct planner *p)
{
    uint64_t index = flush_shelf_empty(&p->shelf) ? p->applied_index : p->stored.applied_index;
    if (p->reset) /* letters of the log before still look like this one's */
        index = 0;
    uint64_t want = atomic_load(&p->shelf_want);
    atomic_store(&p->held_bytes, p->held_stored + p->shelf.held_bytes);
    atomic_store(&p->shelf_index, index);
    /* Unless it is already another one that is waited for. */
    if (want != 0 && index >= want && atomic_compare_exchange_strong(&p->shelf_want, &want, 0))
        wake_watch(p);
}
