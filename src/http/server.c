/* SPDX-License-Identifier: Apache-2.0 */
/* Accepting, timers and the end of a server; with conn.c the only users of libevent here. */
#include "http/priv.h"

#include "base/log.h"
#include "io/clock.h"

#include <event2/event.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define HTTP_CROWD      1000              /* connections whose memory is worth giving back */
#define HTTP_CROWD_LEFT 64                /* so few of them that are still there are not */
#define HEAP_TRIM_BYTES ((size_t)2 << 20) /* from the pool: worth some milliseconds of one loop */

struct http_loop {
    struct event_base *base;
    struct event *soon;   /* activated by hand: the dirty list */
    struct event *tick;   /* clocks of connections, memory kept by the pool */
    struct event *resume; /* accepting after a pause */
    bool accepting, paused;
    int listener_count;
    struct http_listen_event {
        struct http_server *s;
        struct event *event;
        struct http_listener from;
    } listeners[];
};

void http_server_clock(struct http_server *s)
{
    s->now_ns = io_monotonic_ns();
}

struct event_base *http_server_base(struct http_server *s)
{
    return s->loop->base;
}

uint32_t http_server_connections(const struct http_server *s)
{
    return s->conn_count;
}

/* Listen only while there is room, so that further clients wait in the kernel's backlog. */
static void accepting_set(struct http_server *s)
{
    struct http_loop *loop = s->loop;
    bool want = !s->draining && !loop->paused && s->conn_count < s->options.connections_max;
    if (want == loop->accepting)
        return;
    loop->accepting = want;
    for (int i = 0; i < loop->listener_count; i++)
        (void)(want ? event_add(loop->listeners[i].event, NULL)
                    : event_del(loop->listeners[i].event));
}

static void tick_arm(struct http_server *s)
{
    const struct http_options *o = &s->options;
    uint64_t ms = o->idle_timeout_ms;
    ms = o->header_timeout_ms < ms ? o->header_timeout_ms : ms;
    ms = (o->body_timeout_ms < ms ? o->body_timeout_ms : ms) / 4;
    ms = ms < 5 ? 5 : ms > 1000 ? 1000 : ms;
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
    (void)event_add(s->loop->tick, &tv);
}

void http_server_run_soon(struct http_server *s, struct http_conn *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->dirty_next = NULL;
    if (s->dirty == NULL)
        event_active(s->loop->soon, EV_TIMEOUT, 0);
    *(s->dirty != NULL ? &s->dirty_last->dirty_next : &s->dirty) = c;
    s->dirty_last = c;
}

void http_server_closed_one(struct http_server *s)
{
    must(s->conn_count > 0);
    s->conn_count--;
    metric_add(s->m_connections, -1);
    accepting_set(s);
}

static void shell_free(struct http_server *s)
{
    s->magic = 0;
    free(s);
}

void http_server_request_back(struct http_server *s)
{
    must(s->handed_out > 0);
    if (--s->handed_out > 0)
        return;
    if (s->freed)
        shell_free(s);
    else if (s->draining)
        event_active(s->loop->soon, EV_TIMEOUT, 0); /* perhaps the last thing to wait for */
}

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    (void)fd;
    (void)what;
    CHECK_MAGIC(s, HTTP_SERVER_MAGIC);
    http_server_clock(s);
    for (int i = 0; i < HTTP_RUNS_PER_WAKE && s->dirty != NULL; i++) {
        struct http_conn *c = s->dirty;
        s->dirty = c->dirty_next;
        c->dirty = false;
        http_conn_run(c);
    }
    if (s->dirty != NULL) {
        /* The same frames for thousands: requests that have come meanwhile go in between. */
        static const struct timeval now = {0, 0};
        (void)event_add(s->loop->soon, &now);
    }
    if (s->draining && !s->drained_said && s->conn_count == 0 && s->handed_out == 0) {
        s->drained_said = true;
        if (s->on_drained != NULL)
            s->on_drained(s->drained_arg); /* may free s */
    }
}

