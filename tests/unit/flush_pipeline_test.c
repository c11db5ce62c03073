/* SPDX-License-Identifier: Apache-2.0 */
/* The whole flusher over the real log, log thread and store, with a ClickHouse that fails
 * (tests/lib/fakech.h): nothing lost, nothing twice, no token with other rows, through faults and
 * kill -9. */
#include "base/limits.h"
#include "base/magic.h"
#include "flush/flush.h"
#include "io/clock.h"
#include "tests/lib/fakech.h"
#include "tests/lib/tap.h"
#include "tests/lib/testnode.h"
#include "tests/lib/tmpdir.h"
#include "wal/batch.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct fakech *fake;
static struct schema_catalog *catalog;
static _Atomic uint32_t refreshes;

static struct schema_catalog *get_catalog(void *ctx)
{
    (void)ctx;
    return schema_catalog_ref(catalog);
}

static void refresh(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&refreshes, 1);
}

static _Atomic bool no_refresh; /* schema discovery fails */

static uint64_t count_refreshes(void *ctx)
{
    (void)ctx;
    return atomic_load(&no_refresh) ? 0 : atomic_load(&refreshes);
}

static const char *const tables[] = {"alpha", "beta", "gamma", "http", "gone"};

static void make_catalog(void)
{
    struct schema_builder *b = schema_builder_new();
    struct err e = {0};
    struct slice none = {0};
    schema_builder_server(b, SLICE_LIT("26.7.3.1"), SLICE_LIT("UTC"));
    for (int i = 0; i < 5; i++) {
        (void)!schema_builder_table(b, slice_str(tables[i]), SLICE_LIT("MergeTree"), 1000);
        (void)!schema_builder_column(b, SLICE_LIT("id"), SLICE_LIT("UInt32"), none, none);
        (void)!schema_builder_column(b, SLICE_LIT("x"), SLICE_LIT("UInt8"), SLICE_LIT("DEFAULT"),
                                     SLICE_LIT("7"));
        (void)!schema_builder_column(b, SLICE_LIT("y"), SLICE_LIT("String"), none, none);
        if (i == 3)
            (void)!schema_builder_column(b, SLICE_LIT("z"), SLICE_LIT("Dynamic"), none, none);
    }
    catalog = schema_builder_finish(b, &e);
    schema_builder_free(b);
    if (catalog == NULL)
        printf("# %s\n", e.text);
}

/* ---- the process under test ---- */

struct node {
    struct testnode base;
    struct flush *flush;
};

static bool dlq_enabled = true;
static uint64_t retain_ms;

/* The planner asks this when it gives a job for beta: 1: then it is held up, 2: it is. */
static _Atomic int held_up;

static bool dlq_of(void *ctx, struct slice table)
{
    (void)ctx;
    int ask = 1;
    if (slice_eq_str(table, "beta") && atomic_compare_exchange_strong(&held_up, &ask, 2))
        while (atomic_load(&held_up) == 2)
            (void)poll(NULL, 0, 1);
    return dlq_enabled;
}

static struct flush_options flush_options(struct node *n)
{
    return (struct flush_options){.wal = n->base.w,
                                  .commit = n->base.log,
                                  .store = n->base.store,
                                  .clickhouse = n->base.target,
                                  .cluster = "test",
                                  .max_open_conns = 8,
                                  .interval_ms = 20,
                                  .max_rows = 2000,
                                  .max_bytes = 1 * MIB,
                                  .retry_min_ms = 4,
                                  .retry_max_ms = 20,
                                  .retain_ms = retain_ms,
                                  .dlq = dlq_of,
                                  .dlq_max_bytes = 64 * MIB,
                                  .catalog = get_catalog,
                                  .request_refresh = refresh,
                                  .refreshes = count_refreshes};
}

static void start(struct node *n, const char *dir)
{
    struct err e = {0};
    memset(n, 0, sizeof(*n));
    testnode_open(&n->base, dir, 1 * MIB, 512 * MIB, 128 * MIB);
    struct flush_options fo = flush_options(n);
    testnode_must(flush_start(&n->flush, &fo, &e), &e);
}

static int stop(struct node *n)
{
    int rc = flush_stop(n->flush, 5000);
    if (rc != 0)
        return rc;
    testnode_close(&n->base);
    return 0;
}

static uint32_t fat_bytes; /* of a text in each record; 0: as its id says */

/* ---- watches: who waits for an entry is told the truth about each of its rows ---- */

enum {
    TOLD_STORED = 1,
    TOLD_DEAD = 2
};
struct waiter {
    struct flush_watch watch; /* first */
    uint32_t first, count;    /* ids */
    bool committed;
};

