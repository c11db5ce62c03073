/* SPDX-License-Identifier: Apache-2.0 */
/* The control store: blobs, positions, dead letters, and what a kill leaves of them. */
#include "store/store.h"

#include "base/limits.h"

#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"

#include <inttypes.h>
#include <signal.h>
#include <sys/wait.h>

static struct store *open_store(const char *dir)
{
    struct store *s = NULL;
    struct err e = {0};
    struct store_options o = {.path = dir, .map_bytes = 64 << 20};
    int rc = store_open(&s, &o, &e);
    if (rc != 0)
        printf("# %s\n", e.text);
    return s;
}

static struct store_letter letter(uint64_t index, uint32_t ordinal, const char *table)
{
    return (struct store_letter){.id = {.index = index, .ordinal = ordinal, .epoch = 1},
                                 .code = 27,
                                 .failed_at_ns = 7 + index,
                                 .received_ns = 5,
                                 .table = slice_str(table),
                                 .text = SLICE_LIT("Cannot parse"),
                                 .sender = SLICE_LIT("192.0.2.7 r1"),
                                 .record = SLICE_LIT("{\"a\":\"x\"}")};
}

struct counts {
    uint64_t tables, records, bytes, clicks;
};

static void on_count(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct counts *c = ctx;
    c->tables++;
    c->records += records;
    c->bytes += bytes;
    if (slice_eq_str(table, "clicks"))
        c->clicks = records;
}

static struct counts counts_of(struct store *s, enum store_shelf shelf)
{
    struct counts c = {0};
    struct err e = {0};
    ok(store_letter_counts(s, shelf, on_count, &c, &e) == 0, "counts are read %s", e.text);
    return c;
}

static struct counts counts(struct store *s)
{
    return counts_of(s, STORE_DEAD);
}

struct list {
    uint64_t indexes[256];
    size_t count, max;
    bool whole;
};

static bool on_letter(void *ctx, const struct store_letter *l)
{
    struct list *list = ctx;
    list->whole = slice_eq_str(l->text, "Cannot parse") &&
                  slice_eq_str(l->sender, "192.0.2.7 r1") && l->code == 27 &&
                  l->failed_at_ns == 7 + l->id.index && l->received_ns == 5 && l->id.epoch == 1 &&
                  (list->count == 0 || list->whole);
    list->indexes[list->count++] = l->id.index;
    return list->count < list->max;
}

static struct list list_of(struct store *s, enum store_shelf shelf, const char *table,
                           struct store_letter_id after, size_t max)
{
    struct list list = {.max = max};
    struct err e = {0};
    ok(store_letter_list(s, shelf, slice_str(table), after, on_letter, &list, &e) == 0, "listed %s",
       e.text);
    return list;
}

static void test_blobs(struct store *s)
{
    struct err e = {0};
    struct buf out;
    char name[402];
    buf_init(&out, SIZE_MAX);
    ok(store_blob_get(s, "schema", &out, &e) == WH_ENOTFOUND, "a blob that is not there");
    ok(store_blob_put(s, "schema", SLICE_LIT("one"), &e) == 0, "put");
    ok(store_blob_put(s, "schema", SLICE_LIT("two two"), &e) == 0, "replace");
    ok(store_blob_get(s, "schema", &out, &e) == 0, "get");
    is_mem(out.ptr, out.len, "two two", 7, "the last value");
    ok(store_blob_delete(s, "schema", &e) == 0 && store_blob_delete(s, "schema", &e) == 0,
       "delete, twice");
    memset(name, 'n', 401);
    name[401] = '\0';
    ok(store_blob_put(s, name, SLICE_LIT(""), &e) == WH_ELIMIT, "a name of 401 bytes is refused");
    name[400] = '\0';
    ok(store_blob_put(s, name, SLICE_LIT(""), &e) == 0, "a name of 400 bytes is fine");
    ok(store_blob_put(s, "", SLICE_LIT("x"), &e) == WH_ELIMIT, "no name is refused");
    struct slice huge = {name, 64 * MIB + 1}; /* the length decides, nothing is read */
    ok(store_blob_put(s, "schema", huge, &e) == WH_ELIMIT, "more than 64 MiB are refused");
    buf_fini(&out);
}

