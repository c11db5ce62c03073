/* SPDX-License-Identifier: Apache-2.0 */
#include "query/cache.h"

#include "base/limits.h"
#include "base/magic.h"
#include "base/metric.h"
#include "clickhouse/native.h"
#include "io/clock.h"

#include <errno.h>
#include <pthread.h>

#define CACHE_MAGIC 0x71436163u
#define SHARDS      32u
#define BUCKETS     1024u
/* What malloc and the lists cost beside the bytes that are counted. */
#define ENTRY_OVERHEAD (sizeof(struct query_entry) + 256)

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    struct query_entry *buckets[BUCKETS];
    struct query_entry *lru_first, *lru_last; /* kept ones, used last first */
};

struct query_cache {
    uint32_t magic;
    uint64_t seed;
    _Atomic uint64_t bytes_max;
    _Atomic uint64_t bytes; /* of kept entries */
    _Atomic uint64_t epoch; /* part of every entry's sum */
    _Atomic uint64_t versions[QUERY_CACHE_SLOTS];
    uint32_t swept; /* the shard that was swept last; executor */
    struct metric *hits, *misses, *coalesced, *evicted, *size, *entries;
    struct shard shards[SHARDS];
};

/* --- answers ------------------------------------------------------------------------------- */

struct counted {
    struct query_answer pub; /* first */
    _Atomic uint32_t refs;
    char *bytes;
};

struct query_answer *query_answer_new(enum query_class class, struct buf *body)
{
    struct counted *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return NULL;
    atomic_init(&k->refs, 1);
    k->pub.class = class;
    if (body != NULL && buf_ok(body)) {
        /* The buffer grew by doubling; what is kept is as large as it must be. */
        char *fit = body->len > 0 ? realloc(body->ptr, body->len) : NULL;
        k->bytes = fit != NULL ? fit : body->ptr;
        k->pub.body = (struct slice){k->bytes, body->len};
        body->ptr = NULL;
        body->len = body->cap = 0;
    }
    if (class == QUERY_FINE) {
        struct ch_hash128 h = ch_cityhash128(k->pub.body.ptr, k->pub.body.len);
        k->pub.etag = h.low ^ h.high;
    }
    return &k->pub;
}

void query_answer_ref(struct query_answer *r)
{
    atomic_fetch_add_explicit(&((struct counted *)r)->refs, 1, memory_order_relaxed);
}

void query_answer_unref(struct query_answer *r)
{
    struct counted *k = (struct counted *)r;
    if (k == NULL || atomic_fetch_sub_explicit(&k->refs, 1, memory_order_acq_rel) > 1)
        return;
    free(k->bytes);
    free(k);
}

/* --- versions ------------------------------------------------------------------------------ */

uint32_t query_cache_slot(struct slice table)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
    for (size_t i = 0; i < table.len; i++)
        h = (h ^ (unsigned char)table.ptr[i]) * 0x100000001b3u;
    return (uint32_t)(h >> 32 ^ h) % QUERY_CACHE_SLOTS;
}

void query_cache_bump(struct query_cache *c, uint32_t slot)
{
    atomic_fetch_add(&c->versions[slot], 1);
}

void query_cache_bump_all(struct query_cache *c)
{
    atomic_fetch_add(&c->epoch, 1);
}

static uint64_t stamp_of(struct query_cache *c, const struct query_statement *s)
{
    uint64_t sum = atomic_load(&c->epoch);
    const char *p = s->tables.ptr, *end = p + s->tables.len;
    while (p < end) {
        size_t n = strnlen(p, (size_t)(end - p));
        sum += atomic_load(&c->versions[query_cache_slot((struct slice){p, n})]);
        p += n + 1;
    }
    return sum;
}

