/* SPDX-License-Identifier: Apache-2.0 */
/* Exhaustive crash points (durability-testing: every system call × what the crash left).
 *
 * A fixed script appends, syncs, rotates, prepares and trims on the fake disk, so that files are
 * used again up to three times; it makes N calls that change the disk. For each n ≤ N power fails
 * at call n, the crash keeps nothing, everything, a prefix, or a random subset of what was pending;
 * then: recover, compare with what was acknowledged, append again, crash again, recover again. A
 * second pass crashes inside each of those recoveries. */
#include "tests/lib/fakedisk.h"
#include "tests/lib/slow.h"
#include "tests/lib/tap.h"
#include "wal/format.h"
#include "wal/wal.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/log.h"
#include "io/clock.h"

#include <errno.h>
#include <stdlib.h>

#define SEG_BYTES   (64 * KIB)
#define SCRIPT_LEN  96
#define INDEX_MAX   128
#define RANDOM_RUNS (TEST_SLOW ? 4 : 16)

struct model {
    uint64_t appended;        /* highest index given to wal_append */
    uint64_t acked;           /* highest index covered by a wal_sync that said 0 */
    uint64_t trimmed;         /* wal_trim was allowed to delete below this */
    uint8_t epoch[INDEX_MAX]; /* which life of the process wrote it last */
};

static struct wal_options options = {.path = "w",
                                     .segment_size_bytes = SEG_BYTES,
                                     .piece_bytes = SEG_BYTES / 2};
static uint64_t runs, sometimes_torn, sometimes_lost_tail, sometimes_refused_open, sometimes_reused,
    sometimes_torn_reused, sometimes_two_cut;
static int failures;

static uint64_t payload_len(uint64_t index)
{
    static const uint16_t lens[] = {40, 900, 5000, 16, 9000, 300, 4000, 13000, 0, 2500, 20000};

    return lens[index % (sizeof(lens) / sizeof(lens[0]))];
}

static void payload_make(char *p, uint64_t index, uint8_t epoch)
{
    memset(p, (int)(0x40 + index % 64), payload_len(index));
    if (payload_len(index) >= 16) {
        le64_put(p, index);
        le64_put(p + 8, epoch);
    }
}

static int append(struct wal *w, struct model *m, uint64_t index, uint8_t epoch)
{
    static char p[32768];
    struct iovec part = {p, payload_len(index)};
    struct wal_entry en = {.type = WAL_CONTROL,
                           .index = index,
                           .term = epoch,
                           .time_ns = index,
                           .parts = &part,
                           .part_count = 1};
    struct err e;
    int rc;

    payload_make(p, index, epoch);
    rc = wal_append(w, &en);
    if (rc == WH_EAGAIN && (rc = wal_prepare(w, &e)) == 0)
        rc = wal_append(w, &en);
    if (rc == 0 || rc == WH_EPOISON) {
        m->appended = index; /* also when it failed: a part may have been written */
        m->epoch[index] = epoch;
    }
    return rc;
}

static int sync_all(struct wal *w, struct model *m, uint64_t index)
{
    struct err e;
    int rc = wal_sync(w, &e);

    if (rc == 0) {
        m->acked = index;
        wal_commit(w, index);
    }
    return rc;
}

