/* SPDX-License-Identifier: Apache-2.0 */
/* From the committed log to ClickHouse, exactly once (architecture §6, doc/flush.md).
 *
 *   log ──cursor──► planner ──plan entry──► log ──cursor──► planner ──job──► sender ──► ClickHouse
 *                      ▲                                                       │
 *                      └──────── progress, dead letter, done entries ◄─────────┘
 *
 * One planner thread folds the log into a ledger (what waits, per table) and cuts plans; up to
 * FLUSH_SENDERS_MAX sender threads turn a plan's range into blocks and insert them. Everything that
 * must survive a crash is a log entry, so a restart is a replay: a plan without a done entry is
 * sent again, same rows, same tokens. */
#ifndef WH_FLUSH_FLUSH_H
#define WH_FLUSH_FLUSH_H

#include "base/err.h"
#include "base/limits.h"
#include "base/queue.h"
#include "clickhouse/target.h"
#include "cluster/commit.h"
#include "flush/watch.h"
#include "schema/schema.h"
#include "store/store.h"
#include "wal/wal.h"

/* An insert keeps about one core of ours and one of ClickHouse busy. */
#define FLUSH_SENDERS_MAX 4

struct flush;

/* First member of everything that travels through a flush queue. */
enum flush_msg_kind {
    FLUSH_MSG_JOB,      /* struct flush_job, either way */
    FLUSH_MSG_PROPOSAL, /* struct flush_proposal, from the log thread */
    FLUSH_MSG_OFFSETS   /* struct flush_offsets, a question */
};
struct flush_msg {
    struct queue_link link;
    enum flush_msg_kind kind;
};

/* WAL_CONTROL entries that belong to another room. They are applied like letters and jobs: in log
 * order, in the store transaction that covers them, so exactly once. Planner thread. */
struct flush_fold {
    void *ctx;
    bool (*claims)(void *ctx, struct slice payload);
    /* A transaction that fails is tried again whole, with the same entries and perhaps more. */
    void (*apply)(void *ctx, struct store_txn *txn, uint64_t index, uint64_t time_ns,
                  struct slice payload);
    /* The store has all of them up to this log index, some just now. False: to be told again. */
    bool (*stored)(void *ctx, uint64_t index);
};

struct flush_options {
    struct wal *wal;
    struct commit_log *commit;
    struct store *store;
    struct ch_target *clickhouse; /* flush takes a reference of its own */
    /* Identity of the log, first part of every token; 1 … 64 bytes of [A-Za-z0-9_.-]. A log that
     * is created anew must get a new one: tokens contain log indexes, and ClickHouse would drop new
     * rows under an old token as repeats. */
    const char *cluster;
    /* senders at work at a time: min(this, FLUSH_SENDERS_MAX), ≥ 1; with room for two connections
     * each, they use two for a backlog */
    uint32_t max_open_conns;
    uint64_t interval_ms, max_rows, max_bytes; /* flush.* */
    uint64_t retry_min_ms, retry_max_ms;
    uint64_t catch_up_rows_per_s; /* of backlog; 0: any number */
    uint64_t retain_ms;           /* wal.retain, passed on to commit_set_trim */
    uint64_t dlq_max_bytes;
    /* Both are called from flush threads and must not block for long. catalog gives one reference,
     * or NULL while no schema of the target's database is known: rows must not become dead letters
     * for what another database looks like. request_refresh asks for a discovery soon; refreshes
     * counts those that succeeded: schema trouble with the same catalog as before proves nothing.
     */
    struct schema_catalog *(*catalog)(void *ctx);
    void (*request_refresh)(void *ctx);
    uint64_t (*refreshes)(void *ctx);
    /* dlq.enabled, for this table? NULL: for every one. Planner thread. */
    bool (*dlq)(void *ctx, struct slice table);
    /* ingest.unknown_columns: hold, for this table? NULL: for none. Planner thread. */
    bool (*hold)(void *ctx, struct slice table);
    /* Rows of the table may be in ClickHouse now: after each attempt to insert, before anybody is
     * told that they are. Sender threads. NULL: nobody wants to know. */
    void (*inserted)(void *ctx, struct slice table);
    void *ctx;
    struct flush_fold fold; /* .claims NULL: none */
};

