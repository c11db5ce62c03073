/* SPDX-License-Identifier: Apache-2.0 */
/* What was there when the process began: doc/wal-format.md, Recovery.
 *
 *   every segment     head, OPEN group, footer: one page or two each
 *   the last opened   all groups; its tail is clean, torn or rotten
 *
 * Torn bytes are set to zero, so that no later recovery can take them for groups; rot and holes are
 * refused with the file and the range. Each step leaves the same verdict to a recovery that starts
 * over after a crash in the middle of it. */
#include "base/log.h"
#include "base/magic.h"
#include "wal/wal_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define REFUSE "; nothing was changed; restore the file from a peer or a backup"
/* How many of the last files may hold what an earlier process wrote and never synced: the one being
 * sealed, the one being opened, the prepared ones. */
#define FRESH_FILES (WAL_SPARE_MAX + 2)
#define ENDS_BYTES  (64 * 1024) /* of a footer: its head and the sparse items of 64 MiB fit */

struct found {
    struct wal_segment *seg;
    char path[WAL_PATH_CAP];
    bool opened; /* open is valid */
    struct wal_open_record open;
    bool foot_valid;
    struct wal_footer foot; /* without its lists */
};

struct recovery {
    struct wal *w;
    uint64_t durable_index; /* highest that a head page vouches for */
    const char *durable_path;
    struct found *found;
    size_t count;
    uint64_t *numbers;
    size_t numbers_cap;
    bool tmp_seen;
};

