/* SPDX-License-Identifier: Apache-2.0 */
/* Damage: every byte flipped in turn, sectors at the wrong place, old or missing files. Either it
 * is noticed, or it changes nothing that a reader sees.
 *
 * One thing cannot be told by any log: damage to the very last group looks like a write that never
 * finished. The sync mark moves that blind spot onto itself: with a mark at the end, all entries
 * are below it and only the mark can be lost. Both are tested. */
#include "tests/lib/fakedisk.h"
#include "tests/lib/slow.h"
#include "tests/lib/tap.h"
#include "wal/format.h"
#include "wal/wal.h"

#include "base/crc32c.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define SEG_BYTES (64 * KIB)
#define SEG(n)    "w/seg-0000000000000000000" #n ".wal"

static struct wal_options options = {.path = "w", .segment_size_bytes = SEG_BYTES};

static size_t payload_len(uint64_t index)
{
    return index % 5 == 0 ? 9000 : (size_t)(index * 531 % 1800);
}

static int append(struct wal *w, uint64_t index)
{
    static char p[16384];
    struct iovec part = {p, payload_len(index)};
    struct wal_entry en = {.type = WAL_CONTROL,
                           .index = index,
                           .term = 1,
                           .time_ns = index,
                           .parts = &part,
                           .part_count = 1};
    struct err e;
    int rc;

    for (size_t i = 0; i < part.iov_len; i++)
        p[i] = (char)(index * 7 + i);
    rc = wal_append(w, &en);
    if (rc == WH_EAGAIN && (rc = wal_prepare(w, &e)) == 0)
        rc = wal_append(w, &en);
    return rc;
}

static bool payload_right(const struct wal_view *v)
{
    if (v->payload.len != payload_len(v->index))
        return false;
    for (size_t i = 0; i < v->payload.len; i++)
        if (v->payload.ptr[i] != (char)(v->index * 7 + i))
            return false;
    return true;
}

/* A durable log of entries first … last, synced every third; marked: closed in good order. */
static struct fakedisk *make_log(uint64_t last, bool marked)
{
    struct fakedisk *d = fakedisk_new(5, 512);
    struct err e;
    struct wal *w;
    bool fine = wal_open(&w, fakedisk_io(d), &options, NULL, &e) == 0;

    for (uint64_t i = 1; fine && i <= last; i++)
        fine = append(w, i) == 0 && (i % 3 != 0 || wal_sync(w, &e) == 0);
    if (marked)
        fine = fine && wal_sync(w, &e) == 0;
    if (!fine)
        printf("# make_log: %s\n", e.text);
    if (!marked)
        fakedisk_stop_at(d, 1);
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);
    return d;
}

enum outcome {
    REFUSED,
    ENTRY_REFUSED,
    EQUAL,
    SHORTER,
    WRONG
};

/* Open and read everything: what does a user of this log notice? */
static enum outcome read_log(struct fakedisk *d, uint64_t last, uint64_t *got, struct err *e)
{
    enum outcome out;
    struct wal_cursor *c;
    struct wal_view v;
    struct wal *w;
    uint64_t next = 1;
    int rc;

    *got = 0;
    if ((rc = wal_open(&w, fakedisk_io(d), &options, NULL, e)) != 0)
        return rc == WH_ECORRUPT || rc == WH_EUNSUPPORTED ? REFUSED : WRONG;
    wal_commit(w, wal_durable_index(w));
    *got = wal_durable_index(w);
    if (wal_cursor_open(&c, w, 1, e) != 0) {
        fakedisk_stop_at(d, 1);
        wal_close(w);
        return WRONG;
    }
    while ((rc = wal_cursor_next(c, &v, e)) == 0 && v.index == next && payload_right(&v))
        next++;
    if (rc == WH_ECORRUPT)
        out = ENTRY_REFUSED;
    else if (rc != WH_EEND)
        out = WRONG;
    else
        out = next == last + 1 ? EQUAL : SHORTER;
    wal_cursor_close(c);
    fakedisk_stop_at(d, 1); /* no mark: the disk is compared */
    wal_close(w);
    return out;
}

static void copy_log(struct fakedisk *from, struct fakedisk *to, unsigned segments)
{
    static const char *const names[] = {SEG(1), SEG(2), SEG(3), SEG(4), SEG(5)};
    struct fakedisk_file src, dst;

    for (unsigned i = 0; i < segments; i++)
        if (fakedisk_file(from, names[i], &src) && fakedisk_file(to, names[i], &dst)) {
            memcpy(dst.view, src.image, SEG_BYTES);
            memcpy(dst.image, src.image, SEG_BYTES);
        }
}

