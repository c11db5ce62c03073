/* SPDX-License-Identifier: Apache-2.0 */
/* Many subscribers and one poster, for bench/run stream.
 *
 *   stream_load live PORT TABLE SUBSCRIBERS ROWS_PER_SECOND BATCH SECONDS
 *   stream_load raw  0    TABLE SUBSCRIBERS ROWS_PER_SECOND BATCH SECONDS
 *   stream_load idle PORT TABLE SUBSCRIBERS                 prints "ready", ends when stdin does
 *
 * Each row has a number and the instant at which it was posted; each subscriber checks that the
 * numbers have no gap. `raw` replaces the daemon by a process that does nothing but
 * send the same bytes to the same sockets: what the kernel and this reader can do at most. Rows per
 * second 0: as fast as it goes. One line of JSON on stdout. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES  (256 * 1024)
#define TAIL        64
#define US_MAX      2000000
#define PER_ADDRESS 20000 /* local ports of one loopback address */

struct sub {
    int fd;
    uint32_t tail_len;
    bool connected;
    int64_t last;
    char tail[TAIL];
};

static struct sub *subs;
static uint32_t count, ready;
static uint64_t frames, gaps, repeats, bytes;
static uint32_t latency[US_MAX + 1]; /* by microsecond */
static const char *table;
static int batch;
/* Shared with the process that is the bare sender: it has as many descriptors as we do. */
static struct shared {
    _Atomic uint64_t posted;
    _Atomic bool stop, stopped;
} * shared;

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_to(uint16_t port, uint32_t number)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)}, from = {0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + number / PER_ADDRESS);
    if (fd < 0 || bind(fd, (struct sockaddr *)&from, sizeof(from)) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* ---- what subscribers read ---- */

static void frame(struct sub *s, const char *at, uint64_t now)
{
    char *end;
    int64_t id = strtoll(at, &end, 10);
    uint64_t sent = strtoull(end + 5, NULL, 10); /* ,"t": */
    if (s->last >= 0 && id > s->last + 1)
        gaps += (uint64_t)(id - s->last - 1);
    else if (s->last >= 0 && id <= s->last)
        repeats++;
    s->last = id;
    frames++;
    uint64_t us = (now - sent) / 1000;
    latency[us < US_MAX ? us : US_MAX]++;
}

static void take(struct sub *s, char *buf, size_t n, uint64_t now)
{
    static const char mark[] = "\"data\":{\"id\":";
    size_t len = s->tail_len + n, mark_len = sizeof(mark) - 1;
    char *p = buf, *end = buf + len;
    if (!s->connected && memmem(buf, len, ": connected", 11) != NULL) {
        s->connected = true;
        ready++;
    }
    for (;;) {
        char *found = memmem(p, (size_t)(end - p), mark, mark_len);
        /* The numbers must be there as well: up to the closing brace. */
        char *close = found != NULL ? memchr(found, '}', (size_t)(end - found)) : NULL;
        if (close == NULL) {
            size_t left = found != NULL ? (size_t)(end - found) : (size_t)(end - p);
            size_t keep = found != NULL ? left : left < mark_len ? left : mark_len - 1;
            if (keep > TAIL)
                die("frame longer than expected");
            memcpy(s->tail, end - keep, keep);
            s->tail_len = (uint32_t)keep;
            return;
        }
        frame(s, found + mark_len, now);
        p = close;
    }
}

static void read_from(struct sub *s)
{
    static char buf[TAIL + READ_BYTES];
    for (;;) {
        memcpy(buf, s->tail, s->tail_len);
        ssize_t n = recv(s->fd, buf + s->tail_len, READ_BYTES, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die("a subscriber was closed");
        bytes += (uint64_t)n;
        take(s, buf, (size_t)n, now_ns());
        if (n < READ_BYTES)
            return;
    }
}

/* ---- the poster ---- */

struct poster {
    uint16_t port;
    uint64_t rows_per_second;
};

static size_t rows_put(char *to, uint64_t first, uint64_t now)
{
    char *at = to;
    for (int i = 0; i < batch; i++)
        at += sprintf(at, "{\"id\":%" PRIu64 ",\"t\":%" PRIu64 "}\n", first + (uint64_t)i, now);
    return (size_t)(at - to);
}

static void pace(uint64_t began, uint64_t rows, uint64_t per_second)
{
    if (per_second == 0)
        return;
    uint64_t due = began + rows * 1000000000 / per_second, now = now_ns();
    if (due > now) {
        struct timespec t = {(time_t)((due - now) / 1000000000), (long)((due - now) % 1000000000)};
        (void)nanosleep(&t, NULL);
    }
}

static void read_answer(int fd)
{
    static char answer[4096];
    ssize_t got = recv(fd, answer, sizeof(answer) - 1, 0);
    if (got <= 0)
        die("answer");
    answer[got] = '\0';
    const char *length = strcasestr(answer, "content-length:"), *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0 || length == NULL || body == NULL) {
        fprintf(stderr, "%.*s\n", 200, answer);
        exit(1);
    }
    long left = strtol(length + 15, NULL, 10) - (answer + got - (body + 4));
    for (; left > 0; left -= got)
        if ((got = recv(fd, answer, sizeof(answer), 0)) <= 0)
            die("answer");
}

static void *post_main(void *arg)
{
    const struct poster *p = arg;
    int fd = connect_to(p->port, 0);
    char *body = malloc((size_t)batch * 64), head[256];
    uint64_t began = now_ns(), rows = 0;
    while (!atomic_load(&shared->stop)) {
        size_t n = rows_put(body, rows, now_ns());
        int h = sprintf(head,
                        "POST /v1/ingest?table=%s HTTP/1.1\r\nHost: h\r\nContent-Type: "
                        "application/x-ndjson\r\nContent-Length: %zu\r\n\r\n",
                        table, n);
        if (send(fd, head, (size_t)h, MSG_MORE) != h || send(fd, body, n, 0) != (ssize_t)n)
            die("post");
        read_answer(fd);
        rows += (uint64_t)batch;
        atomic_store(&shared->posted, rows);
        pace(began, rows, p->rows_per_second);
    }
    return NULL;
}

/* In place of the daemon: the same frames to everybody, and nothing else. */
struct raw {
    int listen_fd;
    uint64_t rows_per_second;
};

static void send_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k < 0)
            die("send");
        p += k;
        n -= (size_t)k;
    }
}

