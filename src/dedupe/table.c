/* SPDX-License-Identifier: Apache-2.0 */
#include "dedupe/table.h"

#include "base/le.h"
#include "base/magic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define TABLE_MAGIC 0x44545442u
#define CAP_MIN     32u
#define CAP_DOUBLES 512u /* below it a shard doubles, above it grows by an eighth */
#define SLOT_BYTES  (sizeof(uint64_t) + sizeof(uint16_t))
#define AHEAD       8 /* ids between fetching and using */

struct shard {
    _Alignas(64) pthread_mutex_t lock;
    _Atomic(uint64_t *) prints; /* size of them; the last is always 0. Changed under the lock */
    uint16_t *tags;             /* size of them, in the same block */
    _Atomic uint32_t cap;       /* places; size is a little more, for what is pushed to the right */
    uint32_t size, used;
    struct dedupe_wait *waiting;
};

struct dedupe_table {
    uint32_t magic;
    _Atomic bool open[256]; /* by bucket; PENDING is always open */
    _Atomic uint64_t bucket_counts[256];
    _Atomic uint64_t pending, bytes;
    struct shard shards[DEDUPE_SHARDS];
};

/* What of an id is kept. */
struct place {
    struct shard *shard;
    uint64_t print;
    uint16_t rest; /* in the high byte */
};

static uint32_t shard_of(const uint8_t *id)
{
    return le16_get(id + 8) % DEDUPE_SHARDS;
}

static uint64_t print_of(const uint8_t *id)
{
    uint64_t print = le64_get(id);
    return print != 0 ? print : 1;
}

static struct place place_of(struct dedupe_table *t, const uint8_t *id)
{
    return (struct place){.shard = &t->shards[shard_of(id)],
                          .print = print_of(id),
                          .rest = (uint16_t)(id[10] << 8)};
}

bool dedupe_id_same(const uint8_t *a, const uint8_t *b)
{
    return print_of(a) == print_of(b) && shard_of(a) == shard_of(b) && a[10] == b[10];
}

static uint32_t home_of(uint64_t print, uint32_t cap)
{
    return (uint32_t)(((print >> 32) * cap) >> 32);
}

static uint32_t size_for(uint32_t cap)
{
    return cap + CAP_MIN + cap / 64;
}

/* ---- a shard; its lock is held ---- */

/* Where the id is, or where it belongs: *found says which. */
static uint32_t search(const struct shard *s, const struct place *p, bool *found)
{
    const uint64_t *prints = atomic_load_explicit(&s->prints, memory_order_relaxed);
    *found = false;
    if (prints == NULL)
        return 0;
    uint32_t i = home_of(p->print, atomic_load_explicit(&s->cap, memory_order_relaxed));
    while (prints[i] != 0 && prints[i] < p->print)
        i++;
    for (; prints[i] == p->print; i++) {
        if ((s->tags[i] & 0xff00) == p->rest) {
            *found = true;
            break;
        }
    }
    return i;
}

/* Whether the slots' ids, of open buckets only, fit into arrays for cap; writes them there. */
static bool refill(const struct dedupe_table *t, const struct shard *s, uint32_t cap,
                   uint64_t *prints, uint16_t *tags, uint32_t *used)
{
    const uint64_t *from = atomic_load_explicit(&s->prints, memory_order_relaxed);
    uint32_t size = size_for(cap), next = 0;
    *used = 0;
    for (uint32_t i = 0; i < s->size; i++) {
        if (from[i] == 0 ||
            !atomic_load_explicit(&t->open[s->tags[i] & 0xff], memory_order_relaxed))
            continue;
        uint32_t at = home_of(from[i], cap);
        at = at < next ? next : at;
        if (at + 1 >= size)
            return false;
        prints[at] = from[i];
        tags[at] = s->tags[i];
        next = at + 1;
        ++*used;
    }
    return true;
}

static int resize(struct dedupe_table *t, struct shard *s, uint32_t cap)
{
    for (;; cap += cap / 8) {
        uint32_t size = size_for(cap), used;
        uint64_t *prints = calloc(size, SLOT_BYTES);
        if (prints == NULL)
            return -ENOMEM;
        uint16_t *tags = (uint16_t *)(prints + size);
        if (!refill(t, s, cap, prints, tags, &used)) {
            free(prints);
            continue;
        }
        uint64_t *old = atomic_load_explicit(&s->prints, memory_order_relaxed);
        atomic_fetch_add_explicit(&t->bytes, ((uint64_t)size - s->size) * SLOT_BYTES,
                                  memory_order_relaxed);
        atomic_store_explicit(&s->prints, prints, memory_order_relaxed);
        atomic_store_explicit(&s->cap, cap, memory_order_relaxed);
        s->tags = tags;
        s->size = size;
        s->used = used;
        free(old);
        return 0;
    }
}

