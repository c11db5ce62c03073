/* SPDX-License-Identifier: Apache-2.0 */
/* The planner thread's state, shared by planner….c and flush.c only. */
#ifndef WH_FLUSH_PLANNER_H
#define WH_FLUSH_PLANNER_H

#include "flush/job.h"
#include "flush/pace.h"
#include "flush/shelf.h"
#include "flush/spool.h"

struct planner {
    struct flush_options options;
    struct queue queue; /* jobs, plan proposals, wake-ups after commits */
    struct flush_ledger *ledger;
    struct flush_watches watches;
    struct wal_cursor *cursor;
    struct flush_sender *senders[FLUSH_SENDERS_MAX];
    struct flush_sender *idle[FLUSH_SENDERS_MAX];
    uint32_t sender_count, idle_count;
    struct flush_table *ready, *ready_last; /* FIFO of tables whose job waits for a sender */
    struct flush_table *landed; /* whose job has ended, not read to its end yet; any order */
    uint32_t proposals;         /* plans on their way through the log thread */
    uint64_t applied_index;     /* last entry read */
    bool replayed, stalled, reread, stopping;
    bool reachable;
    enum ch_outcome down_outcome; /* why not, as last logged; CH_OK: nothing logged */
    uint64_t replayed_index;      /* up to here the log is from before the start */
    uint32_t outdated_jobs;       /* at work for a ClickHouse that is not the one in force */
    _Atomic bool crowded; /* a table waits for a sender, or a job is outdated; senders read it */
    uint32_t down_attempts;
    uint64_t probe_ns;
    struct flush_pace pace;
    struct flush_spool spool;
    struct planner_gauges {
        struct metric *bytes, *capacity, *in, *growth, *hours, *backlog, *eta;
    } gauges;
    /* what the store does not have yet */
    struct store_flush_state stored;
    struct flush_shelf shelf;
    struct flush_receipt receipt; /* of the last purge applied; under lock once committed */
    uint64_t held_stored;         /* bytes on the shelf of held records */
    bool dirty, reset, trim_dlq, store_failed;
    bool fold_due;                 /* the fold has not been told what is stored */
    uint64_t store_ns, metrics_ns; /* not before */
    uint64_t random;
    struct metric *dlq_dropped;
    /* shared with other threads */
    _Atomic bool stop;
    _Atomic uint64_t shelf_index, held_bytes; /* written by the planner */
    _Atomic uint64_t shelf_want;              /* 0: nobody waits */
    pthread_mutex_t lock;                     /* the five below */
    struct queue *shelf_watch;                /* of whoever waits for letters */
    struct flush_receipt published;           /* receipt of the last purge that the store has */
    struct flush_stats stats;
    struct flush_options next_options;
    bool reload;
};

/* Until stop is set and every sender is idle. */
void planner_run(struct planner *p);
/* Have a plan's oldest records waited for longer than they do when all is well? */
bool planner_is_stale(const struct planner *p, uint64_t oldest_ns, uint64_t wall);

/* planner_store.c. The log is not read on before the store has taken the letters noted. */
bool planner_shelf_full(const struct planner *p);
bool planner_store_due(const struct planner *p);
/* Store what is due, at most once a second unless somebody waits. Returns whether it is stored. */
bool planner_store_turn(struct planner *p, uint64_t now);
/* Store everything read so far; false: it is tried again. */
bool planner_store(struct planner *p);
/* Tell the fold what the store has, if that is due. */
void planner_tell_fold(struct planner *p);
/* For other threads: how far the shelves are, and the bytes that are held. */
void planner_publish_shelf(struct planner *p);

/* planner_show.c */
void planner_gauges_make(struct planner *p);
/* Metrics of what lies on the shelves, read from the store. */
void planner_show_shelves(struct planner *p);
/* The table's name as the value of a metric's label; the caller frees it. */
void planner_table_label(struct buf *out, const struct flush_table *t);
/* Everything that others may see, once a turn. */
void planner_publish(struct planner *p, uint64_t now);

struct flush_rules flush_rules_of(const struct flush_options *o);
#endif
