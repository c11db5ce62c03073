/* SPDX-License-Identifier: Apache-2.0 */
/* Failing and full disks, limits, trimming under cursors, readers beside the writer, vanishing
 * pages. */
#include "tests/lib/fakedisk.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/wal.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define SEG_BYTES (64 * KIB)

static char filler[20 * MIB];

static int append_len(struct wal *w, uint64_t index, size_t len)
{
    struct iovec part = {filler, len};
    struct wal_entry en = {.type = WAL_CONTROL,
                           .index = index,
                           .term = 1,
                           .time_ns = 100 + index,
                           .parts = &part,
                           .part_count = 1};

    return wal_append(w, &en);
}

static uint64_t piece_bytes; /* of the logs that open_log opens; 0: larger than their segments */

static struct wal *open_log(const struct io *io, const char *path, uint64_t bytes_max,
                            uint64_t free_min)
{
    struct wal_options o = {.path = path,
                            .segment_size_bytes = SEG_BYTES,
                            .piece_bytes = piece_bytes,
                            .bytes_max = bytes_max,
                            .free_bytes_min = free_min};
    struct wal *w;
    struct err e;

    if (wal_open(&w, io, &o, NULL, &e) != 0)
        printf("# wal_open: %s\n", e.text);
    return w;
}

static void test_poison(void)
{
    struct fakedisk *d = fakedisk_new(1, 512);
    struct wal *w = open_log(fakedisk_io(d), "w", 0, 0);
    struct err e;

    ok(append_len(w, 1, 100) == 0 && wal_sync(w, &e) == 0, "healthy");
    fakedisk_fail(d, FAKEDISK_SYNC, 1, -EIO, false);
    ok(append_len(w, 2, 100) == 0 && wal_sync(w, &e) == -EIO, "a failed sync is reported");
    ok(strstr(e.text, "seg-00000000000000000001.wal") != NULL && strstr(e.text, "fdatasync"),
       "with the file and the call");
    is_u64(wal_durable_index(w), 1, "nothing became durable");
    ok(append_len(w, 3, 100) == WH_EPOISON && wal_sync(w, &e) == WH_EPOISON,
       "the disk is fine again, the log stays poisoned");
    ok(strstr(e.text, "fdatasync") != NULL, "and gives the first cause");
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_KILL);
    w = open_log(fakedisk_io(d), "w", 0, 0);
    is_u64(wal_durable_index(w), 1, "the next process trusts the disk, not the cache");
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);

    w = open_log(fakedisk_io(d), "w", 0, 0);
    fakedisk_fail(d, FAKEDISK_WRITE, 1, -EIO, true);
    ok(append_len(w, 2, 60000 - 16384) == 0 && append_len(w, 3, 30000) == WH_EAGAIN,
       "no prepared segment: not now");
    ok(wal_sync(w, &e) == -EIO && wal_sync(w, &e) == WH_EPOISON, "a failed write poisons too");
    wal_close(w);
    fakedisk_free(d);
}

