/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of a socket loop, and the metric of how late they ran. */
#include "base/metric.h"
#include "http/loop.h"
#include "tests/lib/tap.h"

#include <time.h>

enum {
    STALL_MS = 300
};

struct run {
    struct loop *loop;
    int fired;
};

static void on_tick(void *arg)
{
    struct run *r = arg;
    if (++r->fired == 3) {
        struct timespec t = {.tv_nsec = STALL_MS * 1000000L};
        (void)nanosleep(&t, NULL);
    }
    if (r->fired == 8)
        loop_stop(r->loop);
}

static uint64_t late_buckets(struct metric *m)
{
    uint64_t n = 0;
    for (int i = 0; i <= METRIC_BUCKETS; i++)
        n += atomic_load(&m->buckets[i]);
    return n;
}

static void test_late(void)
{
    struct metric *late = metric_new(METRIC_SECONDS, "wavehouse_loop_late_seconds",
                                     "How late timers of the socket loops ran", NULL);
    struct run r = {0};
    struct err e;
    ok(loop_new(&r.loop, &e) == 0 && loop_every(r.loop, 20, on_tick, &r) == 0, "a loop");
    loop_run(r.loop);
    is_u64((uint64_t)r.fired, 8, "a timer fires again and again");
    is_u64(late_buckets(late), 8, "each time is observed");
    uint64_t most = metric_quantile(late, 1.0), usual = metric_quantile(late, 0.5);
    ok(most >= (STALL_MS - 25) * 1000000ull, "the stall is seen: %llu ns",
       (unsigned long long)most);
    ok(usual < most, "it does not make the times after it late: %llu ns",
       (unsigned long long)usual);
    loop_free(r.loop);
}

int main(void)
{
    test_late();
    return tap_done();
}
