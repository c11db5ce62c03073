/* SPDX-License-Identifier: Apache-2.0 */
/* The control store: LMDB behind a small interface (lmdb.h is used in store.c only).
 *
 * It holds what must be found without reading the log: named blobs (the persisted schema,
 * settings), the flusher's positions, and the dead letters.
 *
 *   blobs       name → bytes                          put and get by anybody
 *   positions   table → log index flushed through     written by the flusher's planner
 *   meta        log id, applied index, low index      "
 *   dead        (epoch, log index, ordinal) → record  "; oldest first is the key order
 *   dead_count  table → records, bytes                kept in the same transaction
 *
 * Blobs and dead letters live here only (a dead letter also in the log while its segment is
 * retained); positions can be rebuilt from the log. Every commit is durable on this disk: LMDB
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

/* Records and bytes of dead letters, table by table in no particular order. The slice is valid
 * during the call. Any thread. */
int store_dlq_counts(struct store *s,
                     void (*each)(void *ctx, struct slice table, uint64_t records, uint64_t bytes),
                     void *ctx, struct err *e) WH_MUST_CHECK;

struct store_dead_letter {
    uint64_t index;   /* log index of the entry that holds the record */
    uint32_t ordinal; /* its place in that entry */
    int32_t code;     /* ClickHouse's error number; 0 when it is not from ClickHouse */
    uint64_t failed_at_ns, received_ns;
    struct slice table, text, record; /* text: why; record: canonical JSON */
};
/* Dead letters of one table (table.len 0: of all), oldest first. each returns false to stop.
 * Borrowed slices, valid during the call. Any thread. */
int store_dlq_each(struct store *s, struct slice table,
                   bool (*each)(void *ctx, const struct store_dead_letter *d), void *ctx,
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

/* One write transaction, used by the thread that began it. The first failure is kept and comes out
 * of store_txn_commit; calls after it do nothing. */
int store_txn_begin(struct store *s, struct store_txn **out, struct err *e) WH_MUST_CHECK;
/* Forget positions, applied and low index (not dead letters); what follows belongs to log_id. */
void store_txn_reset(struct store_txn *t, struct slice log_id);
void store_txn_position(struct store_txn *t, struct slice table, uint64_t index);
void store_txn_applied(struct store_txn *t, uint64_t applied_index, uint64_t low_index);
/* Idempotent: the same index and ordinal again changes nothing. */
void store_txn_dead_letter(struct store_txn *t, const struct store_dead_letter *d);
/* Drop the oldest dead letters until at most bytes_max bytes are left; returns how many went.
 * dropped (may be NULL) is called for each. */
uint64_t store_txn_dead_letter_trim(struct store_txn *t, uint64_t bytes_max,
                                    void (*dropped)(void *ctx, struct slice table), void *ctx);
/* Durable when 0; otherwise nothing of it happened. The transaction is gone either way. */
int store_txn_commit(struct store_txn *t, struct err *e) WH_MUST_CHECK;
void store_txn_abort(struct store_txn *t);

#endif