/* --- keys ---------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t mix_bytes(uint64_t h, struct slice s)
{
    struct ch_hash128 k = ch_cityhash128(s.len > 0 ? s.ptr : "", s.len);
    return mix(mix(h, k.low), k.high);
}

static uint64_t flags_of(const struct query_statement *s, const struct query_terms *t)
{
    return (uint64_t)t->rendering | (uint64_t)t->modern << 8 | (uint64_t)s->is_prefer_column << 9 |
           (uint64_t)s->tables_unknown << 10;
}

static uint64_t hash_of(const struct query_cache *c, const struct query_statement *s,
                        const struct query_terms *t)
{
    uint64_t h = mix_bytes(c->seed, buf_slice(&s->sql));
    h = mix_bytes(h, buf_slice(&s->values));
    h = mix_bytes(h, buf_slice(&s->value_ends));
    h = mix_bytes(h, t->server_zone);
    h = mix(h, flags_of(s, t));
    h = mix(h, (uint64_t)t->cache_ttl_ms);
    h = mix(h, s->limits.max_execution_ms);
    h = mix(h, s->limits.max_rows_to_read);
    h = mix(h, s->limits.max_memory_bytes);
    return mix(h, s->limits.max_result_rows);
}

/* Everything that the answer depends on: entries of two roles are the same one only then. */
static bool is_same(const struct query_entry *e, const struct query_statement *s,
                    const struct query_terms *t)
{
    const struct query_limits *a = &e->statement.limits, *b = &s->limits;
    return slice_eq(buf_slice(&e->statement.sql), buf_slice(&s->sql)) &&
           slice_eq(buf_slice(&e->statement.values), buf_slice(&s->values)) &&
           slice_eq(buf_slice(&e->statement.value_ends), buf_slice(&s->value_ends)) &&
           slice_eq(buf_slice(&e->statement.tables), buf_slice(&s->tables)) &&
           slice_eq(e->terms.server_zone, t->server_zone) &&
           flags_of(&e->statement, &e->terms) == flags_of(s, t) &&
           e->terms.cache_ttl_ms == t->cache_ttl_ms && a->max_execution_ms == b->max_execution_ms &&
           a->max_rows_to_read == b->max_rows_to_read &&
           a->max_memory_bytes == b->max_memory_bytes && a->max_result_rows == b->max_result_rows;
}

static struct shard *shard_of(struct query_cache *c, uint64_t hash)
{
    return &c->shards[hash >> 32 & (SHARDS - 1)];
}

static struct query_entry **bucket_of(struct shard *sh, uint64_t hash)
{
    return &sh->buckets[hash & (BUCKETS - 1)];
}

/* --- entries ------------------------------------------------------------------------------- */

static void entry_free(struct query_entry *e)
{
    query_statement_fini(&e->statement);
    query_answer_unref(e->answer);
    free(e->server_zone);
    free(e);
}

void query_entry_unref(struct query_cache *c, struct query_entry *e)
{
    (void)c;
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1)
        entry_free(e);
}

static struct query_entry *entry_new(const struct query_statement *s, const struct query_terms *t)
{
    struct query_entry *e = calloc(1, sizeof(*e));
    if (e == NULL)
        return NULL;
    atomic_init(&e->refs, 1);
    query_statement_init(&e->statement);
    e->statement.sql.max = s->sql.max;
    buf_put_slice(&e->statement.sql, buf_slice(&s->sql));
    buf_put_slice(&e->statement.values, buf_slice(&s->values));
    buf_put_slice(&e->statement.value_ends, buf_slice(&s->value_ends));
    buf_put_slice(&e->statement.tables, buf_slice(&s->tables));
    e->statement.tables_unknown = s->tables_unknown;
    e->statement.writes = s->writes;
    e->statement.reads_only = s->reads_only;
    e->statement.is_prefer_column = s->is_prefer_column;
    e->statement.limits = s->limits;
    e->terms = *t;
    e->server_zone = slice_dup(t->server_zone);
    if (e->server_zone == NULL || !buf_ok(&e->statement.sql) || !buf_ok(&e->statement.values) ||
        !buf_ok(&e->statement.value_ends) || !buf_ok(&e->statement.tables)) {
        entry_free(e);
        return NULL;
    }
    e->terms.server_zone = slice_str(e->server_zone);
    return e;
}

static void ask_add(struct query_entry *e, struct query_ask *ask)
{
    ask->entry = e;
    ask->hash = e->hash;
    ask->answer = NULL;
    ask->prev = NULL;
    ask->next = e->asks;
    if (ask->next != NULL)
        ask->next->prev = ask;
    e->asks = ask;
}

