/* SPDX-License-Identifier: Apache-2.0 */
/* The policy and the pipes over the real log, planner and store: changes, restarts, a lost store, a
 * lost log, a log that was trimmed, limits, refusals, and a kill before every step. */
#include "base/limits.h"
#include "control/control.h"
#include "control/entry.h"
#include "flush/flush.h"
#include "io/clock.h"
#include "tests/lib/fakech.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define WHO SLICE_LIT("192.0.2.1 req-7")
/* In a literal, as the tests give them. */
#define POLICY_A "{\"tables\":{\"events\":{\"select\":{\"viewer\":{}}}}}"
#define POLICY_B \
    "{\"default_role\":\"public\",\"tables\":{\"events\":{\"select\":{\"public\":{}}}}}"

static struct fakech *fake;
static struct schema_catalog *catalog;

/* ---- a kill before every step, a failure of any commit ---- */

static _Atomic uint32_t steps, kill_at; /* 0: never */
static _Atomic uint32_t failures;       /* of store commits to come */

static void step(void)
{
    if (atomic_load(&kill_at) != 0 && atomic_fetch_add(&steps, 1) + 1 == atomic_load(&kill_at))
        (void)raise(SIGKILL);
}

int __real_commit_propose(struct commit_log *c, struct proposal *p);
int __wrap_commit_propose(struct commit_log *c, struct proposal *p);
int __wrap_commit_propose(struct commit_log *c, struct proposal *p)
{
    step();
    return __real_commit_propose(c, p);
}

void __real_wal_commit(struct wal *w, uint64_t index);
void __wrap_wal_commit(struct wal *w, uint64_t index);
void __wrap_wal_commit(struct wal *w, uint64_t index)
{
    step(); /* durable, and nobody knows */
    __real_wal_commit(w, index);
    step();
}

int __real_store_txn_commit(struct store_txn *t, struct err *e);
int __wrap_store_txn_commit(struct store_txn *t, struct err *e);
int __wrap_store_txn_commit(struct store_txn *t, struct err *e)
{
    if (atomic_load(&failures) > 0) {
        atomic_fetch_sub(&failures, 1);
        store_txn_abort(t);
        return err_set(e, -EIO, "store: made to fail");
    }
    step();
    int rc = __real_store_txn_commit(t, e);
    step();
    return rc;
}

/* ---- the process under test ---- */

struct node {
    struct wal *w;
    struct commit_log *log;
    struct store *store;
    struct control *control;
    struct flush *flush;
    struct ch_target *target;
    struct queue done;
};

static struct schema_catalog *get_catalog(void *ctx)
{
    (void)ctx;
    return schema_catalog_ref(catalog);
}

static void refresh(void *ctx)
{
    (void)ctx;
}

static uint64_t count_refreshes(void *ctx)
{
    (void)ctx;
    return 1;
}

static void on_poison(void *ctx, const struct err *e)
{
    (void)ctx;
    printf("# poisoned: %s\n", e->text);
    abort();
}

static void bail(const char *what)
{
    printf("Bail out! %s\n", what);
    exit(99);
}

static uint64_t retain_ms = 3600000;
static const char *log_name = "log-1";

/* Up to the log; then the flusher, which applies. */
static int start_log(struct node *n, const char *dir, struct err *e)
{
    char path[4096];
    struct wal_recovery r;
    memset(n, 0, sizeof(*n));
    (void)snprintf(path, sizeof(path), "%s/wal", dir);
    struct wal_options wo = {.path = path, .segment_size_bytes = 2 * MIB, .bytes_max = 128 * MIB};
    int rc = wal_open(&n->w, io_posix(), &wo, &r, e);
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    struct store_options so = {.path = path, .map_bytes = 256 * MIB};
    if (rc == 0)
        rc = store_open(&n->store, &so, e);
    if (rc == 0)
        rc = control_open(&n->control, n->store, e);
    struct commit_options co = {.queue_cap = 4096,
                                .term = r.last_term + 1,
                                .group_bytes_max = 256 * KIB};
    if (rc == 0)
        rc = commit_start(&n->log, n->w, &co, on_poison, NULL, e);
    if (rc == 0)
        rc = queue_init(&n->done, SIZE_MAX);
    if (rc == 0)
        control_start(n->control, n->log);
    return rc;
}

