/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/watch.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"

#include <string.h>

#define DEAD_HEAD_BYTES                                                      \
    16 /* in flush_watch.dead, before each text: ordinal, code, dropped, len \
        */

void flush_watches_init(struct flush_watches *ws)
{
    memset(ws, 0, sizeof(*ws));
    (void)pthread_mutex_init(&ws->lock, NULL);
}

void flush_watches_fini(struct flush_watches *ws)
{
    must(atomic_load(&ws->count) == 0);
    (void)pthread_mutex_destroy(&ws->lock);
}

static struct flush_watch **bucket(struct flush_watch **table, uint64_t key)
{
    return &table[(key * 0x9e3779b97f4a7c15u) >> 54]; /* 10 bits */
}
_Static_assert(FLUSH_WATCH_BUCKETS == 1 << 10, "bucket() takes as many bits");

static void hash_put(struct flush_watch **table, struct flush_watch *w)
{
    struct flush_watch **at = bucket(table, w->key);
    w->hash_next = *at;
    *at = w;
}

/* The place that points to the watch of that key, or to NULL. */
static struct flush_watch **hash_find(struct flush_watch **table, uint64_t key)
{
    struct flush_watch **at = bucket(table, key);
    while (*at != NULL && (*at)->key != key)
        at = &(*at)->hash_next;
    return at;
}

/* Out of everything; the lock is held. */
static void unlink_watch(struct flush_watches *ws, struct flush_watch *w)
{
    struct flush_watch **at = hash_find(w->attached ? ws->by_index : ws->by_instant, w->key);
    must(*at == w);
    *at = w->hash_next;
    if (w->attached) {
        struct flush_watch_table *t = w->table;
        if (w->table_prev != NULL)
            w->table_prev->table_next = w->table_next;
        else
            t->first = w->table_next;
        if (w->table_next != NULL)
            w->table_next->table_prev = w->table_prev;
        else
            t->last = w->table_prev;
    }
    w->added = w->attached = false;
    atomic_fetch_sub_explicit(&ws->count, 1, memory_order_release);
}

/* The lock is held: the owner may free w as soon as it has popped it, and cancel looks at w. */
static void give_back(struct flush_watches *ws, struct flush_watch *w, enum flush_watch_end end)
{
    unlink_watch(ws, w);
    w->end = end;
    queue_push(w->done, &w->link);
}

int flush_watch_add(struct flush_watches *ws, struct flush_watch *w, uint64_t first_ns)
{
    int rc = 0;
    (void)pthread_mutex_lock(&ws->lock);
    must(!w->added);
    if (ws->stopped)
        rc = WH_ESTOPPED;
    else if (atomic_load_explicit(&ws->count, memory_order_relaxed) >= LIMIT_FLUSH_WATCHES)
        rc = WH_EFULL;
    if (rc == 0) {
        buf_reset(&w->dead);
        w->out_of_memory = w->attached = w->aside = false;
        w->dead_count = 0;
        w->added = true;
        w->key = first_ns;
        hash_put(ws->by_instant, w);
        atomic_fetch_add_explicit(&ws->count, 1, memory_order_release);
    }
    (void)pthread_mutex_unlock(&ws->lock);
    return rc;
}

bool flush_watch_cancel(struct flush_watches *ws, struct flush_watch *w)
{
    (void)pthread_mutex_lock(&ws->lock);
    bool mine = w->added;
    if (mine)
        unlink_watch(ws, w);
    (void)pthread_mutex_unlock(&ws->lock);
    return mine;
}

bool flush_watch_attach(struct flush_watches *ws, uint64_t first_ns, uint64_t index,
                        struct flush_watch_table *t)
{
    (void)pthread_mutex_lock(&ws->lock);
    struct flush_watch **at = hash_find(ws->by_instant, first_ns), *w = *at;
    if (w != NULL) {
        *at = w->hash_next;
        w->key = index;
        w->attached = true;
        w->table = t;
        w->table_next = NULL;
        w->table_prev = t->last; /* entries are read in log order */
        if (t->last != NULL)
            t->last->table_next = w;
        else
            t->first = w;
        t->last = w;
        hash_put(ws->by_index, w);
    }
    (void)pthread_mutex_unlock(&ws->lock);
    return w != NULL;
}

void flush_watch_held(struct flush_watches *ws, uint64_t first_ns)
{
    (void)pthread_mutex_lock(&ws->lock);
    struct flush_watch *w = *hash_find(ws->by_instant, first_ns);
    if (w != NULL)
        give_back(ws, w, FLUSH_WATCH_HELD);
    (void)pthread_mutex_unlock(&ws->lock);
}

void flush_watch_dead_letter(struct flush_watches *ws, uint64_t index, uint32_t ordinal,
                             int32_t code, struct slice text, bool dropped)
{
    (void)pthread_mutex_lock(&ws->lock);
    struct flush_watch *w = *hash_find(ws->by_index, index);
    if (w != NULL && !w->out_of_memory) {
        if (w->dead_count++ >= LIMIT_BATCH_RESULTS)
            text.len = 0;
        buf_put_le32(&w->dead, ordinal);
        buf_put_le32(&w->dead, (uint32_t)code);
        buf_put_le32(&w->dead, dropped);
        buf_put_le32(&w->dead, (uint32_t)text.len);
        buf_put_slice(&w->dead, text);
        w->out_of_memory = !buf_ok(&w->dead);
    }
    (void)pthread_mutex_unlock(&ws->lock);
}

void flush_watch_put_aside(struct flush_watches *ws, uint64_t index)
{
    (void)pthread_mutex_lock(&ws->lock);
    struct flush_watch *w = *hash_find(ws->by_index, index);
    if (w != NULL)
        w->aside = true;
    (void)pthread_mutex_unlock(&ws->lock);
}

bool flush_watch_next_dead(struct slice *at, struct flush_watch_dead *out)
{
    if (at->len < DEAD_HEAD_BYTES)
        return false;
    *out = (struct flush_watch_dead){.ordinal = le32_get(at->ptr),
                                     .code = (int32_t)le32_get(at->ptr + 4),
                                     .dropped = le32_get(at->ptr + 8) != 0,
                                     .text = {at->ptr + DEAD_HEAD_BYTES, le32_get(at->ptr + 12)}};
    must(at->len >= DEAD_HEAD_BYTES + out->text.len);
    at->ptr += DEAD_HEAD_BYTES + out->text.len;
    at->len -= DEAD_HEAD_BYTES + out->text.len;
    return true;
}

bool flush_watch_flushed(struct flush_watches *ws, struct flush_watch_table *t, uint64_t through)
{
    (void)pthread_mutex_lock(&ws->lock);
    while (t->first != NULL && t->first->key <= through)
        give_back(ws, t->first, t->first->aside ? FLUSH_WATCH_HELD : FLUSH_WATCH_FLUSHED);
    bool left = t->first != NULL;
    (void)pthread_mutex_unlock(&ws->lock);
    return left;
}

static void give_back_all(struct flush_watches *ws, struct flush_watch **table)
{
    for (uint32_t i = 0; i < FLUSH_WATCH_BUCKETS; i++)
        while (table[i] != NULL)
            give_back(ws, table[i], FLUSH_WATCH_STOPPED);
}

void flush_watches_stop(struct flush_watches *ws)
{
    (void)pthread_mutex_lock(&ws->lock);
    ws->stopped = true;
    give_back_all(ws, ws->by_instant);
    give_back_all(ws, ws->by_index);
    (void)pthread_mutex_unlock(&ws->lock);
}