static void raw_main(const struct raw *r)
{
    int *fds = malloc(count * sizeof(int)), one = 1;
    char *block = malloc((size_t)batch * 256 + 64), sink[1024];
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = accept(r->listen_fd, NULL, NULL);
        (void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        (void)!recv(fds[i], sink, sizeof(sink), 0);
        send_all(fds[i], ": connected\n\n", 13);
    }
    uint64_t began = now_ns(), rows = 0;
    while (!atomic_load(&shared->stop)) {
        char *at = block;
        uint64_t now = now_ns();
        for (int i = 0; i < batch; i++)
            at += sprintf(at,
                          "id: 2026-03-24T12:00:00.123456789Z\ndata: {\"table_name\":\"%s\","
                          "\"received_timestamp\":\"2026-03-24T12:00:00.123456789Z\",\"data\":{"
                          "\"id\":%" PRIu64 ",\"t\":%" PRIu64 "}}\n\n",
                          table, rows + (uint64_t)i, now);
        for (uint32_t i = 0; i < count; i++)
            send_all(fds[i], block, (size_t)(at - block));
        rows += (uint64_t)batch;
        atomic_store(&shared->posted, rows);
        pace(began, rows, r->rows_per_second);
    }
}

static int raw_listen(uint16_t *port)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0 || listen(fd, 4096) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        die("listen");
    *port = ntohs(a.sin_port);
    return fd;
}

/* ---- the run ---- */

static int open_all(uint16_t port)
{
    int ep = epoll_create1(EPOLL_CLOEXEC);
    char head[256];
    int n = sprintf(head,
                    "GET /v1/stream?table=%s HTTP/1.1\r\nHost: h\r\nAccept: "
                    "text/event-stream\r\n\r\n",
                    table);
    for (uint32_t i = 0; i < count; i++) {
        subs[i] = (struct sub){.fd = connect_to(port, i + 1), .last = -1};
        if (send(subs[i].fd, head, (size_t)n, 0) != n)
            die("subscribe");
        struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = &subs[i]};
        (void)epoll_ctl(ep, EPOLL_CTL_ADD, subs[i].fd, &e);
    }
    return ep;
}