static void test_full(void)
{
    struct fakedisk *d = fakedisk_new(2, 512);
    struct wal *w = open_log(fakedisk_io(d), "w", 0, 0);
    struct wal_stats st;
    struct err e;
    uint64_t index = 1;

    fakedisk_set_capacity(d, SEG_BYTES + SEG_BYTES / 2);
    while (append_len(w, index, 3000) == 0)
        index++;
    ok(append_len(w, index, 3000) == WH_EAGAIN && wal_prepare(w, &e) == -ENOSPC,
       "disk full: the next segment cannot be prepared");
    printf("# %s\n", e.text);
    ok(wal_sync(w, &e) == 0 && wal_durable_index(w) == index - 1,
       "what was appended becomes durable all the same");
    ok(!wal_has_room(w, 30000), "and wal_has_room says no");
    fakedisk_set_capacity(d, UINT64_MAX);
    ok(wal_prepare(w, &e) == 0 && wal_has_room(w, 30000) && append_len(w, index, 3000) == 0,
       "it heals when there is space");
    wal_set_budget(w, 2 * SEG_BYTES, 0);
    ok(wal_prepare(w, &e) == WH_EFULL, "budget reached");
    printf("# %s\n", e.text);
    wal_stats_get(w, &st);
    ok(st.bytes == 2 * SEG_BYTES && st.budget_bytes == 2 * SEG_BYTES && st.segments == 2,
       "stats count the bytes");
    wal_set_budget(w, 0, 100 * SEG_BYTES);
    fakedisk_set_capacity(d, 50 * SEG_BYTES);
    ok(wal_prepare(w, &e) == -ENOSPC, "free_bytes_min is left alone");
    wal_set_budget(w, 0, SEG_BYTES);
    ok(wal_prepare(w, &e) == 0 && wal_prepare(w, &e) == 0,
       "room again; a second call does nothing");
    for (unsigned n = 1; n <= 6; n++) {
        int rc;

        while (append_len(w, ++index, 3000) == 0)
            ;
        index--;
        fakedisk_fail(d, FAKEDISK_CHANGES, n, -EIO, false);
        rc = wal_prepare(w, &e);
        ok(rc == -EIO && wal_prepare(w, &e) == 0, "call %u of preparing fails: not fatal", n);
    }
    ok(wal_sync(w, &e) == 0, "still healthy");
    wal_close(w);
    fakedisk_free(d);
}

/* --- files used again ----------------------------------------------------------------------- */

/* A log of six sealed segments on a fake disk; *index is the next. */
static struct wal *six_segments(struct fakedisk *d, uint64_t *index)
{
    struct wal *w = open_log(fakedisk_io(d), "w", 0, 0);
    struct err e;

    *index = 1;
    while (*index <= 100 && wal_prepare(w, &e) == 0 && append_len(w, *index, 3000) == 0)
        ++*index;
    if (wal_sync(w, &e) != 0)
        printf("# %s\n", e.text);
    wal_commit(w, *index - 1);
    return w;
}

static unsigned waiting(struct fakedisk *d)
{
    struct fakedisk_file f;
    char path[64];
    unsigned n = 0;

    for (unsigned i = 1; i < 20; i++) {
        (void)snprintf(path, sizeof(path), "w/reuse-%020u.tmp", i);
        n += fakedisk_file(d, path, &f);
    }
    return n;
}

static void test_reuse(void)
{
    struct fakedisk *d = fakedisk_new(3, 512);
    struct wal_stats before, st;
    struct fakedisk_file f, g;
    struct err e;
    uint64_t index, deleted, calls;
    struct wal *w = six_segments(d, &index);

    wal_stats_get(w, &before);
    (void)fakedisk_file(d, "w/seg-00000000000000000002.wal", &f);
    ok(wal_trim_for_reuse(w, 90, UINT64_MAX, &deleted, &e) == 0 && deleted == 2 && waiting(d) == 2,
       "two files wait, more segments are not deleted for it");
    ok(wal_trim_for_reuse(w, 90, UINT64_MAX, &deleted, &e) == 0 && deleted == 0, "nor again");
    wal_stats_get(w, &st);
    ok(st.bytes == before.bytes && st.segments == before.segments, "they count");
    ok(wal_trim(w, 60, UINT64_MAX, &deleted, &e) == 0 && deleted == 1 && waiting(d) == 2,
       "wal_trim deletes what is too much");
    while (append_len(w, index, 3000) == 0)
        index++;
    calls = fakedisk_calls(d);
    ok(wal_prepare(w, &e) == 0 && waiting(d) == 1, "one becomes the next segment");
    is_u64(fakedisk_calls(d) - calls, 4, "by one write, two syncs and a rename");
    ok(fakedisk_file(d, "w/seg-00000000000000000008.wal", &g) && g.view == f.view,
       "the same file under the next number");
    wal_set_budget(w, st.bytes - 2 * SEG_BYTES, 0);
    ok(wal_prepare(w, &e) == 0 && waiting(d) == 0, "over the budget: the other one goes");
    wal_set_budget(w, 0, 0);
    ok(wal_trim(w, 90, UINT64_MAX, &deleted, &e) == 0 && waiting(d) > 0, "more wait");
    fakedisk_set_capacity(d, 20 * SEG_BYTES);
    wal_set_budget(w, 0, 19 * SEG_BYTES);
    ok(wal_prepare(w, &e) == 0 && waiting(d) == 0, "too little free space: they go");
    wal_close(w);
    fakedisk_free(d);

    d = fakedisk_new(9, 512);
    w = six_segments(d, &index);
    wal_stats_get(w, &before);
    wal_set_budget(w, before.bytes - 3 * SEG_BYTES, 0);
    for (unsigned i = 0; i < 2; i++)
        ok(wal_trim_for_reuse(w, 90, UINT64_MAX, &deleted, &e) == 0 && deleted == 2,
           "far over the budget: deletes two a call");
    wal_stats_get(w, &st);
    ok(waiting(d) == 1 && st.bytes == before.bytes - 3 * SEG_BYTES, "keeps one when within");
    wal_close(w);
    fakedisk_free(d);

    d = fakedisk_new(4, 512);
    w = six_segments(d, &index);
    ok(wal_trim(w, 60, UINT64_MAX, &deleted, &e) == 0 && waiting(d) == 2, "two wait");
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);
    w = open_log(fakedisk_io(d), "w", 0, 0);
    wal_stats_get(w, &st);
    ok(waiting(d) == 0 && st.bytes == st.segments * SEG_BYTES, "the next start deletes them");
    wal_close(w);
    fakedisk_free(d);
}