static int start_flush(struct node *n, struct err *e)
{
    n->target = ch_target_new(
        &(struct ch_options){.database = "db", .username = "default", .password = ""});
    struct flush_options fo = {.wal = n->w,
                               .commit = n->log,
                               .store = n->store,
                               .clickhouse = n->target,
                               .cluster = log_name,
                               .max_open_conns = 1,
                               .interval_ms = 5,
                               .max_rows = 2000,
                               .max_bytes = 1 * MIB,
                               .retry_min_ms = 2,
                               .retry_max_ms = 5,
                               .retain_ms = retain_ms,
                               .dlq_max_bytes = 16 * MIB,
                               .catalog = get_catalog,
                               .request_refresh = refresh,
                               .refreshes = count_refreshes,
                               .fold = control_fold(n->control)};
    return flush_start(&n->flush, &fo, e);
}

static void start(struct node *n, const char *dir)
{
    struct err e = {0};
    int rc = start_log(n, dir, &e);
    if (rc == 0)
        rc = start_flush(n, &e);
    if (rc != 0)
        bail(e.text);
}

static void stop(struct node *n)
{
    if (n->flush != NULL && flush_stop(n->flush, 20000) != 0)
        bail("the flusher does not stop");
    if (n->log != NULL)
        commit_stop(n->log);
    control_stop(n->control);
    while (n->done.fd > 0 && queue_pop(&n->done) != NULL)
        ;
    if (n->log != NULL)
        queue_fini(&n->done);
    control_free(n->control);
    wal_close(n->w);
    store_close(n->store);
    ch_target_unref(n->target);
}

static struct control_task *wait_task(struct node *n)
{
    struct queue_link *link;
    while ((link = queue_pop(&n->done)) == NULL)
        if (queue_sleep(&n->done)) {
            struct pollfd fd = {.fd = queue_fd(&n->done), .events = POLLIN};
            (void)poll(&fd, 1, -1);
            queue_wake_ack(&n->done);
        }
    return QUEUE_ITEM(link, struct control_task, link);
}

static void ask(struct node *n, struct control_task *task)
{
    task->done = &n->done;
    task->who = WHO;
    if (control_ask(n->control, task) != 0)
        abort();
}

/* text NULL: remove */
static int put(struct node *n, const char *pipe, const char *text, bool seed)
{
    struct control_task t = {.kind = pipe != NULL ? CONTROL_PIPE : CONTROL_POLICY, .seed = seed};
    if (pipe != NULL)
        t.name = slice_str(pipe);
    if (text != NULL)
        t.text = slice_str(text);
    ask(n, &t);
    (void)wait_task(n);
    return t.result;
}

static bool policy_is(struct node *n, const char *text)
{
    struct control_snapshot *s = control_current(n->control);
    const struct control_document *d = control_snapshot_policy_document(s);
    bool good = text == NULL ? d == NULL && control_snapshot_policy(s) == NULL
                             : d != NULL && slice_eq_str(d->text, text) && slice_eq(d->who, WHO) &&
                                   d->time_ns > 0;
    control_snapshot_unref(s);
    return good;
}

