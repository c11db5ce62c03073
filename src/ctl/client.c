/* SPDX-License-Identifier: Apache-2.0 */
#include "ctl/client.h"

#include "config/config.h"
#include "ctl/offline.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_TIMEOUT_S    30 /* also bounds connect */
#define RECEIVE_TIMEOUT_S 600
#define RECEIVE_BYTES     (64 * 1024)

static int bad_url(struct err *e, const char *url)
{
    return err_set(e, WH_ESYNTAX,
                   "\"%s\" is no server address; it looks like " CLIENT_SERVER_DEFAULT, url);
}

int client_init(struct client *c, const char *url, struct err *e)
{
    if (url == NULL)
        url = getenv("WAVEHOUSE_URL");
    if (url == NULL || *url == '\0')
        url = access(CONFIG_CONTROL_SOCKET, R_OK | W_OK) == 0 ? "unix:" CONFIG_CONTROL_SOCKET
                                                              : CLIENT_SERVER_DEFAULT;
    memset(c, 0, sizeof(*c));
    buf_init(&c->rx, ANSWER_BODY_BYTES_MAX + 2 * ANSWER_HEAD_BYTES_MAX + RECEIVE_BYTES);
    if (strncmp(url, "unix:", 5) == 0) {
        if (url[5] != '/' || strlen(url + 5) >= sizeof(c->socket))
            return bad_url(e, url);
        memcpy(c->socket, url + 5, strlen(url + 5));
        memcpy(c->host, "localhost", sizeof("localhost"));
        memcpy(c->port, "80", sizeof("80"));
        return 0;
    }
    if (strncmp(url, "https://", 8) == 0)
        return err_set(e, WH_ESYNTAX,
                       "%s: no TLS here; ask on the daemon's machine through its control socket "
                       "(unix:PATH), or through a tunnel",
                       url);
    if (strncmp(url, "http://", 7) != 0)
        return bad_url(e, url);
    const char *host = url + 7, *path = host + strcspn(host, "/"), *port = "80";
    size_t host_len = (size_t)(path - host), port_len = 2, path_len = strlen(path);
    const char *colon = host[0] == '[' ? strstr(host, "]:") : memchr(host, ':', host_len);
    if (colon != NULL && colon < path) {
        colon += *colon == ']';
        port = colon + 1;
        port_len = (size_t)(path - port);
        host_len = (size_t)(colon - host);
    }
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    while (path_len > 0 && path[path_len - 1] == '/')
        path_len--;
    if (host_len == 0 || host_len >= sizeof(c->host) || port_len == 0 ||
        port_len >= sizeof(c->port) || path_len >= sizeof(c->prefix) ||
        strspn(port, "0123456789") < port_len || memchr(host, '@', host_len) != NULL ||
        strpbrk(url, " \t\r\n?#") != NULL)
        return bad_url(e, url);
    memcpy(c->host, host, host_len);
    memcpy(c->port, port, port_len);
    memcpy(c->prefix, path, path_len);
    return 0;
}

void client_fini(struct client *c)
{
    buf_fini(&c->rx);
    explicit_bzero(c->credential, sizeof(c->credential));
}

/* ---- credentials ---- */

/* The header line; what would not be one header line is refused. */
static int set_credential(struct client *c, bool is_key, struct slice value, const char *from)
{
    bool fine = value.len > 0;
    for (size_t i = 0; i < value.len && fine; i++)
        fine = (unsigned char)value.ptr[i] > 0x20 && (unsigned char)value.ptr[i] < 0x7f;
    int n = fine
                ? snprintf(c->credential, sizeof(c->credential), "%s%.*s\r\n",
                           is_key ? "X-Operator-Key: " : "Authorization: Bearer ", SLICE_ARG(value))
                : -1;
    if (n > 0 && (size_t)n < sizeof(c->credential))
        return 0;
    c->credential[0] = '\0';
    (void)fprintf(stderr, "wavehousectl: %s holds no %s: it must be one line of printable ASCII\n",
                  from, is_key ? "operator key" : "token");
    return -EINVAL;
}

static int credential_from_file(struct client *c, bool is_key, const char *path)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    int rc = ctl_read_secret(path, &text);
    if (rc == 0)
        rc = set_credential(c, is_key, buf_slice(&text), path);
    if (text.len > 0)
        explicit_bzero(text.ptr, text.len);
    buf_fini(&text);
    return rc;
}

int client_identify(struct client *c, const struct client_credentials *who)
{
    const char *key = getenv("WAVEHOUSE_OPERATOR_KEY"), *token = getenv("WAVEHOUSE_TOKEN");
    if (who->key_file != NULL)
        return credential_from_file(c, true, who->key_file);
    if (who->token_file != NULL)
        return credential_from_file(c, false, who->token_file);
    if (key != NULL && *key != '\0')
        return set_credential(c, true, slice_str(key), "WAVEHOUSE_OPERATOR_KEY");
    if (token != NULL && *token != '\0')
        return set_credential(c, false, slice_str(token), "WAVEHOUSE_TOKEN");
    return 0;
}

