/* SPDX-License-Identifier: Apache-2.0 */
/* The table of known ids against a model, with ids made so that they crowd together; identities;
 * several threads at once. */
#include "dedupe/table.h"

#include "base/le.h"
#include "tests/lib/tap.h"

#include <pthread.h>
#include <stdlib.h>

static uint64_t random_state;

static uint64_t rnd(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static struct dedupe_id id_make(uint64_t print, uint32_t shard, uint8_t rest)
{
    struct dedupe_id id = {{0}};
    le64_put(id.bytes, print);
    le16_put(id.bytes + 8, (uint16_t)shard);
    id.bytes[10] = rest;
    id.bytes[15] = 1;
    return id;
}

/* The nth id of a stream, well spread. */
static struct dedupe_id id_nth(uint64_t n)
{
    uint64_t x = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 31)) * UINT64_C(0xbf58476d1ce4e5b9);
    return id_make(x ^ (x >> 29), (uint32_t)(x >> 7), (uint8_t)(n * 7));
}

static bool put_new(struct dedupe_table *t, const struct dedupe_id *id, uint8_t bucket)
{
    _Atomic uint8_t b = bucket;
    return dedupe_table_reserve(t, id) == DEDUPE_NEW &&
           dedupe_table_settle(t, id->bytes, 1, true, &b) == 1;
}

static void test_identity(void)
{
    struct dedupe_key k = {{1}}, other = {{2}};
    struct dedupe_id a, b;
    static char long_text[3000];
    memset(long_text, 'x', sizeof(long_text));
    dedupe_id_of_text(&k, SLICE_LIT("t"), SLICE_LIT("1"), &a);
    dedupe_id_of_text(&k, SLICE_LIT("t"), SLICE_LIT("1"), &b);
    ok(memcmp(&a, &b, sizeof(a)) == 0, "the same table and text: the same id");
    dedupe_id_of_text(&k, SLICE_LIT("t"), SLICE_LIT("2"), &b);
    ok(!dedupe_id_same(a.bytes, b.bytes), "another text: another id");
    dedupe_id_of_text(&k, SLICE_LIT("t1"), SLICE_LIT(""), &b);
    ok(!dedupe_id_same(a.bytes, b.bytes), "table and text cannot be shifted into one another");
    dedupe_id_of_text(&other, SLICE_LIT("t"), SLICE_LIT("1"), &b);
    ok(!dedupe_id_same(a.bytes, b.bytes), "another secret: another id");
    dedupe_id_of_request(&k, SLICE_LIT("t"), SLICE_LIT("1"), 0, &b);
    ok(!dedupe_id_same(a.bytes, b.bytes), "a key is not an id");
    dedupe_id_of_request(&k, SLICE_LIT("t"), SLICE_LIT("1"), 1, &a);
    ok(!dedupe_id_same(a.bytes, b.bytes), "each record of a request has its own");
    dedupe_id_of_text(&k, SLICE_LIT("t"), (struct slice){long_text, 1025}, &a);
    dedupe_id_of_text(&k, SLICE_LIT("t"), (struct slice){long_text, 1026}, &b);
    ok(!dedupe_id_same(a.bytes, b.bytes), "texts over 1024 bytes");
    dedupe_id_of_text(&k, SLICE_LIT("t"), (struct slice){long_text, sizeof(long_text)}, &a);
    long_text[sizeof(long_text) - 1] = 'y';
    dedupe_id_of_text(&k, SLICE_LIT("t"), (struct slice){long_text, sizeof(long_text)}, &b);
    ok(!dedupe_id_same(a.bytes, b.bytes), "differ at their end too");
}

