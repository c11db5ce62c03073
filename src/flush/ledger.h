/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: what of the log is not yet in ClickHouse, table by table, and what is due.
 *
 * A pure state machine: log entries and times go in, decisions come out; no thread, clock, file or
 * socket. The same entries give the same ledger, live and after a restart.
 *
 *   IDLE ──cut──► PROPOSED ──plan committed──► WAITING ──due──► READY ──► RUNNING ──done
 * committed──► IDLE ▲               │ refused                    ▲                          │
 * failed └───────────────┘                            └──────────────────────────┘
 *
 * A table has at most one open plan. A plan entry is valid when its table has none and it starts
 * after what is flushed through; any other is void, on every reader alike. Entries that wait are
 * kept as runs (index ranges with sums), so the memory does not grow with the number of entries. */
#ifndef WH_FLUSH_LEDGER_H
#define WH_FLUSH_LEDGER_H

#include "flush/entry.h"
#include "flush/watch.h"

#define FLUSH_EAGER_ROWS 500  /* http-api §7.8: so many rows do not wait for the timer */
#define FLUSH_SPACING_MS 1000 /* but a busy table gets about one insert a second */
#define FLUSH_BURST      4    /* times max_rows and max_bytes: most in a busy table's plan */
#define FLUSH_WANTED_MS  200  /* a table that somebody waits for: between two of its cuts */
#define FLUSH_BACKLOG    2    /* times a burst: a table with more is behind, not just busy */
#define FLUSH_PIECES     16   /* times max_rows and max_bytes: most in the plan of a backlog, … */
#define FLUSH_PIECE      2    /* … which goes in pieces of so many times max_rows and max_bytes */
#define FLUSH_RUN_PARTS  8    /* a run is at most this fraction of a plan */
#define FLUSH_RUN_GAP    256  /* log entries between two of a run; senders jump over wider gaps */
#define FLUSH_RUNS_GAPPY 1024 /* with more runs than this, the gap does not matter */

struct flush_rules {
    uint64_t interval_ns, max_rows, max_bytes;
    uint64_t spacing_ns; /* between two cuts of a table that has less than FLUSH_BURST times */
    uint64_t eager_rows;
    uint64_t wanted_ns; /* between two cuts of a table that somebody waits for */
};

struct flush_run {
    uint64_t first, last; /* log indexes */
    uint64_t rows, bytes;
    uint64_t time_ns; /* wall clock of the first entry, for the age metric */
    uint64_t seen_ns; /* monotonic, when the ledger heard of it, for the interval */
};

enum flush_phase {
    FLUSH_IDLE,
    FLUSH_PROPOSED,
    FLUSH_WAITING,
    FLUSH_READY,
    FLUSH_RUNNING
};

/* A part of the log that holds entries of a table. */
struct flush_span {
    uint64_t first, last; /* log indexes */
};

/* A committed plan without a done entry. */
struct flush_open {
    uint64_t index, first, last, bytes, fingerprint, time_ns;
    uint32_t rows, piece_rows;
    char *token;
    struct flush_rows *units; /* from the last progress entry, without dead rows; NULL: none yet */
    uint32_t unit_count;
    struct flush_rows dead;
    struct flush_span *spans; /* ascending; all entries of the plan are in them */
    uint32_t span_count;
};

#define FLUSH_DOUBT_HALVES 64 /* more than lie on a stack at a time: two for each cut */

/* Rows of an open plan that may be in ClickHouse, though nobody has said so. */
struct flush_doubt {
    uint64_t plan_index;
    uint64_t digests[2]; /* of the rows of the last INSERTs without a clear answer, */
    uint32_t count;      /* so many of them: two are under way at most */
    bool all;            /* the plan is from before the start: any of it may have been sent, */
    uint64_t half[FLUSH_DOUBT_HALVES]; /* but not what was cut since, */
    uint32_t halves;                   /* so many of them are left */
    uint32_t refusals;                 /* of rows in doubt, since they came to be */
};

struct flush_table {
    struct flush_table *hash_next, *ready_next;
    char *name;
    uint32_t name_len, hash;
    enum flush_phase phase;
    uint64_t through, through_stored; /* flushed through this index; what the store knows of it */
    struct flush_run *runs;           /* ring: runs[(run_head + i) & (run_cap − 1)] */
    uint32_t run_head, run_count, run_cap;
    uint64_t rows, bytes; /* in runs */
    uint64_t sealed;      /* a run that ends at or below this index is not extended */
    struct flush_open *open;
    uint64_t cut_ns, hold_ns; /* last cut; not before */
    uint64_t due_ns;
    uint32_t heap_at; /* place in the heap of times, UINT32_MAX: not in */
    /* Kept for the planner: */
    uint32_t attempts, schema_attempts;
    uint64_t schema_refreshes; /* schema discoveries before the last of schema_attempts */
    int outcome;               /* of the last job, enum ch_outcome */
    struct flush_doubt doubt;  /* of the open plan, as the last job left it */
    uint64_t landed_index, landed_until_ns; /* of a job that has ended, until it is read so far */
    bool recount; /* the oldest run's rows and bytes are not known: flush_ledger_recount */
    bool window_warned, pending_shown;
    bool wanted; /* somebody waits for rows that are in no plan yet */
    struct flush_watch_table watches;
    void *metrics;
};