static uint64_t patience_ms(const struct http_server *s, enum http_wait wait)
{
    switch (wait) {
    case HTTP_WAIT_IDLE:
        return s->options.idle_timeout_ms;
    case HTTP_WAIT_HEAD:
        return s->options.header_timeout_ms;
    case HTTP_WAIT_BODY:
    case HTTP_WAIT_WRITE:
        return s->options.body_timeout_ms;
    case HTTP_WAIT_LINGER:
        return s->draining ? HTTP_LINGER_STOP_MS : HTTP_LINGER_MS;
    case HTTP_WAIT_NONE:
    case HTTP_WAITS:
        break;
    }
    return UINT64_MAX;
}

/* Buffers of a few KiB, freed by the thousand, stay with malloc, which gives back only what lies at
 * the end of its heap. It is told to each time that three quarters of a crowd have gone, and again
 * when the pool has given back most of what the crowd left in it (a kept buffer holds on to both
 * pages that it touches). That takes some milliseconds, so not while more is still to come; and a
 * tick later, for connections that this one has closed are freed after it. */
static void heap_trim(struct http_server *s, size_t freed_now)
{
    s->freed_bytes += freed_now;
    s->crowd = s->conn_peak >= (s->crowd ? HTTP_CROWD_LEFT : HTTP_CROWD);
    bool crowd_gone = s->crowd && s->conn_count <= s->conn_peak / 4;
    bool pool_empty = s->freed_bytes >= HEAP_TRIM_BYTES && freed_now < s->freed_bytes / 8;
    if (s->trim_due) {
        http_conn_pool_free(s);
        http_req_pool_free(s);
        (void)malloc_trim(0);
    }
    s->trim_due = crowd_gone || pool_empty;
    if (crowd_gone)
        s->conn_peak = s->conn_count;
    if (s->trim_due)
        s->freed_bytes = 0;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    (void)fd;
    (void)what;
    CHECK_MAGIC(s, HTTP_SERVER_MAGIC);
    http_server_clock(s);
    uint64_t now_ms = s->now_ns / 1000000;
    for (enum http_wait wait = HTTP_WAIT_IDLE; wait < HTTP_WAITS; wait++) {
        struct http_conn *c;
        while ((c = s->lists[wait].first) != NULL && now_ms - c->since_ms >= patience_ms(s, wait)) {
            http_conn_expired(c);
            must(s->lists[wait].first != c || c->since_ms == now_ms);
            if (s->lists[wait].first == c)
                break; /* it has made progress, and is the only one here */
        }
    }
    size_t freed = http_pool_trim(&s->pool);
    bool decoders = http_recv_trim(s);
    heap_trim(s, freed);
    if (s->conn_count > 0 || decoders || s->pool.kept_bytes > 0 || s->trim_due)
        tick_arm(s);
}

int http_server_take_fd(struct http_server *s, int fd, const struct http_listener *from,
                        const char *peer)
{
    struct http_conn *c = http_conn_new(s, fd, from, peer);
    if (c == NULL) {
        (void)close(fd);
        return -ENOMEM;
    }
    s->conn_count++;
    if (s->conn_count > s->conn_peak)
        s->conn_peak = s->conn_count;
    metric_add(s->m_connections, 1);
    if (!event_pending(s->loop->tick, EV_TIMEOUT, NULL))
        tick_arm(s);
    http_conn_run(c);
    return 0;
}

static void peer_text(int fd, const struct sockaddr_storage *ss, char out[HTTP_PEER_CAP])
{
    struct ucred who;
    socklen_t len = sizeof(who);
    char host[INET6_ADDRSTRLEN] = "";
    if (ss->ss_family == AF_INET6) {
        struct sockaddr_in6 a;
        memcpy(&a, ss, sizeof(a));
        /* A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; show what they are. */
        if (IN6_IS_ADDR_V4MAPPED(&a.sin6_addr)) {
            (void)inet_ntop(AF_INET, &a.sin6_addr.s6_addr[12], host, sizeof(host));
            (void)snprintf(out, HTTP_PEER_CAP, "%s:%u", host, ntohs(a.sin6_port));
            return;
        }
        (void)inet_ntop(AF_INET6, &a.sin6_addr, host, sizeof(host));
        (void)snprintf(out, HTTP_PEER_CAP, "[%s]:%u", host, ntohs(a.sin6_port));
    } else if (ss->ss_family == AF_INET) {
        struct sockaddr_in a;
        memcpy(&a, ss, sizeof(a));
        (void)inet_ntop(AF_INET, &a.sin_addr, host, sizeof(host));
        (void)snprintf(out, HTTP_PEER_CAP, "%s:%u", host, ntohs(a.sin_port));
    } else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0) {
        (void)snprintf(out, HTTP_PEER_CAP, "uid %u", who.uid);
    } else {
        (void)snprintf(out, HTTP_PEER_CAP, "local");
    }
}