/* The script. Ends early at the first failure, as the daemon would. */
static void script_run(const struct io *io, struct model *m)
{
    struct err e;
    struct wal *w;
    uint64_t deleted;

    if (wal_open(&w, io, &options, NULL, &e) != 0)
        return;
    for (uint64_t i = 1; i <= SCRIPT_LEN; i++) {
        if (append(w, m, i, 1) != 0)
            break;
        if (i % 3 == 0 && sync_all(w, m, i) != 0)
            break;
        if (i % 8 == 0 && (sync_all(w, m, i) != 0 || sync_all(w, m, i) != 0)) /* idle mark */
            break;
        if (i == 20 && wal_prepare(w, &e) != 0)
            break;
        if (i == 30) {
            m->trimmed = 12;
            if (wal_trim(w, 12, UINT64_MAX, &deleted, &e) != 0)
                break;
        }
        if (i == 36) {
            /* The next segment is ready and nothing is to be used again: cut in pieces. */
            m->trimmed = 25;
            if (wal_prepare(w, &e) != 0)
                break;
            wal_set_budget(w, 1, 0);
            if (wal_trim(w, 25, UINT64_MAX, &deleted, &e) != 0)
                break;
            sometimes_two_cut += deleted == 2;
            wal_set_budget(w, 0, 0);
        }
        if (i >= 40 && i % 6 == 4) { /* three or four segments stay; their files go round */
            m->trimmed = i - 12;
            if (i % 12 == 4 ? wal_trim(w, i - 12, UINT64_MAX, &deleted, &e)
                            : wal_trim_for_reuse(w, i - 12, UINT64_MAX, &deleted, &e))
                break;
        }
    }
    wal_close(w);
}

static bool fail(const char *what, uint64_t a, uint64_t b)
{
    if (failures++ < 20)
        printf("# %s: %" PRIu64 " / %" PRIu64 "\n", what, a, b);
    return false;
}

/* The log has every acknowledged entry exactly, and nothing that was not appended. */
static bool check(struct wal *w, const struct model *m)
{
    static char want[32768];
    struct wal_cursor *c;
    struct wal_view v;
    struct wal_stats st;
    struct err e;
    uint64_t next;
    int rc;

    wal_stats_get(w, &st);
    if (st.last_index < m->acked || st.last_index > m->appended)
        return fail("last index / acked", st.last_index, m->acked);
    if (st.first_index > 1 && st.first_index > m->trimmed)
        return fail("first index / trimmed", st.first_index, m->trimmed);
    sometimes_lost_tail += st.last_index < m->appended;
    wal_commit(w, st.last_index);
    if (wal_cursor_open(&c, w, 0, &e) != 0)
        return fail("cursor", 0, 0);
    next = st.first_index;
    while ((rc = wal_cursor_next(c, &v, &e)) == 0) {
        payload_make(want, v.index, m->epoch[v.index]);
        if (v.index != next || v.type != WAL_CONTROL || v.time_ns != v.index ||
            v.term != m->epoch[v.index] || v.payload.len != payload_len(v.index) ||
            memcmp(v.payload.ptr, want, v.payload.len) != 0)
            break;
        next++;
    }
    wal_cursor_close(c);
    if (rc != WH_EEND) {
        printf("# %s\n", rc != 0 ? e.text : "wrong content");
        return fail("entry", next, (uint64_t)rc);
    }
    return next == st.last_index + 1 || fail("entries end at", next, st.last_index);
}

/* How many segments of the log are in files that were used before. */
static uint64_t reused(struct fakedisk *d)
{
    struct fakedisk_file f;
    struct wal_head head;
    char path[64];
    uint64_t n = 0;

    for (uint64_t i = 1; i < 64; i++) {
        (void)snprintf(path, sizeof(path), "w/seg-%020" PRIu64 ".wal", i);
        n += fakedisk_file(d, path, &f) && wal_head_get(f.view, &head, NULL) == 0 &&
             head.former != 0;
    }
    return n;
}

/* Recover; what is seen from now on must never go away again. */
static struct wal *recover(const struct io *io, struct model *m)
{
    struct wal_recovery rep;
    struct wal *w;
    struct err e;

    if (wal_open(&w, io, &options, &rep, &e) != 0) {
        printf("# %s\n", e.text);
        (void)fail("refused to open", 0, 0);
        return NULL;
    }
    sometimes_torn += rep.torn_bytes > 0;
    sometimes_torn_reused += rep.torn_bytes > 0 && reused(io->ctx) > 1;
    if (!check(w, m)) {
        wal_close(w);
        return NULL;
    }
    m->appended = m->acked = rep.last_index;
    return w;
}