static void told(struct waiter *w)
{
    struct slice at = buf_slice(&w->watch.dead);
    struct flush_watch_dead dead;
    if (w->watch.end == FLUSH_WATCH_FLUSHED) {
        memset(fake->told + w->first, TOLD_STORED, w->count);
        while (flush_watch_next_dead(&at, &dead))
            fake->told[w->first + dead.ordinal] =
                dead.code != 0 && dead.text.len > 0 && dead.ordinal < w->count ? TOLD_DEAD : 99;
    }
    buf_fini(&w->watch.dead);
    free(w);
}

static uint32_t waiting; /* watches out */

/* What has come back; all: wait for the rest. */
static void watches_take(struct queue *back, bool all)
{
    struct queue_link *link;
    do {
        while ((link = queue_pop(back)) != NULL) {
            told(QUEUE_ITEM(QUEUE_ITEM(link, struct flush_watch, link), struct waiter, watch));
            waiting--;
        }
        if (all && waiting > 0 && queue_sleep(back)) {
            struct pollfd fd = {.fd = queue_fd(back), .events = POLLIN};
            (void)poll(&fd, 1, -1);
            queue_wake_ack(back);
        }
    } while (all && waiting > 0);
}

/* Posts from now on are watched, through this queue; NULL: no more. */
static struct queue *watch_back;

static struct waiter *watch(struct node *n, uint32_t first, uint32_t count)
{
    if (watch_back == NULL)
        return NULL;
    struct waiter *w = calloc(1, sizeof(*w));
    if (w == NULL)
        abort();
    buf_init(&w->watch.dead, SIZE_MAX);
    w->watch.done = watch_back;
    w->first = first;
    w->count = count;
    if (flush_watch_add(flush_watches_of(n->flush), &w->watch, first) != 0)
        abort();
    waiting++;
    return w;
}

/* No row of which a watch spoke is anything else than it said; returns how many it spoke of. */
static uint32_t check_told(void)
{
    uint32_t n = 0, wrong = 0;
    for (uint32_t id = 1; id < atomic_load(&fake->next_id); id++) {
        n += fake->told[id] != 0;
        wrong += fake->told[id] == TOLD_STORED && fake->stored[id] != 1;
        wrong += fake->told[id] == TOLD_DEAD && (fake->letters[id] != 1 || fake->stored[id] != 0);
        wrong += fake->told[id] > TOLD_DEAD;
    }
    is_u64(wrong, 0, "what watches said is true");
    return n;
}

/* One batch of `count` records for a table, committed; its ids are marked when acknowledged. */
static void post(struct node *n, const char *table, uint32_t count, struct queue *done)
{
    struct wal_batch_builder b;
    struct proposal p = {.type = WAL_EVENTS, .part_count = 3, .done = done};
    wal_batch_init(&b);
    uint32_t first = atomic_fetch_add(&fake->next_id, count);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = b.text.len;
        uint32_t id = first + i;
        buf_printf(&b.text, "{\"id\":%u", id);
        if (fat_bytes > 0)
            buf_printf(&b.text, ",\"y\":\"%0*u\"", (int)fat_bytes, id);
        else if (id % 50 == 0 || id % 50 == 1)
            buf_printf(&b.text, ",\"x\":1");
        if (fat_bytes == 0 && id % 50 == 1)
            buf_printf(&b.text, ",\"y\":\"text\"");
        buf_put_str(&b.text, "}");
        if (wal_batch_add(&b, id, at) != 0)
            abort();
    }
    if (first + count >= FAKECH_IDS || wal_batch_finish(&b, slice_str(table), SLICE_LIT("")) != 0)
        abort();
    p.parts[0] = (struct iovec){b.head.ptr, b.head.len};
    p.parts[1] = (struct iovec){b.items.ptr, b.items.len};
    p.parts[2] = (struct iovec){b.text.ptr, b.text.len};
    struct waiter *w = watch(n, first, count);
    if (commit_propose(n->base.log, &p) == 0) {
        while (queue_pop(done) == NULL)
            if (queue_sleep(done)) {
                struct pollfd fd = {.fd = queue_fd(done), .events = POLLIN};
                (void)poll(&fd, 1, -1);
                queue_wake_ack(done);
            }
        for (uint32_t i = 0; i < count && p.result == 0; i++)
            fake->acked[first + i] = 1;
    }
    if (w != NULL && p.result != 0 && flush_watch_cancel(flush_watches_of(n->flush), &w->watch)) {
        waiting--;
        free(w);
    }
    if (watch_back != NULL)
        watches_take(watch_back, false);
    wal_batch_fini(&b);
}

static bool drain(struct node *n, uint64_t timeout_ms)
{
    uint64_t end = io_monotonic_ns() + timeout_ms * 1000000u;
    struct flush_stats s = {0};
    while (io_monotonic_ns() < end) {
        flush_stats_get(n->flush, &s);
        if (s.replayed && s.pending_rows == 0 && s.open_plans == 0 &&
            s.applied_index == wal_commit_index(n->base.w))
            return true;
        (void)poll(NULL, 0, 5);
    }
    printf("# left: rows=%" PRIu64 " plans=%" PRIu64 " applied=%" PRIu64 " commit=%" PRIu64
           " reachable=%d stalled=%d\n",
           s.pending_rows, s.open_plans, s.applied_index, wal_commit_index(n->base.w), s.reachable,
           s.stalled);
    return false;
}