struct positions {
    int count;
    uint64_t sum;
};

static void on_position(void *ctx, struct slice table, uint64_t index)
{
    struct positions *p = ctx;
    p->count += table.len > 0;
    p->sum += index;
}

static void test_positions(struct store *s)
{
    struct err e = {0};
    struct store_txn *t;
    struct store_flush_state st;
    struct positions p = {0};
    char longname[1024];
    memset(longname, 'x', sizeof(longname));
    struct slice a = {longname, 1000}, b = {longname, 1001}, log1 = SLICE_LIT("log-1");
    ok(store_flush_load(s, log1, &st, on_position, &p, &e) == WH_ENOTFOUND, "nothing yet");
    ok(store_txn_begin(s, &t, &e) == 0, "begin");
    store_txn_reset(t, log1);
    store_txn_position(t, SLICE_LIT("clicks"), 40);
    store_txn_position(t, a, 1);
    store_txn_position(t, b, 2);
    store_txn_applied(t, 50, 30);
    ok(store_txn_commit(t, &e) == 0, "commit");
    ok(store_flush_load(s, log1, &st, on_position, &p, &e) == 0, "load");
    ok(st.applied_index == 50 && st.low_index == 30 && st.epoch == 1, "applied, low, epoch");
    ok(p.count == 3 && p.sum == 43, "three positions, long names apart");
    ok(store_flush_load(s, SLICE_LIT("log-2"), &st, on_position, &p, &e) == WH_ENOTFOUND,
       "another log's positions are not given out");
    ok(store_txn_begin(s, &t, &e) == 0, "begin");
    store_txn_position(t, SLICE_LIT("clicks"), 99);
    store_txn_abort(t);
    p = (struct positions){0};
    ok(store_flush_load(s, log1, &st, on_position, &p, &e) == 0 && p.sum == 43,
       "an aborted transaction leaves nothing");
}

static struct store_txn *begin(struct store *s)
{
    struct store_txn *t = NULL;
    struct err e = {0};
    ok(store_txn_begin(s, &t, &e) == 0, "begin %s", e.text);
    return t;
}

static void commit(struct store_txn *t)
{
    struct err e = {0};
    ok(store_txn_commit(t, &e) == 0, "commit %s", e.text);
}

/* 100 letters, the younger ones put first, half of them of clicks. */
static void put_hundred(struct store *s, enum store_shelf shelf)
{
    struct store_txn *t = begin(s);
    is_u64(store_txn_epoch(t), 1, "the epoch of the log");
    for (uint32_t i = 0; i < 100; i++) {
        struct store_letter l = letter(200 - i, i, i % 2 ? "clicks" : "visits");
        store_txn_letter_put(t, shelf, &l);
        store_txn_letter_put(t, shelf, &l); /* the same entry again */
    }
    commit(t);
}

static const struct store_letter_id oldest;

static void test_dead_letters(struct store *s)
{
    put_hundred(s, STORE_DEAD);
    struct counts c = counts(s);
    ok(c.records == 100 && c.tables == 2 && c.clicks == 50, "each counted once");
    struct list l = list_of(s, STORE_DEAD, "clicks", oldest, 256);
    ok(l.count == 50 && l.whole && l.indexes[0] == 101 && l.indexes[49] == 199,
       "one table's, whole, oldest first");
    uint64_t each = c.bytes / 100;
    struct store_txn *t = begin(s);
    is_u64(store_txn_letter_trim(t, each * 30), 70, "the budget drops 70");
    is_u64(store_txn_letter_trim(t, each * 30), 0, "and then none");
    commit(t);
    c = counts(s);
    ok(c.records == 30 && c.bytes <= each * 31, "30 left");
    l = list_of(s, STORE_DEAD, "", oldest, 256);
    ok(l.count == 30 && l.indexes[0] == 171, "the oldest went");
    is_u64(list_of(s, STORE_DEAD, "clicks", oldest, 256).count, 15, "from the table's list too");
    t = begin(s);
    store_txn_letter_trim(t, 0);
    commit(t);
    c = counts(s);
    ok(c.records == 0 && c.tables == 0, "a budget of nothing empties it");
}