/* Each call of preparing in a used file fails once. */
static void test_reuse_fails(void)
{
    for (unsigned n = 1; n <= 4; n++) {
        struct fakedisk *d = fakedisk_new(n, 512);
        struct wal_stats st;
        struct err e;
        uint64_t index, deleted;
        struct wal *w = six_segments(d, &index);
        int rc = wal_trim(w, 60, UINT64_MAX, &deleted, &e);

        while (append_len(w, index, 3000) == 0)
            index++;
        fakedisk_fail(d, FAKEDISK_CHANGES, n, -EIO, true);
        ok(rc == 0 && wal_prepare(w, &e) == -EIO && wal_prepare(w, &e) == 0,
           "call %u of using a file again fails: not fatal", n);
        wal_stats_get(w, &st);
        ok(st.bytes == st.segments * SEG_BYTES && append_len(w, index, 3000) == 0 &&
               wal_sync(w, &e) == 0,
           "the bytes are counted right, the log goes on");
        wal_close(w);
        fakedisk_restart(d, FAKEDISK_NONE);
        w = open_log(fakedisk_io(d), "w", 0, 0);
        is_u64(w != NULL ? wal_durable_index(w) : 0, index, "and opens again");
        wal_close(w);
        fakedisk_free(d);
    }
}

/* Six segments, the next one ready, nothing to be used again. */
static struct wal *ready_to_delete(struct fakedisk *d)
{
    uint64_t index;
    struct wal *w = six_segments(d, &index);
    struct err e;

    must(wal_prepare(w, &e) == 0);
    wal_set_budget(w, 1, 0);
    return w;
}

