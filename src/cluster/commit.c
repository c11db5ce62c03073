/* SPDX-License-Identifier: Apache-2.0 */
/* The happy path of one group:
 *
 *   pop proposals until the queue is empty or the group is large → wal_append each → wal_sync (the
 *   next group piles up meanwhile) → wal_commit → hand each proposal back → wake the consumers.
 *
 * Failure paths: no room in the log answers that proposal WH_EAGAIN and goes on, since the
 * flusher's small entries may still fit (events leave room_reserve_bytes to them: without their
 * "done" entries no segment could ever be deleted). Proposals that come after it are refused with
 * it. A failed write or sync answers the group and everything after it WH_EPOISON, and the daemon
 * exits: what the disk holds is only known after a restart. */
#include "cluster/commit.h"
#include "cluster/pause.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "base/thread.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define COMMIT_MAGIC        0x434d4954u
#define SUBSCRIBERS_MAX     8
#define GROUP_ENTRIES_MAX   8192
#define HOUSEKEEPING_MS     200 /* how soon a used-up spare segment is replaced, at rest */
#define HOUSEKEEPING_BAD_MS 1000
#define TRIM_EVERY_MS       1000
#define REUSE_GRACE_MS      10000 /* what may be deleted waits so long to be used again instead */
#define ROOM_WAIT_NS        (UINT64_C(5) * 1000000000)
#define ROOM_POLL_MS        1
/* The letters of one dead letter entry get the instants from its time on: room for more than fit.
 */
#define DEAD_LETTER_SPAN_NS 65536
#define IDLE_SYNC_MS        1000 /* quiet for this long: the log gets a sync mark */

struct commit_log {
    uint32_t magic;
    struct wal *w;
    struct commit_options options;
    void (*on_poison)(void *ctx, const struct err *e);
    void *on_poison_ctx;
    pthread_t log_thread, housekeeping_thread;
    struct queue proposals;
    _Atomic(struct queue *) subscribers[SUBSCRIBERS_MAX];
    _Atomic int subscriber_count;
    uint64_t next_index; /* log thread */
    uint64_t time_ns;    /* of the last entry; log thread */
    pthread_mutex_t order_lock;
    _Atomic uint64_t order_ns; /* highest instant taken; written under order_lock */
    struct queue_link *group[GROUP_ENTRIES_MAX];
    bool group_has_short, group_has_long; /* events; log thread */
    struct commit_pause pause;
    _Atomic uint64_t answering;  /* odd while the log thread touches others' queues */
    bool poisoned;               /* log thread */
    _Atomic bool stopping;       /* written by commit_stop */
    _Atomic int room_cause;      /* 0, WH_EFULL budget, -ENOSPC …; housekeeping thread */
    _Atomic uint64_t trim_index; /* written by the flusher */
    _Atomic uint64_t holders[COMMIT_HOLDERS_MAX]; /* each written by its holder */
    _Atomic int holder_count;
    _Atomic uint64_t retain_ns;     /* written by the flusher */
    struct queue housekeeping_wake; /* no items: only its eventfd */
    struct metric *sync_seconds, *group_entries, *group_bytes, *no_room, *segments, *bytes, *queued;
};

/* Between these two the log thread may hold a pointer to somebody's queue; see commit_quiesce. */
static void answering_begin(struct commit_log *c)
{
    atomic_fetch_add(&c->answering, 1);
}

static void answering_end(struct commit_log *c)
{
    atomic_fetch_add(&c->answering, 1);
}

/* Between answering_begin and answering_end. */
static void answer(struct proposal *p, int result)
{
    p->result = result;
    if (p->done != NULL)
        queue_push(p->done, &p->link);
    else if (p->on_done != NULL)
        p->on_done(p);
}

void commit_quiesce(struct commit_log *c)
{
    uint64_t seen = atomic_load(&c->answering);
    while (seen % 2 == 1 && atomic_load(&c->answering) == seen)
        (void)poll(NULL, 0, 1);
}

