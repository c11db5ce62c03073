/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps the ids of the committed log in files, and decides how long they are known.
 *
 *   load    files → table; what is in no file yet is read from the log by the first turns
 *   turn    log → ids that wait → files;  time or number over its limit → oldest bucket forgotten
 *
 * While the daemon runs, the socket loops put ids into the table themselves (dedupe.h); the index
 * only writes down what the log says and is on nobody's way. Everything is in the log before it is
 * here, so files may be lost: what the log still has is taken from it again.
 *
 * One thread (but for the two atomics); no thread of its own, so that tests can run it step by
 * step. Blocks: disk. */
#ifndef WH_DEDUPE_INDEX_H
#define WH_DEDUPE_INDEX_H

#include "base/buf.h"
#include "base/metric.h"
#include "cluster/commit.h"
#include "dedupe/bucket.h"
#include "dedupe/table.h"

struct dedupe_limits {
    uint64_t retention_ns; /* an id is known at least this long, and up to a 24th longer */
    uint64_t max_ids;      /* beyond it the oldest bucket goes before its time */
};

struct dedupe_index_options {
    const struct io *io;
    const char *path; /* folder of the files; need not exist */
    struct wal *wal;
    struct commit_log *commit; /* whose trimming is held back; NULL: nobody's */
    struct dedupe_table *table;
    struct dedupe_key key;
    struct dedupe_limits limits;
    uint64_t (*now_ns)(void); /* wall clock */
};

/* A bucket of the table and its file. */
struct dedupe_held {
    uint64_t seq;
    uint64_t first_ns, last_ns; /* of its entries; first 0: no ids yet */
    uint64_t ids;               /* taken from the log */
    uint64_t good_bytes;        /* of its file; 0: no file yet */
    uint8_t number;             /* in the table */
    bool torn;                  /* something follows good_bytes; cut once its ids are safe again */
};

struct dedupe_index {
    struct dedupe_index_options options;
    int holder;
    struct dedupe_held held[DEDUPE_BUCKETS]; /* oldest first; the last is the current one */
    uint32_t held_count;
    uint64_t next_seq;
    uint8_t next_number;
    struct dedupe_bucket file; /* of the current bucket */
    struct wal_cursor *cursor; /* NULL: at applied + 1 when needed */
    uint64_t applied;          /* entries up to here have been looked at */
    uint64_t durable;          /* the ids of entries up to here are in files */
    struct buf waiting;        /* ids of entries up to applied that are in no file yet */
    uint64_t waiting_first_ns, waiting_last_ns;
    uint64_t written_ns; /* monotonic: last write */
    uint64_t retry_ns;   /* monotonic: nothing is written before, after a failure */
    uint64_t mark_at;    /* the file ends with an empty chunk there; 0: it does not */
    bool caught_up;      /* the table knows everything that was committed before the start */
    bool stalled;
    struct buf scratch;
    _Atomic uint8_t current;  /* bucket for ids that are committed now; written by the index */
    _Atomic uint64_t settled; /* highest log index with ids that the loops know of; theirs */
    struct metric *ids, *bytes, *lag, *dropped_early;
};

/* From now on the log is held back. Touches no disk. */
int dedupe_index_init(struct dedupe_index *x, const struct dedupe_index_options *options,
                      struct err *e) WH_MUST_CHECK;
/* Read the files, first of all. A damaged or foreign file is no failure: what it should hold is
 * read from the log. -ENOMEM, or -errno when the folder cannot be read. */
int dedupe_index_load(struct dedupe_index *x, struct err *e) WH_MUST_CHECK;
/* Most ids of one bucket. */
uint64_t dedupe_index_bucket_max(const struct dedupe_limits *l);
void dedupe_index_close(struct dedupe_index *x);

/* Read what was committed meanwhile, write what is due (everything, with write_all), forget what is
 * over. True: there is more to read at once. */
bool dedupe_index_turn(struct dedupe_index *x, bool write_all);

#endif
