/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that enter the log again, over the real log, flusher and store and a ClickHouse double:
 * letters, held rows, ranges of the log; refusals; and a kill before every step. */
#include "base/limits.h"
#include "flush/entry.h"
#include "flush/flush.h"
#include "flush/origin.h"
#include "io/clock.h"
#include "replay/replay.h"
#include "tests/lib/fakech.h"
#include "tests/lib/tap.h"
#include "tests/lib/testnode.h"
#include "tests/lib/tmpdir.h"
#include "wal/batch.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FIXED 200000 /* what the rule adds to an id, so that ClickHouse takes it */

static struct fakech *fake;
static struct schema_catalog *before, *after; /* without and with the column "late" */
static _Atomic(struct schema_catalog *) catalog;
static _Atomic uint32_t refreshes;

static struct schema_catalog *get_catalog(void *ctx)
{
    (void)ctx;
    struct schema_catalog *c = atomic_load(&catalog);
    return c == NULL ? NULL : schema_catalog_ref(c);
}

static void refresh(void *ctx)
{
    (void)ctx;
    atomic_fetch_add(&refreshes, 1);
}

static uint64_t count_refreshes(void *ctx)
{
    (void)ctx;
    return atomic_load(&refreshes);
}

static struct schema_catalog *make_catalog(bool late)
{
    static const char *const tables[] = {"alpha", "beta", "gamma", "delta", "gone"};
    struct schema_builder *b = schema_builder_new();
    struct err e = {0};
    struct slice none = {0};
    schema_builder_server(b, SLICE_LIT("26.7.3.1"), SLICE_LIT("UTC"));
    for (int i = 0; i < 5; i++) {
        (void)!schema_builder_table(b, slice_str(tables[i]), SLICE_LIT("MergeTree"), 1000);
        (void)!schema_builder_column(b, SLICE_LIT("id"), SLICE_LIT("UInt32"), none, none);
        (void)!schema_builder_column(b, SLICE_LIT("y"), SLICE_LIT("Nullable(String)"), none, none);
        if (late && i == 1)
            (void)!schema_builder_column(b, SLICE_LIT("late"), SLICE_LIT("Nullable(UInt8)"), none,
                                         none);
    }
    struct schema_catalog *c = schema_builder_finish(b, &e);
    schema_builder_free(b);
    return c;
}

/* ---- a kill before every step: what the log, the store or ClickHouse is asked to keep ---- */

static _Atomic uint32_t steps, kill_at; /* 0: never */

static void step(void)
{
    if (atomic_load(&kill_at) == 0 || atomic_fetch_add(&steps, 1) + 1 != atomic_load(&kill_at))
        return;
    fakech_lock(fake); /* none of its inserts is half done */
    (void)raise(SIGKILL);
}

int __real_commit_propose(struct commit_log *c, struct proposal *p);
int __wrap_commit_propose(struct commit_log *c, struct proposal *p);
int __wrap_commit_propose(struct commit_log *c, struct proposal *p)
{
    step();
    return __real_commit_propose(c, p);
}

int __real_store_txn_commit(struct store_txn *t, struct err *e);
int __wrap_store_txn_commit(struct store_txn *t, struct err *e);
int __wrap_store_txn_commit(struct store_txn *t, struct err *e)
{
    step();
    int rc = __real_store_txn_commit(t, e);
    step();
    return rc;
}

/* ---- the process under test ---- */

struct node {
    struct testnode base;
    struct flush *flush;
    struct replay *replay;
    struct queue done;
};

static uint64_t retain_ms = 3600000;
static bool without_replay;

static void start(struct node *n, const char *dir)
{
    struct err e = {0};
    memset(n, 0, sizeof(*n));
    testnode_open(&n->base, dir, 256 * KIB, 64 * MIB, 64 * MIB);
    struct flush_options fo = {.wal = n->base.w,
                               .commit = n->base.log,
                               .store = n->base.store,
                               .clickhouse = n->base.target,
                               .cluster = "test",
                               .max_open_conns = 3,
                               .interval_ms = 5,
                               .max_rows = 2000,
                               .max_bytes = 1 * MIB,
                               .retry_min_ms = 2,
                               .retry_max_ms = 5,
                               .retain_ms = retain_ms,
                               .dlq_max_bytes = 16 * MIB,
                               .catalog = get_catalog,
                               .request_refresh = refresh,
                               .refreshes = count_refreshes};
    int rc = flush_start(&n->flush, &fo, &e);
    struct replay_options ro = {.wal = n->base.w,
                                .commit = n->base.log,
                                .store = n->base.store,
                                .flush = n->flush,
                                .catalog = get_catalog,
                                .request_refresh = refresh};
    if (rc == 0 && !without_replay)
        rc = replay_start(&n->replay, &ro, &e);
    if (rc == 0)
        rc = queue_init(&n->done, 64);
    testnode_must(rc, &e);
}

static void stop(struct node *n)
{
    replay_stop(n->replay);
    if (flush_stop(n->flush, 20000) != 0) {
        printf("Bail out! the flusher does not stop\n");
        exit(99);
    }
    testnode_close(&n->base);
    queue_fini(&n->done);
}

