/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/loops.h"

#include "base/log.h"
#include "io/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define DRAIN_POLL_MS 5

struct loop_thread {
    pthread_t thread;
    struct loop *loop;
    struct api_loop *api;
    struct queue control; /* carries no items: a wake-up means "drain" */
    struct queue_link drain;
    _Atomic bool drained;
    bool running;
};

struct loops {
    uint32_t count;
    struct loop_thread threads[];
};

static void *thread_main(void *arg)
{
    struct loop_thread *t = arg;
    (void)pthread_setname_np(pthread_self(), "wh-loop");
    loop_run(t->loop);
    return NULL;
}

static void on_drained(void *arg)
{
    struct loop_thread *t = arg;
    atomic_store(&t->drained, true);
}

static void on_control(void *arg)
{
    struct loop_thread *t = arg;
    if (queue_pop(&t->control) != NULL)
        api_loop_drain(t->api, on_drained, t);
}

static int thread_prepare(struct loop_thread *t, struct api_shared *shared,
                          const struct http_listener *listeners, int listen_count, struct err *e)
{
    t->control.fd = -1;
    int rc = loop_new(&t->loop, e);
    if (rc != 0)
        return rc;
    rc = queue_init(&t->control, 1);
    if (rc == 0)
        rc = loop_watch_queue(t->loop, &t->control, on_control, t);
    if (rc != 0)
        return err_set_errno(e, rc, "making a socket loop");
    return api_loop_new(&t->api, shared, t->loop, listeners, listen_count, e);
}

static void thread_free(struct loop_thread *t)
{
    api_loop_free(t->api);
    loop_free(t->loop);
    if (t->control.fd >= 0)
        queue_fini(&t->control);
}

int loops_start(struct loops **out, struct api_shared *shared, uint32_t count,
                const struct http_listener *listeners, int listen_count, struct err *e)
{
    struct loops *l = calloc(1, sizeof(*l) + count * sizeof(l->threads[0]));
    if (l == NULL)
        return err_set_errno(e, -ENOMEM, "starting the socket loops");
    int rc = 0;
    for (l->count = 0; rc == 0 && l->count < count; l->count++)
        rc = thread_prepare(&l->threads[l->count], shared, listeners, listen_count, e);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        struct loop_thread *t = &l->threads[i];
        rc = -pthread_create(&t->thread, NULL, thread_main, t);
        t->running = rc == 0;
        if (rc != 0)
            (void)err_set_errno(e, rc, "starting a socket loop thread");
    }
    if (rc != 0) {
        loops_stop(l, 0);
        loops_free(l);
        return rc;
    }
    *out = l;
    return 0;
}

static bool all_drained(struct loops *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->threads[i].running && !atomic_load(&l->threads[i].drained))
            return false;
    return true;
}

void loops_stop(struct loops *l, uint64_t timeout_ms)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->threads[i].running)
            queue_push(&l->threads[i].control, &l->threads[i].drain);
    uint64_t until = io_monotonic_ns() + timeout_ms * 1000000;
    while (!all_drained(l) && io_monotonic_ns() < until)
        (void)nanosleep(&(struct timespec){.tv_nsec = DRAIN_POLL_MS * 1000000}, NULL);
    if (timeout_ms > 0 && !all_drained(l))
        log_warn("daemon.drain", "server.shutdown_timeout passed with requests in flight; their "
                                 "connections are closed, their senders must retry");
    for (uint32_t i = 0; i < l->count; i++) {
        struct loop_thread *t = &l->threads[i];
        if (t->running) {
            loop_stop(t->loop);
            (void)pthread_join(t->thread, NULL);
            t->running = false;
        }
    }
}

void loops_free(struct loops *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        thread_free(&l->threads[i]);
    free(l);
}
