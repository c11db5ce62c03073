/* SPDX-License-Identifier: Apache-2.0 */
/* wavehoused-engine: the whole ClickHouse engine, from the shared library libchdb.so, run as a
 * server on two loopback ports.
 *
 *   wavehoused-engine LIB DIR TCP_PORT HTTP_PORT [engine option…]
 *
 * The library exports chdb_query_cmdline(argc, argv), which is the program "clickhouse local". That
 * program opens the native and HTTP listeners with SYSTEM START LISTEN; its last statement here
 * reads a pipe that never brings anything and so keeps it alive. Closing the pipe ends the
 * statement and the program shuts down in order.
 *
 * Standard input becomes a pseudo-terminal and --interactive is given: outside interactive mode
 * that program ends the whole process when any connection thread ends in an error, so that one
 * client that resets its connection would take the server down.
 *
 * It stops on SIGTERM and SIGINT. When standard input is a pipe or a socket it belongs to a
 * supervisor: the engine then also stops at its end and at the parent's death.
 *
 * Threads: main runs the engine; `watch` waits for a reason to stop. */
#include "base/log.h"
#include "engine/engine_priv.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STOP_TIMEOUT_MS  30000 /* an orderly shutdown writes what tables hold in memory */
#define ENGINE_ARGS_MAX  64
#define OOM_SCORE_ADJUST "500" /* the kernel shall take the engine before the daemon's log */

enum exit_status {
    EXIT_OK = 0,
    EXIT_ENGINE = 1,
    EXIT_USAGE = 2,
    EXIT_STUCK = 3
};

struct engine {
    const char *lib, *dir;
    uint16_t tcp_port, http_port;
    int stop_fd;           /* signalfd: SIGTERM, SIGINT */
    int parent_fd;         /* the supervisor's end of standard input; -1 without one */
    int keep_fds[2];       /* the pipe that the last statement reads */
    _Atomic bool stopping; /* written by watch, read by main */
    int terminal_fd;       /* master of the pseudo-terminal */
    char options[5][4200];
    char sql[512];
};

static _Noreturn void die(enum exit_status status, const char *text)
{
    log_error("engine.failed", "text=\"%s\"", text);
    (void)fflush(NULL);
    _exit((int)status);
}

static void *watch(void *arg)
{
    struct engine *g = arg;
    struct pollfd p[2] = {{.fd = g->stop_fd, .events = POLLIN},
                          {.fd = g->parent_fd, .events = POLLIN}};
    for (;;) {
        if (poll(p, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            break;
        }
        if (p[0].revents != 0)
            break;
        char skip[256]; /* what a supervisor writes has no meaning; only the end has */
        if (p[1].revents != 0 && read(g->parent_fd, skip, sizeof(skip)) <= 0 && errno != EINTR)
            break;
    }
    g->stopping = true;
    (void)close(g->keep_fds[1]);
    /* The statement ends and the program asks its terminal what next: say ^D until it has gone.
     * Closing the terminal would do too, but it complains about that. */
    for (int waited_ms = 0; waited_ms < STOP_TIMEOUT_MS; waited_ms += 50) {
        if (write(g->terminal_fd, "\004", 1) < 0)
            break;
        (void)poll(NULL, 0, 50);
    }
    die(EXIT_STUCK, "no orderly end within 30 s; the data folder is still consistent");
}

static bool parse_port(const char *text, uint16_t *port)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || v == 0 || v > 65535)
        return false;
    *port = (uint16_t)v;
    return true;
}

/* The engine's own words for a taken port are long and come late. */
static void check_port_free(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[160];
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
        bind(fd, (struct sockaddr *)&a, sizeof(a)) != 0) {
        (void)snprintf(text, sizeof(text), "cannot listen on 127.0.0.1:%u: %s", port,
                       strerror(errno));
        die(EXIT_USAGE, text);
    }
    (void)close(fd);
}

static void raise_limits(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &r); /* best effort: fewer open parts */
    }
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
        if (write(fd, OOM_SCORE_ADJUST, sizeof(OOM_SCORE_ADJUST) - 1) < 0)
            log_warn("engine.oom_score", "text=\"%s\"", strerror(errno));
        (void)close(fd);
    }
}

/* Descriptors and signals; must run before the library is loaded, whose threads inherit the mask.
 */
