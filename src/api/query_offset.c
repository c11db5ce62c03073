/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait until a table has come as far as their min_offset= (doc/query.md). */
#include "api/query_priv.h"

#include "base/limits.h"
#include "flush/flush.h"
#include "io/clock.h"

#include <stdlib.h>

/* A question on its way to the planner, again and again until the table is there. */
struct query_offset {
    struct flush_offsets offsets; /* first */
    struct http_request *request;
    struct buf table;
    uint64_t min_offset, until_ns;
    struct query_offset *next; /* until the timer asks again */
};

static void offset_free(struct api_loop *a, struct query_offset *t)
{
    a->query->offset_count--;
    buf_fini(&t->table);
    free(t);
}

static void answered(struct api_loop *a, struct query_offset *t)
{
    /* Once is enough: offsets do not fall. */
    static char reached;
    struct http_request *r = t->request;
    if (a->stopping) {
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
    } else if (t->offsets.flushed >= t->min_offset) {
        r->user = &reached;
        api_again(a, r);
    } else if (io_monotonic_ns() >= t->until_ns || http_client_gone(r)) {
        http_reply_error(r, 503, SLICE_LIT("min_offset was not reached in time"), 1);
    } else {
        t->next = a->query->offsets_waiting;
        a->query->offsets_waiting = t;
        return;
    }
    offset_free(a, t);
}

void query_on_offsets(void *api_loop)
{
    struct api_loop *a = api_loop;
    struct queue_link *link;
    while ((link = queue_pop(&a->query->offsets)) != NULL) {
        struct flush_msg *m = QUEUE_ITEM(link, struct flush_msg, link);
        struct flush_offsets *q = QUEUE_ITEM(&m->link, struct flush_offsets, msg.link);
        answered(a, QUEUE_ITEM(q, struct query_offset, offsets));
    }
}

void query_offset_timer(struct api_loop *a)
{
    struct query_offset *t = a->query->offsets_waiting;
    a->query->offsets_waiting = NULL;
    while (t != NULL) {
        struct query_offset *next = t->next;
        flush_offsets_ask(a->shared->flush, &t->offsets);
        t = next;
    }
}

void query_offset_drop_all(struct api_loop *a)
{
    while (a->query->offsets_waiting != NULL) {
        struct query_offset *t = a->query->offsets_waiting;
        a->query->offsets_waiting = t->next;
        http_reply_error(t->request, 503, SLICE_LIT("service unavailable"), 1);
        offset_free(a, t);
    }
}

static bool number_of(struct slice s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t digit = (uint64_t)(unsigned char)s.ptr[i] - '0';
        if (digit > 9 || *out > (UINT64_MAX - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return s.len > 0;
}

bool api_query_offset_reached(struct api_loop *a, struct http_request *r, struct slice table)
{
    struct buf *b = &a->query->text;
    uint64_t min_offset;
    buf_reset(b);
    int given = r->user != NULL ? 0 : http_query_get(r->query, "min_offset", b);
    if (given == 0)
        return true;
    if (given < 0 || !number_of(buf_slice(b), &min_offset)) {
        http_reply_error(r, 400, SLICE_LIT("invalid min_offset"), 0);
        return false;
    }
    bool full = a->query->offset_count >= LIMIT_OFFSET_WAITERS;
    struct query_offset *t = full ? NULL : calloc(1, sizeof(*t));
    if (t != NULL) {
        a->query->offset_count++;
        buf_init(&t->table, LIMIT_NAME_BYTES);
        buf_put_slice(&t->table, table);
    }
    if (t == NULL || !buf_ok(&t->table)) {
        if (t != NULL)
            offset_free(a, t);
        http_reply_error(r, 503, SLICE_LIT("service unavailable"), 1);
        return false;
    }
    t->request = r;
    t->min_offset = min_offset;
    t->until_ns = io_monotonic_ns() + a->config->clickhouse.query_timeout_ms * UINT64_C(1000000);
    t->offsets.table = buf_slice(&t->table);
    t->offsets.done = &a->query->offsets;
    flush_offsets_ask(a->shared->flush, &t->offsets);
    return false;
}