static struct queue_link *wait_link(struct node *n)
{
    struct queue_link *link;
    while ((link = queue_pop(&n->done)) == NULL)
        if (queue_sleep(&n->done)) {
            struct pollfd fd = {.fd = queue_fd(&n->done), .events = POLLIN};
            (void)poll(&fd, 1, -1);
            queue_wake_ack(&n->done);
        }
    return link;
}

/* One committed entry of these ids; extra follows the id in every record. */
static uint64_t post(struct node *n, const char *table, const uint32_t *ids, uint32_t count,
                     const char *extra, uint8_t flags)
{
    struct wal_batch_builder b;
    struct proposal p = {.type = WAL_EVENTS, .done = &n->done};
    wal_batch_init(&b);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = b.text.len;
        buf_printf(&b.text, "{\"id\":%u%s}", ids[i], extra);
        if (wal_batch_add(&b, 1000 + ids[i], at) != 0)
            abort();
    }
    b.flags = flags;
    if (wal_batch_finish(&b, slice_str(table), SLICE_LIT("192.0.2.1 req7")) != 0)
        abort();
    p.part_count = wal_batch_parts(&b, p.parts);
    if (commit_propose(n->base.log, &p) != 0)
        abort();
    (void)wait_link(n);
    wal_batch_fini(&b);
    return p.result == 0 ? p.index : 0;
}

static void ask(struct node *n, struct replay_task *task)
{
    task->done = &n->done;
    if (task->who.len == 0)
        task->who = SLICE_LIT("ops r9");
    if (replay_ask(n->replay, task) != 0)
        abort();
    (void)wait_link(n);
}

static void add_count(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    (void)table;
    (void)bytes;
    *(uint64_t *)ctx += records;
}

static uint64_t letters(struct node *n, enum store_shelf shelf)
{
    uint64_t sum = 0;
    struct err e = {0};
    return store_letter_counts(n->base.store, shelf, add_count, &sum, &e) == 0 ? sum : UINT64_MAX;
}

static bool is_drained(struct node *n)
{
    struct flush_stats s;
    flush_stats_get(n->flush, &s);
    return s.replayed && s.pending_rows == 0 && s.open_plans == 0 &&
           s.applied_index == wal_commit_index(n->base.w) &&
           flush_shelf_index(n->flush) >= wal_commit_index(n->base.w);
}

/* Everything is in ClickHouse or a letter, and so many letters are on each shelf. */
static bool settle(struct node *n, uint64_t dead, uint64_t held)
{
    uint64_t end = io_monotonic_ns() + UINT64_C(20000000000);
    while (io_monotonic_ns() < end) {
        if (is_drained(n) && letters(n, STORE_DEAD) == dead && letters(n, STORE_HELD) == held &&
            is_drained(n))
            return true;
        (void)poll(NULL, 0, 2);
    }
    printf("# dead %" PRIu64 " held %" PRIu64 "\n", letters(n, STORE_DEAD), letters(n, STORE_HELD));
    return false;
}

static void reset(void)
{
    memset(fake, 0, sizeof(*fake));
    atomic_store(&catalog, before);
}

/* Ids that the double's encoder refuses, and takes once the rule was applied. */
static void bad_ids(uint32_t *ids, uint32_t count)
{
    for (uint32_t i = 0, id = 997 + 5; i < count; id += 997)
        if (!fakech_bad_id(id + FIXED))
            ids[i++] = id;
}

static void good_ids(uint32_t *ids, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0, id = first; i < count; id++)
        if (!fakech_bad_id(id))
            ids[i++] = id;
}

static uint32_t stored_once(const uint32_t *ids, uint32_t count, uint32_t plus)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        n += fake->stored[ids[i] + plus] == 1;
    return n;
}

static int fix_id(void *ctx, const struct store_letter *l, struct buf *out,
                  char why[REPLAY_TEXT_CAP])
{
    unsigned long id = strtoul(l->record.ptr + 6, NULL, 10);
    (void)ctx;
    (void)why;
    buf_printf(out, "{ \"id\" : %lu }", id + FIXED);
    return 0;
}

static int refuse_odd(void *ctx, const struct store_letter *l, struct buf *out,
                      char why[REPLAY_TEXT_CAP])
{
    unsigned long id = strtoul(l->record.ptr + 6, NULL, 10);
    if (id % 2 == 0)
        return fix_id(ctx, l, out, why);
    (void)snprintf(why, REPLAY_TEXT_CAP, "id %lu is odd", id);
    return 1;
}

struct outcomes {
    uint32_t good, bad, sender, minified;
    char message[256];
};

static void on_outcome(void *ctx, const struct replay_outcome *o)
{
    struct outcomes *all = ctx;
    all->good += o->ok;
    all->bad += !o->ok;
    all->sender += slice_eq_str(o->letter->sender, "192.0.2.1 req7");
    all->minified += o->ok && memchr(o->record.ptr, ' ', o->record.len) == NULL;
    if (!o->ok)
        (void)snprintf(all->message, sizeof(all->message), "%s", o->message);
}

/* ---- letters ---- */

