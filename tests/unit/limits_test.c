/* SPDX-License-Identifier: Apache-2.0 */
/* Rates with a clock of our own: what is taken over time, bursts, debts, shares of several loops.
 */
#include "api/limits.h"
#include "base/limits.h"
#include "tests/lib/tap.h"

#include <pthread.h>
#include <stdatomic.h>

#define S  1000000000ull
#define MS 1000000ull

static const struct config_rates none = {.burst_ms = 2000};
static struct limits *l;
static struct limits_verdict v;

static bool take(const char *table, const struct config_rates *t, const struct config_rates *r,
                 uint64_t rows, uint64_t bytes, uint64_t now)
{
    struct limits_ask ask = {.table = slice_str(table),
                             .role = SLICE_LIT("public"),
                             .table_rates = t,
                             .role_rates = r,
                             .rows = rows,
                             .bytes = bytes,
                             .now_ns = now};
    return limits_take(l, &ask, &v);
}

static void test_steady(void)
{
    struct config_rates rates = {.rows_per_second = 100, .burst_ms = 1000};
    uint64_t now = 1000 * S, rows = 0, refused = 0;
    for (int i = 0; i < 100000; i++, now += MS) { /* 100 s, 1,000 offered a second */
        if (take("steady", &rates, &none, 1, 10, now))
            rows++;
        else
            refused++;
    }
    /* the burst, and 100 a second; the last may be owed */
    ok(rows >= 100 * 100 + 99 && rows <= 100 * 100 + 102, "the rate holds: %llu rows in 100 s",
       (unsigned long long)rows);
    is_u64(rows + refused, 100000, "each is one or the other");
    is_u64(v.per_second, 100, "the verdict has the rate");
    ok(v.by == LIMITS_ROWS && v.wait_ns > 0 && v.wait_ns <= 10 * MS, "and how long to wait");
    ok(!take("steady", &rates, &none, 0, 0, now - MS), "asking alone is refused while one is owed");
    ok(take("steady", &rates, &none, 0, 0, now + 20 * MS), "and not later");
    ok(take("steady", &rates, &none, 1, 0, now + 20 * MS), "asking takes nothing");
}

static void test_burst_and_debt(void)
{
    struct config_rates rates = {.rows_per_second = 1000, .burst_ms = 2000};
    uint64_t now = 5000 * S;
    ok(take("debt", &rates, &none, 50000, 0, now), "a request of 50 s' worth is taken");
    ok(!take("debt", &rates, &none, 1, 0, now), "then something is owed");
    is_u64(v.wait_ns, 48 * S, "the burst is taken off");
    ok(!take("debt", &rates, &none, 1, 0, now + 48 * S - 1), "until it is paid");
    ok(take("debt", &rates, &none, 1, 0, now + 48 * S), "and not a moment longer");
    now += 1000 * S;
    uint64_t n = 0;
    while (n < 10000 && take("debt", &rates, &none, 1, 0, now))
        n++;
    is_u64(n, 2001, "after a pause as much as the burst at once, and the one that owes");
}

static void test_which(void)
{
    struct config_rates t = {.rows_per_second = 10, .bytes_per_second = 1000, .burst_ms = 1000};
    struct config_rates r = {.rows_per_second = 20, .bytes_per_second = 500, .burst_ms = 1000};
    uint64_t now = 9000 * S;
    ok(take("which", &t, &none, 1, 11000, now), "one with many bytes");
    ok(!take("which", &t, &none, 1, 1, now) && v.by == LIMITS_BYTES && v.per_second == 1000,
       "bytes are owed");
    is_u64(v.wait_ns, 10 * S, "for 10 s");
    ok(take("other", &t, &none, 1, 1, now), "another table owes nothing");
    ok(take("other", &none, &r, 500, 1, now), "a role's rate");
    ok(!take("third", &none, &r, 1, 1, now) && v.by == LIMITS_ROLE_ROWS, "is for all tables");
    ok(!take("which", &t, &r, 1, 1, now) && v.by == LIMITS_ROLE_ROWS, "the longest wait is told");
    is_u64(v.wait_ns, 24 * S, "24 s");
    ok(take("third", &none, &none, 1000000, 1000000, now), "without rates anything goes");
    /* nothing is charged for what is refused */
    ok(take("which", &t, &none, 1, 1, now + 10 * S), "a refused request owes nothing");
}

static void test_extremes(void)
{
    struct config_rates slow = {.rows_per_second = 1, .bytes_per_second = 1, .burst_ms = 10};
    struct config_rates fast = {.rows_per_second = LIMIT_RATE_MAX,
                                .bytes_per_second = LIMIT_RATE_MAX,
                                .burst_ms = 3600000};
    ok(take("slow", &slow, &none, 1u << 28, 1u << 28, 1), "256 Mi rows at one a second");
    ok(!take("slow", &slow, &none, 1, 1, 1), "are owed");
    is_u64(v.wait_ns / S, (1u << 28) - 1, "for eight years");
    bool all = true;
    for (int i = 0; i < 100000; i++)
        all &= take("fast", &fast, &none, 1000, 1000, 1);
    ok(all, "the highest rate refuses nobody, right after the start of the clock");
}

static void test_names(void)
{
    struct config_rates rates = {.rows_per_second = 1, .burst_ms = 10};
    char name[32];
    uint32_t refused = 0;
    for (uint32_t i = 0; i < LIMIT_LIMITED_NAMES; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        refused += !take(name, &rates, &none, 1, 1, 100 * S);
    }
    /* the tables of the tests before have places too, so the last few share one */
    ok(refused > 0 && refused < 10, "names beyond the limit share a place (%u)", refused);
    ok(!take("t5", &rates, &none, 1, 1, 100 * S), "the others have their own");
    ok(take("t5", &rates, &none, 1, 1, 102 * S), "all the time");
}

/* ---- several loops ---- */

#define THREADS 4
static _Atomic uint64_t clock_ns;
static uint64_t taken[THREADS]; /* each its thread's */

static void *sender(void *arg)
{
    struct config_rates rates = {.rows_per_second = 10000, .burst_ms = 100};
    uint64_t now;
    while ((now = atomic_fetch_add(&clock_ns, 1000)) < 110 * S) { /* 10 s in steps of 1 µs */
        struct limits_ask ask = {.table = SLICE_LIT("shared"),
                                 .table_rates = &rates,
                                 .role_rates = &none,
                                 .rows = 1,
                                 .now_ns = now};
        struct limits_verdict mine;
        if (limits_take(l, &ask, &mine))
            ++*(uint64_t *)arg;
    }
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[THREADS];
    uint64_t sum = 0;
    atomic_store(&clock_ns, 100 * S);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, sender, &taken[i]) != 0)
            return;
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        sum += taken[i];
    }
    /* 10 s and the burst; two that look at the same moment may both be taken, and both are paid */
    ok(sum >= 100990 && sum <= 101010 + THREADS, "four loops share one rate: %llu rows",
       (unsigned long long)sum);
}

int main(void)
{
    l = limits_new();
    ok(l != NULL, "made");
    test_steady();
    test_burst_and_debt();
    test_which();
    test_extremes();
    test_threads();
    test_names();
    limits_free(l);
    limits_free(NULL);
    return tap_done();
}