struct flush_ledger;
struct flush_ledger *flush_ledger_new(const struct flush_rules *rules);
void flush_ledger_free(struct flush_ledger *l);
void flush_ledger_set_rules(struct flush_ledger *l, const struct flush_rules *rules);

/* The table, made when it is new; NULL when memory runs out. Stays until flush_ledger_free. */
struct flush_table *flush_ledger_table(struct flush_ledger *l, struct slice name);
/* The table, or NULL when no entry was of it. */
struct flush_table *flush_ledger_find(struct flush_ledger *l, struct slice name);
static inline struct slice flush_table_name(const struct flush_table *t)
{
    return (struct slice){t->name, t->name_len};
}
/* From the store, before any entry. */
int flush_ledger_position(struct flush_ledger *l, struct slice name,
                          uint64_t through) WH_MUST_CHECK;

/* Log entries, in log order. time_ns: the entry's; now_ns: monotonic (0 while replaying, so that
 * what was there before the start is due at once). 0; -ENOMEM: nothing was done. */
int flush_ledger_events(struct flush_ledger *l, uint64_t index, struct slice table, uint64_t rows,
                        uint64_t bytes, uint64_t time_ns, uint64_t now_ns) WH_MUST_CHECK;
/* As events; 1 when the entry is void. *t is its table (NULL: none). After plan and done the caller
 * looks at t->recount: after a restart runs are made otherwise than they were, and one may reach
 * over the end of a plan. Then the entries of the table in the oldest run's [first, last] must be
 * counted again. */
int flush_ledger_plan(struct flush_ledger *l, uint64_t index, const struct flush_plan *p,
                      uint64_t now_ns, struct flush_table **out) WH_MUST_CHECK;
int flush_ledger_progress(struct flush_ledger *l, const struct flush_progress *p) WH_MUST_CHECK;
int flush_ledger_dead(struct flush_ledger *l, const struct flush_dead *d) WH_MUST_CHECK;
int flush_ledger_done(struct flush_ledger *l, const struct flush_done *d,
                      struct flush_table **out) WH_MUST_CHECK;
static inline struct flush_run *flush_table_oldest(struct flush_table *t)
{
    return &t->runs[t->run_head & (t->run_cap - 1)];
}
/* The oldest run holds this; rows 0: nothing, it goes. */
void flush_ledger_recount(struct flush_ledger *l, struct flush_table *t, uint64_t rows,
                          uint64_t bytes);

/* A table whose time has come (phase IDLE: cut a plan; WAITING: make a job), or NULL and when to
 * ask again in *next_ns (UINT64_MAX: when something changes). The caller moves it on with one of
 * the calls below, else it comes again. */
struct flush_table *flush_ledger_due(struct flush_ledger *l, uint64_t now_ns, uint64_t *next_ns);
/* Somebody waits for rows of this table: they do not wait for the interval. Until the next cut. */
void flush_ledger_want(struct flush_ledger *l, struct flush_table *t);
/* IDLE → PROPOSED: fill plan's first, last, rows, bytes, piece_rows from the oldest runs. */
void flush_ledger_cut(struct flush_ledger *l, struct flush_table *t, uint64_t now_ns,
                      struct flush_plan *plan);
/* The proposal was refused: IDLE, not before until_ns. */
void flush_ledger_cut_failed(struct flush_ledger *l, struct flush_table *t, uint64_t until_ns);
/* WAITING → READY, READY → RUNNING. */
void flush_ledger_ready(struct flush_ledger *l, struct flush_table *t);
void flush_ledger_running(struct flush_ledger *l, struct flush_table *t);
/* The job of a RUNNING table ended: IDLE when its plan is done, else WAITING until until_ns. */
void flush_ledger_ended(struct flush_ledger *l, struct flush_table *t, uint64_t until_ns);
/* Every WAITING table is due now (ClickHouse is back). */
void flush_ledger_hurry(struct flush_ledger *l);

/* Smallest index that is still needed; next_index when nothing is. */
uint64_t flush_ledger_low(const struct flush_ledger *l, uint64_t next_index);
/* Sums over all tables, open plans included. */
struct flush_totals {
    uint64_t rows, bytes, open_plans;
};
struct flush_totals flush_ledger_totals(const struct flush_ledger *l);
/* Of one table: rows that wait (open plan included) and the wall clock time of the oldest, or 0. */
uint64_t flush_table_pending(const struct flush_table *t, uint64_t *oldest_ns);
/* The first log index of the table that is not in ClickHouse or a dead letter yet; UINT64_MAX: none
 * that is known. */
uint64_t flush_table_first(const struct flush_table *t);
void flush_ledger_each(struct flush_ledger *l, void (*each)(void *ctx, struct flush_table *t),
                       void *ctx);

/* min doubled with each attempt after the first, at most max, ± a quarter by `random`. */
uint64_t flush_backoff_ns(uint64_t min_ms, uint64_t max_ms, uint32_t attempts, uint64_t random);

#endif
