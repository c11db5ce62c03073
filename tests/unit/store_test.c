/* SPDX-License-Identifier: Apache-2.0 */
/* The control store: blobs, positions, dead letters, and what a kill leaves of them. */
#include "store/store.h"

#include "base/limits.h"

#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"

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

static struct store_dead_letter letter(uint64_t index, uint32_t ordinal, const char *table)
{
    return (struct store_dead_letter){.index = index,
                                      .ordinal = ordinal,
                                      .code = 27,
                                      .failed_at_ns = 7,
                                      .received_ns = 5,
                                      .table = slice_str(table),
                                      .text = SLICE_LIT("Cannot parse"),
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

static struct counts counts(struct store *s)
{
    struct counts c = {0};
    struct err e = {0};
    ok(store_dlq_counts(s, on_count, &c, &e) == 0, "counts are read %s", e.text);
    return c;
}

static bool on_letter(void *ctx, const struct store_dead_letter *d)
{
    struct store_dead_letter *first = ctx;
    if (first->index == 0) {
        *first = *d;
        ok(slice_eq_str(d->text, "Cannot parse") && slice_eq_str(d->record, "{\"a\":\"x\"}") &&
               d->code == 27 && d->failed_at_ns == 7 && d->received_ns == 5,
           "a dead letter comes back whole");
    }
    return true;
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

static void test_dead_letters(struct store *s)
{
    struct err e = {0};
    struct store_txn *t;
    ok(store_txn_begin(s, &t, &e) == 0, "begin");
    for (uint32_t i = 0; i < 100; i++) {
        struct store_dead_letter d = letter(200 - i, i, i % 2 ? "clicks" : "visits");
        store_txn_dead_letter(t, &d);
        store_txn_dead_letter(t, &d); /* a replay */
    }
    ok(store_txn_commit(t, &e) == 0, "commit");
    struct counts c = counts(s);
    ok(c.records == 100 && c.tables == 2 && c.clicks == 50, "each counted once");
    struct store_dead_letter first = {0};
    ok(store_dlq_each(s, SLICE_LIT("clicks"), on_letter, &first, &e) == 0, "listed");
    is_u64(first.index, 101, "oldest first");
    uint64_t each = c.bytes / 100;
    ok(store_txn_begin(s, &t, &e) == 0, "begin");
    is_u64(store_txn_dead_letter_trim(t, each * 30, NULL, NULL), 70, "the budget drops 70");
    is_u64(store_txn_dead_letter_trim(t, each * 30, NULL, NULL), 0, "and then none");
    ok(store_txn_commit(t, &e) == 0, "commit");
    c = counts(s);
    ok(c.records == 30 && c.bytes <= each * 31, "30 left");
    first = (struct store_dead_letter){0};
    ok(store_dlq_each(s, (struct slice){0}, on_letter, &first, &e) == 0, "all listed");
    is_u64(first.index, 171, "the oldest went");
    ok(store_txn_begin(s, &t, &e) == 0, "begin");
    store_txn_dead_letter_trim(t, 0, NULL, NULL);
    ok(store_txn_commit(t, &e) == 0, "commit");
    c = counts(s);
    ok(c.records == 0 && c.tables == 0, "a budget of nothing empties it");
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
                struct store_dead_letter d = letter(n, 0, "clicks");
                store_txn_dead_letter(t, &d);
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
               store_dlq_counts(s, on_count, &k, &e) == 0;
        good = good && st.applied_index == p.sum && k.records == p.sum && st.low_index == p.sum;
        grew = grew && p.sum > before;
        before = p.sum;
        store_close(s);
    }
    ok(good, "after kill -9 the store is one committed state, whole");
    ok(grew, "and everything whose commit returned is there");
}

int main(void)
{
    char *dir = tmpdir_make(), *dir2 = tmpdir_make();
    struct store *s = open_store(dir);
    ok(s != NULL, "open a new store");
    test_blobs(s);
    test_positions(s);
    test_dead_letters(s);
    store_close(s);
    s = open_store(dir);
    struct store_flush_state st;
    struct positions p = {0};
    struct err e = {0};
    ok(store_flush_load(s, SLICE_LIT("log-1"), &st, on_position, &p, &e) == 0 && p.sum == 43,
       "positions are there after a restart");
    store_close(s);
    test_kill(dir2);
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
