/* SPDX-License-Identifier: Apache-2.0 */
/* The ids that are known, in memory: about 12 bytes each.
 *
 *   id (128 bits)  ─►  shard (10 bits) · print (64 bits) · rest (8 bits)     82 bits are kept
 *   shard          ─►  prints[] sorted, each at or right of its place = print × cap / 2^64, 0 free
 *                      tags[]   rest << 8 | bucket
 *
 * An id belongs to a bucket, the stretch of time in which it was committed; a bucket is forgotten
 * as a whole (dedupe_table_forget). Between reserve and settle its bucket is PENDING: the record is
 * on its way through the log, and its fate is not known.
 *
 * Two ids that share all 82 bits count as one: among 50 million ids that happens to a new id with
 * probability 1e-17, once in 100,000 years at a million ids a second of which none can be chosen by
 * an outsider (id.h). That is why nothing has to be looked up on disk to answer "duplicate".
 *
 * Prints lie in order, so a search ends at the first larger one, and a shard grows by one pass that
 * keeps the order. Only one shard of 1024 is ever in memory twice. A lock per shard, held for a
 * search or, when a shard grows, for the fraction of a millisecond that the pass takes. Any thread.
 */
#ifndef WH_DEDUPE_TABLE_H
#define WH_DEDUPE_TABLE_H

#include "base/err.h"
#include "base/queue.h"
#include "dedupe/id.h"

#define DEDUPE_SHARDS         1024
#define DEDUPE_BUCKETS        250 /* bucket numbers are below it */
#define DEDUPE_BUCKET_PENDING 255

/* Somebody who waits for the fate of an id that another request has reserved. */
struct dedupe_wait {
    struct queue_link link; /* comes out of `to` when the fate is known */
    struct queue *to;       /* set by the caller */
    struct dedupe_wait *next;
    struct dedupe_id id;
};

enum dedupe_verdict {
    DEDUPE_NEW,     /* reserved for the caller, who must settle it */
    DEDUPE_KNOWN,   /* committed before */
    DEDUPE_PENDING, /* reserved by somebody, perhaps by the caller */
    DEDUPE_NO_ROOM  /* out of memory */
};

struct dedupe_table;

struct dedupe_table *dedupe_table_new(void);
/* Nothing may be pending or waiting. */
void dedupe_table_free(struct dedupe_table *t);

/* Ask the processor to fetch what a search for the id will read. */
void dedupe_table_prefetch(const struct dedupe_table *t, const struct dedupe_id *id);
/* Look the id up and reserve it when it is new. */
enum dedupe_verdict dedupe_table_reserve(struct dedupe_table *t, const struct dedupe_id *id);
/* The caller's records were committed, or were not and may come again. Ids that are none are
 * skipped; the others were reserved. Returns how many they were. bucket is read under the lock of
 * each shard (dedupe_table_barrier). Those who wait for one of them are handed to their queues. */
uint64_t dedupe_table_settle(struct dedupe_table *t, const uint8_t *ids, uint32_t count,
                             bool committed, const _Atomic uint8_t *bucket);
/* Wait until w->id is no longer pending. False: it is not, and w was not taken. */
bool dedupe_table_wait(struct dedupe_table *t, struct dedupe_wait *w);
/* True: w is the caller's again. False: it is in its queue already. */
bool dedupe_table_unwait(struct dedupe_table *t, struct dedupe_wait *w);

/* An id of an earlier run. 1 it was not there, 0 it was, -ENOMEM. */
int dedupe_table_put(struct dedupe_table *t, const struct dedupe_id *id, uint8_t bucket);
bool dedupe_table_has(struct dedupe_table *t, const struct dedupe_id *id);

/* The bucket comes into use. */
void dedupe_table_open_bucket(struct dedupe_table *t, uint8_t bucket);
/* After this nobody puts ids into a bucket that was replaced before the call. */
void dedupe_table_barrier(struct dedupe_table *t);
/* Its ids are unknown from now on, and their memory is given back, shard by shard. The number may
 * be used again afterwards. Returns how many went. */
uint64_t dedupe_table_forget(struct dedupe_table *t, uint8_t bucket);

uint64_t dedupe_table_count(const struct dedupe_table *t); /* committed, not forgotten */
uint64_t dedupe_table_bucket_count(const struct dedupe_table *t, uint8_t bucket);
uint64_t dedupe_table_pending(const struct dedupe_table *t);
uint64_t dedupe_table_bytes(const struct dedupe_table *t);
/* A digest of which ids are committed, whatever their order and buckets. Two tables that know the
 * same ids have the same one. */
uint64_t dedupe_table_digest(struct dedupe_table *t);

/* Whether two ids are one to the table. */
bool dedupe_id_same(const uint8_t *a, const uint8_t *b);

#endif
