/* SPDX-License-Identifier: Apache-2.0 */
/* The log on real files: what wal.h promises when nothing goes wrong, and its limits. */
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/wal.h"

#include "base/limits.h"
#include "base/magic.h"
#include "wal/batch.h"
#include "wal/tables.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEG_BYTES (64 * KIB)

static struct wal_options options(const char *path)
{
    return (struct wal_options){.path = path, .segment_size_bytes = SEG_BYTES};
}

static int append(struct wal *w, uint64_t index, size_t payload_len)
{
    char *p = malloc(payload_len + 1);
    struct iovec parts[2];
    struct wal_entry en = {
        .type = WAL_CONTROL, .index = index, .term = 1, .time_ns = 1000 + index, .parts = parts};
    int rc;

    memset(p, (int)('a' + index % 26), payload_len);
    parts[0] = (struct iovec){p, payload_len / 3};
    parts[1] = (struct iovec){p + payload_len / 3, payload_len - payload_len / 3};
    en.part_count = 2;
    rc = wal_append(w, &en);
    free(p);
    return rc;
}

/* wal_open that shows why not. */
static int open_log(struct wal **w, const struct wal_options *o, struct wal_recovery *rep)
{
    struct err e = {0};
    int rc = wal_open(w, io_posix(), o, rep, &e);

    if (rc != 0)
        printf("# wal_open: %s\n", e.text);
    return rc;
}

