/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads that change the store's shelves and jobs: where the records of an entry come from
 * (WAL_BATCH_ORIGIN), and what an operator decides about letters and jobs (WAL_CONTROL). Byte
 * layouts in doc/flush.md.
 *
 * Writers append a whole payload to a buf (check buf_ok once). Readers give borrowed views and
 * check every length: a payload may be hostile. They return 0 or WH_ECORRUPT with a text in e. */
#ifndef WH_FLUSH_ORIGIN_H
#define WH_FLUSH_ORIGIN_H

#include "base/buf.h"
#include "base/err.h"
#include "store/store.h"

/* An epoch in these payloads: 0 says "of this log", so that the entry means the same to a store
 * that had to be made again; another number names the letter of an earlier log. */
#define FLUSH_EPOCH_THIS 0

/* ---- origin: the records of this entry were kept elsewhere until now ---- */

enum flush_origin_kind {
    FLUSH_FROM_SHELF = 1, /* letters; with this entry they leave their shelf */
    FLUSH_FROM_LOG = 2    /* a range of the log; with this entry the job is further */
};

struct flush_origin {
    enum flush_origin_kind kind;
    /* FROM_SHELF */
    enum store_shelf shelf;
    uint32_t count;
    struct slice ids; /* read with flush_origin_id */
    /* FROM_LOG */
    uint64_t job;          /* log index of the entry that began it */
    uint64_t next_index;   /* the record that comes next: its entry, and place in it */
    uint32_t next_ordinal; /* " */
    uint64_t rows;         /* entered by this job so far, these included */
    bool same_table;       /* source and target are one table: copies of rows that are in the log */
};

/* FROM_SHELF: begin, then one id after the other, then the count. */
void flush_origin_begin(struct buf *out, enum store_shelf shelf);
void flush_origin_add(struct buf *out, struct store_letter_id id);
void flush_origin_end(struct buf *out, uint32_t count);
/* FROM_LOG */
void flush_origin_log(struct buf *out, const struct flush_origin *o);

int flush_origin_get(struct slice bytes, struct flush_origin *o, struct err *e) WH_MUST_CHECK;
/* i < count. The epoch is as in the payload. */
struct store_letter_id flush_origin_id(const struct flush_origin *o, uint32_t i);

/* ---- control ---- */

/* Second byte of a WAL_CONTROL payload; the first is the version. */
enum flush_control_kind {
    FLUSH_CONTROL_EDIT = 1,
    FLUSH_CONTROL_PURGE = 2,
    FLUSH_CONTROL_JOB = 3,    /* a job begins: its number is this entry's log index */
    FLUSH_CONTROL_JOB_END = 4 /* done, cancelled, failed */
};

struct flush_edit {
    enum store_shelf shelf;
    struct store_letter_id id;
    struct slice who, record;
};

/* Letters that go away: these ids, or (count 0) all of a table (len 0: of every one) that were put
 * aside before an instant. */
struct flush_purge {
    enum store_shelf shelf;
    struct slice who, table;
    uint64_t before_ns; /* 0: at any time */
    uint32_t count;
    struct slice ids; /* count × 16, read with flush_purge_id */
};

enum flush_job_state {
    FLUSH_JOB_RUNNING = 0,
    FLUSH_JOB_DONE = 1,
    FLUSH_JOB_CANCELLED = 2,
    FLUSH_JOB_FAILED = 3
};

/* A range of the log on its way into a table. Also the value that the store keeps. */
struct flush_job_spec {
    struct slice table, into, who, reason; /* reason: why it failed */
    enum flush_job_state state;
    bool held, ignore_unknown;
    uint64_t from, to;   /* log indexes, both included */
    uint64_t next_index; /* as in flush_origin */
    uint32_t next_ordinal;
    uint64_t rows, rows_per_second;
    uint64_t started_ns, changed_ns; /* wall clock */
};

struct flush_job_end {
    uint64_t job;
    enum flush_job_state state;
    struct slice reason;
};

void flush_edit_put(struct buf *out, const struct flush_edit *c);
/* ids: count of them, with the epochs that the payload shall have. */
void flush_purge_put(struct buf *out, const struct flush_purge *c,
                     const struct store_letter_id *ids);
/* kind FLUSH_CONTROL_JOB; the store keeps the same bytes. */
void flush_job_put(struct buf *out, const struct flush_job_spec *j);
void flush_job_end_put(struct buf *out, const struct flush_job_end *c);

/* False: not a control entry of ours. */
bool flush_control_kind(struct slice payload, enum flush_control_kind *kind);
int flush_edit_get(struct slice payload, struct flush_edit *c, struct err *e) WH_MUST_CHECK;
int flush_purge_get(struct slice payload, struct flush_purge *c, struct err *e) WH_MUST_CHECK;
struct store_letter_id flush_purge_id(const struct flush_purge *c, uint32_t i);
int flush_job_get(struct slice payload, struct flush_job_spec *j, struct err *e) WH_MUST_CHECK;
int flush_job_end_get(struct slice payload, struct flush_job_end *c, struct err *e) WH_MUST_CHECK;

#endif
