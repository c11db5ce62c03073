/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of requests: one object each, from the loop's pool. */
#include "http/priv.h"

#include <errno.h>

/* What a request without a body points to: padding belongs to every body. */
static const char no_body[LIMIT_JSON_PADDING];

struct http_req *http_req_new(struct http_conn *c)
{
    struct http_server *s = c->s;
    struct http_req *r = s->free_reqs;
    if (r != NULL) {
        s->free_reqs = r->next;
        s->free_req_count--;
    } else {
        r = malloc(sizeof(*r));
        if (r == NULL)
            return NULL;
    }
    /* Not the arrays at the end: they are several KiB and written before they are read. */
    memset(r, 0, offsetof(struct http_req, id));
    r->magic = HTTP_REQ_MAGIC;
    r->s = s;
    r->c = c;
    r->pub.method = HTTP_OTHER;
    r->pub.fields = r->fields;
    r->pub.peer = (struct slice){c->peer, c->peer_len};
    r->pub.is_control = c->control;
    r->pub.is_tls = c->tls != NULL;
    r->pub.label = c->label;
    r->pub.body.ptr = no_body;
    r->pub.received_ns = s->now_ns;
    r->out = r->out_inl;
    if (c->last != NULL)
        c->last->next = r;
    else
        c->first = r;
    c->last = r;
    c->queued++;
    return r;
}

void http_req_body_drop(struct http_req *r)
{
    if (r->body_cap > 0) {
        r->s->bodies_bytes -= r->body_cap;
        http_pool_put(&r->s->pool, r->body, r->body_cap);
    }
    r->body = NULL;
    r->body_cap = r->body_room = 0;
    r->pub.body = (struct slice){no_body, 0};
}

void http_req_free(struct http_req *r)
{
    CHECK_MAGIC(r, HTTP_REQ_MAGIC);
    struct http_server *s = r->s;
    http_req_body_drop(r);
    if (r->head_cap > 0)
        http_pool_put(&s->pool, r->head, r->head_cap);
    if (r->out_cap > 0)
        http_pool_put(&s->pool, r->out, r->out_cap);
    r->magic = 0;
    if (s->free_req_count == HTTP_REQUESTS_KEPT || s->freed) {
        free(r);
        return;
    }
    r->next = s->free_reqs;
    s->free_reqs = r;
    s->free_req_count++;
}

void http_req_pool_free(struct http_server *s)
{
    while (s->free_reqs != NULL) {
        struct http_req *r = s->free_reqs;
        s->free_reqs = r->next;
        free(r);
    }
    s->free_req_count = 0;
}

int http_req_set_head(struct http_req *r, const char *p, size_t n)
{
    if (n <= HTTP_INLINE_BYTES) {
        r->head = r->inl;
    } else {
        r->head = http_pool_get(&r->s->pool, n, &r->head_cap);
        if (r->head == NULL) {
            r->head_cap = 0;
            return -ENOMEM;
        }
    }
    memcpy(r->head, p, n);
    r->head_len = n;
    return 0;
}

int http_req_body_reserve(struct http_req *r, size_t need)
{
    struct http_server *s = r->s;
    need += LIMIT_JSON_PADDING;
    if (need <= r->body_room)
        return 0;
    size_t inl_used = r->head == r->inl ? r->head_len : 0;
    if (r->body == NULL && need <= HTTP_INLINE_BYTES - inl_used) {
        r->body = r->inl + inl_used;
        r->body_room = HTTP_INLINE_BYTES - inl_used;
        return 0;
    }
    size_t want = need > 2 * r->body_room ? need : 2 * r->body_room;
    if (s->bodies_bytes - r->body_cap + want > HTTP_BODIES_BYTES)
        return WH_EFULL;
    size_t cap = r->body_cap;
    char *p = r->body_cap > 0 ? http_pool_grow(&s->pool, r->body, r->pub.body.len, want, &cap)
                              : http_pool_get(&s->pool, want, &cap);
    if (p == NULL)
        return -ENOMEM;
    if (r->body_cap == 0 && r->pub.body.len > 0)
        memcpy(p, r->body, r->pub.body.len); /* grown out of the object */
    s->bodies_bytes += cap - r->body_cap;
    r->body = p;
    r->body_cap = r->body_room = cap;
    return 0;
}

int http_req_out_reserve(struct http_req *r, size_t n)
{
    size_t room = r->out_cap > 0 ? r->out_cap : HTTP_INLINE_OUT_BYTES;
    if (n <= room - r->out_len)
        return 0;
    must(r->out_cap == 0); /* an answer is written in one go; before it only a short interim one */
    size_t cap;
    char *p = http_pool_get(&r->s->pool, r->out_len + n, &cap);
    if (p == NULL)
        return -ENOMEM;
    memcpy(p, r->out, r->out_len);
    r->out = p;
    r->out_cap = cap;
    return 0;
}
