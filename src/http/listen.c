/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a TCP listener. */
#include "http/http.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static int open_one(const struct addrinfo *ai)
{
    int one = 1, zero = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* A restart must not wait for old connections to leave TIME_WAIT. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (ai->ai_family == AF_INET6) /* "::" takes IPv4 clients too */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0)
        return fd;
    int rc = -errno;
    (void)close(fd);
    return rc;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    struct sockaddr_in a4;
    struct sockaddr_in6 a6;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return 0;
    if (ss.ss_family == AF_INET6) {
        memcpy(&a6, &ss, sizeof(a6));
        return ntohs(a6.sin6_port);
    }
    memcpy(&a4, &ss, sizeof(a4));
    return ntohs(a4.sin_port);
}

int http_listen(const char *address, uint16_t port, int *fd, uint16_t *port_out, struct err *e)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list;
    char service[8];
    (void)snprintf(service, sizeof(service), "%u", port);
    int rc = getaddrinfo(address, service, &hints, &list);
    if (rc != 0)
        return err_set(e, rc == EAI_SYSTEM ? -errno : -EADDRNOTAVAIL,
                       "cannot listen on %s port %u: %s", address, port, gai_strerror(rc));
    rc = -EADDRNOTAVAIL;
    for (const struct addrinfo *ai = list; ai != NULL && rc < 0; ai = ai->ai_next)
        rc = open_one(ai);
    freeaddrinfo(list);
    if (rc < 0)
        return err_set_errno(e, rc, "cannot listen on %s port %u", address, port);
    *fd = rc;
    *port_out = port_of(rc);
    return 0;
}

/* Does somebody listen there? */
static bool is_served(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    bool served = connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno == EAGAIN;
    (void)close(fd);
    return served;
}

int http_listen_control(const char *path, int *fd_out, struct err *e)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(at.sun_path))
        return err_set(e, WH_ELIMIT, "%s: the name of a unix socket has %zu bytes at most", path,
                       sizeof(at.sun_path) - 1);
    memcpy(at.sun_path, path, strlen(path));
    if (is_served(&at))
        return err_set(e, -EADDRINUSE, "%s: another process answers there", path);
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path); /* left by a daemon that was killed */
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), rc = 0;
    if (fd < 0)
        return err_set_errno(e, -errno, "cannot make a unix socket");
    /* Nobody can connect before listen, so the mode is right from the first connection on. */
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || chmod(path, 0660) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        rc = err_set_errno(e, -errno, "cannot listen on %s", path);
        (void)close(fd);
        return rc;
    }
    *fd_out = fd;
    return 0;
}