static int collect(void *arg, const char *name)
{
    struct recovery *r = arg;
    char again[WAL_NAME_CAP], path[WAL_PATH_CAP];
    uint64_t number;

    if (strcmp(name, WAL_TMP_NAME) == 0)
        r->tmp_seen = true;
    if (wal_pool_name(name) && !r->w->read_only && wal_path(r->w, name, path) == 0)
        (void)r->w->io->unlink(r->w->io->ctx, path); /* trimmed already; else the next time */
    if (sscanf(name, "seg-%20" SCNu64 ".wal", &number) != 1 ||
        snprintf(again, sizeof(again), WAL_NAME_FMT, number) < 0 || strcmp(again, name) != 0)
        return 0;
    if (r->count == r->numbers_cap) {
        size_t cap = r->numbers_cap == 0 ? 64 : r->numbers_cap * 2;
        uint64_t *numbers = realloc(r->numbers, cap * sizeof(*numbers));

        if (numbers == NULL)
            return -ENOMEM;
        r->numbers = numbers;
        r->numbers_cap = cap;
    }
    r->numbers[r->count++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static int list_segments(struct recovery *r, struct err *e)
{
    const struct io *io = r->w->io;
    int rc = io->list(io->ctx, r->w->path, collect, r);
    char path[WAL_PATH_CAP];

    if (rc != 0)
        return err_set_errno(e, rc, "cannot list %s", r->w->path);
    if (r->count > 0)
        qsort(r->numbers, r->count, sizeof(*r->numbers), compare_numbers);
    for (size_t i = 1; i < r->count; i++)
        if (r->numbers[i] != r->numbers[i - 1] + 1)
            return err_set(e, WH_ECORRUPT,
                           "%s: segment " WAL_NAME_FMT " is missing, " WAL_NAME_FMT
                           " follows" REFUSE,
                           r->w->path, r->numbers[i - 1] + 1, r->numbers[i]);
    if (r->tmp_seen && !r->w->read_only && wal_path(r->w, WAL_TMP_NAME, path) == 0)
        (void)io->unlink(io->ctx, path); /* left by a crash; wal_prepare replaces it as well */
    r->found = calloc(r->count + 1, sizeof(*r->found));
    return r->found != NULL ? 0 : err_set_errno(e, -ENOMEM, "cannot open %s", r->w->path);
}

/* --- one file ------------------------------------------------------------------------------- */

static int check_head(struct recovery *r, size_t i, const struct wal_head *head, uint64_t size,
                      struct err *e)
{
    const char *path = r->found[i].path;
    struct wal *w = r->w;

    if (head->number != r->numbers[i])
        return err_set(e, WH_ECORRUPT, "%s: foreign segment: its head says number %" PRIu64 REFUSE,
                       path, head->number);
    if (i == 0) {
        memcpy(w->cluster_id, head->cluster_id, sizeof(w->cluster_id));
        w->incarnation = head->incarnation;
    }
    if (memcmp(w->cluster_id, head->cluster_id, sizeof(w->cluster_id)) != 0 ||
        w->incarnation != head->incarnation)
        return err_set(e, WH_ECORRUPT,
                       "%s: foreign segment: it belongs to another log than the first one" REFUSE,
                       path);
    if (head->durable_index >= r->durable_index) {
        r->durable_index = head->durable_index;
        r->durable_path = path;
    }
    if (size != head->segment_bytes)
        return err_set(e, WH_ECORRUPT,
                       "%s: %" PRIu64 " bytes, its head says %" PRIu64
                       ": it was cut or is incomplete" REFUSE,
                       path, size, head->segment_bytes);
    return 0;
}

/* Recovery reads a few pages of every segment, one after the other; from a cold device that is one
 * wait each, seconds for a long log. Ask for all of them first. Nothing depends on it: what is
 * wrong with a file is found, and said, when it is read. */
static void will_read_ends(const struct recovery *r)
{
    const struct io *io = r->w->io;
    char path[WAL_PATH_CAP];
    uint64_t size;

    for (size_t i = 0; i < r->count; i++) {
        int fd;
        if (wal_segment_path(r->w, r->numbers[i], path) != 0 ||
            (fd = io->open(io->ctx, path, IO_READ)) < 0)
            continue;
        if (io->size(io->ctx, fd, &size) == 0 && size > WAL_HEAD_BYTES) {
            (void)io->will_read(io->ctx, fd, 0, 2 * WAL_HEAD_BYTES);
            (void)io->will_read(io->ctx, fd, wal_footer_offset(size), ENDS_BYTES);
        }
        (void)io->close(io->ctx, fd); /* only read */
    }
}

static int open_file(struct recovery *r, size_t i, struct err *e)
{
    const struct io *io = r->w->io;
    struct found *f = &r->found[i];
    char page[WAL_HEAD_BYTES];
    struct wal_head head;
    struct err cause = {0};
    uint64_t size;
    size_t got;
    bool fresh = !r->w->read_only && r->count - i <= FRESH_FILES;
    int rc, fd;

    if ((rc = wal_segment_path(r->w, r->numbers[i], f->path)) != 0)
        return err_set_errno(e, rc, "%s", r->w->path);
    if ((fd = io->open(io->ctx, f->path, fresh ? IO_WRITE : IO_READ)) < 0)
        return err_set_errno(e, fd, "cannot open %s", f->path);
    /* What a killed process left in the cache goes to the disk; what a process whose sync failed
     * left there must not be believed. So: write out, forget, read what the disk has. */
    if (fresh && ((rc = io->fdatasync(io->ctx, fd)) != 0))
        (void)err_set_errno(e, rc, "cannot sync %s", f->path);
    else if (fresh)
        (void)io->drop_cache(io->ctx, fd); /* advice */
    if (rc == 0 && ((rc = io->size(io->ctx, fd, &size)) != 0 ||
                    (rc = io->pread(io->ctx, fd, page, sizeof(page), 0, &got)) != 0))
        (void)err_set_errno(e, rc, "cannot read %s", f->path);
    if (rc == 0 && got != sizeof(page))
        rc = err_set(e, WH_ECORRUPT, "%s: only %zu bytes: it was cut" REFUSE, f->path, got);
    if (rc == 0 && (rc = wal_head_get(page, &head, &cause)) != 0)
        (void)err_set(e, rc, "%s: bytes 0 to 4095: %s" REFUSE, f->path, cause.text);
    if (rc == 0)
        rc = check_head(r, i, &head, size, e);
    if (rc == 0 && (f->seg = wal_segment_new(&head)) == NULL)
        rc = err_set_errno(e, -ENOMEM, "cannot open %s", f->path);
    if (rc != 0 || !fresh)
        (void)io->close(io->ctx, fd); /* nothing written, or the sync error is reported */
    else
        f->seg->fd = fd;
    return rc;
}

static int map_segment(struct recovery *r, struct found *f, const char **base, struct err *e)
{
    const struct io *io = r->w->io;
    struct wal_segment *seg = f->seg;
    const void *p;
    int rc, fd = io->open(io->ctx, f->path, IO_READ);

    if (fd < 0)
        return err_set_errno(e, fd, "cannot open %s", f->path);
    rc = io->map(io->ctx, fd, (size_t)seg->head.segment_bytes, &seg->faults, &p);
    (void)io->close(io->ctx, fd); /* only read */
    if (rc != 0)
        return err_set_errno(e, rc, "cannot map %s", f->path);
    *base = p;
    return 0;
}

/* Done with the mapping; an unreadable page is rot, whatever was made of its zeros. */
static int unmap_segment(struct recovery *r, struct found *f, const char *base, int rc,
                         struct err *e)
{
    r->w->io->unmap(r->w->io->ctx, base, (size_t)f->seg->head.segment_bytes);
    if (atomic_load(&f->seg->faults) == 0)
        return rc;
    return err_set(e, WH_ECORRUPT, "%s: a page cannot be read (I/O error or cut file)" REFUSE,
                   f->path);
}

/* OPEN group and footer. */
static int read_ends(struct recovery *r, size_t i, struct err *e)
{
    struct found *f = &r->found[i];
    struct wal_scan s;
    struct wal_group g;
    const char *base;
    int rc;

    if ((rc = map_segment(r, f, &base, e)) != 0)
        return rc;
    wal_scan_init(&s, base, &f->seg->head);
    f->opened = wal_scan_next(&s, &g, NULL, NULL, NULL) == 0;
    f->foot_valid = f->opened && wal_scan_footer(base, &f->seg->head, &g, &f->foot, NULL) == 0;
    if (f->opened) {
        f->open = s.open;
        f->open.membership = (struct slice){NULL, 0}; /* lies in the mapping */
        f->seg->first_index = f->open.first_index;
    }
    if (f->foot_valid) {
        f->seg->last_index = f->foot.last_index;
        f->seg->time_max_ns = f->foot.time_max_ns;
        f->foot.sparse = NULL;
        f->foot.tables = (struct slice){NULL, 0};
    }
    return unmap_segment(r, f, base, 0, e);
}

/* --- the chain of segments ------------------------------------------------------------------ */

static void note_time(void *arg, uint64_t group_offset, const struct wal_entry_head *en,
                      struct slice payload)
{
    uint64_t *time_max_ns = arg;

    (void)group_offset;
    (void)payload;
    if (en->time_ns > *time_max_ns)
        *time_max_ns = en->time_ns;
}

/* A sealed segment whose footer is damaged: the footer repeats what the groups say, so all of them
 * are read, up to the place and the checksum that the next segment names. */
static int read_footless(struct recovery *r, size_t i, struct err *e)
{
    struct found *f = &r->found[i];
    const struct wal_open_record *next = &r->found[i + 1].open;
    struct err cause = {0};
    struct wal_scan s;
    struct wal_group g;
    const char *base;
    int rc;

    if ((rc = map_segment(r, f, &base, e)) != 0)
        return rc;
    wal_scan_init(&s, base, &f->seg->head);
    while (s.offset < next->prev_end && rc == 0)
        rc = wal_scan_next(&s, &g, note_time, &f->seg->time_max_ns, &cause);
    if (rc != 0 || s.offset != next->prev_end || s.last_crc != next->prev_crc ||
        s.next_index != next->first_index)
        rc = err_set(e, WH_ECORRUPT, "%s: bytes %" PRIu64 " to %" PRIu64 " are damaged: %s" REFUSE,
                     f->path, s.offset, next->prev_end,
                     rc != 0 ? cause.text : "the next segment does not follow");
    else
        log_warn("wal.footer_damaged", "file=%s action=read-whole-segment", f->path);
    f->seg->last_index = next->first_index - 1;
    return unmap_segment(r, f, base, rc, e);
}

/* Segment i ends where segment i + 1 says that it begins. Both are opened. */
static int check_link(struct recovery *r, size_t i, struct err *e)
{
    const struct found *f = &r->found[i], *n = &r->found[i + 1];

    if (n->open.prev_number != r->numbers[i])
        return err_set(e, WH_ECORRUPT, "%s: foreign segment: it follows number %" PRIu64 REFUSE,
                       n->path, n->open.prev_number);
    if (!f->foot_valid)
        return read_footless(r, i, e);
    if (f->foot.last_index + 1 != n->open.first_index || f->foot.last_crc != n->open.prev_crc ||
        f->foot.end_offset != n->open.prev_end || f->foot.first_index != f->open.first_index)
        return err_set(e, WH_ECORRUPT,
                       "%s ends at index %" PRIu64 ", but %s goes on at %" PRIu64
                       " after another end: one of them is stale or foreign" REFUSE,
                       f->path, f->foot.last_index, n->path, n->open.first_index);
    return 0;
}

/* Check all links; *last is the last opened segment, count when there is none. */
static int check_chain(struct recovery *r, size_t *last, struct err *e)
{
    int rc;

    *last = r->count;
    for (size_t i = r->count; i-- > 0 && *last == r->count;)
        if (r->found[i].opened)
            *last = i;
    if (*last == r->count && r->numbers[0] != 1)
        return err_set(e, WH_ECORRUPT, "%s: bytes 4096 to 8191 are damaged, the log is lost" REFUSE,
                       r->found[0].path);
    for (size_t i = 0; i < *last && *last < r->count; i++) {
        if (!r->found[i].opened)
            return err_set(e, WH_ECORRUPT,
                           "%s: bytes 4096 to 8191 are damaged (first group)" REFUSE,
                           r->found[i].path);
        if ((rc = check_link(r, i, e)) != 0)
            return rc;
    }
    return 0;
}

/* --- the active segment --------------------------------------------------------------------- */

struct replay {
    struct wal *w;
    struct wal_segment *seg;
    uint64_t group; /* offset of the group that was noted last */
};

static void replay_entry(void *arg, uint64_t group_offset, const struct wal_entry_head *en,
                         struct slice payload)
{
    struct replay *p = arg;

    if (group_offset != p->group)
        wal_segment_sparse(p->seg, &p->w->act, group_offset, en->index);
    p->group = group_offset;
    wal_note_entry(p->w, en, payload);
}

/* Overwrite with zeros what is not zero in [from, to). */
static int wipe(struct recovery *r, struct found *f, const char *base, uint64_t from, uint64_t to,
                struct err *e)
{
    static const char zeros[256 * 1024];
    const struct io *io = r->w->io;
    int rc = 0;

    for (uint64_t at = from, end; at < to && rc == 0; at = end) {
        end = at + WAL_BLOCK_BYTES;
        if (wal_is_zero(base + at, WAL_BLOCK_BYTES))
            continue;
        while (end < to && end - at < sizeof(zeros) && !wal_is_zero(base + end, WAL_BLOCK_BYTES))
            end += WAL_BLOCK_BYTES;
        struct iovec iov = {.iov_base = (void *)(uintptr_t)zeros, .iov_len = (size_t)(end - at)};
        rc = io->pwritev(io->ctx, f->seg->fd, &iov, 1, at);
    }
    if (rc == 0)
        rc = io->fdatasync(io->ctx, f->seg->fd);
    if (rc != 0)
        return err_set_errno(e, rc, "cannot cut the torn tail of %s at %" PRIu64, f->path, from);
    return 0;
}

/* The bytes from offset on are not a group: nothing, torn, or rotten. */
static int judge_tail(struct recovery *r, struct found *f, const char *base, uint64_t offset,
                      const struct err *cause, uint64_t *torn, struct err *e)
{
    struct wal_tail_report t;

    wal_scan_tail(base, &f->seg->head, offset, &t);
    if (atomic_load(&f->seg->faults) != 0)
        return 0; /* unmap_segment says it */
    *torn = t.dirty_end - offset;
    if (r->w->read_only)
        return 0;
    if (r->w->last_index < r->durable_index)
        return err_set(e, WH_ECORRUPT,
                       "%s: bytes %" PRIu64 " to %" PRIu64
                       " are damaged (%s): the log ends at index "
                       "%" PRIu64 ", but %s says that %" PRIu64 " was durable" REFUSE,
                       f->path, offset, f->seg->head.footer_offset - 1, cause->text,
                       r->w->last_index, r->durable_path, r->durable_index);
    if (t.tail == WAL_TAIL_CLEAN)
        return 0;
    if (t.tail == WAL_TAIL_ROT)
        return err_set(e, WH_ECORRUPT,
                       "%s: bytes %" PRIu64 " to %" PRIu64
                       " are damaged (%s): the group at %" PRIu64
                       " says that everything below %" PRIu64 " had been durable" REFUSE,
                       f->path, offset, t.evidence_offset - 1, cause->text, t.evidence_offset,
                       t.evidence_synced_to);
    log_warn("wal.torn_tail", "file=%s offset=%" PRIu64 " bytes=%" PRIu64 " cause=\"%s\"", f->path,
             offset, *torn, cause->text);
    return wipe(r, f, base, offset, t.dirty_end, e);
}

static void take_state(struct wal *w, uint64_t last_index, uint64_t last_term, uint64_t hard_term,
                       uint64_t hard_vote)
{
    w->last_index = last_index;
    w->last_term = last_term;
    w->hard_term = hard_term;
    w->hard_vote = hard_vote;
}

/* The last opened segment, not sealed: read all of it, cut what is torn, go on there. */
static int replay_active(struct recovery *r, struct found *f, uint64_t *torn, struct err *e)
{
    struct wal *w = r->w;
    struct replay p = {.w = w, .seg = f->seg};
    struct err cause = {0};
    struct wal_scan s;
    struct wal_group g = {0};
    const char *base;
    int rc;

    if ((rc = map_segment(r, f, &base, e)) != 0)
        return rc;
    w->active = f->seg;
    w->act = (struct wal_active){.time_min_ns = UINT64_MAX};
    wal_scan_init(&s, base, &f->seg->head);
    while ((rc = wal_scan_next(&s, &g, replay_entry, &p, &cause)) == 0) {
        w->act.unmarked = g.kind == WAL_GROUP_DATA;
        if (g.kind != WAL_GROUP_OPEN)
            continue;
        take_state(w, s.open.first_index - 1, s.open.last_term, s.open.hard_term, s.open.hard_vote);
        w->membership_len = s.open.membership.len;
        memcpy(w->membership, s.open.membership.ptr, s.open.membership.len);
    }
    w->act.offset = w->act.synced = s.offset;
    w->act.last_crc = s.last_crc;
    f->seg->last_index = w->last_index;
    f->seg->time_max_ns = w->act.time_max_ns;
    rc = judge_tail(r, f, base, s.offset, &cause, torn, e);
    return unmap_segment(r, f, base, rc, e);
}

/* The membership copy of a sealed segment may be older than its last membership entry. */
static void note_membership(void *arg, uint64_t group_offset, const struct wal_entry_head *en,
                            struct slice payload)
{
    struct wal *w = arg;

    (void)group_offset;
    if (en->type != WAL_MEMBERSHIP || payload.len > WAL_MEMBERSHIP_BYTES_MAX)
        return;
    memcpy(w->membership, payload.ptr, payload.len);
    w->membership_len = payload.len;
}

/* The last opened segment has a footer and its successor is not begun. The footer and the last
 * group before it are covered by the same sync: the crash may have kept the one and lost the other.
 * So the footer counts only if the groups agree; then *complete, and w has the state at the end. */
static int replay_sealed(struct recovery *r, struct found *f, bool *complete, struct err *e)
{
    struct wal *w = r->w;
    struct wal_scan s;
    struct wal_group g;
    const char *base;
    int rc;

    if ((rc = map_segment(r, f, &base, e)) != 0)
        return rc;
    wal_scan_init(&s, base, &f->seg->head);
    while (s.offset < f->foot.end_offset && wal_scan_next(&s, &g, note_membership, w, NULL) == 0)
        if (g.kind == WAL_GROUP_OPEN) {
            w->membership_len = s.open.membership.len;
            memcpy(w->membership, s.open.membership.ptr, s.open.membership.len);
        }
    *complete = s.offset == f->foot.end_offset && s.last_crc == f->foot.last_crc &&
                s.next_index == f->foot.last_index + 1;
    if (!*complete)
        return unmap_segment(r, f, base, 0, e);
    take_state(w, f->foot.last_index, f->foot.last_term, f->foot.hard_term, f->foot.hard_vote);
    w->active = f->seg;
    w->act = (struct wal_active){.offset = f->foot.end_offset,
                                 .synced = f->foot.end_offset,
                                 .last_crc = f->foot.last_crc};
    return unmap_segment(r, f, base, 0, e);
}

/* A segment without a valid first group becomes the active one. */
static int begin_blank(struct recovery *r, struct found *f, uint64_t *torn, struct err *e)
{
    struct err cause = {.code = WH_ECORRUPT, .text = "first group"};
    const char *base;
    int rc;

    if ((rc = map_segment(r, f, &base, e)) != 0)
        return rc;
    rc = judge_tail(r, f, base, WAL_HEAD_BYTES, &cause, torn, e);
    rc = unmap_segment(r, f, base, rc, e);
    if (rc != 0 || r->w->read_only)
        return rc;
    if (wal_activate(r->w, f->seg) != 0 || r->w->io->fdatasync(r->w->io->ctx, f->seg->fd) != 0)
        return err_set(e, r->w->poison.code != 0 ? r->w->poison.code : -EIO, "cannot begin %s: %s",
                       f->path, r->w->poison.text);
    r->w->act.synced = r->w->act.offset;
    return 0;
}

/* --- all together --------------------------------------------------------------------------- */

/* Hand the segments to w: those up to last are opened, the others prepared. */
static int adopt(struct recovery *r, size_t last, struct err *e)
{
    struct wal *w = r->w;
    size_t spare = r->count - last - 1;

    if (spare > WAL_SPARE_MAX && !w->read_only)
        return err_set(e, WH_ECORRUPT, "%s: %zu prepared segments, at most %d are ever made" REFUSE,
                       w->path, spare, WAL_SPARE_MAX);
    for (size_t i = 0; i < r->count; i++) {
        struct wal_segment *seg = r->found[i].seg;

        r->found[i].seg = NULL;
        w->bytes += seg->head.segment_bytes;
        if (i <= last) {
            atomic_store(&seg->sealed, i < last || w->read_only);
            w->segs[w->seg_count++] = seg;
        } else if (!w->read_only) {
            w->spare[w->spare_count++] = seg;
        } else {
            wal_segment_free(w, seg);
            continue;
        }
        if (i < last && seg->fd >= 0) {
            (void)w->io->close(w->io->ctx, seg->fd); /* synced when it was opened */
            seg->fd = -1;
        }
    }
    return 0;
}

static int sparse_alloc(struct found *f)
{
    struct wal_segment *seg = f->seg;

    seg->sparse = calloc(seg->sparse_cap, sizeof(*seg->sparse));
    return seg->sparse != NULL ? 0 : -ENOMEM;
}

/* Segments made under another configuration may be larger than the next ones will be. */
static int buffers_for_all(struct recovery *r)
{
    uint64_t bytes = r->w->segment_bytes;

    for (size_t i = 0; i < r->count; i++)
        if (r->found[i].seg->head.segment_bytes > bytes)
            bytes = r->found[i].seg->head.segment_bytes;
    return wal_buffers_make(r->w, bytes);
}

static int recover_segments(struct recovery *r, uint64_t *torn, struct err *e)
{
    struct wal *w = r->w;
    size_t last, active;
    bool complete = false;
    int rc = 0;

    if (r->count > FRESH_FILES)
        will_read_ends(r);
    for (size_t i = 0; i < r->count; i++)
        if ((rc = open_file(r, i, e)) != 0 || (rc = read_ends(r, i, e)) != 0)
            return rc;
    if ((rc = check_chain(r, &last, e)) != 0)
        return rc;
    if (!w->read_only && (rc = buffers_for_all(r)) != 0)
        return err_set_errno(e, rc, "cannot open %s", w->path);
    active = last == r->count ? 0 : last;
    if (last < r->count && r->found[last].foot_valid && !w->read_only) {
        if ((rc = replay_sealed(r, &r->found[last], &complete, e)) != 0)
            return rc;
        active = complete ? last + 1 : last;
    }
    if (active == r->count) /* the next one is durable before a segment is sealed */
        return err_set(e, WH_ECORRUPT,
                       "%s: segment " WAL_NAME_FMT
                       " is missing: the one before it is sealed" REFUSE,
                       w->path, r->numbers[last] + 1);
    for (size_t i = active; i < r->count && rc == 0; i++)
        rc = sparse_alloc(&r->found[i]);
    if (rc != 0)
        return err_set_errno(e, rc, "cannot open %s", w->path);
    if (active != last)
        r->found[active].seg->first_index = w->last_index + 1;
    if (rc == 0)
        rc = active == last ? replay_active(r, &r->found[active], torn, e)
                            : begin_blank(r, &r->found[active], torn, e);
    return rc == 0 ? adopt(r, active, e) : rc;
}

static int create_first(struct wal *w, struct err *e)
{
    struct wal_segment *seg;
    int rc;

    if ((rc = w->io->random(w->io->ctx, w->cluster_id, sizeof(w->cluster_id))) != 0 ||
        (rc = w->io->random(w->io->ctx, &w->incarnation, sizeof(w->incarnation))) != 0)
        return err_set_errno(e, rc, "no random bytes for %s", w->path);
    if ((rc = wal_buffers_make(w, w->segment_bytes)) != 0)
        return err_set_errno(e, rc, "cannot open %s", w->path);
    if ((rc = wal_segment_create(w, 1, &seg, e)) != 0)
        return rc;
    w->segs[w->seg_count++] = seg;
    w->bytes = seg->head.segment_bytes;
    seg->first_index = 1;
    rc = wal_activate(w, seg);
    if (rc == 0 && (rc = w->io->fdatasync(w->io->ctx, seg->fd)) == 0)
        w->act.synced = w->act.offset;
    return rc == 0 ? 0 : err_set_errno(e, rc, "cannot begin the log in %s", w->path);
}

static int sync_parent(struct wal *w)
{
    char parent[WAL_PATH_CAP];
    char *slash;

    (void)snprintf(parent, sizeof(parent), "%s", w->path);
    slash = strrchr(parent, '/');
    if (slash == NULL)
        (void)snprintf(parent, sizeof(parent), ".");
    else
        slash[slash == parent ? 1 : 0] = '\0';
    return w->io->sync_dir(w->io->ctx, parent);
}

int wal_recover(struct wal *w, struct wal_recovery *report, struct err *e)
{
    struct recovery r = {.w = w};
    uint64_t torn = 0;
    int rc = list_segments(&r, e);

    if (rc == 0) {
        w->seg_cap = r.count + 2 * WAL_SPARE_MAX;
        w->segs = calloc(w->seg_cap, sizeof(struct wal_segment *));
        if (w->segs == NULL)
            rc = err_set_errno(e, -ENOMEM, "cannot open %s", w->path);
    }
    if (rc == 0 && r.count == 0 && w->read_only)
        rc = err_set(e, WH_ENOTFOUND, "%s: no log in this folder", w->path);
    else if (rc == 0 && r.count == 0 && (rc = sync_parent(w)) != 0)
        (void)err_set_errno(e, rc, "cannot sync the folder above %s", w->path);
    else if (rc == 0)
        rc = r.count == 0 ? create_first(w, e) : recover_segments(&r, &torn, e);
    /* Names that a killed process changed and did not sync. */
    if (rc == 0 && !w->read_only && (rc = w->io->sync_dir(w->io->ctx, w->path)) != 0)
        (void)err_set_errno(e, rc, "cannot sync the folder %s", w->path);
    if (rc == 0) {
        w->next_number = r.count == 0 ? 2 : r.numbers[r.count - 1] + 1;
        report->created = r.count == 0;
        report->torn_bytes = torn;
    }
    for (size_t i = 0; r.found != NULL && i < r.count; i++)
        wal_segment_free(w, r.found[i].seg);
    free(r.found);
    free(r.numbers);
    return rc;
}
