/* SPDX-License-Identifier: Apache-2.0 */
/* Records enter the log again: dead letters, held rows, and ranges of the log (http-api §13,
 * doc/flush.md "Entering again").
 *
 *   store (dead letters, held rows) ─┐
 *                                    ├─► wh-replay: rule, check ─► one EVENTS entry per batch ─►
 * log log (events of a table) ─────────┘
 *
 * Exactly once: the entry that carries rows again also says where they come from (its origin), and
 * the planner takes them off their shelf, or moves the job on, in the store transaction that covers
 * the entry. Rows and removal are one write, so there is no instant in which a row is in both
 * places or in none. All such entries are made by one thread, which reads a shelf only when the
 * store has taken in every earlier one; so two replays of the same letters, a request sent twice,
 * or a kill between any two steps do not repeat a row.
 *
 * Tasks (struct replay_task) are worked on in turn, a batch at a time, so a short one does not wait
 * for a long one. Rows never enter faster than ClickHouse takes them (REPLAY_AHEAD_ROWS), and not
 * while the log has no room for new events: replay waits, ingest does not. */
#ifndef WH_REPLAY_REPLAY_H
#define WH_REPLAY_REPLAY_H

#include "base/buf.h"
#include "base/limits.h"
#include "base/queue.h"
#include "cluster/commit.h"
#include "flush/flush.h"
#include "schema/schema.h"
#include "store/store.h"

#define REPLAY_TASKS_MAX  64     /* waiting and at work; beyond it replay_ask answers WH_EFULL */
#define REPLAY_JOBS_MAX   16     /* log ranges under way at a time */
#define REPLAY_JOBS_KEPT  100    /* listed, finished ones included; then the oldest finished go */
#define REPLAY_BATCH_ROWS 10000  /* in one entry */
#define REPLAY_AHEAD_ROWS 500000 /* of ours, entered and not yet in ClickHouse, per table */
#define REPLAY_IDS_MAX    10000  /* in one task */
#define REPLAY_REFRESH_MS 5000
#define REPLAY_TEXT_CAP   512

struct replay;

struct replay_options {
    struct wal *wal;
    struct commit_log *commit;
    struct store *store;
    struct flush *flush;
    bool stamp_received; /* ingest.stamp_received_timestamp */
    /* As flush_options': the schema of today, one reference, or NULL while none is known. Called on
     * the replay thread. */
    struct schema_catalog *(*catalog)(void *ctx);
    /* Ask for a discovery soon: called every REPLAY_REFRESH_MS while rows are held. */
    void (*request_refresh)(void *ctx);
    void *ctx;
};

/* Starts the thread; jobs that a stop interrupted go on where their last entry left them. After
 * flush_start. The options are copied, what they point to is not. */
int replay_start(struct replay **out, const struct replay_options *options,
                 struct err *e) WH_MUST_CHECK;
/* Tasks that are not finished come back as WH_ESTOPPED with the figures so far; jobs stay and go on
 * at the next start. Before flush_stop. Blocks for one commit at most. NULL is fine. */
void replay_stop(struct replay *r);
/* The daemon is about to stop: tasks that enter letters end after the entry at hand, as
 * WH_ESTOPPED with their figures, so that nobody who waits for their answers holds up the end. Any
 * thread, never blocks. NULL is fine. */
void replay_drain(struct replay *r);

/* ---- letters: the shelves of the store ----------------------------------------------------- */

/* A letter is a record kept aside in the store (store.h): on the shelf STORE_DEAD because
 * ClickHouse refused it, on STORE_HELD because its table lacks columns that it has. Lists, single
 * letters and counts are read from the store directly: store_letter_list, _get, _counts. */

/* What became of one letter. Slices are valid during the call. */
struct replay_outcome {
    const struct store_letter *letter;
    bool ok;             /* it enters (dry_run: would enter) */
    int32_t code;        /* not ok: ClickHouse's number for the reason, or 0 */
    const char *message; /* not ok: why, as ingest would say it */
    struct slice record; /* ok: as it enters: canonical JSON */
};

/* What a caller wants done to each letter before it enters; called on the replay thread, must not
 * block. Append the new record (a JSON object) to out, or leave out empty: unchanged. 0; 1: refused
 * for the reason put into why (the letter stays); negative: an error that ends the task. */
typedef int replay_transform_fn(void *ctx, const struct store_letter *letter, struct buf *out,
                                char why[REPLAY_TEXT_CAP]);

/* Would ClickHouse take the record, which has the right shape for table t of the catalog?
 * Canonical, without padding behind it. Called on the replay thread, must not block. 0; 1: refused
 * for the reason put into why, with ClickHouse's number (the letter stays); negative: an error that
 * ends the task. */
typedef int replay_judge_fn(void *ctx, struct schema_catalog *catalog, const struct schema_table *t,
                            struct slice record, char why[REPLAY_TEXT_CAP], int32_t *code);

enum replay_task_kind {
    REPLAY_ENTER,     /* letters into the log again */
    REPLAY_EDIT,      /* another record in place of a letter's */
    REPLAY_PURGE,     /* letters away for good */
    REPLAY_JOB_START, /* a range of the log into a table */
    REPLAY_JOB_CANCEL,
};