static bool count_letter(void *ctx, const struct store_letter *d)
{
    const char *id = memmem(d->record.ptr, d->record.len, "\"id\":", 5);
    bool *whole = ctx;
    if (id == NULL || d->text.len == 0 || d->code == 0)
        *whole = false;
    else
        fake->letters[strtoul(id + 5, NULL, 10)]++;
    return true;
}

/* Every acknowledged row is stored once or, when bad or of the missing table, a dead letter once.
 */
static void check_rows(struct store *s, const char *what)
{
    struct err e = {0};
    bool whole = true;
    uint32_t lost = 0, twice = 0, wrong = 0, letters = 0, acked = 0;
    memset(fake->letters, 0, sizeof(fake->letters));
    ok(store_letter_list(s, STORE_DEAD, (struct slice){0}, (struct store_letter_id){0},
                         count_letter, &whole, &e) == 0 &&
           whole,
       "%s: dead letters are whole", what);
    for (uint32_t id = 1; id < atomic_load(&fake->next_id); id++) {
        lost += fake->acked[id] && fake->stored[id] + fake->letters[id] == 0;
        twice += fake->stored[id] + fake->letters[id] > 1;
        wrong += fake->stored[id] > 0 && fakech_bad_id(id);
        letters += fake->letters[id];
        acked += fake->acked[id];
    }
    printf("# %s: acked %u, dead letters %u, inserts %u, repeats dropped %u, refused %u\n", what,
           acked, letters, fake->inserts, fake->repeats, fake->refused);
    is_u64(lost, 0, "nothing lost");
    is_u64(twice, 0, "nothing twice");
    is_u64(wrong, 0, "nothing bad stored");
    is_u64(fake->misused, 0, "no token came with other rows");
    is_u64(fake->columns_wrong, 0, "each block has its rows' columns");
    is_u64(fake->disordered, 0, "no INSERT ended before the verdict on the one before");
    ok(acked > 0 && letters > 0, "and there was something to get wrong");
}

static void reset_fake(void)
{
    memset(fake, 0, sizeof(*fake));
    atomic_store(&fake->next_id, 1);
}

/* ---- tests ---- */

static void test_faults(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct queue done;
    reset_fake();
    fake->fate_every = 7;
    fake->busy_every = 11;
    fake->split_rows = 700;
    start(&n, dir);
    if (queue_init(&done, 16) != 0)
        abort();
    for (int i = 0; i < 600; i++)
        post(&n, tables[i % 4], 1 + (uint32_t)i % 90, &done);
    ok(drain(&n, 10000), "flushed");
    atomic_store(&fake->down, true); /* a quiet table among busy ones: its plan has wide gaps */
    for (int i = 0; i < 2000; i++)
        post(&n, tables[i % 400 == 0 ? 2 : 0], 2, &done);
    atomic_store(&fake->down, false);
    ok(drain(&n, 10000), "everything is flushed, with faults in every seventh insert");
    is_u64(stop(&n), 0, "stop");
    start(&n, dir);
    ok(drain(&n, 1000), "after a restart nothing is pending");
    uint32_t inserts = fake->inserts;
    (void)poll(NULL, 0, 50);
    is_u64(fake->inserts, inserts, "and nothing is sent");
    check_rows(n.base.store, "faults");
    (void)stop(&n);
    queue_fini(&done);
    tmpdir_remove(dir);
}

static void test_outage(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct queue done;
    reset_fake();
    atomic_store(&fake->down, true);
    start(&n, dir);
    if (queue_init(&done, 16) != 0)
        abort();
    for (int i = 0; i < 300; i++)
        post(&n, tables[i % 3], 60, &done);
    struct flush_stats s = {.reachable = true};
    for (int i = 0; i < 2000 && (s.reachable || s.pending_rows < 18000); i++) {
        (void)poll(NULL, 0, 5);
        flush_stats_get(n.flush, &s);
    }
    (void)poll(NULL, 0, 60);
    flush_stats_get(n.flush, &s);
    ok(!s.reachable && s.pending_rows == 18000, "ClickHouse is away, the rows wait");
    is_u64(fake->inserts, 0, "no block was built for nothing");
    atomic_store(&fake->down, false);
    ok(drain(&n, 5000), "back: everything arrives");
    flush_stats_get(n.flush, &s);
    ok(s.reachable, "and it is known");
    ok(fake->largest > 700, "what gathered went in large blocks (%u rows)", fake->largest);
    ok(stop(&n) == 0, "stop");
    start(&n, dir);
    check_rows(n.base.store, "outage");
    (void)stop(&n);
    queue_fini(&done);
    tmpdir_remove(dir);
}

