/* SPDX-License-Identifier: Apache-2.0 */
/* Two clients that cost little themselves (bench/fairness.py):
 *
 *   paced flood PORT FILE CONNECTIONS PER_SECOND
 *       sends the request in FILE over so many connections, at most so often (0: as fast as it is
 *       answered), until SIGTERM
 *   paced probe PORT FILE PER_SECOND SECONDS
 *       sends it over one at even intervals, and times each answer twice, in microseconds, in the
 *       order sent: from when it was sent, and how long a client waited: from when the request was
 *       due if the answer before came later than that, else from when it was sent. (A slow answer
 *       counts for all that it delays; that this client was woken late does not.)
 *
 * Both print one line of JSON. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S        1000000000u
#define CONNECTIONS_MAX 256
#define ANSWER_CAP      (64 << 10)

static char *request;
static size_t request_len;
static uint16_t port;
static volatile sig_atomic_t ending;

static void on_term(int sig)
{
    (void)sig;
    ending = 1;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int connect_new(void)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)&to, sizeof(to)) != 0)
        die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

struct client {
    int fd;
    size_t sent, got;
    bool busy;
    char answer[ANSWER_CAP];
};

static void client_reset(struct client *c, bool reconnect)
{
    if (reconnect) {
        (void)close(c->fd);
        c->fd = connect_new();
    }
    c->sent = c->got = 0;
    c->busy = false;
}

/* The answer is there as a whole: its status; 0: not yet. *ends: the connection does. */
static int answered(struct client *c, bool *ends)
{
    c->answer[c->got] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n"),
               *length = strcasestr(c->answer, "\nContent-Length:");
    if (end == NULL || length == NULL)
        return 0;
    *ends = strcasestr(c->answer, "\nConnection: close") != NULL;
    size_t body = strtoul(length + strlen("\nContent-Length:"), NULL, 10);
    return (size_t)(end + 4 - c->answer) + body <= c->got ? atoi(c->answer + 9) : 0;
}

/* Send and read what can be; the status when an answer is complete, -1 when the connection broke.
 */
static int client_go(struct client *c, bool *ends)
{
    *ends = false;
    if (c->sent < request_len) {
        ssize_t n =
            send(c->fd, request + c->sent, request_len - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0)
            c->sent += (size_t)n;
    }
    ssize_t n = recv(c->fd, c->answer + c->got, ANSWER_CAP - 1 - c->got, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        return -1;
    c->got += n > 0 ? (size_t)n : 0;
    return answered(c, ends);
}

static void flood(uint32_t count, uint64_t per_second)
{
    static struct client clients[CONNECTIONS_MAX];
    static struct pollfd fds[CONNECTIONS_MAX];
    uint64_t taken = 0, refused = 0, broken = 0, started = now_ns(), begun = 0;
    for (uint32_t i = 0; i < count; i++)
        clients[i].fd = connect_new();
    while (!ending) {
        uint64_t now = now_ns(), allowed = (now - started) * per_second / NS_PER_S + 1;
        if (per_second > 0 && allowed > begun + count) /* what was missed is not made up for */
            begun = allowed - count;
        for (uint32_t i = 0; i < count; i++) {
            struct client *c = &clients[i];
            if (!c->busy && (per_second == 0 || begun < allowed)) {
                c->busy = true;
                begun++;
            }
            fds[i] = (struct pollfd){.fd = c->busy ? c->fd : -1,
                                     .events = c->sent < request_len ? POLLIN | POLLOUT : POLLIN};
        }
        (void)poll(fds, count, 1);
        for (uint32_t i = 0; i < count; i++) {
            bool ends;
            if (fds[i].fd < 0 || fds[i].revents == 0)
                continue;
            int status = client_go(&clients[i], &ends);
            if (status == 0)
                continue;
            taken += status == 200;
            broken += status < 0;
            refused += status > 200;
            client_reset(&clients[i], status < 0 || ends || clients[i].sent < request_len);
        }
    }
    double s = (double)(now_ns() - started) / NS_PER_S;
    printf("{\"taken_per_second\":%.1f,\"refused_per_second\":%.1f,\"broken\":%" PRIu64 "}\n",
           (double)taken / s, (double)refused / s, broken);
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void print_times(const char *name, uint64_t *ns, uint64_t count)
{
    printf("\"%s\":[", name);
    for (uint64_t i = 0; i < count; i++)
        printf("%s%" PRIu64, i > 0 ? "," : "", ns[i] / 1000);
    printf("]");
}

static void probe(uint64_t per_second, uint64_t seconds)
{
    static struct client c;
    uint64_t count = per_second * seconds, *waited = calloc(count, sizeof(*waited)),
             *since_sent = calloc(count, sizeof(*since_sent));
    if (waited == NULL || since_sent == NULL)
        die("calloc");
    c.fd = connect_new();
    uint64_t due = now_ns(), answered = 0;
    for (uint64_t i = 0; i < count; i++) {
        due += NS_PER_S / per_second;
        bool late = answered > due;
        sleep_until(due);
        uint64_t sent = now_ns();
        int status;
        bool ends;
        while ((status = client_go(&c, &ends)) == 0) {
            struct pollfd p = {.fd = c.fd, .events = POLLIN};
            (void)poll(&p, 1, 1000);
        }
        if (status != 200) {
            (void)fprintf(stderr, "paced: answered %d\n", status);
            exit(1);
        }
        answered = now_ns();
        waited[i] = answered - (late ? due : sent);
        since_sent[i] = answered - sent;
        client_reset(&c, ends);
    }
    printf("{");
    print_times("waited_us", waited, count);
    printf(",");
    print_times("sent_us", since_sent, count);
    printf("}\n");
    free(waited);
    free(since_sent);
}

static void read_request(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0)
        die(path);
    request_len = (size_t)ftell(f);
    rewind(f);
    request = malloc(request_len);
    if (request == NULL || fread(request, 1, request_len, f) != request_len)
        die(path);
    (void)fclose(f);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        (void)fputs("usage: paced flood PORT FILE CONNECTIONS PER_SECOND\n"
                    "       paced probe PORT FILE PER_SECOND SECONDS\n",
                    stderr);
        return 2;
    }
    port = (uint16_t)atoi(argv[2]);
    read_request(argv[3]);
    uint64_t a = strtoull(argv[4], NULL, 10), b = strtoull(argv[5], NULL, 10);
    (void)signal(SIGTERM, on_term);
    if (strcmp(argv[1], "flood") == 0 && a > 0 && a <= CONNECTIONS_MAX)
        flood((uint32_t)a, b);
    else if (a > 0 && b > 0)
        probe(a, b);
    free(request);
    return 0;
}