/* After the crash: recover, append in a new epoch, crash again, recover again. */
static bool aftermath(struct fakedisk *d, struct model *m, enum fakedisk_crash second)
{
    const struct io *io = fakedisk_io(d);
    struct wal *w = recover(io, m);
    uint64_t last, deleted;
    struct err e;

    if (w == NULL)
        return false;
    last = m->acked;
    /* Nothing new, power goes: what recovery showed stays. */
    fakedisk_stop_at(d, 1);
    wal_close(w);
    fakedisk_restart(d, second);
    if ((w = recover(io, m)) == NULL)
        return false;
    if (m->acked != last) {
        wal_close(w);
        return fail("recovery lost / had", m->acked, last);
    }
    if (wal_trim(w, m->trimmed, UINT64_MAX, &deleted, &e) != 0) {
        wal_close(w);
        return fail("trim after recovery", last, 0);
    }
    for (uint64_t i = last + 1; i <= last + 14; i++)
        if (append(w, m, i, 2) != 0 || (i != last + 14 && sync_all(w, m, i) != 0)) {
            wal_close(w);
            return fail("append after recovery", i, last);
        }
    fakedisk_stop_at(d, 1);
    wal_close(w);
    fakedisk_restart(d, second);
    sometimes_reused += reused(d) > 1;
    if ((w = recover(io, m)) == NULL)
        return false;
    wal_close(w);
    return true;
}

static enum fakedisk_crash crash_kind(int variant)
{
    static const enum fakedisk_crash kinds[] = {FAKEDISK_NONE, FAKEDISK_ALL, FAKEDISK_PREFIX,
                                                FAKEDISK_KILL};

    return variant < 4 ? kinds[variant] : FAKEDISK_RANDOM;
}

/* The script up to call n, then the crash. */
static struct fakedisk *crashed_disk(uint64_t n, int variant, uint32_t sector, struct model *m)
{
    struct fakedisk *d = fakedisk_new(n * 1000 + (uint64_t)variant, sector);

    *m = (struct model){0};
    fakedisk_stop_at(d, n);
    script_run(fakedisk_io(d), m);
    fakedisk_restart(d, crash_kind(variant));
    return d;
}

static bool one_run(uint64_t n, int variant, uint32_t sector)
{
    struct model m;
    struct fakedisk *d = crashed_disk(n, variant, sector, &m);
    bool good = aftermath(d, &m, variant % 2 == 0 ? FAKEDISK_NONE : FAKEDISK_RANDOM);

    if (!good)
        printf("# replay: call %" PRIu64 " variant %d sector %u\n", n, variant, sector);
    fakedisk_free(d);
    runs++;
    return good;
}

/* Power fails again at each call of the recovery itself, twice in a row, then all is well. */
static bool recovery_run(uint64_t n, int variant, uint32_t sector)
{
    for (uint64_t k = 1;; k++) {
        struct model m;
        struct fakedisk *d = crashed_disk(n, variant, sector, &m);
        bool stopped = false, good;

        for (int again = 0; again < 2; again++) {
            struct wal *w;
            struct err e;

            fakedisk_stop_at(d, k);
            if (wal_open(&w, fakedisk_io(d), &options, NULL, &e) == 0) {
                fakedisk_stop_at(d, 1);
                wal_close(w);
            }
            stopped = stopped || fakedisk_stopped(d);
            fakedisk_restart(d, again == 0 ? FAKEDISK_RANDOM : crash_kind(variant));
        }
        sometimes_refused_open += stopped;
        good = aftermath(d, &m, FAKEDISK_NONE);
        if (!good)
            printf("# replay: call %" PRIu64 " variant %d sector %u recovery call %" PRIu64 "\n", n,
                   variant, sector, k);
        fakedisk_free(d);
        runs++;
        if (!good)
            return false;
        if (k >= 12)
            return true;
    }
}