static void test_dropped_table(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct queue done;
    reset_fake();
    start(&n, dir);
    if (queue_init(&done, 16) != 0)
        abort();
    post(&n, "gone", 300, &done);
    post(&n, "unheard_of", 20, &done);
    post(&n, "alpha", 20, &done);
    ok(drain(&n, 5000), "a dropped table does not hold anything up for ever");
    is_u64(stop(&n), 0, "stop");
    start(&n, dir);
    check_rows(n.base.store, "dropped table");
    uint32_t letters = 0;
    for (uint32_t id = 1; id < 341; id++)
        letters += fake->letters[id];
    ok(letters >= 320, "its rows are dead letters");
    ok(atomic_load(&refreshes) >= 4, "and the schema was asked for first");
    (void)stop(&n);
    queue_fini(&done);
    tmpdir_remove(dir);
}

/* While the schema cannot be read again, nobody knows whether the table is gone. */
static void test_schema_unknown(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct queue done;
    struct flush_stats s;
    reset_fake();
    atomic_store(&no_refresh, true);
    start(&n, dir);
    if (queue_init(&done, 16) != 0)
        abort();
    uint32_t before = atomic_load(&refreshes);
    post(&n, "gone", 30, &done);
    uint64_t begin = io_monotonic_ns();
    while (atomic_load(&refreshes) < before + 10 && io_monotonic_ns() - begin < 5000000000u)
        (void)poll(NULL, 0, 5);
    flush_stats_get(n.flush, &s);
    is_u64(s.pending_rows, 30, "without discovery rows of an unknown table wait");
    atomic_store(&no_refresh, false);
    ok(drain(&n, 5000), "with it they become dead letters");
    is_u64(stop(&n), 0, "stop");
    queue_fini(&done);
    tmpdir_remove(dir);
}

/* A test's node, queue and folder. */
struct bench {
    char *dir;
    struct node n;
    struct queue done;
};

static void bench_start(struct bench *b)
{
    reset_fake();
    b->dir = tmpdir_make();
    if (queue_init(&b->done, 16) != 0)
        abort();
    start(&b->n, b->dir);
}

static void bench_end(struct bench *b)
{
    is_u64(stop(&b->n), 0, "stop");
    queue_fini(&b->done);
    tmpdir_remove(b->dir);
}

/* Positions and dead letters come again out of the log, and nothing is sent again. */
static void test_store_lost(void)
{
    struct bench b;
    char store[4096];
    retain_ms = 3600000;
    bench_start(&b);
    for (int i = 0; i < 200; i++)
        post(&b.n, tables[i % 3], 50, &b.done);
    ok(drain(&b.n, 5000), "flushed");
    is_u64(stop(&b.n), 0, "stop");
    uint32_t inserts = fake->inserts;
    (void)snprintf(store, sizeof(store), "%s/store", b.dir);
    tmpdir_remove(strdup(store));
    start(&b.n, b.dir);
    ok(drain(&b.n, 5000), "the store is lost: nothing is pending all the same");
    is_u64(fake->inserts, inserts, "nothing is sent again");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "store lost");
    bench_end(&b);
    retain_ms = 0;
}

/* More dead letters than the planner keeps in memory lie between the store and the log's end. */
static void test_store_lost_dead_letters(void)
{
    struct bench b;
    char store[4096];
    retain_ms = 3600000;
    bench_start(&b);
    fat_bytes = 10000;
    for (int i = 0; i < 30; i++)
        post(&b.n, "gone", 60, &b.done);
    fat_bytes = 0;
    ok(drain(&b.n, 10000), "18 MB of dead letters");
    is_u64(stop(&b.n), 0, "stop");
    (void)snprintf(store, sizeof(store), "%s/store", b.dir);
    tmpdir_remove(strdup(store));
    start(&b.n, b.dir);
    post(&b.n, "alpha", 20, &b.done);
    ok(drain(&b.n, 5000), "the store is lost: all of them are read again, and what follows");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "dead letters lost");
    bench_end(&b);
    retain_ms = 0;
}

/* One table gets nowhere; the other does not notice. */
static void test_isolation(void)
{
    struct bench b;
    struct flush_stats s;
    bench_start(&b);
    atomic_store(&fake->beta_stuck, true);
    uint64_t begin = io_monotonic_ns();
    for (int i = 0; i < 100; i++)
        post(&b.n, tables[i % 2], 30, &b.done);
    do {
        (void)poll(NULL, 0, 5);
        flush_stats_get(b.n.flush, &s);
    } while (s.pending_rows != 1500 && io_monotonic_ns() - begin < 5000000000u);
    is_u64(s.pending_rows, 1500, "only the stuck table's rows wait");
    is_u64(s.open_plans, 1, "in one plan");
    ok(s.reachable, "ClickHouse does not count as away for it");
    atomic_store(&fake->beta_stuck, false);
    ok(drain(&b.n, 5000), "then they arrive too");
    bench_end(&b);
}

