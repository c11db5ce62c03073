/* SPDX-License-Identifier: Apache-2.0 */
/* Shared within src/replay. Everything belongs to the replay thread, except what replay.lock and
 * the comments say. */
#ifndef WH_REPLAY_PRIV_H
#define WH_REPLAY_PRIV_H

#include "flush/origin.h"
#include "replay/replay.h"
#include "schema/record.h"
#include "wal/batch.h"
#include "json/json.h"

#include <pthread.h>

#define REPLAY_AGAIN_MS 200 /* when there is no room: look again after so long */

/* What a step of a task, a job or the held rows came to. */
enum replay_step {
    STEP_MORE, /* something was done; call again */
    STEP_WAIT, /* nothing can be done before the store, the log or ClickHouse is further */
    STEP_DONE  /* there is nothing (more) to do */
};

/* Letters read from a shelf, copied: the store's pages must not be kept busy. */
struct replay_page {
    struct store_letter *letters;
    uint32_t count, cap;
    uint32_t max;   /* letters wanted */
    struct buf buf; /* their texts, each record followed by LIMIT_JSON_PADDING bytes */
    bool full;      /* the shelf has more */
};

/* Rows on their way into one table. */
struct replay_batch {
    struct wal_batch_builder wal;
    struct buf origin;
    uint32_t letters; /* in origin */
};

/* Rows of ours that ClickHouse may not have yet, in two halves: when the newer half is full, the
 * older one must have arrived. */
struct replay_ahead {
    char *table;
    uint64_t old_index, new_index; /* last entry of the half; 0: empty */
    uint64_t new_rows;
};

struct replay_drift_column {
    char *name;
    size_t name_len;
    uint64_t count, first_ns, last_ns;
    uint32_t kinds; /* bit per JSON kind and more, drift.c */
    bool said;      /* in a log line */
};

/* The held rows of one table, looked at from the oldest on; again when its columns change. */
struct replay_held {
    struct replay_held *next;
    char *table;
    size_t table_len;
    struct store_letter_id at; /* the last one looked at */
    uint64_t kept;             /* rows up to there that stay held */
    uint64_t there;            /* rows on the shelf, as counted at the beginning of this step */
    uint64_t fingerprint;      /* of the columns that they were looked at with; 0: no table */
    bool scanned;              /* to the end of the shelf */
    /* Under replay.lock: */
    struct replay_drift_column *columns;
    uint32_t column_count, column_cap;
    uint32_t said; /* columns in log lines */
};

struct replay_job {
    bool used;
    uint64_t number;
    struct buf texts; /* backs the spec's slices */
    struct flush_job_spec spec;
    struct wal_cursor *cursor;      /* NULL: not open; keeps the log from being deleted */
    uint64_t cursor_at;             /* entry that the cursor gives next; 0: seek first */
    uint64_t due_ns;                /* rate: not before */
    uint64_t blocked_ns;            /* no room for new events since; 0: there is */
    uint64_t speed_ns, speed_index; /* where it was when it was (re)started, for the estimate */
    const char *waits_for;          /* static text; NULL: it runs */
    uint64_t ended_index;           /* its end is this entry, which the store may not know yet: it
                                       is kept so that it can be looked at; 0: under way */
    char reason[REPLAY_TEXT_CAP];   /* why it ended */
};

struct replay_active { /* a task under way */
    struct replay_active *next;
    struct replay_task *task;
    struct store_letter_id at;   /* ENTER: the last one looked at */
    struct store_letter_id *ids; /* ENTER by id: ascending, each once */
    size_t id_count, id_at;      /* the next one */
    char **tables;               /* ENTER of every table: their names */
    uint32_t table_count, table_at;
    bool started, committed;
    uint64_t waiting_ns; /* since when it cannot go on; 0: it can */
};