/* Each call of deleting in pieces fails once, or is the last before a crash. */
static void test_delete_fails(void)
{
    uint64_t deleted, more, calls;
    struct err e;

    piece_bytes = SEG_BYTES / 2;
    struct fakedisk *d = fakedisk_new(9, 512);
    struct wal *w = ready_to_delete(d);
    calls = fakedisk_calls(d);
    int rc = wal_trim(w, 60, UINT64_MAX, &deleted, &e);
    calls = fakedisk_calls(d) - calls;
    ok(rc == 0 && deleted >= 2 && calls == 4 * deleted,
       "unlinked, folder synced, cut, synced: %" PRIu64 " segments", deleted);
    wal_close(w);
    fakedisk_free(d);

    for (unsigned n = 1; n <= calls; n++) {
        d = fakedisk_new(n, 512);
        w = ready_to_delete(d);
        fakedisk_fail(d, FAKEDISK_CHANGES, n, -EIO, false);
        rc = wal_trim(w, 60, UINT64_MAX, &deleted, &e);
        more = 0;
        ok((rc == 0 || (rc == -EIO && wal_trim(w, 60, UINT64_MAX, &more, &e) == 0)) &&
               deleted + more == calls / 4,
           "call %u of deleting fails: they go all the same", n);
        wal_close(w);
        fakedisk_restart(d, FAKEDISK_NONE);
        w = open_log(fakedisk_io(d), "w", 0, 0);
        ok(w != NULL, "and the log opens again");
        wal_close(w);
        fakedisk_free(d);
    }
    for (unsigned n = 1; n <= 6; n++) {
        d = fakedisk_new(n, 512);
        w = ready_to_delete(d);
        fakedisk_fail(d, FAKEDISK_SYNC_DIR, 1, -EIO, false);
        fakedisk_stop_at(d, n);
        rc = wal_trim(w, 60, UINT64_MAX, &deleted, &e);
        wal_close(w);
        fakedisk_restart(d, FAKEDISK_NONE);
        w = open_log(fakedisk_io(d), "w", 0, 0);
        ok(rc == -EIO && w != NULL,
           "the folder cannot be synced, power fails at call %u: no name comes back for half a "
           "file",
           n);
        wal_close(w);
        fakedisk_free(d);
    }
    piece_bytes = 0;
}

/* A used file is not written to while a crash could still give it its old name. */
static void test_reuse_unsynced(void)
{
    struct fakedisk *d = fakedisk_new(8, 512);
    struct err e;
    uint64_t index, deleted, calls;
    struct wal *w = six_segments(d, &index);

    while (append_len(w, index, 3000) == 0)
        index++;
    fakedisk_fail(d, FAKEDISK_SYNC_DIR, 1, -EIO, false);
    ok(wal_trim(w, 60, UINT64_MAX, &deleted, &e) == -EIO && waiting(d) == 1,
       "renamed, but the folder cannot be synced");
    fakedisk_fail(d, FAKEDISK_SYNC_DIR, 1, -EIO, false);
    calls = fakedisk_calls(d);
    ok(wal_prepare(w, &e) == -EIO && fakedisk_calls(d) == calls && waiting(d) == 1,
       "nor before it is used: left alone");
    ok(wal_prepare(w, &e) == 0 && fakedisk_calls(d) == calls + 5 && waiting(d) == 0,
       "used once the folder is synced");
    wal_close(w);
    fakedisk_free(d);
}

/* Segments of another size, and files that somebody changed, are not used. */
static void test_reuse_other(void)
{
    struct fakedisk *d = fakedisk_new(5, 512);
    struct wal_options o = {.path = "w", .segment_size_bytes = 2 * SEG_BYTES};
    struct fakedisk_file f;
    struct err e;
    uint64_t index, deleted;
    struct wal *w = six_segments(d, &index);

    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);
    ok(wal_open(&w, fakedisk_io(d), &o, NULL, &e) == 0 &&
           wal_trim_for_reuse(w, 90, UINT64_MAX, &deleted, &e) == 0 && deleted == 2 &&
           waiting(d) == 0,
       "segments of another size: no more are deleted than could be used");
    ok(wal_trim(w, 90, UINT64_MAX, &deleted, &e) == 0 && deleted > 1 && waiting(d) == 0,
       "and they are not used again");
    wal_close(w);
    fakedisk_free(d);

    d = fakedisk_new(6, 512);
    w = six_segments(d, &index);
    ok(wal_trim(w, 60, UINT64_MAX, &deleted, &e) == 0 && waiting(d) == 2, "two wait");
    fakedisk_remove(d, "w/reuse-00000000000000000002.tmp");
    fakedisk_put(d, "w/reuse-00000000000000000001.tmp", filler, 4096);
    while (append_len(w, index, 3000) == 0)
        index++;
    ok(wal_prepare(w, &e) == 0 && waiting(d) == 0 && append_len(w, index, 3000) == 0 &&
           fakedisk_file(d, "w/seg-00000000000000000008.wal", &f) && f.size == SEG_BYTES,
       "one vanished, one cut: a new one is made");
    wal_close(w);
    fakedisk_free(d);
}