/* A view's error comes when the table has the rows: they are not sent again in halves. */
static void test_view_fails(void)
{
    struct bench b;
    bench_start(&b);
    fake->fate_every = 5;
    atomic_store(&fake->view_fails, true);
    for (int i = 0; i < 60; i++)
        post(&b.n, tables[i % 4], 30, &b.done);
    ok(drain(&b.n, 5000), "a view that fails stalls nothing");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "view fails");
    bench_end(&b);
}

/* Rows may be stored, the answer is lost, and their repetition is refused for its data (the schema
 * changed and changed back): halves would have tokens of their own, and the rows would be there
 * twice. What is in the way between the two says nothing of the first time. */
static void test_doubt(void)
{
    struct bench b;
    bench_start(&b);
    fake->fate_every = 2;
    atomic_store(&fake->displaced, 2);
    atomic_store(&fake->doubted, 3);
    post(&b.n, "alpha", 300, &b.done);
    while (atomic_load(&fake->inserts) == 0)
        (void)poll(NULL, 0, 2);
    post(&b.n, "beta", 1205, &b.done); /* with bad rows: bisected all the same */
    ok(drain(&b.n, 10000), "a refusal of rows that may be stored stalls nothing");
    is_u64(atomic_load(&fake->doubted), 0, "there were such refusals");
    is_u64(stop(&b.n), 0, "stop");

    fake->fate_every = 0; /* and when the answer is lost because we are killed */
    fake->kill_after_every = 1;
    (void)fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        start(&b.n, b.dir);
        post(&b.n, "alpha", 700,
             &b.done); /* two groups, a bad row in the first: 1505 is without x */
        (void)drain(&b.n, 120000);
        _exit(0);
    }
    (void)waitpid(pid, NULL, 0);
    fakech_unlock(fake);
    fake->kill_after_every = 0;
    atomic_store(&fake->displaced, 2);
    atomic_store(&fake->doubted, 3);
    start(&b.n, b.dir);
    ok(drain(&b.n, 10000), "drained after a kill");
    is_u64(atomic_load(&fake->doubted), 0, "there were refusals again");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "doubt");
    bench_end(&b);
}

static void test_stop_in_flight(void)
{
    struct bench b;
    bench_start(&b);
    atomic_store(&fake->delay_us, 400000);
    post(&b.n, "alpha", 600, &b.done);
    while (atomic_load(&fake->inserts) == 0)
        (void)poll(NULL, 0, 2);
    is_u64((uint64_t)-flush_stop(b.n.flush, 20), ETIMEDOUT,
           "an insert that takes too long is told");
    is_u64(stop(&b.n), 0, "a second, patient stop lets it end");
    atomic_store(&fake->delay_us, 0);
    start(&b.n, b.dir);
    ok(drain(&b.n, 5000), "the rest goes after a restart");
    is_u64(fake->repeats, 0, "and nothing that was stored");
    bench_end(&b);
}

/* Entries that the planner only has to read. */
static void fill_log(struct node *n, uint32_t count)
{
    struct proposal *all = calloc(count, sizeof(*all));
    struct queue done;
    if (all == NULL || queue_init(&done, 16) != 0)
        abort();
    for (uint32_t i = 0, back = 0; back < count;) {
        if (i < count) {
            all[i].type = WAL_NOOP;
            all[i].done = &done;
            i += commit_propose(n->base.log, &all[i]) == 0;
        }
        struct queue_link *link = queue_pop(&done);
        if (link != NULL) {
            must(QUEUE_ITEM(link, struct proposal, link)->result == 0);
            back++;
        }
    }
    queue_fini(&done);
    free(all);
}

/* A job ends while the planner has more to read than it reads at a time: what the job has committed
 * counts before its table is looked at again. */
static void test_planner_behind(void)
{
    struct bench b;
    bench_start(&b);
    atomic_store(&fake->held, true);
    post(&b.n, "alpha", 600, &b.done);
    while (atomic_load(&fake->inserts) == 0)
        (void)poll(NULL, 0, 1);
    atomic_store(&held_up, 1);
    post(&b.n, "beta", 1, &b.done);
    while (atomic_load(&held_up) != 2)
        (void)poll(NULL, 0, 1);
    fill_log(&b.n, 40000);
    uint64_t filled = wal_commit_index(b.n.base.w);
    atomic_store(&fake->held, false);
    while (wal_commit_index(b.n.base.w) == filled)
        (void)poll(NULL, 0, 1);
    (void)poll(NULL, 0, 100); /* the sender gives its job back */
    atomic_store(&held_up, 0);
    ok(drain(&b.n, 5000), "a planner that is behind stalls nothing");
    is_u64(fake->repeats, 0, "and nothing is sent again");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "planner behind");
    bench_end(&b);
}