static void flip_all(const char *name, unsigned segments, uint64_t last, uint64_t blind_from,
                     const char *what)
{
    struct fakedisk *good = make_log(last, true), *d = make_log(last, true);
    struct fakedisk_file src, dst;
    uint64_t counts[5] = {0}, wrong = 0, silent = 0, got;
    struct err e;

    (void)fakedisk_file(good, name, &src);
    for (uint64_t at = 0; at < SEG_BYTES; at++) {
        enum outcome out;

        if (TEST_SLOW && at % 3 != 0)
            continue;
        /* The inside of a payload or of a run of zeros behaves alike: a part of it is enough. */
        if (at % 4096 > 200 && at + 8 < SEG_BYTES &&
            at % (src.image[at] == 0 ? 61
                  : TEST_SLOW        ? 41
                                     : 5) !=
                0)
            continue;
        copy_log(good, d, segments);
        (void)fakedisk_file(d, name, &dst);
        dst.view[at] = dst.image[at] = (char)(dst.image[at] ^ (1 << (at % 8)));
        out = read_log(d, last, &got, &e);
        fakedisk_restart(d, FAKEDISK_ALL);
        counts[out]++;
        wrong += out == WRONG;
        if (out == SHORTER) {
            silent += at < blind_from;
            if (at < blind_from)
                printf("# silent cut: flip at %" PRIu64 ", %" PRIu64 " entries left\n", at, got);
        }
    }
    ok(wrong == 0 && silent == 0,
       "%s: %" PRIu64 " flips: %" PRIu64 " refused at start, %" PRIu64
       " refused when read, %" PRIu64 " harmless, %" PRIu64 " in the blind last group",
       what, counts[0] + counts[1] + counts[2] + counts[3], counts[0], counts[1], counts[2],
       counts[3]);
    ok(counts[REFUSED] > 100 && counts[EQUAL] > 100, "%s: both happened", what);
    fakedisk_free(good);
    fakedisk_free(d);
}

static void test_flips(void)
{
    flip_all(SEG(1), 2, 24, SEG_BYTES, "sealed segment");
    flip_all(SEG(2), 2, 24, SEG_BYTES, "active segment with a sync mark");
}

/* Without a mark the last group is blind, and only that one. */
static void test_last_group(void)
{
    struct fakedisk *d = make_log(6, false);
    struct fakedisk_file f;
    struct wal_group g;
    struct wal_head head;
    uint64_t at = WAL_HEAD_BYTES, last_at = 0, before = 0, got;
    struct err e;

    (void)fakedisk_file(d, SEG(1), &f);
    if (wal_head_get(f.image, &head, &e) != 0)
        printf("# %s\n", e.text);
    for (; wal_group_get(f.image, &head, at, &g, &e) == 0; at = wal_block_align(at + g.length)) {
        before = last_at;
        last_at = at;
    }
    f.image[last_at + 70]++;
    f.view[last_at + 70]++;
    ok(read_log(d, 6, &got, &e) == SHORTER && got == 3,
       "damage to the last group, no mark behind it: taken for a torn write");
    fakedisk_free(d);

    d = make_log(6, false);
    (void)fakedisk_file(d, SEG(1), &f);
    f.image[before + 70]++;
    f.view[before + 70]++;
    ok(read_log(d, 6, &got, &e) == REFUSED && strstr(e.text, "had been durable") != NULL,
       "damage to the group before it: refused");
    printf("# %s\n", e.text);
    fakedisk_free(d);

    d = make_log(6, true);
    (void)fakedisk_file(d, SEG(1), &f);
    f.image[last_at + 70]++;
    f.view[last_at + 70]++;
    ok(read_log(d, 6, &got, &e) == REFUSED, "damage to the last group below a mark: refused");
    fakedisk_free(d);
}

/* Bytes of another place or time, correct in themselves. */
static void test_misplaced(void)
{
    struct fakedisk *d = make_log(24, true), *old = make_log(12, true);
    struct fakedisk_file f, g;
    uint64_t got;
    struct err e;

    (void)fakedisk_file(d, SEG(1), &f);
    memcpy(f.image + 3 * 4096, f.image + 2 * 4096, 4096);
    memcpy(f.view, f.image, SEG_BYTES);
    ok(read_log(d, 24, &got, &e) == ENTRY_REFUSED,
       "a block written over its neighbour in a sealed segment: refused when read");
    fakedisk_free(d);

    d = make_log(24, true);
    (void)fakedisk_file(d, SEG(1), &f);
    (void)fakedisk_file(d, SEG(2), &g);
    memcpy(g.image + 2 * 4096, f.image + 2 * 4096, 4096);
    memcpy(g.view, g.image, SEG_BYTES);
    ok(read_log(d, 24, &got, &e) == REFUSED,
       "a block of another segment in the active one: refused at start");
    fakedisk_free(d);

    d = make_log(24, true);
    (void)fakedisk_file(d, SEG(2), &g);
    memset(g.image + 2 * 4096, 0, 4096);
    memcpy(g.view, g.image, SEG_BYTES);
    ok(read_log(d, 24, &got, &e) == REFUSED,
       "a zeroed block with later groups: not taken for the end");
    fakedisk_free(d);

    d = make_log(24, true);
    (void)fakedisk_file(d, SEG(2), &g);
    memset(g.image + 4096, 0, SEG_BYTES - 4096);
    memcpy(g.view, g.image, SEG_BYTES);
    ok(read_log(d, 24, &got, &e) == SHORTER && got < 24,
       "the active segment zeroed whole, none prepared behind it: like one not begun");
    fakedisk_free(d);

    d = make_log(24, true);
    {
        struct wal *w;

        if (wal_open(&w, fakedisk_io(d), &options, NULL, &e) != 0 || wal_prepare(w, &e) != 0)
            printf("# %s\n", e.text);
        wal_close(w);
        fakedisk_restart(d, FAKEDISK_ALL);
    }
    (void)fakedisk_file(d, SEG(2), &g);
    memset(g.image + 4096, 0, SEG_BYTES - 4096);
    memcpy(g.view, g.image, SEG_BYTES);
    ok(read_log(d, 24, &got, &e) == REFUSED && strstr(e.text, "was durable") != NULL,
       "the same with a prepared segment, which knows what was durable when it was made: refused");
    printf("# %s\n", e.text);
    fakedisk_free(d);
    fakedisk_free(old);
}

