/* SPDX-License-Identifier: Apache-2.0 */
/* The index over a log, both on a disk that crashes: whatever dies when, what is known after the
 * restart is what the log has. Then time, number, damage, and files that belong elsewhere. */
#include "dedupe/index.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/log.h"
#include "tests/lib/fakedisk.h"
#include "tests/lib/slow.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/batch.h"

#include <errno.h>
#include <stdlib.h>

#define SEG_BYTES  (64 * KIB)
#define SCRIPT_LEN 40
#define IDS_EACH   3
#define HOUR_NS    (UINT64_C(3600) * 1000000000)
#define START_NS   (UINT64_C(1800000000) * 1000000000)

static struct wal_options options = {.path = "d/w", .segment_size_bytes = SEG_BYTES};
static uint64_t clock_ns;
static int failures;
static uint64_t runs, sometimes_from_files, sometimes_from_log, sometimes_trimmed;

static uint64_t now_ns(void)
{
    return clock_ns;
}

/* The ids of an entry, the same in every run. */
static void id_of(uint64_t index, uint32_t i, struct dedupe_id *id)
{
    static const struct dedupe_key k = {{7}};
    char text[16];
    le64_put(text, index);
    le64_put(text + 8, i);
    dedupe_id_of_text(&k, SLICE_LIT("t"), (struct slice){text, sizeof(text)}, id);
}

static bool fail(const char *what, uint64_t a, uint64_t b)
{
    if (failures++ < 20)
        printf("# %s: %" PRIu64 " / %" PRIu64 "\n", what, a, b);
    return false;
}

/* ---- a log and an index ---- */

struct life {
    const struct io *io;
    struct wal *w;
    struct dedupe_table *table;
    struct dedupe_index x;
    uint64_t last; /* entry appended last */
    bool loaded;
};

static bool life_begin(struct life *l, const struct io *io, struct dedupe_limits limits)
{
    struct err e = {0};
    struct wal_recovery found = {0};
    *l = (struct life){.io = io};
    (void)io->mkdir(io->ctx, "d");
    (void)io->sync_dir(io->ctx, ".");
    if (wal_open(&l->w, io, &options, &found, &e) != 0) {
        l->w = NULL;
        return false;
    }
    l->last = found.last_index;
    wal_commit(l->w, found.last_index);
    l->table = dedupe_table_new();
    struct dedupe_index_options o = {.io = io,
                                     .path = "d/ids",
                                     .wal = l->w,
                                     .table = l->table,
                                     .key = {{9}},
                                     .limits = limits,
                                     .now_ns = now_ns};
    return dedupe_index_init(&l->x, &o, &e) == 0 && (l->loaded = dedupe_index_load(&l->x, &e) == 0);
}

static void life_end(struct life *l)
{
    if (l->table != NULL)
        dedupe_index_close(&l->x);
    dedupe_table_free(l->table);
    if (l->w != NULL)
        wal_close(l->w);
    l->w = NULL;
    l->table = NULL;
}

/* Ids of the entry, as a loop reserves and settles them; every fifth entry has none. */
static uint32_t ids_in(uint64_t index)
{
    return index % 5 == 0 ? 0 : IDS_EACH;
}

static int append(struct life *l, uint64_t time_ns)
{
    static char text[4000];
    struct wal_batch_builder b;
    struct iovec parts[WAL_BATCH_PARTS];
    uint64_t index = l->last + 1;
    struct err e;
    wal_batch_init(&b);
    memset(text, 'x', sizeof(text));
    int rc = 0;
    for (uint32_t i = 0; i < IDS_EACH && rc == 0; i++) {
        struct dedupe_id id;
        size_t at = b.text.len;
        buf_put(&b.text, text, 1000 + index % 7 * 400);
        rc = wal_batch_add(&b, time_ns + i, at);
        id_of(index, i, &id);
        if (rc == 0 && i < ids_in(index))
            rc = wal_batch_id(&b, id.bytes);
    }
    if (rc == 0)
        rc = wal_batch_finish(&b, SLICE_LIT("t"), SLICE_LIT("s"));
    struct wal_entry en = {.type = WAL_EVENTS,
                           .index = index,
                           .term = 1,
                           .time_ns = time_ns,
                           .parts = parts,
                           .part_count = rc == 0 ? wal_batch_parts(&b, parts) : 0};
    if (rc == 0 && (rc = wal_append(l->w, &en)) == WH_EAGAIN && (rc = wal_prepare(l->w, &e)) == 0)
        rc = wal_append(l->w, &en);
    if (rc == 0 && (rc = wal_sync(l->w, &e)) == 0) {
        wal_commit(l->w, index);
        l->last = index;
    }
    wal_batch_fini(&b);
    return rc;
}

