/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/supervise.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/queue.h"
#include "http/http.h"
#include "io/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENGINE_LOG_BYTES (8 * MIB)
#define BACKOFF_MIN_MS   1000
#define BACKOFF_MAX_MS   30000
#define STABLE_NS        (UINT64_C(60) * 1000000000) /* a run this long resets the backoff */
#define STOP_TIMEOUT_MS  20000
#define PORT_WAIT_NS     (UINT64_C(5) * 1000000000)
#define PATH_CAP         4096
#define LINE_CAP         300 /* of the engine's last words in our own log */

extern char **environ;

struct engine_child {
    struct engine_child_options options;
    char dir[PATH_CAP], log_path[PATH_CAP + 16];
    pthread_t thread;
    struct queue wake; /* no items; a wake-up means "stop" */
    _Atomic bool stopping;
    pid_t pid;
    int stdin_fd;  /* our end of the child's standard input */
    int output_fd; /* our end of its standard output and error */
    int log_fd;
    uint64_t log_bytes;
    char line[LINE_CAP], last_line[LINE_CAP]; /* being printed; the last one that says something */
    size_t line_len;
};

static int log_open(struct engine_child *c)
{
    struct stat st;
    c->log_fd = open(c->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (c->log_fd < 0)
        return -errno;
    c->log_bytes = fstat(c->log_fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    return 0;
}

/* Bounded: one old file beside the current one. */
static void log_append(struct engine_child *c, const char *p, size_t n)
{
    if (c->log_bytes + n > ENGINE_LOG_BYTES) {
        char old[PATH_CAP + 32];
        (void)snprintf(old, sizeof(old), "%s.1", c->log_path);
        (void)rename(c->log_path, old);
        (void)close(c->log_fd);
        if (log_open(c) != 0)
            c->log_fd = -1;
    }
    if (c->log_fd >= 0)
        (void)!write(c->log_fd, p, n);
    c->log_bytes += n;
}

static void line_end(struct engine_child *c)
{
    while (c->line_len > 0 && c->line[c->line_len - 1] == ' ')
        c->line_len--;
    c->line[c->line_len] = '\0';
    if (c->line_len > 0)
        memcpy(c->last_line, c->line, c->line_len + 1);
    c->line_len = 0;
}

/* Keep the last line: printable, and as much of it as fits. What is cut off is in the file. */
static void line_follow(struct engine_child *c, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)p[i];
        if (ch == '\n')
            line_end(c);
        else if (c->line_len < sizeof(c->line) - 1 && (ch > ' ' || c->line_len > 0))
            c->line[c->line_len++] = ch < ' ' || ch == 0x7f ? ' ' : ch < 0x80 ? (char)ch : '?';
    }
}

/* False at the end of the child's output. */
static bool log_drain(struct engine_child *c)
{
    char chunk[8192];
    for (;;) {
        ssize_t n = read(c->output_fd, chunk, sizeof(chunk));
        if (n > 0) {
            log_append(c, chunk, (size_t)n);
            line_follow(c, chunk, (size_t)n);
        } else if (n == 0) {
            return false;
        } else if (errno != EINTR) {
            return errno == EAGAIN;
        }
    }
}

static int spawn_with(struct engine_child *c, int in, int out)
{
    char tcp[8], http[8];
    (void)snprintf(tcp, sizeof(tcp), "%u", c->options.tcp_port);
    (void)snprintf(http, sizeof(http), "%u", c->options.http_port);
    /* posix_spawn wants writable strings and does not write to them. */
    char *argv[] = {
        strdup(c->options.program), strdup(c->options.library), c->dir, tcp, http, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    (void)sigemptyset(&none);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    (void)posix_spawnattr_init(&attr);
    /* Own process group: Ctrl-C on the terminal stops the daemon, which then stops the engine. */
    (void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    (void)posix_spawnattr_setsigmask(&attr, &none);
    (void)posix_spawnattr_setpgroup(&attr, 0);
    int rc = argv[0] == NULL || argv[1] == NULL
                 ? ENOMEM
                 : posix_spawn(&c->pid, argv[0], &actions, &attr, argv, environ);
    (void)posix_spawnattr_destroy(&attr);
    (void)posix_spawn_file_actions_destroy(&actions);
    free(argv[0]);
    free(argv[1]);
    return -rc;
}

static int child_start(struct engine_child *c)
{
    int in[2], out[2];
    c->line_len = 0;
    c->last_line[0] = '\0';
    if (pipe2(in, O_CLOEXEC) != 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) != 0) {
        int rc = -errno;
        (void)close(in[0]);
        (void)close(in[1]);
        return rc;
    }
    int rc = spawn_with(c, in[0], out[1]);
    (void)close(in[0]);
    (void)close(out[1]);
    if (rc != 0) {
        (void)close(in[1]);
        (void)close(out[0]);
        return rc;
    }
    c->stdin_fd = in[1];
    c->output_fd = out[0];
    (void)fcntl(c->output_fd, F_SETFL, O_NONBLOCK);
    return 0;
}

/* Wait for the output's end or for the order to stop. */
static void child_follow(struct engine_child *c, bool until_stopped, uint64_t timeout_ms)
{
    uint64_t until = io_monotonic_ns() + timeout_ms * 1000000;
    while (!until_stopped || !atomic_load(&c->stopping)) {
        struct pollfd p[2] = {{.fd = c->output_fd, .events = POLLIN},
                              {.fd = queue_fd(&c->wake), .events = POLLIN}};
        if (poll(p, until_stopped ? 2 : 1, 500) < 0 && errno != EINTR)
            return;
        if (!log_drain(c))
            return;
        if (timeout_ms != 0 && io_monotonic_ns() > until)
            return;
    }
}

static void child_end(struct engine_child *c, int *status)
{
    if (atomic_load(&c->stopping)) {
        (void)kill(c->pid, SIGTERM);
        child_follow(c, false, STOP_TIMEOUT_MS);
        if (waitpid(c->pid, status, WNOHANG) == 0)
            (void)kill(c->pid, SIGKILL);
        else
            c->pid = 0;
    }
    (void)close(c->stdin_fd);
    if (c->pid != 0)
        while (waitpid(c->pid, status, 0) < 0 && errno == EINTR)
            ;
    (void)close(c->output_fd);
    c->pid = 0;
}

static void pause_ms(struct engine_child *c, uint64_t ms)
{
    struct pollfd p = {.fd = queue_fd(&c->wake), .events = POLLIN};
    if (!atomic_load(&c->stopping))
        (void)poll(&p, 1, (int)ms);
}

static void log_exit(struct engine_child *c, int status, uint64_t backoff_ms)
{
    line_end(c); /* the last words may lack a newline */
    log_error("engine.exited",
              "%s=%d; started again in %" PRIu64 " ms; see %s; the last that it printed: %s",
              WIFSIGNALED(status) ? "signal" : "status",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), backoff_ms, c->log_path,
              c->last_line[0] != '\0' ? c->last_line : "nothing");
}