struct replay {
    uint32_t magic;
    struct replay_options options;
    struct queue tasks;   /* from others, and wake-ups */
    struct queue answers; /* proposals that come back, one at a time */
    pthread_t thread;
    _Atomic bool stopping, draining;
    _Atomic uint32_t task_count; /* asked and not yet answered */
    struct replay_active *active;
    struct proposal proposal;
    struct record_checker *checker;
    struct json_reader *reader;
    struct replay_page page;
    struct replay_batch batch;
    struct buf payload; /* of a control entry */
    struct buf changed; /* a record after its rule */
    struct replay_ahead *ahead;
    uint32_t ahead_count, ahead_cap;
    uint64_t shelf_last; /* our last entry that the store must know before a shelf is read */
    uint32_t epoch;
    bool jobs_loaded;
    struct metric *rows[3]; /* entered: dead, held, log */
    struct replay_held *held;
    uint64_t held_due_ns; /* look at the shelf's tables again */
    uint64_t held_rows, refresh_due_ns;
    /* Shared with whoever asks for JSON: */
    pthread_mutex_t lock;
    struct replay_job jobs[REPLAY_JOBS_MAX];
};

/* replay.c */
/* Has the store everything that our entries said? If not it is asked to hurry, and wakes us. */
bool replay_settled(struct replay *r);
/* May rows enter this table now? NULL: yes; otherwise what is waited for (static text). */
const char *replay_blocked(struct replay *r, struct slice table);
/* rows were entered with the entry at index. */
void replay_entered(struct replay *r, struct slice table, uint64_t index, uint32_t rows);
/* Commit an entry; waits for it. order: the batch that it is, whose records take instants of now;
 * NULL: none. 0 and *index; WH_EAGAIN: no room, nothing was stored; other
 * errors: the log is ending. */
int replay_commit(struct replay *r, uint8_t type, const struct iovec *parts, int part_count,
                  struct wal_batch_builder *order, uint64_t *index) WH_MUST_CHECK;
int replay_commit_control(struct replay *r, uint64_t *index) WH_MUST_CHECK; /* payload */

/* enter.c */
void replay_batch_init(struct replay_batch *b);
void replay_batch_fini(struct replay_batch *b);
void replay_batch_reset(struct replay_batch *b);
/* Commit the batch as an entry of this table; empty: nothing happens, *index is 0. */
int replay_batch_commit(struct replay *r, struct slice table, struct slice who, uint8_t flags,
                        uint64_t *index) WH_MUST_CHECK;
/* The letter's id goes into the origin of the batch. */
void replay_batch_letter(struct replay *r, enum store_shelf shelf, struct store_letter_id id);
bool replay_batch_full(const struct replay_batch *b, size_t record_bytes);
/* Check a record against t and append it to the batch in canonical form: 0 and where it is, 1 and
 * result says why not; negative: out of memory. t NULL: appended as it is. text is followed by
 * LIMIT_JSON_PADDING readable bytes. */
int replay_batch_record(struct replay *r, const struct schema_catalog *catalog,
                        const struct schema_table *t, struct slice text, bool ignore_unknown,
                        uint64_t received_ns, size_t *text_off, struct record_result *result);
/* A page of at most max letters behind `after`. 0, or an error. */
int replay_page_read(struct replay *r, enum store_shelf shelf, struct slice table,
                     struct store_letter_id after, uint32_t max, struct err *e) WH_MUST_CHECK;
enum replay_step replay_enter_step(struct replay *r, struct replay_active *a);
void replay_active_free(struct replay_active *a);

/* jobs.c */
void replay_jobs_load(struct replay *r);
enum replay_step replay_job_step(struct replay *r, struct replay_job *j, uint64_t now,
                                 uint64_t *next_ns);
enum replay_step replay_job_task(struct replay *r, struct replay_active *a);
void replay_jobs_close(struct replay *r);

/* held.c */
enum replay_step replay_held_step(struct replay *r, uint64_t now, uint64_t *next_ns);
/* A task changed the shelf: count anew. */
void replay_held_again(struct replay *r);
void replay_held_free(struct replay *r);

/* drift.c: which columns held rows lack. The callers hold replay.lock. */
/* Note the keys of doc that are no columns of t (NULL: no such table, nothing is noted). */
void replay_drift_note(struct replay_held *h, const struct schema_table *t,
                       const struct json_doc *doc, uint64_t received_ns);
/* Count from zero again. */
void replay_drift_zero(struct replay_held *h);
void replay_drift_fini(struct replay_held *h);

/* End a task with an error. */
enum replay_step replay_fail(struct replay_task *task, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
