/* SPDX-License-Identifier: Apache-2.0 */
/* The log thread over a real log in a temporary folder. */
#include "base/buf.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "cluster/commit.h"
#include "io/clock.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/wal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define SEGMENT (256 * 1024)

static _Atomic int syncs, fail_sync_after = -1;
static _Atomic bool poisoned;
static struct io faulty;

static int counting_fdatasync(void *ctx, int fd)
{
    atomic_fetch_add(&syncs, 1);
    int left = atomic_load(&fail_sync_after);
    if (left == 0)
        return -EIO;
    if (left > 0)
        atomic_fetch_sub(&fail_sync_after, 1);
    return io_posix()->fdatasync(ctx, fd);
}

static void on_poison(void *ctx, const struct err *e)
{
    (void)ctx;
    (void)e;
    atomic_store(&poisoned, true);
}

struct fixture {
    char *path;
    struct wal *w;
    struct commit_log *c;
    struct queue done;
};

static bool fixture_open(struct fixture *f, uint64_t bytes_max)
{
    struct err e = {0};
    struct wal_recovery found;
    struct wal_options options = {.path = f->path,
                                  .segment_size_bytes = SEGMENT,
                                  .group_bytes_max = 1 << 20,
                                  .bytes_max = bytes_max,
                                  .free_bytes_min = 0};
    if (!ok(wal_open(&f->w, &faulty, &options, &found, &e) == 0, "log opened %s", e.text))
        return false;
    struct commit_options co = {.queue_cap = 1000,
                                .term = found.last_term + 1,
                                .group_bytes_max = 1 << 20,
                                .room_ahead_bytes = SEGMENT / 2,
                                .room_reserve_bytes = SEGMENT / 16};
    return ok(queue_init(&f->done, SIZE_MAX) == 0, "queue") &&
           ok(commit_start(&f->c, f->w, &co, on_poison, NULL, &e) == 0, "log thread started %s",
              e.text);
}

static void fixture_close(struct fixture *f)
{
    commit_stop(f->c);
    wal_close(f->w);
    queue_fini(&f->done);
}

/* Wait for one proposal; NULL after ten seconds. */
static struct proposal *wait_done(struct fixture *f)
{
    for (;;) {
        struct queue_link *link = queue_pop(&f->done);
        if (link != NULL)
            return QUEUE_ITEM(link, struct proposal, link);
        if (!queue_sleep(&f->done))
            continue;
        struct pollfd p = {.fd = queue_fd(&f->done), .events = POLLIN};
        if (poll(&p, 1, 10000) != 1)
            return NULL;
        queue_wake_ack(&f->done);
    }
}

static void push(struct fixture *f, struct proposal *p, char *data, size_t n)
{
    p->part_count = 1;
    p->done = &f->done;
    p->parts[0] = (struct iovec){data, n};
    while (commit_propose(f->c, p) != 0)
        ;
}

static void propose(struct fixture *f, struct proposal *p, uint8_t type, char *data, size_t n)
{
    *p = (struct proposal){.type = type};
    push(f, p, data, n);
}

static void propose_after(struct fixture *f, struct proposal *p, const struct proposal *after,
                          char *data, size_t n)
{
    *p = (struct proposal){.type = WAL_EVENTS, .after = after};
    push(f, p, data, n);
}

#define MANY 500

static void test_group_commit(void)
{
    struct fixture f = {.path = tmpdir_make()};
    static struct proposal p[MANY];
    static char data[100] = "payload";
    if (!fixture_open(&f, UINT64_MAX))
        return;
    int before = atomic_load(&syncs);
    for (int i = 0; i < MANY; i++)
        propose(&f, &p[i], WAL_CONTROL, data, sizeof(data));
    bool all = true, ordered = true;
    uint64_t last = 0;
    for (int i = 0; i < MANY; i++) {
        struct proposal *d = wait_done(&f);
        all = all && d == &p[i] && d->result == 0;
        ordered = ordered && d != NULL && d->index == (last == 0 ? d->index : last + 1);
        last = d != NULL ? d->index : 0;
    }
    ok(all, "every proposal comes back committed, in order");
    ok(ordered, "indexes have no gap");
    ok(atomic_load(&syncs) - before < MANY, "%d entries took %d syncs", MANY,
       atomic_load(&syncs) - before);
    is_u64(wal_commit_index(f.w), last, "the commit mark is the last entry");
    fixture_close(&f);

    ok(fixture_open(&f, UINT64_MAX), "opened again");
    is_u64(commit_term(f.c), 2, "each start is a new term");
    is_u64(wal_commit_index(f.w), last + 1, "what was durable is committed with the new no-op");
    fixture_close(&f);
    tmpdir_remove(f.path);
}