/* ---- requests ---- */

static int dial_to(int family, int type, int protocol, const struct sockaddr *at, socklen_t len)
{
    struct timeval send = {.tv_sec = SEND_TIMEOUT_S}, receive = {.tv_sec = RECEIVE_TIMEOUT_S};
    int fd = socket(family, type | SOCK_CLOEXEC, protocol);
    if (fd < 0)
        return -errno;
    int rc = setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
    if (rc == 0)
        rc = setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
    if (rc == 0)
        rc = connect(fd, at, len);
    if (rc == 0)
        return fd;
    rc = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    (void)close(fd);
    return rc;
}

static int dial_socket(const struct client *c, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, c->socket, strlen(c->socket));
    int fd = dial_to(AF_UNIX, SOCK_STREAM, 0, (const struct sockaddr *)&at, sizeof(at));
    if (fd < 0)
        return err_set_errno(e, fd, "cannot reach wavehoused at %s (--server, WAVEHOUSE_URL)",
                             c->socket);
    return fd;
}

/* A connected socket, or a negative code with a text. */
static int dial(const struct client *c, struct err *e)
{
    if (c->socket[0] != '\0')
        return dial_socket(c, e);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int rc = getaddrinfo(c->host, c->port, &hints, &list), fd = -EADDRNOTAVAIL;
    if (rc != 0)
        return err_set(e, WH_ENOTFOUND, "%s: %s", c->host, gai_strerror(rc));
    for (const struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next)
        fd = dial_to(at->ai_family, at->ai_socktype, at->ai_protocol, at->ai_addr, at->ai_addrlen);
    freeaddrinfo(list);
    if (fd < 0)
        return err_set_errno(e, fd,
                             "cannot reach wavehoused at %s port %s (--server, WAVEHOUSE_URL)",
                             c->host, c->port);
    return fd;
}

static int send_all(int fd, struct slice s, struct err *e)
{
    while (s.len > 0) {
        ssize_t n = send(fd, s.ptr, s.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* a server that refuses a body may close early: its answer says why */
            return errno == EPIPE || errno == ECONNRESET ? 0 : err_set_errno(e, -errno, "sending");
        s = (struct slice){s.ptr + n, s.len - (size_t)n};
    }
    return 0;
}

static int receive(int fd, struct client *c, struct ctl_answer *a, struct err *e)
{
    int rc = WH_EAGAIN;
    buf_reset(&c->rx);
    while (rc == WH_EAGAIN) {
        if (buf_reserve(&c->rx, RECEIVE_BYTES) != 0)
            return err_set(e, WH_ELIMIT, "the answer is too large");
        ssize_t n = recv(fd, c->rx.ptr + c->rx.len, RECEIVE_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set_errno(e, -errno, "waiting for the answer");
        c->rx.len += (size_t)n;
        rc = ctl_answer_read(&c->rx, n == 0, a, e);
    }
    return rc;
}

/* $WAVEHOUSE_OPERATOR_KEY, for where the control socket is not: from the environment, since
 * arguments are shown to every user of the machine. */
static int put_key(const struct client *c, struct buf *head, struct err *e)
{
    const char *key = getenv("WAVEHOUSE_OPERATOR_KEY");
    if (key == NULL || key[0] == '\0' || c->socket[0] != '\0')
        return 0;
    for (const char *p = key; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return err_set(e, WH_ESYNTAX, "WAVEHOUSE_OPERATOR_KEY holds a control character");
    buf_printf(head, "X-Operator-Key: %s\r\n", key);
    return 0;
}

int client_call(struct client *c, const char *method, const char *target, struct slice body,
                struct ctl_answer *a, struct err *e)
{
    struct buf head;
    bool v6 = strchr(c->host, ':') != NULL;
    buf_init(&head, SIZE_MAX);
    buf_printf(&head, "%s %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nConnection: close\r\n", method,
               c->prefix, target, v6 ? "[" : "", c->host, v6 ? "]" : "", c->port);
    buf_printf(&head, "User-Agent: wavehousectl\r\n%s", c->credential);
    if (body.ptr != NULL)
        buf_printf(&head, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.len);
    int rc = put_key(c, &head, e), fd = -1;
    buf_put_str(&head, "\r\n");
    if (rc == 0 && (fd = dial(c, e)) < 0)
        rc = fd;
    if (rc == 0 && !buf_ok(&head))
        rc = err_set(e, -ENOMEM, "out of memory");
    if (rc == 0)
        rc = send_all(fd, buf_slice(&head), e);
    if (rc == 0)
        rc = send_all(fd, body, e);
    if (rc == 0)
        rc = receive(fd, c, a, e);
    if (fd >= 0)
        (void)close(fd);
    if (head.len > 0)
        explicit_bzero(head.ptr, head.len);
    buf_fini(&head);
    return rc;
}