static void test_pages(struct store *s)
{
    put_hundred(s, STORE_DEAD);
    struct store_letter_id after = oldest;
    size_t seen = 0;
    bool rising = true;
    for (;;) {
        struct list l = list_of(s, STORE_DEAD, "clicks", after, 7);
        for (size_t i = 0; i < l.count; i++) {
            rising = rising && l.indexes[i] > after.index;
            after = letter(l.indexes[i], (uint32_t)(200 - l.indexes[i]), "clicks").id;
        }
        seen += l.count;
        if (l.count < 7)
            break;
    }
    ok(seen == 50 && rising, "pages of seven give each letter once, in order");
    is_u64(list_of(s, STORE_DEAD, "click", oldest, 9).count, 0, "a table without letters");
    is_u64(list_of(s, STORE_HELD, "clicks", oldest, 9).count, 0, "the other shelf is empty");
}

static void copy_record(void *ctx, const struct store_letter *l)
{
    (void)snprintf(ctx, 64, "%.*s|%.*s", SLICE_ARG(l->record), SLICE_ARG(l->sender));
}

static void test_change(struct store *s)
{
    struct err e = {0};
    char text[64];
    struct store_letter_id id = letter(150, 50, "visits").id, none = {.index = 150, .ordinal = 51};
    uint64_t bytes = counts(s).bytes;
    struct store_txn *t = begin(s);
    ok(store_txn_letter_replace(t, STORE_DEAD, id, SLICE_LIT("{\"a\":\"longer\"}")), "replaced");
    ok(!store_txn_letter_replace(t, STORE_DEAD, none, SLICE_LIT("{}")), "not there: not replaced");
    commit(t);
    ok(store_letter_get(s, STORE_DEAD, id, copy_record, text, &e) == 0, "one letter %s", e.text);
    is_str(text, "{\"a\":\"longer\"}|192.0.2.7 r1", "has the new record, and the rest as before");
    is_u64(counts(s).bytes, bytes + 5, "and is counted with it");
    ok(store_letter_get(s, STORE_DEAD, none, copy_record, text, &e) == WH_ENOTFOUND, "not there");
    ok(store_letter_get(s, STORE_HELD, id, copy_record, text, &e) == WH_ENOTFOUND,
       "not on the other shelf");
    t = begin(s);
    ok(store_txn_letter_remove(t, STORE_DEAD, id) > 0, "removed");
    is_u64(store_txn_letter_remove(t, STORE_DEAD, id), 0, "and not twice");
    commit(t);
    struct counts c = counts(s);
    ok(c.records == 99 && c.clicks == 50, "counted");
    is_u64(list_of(s, STORE_DEAD, "visits", oldest, 256).count, 49, "and listed so");
}

struct gone {
    uint64_t records, bytes, calls;
};

static void on_gone(void *ctx, struct slice table, uint64_t records, uint64_t bytes)
{
    struct gone *g = ctx;
    g->calls += table.len > 0;
    g->records += records;
    g->bytes += bytes;
}

static struct gone purge(struct store *s, enum store_shelf shelf, const char *table,
                         uint64_t before_ns)
{
    struct gone g = {0};
    struct store_txn *t = begin(s);
    store_txn_letter_purge(t, shelf, slice_str(table), before_ns, on_gone, &g);
    commit(t);
    return g;
}

static void test_purge(struct store *s)
{
    put_hundred(s, STORE_HELD);
    put_hundred(s, STORE_DEAD); /* brings back what is missing */
    uint64_t bytes = counts(s).bytes;
    struct gone g = purge(s, STORE_DEAD, "clicks", 7 + 120);
    ok(g.records == 10 && g.bytes == bytes / 10, "the old ones of a table: %" PRIu64, g.records);
    g = purge(s, STORE_DEAD, "", 7 + 120);
    ok(g.records == 9, "of every table: %" PRIu64, g.records);
    g = purge(s, STORE_DEAD, "clicks", 0);
    ok(g.records == 40 && counts(s).clicks == 0 && counts(s).records == 41, "a whole table");
    g = purge(s, STORE_DEAD, "clicks", 0);
    is_u64(g.records, 0, "which is empty then");
    uint64_t left = counts(s).bytes;
    g = purge(s, STORE_DEAD, "", 0);
    ok(g.records == 41 && g.bytes == left && counts(s).tables == 0, "everything");
    is_u64(list_of(s, STORE_DEAD, "", oldest, 256).count, 0, "and nothing is listed");
    is_u64(counts_of(s, STORE_HELD).records, 100, "the other shelf is untouched");
    (void)purge(s, STORE_HELD, "", 0);
}