static void test_letters(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[40];
    reset();
    bad_ids(ids, 40);
    start(&n, dir);
    (void)post(&n, "alpha", ids, 25, "", 0);
    (void)post(&n, "beta", ids + 25, 15, "", 0);
    ok(settle(&n, 40, 0), "forty dead letters");

    struct outcomes seen = {0};
    struct replay_task dry = {
        .kind = REPLAY_ENTER,
        .enter = {.transform = refuse_odd, .outcome = on_outcome, .ctx = &seen, .dry_run = true}};
    uint64_t index = wal_commit_index(n.base.w);
    uint32_t even = 0;
    for (int i = 0; i < 40; i++)
        even += ids[i] % 2 == 0;
    ask(&n, &dry);
    ok(dry.result == 0 && dry.looked_at == 40 && dry.entered == even && dry.refused == 40 - even &&
           even > 10 && even < 30,
       "a dry run of every table: 40 looked at, about half would enter");
    ok(seen.good == even && seen.bad == 40 - even && seen.sender == 40 && seen.minified == even,
       "each is told, with its sender and in canonical form");
    ok(strstr(seen.message, "is odd") != NULL, "and why not: %s", seen.message);
    ok(wal_commit_index(n.base.w) == index && letters(&n, STORE_DEAD) == 40, "nothing changed");

    struct replay_task plain = {.kind = REPLAY_ENTER, .choice = {.table = SLICE_LIT("beta")}};
    ask(&n, &plain);
    ok(plain.result == 0 && plain.entered == 15, "without a rule they enter");
    ok(settle(&n, 40, 0), "and become letters again");

    struct replay_task page = {.kind = REPLAY_ENTER,
                               .choice = {.table = SLICE_LIT("alpha")},
                               .enter = {.transform = fix_id, .limit = 10}};
    ask(&n, &page);
    ok(page.entered == 10 && page.next.index != 0, "ten of them, and where it stopped");
    /* Two at once, for the same letters. */
    struct replay_task one = {.kind = REPLAY_ENTER, .enter = {.transform = fix_id}}, two = one;
    one.done = two.done = &n.done;
    one.who = two.who = SLICE_LIT("ops r9");
    ok(replay_ask(n.replay, &one) == 0 && replay_ask(n.replay, &two) == 0, "two asked at once");
    (void)wait_link(&n);
    (void)wait_link(&n);
    ok(one.result == 0 && two.result == 0 && one.entered + two.entered == 30,
       "they share the thirty that are left");
    ok(settle(&n, 0, 0), "no letter is left");
    is_u64(stored_once(ids, 40, FIXED), 40, "each is stored once");
    stop(&n);
    tmpdir_remove(dir);
}

struct first {
    struct store_letter_id ids[8];
    uint32_t count;
};

static bool take_ids(void *ctx, const struct store_letter *l)
{
    struct first *f = ctx;
    f->ids[f->count++] = l->id;
    return f->count < 8;
}

static void test_ids_edit_purge(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[40];
    struct first f = {0};
    struct err e = {0};
    reset();
    bad_ids(ids, 40);
    start(&n, dir);
    (void)post(&n, "alpha", ids, 20, "", 0);
    (void)post(&n, "gamma", ids + 20, 20, "", 0);
    ok(settle(&n, 40, 0), "forty dead letters");
    ok(store_letter_list(n.base.store, STORE_DEAD, SLICE_LIT("alpha"), (struct store_letter_id){0},
                         take_ids, &f, &e) == 0,
       "ids");
    f.ids[3] = f.ids[2]; /* named twice */
    f.ids[4].ordinal = 999;
    struct replay_task some = {.kind = REPLAY_ENTER,
                               .choice = {.ids = f.ids, .id_count = 5},
                               .enter = {.transform = fix_id}};
    ask(&n, &some);
    ok(some.result == 0 && some.entered == 3 && some.missing == 1,
       "by id: each once, one is missing");
    ask(&n, &some);
    ok(some.result == 0 && some.missing == 1 + 4, "asked again: all are gone");

    struct replay_task edit = {.kind = REPLAY_EDIT,
                               .edit = {.id = f.ids[5],
                                        .record = SLICE_LIT("{\"id\": 12,\n \"y\":"
                                                            "null}")}};
    ask(&n, &edit);
    ok(edit.result == 0 && edit.index > 0, "edited");
    struct replay_task again = {.kind = REPLAY_ENTER, .choice = {.ids = f.ids + 5, .id_count = 1}};
    ask(&n, &again);
    ok(again.entered == 1, "the edited one enters");
    edit.edit.id.ordinal = 999;
    ask(&n, &edit);
    ok(edit.result == WH_ENOTFOUND && edit.error[0] != '\0', "no such letter: %s", edit.error);
    edit.edit.id = f.ids[6];
    edit.edit.record = SLICE_LIT("{\"id\":12} {}");
    ask(&n, &edit);
    ok(edit.result == WH_ESYNTAX, "not one object: %s", edit.error);
    ok(settle(&n, 36, 0) && fake->stored[12] == 1, "and is stored");

    struct replay_task purge = {.kind = REPLAY_PURGE, .choice = {.ids = f.ids + 6, .id_count = 2}};
    ask(&n, &purge);
    ok(purge.result == 0 && purge.purged_count == 2 && purge.purged_bytes > 0 &&
           purge.purged_tables == 1 && strcmp(purge.purged[0].table, "alpha") == 0 &&
           purge.purged[0].count == 2 && purge.index > 0 && purge.time_ns > 0,
       "two purged, with a receipt");
    replay_task_fini(&purge);
    purge.choice = (struct replay_choice){.before_ns = 1};
    ask(&n, &purge);
    ok(purge.result == 0 && purge.purged_count == 0, "none is that old");
    replay_task_fini(&purge);
    purge.choice = (struct replay_choice){.table = SLICE_LIT("gamma")};
    ask(&n, &purge);
    ok(purge.result == 0 && purge.purged_count == 20, "a table's");
    replay_task_fini(&purge);
    ok(letters(&n, STORE_DEAD) == 14, "the others stay");
    purge.choice = (struct replay_choice){.before_ns = UINT64_MAX};
    ask(&n, &purge);
    ok(purge.result == 0 && purge.purged_count == 14 && purge.purged_tables == 1,
       "all that are old");
    replay_task_fini(&purge);

    /* The store is lost: the log tells the same story. */
    char command[4200];
    stop(&n);
    (void)snprintf(command, sizeof(command), "rm -r %s/store", dir);
    ok(system(command) == 0, "the store is lost");
    start(&n, dir);
    ok(settle(&n, 0, 0), "no letter comes back");
    is_u64(stored_once(ids, 3, FIXED), 3, "and no row a second time");
    stop(&n);
    tmpdir_remove(dir);
}

