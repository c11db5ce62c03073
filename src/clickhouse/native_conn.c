/* SPDX-License-Identifier: Apache-2.0 */
#include "base/magic.h"
#include "clickhouse/native_priv.h"
#include "io/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECV_BYTES     ((size_t)64 << 10)
#define GIVE_BYTES_MAX ((size_t)1 << 30) /* fits an int; a socket takes less anyway */

/* ---- errors ---- */

/* Control bytes become spaces, bytes outside ASCII that are cut or malformed become '?'. */
static void clean_text(char *s)
{
    unsigned char *p = (unsigned char *)s;
    while (*p != '\0') {
        size_t n = *p < 0x80                 ? 1
                   : *p >= 0xf0 && *p < 0xf5 ? 4
                   : *p >= 0xe0              ? 3
                   : *p >= 0xc2              ? 2
                                             : 0;
        if (*p >= 0xf5)
            n = 0;
        for (size_t i = 1; i < n; i++)
            if ((p[i] & 0xc0) != 0x80)
                n = 0;
        /* Overlong forms, surrogates, above U+10FFFF */
        if ((n == 3 && ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f))) ||
            (n == 4 && ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))))
            n = 0;
        if (n == 0)
            *p = '?';
        else if (*p < 0x20 || *p == 0x7f)
            *p = ' ';
        p += n == 0 ? 1 : n;
    }
    while (p > (unsigned char *)s && p[-1] == ' ')
        *--p = '\0';
}

enum ch_outcome ch_fail(struct ch_error *e, enum ch_outcome outcome, int32_t code, const char *fmt,
                        ...)
{
    va_list ap;
    va_start(ap, fmt);
    e->outcome = outcome;
    e->code = code;
    e->from_view = false;
    (void)vsnprintf(e->text, sizeof(e->text), fmt, ap);
    va_end(ap);
    clean_text(e->text);
    return outcome;
}

/* ClickHouse quotes values of any length first and says at the end what it did with them. */
enum ch_outcome ch_fail_exception(struct ch_error *e, int32_t code, struct slice text)
{
    static const char gap[] = " ... ", view[] = "while pushing to view";
    size_t room = sizeof(e->text) - 1, head = text.len, tail = 0;
    if (text.len > room) {
        tail = room / 2;
        head = room - tail - (sizeof(gap) - 1);
    }
    if (head > 0)
        memcpy(e->text, text.ptr, head);
    size_t n = head;
    if (tail > 0) {
        memcpy(e->text + n, gap, sizeof(gap) - 1);
        memcpy(e->text + n + sizeof(gap) - 1, text.ptr + text.len - tail, tail);
        n = room;
    }
    e->text[n] = '\0';
    for (size_t i = 0; i < n; i++) /* a NUL inside must not hide what follows */
        if (e->text[i] == '\0')
            e->text[i] = ' ';
    clean_text(e->text);
    e->code = code;
    e->from_view = text.len > 0 && memmem(text.ptr, text.len, view, sizeof(view) - 1) != NULL;
    e->outcome = ch_classify(code, e->text);
    return e->outcome;
}

enum ch_outcome ch_fail_broken(struct ch_native *c, struct ch_error *e, int rc, const char *what)
{
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    bool system = rc == -ENOMEM || rc > -1000;
    enum ch_outcome o = c->block_started ? CH_UNKNOWN_FATE : system ? CH_UNAVAILABLE : CH_BUG;
    return ch_fail(e, o, 0, "ClickHouse %s:%u: %s: %s", ep->host, ep->port, what,
                   system ? err_text(rc) : "the server sent something that is not the protocol");
}

/* ---- socket ---- */

void ch_native_disconnect(struct ch_native *c)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    ch_tls_conn_free(c->tls);
    c->tls = NULL;
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->rx_pos = 0;
    buf_reset(&c->rx);
}

/* Wait for events until the monotonic deadline. 0, -ETIMEDOUT or -errno. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = io_monotonic_ns();
        int left_ms = now >= deadline_ns ? 0 : (int)((deadline_ns - now) / 1000000 + 1);
        struct pollfd p = {.fd = fd, .events = events};
        int n = poll(&p, 1, left_ms);
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

/* The same for a connection that may be kept busy without getting anywhere: what came in time
 * counts (we may have been stopped meanwhile), so there is one more look after the deadline, and
 * no other. *late: that was it; false at first and after each step forward. */
static int wait_in_time(int fd, short events, uint64_t deadline_ns, bool *late)
{
    int rc = wait_for(fd, events, deadline_ns);
    if (rc != 0 || io_monotonic_ns() < deadline_ns)
        return rc;
    rc = *late ? -ETIMEDOUT : 0;
    *late = true;
    return rc;
}

