/* SPDX-License-Identifier: Apache-2.0 */
/* Changes of letters and jobs that the log holds and the store does not have yet, in log order.
 *
 * The planner notes them while it reads and applies them in the store transaction that covers their
 * entries; so a letter is put, edited, purged, entered again exactly once, whatever is killed when:
 * either the transaction has all of it up to the applied index, or the entries are read again.
 * Planner thread only. */
#ifndef WH_FLUSH_SHELF_H
#define WH_FLUSH_SHELF_H

#include "flush/flush.h"
#include "flush/origin.h"
#include "wal/batch.h"

struct flush_shelf {
    struct buf ops;      /* see shelf.c */
    uint64_t held_bytes; /* of records to be held among them */
    bool held;           /* there are some */
    bool urgent;         /* somebody waits for the store to have them */
    bool folded;         /* the fold has some */
    struct flush_fold fold;
};

void flush_shelf_init(struct flush_shelf *s, const struct flush_fold *fold);
void flush_shelf_fini(struct flush_shelf *s);
/* The store has them. */
void flush_shelf_reset(struct flush_shelf *s);
static inline bool flush_shelf_empty(const struct flush_shelf *s)
{
    return s->ops.len == 0;
}

/* Note what an entry changes, if anything. events: those of a WAL_EVENTS entry, parsed. 0, also for
 * what does not parse as ours (the caller has said so, or it is not for us); -ENOMEM: nothing was
 * noted. */
int flush_shelf_events(struct flush_shelf *s, const struct wal_view *v,
                       const struct wal_batch *events) WH_MUST_CHECK;
int flush_shelf_dead(struct flush_shelf *s, const struct wal_view *v) WH_MUST_CHECK;
int flush_shelf_control(struct flush_shelf *s, const struct wal_view *v) WH_MUST_CHECK;

/* What the purges among them took away, the last one's; tables are the caller's to free. */
struct flush_receipt {
    uint64_t index, time_ns; /* of the entry; 0: none */
    enum store_shelf shelf;
    uint64_t records, bytes;
    struct flush_receipt_table *tables;
    uint32_t table_count, table_cap;
    bool failed; /* memory ran out: tables is not whole, the sums are */
    char who[FLUSH_WHO_CAP];
};
void flush_receipt_fini(struct flush_receipt *r);

/* Apply all of them. What fails comes out of the transaction's commit. jobs_kept: finished jobs
 * beyond so many go, the oldest first. */
void flush_shelf_apply(const struct flush_shelf *s, struct store_txn *txn, uint32_t jobs_kept,
                       struct flush_receipt *receipt);

#endif