static void test_refusals(void)
{
    char *dir = tmpdir_make();
    struct node n;
    struct store_letter_id id = {.index = 1};
    reset();
    start(&n, dir);
    struct replay_task both = {.kind = REPLAY_ENTER,
                               .choice = {.table = SLICE_LIT("alpha"), .ids = &id, .id_count = 1}};
    ask(&n, &both);
    ok(both.result == WH_ESYNTAX, "a table and ids: %s", both.error);
    struct replay_task where = {.kind = REPLAY_ENTER, .enter = {.after = id}};
    ask(&n, &where);
    ok(where.result == WH_ESYNTAX, "a place without a table: %s", where.error);
    atomic_store(&catalog, NULL);
    uint32_t bad[] = {997 + 5};
    struct replay_task blind = {.kind = REPLAY_ENTER, .choice = {.table = SLICE_LIT("alpha")}};
    ask(&n, &blind);
    ok(blind.result == WH_EAGAIN && strstr(blind.error, "schema") != NULL, "no schema: %s",
       blind.error);
    atomic_store(&catalog, before);
    (void)post(&n, "alpha", bad, 1, ",\"z\":1", 0);
    ok(settle(&n, 1, 0), "a letter with an unknown column");
    struct outcomes seen = {0};
    struct replay_task task = {.kind = REPLAY_ENTER,
                               .enter = {.outcome = on_outcome, .ctx = &seen}};
    ask(&n, &task);
    ok(task.refused == 1 && strcmp(seen.message, "unknown column \"z\" for table \"alpha\"") == 0,
       "is refused as ingest would: %s", seen.message);
    task = (struct replay_task){.kind = REPLAY_JOB_CANCEL, .job = {.job = 5}};
    ask(&n, &task);
    ok(task.result == WH_ENOTFOUND, "no such job: %s", task.error);
    task = (struct replay_task){.kind = REPLAY_JOB_START, .job = {.table = SLICE_LIT("nowhere")}};
    ask(&n, &task);
    ok(task.result == WH_ENOTFOUND && strcmp(task.error, "unknown table: nowhere") == 0, "%s",
       task.error);
    task = (struct replay_task){.kind = REPLAY_JOB_START,
                                .job = {.table = SLICE_LIT("alpha"), .from = 900, .to = 800}};
    ask(&n, &task);
    ok(task.result == WH_ENOTFOUND, "an empty range: %s", task.error);
    stop(&n);
    tmpdir_remove(dir);
}

/* ---- held rows ---- */

static bool json_has(struct node *n, const char *what)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    bool has = replay_drift_json(n->replay, SLICE_LIT("beta"), &out) == 0;
    buf_put_u8(&out, 0);
    has = has && strstr(out.ptr, what) != NULL;
    buf_fini(&out);
    return has;
}

static bool wait_json(struct node *n, const char *what)
{
    for (int i = 0; i < 4000; i++) {
        if (json_has(n, what))
            return true;
        (void)poll(NULL, 0, 5);
    }
    struct buf out;
    buf_init(&out, SIZE_MAX);
    (void)!replay_drift_json(n->replay, SLICE_LIT("beta"), &out);
    printf("# %.*s\n", (int)out.len, out.ptr);
    buf_fini(&out);
    return false;
}