/* Only its first group says where the log goes on, once the segment before is deleted. */
static void test_trim_last_sealed(void)
{
    struct fakedisk *d = fakedisk_new(7, 512);
    struct wal *w = open_log(fakedisk_io(d), "w", 0, 0);
    struct err e;
    uint64_t deleted, index = 1;

    while (append_len(w, index, 3000) == 0)
        index++;
    ok(wal_prepare(w, &e) == 0 && append_len(w, index, 3000) == 0 &&
           wal_durable_index(w) == index - 1,
       "a segment was sealed, its successor has nothing durable");
    wal_commit(w, index - 1);
    ok(wal_trim(w, index, UINT64_MAX, &deleted, &e) == 0 && deleted == 0, "it stays");
    fakedisk_stop_at(d, 1);
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);
    w = open_log(fakedisk_io(d), "w", 0, 0);
    is_u64(w != NULL ? wal_durable_index(w) : 0, index - 1, "power cut there: the log opens");
    wal_close(w);
    fakedisk_free(d);
}

static void test_limits(void)
{
    char *dir = tmpdir_make();
    struct wal_options o = {.path = dir, .segment_size_bytes = 100000};
    struct wal *w, *w2;
    struct wal_recovery rep;
    struct wal_cursor *c;
    struct wal_view v;
    struct err e;

    ok(wal_open(&w, io_posix(), &o, NULL, &e) == -EINVAL, "an odd segment size is refused");
    w = open_log(io_posix(), dir, 0, 0);
    ok(append_len(w, 1, LIMIT_WAL_PAYLOAD_BYTES + 1) == WH_ELIMIT, "payload over the limit");
    ok(append_len(w, 1, SEG_BYTES) == WH_ELIMIT, "larger than any segment of this log");
    ok(append_len(w, 1, 0) == 0 && wal_sync(w, &e) == 0, "an empty payload is fine");
    o.segment_size_bytes = SEG_BYTES;
    ok(wal_open(&w2, io_posix(), &o, NULL, &e) == -EWOULDBLOCK, "a second process is kept out");
    wal_close(w);

    o.segment_size_bytes = 32 * MIB;
    ok(wal_open(&w, io_posix(), &o, &rep, &e) == 0 && rep.last_index == 1,
       "another segment size for an existing log");
    filler[0] = 'x';
    filler[LIMIT_WAL_PAYLOAD_BYTES - 1] = 'y';
    ok(append_len(w, 2, LIMIT_WAL_PAYLOAD_BYTES) == WH_EAGAIN && wal_prepare(w, &e) == 0 &&
           append_len(w, 2, LIMIT_WAL_PAYLOAD_BYTES) == 0 && wal_sync(w, &e) == 0,
       "one entry of the largest size, larger than a group");
    wal_commit(w, 2);
    ok(wal_cursor_open(&c, w, 2, &e) == 0 && wal_cursor_next(c, &v, &e) == 0 &&
           v.payload.len == LIMIT_WAL_PAYLOAD_BYTES &&
           memcmp(v.payload.ptr, filler, v.payload.len) == 0,
       "read back");
    ok(v.payload.ptr[v.payload.len + LIMIT_JSON_PADDING - 1] == 0, "and there is room behind it");
    ok(wal_cursor_check(c, &e) == 0, "the view was whole");
    wal_cursor_close(c);
    wal_close(w);
    tmpdir_remove(dir);
}