static uint64_t script_calls(struct model *m)
{
    struct fakedisk *d = fakedisk_new(1, 512);
    uint64_t n;

    *m = (struct model){0};
    script_run(fakedisk_io(d), m);
    n = fakedisk_calls(d);
    ok(reused(d) >= 3, "at its end %" PRIu64 " files are used again", reused(d));
    fakedisk_free(d);
    return n;
}

/* A sync fails and forgets what it had; later calls would succeed; the process ends and starts
 * again on the same running system: only what the disk has counts. */
static bool failed_sync(uint64_t nth, bool partial)
{
    struct model m = {0};
    struct fakedisk *d = fakedisk_new(nth, 512);
    bool good;

    fakedisk_fail(d, FAKEDISK_SYNC, nth, -EIO, partial);
    script_run(fakedisk_io(d), &m);
    fakedisk_restart(d, FAKEDISK_KILL);
    good = aftermath(d, &m, FAKEDISK_NONE);
    fakedisk_free(d);
    runs++;
    return good;
}

static bool failed_write(uint64_t nth, bool partial)
{
    struct model m = {0};
    struct fakedisk *d = fakedisk_new(nth, 512);
    bool good;

    fakedisk_fail(d, FAKEDISK_WRITE, nth, -EIO, partial);
    script_run(fakedisk_io(d), &m);
    fakedisk_restart(d, FAKEDISK_KILL);
    good = aftermath(d, &m, FAKEDISK_RANDOM);
    fakedisk_free(d);
    runs++;
    return good;
}

int main(void)
{
    uint64_t start_ns = io_monotonic_ns(), calls, bad = 0;
    struct model m;

    log_configure((enum log_level)0, LOG_FORMAT_TEXT); /* every run says what it found */
    calls = script_calls(&m);
    ok(m.acked >= SCRIPT_LEN - 2 && calls > 80, "the script makes %" PRIu64 " calls", calls);

    for (uint64_t n = 1; n <= calls; n++)
        for (int variant = 0; variant < 4 + RANDOM_RUNS; variant++)
            bad += !one_run(n, variant, variant % 2 == 0 ? 512 : 4096);
    is_u64(bad, 0, "power cut at every call");
    ok(true, "runs so far %" PRIu64 ", %" PRIu64 " ms", runs,
       (io_monotonic_ns() - start_ns) / 1000000);

    bad = 0;
    for (uint64_t n = 1; n <= calls; n += TEST_SLOW ? 12 : 3)
        bad += !recovery_run(n, 4 + (int)(n % RANDOM_RUNS), n % 2 == 0 ? 512 : 4096);
    is_u64(bad, 0, "power cut inside recovery, twice");

    bad = 0;
    for (uint64_t n = 1; n <= calls; n++)
        bad += (uint64_t)!failed_sync(n, false) + (uint64_t)!failed_sync(n, true);
    is_u64(bad, 0,
           "a failed sync: nothing acknowledged after it, the restart trusts only the disk");
    bad = 0;
    for (uint64_t n = 1; n <= calls; n++)
        bad += (uint64_t)!failed_write(n, false) + (uint64_t)!failed_write(n, true);
    is_u64(bad, 0, "a failed write, nothing or half of it done");

    ok(sometimes_torn > 20 && sometimes_lost_tail > 20 && sometimes_refused_open > 20 &&
           sometimes_torn_reused > 20 && sometimes_reused > runs / 3 &&
           sometimes_two_cut > runs / 3,
       "the rare cases did happen: %" PRIu64 " torn tails (%" PRIu64 " with reused files), %" PRIu64
       " lost tails, %" PRIu64 " crashes in recovery, %" PRIu64 " with reused files",
       sometimes_torn, sometimes_torn_reused, sometimes_lost_tail, sometimes_refused_open,
       sometimes_reused);
    ok(true, "%" PRIu64 " crash runs, %" PRIu64 " ms", runs,
       (io_monotonic_ns() - start_ns) / 1000000);
    return tap_done();
}