/* Descriptors or memory ran out: a listener that stays readable would spin the loop. */
static void accept_pause(struct http_server *s, int cause)
{
    static struct log_limit limit = LOG_LIMIT(10);
    uint64_t dropped;
    struct timeval tv = {0, HTTP_ACCEPT_PAUSE_MS * 1000};
    if (log_limit_pass(&limit, &dropped))
        log_warn("http.accept_paused",
                 "cause=\"%s\" connections=%" PRIu32 " retry_ms=%d repeated=%" PRIu64
                 " hint=\"raise the limit of open files (LimitNOFILE)\"",
                 err_text(-cause), s->conn_count, HTTP_ACCEPT_PAUSE_MS, dropped);
    s->loop->paused = true;
    accepting_set(s);
    (void)event_add(s->loop->resume, &tv);
}

static void on_resume(evutil_socket_t fd, short what, void *arg)
{
    struct http_server *s = arg;
    (void)fd;
    (void)what;
    s->loop->paused = false;
    accepting_set(s);
}

static void on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
    const struct http_listen_event *listener = arg;
    struct http_server *s = listener->s;
    (void)what;
    CHECK_MAGIC(s, HTTP_SERVER_MAGIC);
    http_server_clock(s);
    for (int i = 0; i < HTTP_ACCEPTS_PER_WAKE && s->loop->accepting; i++) {
        struct sockaddr_storage ss = {0};
        socklen_t len = sizeof(ss);
        char peer[HTTP_PEER_CAP];
        int one = 1;
        int fd = accept4(listen_fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN)
                return; /* another loop was faster */
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                accept_pause(s, errno);
                return;
            }
            continue; /* ECONNABORTED and the like concern that client only */
        }
        /* Answers are written whole: waiting to fill a packet would only delay them. */
        if (listener->from.kind != HTTP_LISTEN_CONTROL)
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        peer_text(fd, &ss, peer);
        if (http_server_take_fd(s, fd, &listener->from, peer) != 0) {
            accept_pause(s, ENOMEM);
            return;
        }
        accepting_set(s);
    }
}

static void loop_free(struct http_loop *loop)
{
    if (loop == NULL)
        return;
    struct event *own[] = {loop->soon, loop->tick, loop->resume};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (own[i] != NULL)
            event_free(own[i]);
    for (int i = 0; i < loop->listener_count; i++)
        if (loop->listeners[i].event != NULL)
            event_free(loop->listeners[i].event);
    free(loop);
}

static struct http_loop *loop_new(struct http_server *s, struct event_base *base,
                                  const struct http_listener *listeners, int listen_count)
{
    struct http_loop *loop =
        calloc(1, sizeof(*loop) + (size_t)listen_count * sizeof(loop->listeners[0]));
    if (loop == NULL)
        return NULL;
    loop->base = base;
    loop->listener_count = listen_count;
    loop->soon = event_new(base, -1, 0, on_soon, s);
    loop->tick = event_new(base, -1, 0, on_tick, s);
    loop->resume = event_new(base, -1, 0, on_resume, s);
    bool fine = loop->soon != NULL && loop->tick != NULL && loop->resume != NULL;
    for (int i = 0; i < listen_count; i++) {
        struct http_listen_event *l = &loop->listeners[i];
        l->s = s;
        l->from = listeners[i];
        l->event = event_new(base, listeners[i].fd, EV_READ | EV_PERSIST, on_accept, l);
        fine = fine && l->event != NULL;
    }
    if (fine)
        return loop;
    loop_free(loop);
    return NULL;
}