static bool payload_right(const struct wal_view *v, size_t len)
{
    if (v->payload.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (v->payload.ptr[i] != (char)('a' + v->index % 26))
            return false;
    return true;
}

/* Count the entries that a fresh cursor sees; -1 when one is wrong. */
static int64_t count_entries(struct wal *w, uint64_t from, size_t (*len_of)(uint64_t))
{
    struct wal_cursor *c;
    struct wal_view v;
    struct err e;
    int64_t n = 0;
    uint64_t want = from;
    int rc;

    if (wal_cursor_open(&c, w, from, &e) != 0) {
        printf("# %s\n", e.text);
        return -1;
    }
    while ((rc = wal_cursor_next(c, &v, &e)) == 0) {
        if ((want != 0 && v.index != want) || !payload_right(&v, len_of(v.index)))
            break;
        want = v.index + 1;
        n++;
    }
    if (rc != WH_EEND)
        printf("# rc %d after %" PRId64 ": %s\n", rc, n, e.text);
    wal_cursor_close(c);
    return rc == WH_EEND ? n : -1;
}

static size_t len_mixed(uint64_t index)
{
    return (size_t)(index * 37 % 3000);
}

static void test_round_trip(void)
{
    char *dir = tmpdir_make();
    struct wal_options o = options(dir);
    struct wal_recovery rep;
    struct wal_stats st;
    struct wal *w;
    struct err e;
    bool fine = true;

    ok(open_log(&w, &o, &rep) == 0 && rep.created && rep.last_index == 0,
       "an empty folder becomes a log");
    ok(count_entries(w, 0, len_mixed) == 0, "nothing to read in it");
    for (uint64_t i = 1; i <= 300 && fine; i++) {
        int rc = append(w, i, len_mixed(i));
        if (rc == WH_EAGAIN) {
            fine = wal_prepare(w, &e) == 0;
            rc = append(w, i, len_mixed(i));
        }
        fine = fine && rc == 0 && (i % 7 != 0 || wal_sync(w, &e) == 0);
    }
    ok(fine && wal_sync(w, &e) == 0, "300 entries over several segments");
    is_u64(wal_durable_index(w), 300, "all durable");
    ok(count_entries(w, 1, len_mixed) == 0, "not committed: not seen");
    wal_commit(w, 150);
    ok(count_entries(w, 1, len_mixed) == 150, "seen up to the commit mark");
    wal_commit(w, 300);
    ok(count_entries(w, 1, len_mixed) == 300, "then all");
    ok(count_entries(w, 222, len_mixed) == 79, "from the middle");
    wal_stats_get(w, &st);
    ok(st.segments >= 5 && st.last_index == 300 && st.first_index == 1, "stats");
    wal_close(w);

    ok(open_log(&w, &o, &rep) == 0 && rep.last_index == 300 && rep.torn_bytes == 0 &&
           rep.first_index == 1 && rep.last_term == 1,
       "opened again");
    wal_commit(w, 300);
    ok(count_entries(w, 1, len_mixed) == 300, "all there");
    ok(append(w, 301, 10) == 0 && wal_sync(w, &e) == 0, "goes on");
    wal_close(w);
    o.read_only = true;
    ok(open_log(&w, &o, &rep) == 0 && wal_commit_index(w) == 301, "read only");
    ok(count_entries(w, 1, len_mixed) == -1 && count_entries(w, 1, len_mixed) == -1,
       "an entry of another length is noticed by this test");
    wal_close(w);
    tmpdir_remove(dir);
}

static void put_parts(struct buf *payload, const struct wal_batch_builder *b)
{
    struct iovec parts[WAL_BATCH_PARTS];
    int n = wal_batch_parts(b, parts);

    for (int i = 0; i < n; i++)
        buf_put(payload, parts[i].iov_base, parts[i].iov_len);
}

static void test_batch_sections(void)
{
    static const uint8_t id[WAL_BATCH_ID_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
    static const char none[WAL_BATCH_ID_BYTES];
    struct wal_batch_builder b;
    struct wal_batch batch;
    struct buf payload;
    struct err e;

    wal_batch_init(&b);
    buf_init(&payload, SIZE_MAX);
    for (uint32_t i = 0; i < 4; i++) {
        size_t off = b.text.len;

        buf_printf(&b.text, "{\"n\":%u}", i);
        if (wal_batch_add(&b, 100 + i, off) != 0 || (i == 2 && wal_batch_id(&b, id) != 0))
            abort();
    }
    b.flags = WAL_BATCH_HELD;
    wal_batch_origin(&b, SLICE_LIT("from there"));
    ok(wal_batch_finish(&b, SLICE_LIT("t"), SLICE_LIT("peer request")) == 0, "finished");
    put_parts(&payload, &b);
    ok(wal_batch_parse(buf_slice(&payload), &batch, &e) == 0, "parses");
    ok(batch.flags == (WAL_BATCH_IDS | WAL_BATCH_HELD | WAL_BATCH_ORIGIN) && batch.count == 4,
       "flags and count");
    ok(batch.ids != NULL && memcmp(batch.ids + 2 * sizeof(id), id, sizeof(id)) == 0 &&
           memcmp(batch.ids, none, sizeof(none)) == 0 &&
           memcmp(batch.ids + 3 * sizeof(id), none, sizeof(none)) == 0,
       "one record has an id, the others have none");
    ok(slice_eq_str(batch.origin, "from there") && slice_eq_str(batch.sender, "peer request"),
       "origin and sender");
    ok(slice_eq_str(wal_batch_get(&batch, 3).text, "{\"n\":3}"), "texts follow the sections");
    payload.ptr[1] |= 16;
    ok(wal_batch_parse(buf_slice(&payload), &batch, &e) == WH_ECORRUPT,
       "an unknown flag is refused");
    wal_batch_reset(&b);
    ok(b.flags == 0 && b.ids.len == 0 && b.origin.len == 0, "a reset builder has none of it");
    wal_batch_fini(&b);
    buf_fini(&payload);
}

/* A batch of one record for this table, as far as the footer cares. */
static void note_table(struct wal_tables *t, uint64_t index, const char *name)
{
    struct wal_batch_builder b;
    struct buf payload;

    wal_batch_init(&b);
    buf_init(&payload, SIZE_MAX);
    buf_put_str(&b.text, "{}");
    if (wal_batch_add(&b, index, 0) != 0 ||
        wal_batch_finish(&b, slice_str(name), SLICE_LIT("")) != 0)
        abort();
    put_parts(&payload, &b);
    wal_tables_note(t, index, buf_slice(&payload));
    buf_fini(&payload);
    wal_batch_fini(&b);
}

static void test_tables_limit(void)
{
    struct wal_tables *t = malloc(sizeof(*t));
    char name[1001];

    wal_tables_reset(t);
    for (unsigned i = 0; i < WAL_TABLES_MAX; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        note_table(t, i + 1, name);
    }
    ok(t->count == WAL_TABLES_MAX && !t->incomplete, "%d tables in one segment", WAL_TABLES_MAX);
    note_table(t, 5000, "t7");
    ok(!t->incomplete && t->items[7].last_index == 5000, "a known one again");
    note_table(t, 5001, "one more");
    ok(t->count == WAL_TABLES_MAX && t->incomplete, "one more: the footer says that it lacks some");

    wal_tables_reset(t);
    for (unsigned i = 0; i <= WAL_TABLE_NAMES_BYTES / 1000; i++) {
        (void)snprintf(name, sizeof(name), "%01000u", i);
        note_table(t, i + 1, name);
    }
    ok(t->count == WAL_TABLE_NAMES_BYTES / 1000 && t->incomplete, "the same when names are long");
    free(t);
}

/* Every instant, over several segments, sealed ones and the active one, before and after a start:
 * the cursor is never behind the entry, and not far before it. */
static void test_seek_time(void)
{
    char *dir = tmpdir_make();
    struct wal_options o = options(dir);
    struct wal_recovery rep;
    struct wal *w;
    struct err e;
    bool written = open_log(&w, &o, &rep) == 0, exact = true, near = true;
    uint64_t last = 400;

    for (uint64_t i = 1; i <= last && written; i++) {
        int rc = append(w, i, len_mixed(i));
        if (rc == WH_EAGAIN)
            rc = wal_prepare(w, &e) == 0 ? append(w, i, len_mixed(i)) : -1;
        written = rc == 0 && wal_sync(w, &e) == 0;
        wal_commit(w, i);
    }
    ok(written && wal_time_max(w) == 1000 + last, "the newest time is known");
    for (int life = 0; life < 2; life++) {
        struct wal_cursor *c;
        must(wal_cursor_open(&c, w, 0, &e) == 0);
        for (uint64_t t = 990; t <= 1000 + last + 10; t++) {
            struct wal_view v = {0};
            uint64_t want = t <= 1001 ? 1 : t - 1000; /* the first entry of this time or later */
            int rc = wal_cursor_seek_time(c, t, &e);
            exact = exact && rc == 0 && wal_cursor_index(c) <= want;
            while (rc == 0 && (rc = wal_cursor_next(c, &v, &e)) == 0 && v.time_ns < t)
                near = near && v.index + 60 > want;
            exact = exact && (want > last ? rc == WH_EEND : rc == 0 && v.index == want);
        }
        wal_cursor_close(c);
        wal_close(w);
        ok(exact && near, "a seek by time finds its entry%s", life == 0 ? "" : " after a start");
        must(open_log(&w, &o, &rep) == 0);
        wal_commit(w, last);
        must(wal_time_max(w) == 1000 + last);
    }
    wal_close(w);
    tmpdir_remove(dir);
}

/* --- whole files, in pieces ----------------------------------------------------------------- */

#define PACED_SEG_BYTES (8 * MIB)
#define PIECE_MOST      (2 * MIB + 4 * KIB)

static struct {
    int fd;                  /* last written to by pwritev */
    uint64_t unsynced, most; /* bytes written since its last sync; the highest of those */
    uint64_t cut_most;
    uint32_t cuts, cuts_synced, pauses;
    bool folder_synced; /* since the last name was removed */
    bool cut_early;     /* with a name that is left or may come back, or the last cut not synced */
    struct wal *events_for; /* at the next sync of a piece 3 MiB of events come */
} seen;

static int seen_pwritev(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    seen.unsynced = fd == seen.fd ? seen.unsynced : 0;
    seen.fd = fd;
    for (int i = 0; i < count; i++)
        seen.unsynced += iov[i].iov_len;
    seen.most = seen.unsynced > seen.most ? seen.unsynced : seen.most;
    return io_posix()->pwritev(ctx, fd, iov, count, offset);
}

static int seen_fdatasync(void *ctx, int fd)
{
    struct wal *w = seen.events_for;

    seen.events_for = NULL;
    seen.unsynced = 0;
    for (uint64_t n = 1; w != NULL && n <= 3; n++)
        must(append(w, wal_commit_index(w) + n, MIB) == 0);
    return io_posix()->fdatasync(ctx, fd);
}

static int seen_fsync(void *ctx, int fd)
{
    seen.unsynced = 0;
    seen.cuts_synced = seen.cuts;
    return io_posix()->fsync(ctx, fd);
}

static int seen_unlink(void *ctx, const char *path)
{
    seen.folder_synced = false;
    return io_posix()->unlink(ctx, path);
}

static int seen_sync_dir(void *ctx, const char *path)
{
    seen.folder_synced = true;
    return io_posix()->sync_dir(ctx, path);
}

static int seen_ftruncate(void *ctx, int fd, uint64_t size)
{
    struct stat st;
    must(fstat(fd, &st) == 0);
    uint64_t cut = (uint64_t)st.st_size - size;
    seen.cut_most = cut > seen.cut_most ? cut : seen.cut_most;
    seen.cut_early |= st.st_nlink > 0 || !seen.folder_synced || seen.cuts_synced < seen.cuts;
    seen.cuts++;
    return io_posix()->ftruncate(ctx, fd, size);
}

static void seen_pause(void *ctx, uint64_t ns)
{
    (void)ctx;
    seen.pauses += ns > 0;
}

static const struct io *seen_io(void)
{
    static struct io io;
    io = *io_posix();
    io.pwritev = seen_pwritev;
    io.fdatasync = seen_fdatasync;
    io.fsync = seen_fsync;
    io.unlink = seen_unlink;
    io.sync_dir = seen_sync_dir;
    io.ftruncate = seen_ftruncate;
    io.pause = seen_pause;
    memset(&seen, 0, sizeof(seen));
    return &io;
}

/* Segments 1 to 4 full, all committed. */
static uint64_t fill_four(struct wal *w)
{
    struct err e;
    uint64_t i = 0;

    while (i < 4 * (PACED_SEG_BYTES / MIB - 1)) {
        int rc = append(w, i + 1, MIB);
        if (rc == WH_EAGAIN) {
            must(wal_prepare(w, &e) == 0);
            continue;
        }
        must(rc == 0 && wal_sync(w, &e) == 0);
        wal_commit(w, ++i);
    }
    return i;
}

enum why {
    NO_HURRY,
    NO_SPARE,
    HURRY
};

static void test_pieces(enum why why)
{
    const struct io *io = seen_io();
    char *dir = tmpdir_make();
    struct wal_options o = {.path = dir, .segment_size_bytes = PACED_SEG_BYTES};
    struct wal *w;
    struct err e = {0};
    uint64_t deleted, last;

    must(wal_open(&w, io, &o, NULL, &e) == 0);
    ok(seen.most > MIB && seen.most <= PIECE_MOST, "the first segment is filled in pieces");
    last = fill_four(w);
    if (why != NO_SPARE)
        must(wal_prepare(w, &e) == 0);
    ok(seen.most <= PIECE_MOST && seen.pauses == 0,
       "every later one, too, without pauses where the active one is full");

    if (why == HURRY)
        wal_set_hurry(w, true);
    wal_set_budget(w, 1, 0); /* so nothing is kept to be used again */
    ok(wal_trim(w, last, UINT64_MAX, &deleted, &e) == 0 && deleted == 3, "three segments go");
    if (why == NO_HURRY)
        ok(seen.cuts == 3 * (PACED_SEG_BYTES / (2 * MIB) - 1) && seen.pauses == seen.cuts &&
               seen.cut_most == 2 * MIB && !seen.cut_early,
           "in pieces, each synced, with pauses, after their names: %u cuts", seen.cuts);
    else
        ok(seen.cuts == 0, "at once when %s",
           why == HURRY ? "somebody waits" : "the next segment is urgent");

    wal_close(w);
    must(wal_open(&w, io, &o, NULL, &e) == 0);
    wal_commit(w, last);
    struct wal_cursor *c;
    struct wal_view v;
    must(wal_cursor_open(&c, w, 0, &e) == 0);
    ok(wal_cursor_next(c, &v, &e) == 0 && payload_right(&v, MIB) &&
           wal_cursor_seek(c, last, &e) == 0 && wal_cursor_next(c, &v, &e) == 0 &&
           payload_right(&v, MIB),
       "what stays can be read after a start");
    wal_cursor_close(c);
    wal_close(w);
    tmpdir_remove(dir);
}

/* A segment is prepared while the active one has nearly all its room: nothing, or 3 MiB of
 * events, come meanwhile. */
static void test_fill_pauses(bool events)
{
    const struct io *io = seen_io();
    char *dir = tmpdir_make();
    struct wal_options o = {.path = dir, .segment_size_bytes = PACED_SEG_BYTES};
    struct wal *w;
    struct err e = {0};

    must(wal_open(&w, io, &o, NULL, &e) == 0);
    must(append(w, 1, MIB) == 0 && wal_sync(w, &e) == 0);
    wal_commit(w, 1);
    if (events)
        seen.events_for = w;
    must(wal_prepare(w, &e) == 0);
    if (events)
        ok(seen.pauses == 1,
           "a segment that falls behind the events is filled without pauses "
           "until it has caught up (%u)",
           seen.pauses);
    else
        ok(seen.pauses == PACED_SEG_BYTES / (2 * MIB) - 1, "else with one after each piece (%u)",
           seen.pauses);
    ok(wal_sync(w, &e) == 0, "and the log goes on");
    wal_close(w);
    tmpdir_remove(dir);
}

/* Lines with this in the file of fd. */
static int lines_with(int fd, const char *what)
{
    static char text[64 * 1024];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    int count = 0;

    text[n > 0 ? n : 0] = '\0';
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++)
        count++;
    return count;
}

/* Standard error may block, and everybody waits for the thread that writes the log. */
static void test_writer_is_silent(void)
{
    char *dir = tmpdir_make(), path[512];
    (void)snprintf(path, sizeof(path), "%s/stderr", dir);
    int err_fd = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT, 0600);
    struct wal_options o = options(dir);
    struct wal *w;
    struct err e;
    int sealed = 0, early = 0;
    uint64_t trimmed, index = 1;

    must(err_fd >= 0 && fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    must(open_log(&w, &o, NULL) == 0);
    while (sealed < 3) {
        must(wal_prepare(w, &e) == 0);
        while (wal_next_ready(w)) { /* until it has come into use */
            must(append(w, index, 2000) == 0 && wal_sync(w, &e) == 0);
            wal_commit(w, index++);
        }
        sealed++;
        early += lines_with(fd, "wal.sealed") != sealed - 1;
    }
    must(wal_trim(w, 0, 0, &trimmed, &e) == 0);
    int told = lines_with(fd, "wal.sealed");
    wal_close(w);
    must(open_log(&w, &o, NULL) == 0 && wal_prepare(w, &e) == 0);
    int again = lines_with(fd, "wal.sealed");
    wal_close(w);
    must(dup2(err_fd, STDERR_FILENO) >= 0);
    (void)close(err_fd);
    (void)close(fd);
    tmpdir_remove(dir);
    ok(early == 0, "the writer says nothing when it completes a segment");
    ok(told == 3, "housekeeping says it, once for each (%d)", told);
    ok(again == 3, "and not again after an open (%d)", again);
}

int main(void)
{
    test_writer_is_silent();
    test_round_trip();
    test_batch_sections();
    test_tables_limit();
    test_seek_time();
    test_fill_pauses(false);
    test_fill_pauses(true);
    test_pieces(NO_HURRY);
    test_pieces(NO_SPARE);
    test_pieces(HURRY);
    return tap_done();
}