/* All pipes as "name=text;…". */
static bool pipes_are(struct node *n, const char *want)
{
    struct control_snapshot *s = control_current(n->control);
    struct buf got;
    uint32_t count;
    const struct control_document *d = control_snapshot_pipes(s, &count);
    buf_init(&got, SIZE_MAX);
    for (uint32_t i = 0; i < count; i++) {
        buf_printf(&got, "%.*s=%.*s;", SLICE_ARG(d[i].name), SLICE_ARG(d[i].text));
        if (control_snapshot_pipe(s, d[i].name) != &d[i])
            buf_put_str(&got, "(not found)");
    }
    bool good = slice_eq_str(buf_slice(&got), want);
    if (!good)
        printf("# got %.*s\n# want %s\n", (int)got.len, got.ptr, want);
    buf_fini(&got);
    control_snapshot_unref(s);
    return good;
}

/* ---- changes ---- */

static void test_changes(void)
{
    char *dir = tmpdir_make();
    struct node n;
    start(&n, dir);
    ok(control_version(n.control) == 0 && policy_is(&n, NULL) && pipes_are(&n, ""),
       "a new store holds nothing");
    uint64_t begin = io_monotonic_ns();
    ok(put(&n, NULL, POLICY_A, false) == 0 && policy_is(&n, POLICY_A), "a policy is put");
    uint64_t first_ns = io_monotonic_ns() - begin;
    uint64_t version = control_version(n.control);
    struct control_snapshot *kept = control_current(n.control);
    ok(version != 0 && control_snapshot_version(kept) == version &&
           access_policy_version(control_snapshot_policy(kept)) == version,
       "the version moves");
    ok(access_policy_grant(control_snapshot_policy(kept), SLICE_LIT("events"), ACCESS_SELECT,
                           SLICE_LIT("viewer")) != NULL,
       "and it is in force");
    begin = io_monotonic_ns();
    for (int i = 0; i < 50; i++)
        if (put(&n, NULL, i % 2 == 0 ? POLICY_B : POLICY_A, false) != 0)
            abort();
    uint64_t mean_ms = (io_monotonic_ns() - begin) / 50 / 1000000;
    printf("# first change %" PRIu64 " ms, then %" PRIu64 " ms each\n", first_ns / 1000000,
           mean_ms);
    ok(mean_ms < 250, "a change does not wait for the planner's second");
    ok(control_version(n.control) > version && policy_is(&n, POLICY_A), "the last one counts");
    ok(control_snapshot_version(kept) == version, "a kept snapshot stays as it was");
    const struct access_policy *p = control_snapshot_policy(kept);
    ok(put(&n, "b", "{\"sql\":\"2\"}", false) == 0 && put(&n, "a", "{\"sql\":\"1\"}", false) == 0,
       "pipes are put");
    ok(pipes_are(&n, "a={\"sql\":\"1\"};b={\"sql\":\"2\"};"), "sorted by name");
    struct control_snapshot *now = control_current(n.control);
    ok(control_snapshot_policy(now) != p, "another policy than then");
    ok(put(&n, "b", "{\"sql\":\"3\"}", false) == 0 &&
           pipes_are(&n, "a={\"sql\":\"1\"};b={\"sql\":\"3\"};"),
       "replaced as a whole");
    struct control_snapshot *later = control_current(n.control);
    ok(control_snapshot_policy(later) == control_snapshot_policy(now),
       "a change of a pipe keeps the policy's memory, and what is remembered of it");
    control_snapshot_unref(now);
    control_snapshot_unref(later);
    control_snapshot_unref(kept);
    version = control_version(n.control);
    ok(put(&n, "a", NULL, false) == 0 && pipes_are(&n, "b={\"sql\":\"3\"};") &&
           control_version(n.control) > version,
       "removed, and the version moves");
    version = control_version(n.control);
    ok(put(&n, "a", NULL, false) == 0 && control_version(n.control) == version,
       "removing what is not there is no change");
    stop(&n);
    for (int i = 0; i < 2; i++) {
        start(&n, dir);
        ok(policy_is(&n, POLICY_A) && pipes_are(&n, "b={\"sql\":\"3\"};") &&
               control_version(n.control) == version,
           "all of it is there after a restart, before the log is read");
        stop(&n);
    }
    tmpdir_remove(dir);
}

