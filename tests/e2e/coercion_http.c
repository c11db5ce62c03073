/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP for coercion_diff: POST on one connection, answers by length or in chunks. */
#include "tests/e2e/coercion.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

void http_init(struct http *h, int port)
{
    *h = (struct http){.port = port, .fd = -1};
    buf_init(&h->in, SIZE_MAX);
    buf_init(&h->body, SIZE_MAX);
}

static void disconnect(struct http *h)
{
    if (h->fd >= 0)
        (void)close(h->fd);
    h->fd = -1;
    buf_reset(&h->in);
}

void http_fini(struct http *h)
{
    disconnect(h);
    buf_fini(&h->in);
    buf_fini(&h->body);
}

static int dial(struct http *h)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)h->port)};
    struct timeval limit = {.tv_sec = 60};
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    h->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (h->fd < 0)
        return -1;
    (void)setsockopt(h->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    (void)setsockopt(h->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(h->fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return 0;
    disconnect(h);
    return -1;
}

static int send_all(struct http *h, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = send(h->fd, s.ptr, s.len, MSG_NOSIGNAL);
        if (n <= 0)
            return -1;
        s.ptr += n;
        s.len -= (size_t)n;
    }
    return 0;
}

static int more(struct http *h)
{
    if (buf_reserve(&h->in, 65536) != 0)
        return -1;
    ssize_t n = recv(h->fd, h->in.ptr + h->in.len, 65535, 0);
    if (n <= 0)
        return -1;
    h->in.len += (size_t)n;
    h->in.ptr[h->in.len] = '\0';
    return 0;
}

/* Drop n bytes from the front of what was received. */
static void consume(struct http *h, size_t n)
{
    memmove(h->in.ptr, h->in.ptr + n, h->in.len - n);
    h->in.len -= n;
    h->in.ptr[h->in.len] = '\0';
}

static int take_bytes(struct http *h, size_t n)
{
    while (h->in.len < n)
        if (more(h) != 0)
            return -1;
    buf_put(&h->body, h->in.ptr, n);
    consume(h, n);
    return 0;
}

static int take_chunks(struct http *h)
{
    for (;;) {
        char *eol;
        while (h->in.len == 0 || (eol = strstr(h->in.ptr, "\r\n")) == NULL)
            if (more(h) != 0)
                return -1;
        size_t n = strtoul(h->in.ptr, NULL, 16);
        consume(h, (size_t)(eol + 2 - h->in.ptr));
        if (take_bytes(h, n) != 0)
            return -1;
        while (h->in.len < 2)
            if (more(h) != 0)
                return -1;
        consume(h, 2);
        if (n == 0)
            return 0;
    }
}

static int answer(struct http *h)
{
    char *end;
    buf_reset(&h->body);
    while (h->in.len == 0 || (end = strstr(h->in.ptr, "\r\n\r\n")) == NULL)
        if (more(h) != 0)
            return -1;
    *end = '\0';
    h->status = atoi(h->in.ptr + 9);
    const char *code = strcasestr(h->in.ptr, "\r\nX-ClickHouse-Exception-Code:");
    const char *length = strcasestr(h->in.ptr, "\r\nContent-Length:");
    bool chunked = strcasestr(h->in.ptr, "\r\nTransfer-Encoding: chunked") != NULL;
    bool closing = strcasestr(h->in.ptr, "\r\nConnection: close") != NULL;
    h->code = code != NULL ? atoi(code + 30) : 0;
    if (h->code == 0 && h->status != 200)
        h->code = h->status;
    size_t n = length != NULL ? strtoul(length + 17, NULL, 10) : 0;
    consume(h, (size_t)(end + 4 - h->in.ptr));
    int rc = chunked ? take_chunks(h) : take_bytes(h, n);
    if (rc != 0 || closing)
        disconnect(h);
    return rc;
}

static void put_url(struct buf *out, const char *s)
{
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
            buf_put_u8(out, c);
        else
            buf_printf(out, "%%%02X", c);
    }
}

int http_query(struct http *h, const char *query, struct slice body)
{
    struct buf head;
    buf_init(&head, SIZE_MAX);
    buf_put_str(&head, "POST /?wait_end_of_query=1&query=");
    put_url(&head, query);
    buf_printf(&head, " HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n", body.len);
    int rc = -1;
    for (int attempt = 0; rc != 0 && attempt < 2; attempt++) { /* an idle connection may be gone */
        if (h->fd < 0 && dial(h) != 0)
            continue;
        if (send_all(h, buf_slice(&head)) == 0 && send_all(h, body) == 0)
            rc = answer(h);
        if (rc != 0)
            disconnect(h);
    }
    buf_fini(&head);
    return rc == 0 ? h->code : -1;
}