static void test_growth(void)
{
    enum {
        N = 300000
    };
    struct dedupe_table *t = dedupe_table_new();
    uint64_t empty = dedupe_table_bytes(t), wrong = 0;
    dedupe_table_open_bucket(t, 0);
    dedupe_table_open_bucket(t, 1);
    for (uint64_t i = 0; i < N; i++) {
        struct dedupe_id id = id_nth(i);
        wrong += !put_new(t, &id, i % 2);
    }
    is_u64(wrong, 0, "300,000 ids, all new");
    is_u64(dedupe_table_count(t), N, "are counted");
    is_u64(dedupe_table_pending(t), 0, "none is on its way");
    for (uint64_t i = 0; i < N; i++) {
        struct dedupe_id id = id_nth(i), never = id_nth(N + i);
        wrong += dedupe_table_reserve(t, &id) != DEDUPE_KNOWN || dedupe_table_has(t, &never);
    }
    is_u64(wrong, 0, "each is known, and no other");
    double each = (double)(dedupe_table_bytes(t) - empty) / N;
    ok(each > 10 && each < 25, "%.1f bytes an id, shards small as they are", each);
    is_u64(dedupe_table_forget(t, 0), N / 2, "a bucket is forgotten");
    is_u64(dedupe_table_count(t), N / 2, "its ids do not count");
    for (uint64_t i = 0; i < N; i++) {
        struct dedupe_id id = id_nth(i);
        wrong += dedupe_table_has(t, &id) != (i % 2 == 1);
    }
    is_u64(wrong, 0, "its ids are unknown, the others known");
    (void)dedupe_table_forget(t, 1);
    ok(dedupe_table_bytes(t) - empty <= DEDUPE_SHARDS * 700, "memory is given back");
    dedupe_table_open_bucket(t, 0);
    struct dedupe_id id = id_nth(0);
    ok(put_new(t, &id, 0) && dedupe_table_count(t) == 1, "a bucket's number serves again");
    dedupe_table_free(t);
}

/* Few shards, prints next to one another or equal, ends of the range: what the order and the
 * pushing to the right must get right. The model is an array. */
static void test_model(void)
{
    enum {
        IDS = 3000,
        STEPS = 300000,
        UNKNOWN = 0,
        PENDING = 1,
        KNOWN = 2 /* + bucket */
    };
    static uint8_t model[IDS];
    static struct dedupe_id ids[IDS];
    struct dedupe_table *t = dedupe_table_new();
    uint64_t wrong = 0, pending = 0;
    for (int i = 0; i < IDS; i++) {
        uint64_t print = i % 3 == 0   ? UINT64_MAX - (uint64_t)i / 30
                         : i % 3 == 1 ? (uint64_t)i / 20
                                      : (uint64_t)i << 50;
        ids[i] = id_make(print, (uint32_t)i % 2, (uint8_t)i);
    }
    for (int i = 0; i < IDS; i++)
        for (int k = i + 1; k < IDS; k++)
            wrong += dedupe_id_same(ids[i].bytes, ids[k].bytes);
    is_u64(wrong, 0, "the ids differ in what the table keeps");
    for (uint8_t b = 0; b < 3; b++)
        dedupe_table_open_bucket(t, b);
    memset(model, UNKNOWN, sizeof(model));
    for (int step = 0; step < STEPS; step++) {
        size_t i = rnd() % IDS;
        _Atomic uint8_t bucket = (uint8_t)(rnd() % 3);
        enum dedupe_verdict want = model[i] == UNKNOWN   ? DEDUPE_NEW
                                   : model[i] == PENDING ? DEDUPE_PENDING
                                                         : DEDUPE_KNOWN;
        if (rnd() % 20000 == 0) {
            uint8_t b = atomic_load(&bucket);
            uint64_t n = 0;
            for (int k = 0; k < IDS; k++) {
                n += model[k] == KNOWN + b;
                model[k] = model[k] == KNOWN + b ? UNKNOWN : model[k];
            }
            wrong += dedupe_table_forget(t, b) != n;
            dedupe_table_open_bucket(t, b);
        } else if (model[i] == PENDING && rnd() % 2 == 0) {
            bool committed = rnd() % 2 == 0;
            wrong += dedupe_table_settle(t, ids[i].bytes, 1, committed, &bucket) != 1;
            model[i] = committed ? (uint8_t)(KNOWN + atomic_load(&bucket)) : UNKNOWN;
            pending--;
        } else {
            wrong += dedupe_table_reserve(t, &ids[i]) != want;
            pending += want == DEDUPE_NEW;
            model[i] = want == DEDUPE_NEW ? PENDING : model[i];
        }
        wrong += dedupe_table_pending(t) != pending;
    }
    is_u64(wrong, 0, "300,000 random steps as a model has them");
    for (int i = 0; i < IDS; i++)
        wrong += dedupe_table_has(t, &ids[i]) != (model[i] >= KNOWN);
    is_u64(wrong, 0, "and the same ids in the end");
    dedupe_table_free(t);
}

