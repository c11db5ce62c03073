/* SPDX-License-Identifier: Apache-2.0 */
/* The control store: LMDB behind a small interface (lmdb.h is used in store.c only).
 *
 * It holds what must be found without reading the log: named blobs (the persisted schema,
 * settings), the flusher's positions, and the dead letters.
 *
 *   blobs       name → bytes                          put and get by anybody
 *   positions   table → log index flushed through     written by the flusher's planner
 *   meta        log id, applied index, low index      "
 *   dead, held  (epoch, log index, ordinal) → record  "; oldest first is the key order
 *   …_table     (table, epoch, index, ordinal)        kept in the same transaction
 *   …_count     table → records, bytes                "
 *   jobs        number → state of a replay            "
 *   control     kind, name → document                 " (src/control)
 *
 * Blobs and letters live here only (a letter also in the log while its segment is retained);
 * positions can be rebuilt from the log. Every commit is durable on this disk: LMDB
 * syncs before it returns. One process at a time; any thread; writers wait for one another. */
#ifndef WH_STORE_STORE_H
#define WH_STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct store;
struct store_txn;

struct store_options {
    const char *path;   /* folder, made when missing (mode 0700) */
    uint64_t map_bytes; /* most the file may grow to; 0: 32 GiB. Address space only */
};

/* Open or create. WH_ECORRUPT: the file is damaged, e says what to do; -EWOULDBLOCK: another
 * process has it; -errno. Blocks: disk. */
int store_open(struct store **out, const struct store_options *options,
               struct err *e) WH_MUST_CHECK;
void store_close(struct store *s);
/* Most bytes that the file may grow to. */
uint64_t store_bytes_max(const struct store *s);

/* Named blobs, replaced as a whole. name: 1 … 400 bytes, value: up to 64 MiB. Durable when put and
 * delete return 0; delete of an unknown name is 0. Block: sync. */
int store_blob_put(struct store *s, const char *name, struct slice value,
                   struct err *e) WH_MUST_CHECK;
int store_blob_delete(struct store *s, const char *name, struct err *e) WH_MUST_CHECK;
/* Appends the value to out. WH_ENOTFOUND. */
int store_blob_get(struct store *s, const char *name, struct buf *out, struct err *e) WH_MUST_CHECK;

/* ---- letters: records kept aside ----
 *
 * Two shelves, alike in everything but why a record is there. */
enum store_shelf {
    STORE_DEAD, /* ClickHouse refused it */
    STORE_HELD  /* its table lacks a column that it has */
};
#define STORE_SHELVES 2

/* Where the record was in the log; unique on both shelves together. Ids grow with age. */
struct store_letter_id {
    uint64_t index;   /* log index of the entry that holds the record */
    uint32_t ordinal; /* its place in that entry */
    uint32_t epoch;   /* of the log (struct store_flush_state) */
};
/* "<epoch>-<index>-<ordinal>", stable for as long as the letter is kept. */
#define STORE_LETTER_ID_CAP 48
void store_letter_id_print(char out[STORE_LETTER_ID_CAP], struct store_letter_id id);
/* False: text is not an id in the form above. */
bool store_letter_id_parse(struct slice text, struct store_letter_id *id);
/* < 0, 0, > 0: a is older than, the same as, younger than b. */
int store_letter_id_cmp(struct store_letter_id a, struct store_letter_id b);

struct store_letter {
    struct store_letter_id id;
    int32_t code;          /* ClickHouse's error number; 0 when it is not from ClickHouse */
    uint64_t failed_at_ns; /* when it was put aside; STORE_HELD: when it was accepted */
    uint64_t received_ns;
    struct slice table, text, sender, record; /* text: why; sender: "<peer> <request id>" or empty;
                                                 record: canonical JSON */
};

/* Records and bytes on a shelf, table by table in no particular order. The slice is valid during
 * the call. Any thread. */
int store_letter_counts(struct store *s, enum store_shelf shelf,
                        void (*each)(void *ctx, struct slice table, uint64_t records,
                                     uint64_t bytes),
                        void *ctx, struct err *e) WH_MUST_CHECK;
/* The letters of one table (table.len 0: of all), oldest first, behind `after` (all zero: from the
 * oldest on). each returns false to stop; its slices are valid during the call. Cheap: reads what
 * it gives and no more, but the pages of a long walk cannot be used again meanwhile, so take
 * thousands, not millions, in one call. Any thread. */
int store_letter_list(struct store *s, enum store_shelf shelf, struct slice table,
                      struct store_letter_id after,
                      bool (*each)(void *ctx, const struct store_letter *l), void *ctx,
                      struct err *e) WH_MUST_CHECK;
/* One letter: calls each once. WH_ENOTFOUND: it is not there (any more). Any thread. */
int store_letter_get(struct store *s, enum store_shelf shelf, struct store_letter_id id,
                     void (*each)(void *ctx, const struct store_letter *l), void *ctx,
                     struct err *e) WH_MUST_CHECK;