static void test_seeds(void)
{
    char *dir = tmpdir_make();
    struct node n;
    start(&n, dir);
    struct control_task one = {.kind = CONTROL_POLICY, .seed = true, .text = SLICE_LIT(POLICY_A)};
    struct control_task two = {.kind = CONTROL_POLICY, .seed = true, .text = SLICE_LIT(POLICY_B)};
    ask(&n, &one);
    ask(&n, &two);
    (void)wait_task(&n);
    (void)wait_task(&n);
    ok(one.result == 0 && two.result == 0 && policy_is(&n, POLICY_A),
       "of two seeds the first in the log counts");
    ok(put(&n, NULL, POLICY_B, false) == 0 && put(&n, NULL, POLICY_A, true) == 0 &&
           policy_is(&n, POLICY_B),
       "a seed changes nothing that is there");
    ok(put(&n, "p", "{\"sql\":\"1\"}", true) == 0 && put(&n, "p", "{\"sql\":\"2\"}", true) == 0 &&
           pipes_are(&n, "p={\"sql\":\"1\"};"),
       "so with pipes, name by name");
    stop(&n);
    tmpdir_remove(dir);
}

/* ---- what is lost ---- */

static void remove_part(const char *dir, const char *part)
{
    char command[4200];
    (void)snprintf(command, sizeof(command), "rm -rf %s/%s", dir, part);
    if (system(command) != 0)
        abort();
}

static bool applied(struct node *n)
{
    uint64_t end = io_monotonic_ns() + UINT64_C(20000000000);
    while (io_monotonic_ns() < end) {
        struct flush_stats s;
        flush_stats_get(n->flush, &s);
        if (s.replayed && flush_shelf_index(n->flush) >= wal_commit_index(n->w))
            return true;
        (void)poll(NULL, 0, 2);
    }
    return false;
}

static void test_store_lost(void)
{
    char *dir = tmpdir_make();
    struct node n;
    start(&n, dir);
    (void)!put(&n, NULL, POLICY_A, false);
    (void)!put(&n, "a", "{\"sql\":\"1\"}", false);
    (void)!put(&n, NULL, POLICY_B, false);
    (void)!put(&n, "b", "{\"sql\":\"2\"}", false);
    (void)!put(&n, "a", NULL, false);
    uint64_t version = control_version(n.control);
    stop(&n);
    remove_part(dir, "store");
    start(&n, dir);
    ok(applied(&n) && put(&n, "c", "{\"sql\":\"4\"}", true) == 0, "the log is read anew");
    ok(policy_is(&n, POLICY_B) && pipes_are(&n, "b={\"sql\":\"2\"};c={\"sql\":\"4\"};"),
       "a lost store is made again from the log");
    ok(control_version(n.control) > version, "with a version that was not there before");
    stop(&n);
    tmpdir_remove(dir);
}

/* Entries enough to fill segments, so that those before can go. */
static void fill(struct node *n, uint32_t entries)
{
    static char junk[200000];
    for (uint32_t i = 0; i < entries; i++) {
        struct proposal p = {.type = WAL_CONTROL, .done = &n->done};
        junk[0] = 99; /* of no version that anybody knows */
        p.parts[0] = (struct iovec){junk, sizeof(junk)};
        p.part_count = 1;
        if (commit_propose(n->log, &p) != 0)
            abort();
        struct queue_link *link;
        while ((link = queue_pop(&n->done)) == NULL)
            if (queue_sleep(&n->done)) {
                struct pollfd fd = {.fd = queue_fd(&n->done), .events = POLLIN};
                (void)poll(&fd, 1, -1);
                queue_wake_ack(&n->done);
            }
        if (p.result != 0)
            bail("no room in the log");
    }
}