static int grow(struct dedupe_table *t, struct shard *s)
{
    uint32_t cap = atomic_load_explicit(&s->cap, memory_order_relaxed);
    return resize(t, s, cap == 0 ? CAP_MIN : cap < CAP_DOUBLES ? 2 * cap : cap + cap / 8);
}

/* Put it at slot i, where search() said that it belongs; what lies there moves to the right. */
static int insert(struct dedupe_table *t, struct shard *s, const struct place *p, uint32_t i,
                  uint8_t bucket)
{
    for (;;) {
        uint32_t cap = atomic_load_explicit(&s->cap, memory_order_relaxed), end = i;
        uint64_t *prints = atomic_load_explicit(&s->prints, memory_order_relaxed);
        bool full = prints == NULL || s->used >= cap / 8 * 7;
        while (!full && prints[end] != 0)
            end++;
        if (!full && end + 1 < s->size) {
            memmove(prints + i + 1, prints + i, (end - i) * sizeof(*prints));
            memmove(s->tags + i + 1, s->tags + i, (end - i) * sizeof(*s->tags));
            prints[i] = p->print;
            s->tags[i] = (uint16_t)(p->rest | bucket);
            s->used++;
            return 0;
        }
        int rc = grow(t, s);
        if (rc != 0)
            return rc;
        bool found;
        i = search(s, p, &found);
        must(!found);
    }
}

/* Take slot i out; what was pushed to the right of its place moves back. */
static void take_out(struct shard *s, uint32_t i)
{
    uint64_t *prints = atomic_load_explicit(&s->prints, memory_order_relaxed);
    uint32_t cap = atomic_load_explicit(&s->cap, memory_order_relaxed), end = i + 1;
    while (prints[end] != 0 && home_of(prints[end], cap) < end)
        end++;
    memmove(prints + i, prints + i + 1, (end - i - 1) * sizeof(*prints));
    memmove(s->tags + i, s->tags + i + 1, (end - i - 1) * sizeof(*s->tags));
    prints[end - 1] = 0;
    s->used--;
}

/* In place: the ids of closed buckets leave. An id never moves to the right here, for with fewer
 * before it its slot can only be further left. */
static void sweep(struct dedupe_table *t, struct shard *s)
{
    uint64_t *prints = atomic_load_explicit(&s->prints, memory_order_relaxed);
    uint32_t cap = atomic_load_explicit(&s->cap, memory_order_relaxed), next = 0, used = 0;
    for (uint32_t i = 0; i < s->size; i++) {
        uint64_t print = prints[i];
        uint16_t tag = s->tags[i];
        if (print == 0)
            continue;
        prints[i] = 0;
        if (!atomic_load_explicit(&t->open[tag & 0xff], memory_order_relaxed))
            continue;
        uint32_t at = home_of(print, cap);
        at = at < next ? next : at;
        must(at <= i);
        prints[at] = print;
        s->tags[at] = tag;
        next = at + 1;
        used++;
    }
    s->used = used;
    if (cap > CAP_MIN && used < cap / 2) {
        uint32_t less = used + used / 4;
        (void)resize(t, s, less < CAP_MIN ? CAP_MIN : less); /* without memory it stays large */
    }
}

/* The id's fate is known: hand those who wait for it to their queues. */
static void wake(struct shard *s, const uint8_t *id)
{
    for (struct dedupe_wait **at = &s->waiting; *at != NULL;) {
        struct dedupe_wait *w = *at;
        if (dedupe_id_same(w->id.bytes, id)) {
            *at = w->next;
            queue_push(w->to, &w->link);
        } else {
            at = &w->next;
        }
    }
}

static void lock(struct shard *s)
{
    (void)pthread_mutex_lock(&s->lock);
}

static void unlock(struct shard *s)
{
    (void)pthread_mutex_unlock(&s->lock);
}

/* ---- the table ---- */