/* What a loop does around an append. The table decides that nothing is pending afterwards. */
static bool ingest(struct life *l, uint64_t time_ns)
{
    uint8_t ids[IDS_EACH][DEDUPE_ID_BYTES] = {{0}};
    uint64_t index = l->last + 1;
    for (uint32_t i = 0; i < ids_in(index); i++) {
        struct dedupe_id id;
        id_of(index, i, &id);
        memcpy(ids[i], id.bytes, sizeof(ids[i]));
        if (dedupe_table_reserve(l->table, &id) != DEDUPE_NEW)
            return fail("an id that was never stored is known", index, i);
    }
    bool stored = append(l, time_ns) == 0;
    if (stored && ids_in(index) > 0)
        atomic_store(&l->x.settled, index);
    (void)dedupe_table_settle(l->table, ids[0], IDS_EACH, stored, &l->x.current);
    return stored;
}

static void until_caught_up(struct life *l)
{
    for (int i = 0; i < 10 && (dedupe_index_turn(&l->x, false) || !l->x.caught_up); i++) {
    }
}

/* Everything that was committed and is retained somewhere is known, nothing else. */
static bool check(struct life *l)
{
    for (uint64_t index = 1; index <= l->last + 1; index++) {
        for (uint32_t i = 0; i < IDS_EACH; i++) {
            struct dedupe_id id;
            id_of(index, i, &id);
            bool want = index <= l->last && i < ids_in(index);
            if (dedupe_table_has(l->table, &id) != want)
                return fail(want ? "unknown id of entry" : "known id of entry", index, l->last);
        }
    }
    return true;
}

/* ---- every crash point ---- */

static const struct dedupe_limits day = {24 * HOUR_NS, 1000000};

/* Ids come in, are written down now and then, buckets change, the log is trimmed as far as it may.
 */
static void script_run(const struct io *io)
{
    struct life l;
    struct err e;
    uint64_t deleted;
    clock_ns = START_NS;
    if (life_begin(&l, io, day)) {
        until_caught_up(&l);
        for (uint64_t i = 1; i <= SCRIPT_LEN; i++) {
            clock_ns += HOUR_NS / 4;
            if (!ingest(&l, clock_ns))
                break;
            if (i % 3 == 0)
                (void)dedupe_index_turn(&l.x, i % 2 == 0);
            if (i % 7 == 0) {
                uint64_t needs = (l.x.waiting.len == 0 ? l.x.applied : l.x.durable) + 1;
                if (wal_trim(l.w, needs, UINT64_MAX, &deleted, &e) != 0)
                    break;
            }
        }
    }
    life_end(&l);
}

static enum fakedisk_crash crash_kind(int variant)
{
    static const enum fakedisk_crash kinds[] = {FAKEDISK_NONE, FAKEDISK_ALL, FAKEDISK_PREFIX,
                                                FAKEDISK_KILL};
    return variant < 4 ? kinds[variant] : FAKEDISK_RANDOM;
}

/* Restart; the index reads, is killed again at call k of that, restarts, and must be right. */
static bool one_run(uint64_t n, int variant, uint64_t again)
{
    struct fakedisk *d = fakedisk_new(n * 1000 + (uint64_t)variant, variant % 2 == 0 ? 512 : 4096);
    const struct io *io = fakedisk_io(d);
    struct life l;
    bool good = true;
    fakedisk_stop_at(d, n);
    script_run(io);
    fakedisk_restart(d, crash_kind(variant));
    if (again > 0) {
        fakedisk_stop_at(d, again);
        if (life_begin(&l, io, day)) {
            until_caught_up(&l);
            (void)dedupe_index_turn(&l.x, true);
        }
        life_end(&l);
        fakedisk_restart(d, crash_kind(variant + 2));
    }
    for (int round = 0; round < 2 && good; round++) {
        good = life_begin(&l, io, day) || fail("opening", n, (uint64_t)variant);
        if (good) {
            struct wal_stats stats;
            sometimes_from_files += dedupe_table_count(l.table) > 0;
            sometimes_from_log += l.x.applied < l.last;
            wal_stats_get(l.w, &stats);
            sometimes_trimmed += stats.first_index > 1;
            until_caught_up(&l);
            good = check(&l) && (ingest(&l, clock_ns += HOUR_NS / 2) || fail("append", n, 0));
            good = good && (dedupe_index_turn(&l.x, true), check(&l));
        }
        fakedisk_stop_at(d, round == 0 ? 1 : 0);
        life_end(&l);
        fakedisk_restart(d, FAKEDISK_NONE);
    }
    if (!good)
        printf("# replay: call %" PRIu64 " variant %d again %" PRIu64 "\n", n, variant, again);
    fakedisk_free(d);
    runs++;
    return good;
}