static size_t payload_bytes(const struct proposal *p)
{
    size_t n = 0;
    for (int i = 0; i < p->part_count; i++)
        n += p->parts[i].iov_len;
    return n;
}

/* Free bytes that an event entry needs to see: it leaves some to the flusher's entries. */
static uint64_t event_room(const struct commit_log *c, size_t bytes)
{
    return bytes + c->options.room_reserve_bytes;
}

/* The time of the next entry. */
static uint64_t entry_time(struct commit_log *c)
{
    uint64_t now = io_realtime_ns();
    uint64_t order = atomic_load_explicit(&c->order_ns, memory_order_relaxed);
    now = now > order ? now : order;
    return now > c->time_ns ? now : c->time_ns;
}

uint64_t commit_order_lock(struct commit_log *c)
{
    (void)pthread_mutex_lock(&c->order_lock);
    return atomic_load_explicit(&c->order_ns, memory_order_relaxed);
}

void commit_order_take(struct commit_log *c, uint64_t last_ns)
{
    must(last_ns > atomic_load_explicit(&c->order_ns, memory_order_relaxed));
    atomic_store_explicit(&c->order_ns, last_ns, memory_order_relaxed);
}

void commit_order_unlock(struct commit_log *c)
{
    (void)pthread_mutex_unlock(&c->order_lock);
}

/* 0 when the entry is in the open group. */
static int append_one(struct commit_log *c, struct proposal *p, size_t bytes)
{
    /* Waiting for room that cannot come would hold up everybody. */
    if (p->type == WAL_EVENTS && !wal_has_room(c->w, event_room(c, bytes)))
        return wal_can_have_room(c->w, event_room(c, bytes) + KIB) ? WH_EAGAIN : WH_ELIMIT;
    struct wal_entry entry = {
        .type = p->type,
        .flags = p->flags,
        .index = c->next_index,
        .term = c->options.term,
        .time_ns = entry_time(c),
        .parts = p->parts,
        .part_count = p->part_count,
    };
    int rc = wal_append(c->w, &entry);
    if (rc == 0) {
        p->index = c->next_index++;
        c->time_ns = entry.time_ns + (p->type == WAL_DEAD_LETTER ? DEAD_LETTER_SPAN_NS : 0);
    }
    return rc;
}

/* Why there is no need to try: 0, or the answer. */
static int refused_before(const struct commit_log *c, const struct proposal *p)
{
    if (c->poisoned)
        return WH_EPOISON;
    return p->after != NULL ? p->after->result : 0;
}

static void poison(struct commit_log *c, const struct err *e)
{
    if (c->poisoned)
        return;
    c->poisoned = true;
    c->on_poison(c->on_poison_ctx, e);
}

static void wake_subscribers(struct commit_log *c)
{
    int n = atomic_load_explicit(&c->subscriber_count, memory_order_acquire);
    for (int i = 0; i < n; i++) {
        struct queue *q = atomic_load(&c->subscribers[i]);
        if (q != NULL)
            queue_wake_sleeper(q);
    }
}

/* Housekeeping has tried and failed to make room. */
static bool no_room_known(struct commit_log *c)
{
    return atomic_load_explicit(&c->room_cause, memory_order_relaxed) != 0;
}

static void sync_group(struct commit_log *c, uint32_t count, size_t bytes)
{
    struct err e = {0};
    uint64_t start = io_monotonic_ns();
    commit_pause_begin(&c->pause, c->group_has_short, c->group_has_long, start);
    int rc = wal_sync(c->w, &e);
    if (rc == 0) {
        uint64_t now = io_monotonic_ns();
        wal_commit(c->w, c->next_index - 1);
        commit_pause_end(&c->pause, c->group_has_long, start, now);
        metric_observe(c->sync_seconds, now - start);
        metric_observe(c->group_entries, count);
        metric_observe(c->group_bytes, bytes);
    }
    /* One mark for the whole round: answers come by the thousand. */
    answering_begin(c);
    if (rc == 0)
        wake_subscribers(c);
    if (!no_room_known(c) && !wal_has_room(c->w, c->options.room_ahead_bytes))
        queue_wake(&c->housekeeping_wake);
    for (uint32_t i = 0; i < count; i++)
        answer(QUEUE_ITEM(c->group[i], struct proposal, link), rc == 0 ? 0 : WH_EPOISON);
    answering_end(c);
    c->group_has_short = c->group_has_long = false;
    if (rc != 0)
        poison(c, &e);
}