struct dedupe_table *dedupe_table_new(void)
{
    struct dedupe_table *t = aligned_alloc(64, sizeof(*t));
    if (t == NULL)
        return NULL;
    memset(t, 0, sizeof(*t));
    t->magic = TABLE_MAGIC;
    atomic_store(&t->open[DEDUPE_BUCKET_PENDING], true);
    atomic_store(&t->bytes, sizeof(*t));
    for (uint32_t i = 0; i < DEDUPE_SHARDS; i++)
        (void)pthread_mutex_init(&t->shards[i].lock, NULL);
    return t;
}

void dedupe_table_free(struct dedupe_table *t)
{
    if (t == NULL)
        return;
    CHECK_MAGIC(t, TABLE_MAGIC);
    for (uint32_t i = 0; i < DEDUPE_SHARDS; i++) {
        must(t->shards[i].waiting == NULL);
        free(atomic_load(&t->shards[i].prints));
        (void)pthread_mutex_destroy(&t->shards[i].lock);
    }
    t->magic = 0;
    free(t);
}

void dedupe_table_prefetch(const struct dedupe_table *t, const struct dedupe_id *id)
{
    const struct shard *s = &t->shards[shard_of(id->bytes)];
    const uint64_t *prints = atomic_load_explicit(&s->prints, memory_order_relaxed);
    uint32_t cap = atomic_load_explicit(&s->cap, memory_order_relaxed);
    uint32_t home = home_of(print_of(id->bytes), cap);
    if (prints == NULL)
        return;
    /* Perhaps of another size by now: a wrong guess costs nothing. */
    __builtin_prefetch(prints + home, 1);
    __builtin_prefetch((const uint16_t *)(prints + size_for(cap)) + home, 1);
}

enum dedupe_verdict dedupe_table_reserve(struct dedupe_table *t, const struct dedupe_id *id)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    struct place p = place_of(t, id->bytes);
    enum dedupe_verdict verdict = DEDUPE_NEW;
    bool found;
    lock(p.shard);
    uint32_t i = search(p.shard, &p, &found);
    uint8_t bucket = found ? (uint8_t)p.shard->tags[i] : 0;
    if (found && bucket == DEDUPE_BUCKET_PENDING)
        verdict = DEDUPE_PENDING;
    else if (found && atomic_load_explicit(&t->open[bucket], memory_order_relaxed))
        verdict = DEDUPE_KNOWN;
    else if (found)
        p.shard->tags[i] = (uint16_t)(p.rest | DEDUPE_BUCKET_PENDING);
    else if (insert(t, p.shard, &p, i, DEDUPE_BUCKET_PENDING) != 0)
        verdict = DEDUPE_NO_ROOM;
    unlock(p.shard);
    if (verdict == DEDUPE_NEW)
        atomic_fetch_add_explicit(&t->pending, 1, memory_order_relaxed);
    return verdict;
}

/* False: there is no id. */
static bool settle(struct dedupe_table *t, const uint8_t *id, bool committed,
                   const _Atomic uint8_t *bucket)
{
    if (dedupe_id_is_none(id))
        return false;
    struct place p = place_of(t, id);
    bool found;
    lock(p.shard);
    uint32_t i = search(p.shard, &p, &found);
    must(found && (uint8_t)p.shard->tags[i] == DEDUPE_BUCKET_PENDING);
    if (committed) {
        uint8_t b = atomic_load(bucket);
        p.shard->tags[i] = (uint16_t)(p.rest | b);
        atomic_fetch_add_explicit(&t->bucket_counts[b], 1, memory_order_relaxed);
    } else {
        take_out(p.shard, i);
    }
    if (p.shard->waiting != NULL)
        wake(p.shard, id);
    unlock(p.shard);
    return true;
}

uint64_t dedupe_table_settle(struct dedupe_table *t, const uint8_t *ids, uint32_t count,
                             bool committed, const _Atomic uint8_t *bucket)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    uint64_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct dedupe_id ahead;
        if (i + AHEAD < count) {
            memcpy(ahead.bytes, ids + (size_t)(i + AHEAD) * DEDUPE_ID_BYTES, DEDUPE_ID_BYTES);
            dedupe_table_prefetch(t, &ahead);
        }
        n += settle(t, ids + (size_t)i * DEDUPE_ID_BYTES, committed, bucket);
    }
    atomic_fetch_sub(&t->pending, n);
    return n;
}

