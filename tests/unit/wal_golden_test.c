/* SPDX-License-Identifier: Apache-2.0 */
/* Logs of released format versions: today's reader opens them and gives the same entries.
 *
 * usage: wal_golden_test             checks tests/golden/wal-v1
 *        wal_golden_test --make DIR  makes it (done once per format version, then committed) */
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"
#include "wal/batch.h"
#include "wal/wal.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#define LAST 60u

struct made {
    struct wal_entry en;
    struct iovec parts[3];
    char raw[8192];
    struct wal_batch_builder b;
};

static size_t raw_fill(struct made *m, uint64_t index)
{
    size_t n = index % 7 == 0 ? 8000 : (size_t)(index * 131 % 900);

    if (m->en.type == WAL_HARD_STATE) {
        le64_put(m->raw, 3 + index / 20);
        le64_put(m->raw + 8, 2);
        return 16;
    }
    for (size_t i = 0; i < n; i++)
        m->raw[i] = (char)(index + i * i);
    return n;
}

static int batch_fill(struct made *m, uint64_t index)
{
    static const char *const tables[] = {"clicks", "views", "a table \"quoted\""};
    int rc = 0;

    wal_batch_reset(&m->b);
    for (uint64_t i = 0; i < index % 9 && rc == 0; i++) {
        size_t off = m->b.text.len;

        buf_printf(&m->b.text, "{\"id\":%" PRIu64 ",\"text\":\"%.*s\"}", index * 100 + i,
                   (int)(index * 7 % 60),
                   "the quick brown fox jumps over the lazy dog, again and again");
        rc = wal_batch_add(&m->b, 1800000000000000000u + index * 1000 + i, off);
    }
    if (rc == 0)
        rc = wal_batch_finish(&m->b, slice_str(tables[index % 3]), SLICE_LIT("golden"));
    m->parts[0] = (struct iovec){m->b.head.ptr, m->b.head.len};
    m->parts[1] = (struct iovec){m->b.items.ptr, m->b.items.len};
    m->parts[2] = (struct iovec){m->b.text.ptr, m->b.text.len};
    m->en.part_count = 3;
    return rc;
}

static int entry_make(struct made *m, uint64_t index)
{
    static const uint8_t types[] = {WAL_EVENTS,     WAL_EVENTS,     WAL_NOOP,    WAL_MEMBERSHIP,
                                    WAL_EVENTS,     WAL_HARD_STATE, WAL_CONTROL, WAL_FLUSH_PLAN,
                                    WAL_FLUSH_DONE, WAL_DEAD_LETTER};

    m->en = (struct wal_entry){.type = types[index % 10],
                               .flags = (uint8_t)(index % 3),
                               .index = index,
                               .term = 1 + index / 25,
                               .time_ns = 1800000000000000000u + index * 1000000,
                               .parts = m->parts};
    if (m->en.type == WAL_EVENTS)
        return batch_fill(m, index);
    m->parts[0] = (struct iovec){m->raw, raw_fill(m, index)};
    m->en.part_count = 1;
    return 0;
}

static bool same(const struct wal_view *v, const struct made *m)
{
    size_t at = 0;

    if (v->type != m->en.type || v->flags != m->en.flags || v->term != m->en.term ||
        v->time_ns != m->en.time_ns)
        return false;
    for (int i = 0; i < m->en.part_count; i++) {
        size_t n = m->parts[i].iov_len;

        if (n > v->payload.len - at ||
            (n > 0 && memcmp(v->payload.ptr + at, m->parts[i].iov_base, n) != 0))
            return false;
        at += n;
    }
    return at == v->payload.len;
}

static int make(const char *dir, struct made *m)
{
    struct wal_options o = {.path = dir, .segment_size_bytes = 64 * KIB};
    struct wal *w;
    struct err e;
    int rc = wal_open(&w, io_posix(), &o, NULL, &e);

    for (uint64_t i = 1; rc == 0 && i <= LAST; i++) {
        if ((rc = entry_make(m, i)) == 0 && (rc = wal_append(w, &m->en)) == WH_EAGAIN &&
            (rc = wal_prepare(w, &e)) == 0)
            rc = wal_append(w, &m->en);
        if (rc == 0 && i % 6 == 0)
            rc = wal_sync(w, &e);
    }
    if (rc == 0 && (rc = wal_sync(w, &e)) == 0 && (rc = wal_prepare(w, &e)) == 0)
        wal_close(w);
    if (rc != 0)
        (void)fprintf(stderr, "%s\n", e.text);
    return rc == 0 ? 0 : 1;
}

static void check(const char *dir, bool read_only, struct made *m)
{
    struct wal_options o = {.path = dir, .segment_size_bytes = 64 * KIB, .read_only = read_only};
    const char *how = read_only ? "read only" : "to write";
    struct wal_recovery rep;
    struct wal_cursor *c;
    struct wal_view v;
    struct wal *w;
    struct err e = {0};
    uint64_t n = 0;

    if (!ok(wal_open(&w, io_posix(), &o, &rep, &e) == 0, "opens %s", how)) {
        printf("# %s\n", e.text);
        return;
    }
    ok(rep.first_index == 1 && rep.last_index == LAST && rep.torn_bytes == 0 &&
           rep.last_term == 1 + LAST / 25 && rep.hard_vote == 2 && rep.hard_term == 3 + 55 / 20,
       "report %s", how);
    if (!read_only)
        wal_commit(w, LAST);
    if (wal_cursor_open(&c, w, 0, &e) != 0)
        return;
    while (wal_cursor_next(c, &v, &e) == 0 && entry_make(m, v.index) == 0 && same(&v, m))
        n++;
    is_u64(n, LAST, "every entry as it was written");
    wal_cursor_close(c);
    wal_close(w);
}

static bool copy_dir(const char *from, const char *to)
{
    char cmd[2200];

    (void)snprintf(cmd, sizeof(cmd), "cp '%s'/seg-*.wal '%s' && chmod u+w '%s'/*", from, to, to);
    return system(cmd) == 0; /* NOLINT: fixed names */
}

int main(int argc, char **argv)
{
    static struct made m;
    const char *srcdir = getenv("srcdir");
    char dir[1024];
    char *tmp;

    log_configure((enum log_level)0, LOG_FORMAT_TEXT);
    wal_batch_init(&m.b);
    if (argc == 3 && strcmp(argv[1], "--make") == 0)
        return make(argv[2], &m);
    (void)snprintf(dir, sizeof(dir), "%s/tests/golden/wal-v1", srcdir != NULL ? srcdir : ".");
    check(dir, true, &m);
    tmp = tmpdir_make();
    ok(copy_dir(dir, tmp), "a copy of it");
    check(tmp, false, &m);
    tmpdir_remove(tmp);
    wal_batch_fini(&m.b);
    return tap_done();
}