static void test_trim(void)
{
    char *dir = tmpdir_make();
    struct wal *w = open_log(io_posix(), dir, 0, 0);
    struct wal_cursor *c;
    struct wal_view v;
    struct wal_stats st;
    struct wal_recovery rep;
    struct wal_options o = {.path = dir, .segment_size_bytes = SEG_BYTES};
    struct err e;
    uint64_t deleted, first;
    bool fine = true;

    for (uint64_t i = 1; i <= 100 && fine; i++) {
        fine = wal_prepare(w, &e) == 0 && append_len(w, i, 3000) == 0;
    }
    ok(fine && wal_sync(w, &e) == 0, "100 entries");
    wal_commit(w, 100);
    ok(wal_cursor_open(&c, w, 0, &e) == 0 && wal_cursor_next(c, &v, &e) == 0 && v.index == 1,
       "a cursor at the start");
    ok(wal_trim(w, 80, UINT64_MAX, &deleted, &e) == 0 && deleted == 0,
       "a pinned segment stays, and so do those behind it");
    while (wal_cursor_next(c, &v, &e) == 0 && v.index < 50)
        ;
    ok(wal_trim(w, 80, 100, &deleted, &e) == 0 && deleted == 0, "too young to go");
    ok(wal_trim(w, 80, UINT64_MAX, &deleted, &e) == 0 && deleted >= 2, "what it has left goes");
    wal_stats_get(w, &st);
    first = st.first_index;
    ok(first > 1 && first <= 50 && st.bytes == st.segments * SEG_BYTES, "stats follow");
    ok(wal_cursor_next(c, &v, &e) == 0 && v.index == 51, "the cursor goes on");
    ok(wal_cursor_seek(c, 3, &e) == WH_ENOTFOUND, "no way back to what is deleted");
    ok(wal_cursor_next(c, &v, &e) == WH_ENOTFOUND, "nor by asking again");
    ok(wal_cursor_seek(c, 0, &e) == 0 && wal_cursor_next(c, &v, &e) == 0 && v.index == first,
       "0 is the first that is there");
    ok(wal_cursor_seek(c, 100, &e) == 0 && wal_cursor_next(c, &v, &e) == 0 && v.index == 100 &&
           wal_cursor_next(c, &v, &e) == WH_EEND,
       "and the last");
    ok(wal_cursor_seek(c, 103, &e) == 0 && wal_cursor_next(c, &v, &e) == WH_EEND,
       "an index that does not exist yet");
    for (uint64_t i = 101; i <= 104; i++)
        fine = fine && append_len(w, i, 10) == 0;
    fine = fine && wal_sync(w, &e) == 0;
    wal_commit(w, 104);
    ok(fine && wal_cursor_next(c, &v, &e) == 0 && v.index == 103, "comes into being");
    wal_cursor_close(c);
    wal_close(w);
    ok(wal_open(&w, io_posix(), &o, &rep, &e) == 0 && rep.first_index == first &&
           rep.last_index == 104,
       "opens again after trimming");
    wal_close(w);
    tmpdir_remove(dir);
}

/* --- readers beside the writer -------------------------------------------------------------- */

#define LIVE_LAST 4000u

struct reader {
    pthread_t thread;
    struct wal *w;
    uint64_t seen;
    bool wrong;
};

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    struct wal_cursor *c;
    struct wal_view v;
    struct err e;

    if (wal_cursor_open(&c, r->w, 1, &e) != 0) {
        r->wrong = true;
        return NULL;
    }
    while (r->seen < LIVE_LAST && !r->wrong) {
        int rc = wal_cursor_next(c, &v, &e);

        if (rc == WH_EEND) {
            (void)sched_yield();
        } else if (rc != 0 || v.index != r->seen + 1 || v.payload.len != v.index % 700 ||
                   v.time_ns != 100 + v.index) {
            printf("# reader: rc %d index %" PRIu64 " %s\n", rc, v.index, rc != 0 ? e.text : "");
            r->wrong = true;
        } else {
            r->seen++;
        }
    }
    wal_cursor_close(c);
    return NULL;
}

struct keeper {
    pthread_t thread;
    struct wal *w;
    _Atomic bool stop;
    _Atomic uint64_t safe; /* all readers are beyond */
    uint64_t deleted;
    bool wrong;
};

static void *keeper_main(void *arg)
{
    struct keeper *k = arg;
    struct wal_stats st;
    struct err e;
    uint64_t deleted;

    while (!atomic_load(&k->stop)) {
        if (wal_trim_for_reuse(k->w, wal_commit_index(k->w) / 2, UINT64_MAX, &deleted, &e) != 0)
            k->wrong = true;
        k->deleted += deleted;
        if (wal_prepare(k->w, &e) != 0 ||
            wal_trim(k->w, wal_commit_index(k->w) / 2, UINT64_MAX, &deleted, &e) != 0) {
            printf("# keeper: %s\n", e.text);
            k->wrong = true;
        }
        k->deleted += deleted;
        wal_stats_get(k->w, &st);
        (void)wal_has_room(k->w, 1000);
        (void)sched_yield();
    }
    return NULL;
}