static void test_crashes(void)
{
    struct fakedisk *d = fakedisk_new(1, 512);
    script_run(fakedisk_io(d));
    uint64_t calls = fakedisk_calls(d);
    fakedisk_free(d);
    for (uint64_t n = 1; n <= calls + 1 && failures < 5; n += TEST_SLOW ? 7 : 1)
        for (int variant = 0; variant < 8; variant++)
            (void)one_run(n, variant, 0);
    ok(failures == 0, "each of %" PRIu64 " calls stopped, %" PRIu64 " runs", calls, runs);
    uint64_t before = runs;
    for (uint64_t n = 3; n <= calls && failures < 5; n += TEST_SLOW ? 41 : 9)
        for (uint64_t again = 1; again <= 12; again++)
            (void)one_run(n, (int)(n + again) % 8, again);
    ok(failures == 0, "and stopped again while the index starts, %" PRIu64 " runs", runs - before);
    ok(sometimes_from_files > 100 && sometimes_from_log > 100 && sometimes_trimmed > 100,
       "from files %" PRIu64 ", from the log %" PRIu64 ", trimmed %" PRIu64, sometimes_from_files,
       sometimes_from_log, sometimes_trimmed);
}

/* ---- single situations ---- */

static struct fakedisk *disk;

static void fill(struct life *l, int n, uint64_t step_ns)
{
    int bad = 0;
    for (int i = 0; i < n; i++) {
        clock_ns += step_ns;
        bad += !ingest(l, clock_ns);
        (void)dedupe_index_turn(&l->x, i % 4 == 3);
    }
    (void)dedupe_index_turn(&l->x, true);
    if (bad > 0)
        (void)fail("entries not stored", (uint64_t)bad, 0);
}

static void test_rebuild(void)
{
    struct life l;
    char path[DEDUPE_PATH_CAP];
    disk = fakedisk_new(5, 512);
    clock_ns = START_NS;
    ok(life_begin(&l, fakedisk_io(disk), day), "an empty log");
    until_caught_up(&l);
    fill(&l, 12, HOUR_NS / 2);
    uint64_t digest = dedupe_table_digest(l.table), files = l.x.held_count;
    ok(files > 3 && check(&l), "%" PRIu64 " files", files);
    life_end(&l);
    for (uint64_t seq = 0; seq < 20; seq++) {
        dedupe_bucket_path("d/ids", seq, path);
        fakedisk_remove(disk, path);
    }
    ok(life_begin(&l, fakedisk_io(disk), day) && dedupe_table_count(l.table) == 0,
       "the files are gone");
    until_caught_up(&l);
    ok(check(&l) && dedupe_table_digest(l.table) == digest, "the log makes an equal index");
    (void)dedupe_index_turn(&l.x, true);
    life_end(&l);
    ok(life_begin(&l, fakedisk_io(disk), day) && dedupe_table_digest(l.table) == digest,
       "in files again");
    life_end(&l);
    fakedisk_free(disk);
}

/* Any byte of any file: nothing is believed that is wrong, and the log fills the gap. */
static void test_damage(void)
{
    struct life l;
    char path[DEDUPE_PATH_CAP];
    struct fakedisk_file f;
    uint64_t flips = 0, seqs = 0;
    for (uint64_t seq = 1; seq < 12; seq++) {
        for (uint64_t at = 0;; at += TEST_SLOW ? 61 : 5) {
            disk = fakedisk_new(seq, 512);
            clock_ns = START_NS;
            if (life_begin(&l, fakedisk_io(disk), day)) {
                until_caught_up(&l);
                fill(&l, 8, HOUR_NS / 2);
            }
            life_end(&l);
            dedupe_bucket_path("d/ids", seq, path);
            bool there = fakedisk_file(disk, path, &f) && at < f.size;
            if (there) {
                f.view[at] ^= 0x20;
                f.image[at] ^= 0x20;
                for (int round = 0; round < 2; round++) {
                    if (life_begin(&l, fakedisk_io(disk), day)) {
                        until_caught_up(&l);
                        (void)check(&l);
                        (void)dedupe_index_turn(&l.x, true);
                    } else {
                        (void)fail("opening a damaged file", seq, at);
                    }
                    life_end(&l);
                }
                flips++;
                seqs |= UINT64_C(1) << seq;
            }
            fakedisk_free(disk);
            if (!there)
                break;
        }
    }
    ok(failures == 0 && (flips > 100 || TEST_SLOW) && seqs != 0, "%" PRIu64 " bytes flipped",
       flips);
}