static void test_log_trimmed(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct wal_stats ws;
    retain_ms = 0;
    start(&n, dir);
    (void)!put(&n, NULL, POLICY_A, false);
    (void)!put(&n, "a", "{\"sql\":\"1\"}", false);
    uint64_t index = wal_commit_index(n.w), end = io_monotonic_ns() + UINT64_C(60000000000);
    for (int i = 0; i < 1000; i++) {
        fill(&n, 12);
        (void)!put(&n, "b", "{\"sql\":\"2\"}", false); /* moves the store on */
        wal_stats_get(n.w, &ws);
        if (ws.first_index > index || io_monotonic_ns() > end)
            break;
    }
    ok(ws.first_index > index, "the entries are gone from the log");
    stop(&n);
    start(&n, dir);
    ok(applied(&n) && policy_is(&n, POLICY_A) &&
           pipes_are(&n, "a={\"sql\":\"1\"};b={\"sql\":\"2\"};"),
       "what they put is still there");
    stop(&n);
    remove_part(dir, "store");
    start(&n, dir);
    ok(applied(&n) && put(&n, "c", "{\"sql\":\"3\"}", false) == 0 && policy_is(&n, NULL),
       "with the store lost as well there is no policy: nobody is let in");
    ok(pipes_are(&n, "b={\"sql\":\"2\"};c={\"sql\":\"3\"};"), "what the log still has is there");
    stop(&n);
    retain_ms = 3600000;
    tmpdir_remove(dir);
}

static void test_log_replaced(void)
{
    char *dir = tmpdir_make();
    struct node n;
    start(&n, dir);
    for (int i = 0; i < 5; i++)
        (void)!put(&n, NULL, i % 2 == 0 ? POLICY_A : POLICY_B, false);
    (void)!put(&n, "a", "{\"sql\":\"1\"}", false);
    uint64_t version = control_version(n.control);
    stop(&n);
    remove_part(dir, "wal");
    log_name = "log-2";
    start(&n, dir);
    ok(applied(&n) && policy_is(&n, POLICY_A) && pipes_are(&n, "a={\"sql\":\"1\"};"),
       "another log: the documents stay");
    ok(control_version(n.control) == version, "and their version");
    struct control_snapshot *s = control_current(n.control);
    uint64_t before = access_policy_version(control_snapshot_policy(s));
    control_snapshot_unref(s);
    uint64_t highest = version;
    bool grows = true;
    for (int i = 0; i < 8; i++) { /* the indexes of the first log come again */
        (void)!put(&n, NULL, i % 2 == 0 ? POLICY_A : POLICY_B, false);
        s = control_current(n.control);
        grows = grows && control_snapshot_version(s) > highest &&
                access_policy_version(control_snapshot_policy(s)) != before;
        highest = control_snapshot_version(s);
        control_snapshot_unref(s);
    }
    ok(grows, "versions grow though log indexes begin anew");
    stop(&n);
    start(&n, dir);
    ok(policy_is(&n, POLICY_B) && control_version(n.control) == highest, "kept over a restart");
    stop(&n);
    log_name = "log-1";
    tmpdir_remove(dir);
}

/* ---- failures ---- */

static void test_refused(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct err e = {0};
    start(&n, dir);
    (void)!put(&n, NULL, POLICY_A, false);
    ok(put(&n, NULL, "{\"tables\":{\"t\":{\"select\":{\"\":{}}}}}", false) == 0,
       "an entry of another version, with a policy that this one refuses");
    struct control_snapshot *s = control_current(n.control);
    ok(control_snapshot_policy(s) == NULL && control_snapshot_policy_document(s) != NULL,
       "is stored, and nobody is let in by the one before");
    control_snapshot_unref(s);
    stop(&n);
    ok(start_log(&n, dir, &e) == WH_EUNSUPPORTED && strstr(e.text, "empty role name") != NULL &&
           strstr(e.text, "log entry") != NULL,
       "the next start is refused, and says why");
    printf("# %s\n", e.text);
    wal_close(n.w);
    store_close(n.store);
    tmpdir_remove(dir);
}