/* What of the log came out of the held shelf: in which order, and for subscribers? */
static void released(struct node *n, uint32_t *rows, uint32_t *quiet, bool *ordered)
{
    struct wal_cursor *c;
    struct wal_view v;
    struct err e = {0};
    struct flush_origin o;
    uint64_t last = 0;
    *rows = *quiet = 0;
    *ordered = wal_cursor_open(&c, n->base.w, 0, &e) == 0;
    while (wal_cursor_next(c, &v, &e) == 0) {
        struct wal_batch b;
        if (v.type != WAL_EVENTS || wal_batch_parse(v.payload, &b, &e) != 0 ||
            (b.flags & WAL_BATCH_ORIGIN) == 0 || flush_origin_get(b.origin, &o, &e) != 0)
            continue;
        *quiet += (b.flags & WAL_BATCH_QUIET) != 0 ? b.count : 0;
        for (uint32_t i = 0; i < b.count; i++) {
            struct wal_batch_record r = wal_batch_get(&b, i);
            *ordered = *ordered && r.received_ns > last;
            last = r.received_ns;
            ++*rows;
        }
    }
    wal_cursor_close(c);
}

static void test_held(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[60], rows, quiet;
    bool ordered;
    reset();
    good_ids(ids, 100, 60);
    start(&n, dir);
    (void)post(&n, "beta", ids, 20, ",\"late\":1", WAL_BATCH_HELD);
    (void)post(&n, "beta", ids + 20, 20, ",\"late\":null,\"other\":\"2026-11-21T10:00:00Z\"",
               WAL_BATCH_HELD);
    (void)post(&n, "beta", ids + 40, 20, ",\"late\":2", WAL_BATCH_HELD);
    ok(settle(&n, 0, 60), "sixty rows are held");
    is_u64(stored_once(ids, 60, 0), 0, "none is stored");
    ok(flush_held_bytes(n.flush) > 60 * 16, "their bytes are known");
    ok(wait_json(&n, "{\"name\":\"late\",\"count\":60,"), "the drift names the column");
    ok(wait_json(&n, "\"kinds\":[\"null\",\"number\"],\"suggested_type\":\"Nullable(UInt64)\""),
       "with kinds and a type");
    ok(json_has(&n, "{\"name\":\"other\",\"count\":20,") &&
           json_has(&n, "ALTER TABLE `beta` ADD COLUMN IF NOT EXISTS `late` Nullable(UInt64), ADD "
                        "COLUMN IF NOT EXISTS `other` Nullable(DateTime64(9, 'UTC'))") &&
           json_has(&n, "\"total\":60,\"scanned\":true}"),
       "and the statement for both");
    stop(&n);
    start(&n, dir);
    ok(settle(&n, 0, 60) && wait_json(&n, "{\"name\":\"late\",\"count\":60,"),
       "a restart knows the same");

    atomic_store(&catalog, after);
    ok(settle(&n, 0, 20), "the column is there: rows that lack no other enter");
    ok(stored_once(ids, 20, 0) == 20 && stored_once(ids + 40, 20, 0) == 20, "each once");
    ok(wait_json(&n, "\"columns\":[{\"name\":\"other\",\"count\":20,"),
       "the rest lacks one column");
    released(&n, &rows, &quiet, &ordered);
    ok(rows == 40 && ordered && quiet == 0, "in the order of acceptance, for subscribers too");

    struct replay_task drop = {.kind = REPLAY_ENTER,
                               .choice = {.shelf = STORE_HELD, .table = SLICE_LIT("beta")},
                               .enter = {.ignore_unknown = true, .limit = 5}};
    ask(&n, &drop);
    ok(drop.result == 0 && drop.entered == 5, "five enter without the column, by hand");
    ok(settle(&n, 0, 15) && stored_once(ids + 20, 5, 0) == 5, "and are stored");
    ok(wait_json(&n, "{\"name\":\"other\",\"count\":15,"), "the drift is counted anew");
    struct replay_task purge = {.kind = REPLAY_PURGE, .choice = {.shelf = STORE_HELD}};
    ask(&n, &purge);
    ok(purge.result == 0 && purge.purged_count == 15, "the rest is purged");
    replay_task_fini(&purge);
    ok(wait_json(&n, "{\"tables\":[],\"total\":0,\"scanned\":true}"), "no drift is left");
    is_u64(flush_held_bytes(n.flush), 0, "and no bytes");
    stop(&n);
    tmpdir_remove(dir);
}

/* A row that the log has had since `index`, put on the shelf now: what the flusher does when a
 * column goes away between a row's acceptance and its insert. */
static void hold_late(struct node *n, uint64_t index, uint32_t id, const char *extra)
{
    struct proposal p = {.type = WAL_DEAD_LETTER, .done = &n->done, .part_count = 1};
    struct buf out, record;
    buf_init(&out, SIZE_MAX);
    buf_init(&record, SIZE_MAX);
    buf_printf(&record, "{\"id\":%u%s}", id, extra);
    flush_dead_put_head(&out, &(struct flush_dead){.table = SLICE_LIT("beta"),
                                                   .plan_index = index,
                                                   .failed_at_ns = io_realtime_ns(),
                                                   .fate = FLUSH_FATE_HELD});
    flush_dead_put_item(&out, &(struct flush_dead_item){.index = index,
                                                        .received_ns = 1000 + id,
                                                        .code = 16,
                                                        .text = SLICE_LIT("No such column"),
                                                        .record = buf_slice(&record)});
    flush_dead_set_count(&out, 1);
    p.parts[0] = (struct iovec){out.ptr, out.len};
    if (!buf_ok(&out) || !buf_ok(&record) || commit_propose(n->base.log, &p) != 0)
        abort();
    (void)wait_link(n);
    buf_fini(&record);
    buf_fini(&out);
}

