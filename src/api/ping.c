/* SPDX-License-Identifier: Apache-2.0 */
#include "api/ping.h"

#include "base/magic.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PING_MAGIC 0x50494e47u
#define TASKS_MAX  64
/* Who asks while one ping is under way waits for the next, so twice this is the longest. All
 * servers share it: each gets its part, but never less than the least. */
#define PING_MS       1500
#define PING_LEAST_MS 500

struct ping {
    uint32_t magic;
    struct ch_target *target; /* of the client; ping thread */
    struct ch_options options;
    struct ch_native *native;
    struct queue tasks;
    pthread_t thread;
    pthread_mutex_t lock;
    struct ch_target *next_target; /* under the lock */
    _Atomic bool stopping;
};

static int client_make(struct ping *p, struct ch_target *target)
{
    struct ch_options options = *ch_target_options(target);
    uint64_t each = PING_MS / (options.endpoint_count > 0 ? options.endpoint_count : 1);
    each = each > PING_LEAST_MS ? each : PING_LEAST_MS;
    if (options.connect_timeout_ms > each)
        options.connect_timeout_ms = each;
    ch_native_free(p->native); /* before what it reads changes */
    p->options = options;
    p->native = ch_native_new(&p->options);
    ch_target_unref(p->target);
    p->target = ch_target_ref(target);
    return p->native != NULL ? 0 : -ENOMEM;
}

static enum ch_outcome ask_server(struct ping *p, struct ch_error *e)
{
    (void)pthread_mutex_lock(&p->lock);
    struct ch_target *next = ch_target_ref(p->next_target);
    (void)pthread_mutex_unlock(&p->lock);
    int rc = next != p->target || p->native == NULL ? client_make(p, next) : 0;
    ch_target_unref(next);
    *e = (struct ch_error){.outcome = CH_UNAVAILABLE, .text = "out of memory"};
    if (rc != 0)
        return CH_UNAVAILABLE;
    *e = (struct ch_error){.outcome = CH_OK};
    return ch_native_ping(p->native, e);
}

/* One ping for all who wait. False: nobody did. */
static bool run_tasks(struct ping *p)
{
    struct discovery_task *waiting[TASKS_MAX];
    struct queue_link *link;
    uint32_t count = 0;
    while (count < TASKS_MAX && (link = queue_pop(&p->tasks)) != NULL)
        waiting[count++] = QUEUE_ITEM(link, struct discovery_task, link);
    if (count == 0)
        return false;
    struct ch_error e;
    enum ch_outcome outcome = ask_server(p, &e);
    for (uint32_t i = 0; i < count; i++) {
        waiting[i]->outcome = outcome;
        waiting[i]->error = e;
        queue_push(waiting[i]->done, &waiting[i]->link);
    }
    return true;
}

static void *ping_main(void *arg)
{
    struct ping *p = arg;
    (void)pthread_setname_np(pthread_self(), "wh-ping");
    while (!atomic_load(&p->stopping)) {
        if (run_tasks(p) || !queue_sleep(&p->tasks))
            continue;
        struct pollfd pfd = {.fd = queue_fd(&p->tasks), .events = POLLIN};
        (void)poll(&pfd, 1, -1);
        queue_wake_ack(&p->tasks);
    }
    return NULL;
}

static void ping_free(struct ping *p)
{
    ch_native_free(p->native);
    ch_target_unref(p->target);
    ch_target_unref(p->next_target);
    queue_fini(&p->tasks);
    (void)pthread_mutex_destroy(&p->lock);
    p->magic = 0;
    free(p);
}

int ping_start(struct ping **out, struct ch_target *target, struct err *e)
{
    struct ping *p = calloc(1, sizeof(*p));
    if (p == NULL)
        return err_set_errno(e, -ENOMEM, "starting the ping of /readyz");
    p->magic = PING_MAGIC;
    p->next_target = ch_target_ref(target);
    (void)pthread_mutex_init(&p->lock, NULL);
    int rc = queue_init(&p->tasks, TASKS_MAX);
    if (rc == 0)
        rc = -pthread_create(&p->thread, NULL, ping_main, p);
    if (rc != 0) {
        ping_free(p);
        return err_set_errno(e, rc, "starting the ping of /readyz");
    }
    *out = p;
    return 0;
}

void ping_stop(struct ping *p)
{
    if (p == NULL)
        return;
    CHECK_MAGIC(p, PING_MAGIC);
    atomic_store(&p->stopping, true);
    queue_wake(&p->tasks);
    (void)pthread_join(p->thread, NULL);
    discovery_tasks_drop(&p->tasks);
    ping_free(p);
}

void ping_set_target(struct ping *p, struct ch_target *target)
{
    CHECK_MAGIC(p, PING_MAGIC);
    (void)pthread_mutex_lock(&p->lock);
    struct ch_target *old = p->next_target;
    p->next_target = ch_target_ref(target);
    (void)pthread_mutex_unlock(&p->lock);
    ch_target_unref(old);
}

int ping_ask(struct ping *p, struct discovery_task *task)
{
    CHECK_MAGIC(p, PING_MAGIC);
    return queue_try_push(&p->tasks, &task->link);
}
