/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's life: signals, start (start.c), run, reload (reload.c), stop. Stop order is the
 * start's reversed; each step stops its own threads before what they use goes away. */
#include "daemon/daemon_priv.h"

#include "flush/spool.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define FLUSH_STOP_MS_MIN 1000
#define STATUS_EVERY_MS   5000

static void update_status(struct daemon *d)
{
    struct flush_stats s;
    char text[256];
    flush_stats_get(d->flush, &s);
    int n = snprintf(text, sizeof(text), "STATUS=%" PRIu64 " rows waiting for ClickHouse (%s)",
                     s.pending_rows, s.reachable ? "reachable" : "unreachable");
    if (n > 0 && (size_t)n < sizeof(text) && s.spool_capacity > 0) {
        size_t left = sizeof(text) - (size_t)n;
        unsigned percent = (unsigned)(s.spool_bytes * 100 / s.spool_capacity);
        if (!s.reachable && s.spool_hours_left < FLUSH_SPOOL_HOURS_MAX)
            (void)snprintf(text + n, left, "; log %u %% full, %.1f hours left", percent,
                           s.spool_hours_left);
        else if (s.backlog_rows > 0)
            (void)snprintf(text + n, left, "; catching up, %" PRIu64 " s left", s.backlog_eta_s);
    }
    notify_send(text);
}

/* Until a signal says stop or the log fails. */
static void run(struct daemon *d)
{
    for (;;) {
        struct pollfd p[3] = {{.fd = d->signal_fd, .events = POLLIN},
                              {.fd = d->poison_fd, .events = POLLIN},
                              {.fd = queue_fd(&d->reloads), .events = POLLIN}};
        int n = queue_sleep(&d->reloads) ? poll(p, 3, STATUS_EVERY_MS) : -1;
        queue_wake_ack(&d->reloads);
        daemon_take_reloads(d, false);
        if (n == 0)
            update_status(d);
        if (p[1].revents != 0) {
            d->failed = true;
            return;
        }
        struct signalfd_siginfo si;
        if (p[0].revents == 0 || read(d->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
            continue;
        if (si.ssi_signo == SIGHUP) {
            daemon_reload(d, NULL);
        } else {
            log_info("daemon.drain", "signal=%" PRIu32 "; a second one stops at once",
                     si.ssi_signo);
            return;
        }
    }
}

static void *second_signal_main(void *arg)
{
    struct daemon *d = arg;
    struct signalfd_siginfo si;
    struct pollfd p = {.fd = d->signal_fd, .events = POLLIN};
    for (;;) {
        if (poll(&p, 1, -1) == 1 && read(d->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si) &&
            si.ssi_signo != SIGHUP) {
            log_warn("daemon.stopped", "second signal: stopped at once; what was acknowledged is "
                                       "in the log");
            _exit(DAEMON_FAILED);
        }
    }
    return NULL;
}

static void stop(struct daemon *d)
{
    uint64_t timeout_ms = d->config->server.shutdown_timeout_ms;
    uint64_t until = io_monotonic_ns() + timeout_ms * 1000000;
    notify_send("STOPPING=1");
    (void)pthread_mutex_lock(&d->config_lock);
    d->stopping = true;
    (void)pthread_mutex_unlock(&d->config_lock);
    daemon_take_reloads(d, true);
    replay_drain(d->replay);
    if (d->loops != NULL)
        loops_stop(d->loops, timeout_ms);
    for (int i = 0; i < d->listen_count; i++)
        (void)close(d->listeners[i].fd);
    if (d->has_control)
        (void)unlink(d->start_config->server.control_socket);
    uint64_t now = io_monotonic_ns(), left_ms = until > now ? (until - now) / 1000000 : 0;
    /* Slow clients may have used the time up: an insert under way still gets its moment. */
    left_ms = left_ms > FLUSH_STOP_MS_MIN ? left_ms : FLUSH_STOP_MS_MIN;
    replay_stop(d->replay);
    if (d->flush != NULL && flush_stop(d->flush, left_ms) != 0) {
        /* A sender hangs in ClickHouse. Everything that it uses must stay; the process ends. */
        log_warn("daemon.stopped", "an insert did not end within server.shutdown_timeout; it is "
                                   "repeated at the next start");
        (void)fflush(NULL);
        _exit(d->failed ? DAEMON_FAILED : DAEMON_OK);
    }
    if (d->query != NULL)
        query_runner_stop(d->query);
    stream_stop(d->stream); /* it reads what discovery has */
    if (d->discovery != NULL)
        discovery_stop(d->discovery);
    if (d->dedupe != NULL)
        dedupe_stop(d->dedupe);
    if (d->commit != NULL)
        commit_stop(d->commit);
    control_stop(d->control);
    auth_keys_stop(d->api.keys);
    seeds_free(d->seeds);
    if (d->loops != NULL)
        loops_free(d->loops);
    stream_free(d->stream);
    query_runner_free(d->query);
    auth_keys_free(d->api.keys);
    limits_free(d->api.limits);
    dedupe_free(d->dedupe);
    control_free(d->control);
    if (d->wal != NULL)
        wal_close(d->wal);
    if (d->store != NULL)
        store_close(d->store);
    if (d->engine != NULL)
        engine_child_stop(d->engine);
    ch_target_unref(d->target);
    http_tls_material_unref(d->tls);
}

static int prepare_signals(struct daemon *d, struct err *e)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    /* Before any thread starts: all of them inherit the mask. */
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    d->poison_fd = eventfd(0, EFD_CLOEXEC);
    if (d->signal_fd < 0 || d->poison_fd < 0)
        return err_set_errno(e, -errno, "preparing signals");
    return 0;
}

int daemon_run(const struct config_options *options, const struct config *config)
{
    static struct daemon d;
    struct err e = {0};
    d.options = options;
    d.config = config;
    d.start_config = config_ref(config);
    (void)pthread_mutex_init(&d.config_lock, NULL);
    log_configure(config->log_level, config->log_format);
    if (queue_init(&d.reloads, SIZE_MAX) != 0 || queue_init(&d.seeds_back, SIZE_MAX) != 0) {
        log_error("daemon.failed", "cannot make a queue: %s", strerror(errno));
        return DAEMON_FAILED;
    }
    int rc = prepare_signals(&d, &e);
    if (rc == 0)
        rc = daemon_start(&d, &e);
    if (rc == 0) {
        log_info("daemon.ready", "version=%s data_dir=%s log_id=%s", BUILD_VERSION,
                 config->data_dir, d.log_id);
        notify_send("READY=1");
        run(&d);
    } else {
        log_error("daemon.failed", "%s", e.text);
        d.failed = true;
    }
    pthread_t watcher;
    if (pthread_create(&watcher, NULL, second_signal_main, &d) == 0)
        (void)pthread_detach(watcher);
    stop(&d);
    log_info("daemon.stopped", "%s", d.failed ? "after a failure" : "clean");
    return d.failed ? DAEMON_FAILED : DAEMON_OK;
}