/* The spare segment is being prepared and the open one is full: events come in faster than the disk
 * takes zeros. Waiting is the back-pressure; refusing would be an outage of a fraction of a second.
 */
static bool wait_for_room(struct commit_log *c, uint64_t bytes)
{
    uint64_t until = io_monotonic_ns() + ROOM_WAIT_NS;
    bool room;
    wal_set_hurry(c->w, true);
    queue_wake(&c->housekeeping_wake);
    while (!(room = wal_has_room(c->w, bytes)) && !no_room_known(c) && !atomic_load(&c->stopping) &&
           io_monotonic_ns() < until)
        (void)poll(NULL, 0, ROOM_POLL_MS);
    wal_set_hurry(c->w, false);
    return room;
}

/* Short: only events that stand for themselves. The flusher's entries wait without harm, and the
 * last part of a long request is as late as its first. Long: only what may be kept back itself;
 * others would keep the gate closed without ever waiting there. */
static void note_length(struct commit_log *c, const struct proposal *p, size_t bytes)
{
    c->group_has_long |= p->gated && bytes > PAUSE_LONG_BYTES;
    c->group_has_short |= p->type == WAL_EVENTS && bytes <= PAUSE_SHORT_BYTES && p->after == NULL;
}

/* Take what waits into one group and commit it; false when nothing waited. */
static bool run_group(struct commit_log *c)
{
    uint32_t count = 0;
    size_t bytes = 0;
    bool any = false;
    struct queue_link *link;
    while (count < GROUP_ENTRIES_MAX && bytes < c->options.group_bytes_max &&
           (link = queue_pop(&c->proposals)) != NULL) {
        any = true;
        struct proposal *p = QUEUE_ITEM(link, struct proposal, link);
        size_t n = payload_bytes(p);
        int rc = refused_before(c, p);
        bool tried = rc == 0;
        if (tried)
            rc = append_one(c, p, n);
        if (rc == WH_EAGAIN && tried && !no_room_known(c)) {
            if (count > 0)
                sync_group(c, count, bytes); /* do not let them wait for the disk's zeros too */
            count = 0;
            bytes = 0;
            rc = c->poisoned                                ? WH_EPOISON
                 : wait_for_room(c, event_room(c, n) + KIB) ? append_one(c, p, n)
                                                            : WH_EAGAIN;
        }
        if (rc != 0) {
            if (rc == WH_EAGAIN) {
                metric_add(c->no_room, 1);
            } else if (rc != WH_ELIMIT && !c->poisoned) {
                struct err e;
                (void)err_set_errno(&e, rc, "appending to the log");
                poison(c, &e);
            }
            answering_begin(c);
            answer(p, rc == WH_EAGAIN || rc == WH_ELIMIT ? rc : WH_EPOISON);
            answering_end(c);
            continue;
        }
        c->group[count++] = link;
        bytes += n;
        note_length(c, p, n);
    }
    if (count > 0)
        sync_group(c, count, bytes);
    return any;
}

/* Nothing for a while: record that the last group is durable, so that later damage to it is known
 * from a torn tail (doc/wal-format.md). */
static void mark_idle(struct commit_log *c)
{
    struct err e = {0};
    if (!c->poisoned && wal_sync(c->w, &e) != 0)
        poison(c, &e);
}