static void test_threads(void)
{
    char *dir = tmpdir_make();
    struct wal *w = open_log(io_posix(), dir, 0, 0);
    struct reader readers[2] = {{.w = w}, {.w = w}};
    struct keeper keeper = {.w = w};
    struct err e;
    bool fine = true;

    for (int i = 0; i < 2; i++)
        fine = fine && pthread_create(&readers[i].thread, NULL, reader_main, &readers[i]) == 0;
    fine = fine && pthread_create(&keeper.thread, NULL, keeper_main, &keeper) == 0;
    for (uint64_t i = 1; i <= LIVE_LAST && fine;) {
        int rc = append_len(w, i, i % 700);

        if (rc == WH_EAGAIN) {
            (void)sched_yield();
            continue;
        }
        fine = rc == 0;
        if (i % 16 == 0 || i == LIVE_LAST) {
            fine = fine && wal_sync(w, &e) == 0;
            wal_commit(w, i);
        }
        i++;
    }
    ok(fine, "written while others read, prepare and delete");
    for (int i = 0; i < 2; i++) {
        (void)pthread_join(readers[i].thread, NULL);
        ok(!readers[i].wrong && readers[i].seen == LIVE_LAST, "reader %d saw all in order", i);
    }
    atomic_store(&keeper.stop, true);
    (void)pthread_join(keeper.thread, NULL);
    ok(!keeper.wrong && keeper.deleted > 5, "%" PRIu64 " segments deleted meanwhile",
       keeper.deleted);
    wal_close(w);
    tmpdir_remove(dir);
}

static void test_vanish(void)
{
    char *dir = tmpdir_make();
    struct wal *w = open_log(io_posix(), dir, 0, 0);
    struct wal_cursor *c = NULL, *c2 = NULL;
    struct wal_view v;
    struct err e;
    char path[256];
    int fd, rc;
    bool fine = true;
    unsigned char last;

    for (uint64_t i = 1; i <= 10; i++)
        fine = fine && append_len(w, i, 3000) == 0 && wal_sync(w, &e) == 0;
    wal_commit(w, 10);
    ok(fine && wal_cursor_open(&c, w, 1, &e) == 0 && wal_cursor_open(&c2, w, 9, &e) == 0 &&
           wal_cursor_next(c, &v, &e) == 0,
       "a cursor on a mapped segment");
    (void)snprintf(path, sizeof(path), "%s/seg-00000000000000000001.wal", dir);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    ok(fd >= 0 && ftruncate(fd, 16384) == 0, "the file is cut under it");
    while ((rc = wal_cursor_next(c, &v, &e)) == 0)
        ;
    ok(rc == WH_ECORRUPT, "the reader gets an error, the process lives");
    printf("# %s\n", e.text);
    ok(strstr(e.text, "vanished") != NULL, "which says why");
    ok(wal_cursor_next(c2, &v, &e) == WH_ECORRUPT, "another cursor too");
    ok(wal_cursor_seek(c, 2, &e) == 0 && wal_cursor_next(c, &v, &e) == 0 && v.index == 2,
       "what is still there can be read");
    ok(ftruncate(fd, 4096) == 0, "cut again, under the view");
    last = (unsigned char)v.payload.ptr[2000];
    ok(last == 0 && wal_cursor_check(c, &e) == WH_ECORRUPT, "wal_cursor_check tells");
    (void)close(fd);
    wal_cursor_close(c);
    wal_cursor_close(c2);
    wal_close(w);
    tmpdir_remove(dir);
}

int main(void)
{
    log_configure((enum log_level)0, LOG_FORMAT_TEXT);
    test_poison();
    test_full();
    test_reuse();
    test_reuse_fails();
    test_delete_fails();
    test_reuse_unsynced();
    test_reuse_other();
    test_trim_last_sealed();
    test_limits();
    test_trim();
    test_threads();
    test_vanish();
    return tap_done();
}
