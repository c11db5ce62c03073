/* SPDX-License-Identifier: Apache-2.0 */
#include "http/loop.h"

#include "base/magic.h"
#include "base/metric.h"
#include "http/smallmem.h"
#include "io/clock.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOP_MAGIC  0x4c4f4f50u
#define WATCHES_MAX 16

/* libevent runs a priority only when no event of a lower number is active; new events get the
 * middle one. */
#define PRIORITIES    3
#define PRIORITY_IDLE 2

struct watch {
    struct event *ev;
    struct queue *q;
    void (*fn)(void *arg);
    void *arg;
    /* Timers of loop_every: */
    uint64_t interval_ns, due_ns;
    struct metric *late;
};

struct loop {
    uint32_t magic;
    struct event_base *base;
    struct event *stop_event;
    int stop_fd;
    struct watch watches[WATCHES_MAX], timers[WATCHES_MAX];
    uint32_t watch_count, timer_count;
    struct watch idle, turn;
};

static void on_stop(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct loop *l = arg;
    (void)event_base_loopbreak(l->base);
}

int loop_new(struct loop **out, struct err *e)
{
    struct loop *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return err_set_errno(e, -ENOMEM, "making a socket loop");
    l->magic = LOOP_MAGIC;
    l->stop_fd = -1;
    smallmem_init();
    /* One thread owns the base: no locks inside libevent. */
    struct event_config *config = event_config_new();
    if (config != NULL) {
        (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        l->base = event_base_new_with_config(config);
        event_config_free(config);
    }
    l->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->base != NULL && l->stop_fd >= 0 && event_base_priority_init(l->base, PRIORITIES) == 0)
        l->stop_event = event_new(l->base, l->stop_fd, EV_READ | EV_PERSIST, on_stop, l);
    if (l->stop_event == NULL || event_add(l->stop_event, NULL) != 0) {
        loop_free(l);
        return err_set_errno(e, -ENOMEM, "making a socket loop");
    }
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    for (uint32_t i = 0; i < l->watch_count; i++)
        event_free(l->watches[i].ev);
    for (uint32_t i = 0; i < l->timer_count; i++)
        event_free(l->timers[i].ev);
    if (l->idle.ev != NULL)
        event_free(l->idle.ev);
    if (l->turn.ev != NULL)
        event_free(l->turn.ev);
    if (l->stop_event != NULL)
        event_free(l->stop_event);
    if (l->stop_fd >= 0)
        (void)close(l->stop_fd);
    if (l->base != NULL)
        event_base_free(l->base);
    l->magic = 0;
    free(l);
}

struct event_base *loop_base(struct loop *l)
{
    CHECK_MAGIC(l, LOOP_MAGIC);
    return l->base;
}

static void on_queue(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct watch *w = arg;
    queue_wake_ack(w->q);
    /* The announcement of sleep is made before the loop polls again; a message that arrives in
     * between is found here, not lost. */
    do
        w->fn(w->arg);
    while (!queue_sleep(w->q));
}

int loop_watch_queue(struct loop *l, struct queue *q, void (*on_items)(void *arg), void *arg)
{
    CHECK_MAGIC(l, LOOP_MAGIC);
    if (l->watch_count == WATCHES_MAX)
        return WH_EFULL;
    struct watch *w = &l->watches[l->watch_count];
    *w = (struct watch){.q = q, .fn = on_items, .arg = arg};
    w->ev = event_new(l->base, queue_fd(q), EV_READ | EV_PERSIST, on_queue, w);
    if (w->ev == NULL || event_add(w->ev, NULL) != 0)
        return -ENOMEM;
    l->watch_count++;
    /* From now on the consumer counts as asleep; what came before wakes it at once. */
    if (!queue_sleep(q))
        queue_wake(q);
    return 0;
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct watch *w = arg;
    w->fn(w->arg);
}

/* Whoever sends something waits as long as a timer is late: something held the loop, or others had
 * the processor. */
static void on_interval(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct watch *w = arg;
    uint64_t now = io_monotonic_ns();
    metric_observe(w->late, now > w->due_ns ? now - w->due_ns : 0);
    /* As libevent, which makes up for none, and whose clock is some milliseconds coarse: it may be
     * early. */
    w->due_ns = now < w->due_ns ? now + w->interval_ns : w->due_ns + w->interval_ns;
    if (w->due_ns < now)
        w->due_ns = now + w->interval_ns;
    w->fn(w->arg);
}

int loop_every(struct loop *l, uint64_t interval_ms, void (*fn)(void *arg), void *arg)
{
    CHECK_MAGIC(l, LOOP_MAGIC);
    if (l->timer_count == WATCHES_MAX)
        return WH_EFULL;
    struct watch *w = &l->timers[l->timer_count];
    *w = (struct watch){.fn = fn,
                        .arg = arg,
                        .interval_ns = interval_ms * 1000000,
                        .due_ns = io_monotonic_ns() + interval_ms * 1000000,
                        .late = metric_new(METRIC_SECONDS, "wavehouse_loop_late_seconds",
                                           "How late timers of the socket loops ran", NULL)};
    w->ev = event_new(l->base, -1, EV_PERSIST, on_interval, w);
    struct timeval tv = {.tv_sec = (time_t)(interval_ms / 1000),
                         .tv_usec = (suseconds_t)(interval_ms % 1000 * 1000)};
    if (w->ev == NULL || event_add(w->ev, &tv) != 0)
        return -ENOMEM;
    l->timer_count++;
    return 0;
}

int loop_on_idle(struct loop *l, void (*fn)(void *arg), void *arg)
{
    CHECK_MAGIC(l, LOOP_MAGIC);
    must(l->idle.ev == NULL);
    l->idle = (struct watch){.fn = fn, .arg = arg};
    l->idle.ev = event_new(l->base, -1, 0, on_timer, &l->idle);
    if (l->idle.ev == NULL || event_priority_set(l->idle.ev, PRIORITY_IDLE) != 0)
        return -ENOMEM;
    return 0;
}

void loop_defer(struct loop *l)
{
    event_active(l->idle.ev, EV_TIMEOUT, 1);
}

int loop_on_turn(struct loop *l, void (*fn)(void *arg), void *arg)
{
    CHECK_MAGIC(l, LOOP_MAGIC);
    must(l->turn.ev == NULL);
    l->turn = (struct watch){.fn = fn, .arg = arg};
    l->turn.ev = event_new(l->base, -1, 0, on_timer, &l->turn);
    return l->turn.ev != NULL ? 0 : -ENOMEM;
}

/* A timer that is over at once: libevent looks at timers after it has polled, and has them run
 * behind what was ready. An event activated by hand would run again and again before it polls. */
void loop_next_turn(struct loop *l)
{
    struct timeval now = {0, 0};
    (void)event_add(l->turn.ev, &now);
}

void loop_later_turn(struct loop *l, uint64_t ns)
{
    struct timeval later = {(time_t)(ns / 1000000000), (suseconds_t)(ns % 1000000000 / 1000)};
    if (!event_pending(l->turn.ev, EV_TIMEOUT, NULL))
        (void)event_add(l->turn.ev, &later);
}

void loop_run(struct loop *l)
{
    CHECK_MAGIC(l, LOOP_MAGIC);
    (void)event_base_dispatch(l->base);
}

void loop_stop(struct loop *l)
{
    uint64_t one = 1;
    (void)!write(l->stop_fd, &one, sizeof(one));
}