static void test_no_dlq(void)
{
    struct bench b;
    struct err e = {0};
    bool whole = true;
    dlq_enabled = false;
    bench_start(&b);
    for (int i = 0; i < 40; i++)
        post(&b.n, tables[i % 2], 50, &b.done);
    ok(drain(&b.n, 5000), "without dead letters bad rows stall nothing");
    is_u64(stop(&b.n), 0, "stop");
    dlq_enabled = true;
    start(&b.n, b.dir);
    memset(fake->letters, 0, sizeof(fake->letters));
    ok(store_letter_list(b.n.base.store, STORE_DEAD, (struct slice){0}, (struct store_letter_id){0},
                         count_letter, &whole, &e) == 0,
       "listed");
    uint32_t letters = 0, stored = 0, bad = 0;
    for (uint32_t id = 1; id < 2001; id++) {
        letters += fake->letters[id];
        stored += fake->stored[id];
        bad += fakech_bad_id(id);
    }
    ok(letters == 0 && stored + bad == 2000, "none is kept, the good rows are stored");
    bench_end(&b);
}

static void test_watches(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct queue done, back;
    struct flush_watch extra = {.done = &back};
    struct flush_offsets q = {.done = &back, .table = SLICE_LIT("alpha")};
    reset_fake();
    fake->fate_every = 7;
    fake->busy_every = 11;
    fake->split_rows = 300;
    start(&n, dir);
    if (queue_init(&done, 16) != 0 || queue_init(&back, SIZE_MAX) != 0)
        abort();
    struct flush_watches *ws = flush_watches_of(n.flush);
    /* an interval of an hour: nothing but the watches makes it go */
    struct flush_options slow = flush_options(&n);
    slow.interval_ms = 3600000;
    flush_reload(n.flush, &slow);
    watch_back = &back;
    for (int i = 0; i < 400; i++)
        post(&n, tables[i % 5], 1 + (uint32_t)i % 90, &done);
    watches_take(&back, true);
    ok(!flush_watches_any(ws), "every watch came back, though the interval is an hour");
    flush_offsets_ask(n.flush, &q);
    while (queue_pop(&back) == NULL)
        (void)poll(NULL, 0, 1);
    ok(q.flushed >= 396 && q.pending_rows == 0 && q.oldest_ns == 0, "the table is flushed");

    atomic_store(&fake->down, true);
    post(&n, "alpha", 10, &done);
    do { /* until the planner has read it */
        flush_offsets_ask(n.flush, &q);
        while (queue_pop(&back) == NULL)
            (void)poll(NULL, 0, 1);
    } while (q.pending_rows == 0);
    ok(q.flushed < wal_commit_index(n.base.w) && q.pending_rows == 10 && q.oldest_ns > 0,
       "or not, and then it says how much waits");
    is_u64(waiting, 1, "one waits through an outage");
    ok(flush_watch_add(ws, &extra, 1) == 0 && flush_watch_cancel(ws, &extra) &&
           !flush_watch_cancel(ws, &extra),
       "a watch can be taken back, once");
    flush_watch_held(ws, 1);
    ok(flush_watch_add(ws, &extra, 1) == 0, "and put again");
    flush_watch_held(ws, 1);
    ok(queue_pop(&back) == &extra.link && extra.end == FLUSH_WATCH_HELD, "what is held is told");

    uint32_t many = LIMIT_FLUSH_WATCHES - 1, taken = 0;
    struct flush_watch *list = calloc(many + 1, sizeof(*list));
    for (uint32_t i = 0; list != NULL && i < many; i++) {
        list[i].done = &back;
        taken += flush_watch_add(ws, &list[i], (uint64_t)1 << 40 | i) == 0;
    }
    is_u64(taken, many, "as many watches as there may be");
    ok(list != NULL && flush_watch_add(ws, &list[many], 7) == WH_EFULL, "one more is refused");
    for (uint32_t i = 0; list != NULL && i < many; i++)
        taken -= flush_watch_cancel(ws, &list[i]);
    is_u64(taken, 0, "all taken back");
    free(list);

    is_u64(stop(&n), 0, "stop during the outage");
    watches_take(&back, false);
    is_u64(waiting, 0, "who waited is told");
    watch_back = NULL;
    atomic_store(&fake->down, false);
    start(&n, dir);
    ok(drain(&n, 5000), "the rest arrives after the restart");
    check_rows(n.base.store, "watches");
    ok(check_told() > 10000, "and they spoke of all rows before");
    (void)stop(&n);
    queue_fini(&done);
    queue_fini(&back);
    tmpdir_remove(dir);
}

static void child(const char *dir, int seed)
{
    struct node n;
    struct queue done;
    struct queue back;
    srand((unsigned)seed);
    start(&n, dir);
    if (queue_init(&done, 16) != 0 || queue_init(&back, SIZE_MAX) != 0)
        _exit(99);
    watch_back = &back;
    for (;;)
        post(&n, tables[rand() % 4], 1 + (uint32_t)rand() % 40, &done);
}

#define LAST_ROWS 1000