static void test_budget(void)
{
    struct fixture f = {.path = tmpdir_make()};
    static struct proposal p;
    static char data[60000];
    if (!fixture_open(&f, 3 * SEGMENT))
        return;
    int accepted = 0;
    bool refused = false;
    for (int i = 0; i < 100 && !refused; i++) {
        propose(&f, &p, WAL_EVENTS, data, sizeof(data));
        struct proposal *d = wait_done(&f);
        refused = d != NULL && d->result == WH_EAGAIN;
        accepted += d != NULL && d->result == 0;
    }
    ok(refused && accepted > 0, "events are refused at the budget, after %d", accepted);
    const char *cause = "";
    for (int i = 0; i < 5000 && commit_accepting(f.c, &cause); i++)
        (void)usleep(1000);
    ok(strstr(cause, "wal.max_bytes") != NULL, "and the cause is told");
    propose(&f, &p, WAL_FLUSH_DONE, data, 100);
    struct proposal *d = wait_done(&f);
    ok(d != NULL && d->result == 0, "the flusher's entries still fit");
    uint64_t kept = wal_commit_index(f.w);
    int holder = commit_hold(f.c, 1);
    ok(holder >= 0, "somebody else still reads the log");
    commit_set_trim(f.c, kept, UINT64_C(3600) * 1000000000);
    bool again = false;
    for (int i = 0; i < 25 && !again; i++) { /* five rounds of housekeeping */
        propose(&f, &p, WAL_EVENTS, data, sizeof(data));
        d = wait_done(&f);
        again = d != NULL && d->result == 0;
        (void)usleep(50000);
    }
    struct wal_stats stats;
    wal_stats_get(f.w, &stats);
    ok(!again && stats.first_index == 1, "and nothing is deleted that a holder has not read");
    commit_hold_move(f.c, holder, kept);
    for (int i = 0; i < 200 && !again; i++) {
        propose(&f, &p, WAL_EVENTS, data, sizeof(data));
        d = wait_done(&f);
        again = d != NULL && d->result == 0;
        if (!again)
            (void)usleep(50000);
    }
    ok(again, "once segments are flushed they make room, even inside the retention time");
    fixture_close(&f);
    tmpdir_remove(f.path);
}

/* A request in several entries, whose second finds no room: the third, for which there is some,
 * must not be stored without it (http-api §7.7). */
static void test_after(void)
{
    struct fixture f = {.path = tmpdir_make()};
    static struct proposal first, large, small, next, other;
    static char data[60000];
    if (!fixture_open(&f, 3 * SEGMENT))
        return;
    const char *cause;
    do {
        propose(&f, &first, WAL_EVENTS, data, sizeof(data));
    } while (wait_done(&f) == &first && first.result == 0);
    for (int i = 0; i < 5000 && commit_accepting(f.c, &cause); i++)
        (void)usleep(1000);
    propose(&f, &first, WAL_EVENTS, data, 100);
    propose_after(&f, &large, &first, data, sizeof(data));
    propose_after(&f, &small, &large, data, 100);
    propose_after(&f, &next, &small, data, 100);
    propose(&f, &other, WAL_EVENTS, data, 100);
    int back = 0;
    while (back < 5 && wait_done(&f) != NULL)
        back++;
    is_u64((uint64_t)back, 5, "all come back");
    ok(first.result == 0, "a small entry fits");
    ok(large.result == WH_EAGAIN, "a large one does not");
    ok(small.result == WH_EAGAIN && next.result == WH_EAGAIN,
       "what comes after it is refused, too");
    ok(other.result == 0, "another request's entry of the same length is not");
    fixture_close(&f);
    tmpdir_remove(f.path);
}

