/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/ahead.h"

#include "base/magic.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define AHEAD_MAGIC 0x41484541u

struct flush_ahead {
    uint32_t magic;
    pthread_t thread;
    bool running; /* the thread */
    bool busy;    /* between start and wait; the sender's */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool work, stop; /* under lock: something to build; end the thread */
    /* The helper's while work is true, else the sender's: */
    struct flush_build *build;
    struct flush_source source;
    struct flush_mark mark;
    struct flush_rows rows;
    int rc;
};

static void *ahead_main(void *arg)
{
    struct flush_ahead *a = arg;
    (void)pthread_mutex_lock(&a->lock);
    for (;;) {
        while (!a->work && !a->stop)
            (void)pthread_cond_wait(&a->changed, &a->lock);
        if (!a->work)
            break;
        (void)pthread_mutex_unlock(&a->lock);
        struct err e = {0}; /* said by the sender, when it meets the same */
        int rc = flush_build_blocks(a->build, &a->source, &a->rows, &e);
        (void)pthread_mutex_lock(&a->lock);
        a->rc = rc;
        a->work = false;
        (void)pthread_cond_broadcast(&a->changed);
    }
    (void)pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct flush_ahead *flush_ahead_new(void)
{
    struct flush_ahead *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->magic = AHEAD_MAGIC;
    (void)pthread_mutex_init(&a->lock, NULL);
    (void)pthread_cond_init(&a->changed, NULL);
    flush_rows_init(&a->rows);
    return a;
}

void flush_ahead_free(struct flush_ahead *a)
{
    if (a == NULL)
        return;
    CHECK_MAGIC(a, AHEAD_MAGIC);
    must(!a->busy);
    if (a->running) {
        (void)pthread_mutex_lock(&a->lock);
        a->stop = true;
        (void)pthread_cond_broadcast(&a->changed);
        (void)pthread_mutex_unlock(&a->lock);
        (void)pthread_join(a->thread, NULL);
    }
    (void)pthread_cond_destroy(&a->changed);
    (void)pthread_mutex_destroy(&a->lock);
    flush_rows_fini(&a->rows);
    a->magic = 0;
    free(a);
}

bool flush_ahead_start(struct flush_ahead *a, struct flush_build *b, const struct flush_source *src,
                       const struct flush_rows *rows)
{
    CHECK_MAGIC(a, AHEAD_MAGIC);
    must(!a->busy);
    if (flush_rows_copy(&a->rows, rows) != 0)
        return false;
    if (!a->running) {
        if (pthread_create(&a->thread, NULL, ahead_main, a) != 0)
            return false;
        (void)pthread_setname_np(a->thread, "wh-ahead");
        a->running = true;
    }
    a->build = b;
    a->source = *src;
    a->mark = *src->mark;
    a->source.mark = &a->mark;
    a->busy = true;
    (void)pthread_mutex_lock(&a->lock);
    a->work = true;
    (void)pthread_cond_broadcast(&a->changed);
    (void)pthread_mutex_unlock(&a->lock);
    return true;
}

bool flush_ahead_busy(const struct flush_ahead *a)
{
    CHECK_MAGIC(a, AHEAD_MAGIC);
    return a->busy;
}

int flush_ahead_wait(struct flush_ahead *a, const struct flush_rows *rows, struct flush_mark *mark)
{
    CHECK_MAGIC(a, AHEAD_MAGIC);
    must(a->busy);
    (void)pthread_mutex_lock(&a->lock);
    while (a->work)
        (void)pthread_cond_wait(&a->changed, &a->lock);
    (void)pthread_mutex_unlock(&a->lock);
    a->busy = false;
    if (a->rc != 0)
        return a->rc;
    if (!flush_rows_equal(&a->rows, rows))
        return WH_ENOTFOUND;
    *mark = a->mark;
    return 0;
}