static void test_digest(void)
{
    struct dedupe_table *a = dedupe_table_new(), *b = dedupe_table_new();
    for (uint8_t n = 0; n < 2; n++) {
        dedupe_table_open_bucket(a, n);
        dedupe_table_open_bucket(b, n);
    }
    int bad = 0;
    for (uint64_t i = 0; i < 5000; i++) {
        struct dedupe_id x = id_nth(i), y = id_nth(4999 - i);
        bad += dedupe_table_put(a, &x, 0) != 1;
        bad += dedupe_table_put(b, &y, i % 2) != 1;
    }
    ok(bad == 0 && dedupe_table_digest(a) == dedupe_table_digest(b),
       "the same ids in another order and other buckets: the same digest");
    struct dedupe_id one = id_nth(5000), two = id_nth(5001), had = id_nth(7);
    ok(dedupe_table_reserve(a, &one) == DEDUPE_NEW &&
           dedupe_table_digest(a) == dedupe_table_digest(b),
       "what is on its way does not count");
    _Atomic uint8_t bucket = 1;
    (void)dedupe_table_settle(a, one.bytes, 1, true, &bucket);
    ok(dedupe_table_digest(a) != dedupe_table_digest(b), "one more: another digest");
    ok(dedupe_table_put(b, &two, 1) == 1 && dedupe_table_digest(a) != dedupe_table_digest(b),
       "and as many, but not the same");
    ok(dedupe_table_put(b, &had, 1) == 0, "an id is put once");
    dedupe_table_free(a);
    dedupe_table_free(b);
}

static void test_settle_many(void)
{
    struct dedupe_table *t = dedupe_table_new();
    static uint8_t ids[100 * DEDUPE_ID_BYTES];
    _Atomic uint8_t bucket = 0;
    dedupe_table_open_bucket(t, 0);
    for (uint64_t i = 0; i < 100; i++) {
        struct dedupe_id id = id_nth(i);
        if (i % 3 != 0) { /* every third record has none */
            memcpy(ids + i * DEDUPE_ID_BYTES, id.bytes, DEDUPE_ID_BYTES);
            (void)dedupe_table_reserve(t, &id);
        }
    }
    is_u64(dedupe_table_pending(t), 66, "66 reserved");
    is_u64(dedupe_table_settle(t, ids, 100, false, &bucket), 66, "and refused");
    is_u64(dedupe_table_pending(t) + dedupe_table_count(t), 0, "nothing is left of them");
    struct dedupe_id id = id_nth(1);
    ok(dedupe_table_reserve(t, &id) == DEDUPE_NEW, "a retry gets them");
    (void)dedupe_table_settle(t, id.bytes, 1, true, &bucket);
    dedupe_table_free(t);
}