/* Which letters a task is about. Either ids, or all that pass the other conditions. */
struct replay_choice {
    enum store_shelf shelf;
    const struct store_letter_id *ids; /* borrowed until the task comes back; NULL: not by id */
    size_t id_count;                   /* ≤ REPLAY_IDS_MAX */
    struct slice table;                /* len 0: every table. Borrowed likewise */
    uint64_t before_ns;                /* kept aside before this instant (failed_at); 0: any time */
};

struct replay_purged { /* one table's part of a purge */
    char table[LIMIT_NAME_BYTES + 1];
    uint64_t count, bytes;
};

struct replay_task {
    struct queue_link link;
    enum replay_task_kind kind;
    struct queue *done; /* where the task comes back */
    void *user;
    /* "<peer> <request id>" of who asked: the sender of the entries, and for the audit log line.
     * Borrowed until the task comes back. */
    struct slice who;

    struct replay_choice choice; /* ENTER, PURGE */
    struct {
        /* All may be NULL. They run on the replay thread; ctx is the caller's until the task comes
         * back. match: only these. outcome: every letter looked at, in the order of the shelf. */
        bool (*match)(void *ctx, const struct store_letter *letter);
        replay_transform_fn *transform;
        replay_judge_fn *judge;
        void (*outcome)(void *ctx, const struct replay_outcome *o);
        void *ctx;
        bool ignore_unknown; /* drop keys that are no columns, instead of refusing the record */
        bool dry_run;        /* nothing changes: what would happen, letter by letter */
        uint64_t limit;      /* letters looked at; 0: all */
        struct store_letter_id after; /* begin behind this one; all zero: at the oldest. Only with
                                         choice.table */
    } enter;
    struct {
        struct store_letter_id id;
        struct slice record; /* a JSON object of any content (it is checked when it enters); comes
                                to the store on one line. Borrowed */
        enum store_shelf shelf;
    } edit;
    struct {
        struct slice table, into; /* into.len 0: the same table. Borrowed */
        /* Where to begin and end, both included: log indexes, or instants when by_time. from 0: the
         * oldest retained entry; to 0: the log's end as it is now. */
        uint64_t from, to;
        bool by_time;
        uint64_t rows_per_second; /* 0: as fast as ClickHouse takes them */
        bool held;                /* also rows that were held when they came */
        bool ignore_unknown; /* keys that are no columns of `into` are dropped; otherwise such a
                                row becomes a dead letter there */
        uint64_t job;        /* JOB_CANCEL: which; JOB_START: filled with its number */
    } job;

    /* Filled before it comes back. result: 0; -errno or WH_E…, and error says why in a sentence for
     * the operator: WH_ENOTFOUND (no such letter, job or table; a part of the log that is gone),
     * WH_ESYNTAX (the record is no JSON object; conditions that exclude one another), WH_EAGAIN
     * (schema not known yet; no room in the log, or ClickHouse does not keep up, for
     * REPLAY_STALL_MS: the figures say how far it got), WH_EFULL (a job into this table runs
     * already, or too many), WH_ESTOPPED. */
    int result;
    char error[REPLAY_TEXT_CAP];
    uint64_t looked_at, entered, refused; /* ENTER. dry_run: entered = would enter */
    uint64_t missing;                     /* ENTER with ids: not there (any more) */
    struct store_letter_id
        next;         /* ENTER of one table: the last one looked at; all zero: none left */
    uint64_t index;   /* log index of the (last) entry made; 0: none was needed */
    uint64_t time_ns; /* of that entry: wall clock */
    uint64_t purged_count, purged_bytes; /* PURGE: the receipt, as the store took it */
    struct replay_purged *purged;        /* by table; of the task, free with replay_task_fini */
    uint32_t purged_tables;
};

#define REPLAY_STALL_MS 30000

/* 0: the task is the replay thread's until it comes back through task->done; WH_EFULL: still the
 * caller's. Any thread, never blocks. Zero a task before filling it. */
int replay_ask(struct replay *r, struct replay_task *task) WH_MUST_CHECK;
/* Frees what the answer holds, not the task. */
void replay_task_fini(struct replay_task *task);

/* ---- jobs ---------------------------------------------------------------------------------- */

/* Append a JSON array of the jobs, newest first:
 *   {"id":17,"table":"T","into":"T2","state":"running|waiting|done|cancelled|failed","from":1,
 *    "to":900,"position":450,"rows":1000,"rows_per_second":0,"started":"<RFC 3339>",
 *    "changed":"…","estimated_end":"…" (running, once known),"reason":"…" (waiting, failed)}
 * job 0: all; otherwise that one alone as an object, WH_ENOTFOUND. Any thread; takes a lock. */
int replay_jobs_json(struct replay *r, uint64_t job, struct buf *out) WH_MUST_CHECK;

/* ---- drift --------------------------------------------------------------------------------- */

/* Append what /v1/ops/drift answers: tables with held rows (table.len 0: all), each with the
 * columns that it lacks:
 *   {"tables":[{"table":"T","held":3,"bytes":812,"oldest":"…","columns":[{"name":"x","count":3,
 *     "first_seen":"…","last_seen":"…","kinds":["string"],"suggested_type":"Nullable(String)"}],
 *     "alter":"ALTER TABLE `T` ADD COLUMN `x` Nullable(String)"}],"total":3,"scanned":true}
 * scanned false: the held rows are still being read (after a start), columns may be incomplete.
 * Values of records are in no answer and no log line. Any thread; takes a lock. */
int replay_drift_json(struct replay *r, struct slice table, struct buf *out) WH_MUST_CHECK;

#endif