static void lru_add(struct shard *sh, struct query_entry *e)
{
    e->lru_prev = NULL;
    e->lru_next = sh->lru_first;
    if (e->lru_next != NULL)
        e->lru_next->lru_prev = e;
    else
        sh->lru_last = e;
    sh->lru_first = e;
}

static void lru_remove(struct shard *sh, struct query_entry *e)
{
    *(e->lru_prev != NULL ? &e->lru_prev->lru_next : &sh->lru_first) = e->lru_next;
    *(e->lru_next != NULL ? &e->lru_next->lru_prev : &sh->lru_last) = e->lru_prev;
    e->lru_prev = e->lru_next = NULL;
}

/* Out of the shard, which gives back its reference: the lock is held, so what that was the last of
 * goes to the list *dead (through hash_next), to be freed without it. */
static void unlink_entry(struct query_cache *c, struct shard *sh, struct query_entry *e,
                         struct query_entry **dead)
{
    struct query_entry **at = bucket_of(sh, e->hash);
    while (*at != e)
        at = &(*at)->hash_next;
    *at = e->hash_next;
    e->linked = false;
    if (e->answer != NULL) {
        lru_remove(sh, e);
        atomic_fetch_sub(&c->bytes, e->cost);
        metric_add(c->size, -(int64_t)e->cost);
        metric_add(c->entries, -1);
    }
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) == 1) {
        e->hash_next = *dead;
        *dead = e;
    }
}

static void free_dead(struct query_entry *dead)
{
    while (dead != NULL) {
        struct query_entry *next = dead->hash_next;
        entry_free(dead);
        dead = next;
    }
}

static struct query_entry *find(struct shard *sh, uint64_t hash, const struct query_statement *s,
                                const struct query_terms *terms)
{
    struct query_entry *e = *bucket_of(sh, hash);
    while (e != NULL && (e->hash != hash || !is_same(e, s, terms)))
        e = e->hash_next;
    return e;
}

/* What is known, with the shard's lock: the answer, or the execution to wait for. */
static enum query_cache_found look(struct query_cache *c, struct shard *sh, struct query_entry *e,
                                   uint64_t stamp, struct query_ask *ask, struct query_answer **hit,
                                   struct query_entry **dead)
{
    if (e == NULL)
        return QUERY_CACHE_NEW;
    uint64_t now = e->answer != NULL ? io_monotonic_ns() : 0;
    if (e->stamp == stamp && e->answer != NULL && now < e->expires_ns) {
        e->used_ns = now;
        if (sh->lru_first != e) {
            lru_remove(sh, e);
            lru_add(sh, e);
        }
        query_answer_ref(e->answer);
        *hit = e->answer;
        return QUERY_CACHE_HIT;
    }
    if (e->stamp == stamp && e->answer == NULL) {
        ask_add(e, ask);
        return QUERY_CACHE_JOINED;
    }
    /* Void. An execution goes on for those who have asked before. */
    unlink_entry(c, sh, e, dead);
    return QUERY_CACHE_NEW;
}