static void *supervise_main(void *arg)
{
    struct engine_child *c = arg;
    (void)pthread_setname_np(pthread_self(), "wh-engine");
    uint64_t backoff_ms = BACKOFF_MIN_MS;
    while (!atomic_load(&c->stopping)) {
        uint64_t started = io_monotonic_ns();
        int status = 0, rc = child_start(c);
        if (rc == 0) {
            log_info("engine.started", "pid=%d native=127.0.0.1:%u http=127.0.0.1:%u data=%s",
                     (int)c->pid, c->options.tcp_port, c->options.http_port, c->dir);
            child_follow(c, true, 0);
            child_end(c, &status);
        }
        if (atomic_load(&c->stopping))
            break;
        if (io_monotonic_ns() - started > STABLE_NS)
            backoff_ms = BACKOFF_MIN_MS;
        if (rc != 0)
            log_error("engine.exited", "cannot start %s: %s; next try in %" PRIu64 " ms",
                      c->options.program, err_text(rc), backoff_ms);
        else
            log_exit(c, status, backoff_ms);
        pause_ms(c, backoff_ms);
        backoff_ms = backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : backoff_ms * 2;
    }
    return NULL;
}

/* Somebody else's ClickHouse on our port would be taken for the engine and get our events. Right
 * after a crash the port may still be held by the engine of the previous run, which ends by itself.
 */
static int port_check(uint16_t port, const char *key, struct err *e)
{
    uint64_t until = io_monotonic_ns() + PORT_WAIT_NS;
    for (;;) {
        int fd, rc;
        uint16_t bound;
        rc = http_listen("127.0.0.1", port, &fd, &bound, e);
        if (rc == 0) {
            (void)close(fd);
            return 0;
        }
        if (rc != -EADDRINUSE || io_monotonic_ns() > until)
            return err_set_errno(
                e, rc,
                "clickhouse.embedded: the engine cannot have port %u of 127.0.0.1 "
                "(%s); is another ClickHouse there? Stop it or choose another port",
                port, key);
        (void)poll(NULL, 0, 100);
    }
}

int engine_child_start(struct engine_child **out, const struct engine_child_options *options,
                       struct err *e)
{
    struct engine_child *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set_errno(e, -ENOMEM, "starting the embedded engine");
    c->options = *options;
    (void)snprintf(c->dir, sizeof(c->dir), "%s/clickhouse", options->data_dir);
    (void)snprintf(c->log_path, sizeof(c->log_path), "%s/engine.log", c->dir);
    int rc = port_check(options->tcp_port, "clickhouse.addr", e);
    if (rc == 0)
        rc = port_check(options->http_port, "clickhouse.http_port", e);
    if (rc == 0 && access(options->library, R_OK) != 0)
        rc = err_set_errno(e, -errno,
                           "%s: the embedded engine's library (clickhouse.embedded_library)",
                           options->library);
    if (rc == 0 && mkdir(c->dir, 0700) != 0 && errno != EEXIST)
        rc = err_set_errno(e, -errno, "%s", c->dir);
    if (rc == 0 && (rc = log_open(c)) != 0)
        (void)err_set_errno(e, rc, "%s", c->log_path);
    if (rc == 0 && (rc = queue_init(&c->wake, 1)) != 0)
        (void)err_set_errno(e, rc, "starting the embedded engine");
    if (rc == 0 && (rc = -pthread_create(&c->thread, NULL, supervise_main, c)) != 0)
        (void)err_set_errno(e, rc, "starting the embedded engine's thread");
    if (rc != 0) {
        free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void engine_child_stop(struct engine_child *c)
{
    atomic_store(&c->stopping, true);
    queue_wake(&c->wake);
    (void)pthread_join(c->thread, NULL);
    queue_fini(&c->wake);
    if (c->log_fd >= 0)
        (void)close(c->log_fd);
    free(c);
}
