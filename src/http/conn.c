/* SPDX-License-Identifier: Apache-2.0 */
/* The life of one connection: its events, its clocks, its end. */
#include "http/priv.h"

#include <event2/event.h>

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static void list_remove(struct http_conn *c)
{
    struct http_list *l = &c->s->lists[c->wait];
    *(c->prev != NULL ? &c->prev->next : &l->first) = c->next;
    *(c->next != NULL ? &c->next->prev : &l->last) = c->prev;
}

static void list_append(struct http_conn *c, enum http_wait wait)
{
    struct http_list *l = &c->s->lists[wait];
    c->wait = wait;
    c->since_ms = c->s->now_ns / 1000000;
    c->next = NULL;
    c->prev = l->last;
    *(l->last != NULL ? &l->last->next : &l->first) = c;
    l->last = c;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct http_conn *c = arg;
    (void)fd;
    (void)what;
    CHECK_MAGIC(c, HTTP_CONN_MAGIC);
    http_server_clock(c->s);
    if (!c->lingering) {
        c->running = true;
        http_recv_ready(c);
        c->running = false;
    } else {
        /* TCP's MSG_TRUNC throws away without copying (tcp(7)): a flood that is refused costs the
         * loop less. The shared buffer is free here: nothing is parsed. */
        ssize_t n = recv(c->fd, c->s->read, sizeof(c->s->read), MSG_TRUNC);
        c->lingered += n > 0 ? (uint64_t)n : 0;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
            c->lingered > HTTP_LINGER_BYTES)
            http_conn_close(c);
    }
    http_conn_run(c);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct http_conn *c = arg;
    (void)fd;
    (void)what;
    CHECK_MAGIC(c, HTTP_CONN_MAGIC);
    http_server_clock(c->s);
    if (c->tls != NULL && http_tls_wants_write(c->tls)) {
        c->running = true;
        http_recv_ready(c); /* a handshake that waited for room in the socket */
        c->running = false;
    }
    http_conn_run(c);
}

struct http_conn *http_conn_new(struct http_server *s, int fd, const struct http_listener *from,
                                const char *peer)
{
    struct http_tls *tls = NULL;
    if (from->kind == HTTP_LISTEN_TLS) {
        must(s->options.tls != NULL);
        if ((tls = http_tls_new(s->options.tls, fd)) == NULL)
            return NULL;
    }
    size_t event_bytes = event_get_struct_event_size();
    struct http_conn *c = s->free_conns;
    if (c != NULL) {
        s->free_conns = c->next;
        s->free_conn_count--;
    } else {
        c = malloc(sizeof(*c) + 2 * event_bytes);
        if (c == NULL) {
            http_tls_free(tls);
            return NULL;
        }
    }
    *c = (struct http_conn){.magic = HTTP_CONN_MAGIC,
                            .fd = fd,
                            .s = s,
                            .tls = tls,
                            .control = from->kind == HTTP_LISTEN_CONTROL,
                            .label = from->label};
    c->ev_read = (struct event *)(void *)((char *)c + sizeof(*c));
    c->ev_write = (struct event *)(void *)((char *)c + sizeof(*c) + event_bytes);
    (void)event_assign(c->ev_read, http_server_base(s), fd, EV_READ | EV_PERSIST, on_readable, c);
    (void)event_assign(c->ev_write, http_server_base(s), fd, EV_WRITE | EV_PERSIST, on_writable, c);
    c->peer_len = (uint8_t)strlen(peer);
    must(c->peer_len < sizeof(c->peer));
    memcpy(c->peer, peer, c->peer_len);
    list_append(c, HTTP_WAIT_IDLE);
    return c;
}

void http_conn_free(struct http_conn *c)
{
    struct http_server *s = c->s;
    must(c->fd < 0 && c->first == NULL && c->stream == NULL && !c->dirty && !c->running);
    c->magic = 0;
    if (s->freed || s->free_conn_count == HTTP_CONNS_KEPT) {
        free(c);
        return;
    }
    c->next = s->free_conns;
    s->free_conns = c;
    s->free_conn_count++;
}

void http_conn_pool_free(struct http_server *s)
{
    while (s->free_conns != NULL) {
        struct http_conn *c = s->free_conns;
        s->free_conns = c->next;
        free(c);
    }
    s->free_conn_count = 0;
}

void http_conn_unlink(struct http_conn *c, struct http_req *r)
{
    struct http_req *before = NULL;
    for (struct http_req *at = c->first; at != r; at = at->next) {
        must(at != NULL);
        before = at;
    }
    *(before != NULL ? &before->next : &c->first) = r->next;
    if (c->last == r)
        c->last = before;
    c->queued--;
    if (r->replied)
        c->queued_bytes -= r->out_len;
}

void http_conn_abandon(struct http_conn *c)
{
    c->done = c->shut = true;
    http_recv_stop(c);
    struct http_req *next;
    struct http_stream *lost = NULL;
    if (c->stream != NULL)
        http_stream_lose(c->stream, &lost);
    for (struct http_req *r = c->first; r != NULL; r = next) {
        next = r->next;
        if (r->dispatched && !r->replied)
            continue; /* the handler's; http_reply drops it */
        if (r->stream != NULL)
            http_stream_lose(r->stream, &lost);
        http_conn_unlink(c, r);
        http_req_free(r);
    }
    http_stream_tell_lost(lost); /* the handler may answer others of the queue meanwhile */
}