static void expect_refused(struct fakedisk *d, const char *needle, const char *what)
{
    uint64_t got;
    struct err e = {0};
    bool good = read_log(d, 60, &got, &e) == REFUSED && strstr(e.text, needle) != NULL;

    ok(good, "%s", what);
    printf("# %s\n", e.text);
    fakedisk_free(d);
}

static void test_files(void)
{
    struct fakedisk *d, *other;
    struct fakedisk_file f;
    static char keep[SEG_BYTES];

    d = make_log(60, true);
    fakedisk_remove(d, SEG(2));
    expect_refused(d, &SEG(2)[2], "a segment missing in the middle is named");

    d = make_log(24, true);
    fakedisk_remove(d, SEG(2));
    expect_refused(d, "is missing", "the last segment missing: the one before is sealed");

    d = make_log(60, true);
    (void)fakedisk_file(d, SEG(2), &f);
    memcpy(keep, f.image, SEG_BYTES);
    fakedisk_put(d, SEG(3), keep, SEG_BYTES);
    expect_refused(d, "foreign", "a copy of another segment under its name");

    d = make_log(60, true);
    other = fakedisk_new(77, 512);
    {
        struct wal *w;
        struct err e;

        if (wal_open(&w, fakedisk_io(other), &options, NULL, &e) == 0) {
            for (uint64_t i = 1; i < 60 && append(w, i) == 0; i++)
                ;
            wal_close(w);
        }
        (void)fakedisk_file(other, SEG(2), &f);
        memcpy(keep, f.view, SEG_BYTES);
        fakedisk_put(d, SEG(2), keep, SEG_BYTES);
    }
    expect_refused(d, "another log", "a segment of another log");
    fakedisk_free(other);

    d = make_log(60, true);
    (void)fakedisk_file(d, SEG(2), &f);
    memcpy(keep, f.image, SEG_BYTES);
    fakedisk_put(d, SEG(2), keep, 20480);
    expect_refused(d, "it was cut", "a segment cut short");
    d = make_log(60, true);
    fakedisk_put(d, SEG(2), keep, 100);
    expect_refused(d, "only 100 bytes", "a segment of 100 bytes");
    d = make_log(60, true);
    memset(keep, 0, sizeof(keep));
    fakedisk_put(d, SEG(2), keep, SEG_BYTES);
    expect_refused(d, "bad magic", "a segment of zeros");
}

/* A damaged footer costs time, not data. */
static void test_footer(void)
{
    struct fakedisk *d = make_log(60, true);
    struct fakedisk_file f;
    uint64_t got;
    struct err e;

    (void)fakedisk_file(d, SEG(2), &f);
    f.image[SEG_BYTES - 4096 + 80]++;
    f.view[SEG_BYTES - 4096 + 80]++;
    ok(read_log(d, 60, &got, &e) == EQUAL, "a damaged footer: the segment is read whole instead");
    fakedisk_restart(d, FAKEDISK_ALL);
    f.image[4 * 4096 + 3]++;
    f.view[4 * 4096 + 3]++;
    ok(read_log(d, 60, &got, &e) == REFUSED, "and if a group is damaged too: refused");
    fakedisk_free(d);
}

static void test_read_error(void)
{
    struct fakedisk *d = make_log(24, true);
    uint64_t got, refused = 0;
    struct err e;

    for (uint64_t n = 1; n <= 5; n++) {
        struct wal *w;

        fakedisk_fail(d, FAKEDISK_READ, n, -EIO, false);
        refused += wal_open(&w, fakedisk_io(d), &options, NULL, &e) != 0;
        fakedisk_restart(d, FAKEDISK_ALL);
    }
    is_u64(refused, 5, "an unreadable page while opening: refused, never cut");
    ok(read_log(d, 24, &got, &e) == EQUAL, "nothing was changed by that");
    fakedisk_free(d);
}

int main(void)
{
    log_configure((enum log_level)0, LOG_FORMAT_TEXT); /* the refusals are what is tested */
    test_flips();
    test_last_group();
    test_misplaced();
    test_files();
    test_footer();
    test_read_error();
    return tap_done();
}