static bool on_job(void *ctx, uint64_t job, struct slice value)
{
    char *text = ctx;
    (void)snprintf(text + strlen(text), 64, "%" PRIu64 "=%.*s;", job, SLICE_ARG(value));
    return true;
}

static void test_jobs(struct store *s)
{
    struct err e = {0};
    char text[256] = "";
    struct slice value;
    struct store_txn *t = begin(s);
    store_txn_job_put(t, 300, SLICE_LIT("c"));
    store_txn_job_put(t, 7, SLICE_LIT("a"));
    store_txn_job_put(t, 8, SLICE_LIT("b"));
    store_txn_job_put(t, 7, SLICE_LIT("new"));
    store_txn_job_delete(t, 8);
    store_txn_job_delete(t, 9);
    ok(store_txn_job_get(t, 7, &value) && slice_eq_str(value, "new"), "seen at once");
    ok(!store_txn_job_get(t, 8, &value), "deleted");
    commit(t);
    ok(store_job_each(s, on_job, text, &e) == 0, "jobs");
    is_str(text, "7=new;300=c;", "in number order");
}

static void test_ids(void)
{
    static const char *const bad[] = {"",
                                      "1",
                                      "1-2",
                                      "1-2-",
                                      "1-2-3-",
                                      "-1-2-3",
                                      "01-2-3",
                                      "1-2-3 ",
                                      "1-2-4294967296",
                                      "4294967296-2-3",
                                      "1-18446744073709551616-3",
                                      "a-b-c"};
    struct store_letter_id id, in = {.index = UINT64_MAX, .ordinal = UINT32_MAX, .epoch = 7};
    char text[STORE_LETTER_ID_CAP];
    store_letter_id_print(text, in);
    is_str(text, "7-18446744073709551615-4294967295", "an id as text");
    ok(store_letter_id_parse(slice_str(text), &id) && store_letter_id_cmp(id, in) == 0, "and back");
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(!store_letter_id_parse(slice_str(bad[i]), &id), "\"%s\" is none", bad[i]);
    ok(store_letter_id_parse(SLICE_LIT("0-0-0"), &id) && store_letter_id_cmp(id, in) < 0, "older");
}

/* A child commits numbered states until it is killed; what is there afterwards is one of them,
 * whole: a position, as many dead letters as it says, and the applied index agree. */
static void test_kill(const char *dir)
{
    bool good = true, grew = true;
    uint64_t before = 0;
    for (int round = 0; round < 12 && good; round++) {
        int fds[2];
        if (pipe(fds) != 0)
            break;
        pid_t pid = fork();
        if (pid == 0) {
            struct store *s = open_store(dir);
            struct err e = {0};
            for (uint64_t n = before + 1; s != NULL; n++) {
                struct store_txn *t;
                if (store_txn_begin(s, &t, &e) != 0)
                    break;
                if (n == 1)
                    store_txn_reset(t, SLICE_LIT("kill"));
                struct store_letter d = letter(n, 0, "clicks");
                store_txn_letter_put(t, STORE_DEAD, &d);
                store_txn_position(t, SLICE_LIT("clicks"), n);
                store_txn_applied(t, n, n);
                if (store_txn_commit(t, &e) != 0 || write(fds[1], "x", 1) != 1)
                    break;
            }
            _exit(1);
        }
        char c;
        for (int i = 0; i < 1 + round % 4; i++)
            if (read(fds[0], &c, 1) != 1)
                good = false;
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        (void)close(fds[0]);
        (void)close(fds[1]);
        struct store *s = open_store(dir);
        struct store_flush_state st = {0};
        struct positions p = {0};
        struct counts k = {0};
        struct err e = {0};
        good = good && s != NULL &&
               store_flush_load(s, SLICE_LIT("kill"), &st, on_position, &p, &e) == 0 &&
               store_letter_counts(s, STORE_DEAD, on_count, &k, &e) == 0;
        good = good && st.applied_index == p.sum && k.records == p.sum && st.low_index == p.sum;
        grew = grew && p.sum > before;
        before = p.sum;
        store_close(s);
    }
    ok(good, "after kill -9 the store is one committed state, whole");
    ok(grew, "and everything whose commit returned is there");
}