static void *log_main(void *arg)
{
    struct commit_log *c = arg;
    (void)pthread_setname_np(pthread_self(), "wh-log");
    thread_short_slices();
    bool marked = false;
    for (;;) {
        if (run_group(c)) {
            marked = false;
            continue;
        }
        if (atomic_load(&c->stopping))
            break;
        if (!queue_sleep(&c->proposals))
            continue;
        struct pollfd pfd = {.fd = queue_fd(&c->proposals), .events = POLLIN};
        if (poll(&pfd, 1, marked ? -1 : IDLE_SYNC_MS) == 0) {
            mark_idle(c);
            marked = true;
        }
        queue_wake_ack(&c->proposals);
    }
    return NULL;
}

typedef int (*trim_fn)(struct wal *w, uint64_t index, uint64_t before_ns, uint64_t *deleted,
                       struct err *e);

/* The lowest index that somebody still has to read. */
static uint64_t trim_bound(struct commit_log *c)
{
    uint64_t bound = atomic_load(&c->trim_index);
    int n = atomic_load(&c->holder_count);
    for (int i = 0; i < n; i++) {
        uint64_t index = atomic_load(&c->holders[i]);
        bound = index < bound ? index : bound;
    }
    return bound;
}

/* Returns how many segments left the log. */
static uint64_t trim(struct commit_log *c, trim_fn fn, uint64_t keep_ns)
{
    struct err e = {0};
    uint64_t deleted = 0, now = io_realtime_ns();
    int rc = fn(c->w, trim_bound(c), now > keep_ns ? now - keep_ns : 0, &deleted, &e);
    if (rc != 0)
        log_warn("wal.trim_failed", "%s; the next attempt is in a second", e.text);
    else if (deleted > 0)
        log_debug("wal.trimmed", "segments=%" PRIu64, deleted);
    return rc == 0 ? deleted : 0;
}

/* Make the spare segment, where possible from the file of one that may go. When there is no room,
 * give up flushed segments before their time, oldest first, and no more than it takes. */
static int prepare(struct commit_log *c, struct err *e)
{
    (void)trim(c, wal_trim_for_reuse, atomic_load(&c->retain_ns));
    int rc = wal_prepare(c->w, e);
    while ((rc == WH_EFULL || rc == -ENOSPC) && trim(c, wal_trim_for_reuse, 0) > 0)
        rc = wal_prepare(c->w, e);
    return rc;
}

static void report_room(struct commit_log *c, int rc, const struct err *e)
{
    int before = atomic_exchange(&c->room_cause, rc);
    if ((before != 0) == (rc != 0))
        return;
    if (rc == 0)
        log_info("wal.room", "the log can grow again");
    else
        log_warn(rc == WH_EFULL ? "wal.budget" : "wal.disk_full",
                 "%s; new events are answered 503 once the open segment is full, flushing goes on, "
                 "and this heals by itself when room returns",
                 e->text);
}

static void *housekeeping_main(void *arg)
{
    struct commit_log *c = arg;
    (void)pthread_setname_np(pthread_self(), "wh-housekeep");
    uint64_t trimmed_ns = 0;
    while (!atomic_load(&c->stopping)) {
        struct err e = {0};
        int rc = prepare(c, &e);
        report_room(c, rc, &e);
        uint64_t now = io_monotonic_ns();
        bool more = false;
        if (rc == 0 && !wal_next_ready(c->w)) {
            more = true; /* used up already */
        } else if (now - trimmed_ns > TRIM_EVERY_MS * UINT64_C(1000000)) {
            /* It may take long: the next segment first, then more of it. */
            more = trim(c, wal_trim,
                        atomic_load(&c->retain_ns) + REUSE_GRACE_MS * UINT64_C(1000000)) > 0;
            trimmed_ns = more ? trimmed_ns : now;
            struct wal_stats s;
            wal_stats_get(c->w, &s);
            metric_set(c->segments, (int64_t)s.segments);
            metric_set(c->bytes, (int64_t)s.bytes);
            metric_set(c->queued, (int64_t)queue_count(&c->proposals));
        }
        struct pollfd pfd = {.fd = queue_fd(&c->housekeeping_wake), .events = POLLIN};
        (void)poll(&pfd, 1, more ? 0 : rc == 0 ? HOUSEKEEPING_MS : HOUSEKEEPING_BAD_MS);
        queue_wake_ack(&c->housekeeping_wake);
    }
    return NULL;
}