enum query_cache_found query_cache_find(struct query_cache *c, const struct query_statement *s,
                                        const struct query_terms *terms, struct query_ask *ask,
                                        struct query_answer **hit, struct query_entry **entry)
{
    CHECK_MAGIC(c, CACHE_MAGIC);
    bool shared = !s->writes && terms->rendering != QUERY_RAW_DATA;
    struct query_entry *dead = NULL, *mine = NULL;
    if (!shared) {
        mine = entry_new(s, terms);
        if (mine == NULL)
            return QUERY_CACHE_NO_MEMORY;
        ask_add(mine, ask);
        *entry = mine;
        return QUERY_CACHE_NEW;
    }
    uint64_t hash = hash_of(c, s, terms), stamp = stamp_of(c, s);
    struct shard *sh = shard_of(c, hash);
    enum query_cache_found found = QUERY_CACHE_NEW;
    if (!terms->fresh) {
        (void)pthread_mutex_lock(&sh->lock);
        found = look(c, sh, find(sh, hash, s, terms), stamp, ask, hit, &dead);
        (void)pthread_mutex_unlock(&sh->lock);
        free_dead(dead);
        dead = NULL;
    }
    if (found == QUERY_CACHE_NEW) {
        mine = entry_new(s, terms); /* without the lock; somebody may come first */
        if (mine == NULL)
            return QUERY_CACHE_NO_MEMORY;
        mine->hash = hash;
        mine->stamp = stamp;
        (void)pthread_mutex_lock(&sh->lock);
        struct query_entry *e = find(sh, hash, s, terms);
        if (e != NULL && terms->fresh)
            unlink_entry(c, sh, e, &dead);
        else
            found = look(c, sh, e, stamp, ask, hit, &dead);
        if (found == QUERY_CACHE_NEW) {
            struct query_entry **at = bucket_of(sh, hash);
            mine->hash_next = *at;
            *at = mine;
            mine->linked = true;
            atomic_store(&mine->refs, 2);
            ask_add(mine, ask);
            *entry = mine;
        }
        (void)pthread_mutex_unlock(&sh->lock);
        if (found != QUERY_CACHE_NEW)
            entry_free(mine);
        free_dead(dead);
    }
    metric_add(found == QUERY_CACHE_HIT ? c->hits : c->misses, 1);
    if (found == QUERY_CACHE_JOINED)
        metric_add(c->coalesced, 1);
    return found;
}

/* The shard whose last entry was used longest ago; NULL: nothing is kept. */
static struct shard *oldest(struct query_cache *c)
{
    struct shard *found = NULL;
    uint64_t used_ns = UINT64_MAX;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &c->shards[i];
        (void)pthread_mutex_lock(&sh->lock);
        if (sh->lru_last != NULL && sh->lru_last->used_ns < used_ns) {
            used_ns = sh->lru_last->used_ns;
            found = sh;
        }
        (void)pthread_mutex_unlock(&sh->lock);
    }
    return found;
}

/* Room for what was added: the least recently used goes. */
static void evict(struct query_cache *c)
{
    struct shard *sh;
    while (atomic_load(&c->bytes) > atomic_load(&c->bytes_max) && (sh = oldest(c)) != NULL) {
        struct query_entry *dead = NULL;
        (void)pthread_mutex_lock(&sh->lock);
        if (sh->lru_last != NULL) {
            unlink_entry(c, sh, sh->lru_last, &dead);
            metric_add(c->evicted, 1);
        }
        (void)pthread_mutex_unlock(&sh->lock);
        free_dead(dead);
    }
}

static size_t cost_of(const struct query_entry *e, const struct query_answer *answer)
{
    return ENTRY_OVERHEAD + e->statement.sql.cap + e->statement.values.cap +
           e->statement.value_ends.cap + e->statement.tables.cap + answer->body.len;
}

void query_cache_finish(struct query_cache *c, struct query_entry *e, struct query_answer *answer,
                        uint64_t ttl_ns)
{
    struct shard *sh = shard_of(c, e->hash);
    struct query_entry *dead = NULL;
    size_t cost = cost_of(e, answer);
    bool kept = false;
    (void)pthread_mutex_lock(&sh->lock);
    struct query_ask *ask = e->asks;
    e->asks = NULL;
    for (struct query_ask *a = ask; a != NULL; a = a->next)
        a->entry = NULL; /* no cancel any more */
    if (e->linked && ttl_ns > 0 && answer->class == QUERY_FINE &&
        cost <= atomic_load(&c->bytes_max) / 4 && stamp_of(c, &e->statement) == e->stamp) {
        kept = true;
        query_answer_ref(answer);
        e->answer = answer;
        e->cost = cost;
        e->used_ns = io_monotonic_ns();
        e->expires_ns = e->used_ns + ttl_ns;
        lru_add(sh, e);
        atomic_fetch_add(&c->bytes, cost);
        metric_add(c->size, (int64_t)cost);
        metric_add(c->entries, 1);
    } else if (e->linked) {
        unlink_entry(c, sh, e, &dead);
    }
    (void)pthread_mutex_unlock(&sh->lock);
    must(dead == NULL); /* the caller has a reference */
    while (ask != NULL) {
        struct query_ask *next = ask->next;
        query_answer_ref(answer);
        ask->answer = answer;
        queue_push(ask->done, &ask->link);
        ask = next;
    }
    if (kept)
        evict(c);
}