/* The last round: posts no more than it is told of, and lives until it has heard of all of it. */
static void last_child(const char *dir)
{
    struct node n;
    struct queue done, back;
    start(&n, dir);
    if (queue_init(&done, 16) != 0 || queue_init(&back, SIZE_MAX) != 0)
        _exit(99);
    watch_back = &back;
    for (uint32_t i = 0; i < LAST_ROWS / 40; i++)
        post(&n, tables[i % 4], 40, &done);
    watches_take(&back, true);
    for (;;)
        (void)pause();
}

static uint32_t count_told(uint32_t first, uint32_t count)
{
    uint32_t n = 0;
    for (uint32_t id = first; id < first + count; id++)
        n += ((const volatile uint8_t *)fake->told)[id] != 0;
    return n;
}

/* A sanitizer build on a busy machine may not have posted anything by now: wait until it has (and
 * until a watch has spoken of it, now and then), or is dead (kill_after_every). */
static void wait_for_work(pid_t pid, uint32_t first, bool until_told)
{
    siginfo_t dead = {0};
    for (int i = 0; i < 2000 && dead.si_pid == 0; i++) {
        bool posted = atomic_load(&fake->next_id) >= first + 100;
        if (posted && (!until_told || memchr(fake->told + first, TOLD_STORED, 100) != NULL))
            return;
        (void)poll(NULL, 0, 5);
        (void)waitid(P_PID, (id_t)pid, &dead, WEXITED | WNOHANG | WNOWAIT);
    }
}

static void test_kill(void)
{
    char *dir = tmpdir_make();
    struct node n;
    int rounds = 0;
    reset_fake();
    fake->fate_every = 13;
    fake->busy_every = 17;
    fake->split_rows = 300;
    fake->kill_after_every = 23;
    srand(7);
    (void)fflush(stdout);
    for (int i = 0; i < 25; i++, rounds++) {
        uint32_t first = atomic_load(&fake->next_id);
        pid_t pid = fork();
        if (pid == 0)
            child(dir, i);
        (void)poll(NULL, 0, 8 + rand() % 90);
        wait_for_work(pid, first, i % 5 == 0);
        fakech_kill(fake, pid);
    }
    fake->kill_after_every = 0;
    /* How much the rounds above are told is chance. The last one is killed when it has heard of
     * every row. */
    uint32_t first = atomic_load(&fake->next_id);
    pid_t pid = fork();
    if (pid == 0)
        last_child(dir);
    for (int i = 0; i < 24000 && count_told(first, LAST_ROWS) < LAST_ROWS; i++)
        (void)poll(NULL, 0, 5);
    is_u64(count_told(first, LAST_ROWS), LAST_ROWS, "the last round hears of every row");
    fakech_kill(fake, pid);
    start(&n, dir);
    /* A quiet machine acknowledges more between the kills than a sanitizer build flushes in 10 s.
     */
    ok(drain(&n, 120000), "after %d kills everything is flushed", rounds);
    is_u64(stop(&n), 0, "stop");
    start(&n, dir);
    check_rows(n.base.store, "kill -9");
    ok(check_told() >= LAST_ROWS, "and they spoke of at least the last round's rows");
    (void)stop(&n);
    tmpdir_remove(dir);
}

/* A backlog goes in pieces, the next one encoded while one is sent; refused rows, lost answers and
 * kills fall anywhere in between. */
static void test_backlog(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct queue done;
    reset_fake();
    atomic_store(&fake->down, true);
    start(&n, dir);
    if (queue_init(&done, 16) != 0)
        abort();
    for (int i = 0; i < 200; i++)
        post(&n, tables[i % 10 == 0 ? 3 : 0], 300, &done);
    is_u64(stop(&n), 0, "60,000 rows wait");
    atomic_store(&fake->down, false);
    fake->kill_after_every = 3;
    fake->fate_every = 5;
    (void)fflush(stdout);
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            srand((unsigned)i);
            start(&n, dir);
            (void)drain(&n, 120000);
            _exit(0);
        }
        (void)waitpid(pid, NULL, 0);
        fakech_unlock(fake); /* it killed itself with the lock */
    }
    fake->kill_after_every = 0;
    start(&n, dir);
    ok(drain(&n, 120000), "after 4 kills in the middle all is flushed");
    is_u64(stop(&n), 0, "stop");
    ok(fake->largest <= 4000, "no block is larger than a piece (%u rows)", fake->largest);
    start(&n, dir);
    check_rows(n.base.store, "backlog");
    (void)stop(&n);
    queue_fini(&done);
    tmpdir_remove(dir);
}

/* Trouble in every piece of a long plan: each piece that went makes the next wait a first one. With
 * waits that grew from piece to piece this would take minutes. */