static void prepare_process(struct engine *g)
{
    struct stat st;
    bool supervised = fstat(0, &st) == 0 && (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
    sigset_t stop;
    (void)sigemptyset(&stop);
    (void)sigaddset(&stop, SIGTERM);
    (void)sigaddset(&stop, SIGINT);
    if (pthread_sigmask(SIG_BLOCK, &stop, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        die(EXIT_ENGINE, "cannot set signals");
    if (supervised && prctl(PR_SET_PDEATHSIG, SIGTERM) != 0)
        die(EXIT_ENGINE, "prctl(PR_SET_PDEATHSIG)");
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        die(EXIT_ENGINE, "prctl(PR_SET_NO_NEW_PRIVS)");
    (void)umask(077);
    raise_limits();

    g->stop_fd = signalfd(-1, &stop, SFD_CLOEXEC);
    g->parent_fd = supervised ? fcntl(0, F_DUPFD_CLOEXEC, 3) : -1;
    if (g->stop_fd < 0 || pipe2(g->keep_fds, O_CLOEXEC) != 0 || (supervised && g->parent_fd < 0))
        die(EXIT_ENGINE, strerror(errno));

    g->terminal_fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (g->terminal_fd < 0 || grantpt(g->terminal_fd) != 0 || unlockpt(g->terminal_fd) != 0)
        die(EXIT_ENGINE, "cannot open a pseudo-terminal; is /dev/pts mounted?");
    int tty = open(ptsname(g->terminal_fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
    /* Its standard output is only the prompt of an interactive program; errors go to stderr. */
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (tty < 0 || null < 0 || dup2(tty, 0) < 0 || dup2(null, 1) < 0)
        die(EXIT_ENGINE, strerror(errno));
    (void)close(tty);
    (void)close(null);
}

static int build_args(struct engine *g, char **extra, int extra_count, char **args)
{
    static char name[] = "clickhouse", interactive[] = "--interactive",
                no_suggestion[] = "--disable_suggestion", no_progress[] = "--progress=off",
                query[] = "--query",
                log_level[] = "--log-level=warning"; /* it ignores the file's level */
    size_t cap = sizeof(g->options[0]);
    (void)snprintf(g->options[0], cap, "--path=%s/data", g->dir);
    (void)snprintf(g->options[1], cap, "--config-file=%s/config.xml", g->dir);
    (void)snprintf(g->options[2], cap, "--tcp_port=%u", g->tcp_port);
    (void)snprintf(g->options[3], cap, "--http_port=%u", g->http_port);
    (void)snprintf(g->options[4], cap, "--listen_host=127.0.0.1");
    (void)snprintf(g->sql, sizeof(g->sql),
                   "SYSTEM START LISTEN TCP; SYSTEM START LISTEN HTTP; "
                   "SELECT count() FROM file('/dev/fd/%d', 'LineAsString', 'l String') "
                   "SETTINGS storage_file_read_method='read', max_execution_time=0, log_queries=0",
                   g->keep_fds[0]);
    int n = 0;
    args[n++] = name;
    for (int i = 0; i < 5; i++)
        args[n++] = g->options[i];
    args[n++] = interactive;
    args[n++] = no_suggestion;
    args[n++] = no_progress;
    args[n++] = log_level;
    for (int i = 0; i < extra_count; i++)
        args[n++] = extra[i];
    args[n++] = query;
    args[n++] = g->sql;
    args[n] = NULL;
    return n;
}

static void *symbol(void *lib, const char *name)
{
    void *p = dlsym(lib, name);
    if (p == NULL)
        die(EXIT_ENGINE, dlerror());
    return p;
}

static _Noreturn void run(struct engine *g, char **extra, int extra_count)
{
    void *lib = dlopen(g->lib, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL)
        die(EXIT_USAGE, dlerror());
    /* POSIX says that a function pointer fits a void pointer; C says nothing, hence memcpy. */
    void *(*query_cmdline)(int, char **);
    const char *(*result_error)(void *);
    void *p = symbol(lib, "chdb_query_cmdline");
    memcpy(&query_cmdline, &p, sizeof(p));
    p = symbol(lib, "chdb_result_error");
    memcpy(&result_error, &p, sizeof(p));

    char *args[ENGINE_ARGS_MAX];
    int n = build_args(g, extra, extra_count, args);
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, watch, g) != 0)
        die(EXIT_ENGINE, "cannot start a thread");
    log_info("engine.starting", "dir=%s tcp_port=%u http_port=%u", g->dir, g->tcp_port,
             g->http_port);
    void *result = query_cmdline(n, args);
    const char *error = result != NULL ? result_error(result) : "the engine gave no result";
    if (error != NULL && *error != '\0')
        die(EXIT_ENGINE, error);
    if (!g->stopping) /* some of its errors are only printed */
        die(EXIT_ENGINE, "the engine ended by itself; its reason is in the lines above");
    log_info("engine.stopped", "dir=%s", g->dir);
    (void)fflush(NULL);
    /* Not exit(): the library's destructors race with threads it does not join. */
    _exit(EXIT_OK);
}

int main(int argc, char **argv)
{
    static struct engine g; /* static: option texts outlive main's frame and are large */
    static char dir[4096];
    struct err e;
    if (argc < 5 || argc - 5 > ENGINE_ARGS_MAX - 12) {
        (void)fprintf(stderr, "usage: wavehoused-engine LIB DIR TCP_PORT HTTP_PORT [option...]\n");
        return EXIT_USAGE;
    }
    g.lib = argv[1];
    if (!parse_port(argv[3], &g.tcp_port) || !parse_port(argv[4], &g.http_port) ||
        g.tcp_port == g.http_port)
        die(EXIT_USAGE, "TCP_PORT and HTTP_PORT must be two different numbers from 1 to 65535");
    if (engine_write_config(argv[2], &e) != 0)
        die(EXIT_USAGE, e.text);
    if (realpath(argv[2], dir) == NULL || chdir(dir) != 0)
        die(EXIT_USAGE, strerror(errno));
    g.dir = dir;
    check_port_free(g.tcp_port);
    check_port_free(g.http_port);
    prepare_process(&g);
    run(&g, argv + 5, argc - 5);
}