bool dedupe_table_wait(struct dedupe_table *t, struct dedupe_wait *w)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    struct place p = place_of(t, w->id.bytes);
    bool found;
    lock(p.shard);
    uint32_t i = search(p.shard, &p, &found);
    bool pending = found && (uint8_t)p.shard->tags[i] == DEDUPE_BUCKET_PENDING;
    if (pending) {
        w->next = p.shard->waiting;
        p.shard->waiting = w;
    }
    unlock(p.shard);
    return pending;
}

bool dedupe_table_unwait(struct dedupe_table *t, struct dedupe_wait *w)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    struct shard *s = &t->shards[shard_of(w->id.bytes)];
    bool there = false;
    lock(s);
    for (struct dedupe_wait **at = &s->waiting; *at != NULL && !there; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            there = true;
            break;
        }
    }
    unlock(s);
    return there;
}

int dedupe_table_put(struct dedupe_table *t, const struct dedupe_id *id, uint8_t bucket)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    struct place p = place_of(t, id->bytes);
    bool found;
    lock(p.shard);
    uint32_t i = search(p.shard, &p, &found);
    int rc = found ? 0 : insert(t, p.shard, &p, i, bucket);
    unlock(p.shard);
    if (rc != 0 || found)
        return rc;
    atomic_fetch_add_explicit(&t->bucket_counts[bucket], 1, memory_order_relaxed);
    return 1;
}

bool dedupe_table_has(struct dedupe_table *t, const struct dedupe_id *id)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    struct place p = place_of(t, id->bytes);
    bool found;
    lock(p.shard);
    uint32_t i = search(p.shard, &p, &found);
    uint8_t bucket = found ? (uint8_t)p.shard->tags[i] : 0;
    found = found && bucket != DEDUPE_BUCKET_PENDING && atomic_load(&t->open[bucket]);
    unlock(p.shard);
    return found;
}

void dedupe_table_open_bucket(struct dedupe_table *t, uint8_t bucket)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    must(bucket < DEDUPE_BUCKETS && !atomic_load(&t->open[bucket]));
    atomic_store(&t->bucket_counts[bucket], 0);
    atomic_store(&t->open[bucket], true);
}

void dedupe_table_barrier(struct dedupe_table *t)
{
    for (uint32_t i = 0; i < DEDUPE_SHARDS; i++) {
        lock(&t->shards[i]);
        unlock(&t->shards[i]);
    }
}

uint64_t dedupe_table_forget(struct dedupe_table *t, uint8_t bucket)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    must(bucket < DEDUPE_BUCKETS);
    uint64_t n = atomic_load(&t->bucket_counts[bucket]);
    atomic_store(&t->open[bucket], false);
    for (uint32_t i = 0; i < DEDUPE_SHARDS; i++) {
        struct shard *s = &t->shards[i];
        lock(s);
        if (s->used > 0)
            sweep(t, s);
        unlock(s);
    }
    atomic_store(&t->bucket_counts[bucket], 0);
    return n;
}

uint64_t dedupe_table_count(const struct dedupe_table *t)
{
    uint64_t n = 0;
    for (uint32_t b = 0; b < DEDUPE_BUCKETS; b++)
        n += atomic_load_explicit(&t->bucket_counts[b], memory_order_relaxed);
    return n;
}

uint64_t dedupe_table_bucket_count(const struct dedupe_table *t, uint8_t bucket)
{
    return atomic_load_explicit(&t->bucket_counts[bucket], memory_order_relaxed);
}

uint64_t dedupe_table_pending(const struct dedupe_table *t)
{
    return atomic_load(&t->pending);
}

uint64_t dedupe_table_bytes(const struct dedupe_table *t)
{
    return atomic_load_explicit(&t->bytes, memory_order_relaxed);
}

/* Mixed so that the sum over all ids tells sets apart (splitmix64's finalizer). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t dedupe_table_digest(struct dedupe_table *t)
{
    CHECK_MAGIC(t, TABLE_MAGIC);
    uint64_t sum = 0;
    for (uint32_t n = 0; n < DEDUPE_SHARDS; n++) {
        struct shard *s = &t->shards[n];
        lock(s);
        const uint64_t *prints = atomic_load_explicit(&s->prints, memory_order_relaxed);
        for (uint32_t i = 0; i < s->size; i++) {
            uint8_t bucket = (uint8_t)s->tags[i];
            if (prints[i] != 0 && bucket != DEDUPE_BUCKET_PENDING && atomic_load(&t->open[bucket]))
                sum += mix(prints[i] ^ mix(((uint64_t)n << 16) | (s->tags[i] & 0xff00)));
        }
        unlock(s);
    }
    return sum;
}
