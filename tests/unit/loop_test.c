/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of a socket loop, and the metric of how late they ran. */
#include "base/metric.h"
#include "http/loop.h"
#include "tests/lib/tap.h"

#include <time.h>

struct run {
    struct loop *loop;
    struct queue queue;
    struct queue_link link;
    int fired, stall_ms; /* what the queue's items take */
};

static void sleep_ms(int ms)
{
    struct timespec t = {.tv_nsec = ms * 1000000L};
    (void)nanosleep(&t, NULL);
}

static struct metric *late_metric(void)
{
    return metric_new(METRIC_SECONDS, "wavehouse_loop_late_seconds",
                      "How late timers of the socket loops ran", NULL);
}

/* So many times a timer was later than 2^from µs. */
static uint64_t later(int from)
{
    uint64_t n = 0;
    for (int i = from + 1; i <= METRIC_BUCKETS; i++)
        n += atomic_load(&late_metric()->buckets[i]);
    return n;
}

static void on_tick(void *arg)
{
    struct run *r = arg;
    if (++r->fired == 3)
        sleep_ms(300);
    if (r->fired == 8)
        loop_stop(r->loop);
}

static void test_late(void)
{
    struct run r = {0};
    struct err e;
    ok(loop_new(&r.loop, &e) == 0 && loop_every(r.loop, 20, on_tick, &r) == 0, "a loop");
    loop_run(r.loop);
    is_u64((uint64_t)r.fired, 8, "a timer fires again and again");
    is_u64(later(-1), 8, "each time is observed");
    uint64_t usual = metric_quantile(late_metric(), 0.5);
    ok(later(17) >= 1, "the time after it has held its loop is late");
    ok(usual < 100000000, "those after that are not: %llu ns", (unsigned long long)usual);
    loop_free(r.loop);
}

static void on_items(void *arg)
{
    struct run *r = arg;
    while (queue_pop(&r->queue) != NULL)
        sleep_ms(r->stall_ms);
}

/* The queue's item and the timer are due in the same turn, the item first. */
static void stall(struct run *r, int ms)
{
    r->stall_ms = ms;
    queue_push(&r->queue, &r->link);
    sleep_ms(45);
}

static void on_slow_tick(void *arg)
{
    static uint64_t before;
    struct run *r = arg;
    switch (++r->fired) {
    case 3:
        stall(r, 120);
        break;
    case 7:
        before = later(14);
        stall(r, 25);
        break;
    case 9:
        ok(later(14) > before, "a stall that is shorter than one before is seen too");
        loop_stop(r->loop);
        break;
    default:;
    }
}

static void test_two_stalls(void)
{
    struct run r = {0};
    struct err e;
    ok(queue_init(&r.queue, 16) == 0 && loop_new(&r.loop, &e) == 0 &&
           loop_watch_queue(r.loop, &r.queue, on_items, &r) == 0 &&
           loop_every(r.loop, 40, on_slow_tick, &r) == 0,
       "a loop with a queue");
    loop_run(r.loop);
    loop_free(r.loop);
    queue_fini(&r.queue);
}

int main(void)
{
    test_late();
    test_two_stalls();
    return tap_done();
}
