/* SPDX-License-Identifier: Apache-2.0 */
/* Messages between threads: bounded, many producers, one consumer, an eventfd to wait on.
 *
 * An item is any struct with a queue_link inside; pushing moves ownership to the consumer. Pushing
 * is lock-free (D. Vyukov's intrusive MPSC queue). The eventfd is written only when the consumer
 * has said that it is about to sleep, so a busy consumer costs its producers no system call.
 *
 *   producer:  if (queue_try_push(q, &msg->link) != 0) → full, refuse
 *   consumer:  while ((link = queue_pop(q)) != NULL) …
 *              queue_sleep(q) == true → poll queue_fd(q), then queue_wake_ack(q)  */
#ifndef WH_BASE_QUEUE_H
#define WH_BASE_QUEUE_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_link {
    _Atomic(struct queue_link *) next;
};

struct queue {
    _Alignas(64) _Atomic(struct queue_link *) tail; /* written by producers */
    _Atomic size_t count;                           /* items inside, producers and consumer */
    _Alignas(64) struct queue_link *head;           /* the consumer's */
    struct queue_link stub;
    _Atomic bool sleeping; /* consumer is, or is about to be, in poll */
    size_t cap;            /* most items inside at a time */
    int fd;                /* eventfd */
};

/* The struct that holds a link. */
#define QUEUE_ITEM(link, type, member) ((type *)(void *)((char *)(link)-offsetof(type, member)))

/* 0 or -errno (eventfd). */
int queue_init(struct queue *q, size_t cap) WH_MUST_CHECK;
void queue_fini(struct queue *q);

/* 0, or WH_EFULL and the caller still owns the item. Any thread; never blocks. */
int queue_try_push(struct queue *q, struct queue_link *link) WH_MUST_CHECK;
/* As queue_try_push, without the bound: for answers, whose number is bounded by the questions. */
void queue_push(struct queue *q, struct queue_link *link);

/* As queue_try_push, but a sleeping consumer goes on sleeping: the producer has more to push and
 * calls queue_wake_sleeper after the last. */
int queue_try_push_quiet(struct queue *q, struct queue_link *link) WH_MUST_CHECK;

/* The oldest item, or NULL when empty or when a producer is between two steps (its item then comes
 * with the next wake-up). Consumer only. */
struct queue_link *queue_pop(struct queue *q);
/* Announce sleep. False when something arrived meanwhile: pop again instead of polling. */
bool queue_sleep(struct queue *q);
/* After poll: drain the eventfd and clear the announcement. */
void queue_wake_ack(struct queue *q);
/* Wake the consumer only if it has announced sleep: for news without an item. The consumer must
 * look for the news after queue_sleep() said true and before it polls. Any thread. */
void queue_wake_sleeper(struct queue *q);
/* Wake the consumer without an item (for shutdown). Any thread, also a signal handler. */
void queue_wake(struct queue *q);

static inline int queue_fd(const struct queue *q)
{
    return q->fd;
}
static inline size_t queue_count(struct queue *q)
{
    return atomic_load_explicit(&q->count, memory_order_relaxed);
}

#endif
