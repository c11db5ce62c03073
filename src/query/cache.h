/* SPDX-License-Identifier: Apache-2.0 */
/* Answers that are known, and executions that are under way, by what they depend on (http-api
 * §8.7). Sharded: a look-up holds one shard's lock for a hash chain.
 *
 * A table's version is a counter in a fixed array, found by the hash of its name: reading it is one
 * load, and two tables that share a counter cost each other some hits and never a wrong answer. An
 * entry carries the sum of its tables' versions, read before its statement was sent; any change
 * makes the sum larger, and an entry with another sum than now is void. */
#ifndef WH_QUERY_CACHE_H
#define WH_QUERY_CACHE_H

#include "query/runner.h"

#include <stdatomic.h>

#define QUERY_CACHE_SLOTS 4096

struct query_cache;

/* What the executor's queue carries: first member of an entry and of a stream. */
struct query_job {
    struct queue_link link;
    uint64_t queued_ns;     /* monotonic */
    struct query_job *next; /* of those that are set aside; the executor's */
    bool is_stream;
};

/* One execution and, when it is kept, its answer. Counted. */
struct query_entry {
    struct query_job job; /* first */
    _Atomic uint32_t refs;
    _Atomic bool cancelled; /* its last asker has gone */
    struct query_statement statement;
    struct query_terms terms;
    char *server_zone;
    uint64_t hash, stamp;
    /* under the shard's lock: */
    struct query_entry *hash_next, *lru_prev, *lru_next;
    struct query_ask *asks;
    struct query_answer *answer; /* of a kept one */
    uint64_t expires_ns, used_ns;
    size_t cost;
    bool linked; /* the shard finds it, and holds a reference */
};

struct query_cache *query_cache_new(uint64_t bytes_max); /* NULL: no memory */
void query_cache_free(struct query_cache *c);            /* every execution has ended */
void query_cache_resize(struct query_cache *c, uint64_t bytes_max);

uint32_t query_cache_slot(struct slice table);
void query_cache_bump(struct query_cache *c, uint32_t slot);
void query_cache_bump_all(struct query_cache *c);

enum query_cache_found {
    QUERY_CACHE_HIT,    /* *hit, one reference */
    QUERY_CACHE_JOINED, /* the ask waits for an execution under way */
    QUERY_CACHE_NEW,    /* *entry is to be executed, one reference; the ask waits for it */
    QUERY_CACHE_NO_MEMORY
};
/* Nothing is shared with a statement that writes, or under QUERY_RAW_DATA. Any thread. */
enum query_cache_found query_cache_find(struct query_cache *c, const struct query_statement *s,
                                        const struct query_terms *terms, struct query_ask *ask,
                                        struct query_answer **hit, struct query_entry **entry);

/* The execution has ended: everybody who waits gets a reference of answer, and it is kept for
 * ttl_ns unless that is 0 or a table has changed since. The caller's reference of the entry and of
 * the answer stay its own. */
void query_cache_finish(struct query_cache *c, struct query_entry *e, struct query_answer *answer,
                        uint64_t ttl_ns);
/* As query_cancel. */
bool query_cache_cancel(struct query_cache *c, struct query_ask *ask);
void query_entry_unref(struct query_cache *c, struct query_entry *e);

/* Give back what has expired or is void, in the next shard; called now and then. */
void query_cache_sweep(struct query_cache *c);

/* The bytes of body become the answer's. NULL: no memory. */
struct query_answer *query_answer_new(enum query_class class, struct buf *body);

#endif