/* The first entry of the term: after it everything below is committed (Raft §5.4.2; with one voter
 * durable is committed). */
static int commit_noop(struct commit_log *c, struct err *e)
{
    struct wal_entry entry = {.type = WAL_NOOP,
                              .index = c->next_index,
                              .term = c->options.term,
                              .time_ns = entry_time(c)};
    int rc = wal_append(c->w, &entry);
    if (rc == WH_EAGAIN) {
        rc = prepare(c, e);
        if (rc == 0)
            rc = wal_append(c->w, &entry);
        else {
            /* Full disk at start: serve what there is; the no-op waits with everyone else. */
            report_room(c, rc, e);
            wal_commit(c->w, c->next_index - 1);
            return 0;
        }
    }
    if (rc != 0)
        return err_set_errno(e, rc, "appending the first entry of term %" PRIu64, c->options.term);
    c->next_index++;
    c->time_ns = entry.time_ns;
    rc = wal_sync(c->w, e);
    if (rc == 0)
        wal_commit(c->w, c->next_index - 1);
    return rc;
}

static void metrics_make(struct commit_log *c)
{
    c->sync_seconds = metric_new(METRIC_SECONDS, "wavehouse_wal_fdatasync_seconds",
                                 "Write and fdatasync of one group.", NULL);
    c->group_entries = metric_new(METRIC_SIZES, "wavehouse_wal_group_entries",
                                  "Entries made durable by one fdatasync.", NULL);
    c->group_bytes = metric_new(METRIC_SIZES, "wavehouse_wal_group_bytes",
                                "Payload bytes made durable by one fdatasync.", NULL);
    c->no_room = metric_new(METRIC_COUNTER, "wavehouse_wal_no_room_total",
                            "Entries refused because the log could not grow.", NULL);
    c->segments = metric_new(METRIC_GAUGE, "wavehouse_wal_segments", "Segments on disk.", NULL);
    c->bytes = metric_new(METRIC_GAUGE, "wavehouse_wal_bytes", "Bytes of all segments.", NULL);
    c->queued = metric_new(METRIC_GAUGE, "wavehouse_wal_queue_entries",
                           "Entries waiting for the log thread.", NULL);
}

int commit_start(struct commit_log **out, struct wal *w, const struct commit_options *options,
                 void (*on_poison)(void *ctx, const struct err *e), void *ctx, struct err *e)
{
    struct commit_log *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set_errno(e, -ENOMEM, "starting the log thread");
    c->magic = COMMIT_MAGIC;
    c->w = w;
    c->options = *options;
    c->on_poison = on_poison;
    c->on_poison_ctx = ctx;
    struct wal_stats stats;
    wal_stats_get(w, &stats);
    (void)pthread_mutex_init(&c->order_lock, NULL);
    c->time_ns = wal_time_max(w) + DEAD_LETTER_SPAN_NS;
    atomic_store(&c->order_ns, c->time_ns);
    c->next_index = stats.last_index + 1;
    metrics_make(c);
    int rc = queue_init(&c->proposals, options->queue_cap);
    if (rc != 0)
        goto fail_queue;
    rc = queue_init(&c->housekeeping_wake, 1);
    if (rc != 0)
        goto fail_wake;
    rc = commit_noop(c, e);
    if (rc != 0)
        goto fail_noop;
    rc = -pthread_create(&c->log_thread, NULL, log_main, c);
    if (rc != 0)
        goto fail_noop;
    rc = -pthread_create(&c->housekeeping_thread, NULL, housekeeping_main, c);
    if (rc != 0) {
        atomic_store(&c->stopping, true);
        queue_wake(&c->proposals);
        (void)pthread_join(c->log_thread, NULL);
        goto fail_noop;
    }
    *out = c;
    return 0;
fail_noop:
    queue_fini(&c->housekeeping_wake);
fail_wake:
    queue_fini(&c->proposals);
fail_queue:
    free(c);
    if (e->code == 0)
        (void)err_set_errno(e, rc, "starting the log thread");
    return rc;
}