static void test_foreign(void)
{
    struct life l;
    char path[DEDUPE_PATH_CAP];
    struct fakedisk_file f;
    static char copy[4096];
    uint64_t size = 0;
    disk = fakedisk_new(5, 512);
    clock_ns = START_NS;
    if (life_begin(&l, fakedisk_io(disk), day)) {
        until_caught_up(&l);
        fill(&l, 4, HOUR_NS / 2);
    }
    dedupe_bucket_path("d/ids", l.x.held[0].seq, path);
    life_end(&l);
    if (fakedisk_file(disk, path, &f) && f.size <= sizeof(copy))
        memcpy(copy, f.view, size = f.size);
    fakedisk_free(disk);
    disk = fakedisk_new(6, 512); /* another log */
    (void)fakedisk_io(disk)->mkdir(disk, "d");
    if (life_begin(&l, fakedisk_io(disk), day)) {
        until_caught_up(&l);
        fill(&l, 2, HOUR_NS / 2);
    }
    life_end(&l);
    fakedisk_put(disk, path, copy, size);
    ok(size > 0 && life_begin(&l, fakedisk_io(disk), day) && dedupe_table_count(l.table) == 0,
       "files of another log are not believed");
    until_caught_up(&l);
    ok(check(&l), "the ids come from the log");
    life_end(&l);
    fakedisk_free(disk);
}

static void test_time(void)
{
    struct life l;
    disk = fakedisk_new(7, 512);
    clock_ns = START_NS;
    ok(life_begin(&l, fakedisk_io(disk), day), "a day's retention");
    until_caught_up(&l);
    struct dedupe_id first, last;
    id_of(1, 0, &first);
    fill(&l, 1, 1);
    fill(&l, 60, HOUR_NS / 3); /* 20 hours */
    ok(check(&l), "for 20 hours every id is known");
    uint64_t ids = dedupe_table_count(l.table);
    clock_ns = START_NS + 24 * HOUR_NS;
    (void)dedupe_index_turn(&l.x, true);
    ok(dedupe_table_has(l.table, &first), "the first is after 24 hours");
    clock_ns += 2 * HOUR_NS + 1;
    (void)dedupe_index_turn(&l.x, true);
    ok(!dedupe_table_has(l.table, &first), "but not two hours later");
    id_of(l.last, 0, &last);
    ok(dedupe_table_has(l.table, &last) && dedupe_table_count(l.table) < ids, "the last is");
    clock_ns += 30 * HOUR_NS;
    for (int i = 0; i < 3; i++)
        (void)dedupe_index_turn(&l.x, true);
    ok(dedupe_table_count(l.table) == 0, "in the end none");
    uint64_t bytes = dedupe_table_bytes(l.table);
    life_end(&l);
    ok(life_begin(&l, fakedisk_io(disk), day), "restart");
    until_caught_up(&l);
    ok(dedupe_table_count(l.table) == 0 && dedupe_table_bytes(l.table) <= bytes,
       "what is over does not come back");
    ok(l.x.applied == l.last && l.x.durable == l.last, "and the log is not read again");
    life_end(&l);
    fakedisk_free(disk);
}

static void test_number(void)
{
    struct life l;
    struct dedupe_limits limits = {24 * HOUR_NS, 160};
    disk = fakedisk_new(8, 512);
    clock_ns = START_NS;
    ok(life_begin(&l, fakedisk_io(disk), limits), "160 ids at most");
    until_caught_up(&l);
    uint64_t most = 0;
    for (int i = 0; i < 150; i++) {
        fill(&l, 1, 1000);
        uint64_t n = dedupe_table_count(l.table);
        most = n > most ? n : most;
    }
    ok(most <= 160 && most >= 140, "never more than %" PRIu64 " are known", most);
    struct dedupe_id id;
    id_of(l.last % 5 == 0 ? l.last - 1 : l.last, 0, &id);
    ok(dedupe_table_has(l.table, &id), "the newest is");
    ok(metric_get(l.x.dropped_early) > 100, "the others went early, and are counted");
    life_end(&l);
    fakedisk_free(disk);
}

