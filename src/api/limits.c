/* SPDX-License-Identifier: Apache-2.0 */
#include "api/limits.h"

#include "base/buf.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/magic.h"
#include "base/metric.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BUCKETS   4096 /* hash chains; a power of two */
#define NS_PER_S  1000000000u
#define NS_PER_MS 1000000u
/* Added to the clock, which begins at the machine's start: the longest burst (config) lies before.
 */
#define EPOCH_NS (3600ull * NS_PER_S)

/* A table or a role. Made under the lock, then never moved or freed before limits_free. */
struct place {
    struct place *next;                             /* published by the chain's head */
    _Atomic uint64_t owed_until[2];                 /* rows, bytes; monotonic */
    _Atomic(struct metric *) refused[LIMITS_KINDS]; /* of tables */
    bool is_role;
    size_t name_len;
    char name[];
};

struct limits {
    uint32_t magic;
    pthread_mutex_t lock; /* count, and making places */
    uint32_t count;
    _Atomic(struct place *) chains[BUCKETS];
    struct place *shared[2]; /* of names for which there is no room: tables, roles */
};
#define LIMITS_MAGIC 0x4c494d49u

static struct place *place_new(struct slice name, bool is_role)
{
    struct place *p = calloc(1, sizeof(*p) + name.len + 1);
    if (p == NULL)
        return NULL;
    p->is_role = is_role;
    p->name_len = name.len;
    if (name.len > 0)
        memcpy(p->name, name.ptr, name.len);
    return p;
}

struct limits *limits_new(void)
{
    struct limits *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return NULL;
    l->magic = LIMITS_MAGIC;
    (void)pthread_mutex_init(&l->lock, NULL);
    l->shared[0] = place_new(SLICE_LIT("(others)"), false);
    l->shared[1] = place_new(SLICE_LIT("(others)"), true);
    if (l->shared[0] == NULL || l->shared[1] == NULL) {
        limits_free(l);
        return NULL;
    }
    return l;
}

void limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    CHECK_MAGIC(l, LIMITS_MAGIC);
    for (uint32_t i = 0; i < BUCKETS; i++)
        for (struct place *p = atomic_load(&l->chains[i]), *next; p != NULL; p = next) {
            next = p->next;
            free(p);
        }
    free(l->shared[0]);
    free(l->shared[1]);
    (void)pthread_mutex_destroy(&l->lock);
    l->magic = 0;
    free(l);
}

static struct place *chain_find(struct place *p, struct slice name, bool is_role)
{
    while (p != NULL &&
           (p->is_role != is_role || !slice_eq(name, (struct slice){p->name, p->name_len})))
        p = p->next;
    return p;
}

static struct place *place_of(struct limits *l, struct slice name, bool is_role)
{
    _Atomic(struct place *) *chain = &l->chains[crc32c(is_role, name.ptr, name.len) % BUCKETS];
    struct place *p = chain_find(atomic_load_explicit(chain, memory_order_acquire), name, is_role);
    if (p != NULL)
        return p;
    (void)pthread_mutex_lock(&l->lock);
    struct place *head = atomic_load_explicit(chain, memory_order_relaxed);
    p = chain_find(head, name, is_role); /* another loop was first */
    if (p == NULL && l->count < LIMIT_LIMITED_NAMES && (p = place_new(name, is_role)) != NULL) {
        l->count++;
        p->next = head;
        atomic_store_explicit(chain, p, memory_order_release);
    }
    (void)pthread_mutex_unlock(&l->lock);
    return p != NULL ? p : l->shared[is_role];
}

/* ---- buckets ---- */

struct bucket {
    _Atomic uint64_t *owed_until;
    uint64_t rate, burst_ns, cost; /* rate 0: no limit */
    enum limits_by by;
};

/* cost × 1 s / rate, and at least 1 ns; costs are below 2^40 and rates at most LIMIT_RATE_MAX. */
static uint64_t cost_ns(const struct bucket *b)
{
    unsigned __int128 ns = (unsigned __int128)b->cost * NS_PER_S / b->rate;
    return ns > 0 ? (uint64_t)ns : 1;
}

static void charge(const struct bucket *b, uint64_t now)
{
    uint64_t cost = cost_ns(b), before = atomic_load_explicit(b->owed_until, memory_order_relaxed);
    uint64_t earliest = now - b->burst_ns, after;
    must(b->burst_ns <= now);
    do
        after = (before > earliest ? before : earliest) + cost;
    while (!atomic_compare_exchange_weak_explicit(b->owed_until, &before, after,
                                                  memory_order_relaxed, memory_order_relaxed));
}

static void count_refused(struct place *table, enum limits_by by)
{
    static const char *const names[LIMITS_KINDS] = {"rows", "bytes", "role_rows", "role_bytes"};
    struct metric *m = atomic_load_explicit(&table->refused[by], memory_order_acquire);
    if (m == NULL) {
        struct buf label;
        buf_init(&label, SIZE_MAX);
        metric_label_escape(&label, (struct slice){table->name, table->name_len});
        buf_put_u8(&label, '\0');
        if (buf_ok(&label))
            m = metric_new(METRIC_COUNTER, "wavehouse_ingest_limited_total",
                           "Requests refused because a rate of limits was used up.",
                           "table=\"%s\",by=\"%s\"", label.ptr, names[by]);
        buf_fini(&label);
        if (m == NULL)
            return;
        atomic_store_explicit(&table->refused[by], m, memory_order_release);
    }
    metric_add(m, 1);
}

bool limits_take(struct limits *l, const struct limits_ask *ask, struct limits_verdict *verdict)
{
    const struct config_rates *t = ask->table_rates, *r = ask->role_rates;
    bool of_table = t->rows_per_second > 0 || t->bytes_per_second > 0;
    bool of_role = r->rows_per_second > 0 || r->bytes_per_second > 0;
    if (!of_table && !of_role)
        return true;
    CHECK_MAGIC(l, LIMITS_MAGIC);
    struct place *table = place_of(l, ask->table, false);
    struct place *role = of_role ? place_of(l, ask->role, true) : table;
    uint64_t t_burst = t->burst_ms * NS_PER_MS, r_burst = r->burst_ms * NS_PER_MS;
    struct bucket buckets[LIMITS_KINDS] = {
        {&table->owed_until[0], t->rows_per_second, t_burst, ask->rows, LIMITS_ROWS},
        {&table->owed_until[1], t->bytes_per_second, t_burst, ask->bytes, LIMITS_BYTES},
        {&role->owed_until[0], r->rows_per_second, r_burst, ask->rows, LIMITS_ROLE_ROWS},
        {&role->owed_until[1], r->bytes_per_second, r_burst, ask->bytes, LIMITS_ROLE_BYTES}};
    uint64_t now = ask->now_ns + EPOCH_NS;
    verdict->wait_ns = 0;
    for (int i = 0; i < LIMITS_KINDS; i++) {
        const struct bucket *b = &buckets[i];
        if (b->rate == 0)
            continue;
        uint64_t until = atomic_load_explicit(b->owed_until, memory_order_relaxed);
        if (until > now && until - now > verdict->wait_ns)
            *verdict = (struct limits_verdict){b->by, b->rate, until - now};
    }
    if (verdict->wait_ns > 0) {
        count_refused(table, verdict->by);
        return false;
    }
    for (int i = 0; i < LIMITS_KINDS; i++)
        if (buckets[i].rate > 0 && buckets[i].cost > 0)
            charge(&buckets[i], now);
    return true;
}