static void test_limits(void)
{
    char *dir = tmpdir_make();
    struct node n;
    char name[LIMIT_PIPE_NAME_BYTES + 2];
    start(&n, dir);
    struct control_task *tasks = calloc(LIMIT_PIPES + 3, sizeof(*tasks));
    char(*names)[16] = calloc(LIMIT_PIPES + 3, sizeof(*names));
    if (tasks == NULL || names == NULL)
        abort();
    uint32_t good = 0, limit = 0;
    for (uint32_t i = 0; i < LIMIT_PIPES + 3; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "p%04" PRIu32, i);
        tasks[i] = (struct control_task){.kind = CONTROL_PIPE,
                                         .name = slice_str(names[i]),
                                         .text = SLICE_LIT("{\"sql\":\"1\"}")};
        ask(&n, &tasks[i]);
    }
    for (uint32_t i = 0; i < LIMIT_PIPES + 3; i++) {
        int rc = wait_task(&n)->result;
        good += rc == 0;
        limit += rc == WH_ELIMIT;
    }
    ok(good == LIMIT_PIPES && limit == 3 && tasks[LIMIT_PIPES].result == WH_ELIMIT,
       "%d pipes and no more", LIMIT_PIPES);
    ok(put(&n, "p0001", "{\"sql\":\"other\"}", false) == 0, "one that is there can be replaced");
    ok(put(&n, "new", "{\"sql\":\"1\"}", false) == WH_ELIMIT, "a new one not");
    ok(put(&n, "p0002", NULL, false) == 0 && put(&n, "new", "{\"sql\":\"1\"}", false) == 0,
       "until another one goes");
    char *large = malloc(LIMIT_CONTROL_BYTES + 2);
    if (large == NULL)
        abort();
    memset(large, ' ', LIMIT_CONTROL_BYTES + 1);
    large[LIMIT_CONTROL_BYTES + 1] = '\0';
    struct control_task t = {.kind = CONTROL_PIPE,
                             .name = SLICE_LIT("new"),
                             .text = slice_str(large),
                             .done = &n.done};
    ok(control_ask(n.control, &t) == WH_ELIMIT, "a document over its limit is not taken");
    large[LIMIT_CONTROL_BYTES] = '\0';
    int rc = 0;
    for (uint32_t i = 3; rc == 0 && i < 40; i++)
        rc = put(&n, names[i], large, false);
    ok(rc == WH_ELIMIT, "nor too many large ones");
    ok(put(&n, names[3], large, false) == 0 && put(&n, names[3], "{}", false) == 0 &&
           put(&n, "new", large, false) == 0,
       "replacing one by one of the same size is possible, and less makes room");
    ok(put(&n, NULL, POLICY_A, false) == 0, "a policy finds room");
    memset(name, 'x', sizeof(name));
    t.name = (struct slice){name, LIMIT_PIPE_NAME_BYTES + 1};
    t.text = SLICE_LIT("{}");
    ok(control_ask(n.control, &t) == WH_ELIMIT, "a name over its limit is not taken");
    free(large);
    free(tasks);
    free(names);
    stop(&n);
    tmpdir_remove(dir);
}

static void test_store_fails(void)
{
    char *dir = tmpdir_make();
    struct node n;
    start(&n, dir);
    (void)!put(&n, NULL, POLICY_A, false);
    atomic_store(&failures, 2);
    ok(put(&n, NULL, POLICY_B, false) == 0 && atomic_load(&failures) == 0 &&
           policy_is(&n, POLICY_B),
       "a store that fails twice: the change comes when it works again");
    stop(&n);
    tmpdir_remove(dir);
}

