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

/* Logs whose files have been used before. */
static bool reuse;

/* Let the oldest entries go, so that the next segments are made of their files. */
static bool trim_some(struct wal *w, uint64_t index)
{
    uint64_t deleted;
    struct err e;

    return !reuse || index % 9 != 0 || index < 40 ||
           wal_trim_for_reuse(w, index - 30, UINT64_MAX, &deleted, &e) == 0;
}

/* A durable log of entries first … last, synced every third; marked: closed in good order. */
static struct fakedisk *make_log(uint64_t last, bool marked)
{
    struct fakedisk *d = fakedisk_new(5, 512);
    struct err e;
    struct wal *w;
    bool fine = wal_open(&w, fakedisk_io(d), &options, NULL, &e) == 0;

    for (uint64_t i = 1; fine && i <= last; i++)
        fine = append(w, i) == 0 && (i % 3 != 0 || wal_sync(w, &e) == 0) && trim_some(w, i);
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
    struct wal_recovery rep;
    uint64_t next;
    int rc;

    *got = 0;
    if ((rc = wal_open(&w, fakedisk_io(d), &options, &rep, e)) != 0)
        return rc == WH_ECORRUPT || rc == WH_EUNSUPPORTED ? REFUSED : WRONG;
    wal_commit(w, wal_durable_index(w));
    *got = wal_durable_index(w);
    next = rep.first_index;
    if ((!reuse && next != 1) || wal_cursor_open(&c, w, next, e) != 0) {
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
    static const char *const names[] = {SEG(1), SEG(2), SEG(3), SEG(4), SEG(5),
                                        SEG(6), SEG(7), SEG(8), SEG(9)};
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

/* --- files used again ------------------------------------------------------------------------ */

#define REUSE_LAST 120

static const char *name_of(uint64_t number)
{
    static char name[64];

    (void)snprintf(name, sizeof(name), "w/seg-%020" PRIu64 ".wal", number);
    return name;
}

/* Number of the newest segment, which is the active one; *head is its head. */
static uint64_t newest(struct fakedisk *d, struct wal_head *head)
{
    struct fakedisk_file f;
    uint64_t number = 9;

    while (number > 0 &&
           !(fakedisk_file(d, name_of(number), &f) && wal_head_get(f.image, head, NULL) == 0))
        number--;
    return number;
}

static void test_reused_flips(void)
{
    struct fakedisk *d = make_log(REUSE_LAST, true);
    struct wal_head head = {0};
    char active[64], sealed[64];
    uint64_t number = newest(d, &head);

    (void)snprintf(active, sizeof(active), "%s", name_of(number));
    (void)snprintf(sealed, sizeof(sealed), "%s", name_of(number - 1));
    ok(number >= 5 && head.former > 0, "segment %" PRIu64 " is in the file of %" PRIu64, number,
       head.former);
    fakedisk_free(d);
    flip_all(sealed, 9, REUSE_LAST, SEG_BYTES, "sealed segment in a used file");
    flip_all(active, 9, REUSE_LAST, SEG_BYTES, "active segment with a sync mark in a used file");
}

/* What the file of segment number held at the end of its life there. */
static void former_life(uint64_t number, char *out)
{
    bool found = false;

    for (uint64_t last = 30; !found && last < REUSE_LAST; last += 6) {
        struct fakedisk *d = make_log(last, true);
        struct fakedisk_file f;

        found = fakedisk_file(d, name_of(number + 1), &f) && fakedisk_file(d, name_of(number), &f);
        if (found)
            memcpy(out, f.image, SEG_BYTES);
        fakedisk_free(d);
    }
    ok(found, "the former life of the file");
}

/* Blocks [from, to) of the newest segment are as they were in the former life. */
static enum outcome overlay(const char *old, uint64_t from, uint64_t to, bool prepared,
                            struct err *e)
{
    struct fakedisk *d = make_log(REUSE_LAST, true);
    struct fakedisk_file f;
    struct wal_head head;
    uint64_t got, number = newest(d, &head);
    enum outcome out;
    struct wal *w;

    if (prepared) {
        if (wal_open(&w, fakedisk_io(d), &options, NULL, e) != 0 || wal_prepare(w, e) != 0)
            printf("# %s\n", e->text);
        wal_close(w);
        fakedisk_restart(d, FAKEDISK_ALL);
    }
    (void)fakedisk_file(d, name_of(number), &f);
    memcpy(f.image + from, old + from, to - from);
    memcpy(f.view + from, old + from, to - from);
    out = read_log(d, REUSE_LAST, &got, e);
    fakedisk_free(d);
    return out;
}

static void test_stale(void)
{
    static char old[SEG_BYTES];
    struct fakedisk *d = make_log(REUSE_LAST, true);
    struct wal_head head = {0};
    struct err e = {0};

    (void)newest(d, &head);
    fakedisk_free(d);
    former_life(head.former, old);
    ok(overlay(old, 0, SEG_BYTES, false, &e) == REFUSED && strstr(e.text, "foreign") != NULL,
       "the whole former life came back: refused");
    ok(overlay(old, WAL_HEAD_BYTES, SEG_BYTES, true, &e) == REFUSED &&
           strstr(e.text, "was durable") != NULL,
       "all but the head page, a segment prepared behind it: refused");
    ok(overlay(old, WAL_HEAD_BYTES, SEG_BYTES, false, &e) == SHORTER,
       "none prepared behind it: like one not begun, as with zeros; nothing old is shown");
    ok(overlay(old, 2 * 4096, 3 * 4096, false, &e) == REFUSED, "one block of it: refused");
    ok(overlay(old, head.footer_offset, SEG_BYTES, false, &e) == EQUAL, "its footer: not believed");
    ok(overlay(old, 2 * 4096, SEG_BYTES, false, &e) == SHORTER,
       "all groups of it, the first one new: nothing old is shown");
}

/* Recovery's report and its writing, with damage at the end of a used file. */
static void reopen(struct fakedisk *d, uint64_t *torn, uint64_t *calls)
{
    struct wal_recovery rep = {0};
    struct wal *w;
    struct err e;

    *calls = fakedisk_calls(d);
    if (wal_open(&w, fakedisk_io(d), &options, &rep, &e) != 0) {
        printf("# %s\n", e.text);
        *torn = UINT64_MAX;
        return;
    }
    *calls = fakedisk_calls(d) - *calls;
    *torn = rep.torn_bytes;
    fakedisk_stop_at(d, 1);
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);
}

static void test_reused_tail(void)
{
    static const struct {
        uint64_t at;
        uint64_t torn; /* 0: the whole group */
        const char *what;
    } cases[] = {{70, 0, "an entry of the last group"}, {62, 4096, "its head"}};
    uint64_t torn, calls, clean_calls;

    for (size_t i = 0; i < 2; i++) {
        struct fakedisk *d = make_log(REUSE_LAST, false);
        struct wal_head head = {0};
        uint64_t last_at = 0, number = newest(d, &head);
        struct fakedisk_file f;
        struct wal_group g, last = {0};

        reopen(d, &torn, &clean_calls); /* deletes the files that wait for reuse */
        reopen(d, &torn, &clean_calls);
        ok(torn == 0 && clean_calls <= 8, "stale bytes behind the end: not torn, not written to");
        (void)fakedisk_file(d, name_of(number), &f);
        for (uint64_t at = WAL_HEAD_BYTES; wal_group_get(f.image, &head, at, &g, NULL) == 0;
             at = wal_block_align(at + g.length)) {
            last_at = at;
            last = g;
        }
        f.image[last_at + cases[i].at] ^= 1;
        f.view[last_at + cases[i].at] ^= 1;
        reopen(d, &torn, &calls);
        ok(torn == (cases[i].torn != 0 ? cases[i].torn : wal_block_align(last.length)) &&
               calls > clean_calls,
           "%s: torn, %" PRIu64 " bytes cut", cases[i].what, torn);
        ok(wal_group_claims(f.image, &head, last_at) == false, "and it is gone");
        reopen(d, &torn, &calls);
        ok(torn == 0 && calls == clean_calls, "once");
        fakedisk_free(d);
    }
}

static void test_reused(void)
{
    reuse = true;
    test_reused_flips();
    test_stale();
    test_reused_tail();
    reuse = false;
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
    test_reused();
    return tap_done();
}