/* Looked at are held rows from the oldest to the youngest: one that is put in between later must
 * not be overlooked. */
static void test_held_late(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[4];
    reset();
    atomic_store(&catalog, after);
    good_ids(ids, 100, 4);
    start(&n, dir);
    uint64_t index = post(&n, "beta", ids, 1, "", 0);
    (void)post(&n, "beta", ids + 1, 1, ",\"other\":1", WAL_BATCH_HELD);
    ok(settle(&n, 0, 1) && wait_json(&n, "{\"name\":\"other\",\"count\":1,"),
       "a row that lacks a column was looked at");
    hold_late(&n, index, ids[2], ",\"other\":1");
    ok(wait_json(&n, "{\"name\":\"other\",\"count\":2,"), "so is an older one that is held later");
    /* A letter's id is where its record is in the log: this one takes the first one's. */
    struct replay_task purge = {.kind = REPLAY_PURGE, .choice = {.shelf = STORE_HELD}};
    ask(&n, &purge);
    ok(purge.result == 0 && purge.purged_count == 2, "both are purged");
    replay_task_fini(&purge);
    (void)post(&n, "beta", ids + 1, 1, ",\"other\":1", WAL_BATCH_HELD);
    ok(settle(&n, 0, 1) && wait_json(&n, "{\"name\":\"other\",\"count\":1,"), "another one waits");
    hold_late(&n, index, ids[3], ",\"late\":1");
    ok(settle(&n, 0, 1) && stored_once(ids + 3, 1, 0) == 1,
       "an older one whose column is there enters, and is stored once");
    stop(&n);
    tmpdir_remove(dir);
}

/* ---- jobs ---- */

static bool job_is(struct node *n, uint64_t job, const char *what)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    int rc = replay_jobs_json(n->replay, job, &out);
    buf_put_u8(&out, 0);
    bool is = rc == 0 && strstr(out.ptr, what) != NULL;
    buf_fini(&out);
    return is;
}

static bool wait_job(struct node *n, uint64_t job, const char *what)
{
    for (int i = 0; i < 4000; i++) {
        if (job_is(n, job, what))
            return true;
        (void)poll(NULL, 0, 5);
    }
    struct buf out;
    buf_init(&out, SIZE_MAX);
    (void)!replay_jobs_json(n->replay, 0, &out);
    printf("# %.*s\n", (int)out.len, out.ptr);
    buf_fini(&out);
    return false;
}

/* Rows of "gone", which has no table, in entries of 7, with rows of others between. */
static void post_gone(struct node *n, const uint32_t *ids, uint32_t count)
{
    static const uint32_t other[] = {1};
    for (uint32_t i = 0; i < count; i += 7) {
        (void)post(n, "gone", ids + i, count - i < 7 ? count - i : 7, "", 0);
        if (i % 21 == 0)
            (void)post(n, "alpha", other, 1, "", 0);
    }
}

static void test_jobs(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[300];
    reset();
    good_ids(ids, 2000, 300);
    start(&n, dir);
    post_gone(&n, ids, 300);
    ok(settle(&n, 300, 0), "rows of a table that is gone are letters");
    struct replay_task task = {.kind = REPLAY_JOB_START,
                               .job = {.table = SLICE_LIT("gone"), .into = SLICE_LIT("gamma")}};
    ask(&n, &task);
    ok(task.result == 0 && task.job.job == task.index, "a job %s", task.error);
    ok(wait_job(&n, task.index, "\"state\":\"done\"") && job_is(&n, task.index, "\"rows\":300,"),
       "it ends with 300 rows");
    ok(settle(&n, 300, 0) && stored_once(ids, 300, 0) == 300, "each is stored once");

    /* A slow one: seen, one per target, cancelled. */
    struct replay_task slow = task;
    slow.job.rows_per_second = 10;
    slow.job.into = SLICE_LIT("delta");
    ask(&n, &slow);
    ok(slow.result == 0 && wait_job(&n, slow.index, "\"state\":\"running\""), "another runs");
    struct replay_task second = slow;
    ask(&n, &second);
    ok(second.result == WH_EFULL && strstr(second.error, "is filling this table") != NULL,
       "one into a table at a time: %s", second.error);
    ok(wait_job(&n, 0, "\"estimated_end\""), "its end is estimated");
    struct replay_task cancel = {.kind = REPLAY_JOB_CANCEL, .job = {.job = slow.index}};
    ask(&n, &cancel);
    ok(cancel.result == 0 && wait_job(&n, slow.index, "\"state\":\"cancelled\""), "cancelled");
    ok(job_is(&n, slow.index, "cancelled by ops r9"), "by whom is said");

    /* By time, and rows that were held when they came. */
    uint32_t held[10];
    good_ids(held, 9000, 10);
    uint64_t now = io_realtime_ns();
    while (io_realtime_ns() <= now) {
    }
    (void)post(&n, "beta", held, 10, ",\"late\":1", WAL_BATCH_HELD);
    struct replay_task timed = {.kind = REPLAY_JOB_START,
                                .job = {.table = SLICE_LIT("beta"),
                                        .into = SLICE_LIT("gamma"),
                                        .from = now,
                                        .by_time = true,
                                        .held = true,
                                        .ignore_unknown = true}};
    ask(&n, &timed);
    ok(timed.result == 0 && wait_job(&n, timed.index, "\"state\":\"done\""), "a job by time %s",
       timed.error);
    ok(job_is(&n, timed.index, "\"rows\":10,"), "takes what is in the range");
    ok(settle(&n, 300, 10) && stored_once(held, 10, 0) == 10, "the unknown column left out");
    stop(&n);
    tmpdir_remove(dir);
}