/* The disk of the index fails for a while: answers go on, and what was missed is written. */
static void test_failing(void)
{
    struct life l;
    int bad = 0;
    for (uint64_t nth = 1; nth < 14; nth++) {
        for (int partial = 0; partial < 2; partial++) {
            disk = fakedisk_new(nth, 512);
            clock_ns = START_NS;
            bad += !life_begin(&l, fakedisk_io(disk), day);
            until_caught_up(&l);
            for (int i = 0; i < 3; i++)
                bad += !ingest(&l, ++clock_ns);
            fakedisk_fail(disk, FAKEDISK_WRITE | FAKEDISK_SYNC | FAKEDISK_NAME | FAKEDISK_SYNC_DIR,
                          nth, -EIO, partial != 0);
            for (int i = 0; i < 12; i++) {
                l.x.retry_ns = 0;
                (void)dedupe_index_turn(&l.x, true);
                if (i % 3 == 0 && l.x.waiting.len == 0 && nth > 4) {
                    fakedisk_fail(disk, 0, 0, 0, false);
                    bad += !ingest(&l, clock_ns += HOUR_NS * 2);
                    fakedisk_fail(disk, FAKEDISK_WRITE | FAKEDISK_SYNC, nth % 3 + 1, -EIO,
                                  partial != 0);
                }
            }
            bad += l.x.waiting.len != 0;
            life_end(&l);
            fakedisk_restart(disk, FAKEDISK_NONE);
            bad += !life_begin(&l, fakedisk_io(disk), day);
            bad += l.loaded && l.x.applied != l.last && l.x.durable == l.last;
            until_caught_up(&l);
            bad += !check(&l);
            life_end(&l);
            fakedisk_free(disk);
        }
    }
    ok(bad == 0, "writes and syncs that fail are made up for");
}

/* ---- files of many chunks ---- */

/* How many ids chunk i has: few, as with a write every two seconds, and once as many as there may
 * be, so that a read ends within chunks of every kind. */
static uint32_t chunk_ids(uint64_t i)
{
    return i == 1500 ? DEDUPE_CHUNK_IDS_MAX : (uint32_t)(i * 31 % 97);
}

struct told {
    uint64_t chunks;
    bool wrong;
};

static int tell(void *ctx, const struct dedupe_chunk *c)
{
    struct told *t = ctx;
    t->chunks++;
    t->wrong = t->wrong || c->through != t->chunks || c->count != chunk_ids(t->chunks);
    for (size_t i = 0; i < (size_t)c->count * DEDUPE_ID_BYTES; i++)
        t->wrong = t->wrong || c->ids[i] != (uint8_t)(t->chunks * 7 + i);
    return 0;
}

static void test_small_chunks(void)
{
    enum {
        CHUNKS = 4000
    };
    static uint8_t ids[(size_t)DEDUPE_CHUNK_IDS_MAX * DEDUPE_ID_BYTES];
    const struct io *io = io_posix(); /* fakedisk's files are smaller */
    char *dir = tmpdir_make();
    struct dedupe_bucket b;
    struct dedupe_bucket_head head = {.seq = 5};
    struct dedupe_bucket_found found;
    struct told told = {0};
    struct buf scratch;
    struct err e = {0};
    buf_init(&scratch, SIZE_MAX);
    int rc = dedupe_bucket_create(&b, io, dir, &head, &e);
    for (uint64_t i = 1; i <= CHUNKS && rc == 0; i++) {
        struct dedupe_chunk c = {.count = chunk_ids(i), .through = i, .ids = ids};
        for (size_t k = 0; k < (size_t)c.count * DEDUPE_ID_BYTES; k++)
            ids[k] = (uint8_t)(i * 7 + k);
        rc = dedupe_bucket_append(&b, &c, &e);
    }
    ok(rc == 0 && b.end > 3 * MIB, "a file of many chunks, longer than one read");
    dedupe_bucket_close(&b);
    rc = dedupe_bucket_read(io, dir, 5, &scratch, tell, &told, &found, &e);
    ok(rc == 0 && found.whole && found.good_bytes == b.end && found.through == CHUNKS,
       "read to its end");
    ok(told.chunks == CHUNKS && !told.wrong, "each chunk once, with its ids");
    buf_fini(&scratch);
    tmpdir_remove(dir);
}

int main(void)
{
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    test_small_chunks();
    test_rebuild();
    test_time();
    test_number();
    test_foreign();
    test_damage();
    test_failing();
    test_crashes();
    return tap_done();
}