/* What the flusher knew at its last commit. */
struct store_flush_state {
    uint64_t applied_index; /* entries up to here are in positions and dead letters; 0: none */
    uint64_t low_index;     /* smallest index that a restart must read; 0: the first retained */
    uint32_t epoch;         /* grows when another log takes over (store_txn_reset) */
};
/* WH_ENOTFOUND: nothing stored, or stored for another log than log_id. positions: called for every
 * table. */
int store_flush_load(struct store *s, struct slice log_id, struct store_flush_state *out,
                     void (*position)(void *ctx, struct slice table, uint64_t index), void *ctx,
                     struct err *e) WH_MUST_CHECK;

/* How far a table is flushed, as of the last commit; 0: nothing of it is stored. Any thread. */
int store_position(struct store *s, struct slice table, uint64_t *index,
                   struct err *e) WH_MUST_CHECK;
/* Of the log whose letters are put now; 0 before the first. Any thread. */
int store_epoch(struct store *s, uint32_t *epoch, struct err *e) WH_MUST_CHECK;

/* One write transaction, used by the thread that began it. The first failure is kept and comes out
 * of store_txn_commit; calls after it do nothing. */
int store_txn_begin(struct store *s, struct store_txn **out, struct err *e) WH_MUST_CHECK;
/* Forget positions, applied and low index (not dead letters); what follows belongs to log_id. */
void store_txn_reset(struct store_txn *t, struct slice log_id);
void store_txn_position(struct store_txn *t, struct slice table, uint64_t index);
void store_txn_applied(struct store_txn *t, uint64_t applied_index, uint64_t low_index);
/* The epoch of the log that this transaction is about. */
uint32_t store_txn_epoch(const struct store_txn *t);
/* Idempotent: a letter that is there already stays as it is. */
void store_txn_letter_put(struct store_txn *t, enum store_shelf shelf,
                          const struct store_letter *l);
/* Take a letter off its shelf; one that is not there changes nothing. Returns its bytes, or 0. */
uint64_t store_txn_letter_remove(struct store_txn *t, enum store_shelf shelf,
                                 struct store_letter_id id);
/* The same; removed is called when it was there. */
typedef void store_removed_fn(void *ctx, struct slice table, uint64_t records, uint64_t bytes);
void store_txn_letter_remove_told(struct store_txn *t, enum store_shelf shelf,
                                  struct store_letter_id id, store_removed_fn *removed, void *ctx);
/* Another record in place of a letter's; returns whether it was there. */
bool store_txn_letter_replace(struct store_txn *t, enum store_shelf shelf,
                              struct store_letter_id id, struct slice record);
/* Take away every letter of a table (len 0: of all) that was put aside before before_ns (0: at any
 * time). removed (may be NULL) is called with what went, perhaps many times for a table. */
void store_txn_letter_purge(
    struct store_txn *t, enum store_shelf shelf, struct slice table, uint64_t before_ns,
    void (*removed)(void *ctx, struct slice table, uint64_t records, uint64_t bytes), void *ctx);
/* Drop the oldest dead letters until at most bytes_max bytes are left; returns how many went. */
uint64_t store_txn_letter_trim(struct store_txn *t, uint64_t bytes_max);

/* Jobs: small values under a number, in number order. */
int store_job_each(struct store *s, bool (*each)(void *ctx, uint64_t job, struct slice value),
                   void *ctx, struct err *e) WH_MUST_CHECK;
void store_txn_job_put(struct store_txn *t, uint64_t job, struct slice value);
/* The value as this transaction sees it, valid until its next call; false: there is none. */
bool store_txn_job_get(struct store_txn *t, uint64_t job, struct slice *value);
void store_txn_job_each(struct store_txn *t,
                        bool (*each)(void *ctx, uint64_t job, struct slice value), void *ctx);
void store_txn_job_delete(struct store_txn *t, uint64_t job);

/* Control documents: values under keys of 1 … 400 bytes, in key order. What keys and values mean is
 * the control room's business. The slices are valid during the call. Any thread. */
typedef bool store_control_fn(void *ctx, struct slice key, struct slice value);
int store_control_each(struct store *s, store_control_fn *each, void *ctx,
                       struct err *e) WH_MUST_CHECK;
void store_txn_control_each(struct store_txn *t, store_control_fn *each, void *ctx);
void store_txn_control_put(struct store_txn *t, struct slice key, struct slice value);
/* The value as this transaction sees it, valid until its next call; false: there is none. */
bool store_txn_control_get(struct store_txn *t, struct slice key, struct slice *value);
void store_txn_control_delete(struct store_txn *t, struct slice key);

/* The commit will fail with this code, unless something failed before. */
void store_txn_spoil(struct store_txn *t, int code, const char *why);

/* Durable when 0; otherwise nothing of it happened. The transaction is gone either way. */
int store_txn_commit(struct store_txn *t, struct err *e) WH_MUST_CHECK;
void store_txn_abort(struct store_txn *t);

#endif