static void metrics_new(struct http_server *s)
{
    s->m_connections =
        metric_new(METRIC_GAUGE, "wavehouse_http_connections", "Open client connections.", NULL);
    for (int why = HTTP_REFUSE_NONE + 1; why < HTTP_REFUSALS; why++)
        s->m_refused[why] =
            metric_new(METRIC_COUNTER, "wavehouse_http_bad_requests_total",
                       "Requests refused before they reached a handler.", "reason=\"%s\"",
                       http_refusal_info((enum http_refusal)why)->reason);
}

/* Options point to things of the caller but for the TLS context, which is counted. */
static void options_take(struct http_server *s, const struct http_options *options)
{
    struct http_tls_context *old = s->options.tls;
    s->options = *options;
    if (options->tls != NULL)
        (void)http_tls_context_ref(options->tls);
    http_tls_context_unref(old);
}

int http_server_new(struct http_server **out, struct event_base *base,
                    const struct http_listener *listeners, int listen_count,
                    const struct http_handler *handler, const struct http_options *options,
                    struct err *e)
{
    must(handler->on_head != NULL && handler->on_request != NULL && listen_count >= 0);
    struct http_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return err_set(e, -ENOMEM, "no memory for an HTTP server");
    s->magic = HTTP_SERVER_MAGIC;
    s->handler = *handler;
    http_pool_init(&s->pool);
    int rc = io_random(&s->id_seed, sizeof(s->id_seed));
    if (rc != 0) {
        free(s);
        return err_set_errno(e, rc, "cannot read the system's random numbers");
    }
    s->loop = loop_new(s, base, listeners, listen_count);
    if (s->loop == NULL) {
        free(s);
        return err_set(e, -ENOMEM, "no memory for the events of an HTTP server");
    }
    options_take(s, options);
    metrics_new(s);
    http_server_clock(s);
    accepting_set(s);
    *out = s;
    return 0;
}

void http_server_reconfigure(struct http_server *s, const struct http_options *options)
{
    CHECK_MAGIC(s, HTTP_SERVER_MAGIC);
    options_take(s, options);
    accepting_set(s);
    if (s->conn_count > 0)
        tick_arm(s);
}

void http_server_drain(struct http_server *s, void (*on_drained)(void *), void *arg)
{
    CHECK_MAGIC(s, HTTP_SERVER_MAGIC);
    s->draining = true;
    s->on_drained = on_drained;
    s->drained_arg = arg;
    accepting_set(s);
    struct http_conn *next;
    for (struct http_conn *c = s->lists[HTTP_WAIT_IDLE].first; c != NULL; c = next) {
        next = c->next;
        if (http_conn_is_idle(c))
            http_conn_close(c);
    }
    for (int wait = HTTP_WAIT_NONE; wait < HTTP_WAITS; wait++)
        for (struct http_conn *c = s->lists[wait].first; c != NULL; c = c->next)
            if (c->streams > 0)
                http_server_run_soon(s, c); /* endless ones end now */
    event_active(s->loop->soon, EV_TIMEOUT, 0);
}

void http_server_free(struct http_server *s)
{
    if (s == NULL)
        return;
    CHECK_MAGIC(s, HTTP_SERVER_MAGIC);
    s->draining = true;
    for (int wait = 0; wait < HTTP_WAITS; wait++)
        while (s->lists[wait].first != NULL)
            http_conn_close(s->lists[wait].first);
    s->freed = true; /* from here on nothing goes back to a free list */
    while (s->dirty != NULL) {
        struct http_conn *c = s->dirty;
        s->dirty = c->dirty_next;
        c->dirty = false;
        if (c->first == NULL)
            http_conn_free(c);
    }
    loop_free(s->loop);
    s->loop = NULL;
    http_req_pool_free(s);
    http_conn_pool_free(s);
    for (int kind = 0; kind < HTTP_DECODER_KINDS; kind++)
        while (s->decoder_count[kind] > 0)
            http_decoder_free(s->decoders[kind][--s->decoder_count[kind]]);
    http_pool_fini(&s->pool);
    http_tls_context_unref(s->options.tls);
    s->options.tls = NULL;
    if (s->handed_out == 0)
        shell_free(s);
}