static void test_stopped(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct err e = {0};
    if (start_log(&n, dir, &e) != 0)
        bail(e.text);
    struct control_task t = {.kind = CONTROL_POLICY, .text = SLICE_LIT(POLICY_A)};
    ask(&n, &t); /* nobody applies */
    static char large[LIMIT_OPS_BODY_BYTES];
    static struct control_task many[64];
    uint32_t taken = 0;
    for (; taken < 64; taken++) {
        many[taken] = (struct control_task){.kind = CONTROL_PIPE,
                                            .name = SLICE_LIT("large"),
                                            .text = {large, sizeof(large)},
                                            .done = &n.done};
        if (control_ask(n.control, &many[taken]) != 0)
            break;
    }
    ok(taken > 20 && taken < 32, "what waits is bounded: %" PRIu32 " MiB", taken);
    commit_stop(n.log);
    n.log = NULL;
    control_stop(n.control);
    bool stopped = true;
    for (uint32_t i = 0; i <= taken; i++)
        stopped = wait_task(&n)->result != 0 && stopped; /* EAGAIN: no room was made any more */
    ok(stopped && t.result == WH_ESTOPPED, "stopped before they were applied");
    queue_fini(&n.done);
    stop(&n);
    start(&n, dir);
    ok(applied(&n) && put(&n, "large", NULL, false) == 0 && policy_is(&n, POLICY_A),
       "it was durable, so it is applied at the next start");
    stop(&n);
    tmpdir_remove(dir);
}

/* ---- many at once ---- */

#define THREADS 4
#define EACH    50
struct asker {
    struct node *n;
    pthread_t thread;
    uint64_t last_index;
    char last[32];
    bool good;
};

static void *asker_main(void *arg)
{
    struct asker *a = arg;
    struct queue done;
    if (queue_init(&done, SIZE_MAX) != 0)
        abort();
    a->good = true;
    for (int i = 0; i < EACH; i++) {
        (void)snprintf(a->last, sizeof(a->last), "{\"sql\":\"%p-%d\"}", arg, i);
        struct control_task t = {.kind = CONTROL_PIPE,
                                 .name = SLICE_LIT("shared"),
                                 .text = slice_str(a->last),
                                 .who = WHO,
                                 .done = &done};
        if (control_ask(a->n->control, &t) != 0)
            abort();
        while (queue_pop(&done) == NULL)
            if (queue_sleep(&done)) {
                struct pollfd fd = {.fd = queue_fd(&done), .events = POLLIN};
                (void)poll(&fd, 1, -1);
                queue_wake_ack(&done);
            }
        a->good = a->good && t.result == 0 && t.index > a->last_index;
        a->last_index = t.index;
        struct control_snapshot *s = control_current(a->n->control);
        const struct control_document *d = control_snapshot_pipe(s, t.name);
        /* In force: ours, or a later one. */
        a->good = a->good && d != NULL && d->index >= t.index &&
                  (d->index > t.index || slice_eq(d->text, t.text));
        control_snapshot_unref(s);
    }
    commit_quiesce(a->n->log);
    return NULL;
}

static void test_many(void)
{
    char *dir = tmpdir_make(), want[64];
    struct node n;
    struct asker askers[THREADS] = {0}, *last = &askers[0];
    bool good = true;
    start(&n, dir);
    for (int i = 0; i < THREADS; i++) {
        askers[i].n = &n;
        if (pthread_create(&askers[i].thread, NULL, asker_main, &askers[i]) != 0)
            abort();
    }
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(askers[i].thread, NULL);
        good = good && askers[i].good;
        last = askers[i].last_index > last->last_index ? &askers[i] : last;
    }
    (void)snprintf(want, sizeof(want), "shared=%s;", last->last);
    ok(good, "each asker finds its change, or a later one, in force");
    ok(pipes_are(&n, want), "the last in log order counts");
    stop(&n);
    tmpdir_remove(dir);
}

/* ---- a kill before every step ---- */

#define KILL_PUTS 6

/* Puts policies and pipes numbered 1 … KILL_PUTS in turn; says through the pipe what was answered.
 */