void commit_stop(struct commit_log *c)
{
    CHECK_MAGIC(c, COMMIT_MAGIC);
    atomic_store(&c->stopping, true);
    queue_wake(&c->proposals);
    queue_wake(&c->housekeeping_wake);
    (void)pthread_join(c->log_thread, NULL);
    wal_set_hurry(c->w, true);
    (void)pthread_join(c->housekeeping_thread, NULL);
    wal_set_hurry(c->w, false);
    struct queue_link *link;
    while ((link = queue_pop(&c->proposals)) != NULL)
        answer(QUEUE_ITEM(link, struct proposal, link), WH_ESTOPPED);
    queue_fini(&c->proposals);
    queue_fini(&c->housekeeping_wake);
    c->magic = 0;
    free(c);
}

int commit_propose(struct commit_log *c, struct proposal *p)
{
    CHECK_MAGIC(c, COMMIT_MAGIC);
    return queue_try_push(&c->proposals, &p->link);
}

int commit_propose_quiet(struct commit_log *c, struct proposal *p)
{
    CHECK_MAGIC(c, COMMIT_MAGIC);
    return queue_try_push_quiet(&c->proposals, &p->link);
}

void commit_kick(struct commit_log *c)
{
    queue_wake_sleeper(&c->proposals);
}

uint64_t commit_long_wait(const struct commit_log *c, bool *shared)
{
    uint64_t wait_ns;
    *shared = commit_pause_ask(&c->pause, io_monotonic_ns(), &wait_ns);
    return wait_ns;
}

int commit_subscribe(struct commit_log *c, struct queue *wake)
{
    int n = atomic_load(&c->subscriber_count);
    if (n == SUBSCRIBERS_MAX)
        return WH_EFULL;
    atomic_store(&c->subscribers[n], wake);
    atomic_store_explicit(&c->subscriber_count, n + 1, memory_order_release);
    return 0;
}

void commit_unsubscribe(struct commit_log *c, struct queue *wake)
{
    int n = atomic_load(&c->subscriber_count);
    for (int i = 0; i < n; i++)
        if (atomic_load(&c->subscribers[i]) == wake)
            atomic_store(&c->subscribers[i], NULL);
    commit_quiesce(c);
}

void commit_set_trim(struct commit_log *c, uint64_t index, uint64_t retain_ns)
{
    atomic_store(&c->trim_index, index);
    atomic_store(&c->retain_ns, retain_ns);
}

int commit_hold(struct commit_log *c, uint64_t index)
{
    CHECK_MAGIC(c, COMMIT_MAGIC);
    int n = atomic_load(&c->holder_count);
    if (n == COMMIT_HOLDERS_MAX)
        return WH_EFULL;
    atomic_store(&c->holders[n], index);
    atomic_store(&c->holder_count, n + 1);
    return n;
}

void commit_hold_move(struct commit_log *c, int holder, uint64_t index)
{
    must(holder >= 0 && holder < atomic_load(&c->holder_count));
    atomic_store(&c->holders[holder], index);
}

bool commit_accepting(struct commit_log *c, const char **cause)
{
    int rc = atomic_load_explicit(&c->room_cause, memory_order_relaxed);
    if (rc == 0 || wal_has_room(c->w, c->options.room_reserve_bytes + LIMIT_WAL_ENTRY_BYTES))
        return true;
    *cause = rc == WH_EFULL ? "the log has reached its byte budget (wal.max_bytes)"
                            : "no disk space for the log";
    return false;
}

uint64_t commit_term(const struct commit_log *c)
{
    return c->options.term;
}