/* Replays what is needed from the log (from the stored low index), then starts planning. Subscribes
 * to commits, so call it right after commit_start. The options are copied, what they point to is
 * not. Blocks briefly (store read); the replay runs on the planner thread. */
int flush_start(struct flush **out, const struct flush_options *options,
                struct err *e) WH_MUST_CHECK;

/* New values for the reloadable settings: clickhouse, max_open_conns, interval, rows, bytes,
 * retries, retain, dlq_max_bytes; the others must be those of the start. A running insert ends with
 * the old ClickHouse target; what did not succeed there comes again, same rows and same token, with
 * the new one, without waiting for a backoff that the old one earned. Any thread. */
void flush_reload(struct flush *f, const struct flush_options *options);

/* Stop planning, let running inserts end for up to timeout_ms, store positions. Call before
 * commit_stop. 0, or -ETIMEDOUT: a sender still waits for ClickHouse and f, the log and the store
 * must stay as they are until the process exits (nothing is lost: its plan is sent again at the
 * next start, with the same token). f is gone when 0 is returned. Blocks. */
int flush_stop(struct flush *f, uint64_t timeout_ms);

/* ---- letters and jobs: for whoever proposes entries that change them (src/replay) ----
 *
 * The planner brings what such entries say to the store, at once when somebody waits. */

/* Everything that entries up to this index say about letters and jobs is in the store. Any thread,
 * never blocks. */
uint64_t flush_shelf_index(struct flush *f);
/* wake is woken when flush_shelf_index has passed what flush_shelf_want asked for, and when further
 * records are held. One consumer; before the first want. NULL: nobody any more. */
void flush_shelf_watch(struct flush *f, struct queue *wake);
void flush_shelf_want(struct flush *f, uint64_t index);
/* Bytes of records that are held, those on their way to the store included. Any thread, never
 * blocks. */
uint64_t flush_held_bytes(struct flush *f);

/* What the purge at this log index took away. */
#define FLUSH_WHO_CAP 512
struct flush_receipt_table {
    char table[LIMIT_NAME_BYTES + 1];
    uint64_t records, bytes;
};
/* Only the last purge's is kept. WH_ENOTFOUND: another one's, or none. -ENOMEM. *tables is the
 * caller's, to free. Any thread; takes a lock. */
int flush_receipt_take(struct flush *f, uint64_t index, uint64_t *records, uint64_t *bytes,
                       uint64_t *time_ns, struct flush_receipt_table **tables,
                       uint32_t *table_count) WH_MUST_CHECK;

/* For health and status texts. Any thread. */
struct flush_stats {
    uint64_t pending_rows, pending_bytes; /* in the log, not yet in ClickHouse, all tables */
    uint64_t open_plans;
    uint64_t applied_index; /* last entry that the planner has read */
    uint64_t low_index;     /* below it everything is in ClickHouse or dead-lettered */
    bool replayed;          /* the log as it was at the start has been read */
    bool reachable;         /* the last connection attempt to ClickHouse went well */
    bool stalled;           /* the planner met a damaged entry and stands still */
    /* once a second (flush/spool.h, flush/pace.h): */
    uint64_t spool_bytes, spool_capacity;
    double spool_in_per_s, spool_growth_per_s, spool_hours_left;
    uint64_t backlog_rows, backlog_eta_s; /* rows that waited long; 0 s: unknown */
};
void flush_stats_get(struct flush *f, struct flush_stats *out);

/* Who waits for entries (flush/watch.h). The loops that add watches must have ended before
 * flush_stop; watches that are still there then go back as FLUSH_WATCH_STOPPED. */
struct flush_watches *flush_watches_of(struct flush *f);

/* How far a table has come. The question lies in the planner's queue and comes back through done,
 * also when the flusher stops; table stays the asker's until then. */
struct flush_offsets {
    struct flush_msg msg; /* first */
    struct queue *done;
    struct slice table; /* len 0: all tables together */
    /* when it is back: */
    uint64_t flushed; /* every record of the table at or below this log index is in ClickHouse or
                         a dead letter; never falls */
    uint64_t pending_rows;
    uint64_t oldest_ns; /* wall clock of the oldest pending record's entry; 0: none */
};
void flush_offsets_ask(struct flush *f, struct flush_offsets *q);

#endif