static void kill_child(const char *dir, uint32_t at, int told)
{
    struct node n;
    atomic_store(&kill_at, at);
    start(&n, dir);
    for (uint32_t i = 1; i <= KILL_PUTS; i++) {
        char text[80];
        (void)snprintf(text, sizeof(text), "{\"n\":%" PRIu32 "}", i);
        int rc = put(&n, i % 2 == 0 ? "p" : NULL, text, false);
        if (rc != 0 || write(told, &i, sizeof(i)) != (ssize_t)sizeof(i))
            _exit(2);
    }
    atomic_store(&kill_at, 0);
    stop(&n);
    _exit(0);
}

static uint32_t number_of(const struct control_document *d)
{
    return d == NULL ? 0 : (uint32_t)strtoul(d->text.ptr + 5, NULL, 10);
}

/* After a kill: everything answered is in force before the log is read; when it is read, at most
 * the one change that was on its way came in addition. */
static bool kill_check(const char *dir, uint32_t answered)
{
    struct node n;
    struct err e = {0};
    if (start_log(&n, dir, &e) != 0)
        bail(e.text);
    struct control_snapshot *s = control_current(n.control);
    uint32_t policy = number_of(control_snapshot_policy_document(s));
    uint32_t pipe = number_of(control_snapshot_pipe(s, SLICE_LIT("p")));
    uint32_t most = policy > pipe ? policy : pipe;
    control_snapshot_unref(s);
    bool good = most >= answered && most <= answered + 1;
    if (start_flush(&n, &e) != 0)
        bail(e.text);
    good = good && applied(&n) && put(&n, "last", "{}", false) == 0;
    s = control_current(n.control);
    policy = number_of(control_snapshot_policy_document(s));
    pipe = number_of(control_snapshot_pipe(s, SLICE_LIT("p")));
    most = policy > pipe ? policy : pipe;
    /* In log order without a hole: the two newest numbers are neighbours. */
    good = good && most >= answered && most <= answered + 1 &&
           (most == 0 || policy + pipe == 2 * most - 1);
    if (!good)
        printf("# answered %" PRIu32 ", policy %" PRIu32 ", pipe %" PRIu32 "\n", answered, policy,
               pipe);
    control_snapshot_unref(s);
    stop(&n);
    return good;
}

static void test_kill(void)
{
    uint32_t at, wrong = 0;
    bool killed = true;
    (void)fflush(stdout);
    for (at = 1; killed && wrong == 0 && at < 500; at++) {
        char *dir = tmpdir_make();
        int told[2], status = 0;
        uint32_t answered = 0, i;
        if (pipe(told) != 0)
            abort();
        pid_t pid = fork();
        if (pid == 0)
            kill_child(dir, at, told[1]);
        (void)close(told[1]);
        while (read(told[0], &i, sizeof(i)) == (ssize_t)sizeof(i))
            answered = i;
        (void)close(told[0]);
        (void)waitpid(pid, &status, 0);
        killed = WIFSIGNALED(status);
        if (!killed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
            wrong++;
        if (!kill_check(dir, answered)) {
            printf("# killed before step %" PRIu32 "\n", at);
            wrong++;
        }
        tmpdir_remove(dir);
    }
    ok(wrong == 0, "what was answered is in force, what was not is there whole or not at all");
    ok(!killed && at > 4 * KILL_PUTS, "killed before each of %" PRIu32 " steps", at - 2);
}

int main(void)
{
    struct err e = {0};
    fake = fakech_make();
    struct schema_builder *b = schema_builder_new();
    schema_builder_server(b, SLICE_LIT("26.7.3.1"), SLICE_LIT("UTC"));
    catalog = schema_builder_finish(b, &e);
    schema_builder_free(b);
    if (catalog == NULL)
        bail(e.text);
    test_changes();
    test_seeds();
    test_store_lost();
    test_log_trimmed();
    test_log_replaced();
    test_refused();
    test_limits();
    test_store_fails();
    test_stopped();
    test_many();
    test_kill();
    schema_catalog_unref(catalog);
    return tap_done();
}