static void events_set(struct http_conn *c, bool reading, bool writing)
{
    /* A failure to add leaves the connection to its clock. */
    if (reading != c->reading)
        (void)(reading ? event_add(c->ev_read, NULL) : event_del(c->ev_read));
    if (writing != c->writing)
        (void)(writing ? event_add(c->ev_write, NULL) : event_del(c->ev_write));
    c->reading = reading;
    c->writing = writing;
}

void http_conn_close(struct http_conn *c)
{
    CHECK_MAGIC(c, HTTP_CONN_MAGIC);
    must(c->fd >= 0);
    events_set(c, false, false);
    list_remove(c);
    http_tls_free(c->tls);
    c->tls = NULL;
    (void)close(c->fd);
    c->fd = -1;
    http_conn_abandon(c);
    http_server_closed_one(c->s);
    http_server_run_soon(c->s, c); /* which frees it; somebody up the stack may still look at it */
}

void http_conn_reset_on_close(struct http_conn *c)
{
    const struct linger now = {.l_onoff = 1};
    (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

bool http_conn_is_idle(const struct http_conn *c)
{
    return c->rx == HTTP_RX_HEAD && c->first == NULL && c->stream == NULL && c->in_len == 0 &&
           !c->lingering;
}

/* Our last answer is out. The client may still be sending; closing now would make the kernel send a
 * reset, which can overtake the answer on its way to the client. */
static void finish(struct http_conn *c)
{
    if (c->tls != NULL)
        http_tls_close_notify(c->tls);
    if (c->eof || shutdown(c->fd, SHUT_WR) != 0) {
        http_conn_close(c);
        return;
    }
    c->done = true;
    c->lingering = true;
}

static enum http_wait wait_for(const struct http_conn *c)
{
    if (c->lingering)
        return HTTP_WAIT_LINGER;
    if (c->tls != NULL && !http_tls_is_open(c->tls))
        return HTTP_WAIT_HEAD; /* the handshake has the patience of a head */
    if (c->blocked)
        return HTTP_WAIT_WRITE;
    if (c->rx == HTTP_RX_LENGTH || c->rx == HTTP_RX_CHUNKED)
        return HTTP_WAIT_BODY;
    if (c->in_len > 0 && http_recv_parses(c))
        return HTTP_WAIT_HEAD;
    return c->first == NULL && c->stream == NULL ? HTTP_WAIT_IDLE : HTTP_WAIT_NONE;
}

/* Bytes written and not yet acknowledged by the client. */
static uint32_t kernel_holds(const struct http_conn *c)
{
    int n = 0;
    return ioctl(c->fd, SIOCOUTQ, &n) == 0 && n > 0 ? (uint32_t)n : 0;
}

/* A client that reads slowly makes no room for us for a long time: the kernel says that the socket
 * takes bytes again when a third of its buffer, megabytes, has gone. */
static bool is_read_slowly(const struct http_conn *c)
{
    uint32_t now = kernel_holds(c);
    return c->tx_mark > now &&
           c->tx_mark - now >= HTTP_BODY_BYTES_PER_S * c->s->options.body_timeout_ms / 1000;
}

/* Events and clock for the state the connection is in now. */
static void settle(struct http_conn *c)
{
    bool over = c->rx == HTTP_RX_END && ((c->first == NULL && c->stream == NULL) || c->done);
    if (!c->lingering && (over || (c->s->draining && http_conn_is_idle(c))))
        finish(c);
    if (c->fd < 0)
        return;
    bool wanted = http_recv_wanted(c);
    bool stuck = c->tls != NULL && http_tls_wants_write(c->tls);
    events_set(c, c->lingering || wanted, c->blocked || stuck);
    if (c->tls != NULL && wanted && !c->lingering && http_tls_pending(c->tls))
        event_active(c->ev_read, EV_READ, 0); /* the socket will not announce these bytes */
    enum http_wait wait = wait_for(c);
    if (wait == c->wait && !c->rewind)
        return;
    list_remove(c);
    list_append(c, wait);
    c->rx_mark = c->rx_bytes;
    c->tx_mark = wait == HTTP_WAIT_WRITE ? kernel_holds(c) : 0;
    c->rewind = false;
}

void http_conn_run(struct http_conn *c)
{
    CHECK_MAGIC(c, HTTP_CONN_MAGIC);
    must(!c->running);
    c->running = true;
    while (c->fd >= 0 && http_send_ready(c)) {
        /* Answers made room in the queue: requests may wait in the kept input. */
        size_t kept = c->in_len;
        http_recv_kept(c);
        if (c->in_len == kept)
            break;
    }
    c->running = false;
    if (c->fd >= 0)
        settle(c);
    if (c->fd < 0 && c->first == NULL && !c->dirty)
        http_conn_free(c);
}

void http_conn_expired(struct http_conn *c)
{
    struct http_server *s = c->s;
    switch (c->wait) {
    case HTTP_WAIT_BODY:
        if (c->rx_bytes - c->rx_mark >= HTTP_BODY_BYTES_PER_S * s->options.body_timeout_ms / 1000) {
            c->rewind = true;
            break;
        }
        /* fall through */
    case HTTP_WAIT_HEAD:
        if (c->tls != NULL && !http_tls_is_open(c->tls)) {
            http_conn_close(c); /* there is nothing to answer through */
            break;
        }
        http_recv_refuse(c, HTTP_REFUSE_TIMEOUT);
        break;
    case HTTP_WAIT_WRITE:
        if (is_read_slowly(c)) {
            c->rewind = true;
            break;
        }
        http_conn_close(c);
        break;
    case HTTP_WAIT_NONE:
    case HTTP_WAIT_IDLE:
    case HTTP_WAIT_LINGER:
    case HTTP_WAITS:
        http_conn_close(c);
        break;
    }
    http_conn_run(c);
}