static void turn(int ep)
{
    struct epoll_event events[1024];
    int n = epoll_wait(ep, events, 1024, 100);
    for (int i = 0; i < n; i++)
        read_from(events[i].data.ptr);
}

static double quantile_ms(double q)
{
    uint64_t at = 0, want = (uint64_t)((double)frames * q);
    for (uint32_t us = 0; us <= US_MAX; us++)
        if ((at += latency[us]) > want)
            return us / 1000.0;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 5 || (strcmp(argv[1], "idle") != 0 && argc != 8)) {
        fprintf(stderr, "usage: stream_load live|raw|idle PORT TABLE SUBSCRIBERS ROWS_PER_SECOND "
                        "BATCH SECONDS\n");
        return 2;
    }
    struct rlimit files;
    (void)getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    uint16_t port = (uint16_t)atoi(argv[2]);
    table = argv[3];
    count = (uint32_t)atoi(argv[4]);
    subs = calloc(count, sizeof(*subs));
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (subs == NULL || shared == MAP_FAILED)
        die("memory");
    pthread_t poster;
    pid_t sender = 0;
    struct poster p = {.port = port};
    struct raw r = {0};
    bool raw = strcmp(argv[1], "raw") == 0, idle = strcmp(argv[1], "idle") == 0;
    if (!idle) {
        p.rows_per_second = r.rows_per_second = strtoull(argv[5], NULL, 10);
        batch = atoi(argv[6]);
    }
    if (raw) {
        r.listen_fd = raw_listen(&port);
        sender = fork();
        if (sender == 0) {
            raw_main(&r);
            atomic_store(&shared->stopped, true);
            (void)pause(); /* the sockets stay until everything was read */
            _exit(0);
        }
    }
    int ep = open_all(port);
    while (ready < count)
        turn(ep);
    if (idle) {
        char c;
        printf("ready\n");
        (void)fflush(stdout);
        (void)fcntl(0, F_SETFL, O_NONBLOCK);
        while (read(0, &c, 1) != 0)
            turn(ep);
        return 0;
    }
    uint64_t began = now_ns(), until = began + (uint64_t)(atof(argv[7]) * 1e9);
    if (!raw)
        (void)pthread_create(&poster, NULL, post_main, &p);
    while (now_ns() < until)
        turn(ep);
    atomic_store(&shared->stop, true);
    /* What was posted must come, for ten seconds at most. */
    uint64_t limit = now_ns() + UINT64_C(10000000000);
    bool joined = false;
    while ((!joined || frames < atomic_load(&shared->posted) * count) && now_ns() < limit) {
        turn(ep);
        if (!joined)
            joined = raw ? atomic_load(&shared->stopped) : pthread_tryjoin_np(poster, NULL) == 0;
    }
    if (raw)
        (void)kill(sender, SIGKILL);
    double seconds = (double)(now_ns() - began) / 1e9;
    uint64_t want = atomic_load(&shared->posted) * count;
    printf("{\"subscribers\":%u,\"rows\":%" PRIu64 ",\"frames\":%" PRIu64 ",\"missing\":%" PRIu64
           ",\"gaps\":%" PRIu64 ",\"repeats\":%" PRIu64
           ",\"seconds\":%.3f,\"deliveries_per_s\":%.0f,\"mb_per_s\":%.1f,\"p50_ms\":%.3f,"
           "\"p99_ms\":%.3f,\"p999_ms\":%.3f}\n",
           count, atomic_load(&shared->posted), frames, want - frames, gaps, repeats, seconds,
           (double)frames / seconds, (double)bytes / seconds / 1e6, quantile_ms(0.5),
           quantile_ms(0.99), quantile_ms(0.999));
    return frames == want && gaps == 0 && repeats == 0 ? 0 : 1;
}