static uint64_t deadline_after(uint64_t ms)
{
    const uint64_t day_ms = 86400000; /* keeps poll's int far from overflow */
    return io_monotonic_ns() + (ms < day_ms ? ms : day_ms) * 1000000;
}

static int connect_address(const struct addrinfo *a, uint64_t deadline_ns, int *out)
{
    int one = 1, error = 0;
    socklen_t len = sizeof(error);
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int rc = connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : -errno;
    if (rc == -EINPROGRESS) {
        rc = wait_for(fd, POLLOUT, deadline_ns);
        if (rc == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
            rc = -errno;
        if (rc == 0)
            rc = -error;
    }
    if (rc == 0 && (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) != 0 ||
                    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)) != 0))
        rc = -errno;
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *out = fd;
    return 0;
}

/* Is the other end this machine? Also ::ffff:127.0.0.0/104. When nobody can say: no. */
static bool peer_is_loopback(int fd)
{
    struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(peer);
    if (getpeername(fd, (struct sockaddr *)&peer, &len) != 0)
        return false;
    if (peer.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)&peer)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    if (peer.ss_family != AF_INET6)
        return false;
    const struct in6_addr *a = &((struct sockaddr_in6 *)&peer)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == IN_LOOPBACKNET);
}

/* Shake hands where TLS is asked for. On failure the caller disconnects. */
static enum ch_outcome open_tls(struct ch_native *c, uint64_t deadline_ns, struct ch_error *e)
{
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    struct err why = {0};
    if (c->options->tls == NULL)
        return CH_OK;
    c->tls = ch_tls_conn_new(c->options->tls, c->fd, ep->host);
    if (c->tls == NULL)
        return ch_fail(e, CH_UNAVAILABLE, 0, "out of memory");
    int rc;
    bool late = false;
    while ((rc = ch_tls_conn_handshake(c->tls, &why)) == WH_EAGAIN) {
        rc = wait_in_time(c->fd, ch_tls_conn_events(c->tls), deadline_ns, &late);
        if (rc != 0) {
            (void)err_set(&why, rc, "%s", err_text(rc));
            break;
        }
    }
    return rc == 0 ? CH_OK
                   : ch_fail(e, CH_UNAVAILABLE, 0, "ClickHouse %s:%u: TLS handshake: %s", ep->host,
                             ep->port, why.text);
}

static enum ch_outcome open_socket(struct ch_native *c, uint64_t deadline_ns, struct ch_error *e)
{
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list = NULL;
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", ep->port);
    int rc = getaddrinfo(ep->host, port, &hints, &list);
    if (rc != 0)
        return ch_fail(e, CH_UNAVAILABLE, 0, "ClickHouse %s:%u: cannot resolve the name: %s",
                       ep->host, ep->port, gai_strerror(rc));
    rc = -EADDRNOTAVAIL;
    for (const struct addrinfo *a = list; a != NULL; a = a->ai_next) {
        rc = connect_address(a, deadline_ns, &c->fd);
        if (rc == 0)
            break;
    }
    freeaddrinfo(list);
    const struct ch_options *o = c->options;
    c->lz4 = rc == 0 && o->compress_lz4 && (o->compress_loopback || !peer_is_loopback(c->fd));
    return rc == 0 ? open_tls(c, deadline_ns, e)
                   : ch_fail(e, CH_UNAVAILABLE, 0, "ClickHouse %s:%u: cannot connect: %s", ep->host,
                             ep->port, err_text(rc));
}

/* ---- bytes, plain or by TLS, without waiting ---- */

/* Bytes into at: how many, WH_EAGAIN (none), -ECONNRESET (end), -errno. */
static int take_bytes(struct ch_native *c, char *at, size_t room)
{
    if (c->tls != NULL)
        return ch_tls_conn_read(c->tls, at, room);
    for (;;) {
        ssize_t n = recv(c->fd, at, room, MSG_DONTWAIT);
        if (n >= 0)
            return n > 0 ? (int)n : -ECONNRESET;
        if (errno != EINTR)
            return errno == EAGAIN || errno == EWOULDBLOCK ? WH_EAGAIN : -errno;
    }
}