/* An entry that leaves no reserve in any segment is refused, and at once: others wait behind it. */
static void test_too_large(void)
{
    struct fixture f = {.path = tmpdir_make()};
    struct proposal p;
    static char data[SEGMENT - SEGMENT / 16];
    if (!fixture_open(&f, 0))
        return;
    uint64_t begin = io_monotonic_ns();
    propose(&f, &p, WAL_EVENTS, data, sizeof(data));
    struct proposal *back = wait_done(&f);
    ok(back == &p && back->result == WH_ELIMIT, "larger than a segment can hold");
    ok(io_monotonic_ns() - begin < 2000000000u, "without waiting for room");
    propose(&f, &p, WAL_EVENTS, data, 1000);
    back = wait_done(&f);
    ok(back == &p && back->result == 0, "the log goes on");
    fixture_close(&f);
    tmpdir_remove(f.path);
}

static void test_poison(void)
{
    struct fixture f = {.path = tmpdir_make()};
    static struct proposal p[3];
    static char data[10];
    if (!fixture_open(&f, UINT64_MAX))
        return;
    propose(&f, &p[0], WAL_CONTROL, data, sizeof(data));
    struct proposal *d = wait_done(&f);
    ok(d != NULL && d->result == 0, "before the fault");
    atomic_store(&fail_sync_after, 0);
    propose(&f, &p[1], WAL_CONTROL, data, sizeof(data));
    d = wait_done(&f);
    ok(d != NULL && d->result == WH_EPOISON, "a failed fdatasync is not acknowledged");
    for (int i = 0; i < 5000 && !atomic_load(&poisoned); i++)
        (void)usleep(1000);
    ok(atomic_load(&poisoned), "the daemon is told");
    atomic_store(&fail_sync_after, -1);
    propose(&f, &p[2], WAL_CONTROL, data, sizeof(data));
    d = wait_done(&f);
    ok(d != NULL && d->result == WH_EPOISON, "and nothing is acknowledged after it, though syncs "
                                             "would succeed again");
    fixture_close(&f);
    tmpdir_remove(f.path);
}

static void test_subscribers(void)
{
    struct fixture f = {.path = tmpdir_make()};
    int taken = 0;
    if (!fixture_open(&f, UINT64_MAX))
        return;
    while (taken < 100 && commit_subscribe(f.c, &f.done) == 0)
        taken++;
    is_u64((uint64_t)taken, 8, "eight consumers are woken, a ninth is refused");
    fixture_close(&f);
    tmpdir_remove(f.path);
}

/* Instants and entry times grow, whatever the clock says. */
static void test_order(void)
{
    struct fixture f = {.path = tmpdir_make()};
    uint64_t far = io_realtime_ns() + UINT64_C(3600000000000); /* a clock that was set back */
    uint64_t times[3] = {0}, first = 0;
    for (int life = 0; life < 2 && fixture_open(&f, GIB); life++) {
        struct proposal p[3];
        uint64_t last = commit_order_lock(f.c);
        if (life == 0) {
            commit_order_take(f.c, far);
            last = far;
        }
        commit_order_unlock(f.c);
        ok(last >= far, "what was taken is the base of what follows%s",
           life == 0 ? "" : ", after a start too");
        for (int i = 0; i < 3; i++) {
            char byte = 'x';
            p[i] = (struct proposal){.type = i == 1 ? WAL_DEAD_LETTER : WAL_CONTROL,
                                     .done = &f.done,
                                     .parts = {{&byte, 1}},
                                     .part_count = 1};
            must(commit_propose(f.c, &p[i]) == 0 && wait_done(&f) == &p[i] && p[i].result == 0);
        }
        struct wal_cursor *c;
        struct wal_view v;
        struct err e;
        must(wal_cursor_open(&c, f.w, p[0].index, &e) == 0);
        for (int i = 0; i < 3; i++) {
            must(wal_cursor_next(c, &v, &e) == 0);
            times[i] = v.time_ns;
        }
        wal_cursor_close(c);
        ok(times[0] >= far && times[0] > first && times[1] >= times[0],
           "entries are not older than an instant taken before them");
        ok(times[2] >= times[1] + 10000, "letters of one entry have instants of their own");
        first = times[2];
        fixture_close(&f);
    }
    tmpdir_remove(f.path);
}

int main(void)
{
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    faulty = *io_posix();
    faulty.fdatasync = counting_fdatasync;
    test_group_commit();
    test_budget();
    test_after();
    test_too_large();
    test_poison();
    test_subscribers();
    test_order();
    return tap_done();
}