bool query_cache_cancel(struct query_cache *c, struct query_ask *ask)
{
    struct shard *sh = shard_of(c, ask->hash);
    struct query_entry *dead = NULL;
    (void)pthread_mutex_lock(&sh->lock);
    /* Not NULL: its execution has not ended, so the executor still has its reference. */
    struct query_entry *e = ask->entry;
    if (e != NULL) {
        *(ask->prev != NULL ? &ask->prev->next : &e->asks) = ask->next;
        if (ask->next != NULL)
            ask->next->prev = ask->prev;
        ask->entry = NULL;
        if (e->asks == NULL) {
            if (e->linked)
                unlink_entry(c, sh, e, &dead); /* who asks now starts anew */
            atomic_store(&e->cancelled, true);
        }
    }
    (void)pthread_mutex_unlock(&sh->lock);
    must(dead == NULL);
    return e != NULL;
}

void query_cache_sweep(struct query_cache *c)
{
    struct shard *sh = &c->shards[c->swept++ % SHARDS];
    struct query_entry *dead = NULL;
    uint64_t now = io_monotonic_ns();
    (void)pthread_mutex_lock(&sh->lock);
    for (struct query_entry *e = sh->lru_first, *next; e != NULL; e = next) {
        next = e->lru_next;
        if (e->expires_ns <= now || e->stamp != stamp_of(c, &e->statement))
            unlink_entry(c, sh, e, &dead);
    }
    (void)pthread_mutex_unlock(&sh->lock);
    free_dead(dead);
}

/* --- the whole ----------------------------------------------------------------------------- */

void query_cache_resize(struct query_cache *c, uint64_t bytes_max)
{
    atomic_store(&c->bytes_max, bytes_max);
    evict(c);
}

struct query_cache *query_cache_new(uint64_t bytes_max)
{
    struct query_cache *c = aligned_alloc(64, (sizeof(*c) + 63) / 64 * 64);
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof(*c));
    c->magic = CACHE_MAGIC;
    if (io_random(&c->seed, sizeof(c->seed)) != 0)
        c->seed = io_monotonic_ns();
    atomic_store(&c->bytes_max, bytes_max);
    for (uint32_t i = 0; i < SHARDS; i++)
        (void)pthread_mutex_init(&c->shards[i].lock, NULL);
    static const char lookups[] = "wavehouse_cache_lookups_total";
    static const char lookups_help[] = "Looks into the query cache.";
    c->hits = metric_new(METRIC_COUNTER, lookups, lookups_help, "result=\"hit\"");
    c->misses = metric_new(METRIC_COUNTER, lookups, lookups_help, "result=\"miss\"");
    c->coalesced = metric_new(METRIC_COUNTER, "wavehouse_query_coalesced_total",
                              "Queries that waited for the same one of somebody else.", NULL);
    c->evicted = metric_new(METRIC_COUNTER, "wavehouse_cache_evicted_total",
                            "Answers given up for room in the query cache.", NULL);
    c->size = metric_new(METRIC_GAUGE, "wavehouse_cache_bytes", "Memory of the query cache.", NULL);
    c->entries =
        metric_new(METRIC_GAUGE, "wavehouse_cache_entries", "Answers in the query cache.", NULL);
    return c;
}

void query_cache_free(struct query_cache *c)
{
    if (c == NULL)
        return;
    CHECK_MAGIC(c, CACHE_MAGIC);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *sh = &c->shards[i];
        struct query_entry *dead = NULL;
        while (sh->lru_last != NULL)
            unlink_entry(c, sh, sh->lru_last, &dead);
        free_dead(dead);
        (void)pthread_mutex_destroy(&sh->lock);
    }
    c->magic = 0;
    free(c);
}