/* The first bytes of data out: how many, WH_EAGAIN (none, and the same must come again), -errno. */
static int give_bytes(struct ch_native *c, struct slice data)
{
    size_t len = data.len < GIVE_BYTES_MAX ? data.len : GIVE_BYTES_MAX;
    if (c->tls != NULL)
        return ch_tls_conn_write(c->tls, data.ptr, len);
    for (;;) {
        ssize_t n = send(c->fd, data.ptr, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            return (int)n;
        if (errno != EINTR)
            return errno == EAGAIN || errno == EWOULDBLOCK ? WH_EAGAIN : -errno;
    }
}

/* Take what the socket has, without waiting. 0, WH_EAGAIN (nothing), -ECONNRESET (end), -errno. */
static int receive(struct ch_native *c)
{
    if (c->rx_pos > 0) {
        memmove(c->rx.ptr, c->rx.ptr + c->rx_pos, c->rx.len - c->rx_pos);
        c->rx.len -= c->rx_pos;
        c->rx_pos = 0;
    }
    int rc = buf_reserve(&c->rx, RECV_BYTES);
    if (rc != 0)
        return rc;
    int n = take_bytes(c, c->rx.ptr + c->rx.len, RECV_BYTES);
    if (n <= 0)
        return n;
    c->rx.len += (size_t)n;
    return 0;
}

/* A meaningful packet out of what was received; WH_EAGAIN when there is none. keep: it stays there,
 * for the next call to see again. */
static int decode(struct ch_native *c, bool keep, struct ch_packet *out, struct ch_error *e)
{
    for (;;) {
        struct slice in = {c->rx.ptr + c->rx_pos, c->rx.len - c->rx_pos};
        size_t used = 0;
        int rc = ch_packet_take(&c->decoder, in, &used, out);
        if (rc != 0)
            return rc;
        switch (out->code) {
        case CH_S_EXCEPTION:
            (void)ch_fail_exception(e, out->exception, out->text);
            return WH_EREMOTE;
        case CH_S_HELLO:
        case CH_S_DATA:
        case CH_S_PONG:
        case CH_S_END:
            c->rx_pos += keep ? 0 : used;
            return 0;
        default:
            c->rx_pos += used;
        }
    }
}

static int next_until(struct ch_native *c, uint64_t timeout_ms, struct ch_packet *out,
                      struct ch_error *e)
{
    uint64_t deadline = deadline_after(timeout_ms);
    bool late = false;
    for (;;) {
        int rc = decode(c, false, out, e);
        if (rc != WH_EAGAIN)
            return rc;
        rc = receive(c);
        if (rc == WH_EAGAIN) {
            rc = wait_in_time(c->fd, POLLIN, deadline, &late);
        } else if (rc == 0) {
            deadline = deadline_after(timeout_ms);
            late = false;
        }
        if (rc != 0)
            return rc;
    }
}

int ch_conn_next(struct ch_native *c, struct ch_packet *out, struct ch_error *e)
{
    return next_until(c, c->options->io_timeout_ms, out, e);
}

int ch_conn_next_soon(struct ch_native *c, struct ch_packet *out, struct ch_error *e)
{
    return next_until(c, c->options->connect_timeout_ms, out, e);
}

/* What came while we send. Only an exception stops us; an answer that is early waits for its
 * reader. 0, WH_EREMOTE, or a failure. */
static int look_for_exception(struct ch_native *c, struct ch_error *e)
{
    struct ch_packet packet;
    int received = receive(c);
    if (received == WH_EAGAIN)
        return 0;
    int rc = decode(c, true, &packet, e);
    if (rc == WH_EREMOTE || received == 0)
        return rc == WH_EAGAIN ? 0 : rc;
    return received;
}

/* The connection broke while we wrote: the reason may have come before the end. */
static int reason_of_break(struct ch_native *c, int rc, struct ch_error *e)
{
    struct ch_packet packet;
    while (receive(c) == 0) {
    }
    return decode(c, true, &packet, e) == WH_EREMOTE ? WH_EREMOTE : rc;
}

int ch_conn_send(struct ch_native *c, struct slice data, bool *started, struct ch_error *e)
{
    uint64_t deadline = deadline_after(c->options->io_timeout_ms);
    bool late = false;
    while (data.len > 0) {
        int n = give_bytes(c, data);
        if (n > 0) {
            if (started != NULL)
                *started = true;
            data.ptr += n;
            data.len -= (size_t)n;
            deadline = deadline_after(c->options->io_timeout_ms);
            late = false;
        } else if (n != WH_EAGAIN) {
            return reason_of_break(c, n, e);
        }
        /* Also when everything went out at once: a server that has sent an exception shall not be
         * sent the rest of the block, and two full sockets must not wait for each other. */
        int rc = look_for_exception(c, e);
        if (rc == 0 && n < 0)
            rc = wait_in_time(c->fd, POLLIN | POLLOUT, deadline, &late);
        if (rc != 0)
            return rc;
    }
    return 0;
}

bool ch_conn_is_idle(struct ch_native *c)
{
    char byte;
    if (c->rx_pos != c->rx.len || (c->tls != NULL && ch_tls_conn_pending(c->tls)))
        return false;
    /* With TLS as without: whatever comes to an idle connection, be it the end of TLS, is not what
     * was agreed on. */
    ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

/* ---- handshake and fail-over ---- */

/* No Hello came. A port that speaks TLS answers plain words with an alert, or by closing. */
static enum ch_outcome hello_failed(struct ch_native *c, int rc, struct ch_error *e)
{
    const struct ch_endpoint *ep = &c->options->endpoints[c->endpoint];
    size_t n = c->rx.len - c->rx_pos;
    const unsigned char *p = (const unsigned char *)c->rx.ptr + c->rx_pos;
    bool alert = n >= 3 && p[0] == 0x15 && p[1] == 3 && p[2] <= 4;
    if (c->tls == NULL && rc == WH_ESYNTAX && alert)
        return ch_fail(e, CH_UNAVAILABLE, 0,
                       "ClickHouse %s:%u: the port speaks TLS: set clickhouse.tls.enabled, or name "
                       "the plain one in clickhouse.addr (usually 9000)",
                       ep->host, ep->port);
    if (c->tls == NULL && rc == -ECONNRESET && n == 0)
        return ch_fail(e, CH_UNAVAILABLE, 0,
                       "ClickHouse %s:%u: the server has closed the connection without a word; "
                       "does the port speak TLS? (clickhouse.tls.enabled)",
                       ep->host, ep->port);
    if (rc == WH_ESYNTAX && n >= 5 && memcmp(p, "HTTP/", 5) == 0)
        return ch_fail(
            e, CH_UNAVAILABLE, 0,
            "ClickHouse %s:%u: the port speaks HTTP: clickhouse.addr must name the native "
            "one (usually 9000, or 9440 with TLS)",
            ep->host, ep->port);
    enum ch_outcome o = ch_fail_broken(c, e, rc, "handshake");
    return o == CH_BUG ? e->outcome = CH_UNAVAILABLE : o; /* the rows have no part in it */
}

static enum ch_outcome handshake(struct ch_native *c, struct ch_error *e)
{
    const struct ch_options *o = c->options;
    struct ch_packet packet;
    ch_decoder_fini(&c->decoder);
    ch_decoder_init(&c->decoder, c->identity.revision);
    buf_reset(&c->tx);
    ch_put_hello(&c->tx, &c->identity, o->database, o->username, o->password);
    if (!buf_ok(&c->tx))
        return ch_fail(e, CH_UNAVAILABLE, 0, "out of memory");
    int rc = ch_conn_send(c, buf_slice(&c->tx), NULL, e);
    if (rc == 0)
        rc = next_until(c, o->connect_timeout_ms, &packet, e);
    if (rc == WH_EREMOTE)
        return e->outcome;
    if (rc == 0 && packet.code != CH_S_HELLO)
        rc = WH_ESYNTAX;
    if (rc != 0)
        return hello_failed(c, rc, e);
    if (c->decoder.revision < CH_REV_OLDEST)
        return ch_fail(e, CH_CONFIG, 0,
                       "ClickHouse %s:%u: revision %u is older than the oldest supported one, %u "
                       "(18.16)",
                       o->endpoints[c->endpoint].host, o->endpoints[c->endpoint].port,
                       packet.hello.revision, CH_REV_OLDEST);
    c->server = (struct ch_server){.revision = c->decoder.revision,
                                   .major = packet.hello.major,
                                   .minor = packet.hello.minor,
                                   .patch = packet.hello.patch};
    memcpy(c->server.timezone, packet.hello.timezone, sizeof(c->server.timezone));
    buf_reset(&c->tx);
    ch_put_addendum(&c->tx, c->server.revision);
    rc = ch_conn_send(c, buf_slice(&c->tx), NULL, e);
    if (rc == WH_EREMOTE)
        return e->outcome;
    return rc == 0 ? CH_OK : ch_fail_broken(c, e, rc, "handshake");
}

enum ch_outcome ch_native_connect(struct ch_native *c, struct ch_server *server, struct ch_error *e)
{
    CHECK_MAGIC(c, CH_NATIVE_MAGIC);
    const struct ch_options *o = c->options;
    uint32_t first = c->endpoint;
    struct ch_error worst = {.outcome = CH_OK};
    if (o->endpoint_count == 0)
        return ch_fail(e, CH_CONFIG, 0, "no ClickHouse endpoint is configured");
    c->block_started = false;
    for (uint32_t i = 0; c->fd < 0 && i < o->endpoint_count; i++) {
        c->endpoint = (first + i) % o->endpoint_count;
        enum ch_outcome outcome = open_socket(c, deadline_after(o->connect_timeout_ms), e);
        if (outcome == CH_OK)
            outcome = handshake(c, e);
        if (outcome == CH_OK)
            break;
        ch_native_disconnect(c);
        /* What a person must mend says more than "refused" from the last one in the row. */
        if (worst.outcome == CH_OK ||
            (worst.outcome == CH_UNAVAILABLE && outcome != CH_UNAVAILABLE))
            worst = *e;
    }
    if (c->fd < 0) {
        c->endpoint = first;
        *e = worst;
        return e->outcome;
    }
    if (server != NULL)
        *server = c->server;
    return CH_OK;
}