struct old_list {
    uint64_t indexes[16];
    size_t count;
    bool whole;
};

static bool on_old_letter(void *ctx, const struct store_letter *l)
{
    struct old_list *list = ctx;
    list->whole = l->sender.len == 0 && slice_eq_str(l->record, "{\"a\":\"x\"}") &&
                  l->id.epoch == 1 && l->failed_at_ns == 7 + l->id.index &&
                  (list->count == 0 || list->whole);
    list->indexes[list->count++] = l->id.index;
    return list->count < 16;
}

/* A store of the version before (tests/golden/store-v1, made by its code): six letters without
 * senders and without an index by table. */
static void test_old_store(void)
{
    const char *srcdir = getenv("srcdir");
    char *dir = tmpdir_make(), command[9000];
    struct err e = {0};
    (void)snprintf(command, sizeof(command), "cp %s/tests/golden/store-v1/data.mdb %s/",
                   srcdir != NULL ? srcdir : ".", dir);
    ok(system(command) == 0, "a store of the version before");
    for (int i = 0; i < 2; i++) {
        struct store *s = open_store(dir);
        struct old_list list = {0};
        struct store_flush_state st;
        struct positions p = {0};
        ok(s != NULL && store_flush_load(s, SLICE_LIT("log-1"), &st, on_position, &p, &e) == 0 &&
               p.sum == 40 && st.applied_index == 50,
           "is opened, with its positions");
        ok(store_letter_list(s, STORE_DEAD, SLICE_LIT("clicks"), (struct store_letter_id){0},
                             on_old_letter, &list, &e) == 0 &&
               list.count == 3 && list.whole && list.indexes[0] == 11 && list.indexes[2] == 15,
           "its letters are listed by table");
        store_close(s);
    }
    struct store *s = open_store(dir);
    struct gone g = purge(s, STORE_DEAD, "clicks", 0);
    ok(g.records == 3 && counts(s).records == 3, "and purged");
    struct store_txn *t = begin(s);
    ok(store_txn_letter_replace(t, STORE_DEAD, (struct store_letter_id){10, 0, 1}, SLICE_LIT("{}")),
       "and changed");
    is_u64(store_txn_letter_trim(t, 0), 3, "and dropped");
    commit(t);
    is_u64(counts(s).records, 0, "none is left");
    store_close(s);
    tmpdir_remove(dir);
}

int main(void)
{
    char *dir = tmpdir_make(), *dir2 = tmpdir_make();
    struct store *s = open_store(dir);
    ok(s != NULL, "open a new store");
    test_blobs(s);
    test_positions(s);
    test_dead_letters(s);
    test_pages(s);
    test_change(s);
    test_purge(s);
    test_jobs(s);
    test_ids();
    store_close(s);
    s = open_store(dir);
    struct store_flush_state st;
    struct positions p = {0};
    struct err e = {0};
    ok(store_flush_load(s, SLICE_LIT("log-1"), &st, on_position, &p, &e) == 0 && p.sum == 43,
       "positions are there after a restart");
    store_close(s);
    test_kill(dir2);
    test_old_store();
    FILE *f;
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/data.mdb", dir);
    f = fopen(path, "r+");
    for (int i = 0; f != NULL && i < 8192; i++)
        (void)fputc(0x5a, f);
    if (f != NULL)
        (void)fclose(f);
    struct store_options o = {.path = dir, .map_bytes = 64 << 20};
    int rc = store_open(&s, &o, &e);
    ok(rc == WH_ECORRUPT && strstr(e.text, "move the store folder away") != NULL,
       "a damaged file is refused with a remedy: %s", e.text);
    tmpdir_remove(dir);
    tmpdir_remove(dir2);
    return tap_done();
}
