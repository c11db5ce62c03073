/* SPDX-License-Identifier: Apache-2.0 */
#include "base/queue.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

int queue_init(struct queue *q, size_t cap)
{
    q->head = &q->stub;
    q->cap = cap;
    atomic_init(&q->stub.next, NULL);
    atomic_init(&q->tail, &q->stub);
    atomic_init(&q->count, 0);
    atomic_init(&q->sleeping, false);
    q->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return q->fd < 0 ? -errno : 0;
}

void queue_fini(struct queue *q)
{
    if (q->fd >= 0)
        (void)close(q->fd);
    q->fd = -1;
}

void queue_wake(struct queue *q)
{
    uint64_t one = 1;
    /* EAGAIN means that the counter is at its maximum: the consumer is awake already. */
    (void)!write(q->fd, &one, sizeof(one));
}

static void link_in(struct queue *q, struct queue_link *link)
{
    atomic_store_explicit(&link->next, NULL, memory_order_relaxed);
    struct queue_link *prev = atomic_exchange_explicit(&q->tail, link, memory_order_acq_rel);
    atomic_store_explicit(&prev->next, link, memory_order_release);
}

void queue_wake_sleeper(struct queue *q)
{
    /* The news (a link's store) and the load of `sleeping` must not swap, nor in queue_sleep the
     * other way round: one of the two sides always sees the other. */
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&q->sleeping, memory_order_relaxed) &&
        atomic_exchange_explicit(&q->sleeping, false, memory_order_acq_rel))
        queue_wake(q);
}

static void push_quiet(struct queue *q, struct queue_link *link)
{
    atomic_fetch_add_explicit(&q->count, 1, memory_order_relaxed);
    link_in(q, link);
}

void queue_push(struct queue *q, struct queue_link *link)
{
    push_quiet(q, link);
    queue_wake_sleeper(q);
}

int queue_try_push_quiet(struct queue *q, struct queue_link *link)
{
    if (atomic_load_explicit(&q->count, memory_order_relaxed) >= q->cap)
        return WH_EFULL;
    push_quiet(q, link);
    return 0;
}

int queue_try_push(struct queue *q, struct queue_link *link)
{
    int rc = queue_try_push_quiet(q, link);
    if (rc == 0)
        queue_wake_sleeper(q);
    return rc;
}

struct queue_link *queue_pop(struct queue *q)
{
    struct queue_link *head = q->head;
    struct queue_link *next = atomic_load_explicit(&head->next, memory_order_acquire);
    if (head == &q->stub) {
        if (next == NULL)
            return NULL;
        q->head = next;
        head = next;
        next = atomic_load_explicit(&head->next, memory_order_acquire);
    }
    if (next == NULL) {
        if (head != atomic_load_explicit(&q->tail, memory_order_acquire))
            return NULL; /* a producer has swapped the tail and not yet linked */
        link_in(q, &q->stub);
        next = atomic_load_explicit(&head->next, memory_order_acquire);
        if (next == NULL)
            return NULL;
    }
    q->head = next;
    atomic_fetch_sub_explicit(&q->count, 1, memory_order_relaxed);
    return head;
}

bool queue_sleep(struct queue *q)
{
    atomic_store_explicit(&q->sleeping, true, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&q->count, memory_order_relaxed) == 0)
        return true;
    atomic_store_explicit(&q->sleeping, false, memory_order_relaxed);
    return false;
}

void queue_wake_ack(struct queue *q)
{
    uint64_t n;
    (void)!read(q->fd, &n, sizeof(n));
    atomic_store_explicit(&q->sleeping, false, memory_order_relaxed);
}
