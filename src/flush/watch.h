/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits to hear what became of an entry: in ClickHouse, or a dead letter, record by record.
 *
 *   loop:     flush_watch_add ─► propose the entry ─► … ◄── the watch comes back through its queue,
 *                                                           or flush_watch_cancel (time is up)
 *   planner:  reads the entry (attached) ─► dead letters of it (noted) ─► its plan is done (back)
 *
 * A watch is added before its entry is proposed, and names it by the acceptance instant of its
 * first record, which no other entry has: so the planner cannot be past the entry before it knows
 * of the watch. With no watch anywhere the planner pays one atomic load an entry. The count is
 * bounded by LIMIT_FLUSH_WATCHES. The lock is held for a few pointer moves. */
#ifndef WH_FLUSH_WATCH_H
#define WH_FLUSH_WATCH_H

#include "base/buf.h"
#include "base/err.h"
#include "base/queue.h"
#include "base/slice.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum flush_watch_end {
    FLUSH_WATCH_FLUSHED, /* every record is in ClickHouse, but for those in `dead` */
    FLUSH_WATCH_HELD,    /* records wait for columns that their table does not have yet */
    FLUSH_WATCH_STOPPED  /* the daemon stops: committed, not yet in ClickHouse */
};

/* A record that ClickHouse has refused for good. */
struct flush_watch_dead {
    bool dropped;     /* dlq.enabled is false for its table; else it is a dead letter */
    uint32_t ordinal; /* place in the entry */
    int32_t code;     /* ClickHouse's error number */
    struct slice text;
};

struct flush_watch {
    struct queue_link link; /* first: through done */
    struct queue *done;     /* set before adding; its owner pops it */
    /* when it is back: */
    enum flush_watch_end end;
    struct buf dead; /* read with flush_watch_next_dead; kept memory, the owner's buf_fini */
    uint32_t dead_count;
    bool out_of_memory; /* `dead` is not complete: the fate of single records is unknown */
    /* inside of flush/watch.c */
    uint64_t key; /* acceptance instant of the first record, then the log index */
    bool added, attached, aside;
    struct flush_watch *hash_next;
    struct flush_watch *table_next, *table_prev; /* of one table, by index */
    struct flush_watch_table *table;
};

/* The watches of one table, oldest first; in its struct flush_table. */
struct flush_watch_table {
    struct flush_watch *first, *last;
};

#define FLUSH_WATCH_BUCKETS 1024
struct flush_watches {
    pthread_mutex_t lock;   /* all below and inside of watches */
    _Atomic uint32_t count; /* writers hold the lock; the planner looks without it */
    struct flush_watch *by_instant[FLUSH_WATCH_BUCKETS], *by_index[FLUSH_WATCH_BUCKETS];
    bool stopped;
};
void flush_watches_init(struct flush_watches *ws);
void flush_watches_fini(struct flush_watches *ws);

/* ---- the owner's side, any thread; the memory of w is the owner's ---- */

/* first_ns: the acceptance instant of the entry's first record. 0: w is in use until it comes back
 * or is cancelled. WH_EFULL: too many; WH_ESTOPPED. */
int flush_watch_add(struct flush_watches *ws, struct flush_watch *w,
                    uint64_t first_ns) WH_MUST_CHECK;
/* True: w is the owner's again and does not come back. False: it is on its way through its queue.
 */
bool flush_watch_cancel(struct flush_watches *ws, struct flush_watch *w);
/* The dead letters of a watch that is back, texts only of the first LIMIT_BATCH_RESULTS; *at starts
 * as buf_slice(&w->dead) and moves on. */
bool flush_watch_next_dead(struct slice *at, struct flush_watch_dead *out);

/* ---- the planner's side ---- */

static inline bool flush_watches_any(struct flush_watches *ws)
{
    return atomic_load_explicit(&ws->count, memory_order_acquire) > 0;
}
/* An entry with that first instant was read. True when somebody waits for it. */
bool flush_watch_attach(struct flush_watches *ws, uint64_t first_ns, uint64_t index,
                        struct flush_watch_table *t);
/* The same for an entry that the planner has put aside: its watch goes back at once. */
void flush_watch_held(struct flush_watches *ws, uint64_t first_ns);
void flush_watch_dead_letter(struct flush_watches *ws, uint64_t index, uint32_t ordinal,
                             int32_t code, struct slice text, bool dropped);
/* Records of that entry are put aside until columns come: it ends as FLUSH_WATCH_HELD. */
void flush_watch_put_aside(struct flush_watches *ws, uint64_t index);
/* Everything of the table up to `through` is done with: those watches go back. True when some are
 * left. */
bool flush_watch_flushed(struct flush_watches *ws, struct flush_watch_table *t, uint64_t through);
/* Nothing more will be flushed: all go back, none is taken any more. */
void flush_watches_stop(struct flush_watches *ws);

#endif