static void test_wait(void)
{
    struct dedupe_table *t = dedupe_table_new();
    struct dedupe_id id = id_nth(1), neighbour = id;
    struct queue q;
    _Atomic uint8_t bucket = 0;
    neighbour.bytes[10] ^= 1;
    dedupe_table_open_bucket(t, 0);
    ok(queue_init(&q, 100) == 0, "queue");
    struct dedupe_wait a = {.to = &q, .id = id}, b = a, c = {.to = &q, .id = neighbour};
    ok(!dedupe_table_wait(t, &a), "nobody has the id: no waiting");
    ok(dedupe_table_reserve(t, &id) == DEDUPE_NEW &&
           dedupe_table_reserve(t, &neighbour) == DEDUPE_NEW,
       "two ids are reserved");
    ok(dedupe_table_wait(t, &a) && dedupe_table_wait(t, &b) && dedupe_table_wait(t, &c),
       "two wait for one, one for the other");
    ok(dedupe_table_unwait(t, &b) && !dedupe_table_unwait(t, &b), "one gives up");
    (void)dedupe_table_settle(t, id.bytes, 1, false, &bucket);
    ok(queue_pop(&q) == &a.link && queue_pop(&q) == NULL, "the one that is left hears of it");
    ok(!dedupe_table_unwait(t, &a), "and need not give up any more");
    (void)dedupe_table_settle(t, neighbour.bytes, 1, true, &bucket);
    ok(queue_pop(&q) == &c.link, "then the other");
    queue_fini(&q);
    dedupe_table_free(t);
}

/* ---- threads ---- */

enum {
    THREADS = 4,
    SHARED_IDS = 20000,
    ROUNDS = 3
};
static struct dedupe_table *shared;
static _Atomic uint64_t won, committed_count, woken;
static _Atomic uint8_t shared_bucket;

/* All take the same ids in another order; who gets one commits it or, each first time, gives it
 * back. */
static void *race(void *arg)
{
    uint64_t seed = (uint64_t)(uintptr_t)arg;
    struct queue q;
    if (queue_init(&q, 10) != 0)
        return NULL;
    for (int round = 0; round < ROUNDS; round++) {
        for (uint64_t n = 0; n < SHARED_IDS; n++) {
            uint64_t i = (n * 7919 + seed * 5003) % SHARED_IDS;
            struct dedupe_wait w = {.to = &q, .id = id_nth(i)};
            dedupe_table_prefetch(shared, &w.id);
            enum dedupe_verdict v = dedupe_table_reserve(shared, &w.id);
            if (v == DEDUPE_NEW) {
                bool commit = round > 0 || i % 2 == 0;
                atomic_fetch_add(&won, 1);
                atomic_fetch_add(&committed_count, commit);
                (void)dedupe_table_settle(shared, w.id.bytes, 1, commit, &shared_bucket);
            } else if (v == DEDUPE_PENDING && dedupe_table_wait(shared, &w)) {
                if (i % 2 == 0 && dedupe_table_unwait(shared, &w))
                    continue;
                while (queue_pop(&q) == NULL) {
                }
                atomic_fetch_add(&woken, 1);
            }
        }
    }
    queue_fini(&q);
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[THREADS];
    shared = dedupe_table_new();
    dedupe_table_open_bucket(shared, 0);
    for (uintptr_t i = 0; i < THREADS; i++)
        ok(pthread_create(&threads[i], NULL, race, (void *)(i + 1)) == 0, "thread");
    for (uint8_t b = 1; b < 20; b++) { /* buckets change, one that is empty is forgotten */
        dedupe_table_open_bucket(shared, b);
        (void)dedupe_table_forget(shared, b);
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    is_u64(atomic_load(&committed_count), SHARED_IDS, "each id was committed by exactly one");
    is_u64(dedupe_table_count(shared), SHARED_IDS, "and is known");
    is_u64(dedupe_table_pending(shared), 0, "none is left on its way");
    ok(atomic_load(&won) > SHARED_IDS, "some after it was given back");
    dedupe_table_free(shared);
}

int main(int argc, char **argv)
{
    random_state = argc > 1 ? strtoull(argv[1], NULL, 0) : 88172645463325252u;
    printf("# seed %" PRIu64 "\n", random_state);
    test_identity();
    test_growth();
    test_model();
    test_digest();
    test_settle_many();
    test_wait();
    test_threads();
    return tap_done();
}