/* The log that a job still needs is deleted while the job does not run. */
static void test_job_log_gone(void)
{
    char *dir = tmpdir_make();
    struct node n;
    static uint32_t ids[2000];
    reset();
    good_ids(ids, 20000, 2000);
    start(&n, dir);
    post_gone(&n, ids, 70);
    ok(settle(&n, 70, 0), "rows");
    struct replay_task task = {.kind = REPLAY_JOB_START,
                               .job = {.table = SLICE_LIT("gone"),
                                       .into = SLICE_LIT("gamma"),
                                       .rows_per_second = 1}};
    ask(&n, &task);
    ok(task.result == 0 && wait_job(&n, task.index, "\"rows\":1,"), "a slow job has begun");
    stop(&n);
    retain_ms = 0;
    without_replay = true;
    start(&n, dir);
    struct wal_stats ws;
    char fat[4000];
    (void)snprintf(fat, sizeof(fat), ",\"y\":\"%0*d\"", 3000, 0);
    uint64_t end = io_monotonic_ns() + UINT64_C(20000000000);
    for (uint32_t i = 0;; i = (i + 10) % 2000) {
        (void)post(&n, "alpha", ids + i, 10, fat, 0);
        wal_stats_get(n.base.w, &ws);
        if (ws.first_index > task.index || io_monotonic_ns() > end)
            break;
    }
    ok(ws.first_index > task.index, "its part of the log is deleted");
    stop(&n);
    without_replay = false;
    start(&n, dir);
    ok(wait_job(&n, task.index, "\"state\":\"failed\"") &&
           job_is(&n, task.index, "were deleted before the job reached them"),
       "the job fails, and says which entries are gone");
    struct replay_task again = {.kind = REPLAY_JOB_START,
                                .job = {.table = SLICE_LIT("gone"),
                                        .into = SLICE_LIT("gamma"),
                                        .from = 1}};
    ask(&n, &again);
    ok(again.result == WH_ENOTFOUND &&
           strstr(again.error, "are deleted; the oldest that is left") != NULL,
       "and another that begins there is refused: %s", again.error);
    stop(&n);
    retain_ms = 3600000;
    tmpdir_remove(dir);
}

/* A table into itself: its copies are not copied again by the next job. */
static void test_job_same_table(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[50];
    reset();
    good_ids(ids, 3000, 50);
    start(&n, dir);
    (void)post(&n, "alpha", ids, 50, "", 0);
    struct replay_task task = {.kind = REPLAY_JOB_START, .job = {.table = SLICE_LIT("alpha")}};
    for (int i = 0; i < 2; i++) {
        ask(&n, &task);
        ok(task.result == 0 && wait_job(&n, task.index, "\"state\":\"done\"") &&
               job_is(&n, task.index, "\"rows\":50,"),
           "fifty rows, not their copies");
    }
    ok(settle(&n, 0, 0) && fake->stored[ids[7]] == 3, "stored three times");
    stop(&n);
    tmpdir_remove(dir);
}

/* Letters that entered again are in the log twice: unchanged ones are one row to a job, changed
 * ones are another. */
static void test_job_letters(void)
{
    char *dir = tmpdir_make();
    struct node n;
    uint32_t ids[12];
    reset();
    bad_ids(ids, 12);
    start(&n, dir);
    (void)post(&n, "alpha", ids, 5, "", 0);
    (void)post(&n, "alpha", ids + 5, 7, "", 0);
    struct replay_task enter = {.kind = REPLAY_ENTER, .choice = {.table = SLICE_LIT("alpha")}};
    for (int i = 0; i < 2; i++) {
        ok(settle(&n, 12, 0), "twelve letters");
        enter.entered = 0;
        ask(&n, &enter);
        ok(enter.result == 0 && enter.entered == 12, "enter as they are");
    }
    ok(settle(&n, 12, 0), "and are letters again");
    enter.enter.transform = fix_id;
    ask(&n, &enter);
    ok(settle(&n, 0, 0) && stored_once(ids, 12, FIXED) == 12, "mended, they are stored");
    struct replay_task task = {.kind = REPLAY_JOB_START,
                               .job = {.table = SLICE_LIT("alpha"),
                                       .into = SLICE_LIT("gamma"),
                                       .rows_per_second = 200}};
    ask(&n, &task);
    ok(task.result == 0 && wait_job(&n, task.index, "\"state\":\"done\"") &&
           job_is(&n, task.index, "\"rows\":24,"),
       "a job takes each row once as it came and once as it was mended");
    ok(settle(&n, 12, 0) && fake->stored[ids[3] + FIXED] == 2, "no further letters or rows");
    stop(&n);
    tmpdir_remove(dir);
}