static void test_pieces_backoff(void)
{
    struct bench b;
    bench_start(&b);
    atomic_store(&fake->down, true);
    struct flush_options slow = flush_options(&b.n);
    slow.max_rows = 50; /* plans in pieces */
    slow.retry_min_ms = 40;
    slow.retry_max_ms = 600000;
    flush_reload(b.n.flush, &slow);
    for (int i = 0; i < 30; i++)
        post(&b.n, "alpha", 50, &b.done);
    fake->fate_every = 2;
    atomic_store(&fake->down, false);
    ok(drain(&b.n, 8000), "a plan in pieces waits no longer for having many");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "pieces");
    bench_end(&b);
}

static bool is_reachable(struct node *n)
{
    struct flush_stats s;
    flush_stats_get(n->flush, &s);
    return s.reachable;
}

/* Blocks of a backlog travel while the one before is written. Faults meet the one that ClickHouse
 * has whole and the one that is on its way, first in rows that are all good, then in others. */
static void test_overlap(void)
{
    struct bench b;
    bench_start(&b);
    fake->good_below = 72000;
    fat_bytes = 20; /* rows of one kind: each piece is one INSERT */
    atomic_store(&fake->down, true);
    for (int i = 0; i < 200; i++)
        post(&b.n, "alpha", 300, &b.done);
    atomic_store(&fake->down, false);
    ok(drain(&b.n, 20000), "a backlog is flushed");
    uint32_t whole = fake->overlapped;
    ok(whole > 5 && fake->cancelled == 0, "%u of %u INSERTs began early, all were ended", whole,
       fake->inserts);
    atomic_store(&fake->down, true);
    for (int i = 0; i < 70; i++)
        post(&b.n, "alpha", 300, &b.done);
    fake->fate_every = 5;
    fake->busy_every = 7;
    fake->cut_every = 6;
    atomic_store(&fake->down, false);
    ok(drain(&b.n, 60000), "another one, with faults");
    ok(fake->overlapped > whole && fake->cancelled > 0, "%u began early, %u were cancelled",
       fake->overlapped - whole, fake->cancelled);
    fake->fate_every = fake->busy_every = fake->cut_every = 0;
    fake->good_from = atomic_load(&fake->next_id);
    atomic_store(&fake->down, true);
    for (int i = 0; i < 70; i++)
        post(&b.n, "beta", 300, &b.done);
    fake->one_only = true;
    atomic_store(&fake->delay_us, 20000);
    atomic_store(&fake->down, false);
    while (!is_reachable(&b.n))
        (void)poll(NULL, 0, 1);
    struct flush_options patient = flush_options(&b.n);
    patient.retry_min_ms = patient.retry_max_ms = 600000; /* a job that fails now fails the test */
    flush_reload(b.n.flush, &patient);
    ok(drain(&b.n, 20000), "ClickHouse allows one INSERT at a time: it goes on, with one");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "overlap");
    fat_bytes = 0;
    bench_end(&b);
}

static int stored_of(uint32_t id)
{
    fakech_lock(fake);
    int n = fake->stored[id];
    fakech_unlock(fake);
    return n;
}

/* One sender, and a table whose backlog takes long: it goes on for as long as nobody else waits. */
static void test_gives_way(void)
{
    struct bench b;
    bench_start(&b);
    atomic_store(&fake->down, true);
    struct flush_options one = flush_options(&b.n);
    one.max_open_conns = 1;
    flush_reload(b.n.flush, &one);
    for (int i = 0; i < 100; i++)
        post(&b.n, "alpha", 600, &b.done);
    uint32_t first = atomic_load(&fake->next_id), kept = 0;
    atomic_store(&fake->delay_us, 100000);
    atomic_store(&fake->down, false);
    while (atomic_load(&fake->inserts) < 2)
        (void)poll(NULL, 0, 2);
    post(&b.n, "beta", 10, &b.done);
    uint64_t begin = io_monotonic_ns();
    while (stored_of(first) == 0 && io_monotonic_ns() - begin < 60000000000u)
        (void)poll(NULL, 0, 5);
    for (uint32_t id = 1; id < first; id++)
        kept += stored_of(id) == 0 && !fakech_bad_id(id);
    ok(stored_of(first) == 1 && kept > 0, "another table does not wait for the whole backlog");
    atomic_store(&fake->delay_us, 0);
    ok(drain(&b.n, 20000), "which is drained then");
    is_u64(stop(&b.n), 0, "stop");
    start(&b.n, b.dir);
    check_rows(b.n.base.store, "gives way");
    bench_end(&b);
}

int main(void)
{
    fake = fakech_make();
    make_catalog();
    ok(catalog != NULL, "a catalog");
    test_faults();
    test_outage();
    test_dropped_table();
    test_schema_unknown();
    test_store_lost();
    test_store_lost_dead_letters();
    test_isolation();
    test_view_fails();
    test_doubt();
    test_stop_in_flight();
    test_planner_behind();
    test_no_dlq();
    test_watches();
    test_backlog();
    test_pieces_backoff();
    test_overlap();
    test_gives_way();
    test_kill();
    schema_catalog_unref(catalog);
    return tap_done();
}