/* ---- a kill before every step ---- */

#define KILL_LETTERS 30
#define KILL_HELD    30
#define KILL_ROWS    60

struct kill_rows {
    uint32_t bad[KILL_LETTERS], held[KILL_HELD], gone[KILL_ROWS];
};

static void kill_setup(struct kill_rows *k, const char *dir)
{
    struct node n;
    reset();
    bad_ids(k->bad, KILL_LETTERS);
    good_ids(k->held, 100, KILL_HELD);
    good_ids(k->gone, 2000, KILL_ROWS);
    start(&n, dir);
    (void)post(&n, "alpha", k->bad, KILL_LETTERS, "", 0);
    for (uint32_t i = 0; i < KILL_HELD; i += 10)
        (void)post(&n, "beta", k->held + i, 10, ",\"late\":1", WAL_BATCH_HELD);
    for (uint32_t i = 0; i < KILL_ROWS; i += 7)
        (void)post(&n, "gone", k->gone + i, KILL_ROWS - i < 7 ? KILL_ROWS - i : 7, "", 0);
    ok(settle(&n, KILL_LETTERS + KILL_ROWS, KILL_HELD), "letters and held rows");
    stop(&n);
}

/* Ask for everything, as often as this runs: letters by rule, a job, and the column is there. */
static void kill_child(const char *dir, uint32_t at)
{
    struct node n;
    atomic_store(&kill_at, at);
    atomic_store(&catalog, after);
    start(&n, dir);
    struct replay_task enter = {.kind = REPLAY_ENTER,
                                .choice = {.table = SLICE_LIT("alpha")},
                                .enter = {.transform = fix_id}};
    struct replay_task job = {.kind = REPLAY_JOB_START,
                              .job = {.table = SLICE_LIT("gone"),
                                      .into = SLICE_LIT("gamma"),
                                      .rows_per_second = 200}};
    ask(&n, &enter);
    if (!job_is(&n, 0, "\"into\":\"gamma\""))
        ask(&n, &job);
    bool good = enter.result == 0 && job.result == 0 && wait_job(&n, 0, "\"state\":\"done\"") &&
                settle(&n, KILL_ROWS, 0);
    atomic_store(&kill_at, 0);
    stop(&n);
    _exit(good ? 0 : 1);
}

static bool copy_dir(const char *from, const char *to)
{
    char command[9000];
    (void)snprintf(command, sizeof(command), "rm -rf %s/run && cp -r %s %s/run", to, from, to);
    return system(command) == 0;
}

static void test_kill(void)
{
    static struct fakech then;
    char *dir = tmpdir_make(), *work = tmpdir_make(), run[4200];
    struct kill_rows k;
    uint32_t at, wrong = 0;
    bool killed = true, ended = true;
    kill_setup(&k, dir);
    memcpy(&then, fake, sizeof(then));
    (void)snprintf(run, sizeof(run), "%s/run", work);
    (void)fflush(stdout);
    for (at = 1; killed && ended && wrong == 0 && at < 500; at++) {
        memcpy(fake, &then, sizeof(then));
        ended = copy_dir(dir, work);
        killed = false;
        for (int life = 0; life < 2 && ended; life++) {
            int status = 0;
            pid_t pid = fork();
            if (pid == 0)
                kill_child(run, life == 0 ? at : 0);
            (void)waitpid(pid, &status, 0);
            if (WIFSIGNALED(status)) {
                killed = true;
                fakech_unlock(fake);
            }
            if (WIFEXITED(status)) {
                ended = WEXITSTATUS(status) == 0;
                break;
            }
        }
        wrong = KILL_LETTERS + KILL_HELD + KILL_ROWS - stored_once(k.bad, KILL_LETTERS, FIXED) -
                stored_once(k.held, KILL_HELD, 0) - stored_once(k.gone, KILL_ROWS, 0);
        if (wrong > 0 || !ended)
            printf("# killed before step %u: %u rows wrong\n", at, wrong);
    }
    ok(ended && !killed, "killed before each of %u steps, everything ends the second time", at - 2);
    ok(at > 15, "there were steps to be killed at");
    is_u64(wrong, 0, "each row is stored once");
    tmpdir_remove(dir);
    tmpdir_remove(work);
}

int main(void)
{
    fake = fakech_make();
    before = make_catalog(false);
    after = make_catalog(true);
    ok(before != NULL && after != NULL, "catalogs");
    test_letters();
    test_ids_edit_purge();
    test_refusals();
    test_held();
    test_held_late();
    test_jobs();
    test_job_same_table();
    test_job_letters();
    test_job_log_gone();
    test_kill();
    schema_catalog_unref(before);
    schema_catalog_unref(after);
    return tap_done();
}
