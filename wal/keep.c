/* SPDX-License-Identifier: Apache-2.0 */
/* The housekeeper's half: the next segment made ready, old ones deleted, the budget.
 *
 * A segment is made under a temporary name, filled and synced, and only then gets its own name: a
 * file that is called seg-… is complete, so one that is not has been damaged. A deleted segment's
 * file is used again where there is one (pool.c). */
#include "base/log.h"
#include "base/magic.h"
#include "io/clock.h"
#include "wal/wal_priv.h"

#include <errno.h>
#include <inttypes.h>

#define TRIM_MAX 16 /* a call */

static int make_file(struct wal *w, struct wal_head *head, const char *tmp, const char *path,
                     int *fd)
{
    const struct io *io = w->io;
    char page[WAL_HEAD_BYTES];
    int rc;

    wal_head_put(page, head);
    *fd = io->open(io->ctx, tmp, IO_WRITE | IO_CREATE | IO_TRUNC);
    if (*fd < 0)
        return *fd;
    rc = io->fallocate(io->ctx, *fd, 0, head->segment_bytes);
    if (rc == -EOPNOTSUPP)
        rc = 0; /* a file system without it: writing the zeros finds out */
    if (rc != 0 || (rc = wal_fill(w, *fd, page, head->segment_bytes)) != 0 ||
        (rc = io->fsync(io->ctx, *fd)) != 0 || (rc = io->rename(io->ctx, tmp, path)) != 0)
        goto undo;
    w->dir_dirty = true;
    return 0;
undo:
    (void)io->close(io->ctx, *fd);  /* the file goes away */
    (void)io->unlink(io->ctx, tmp); /* or is replaced the next time */
    *fd = -1;
    return rc;
}

int wal_sync_names(struct wal *w)
{
    int rc;

    if (!w->dir_dirty)
        return 0;
    rc = w->io->sync_dir(w->io->ctx, w->path);
    if (rc == 0)
        w->dir_dirty = false;
    return rc;
}

int wal_segment_create(struct wal *w, uint64_t number, struct wal_segment **out, struct err *e)
{
    struct wal_head head = {.incarnation = w->incarnation,
                            .number = number,
                            .segment_bytes = w->segment_bytes,
                            .footer_offset = wal_footer_offset(w->segment_bytes),
                            .created_ns = io_realtime_ns(),
                            .durable_index = wal_durable_index(w)};
    char tmp[WAL_PATH_CAP], path[WAL_PATH_CAP];
    struct wal_segment *seg = NULL;
    int rc, fd = -1;

    memcpy(head.cluster_id, w->cluster_id, sizeof(head.cluster_id));
    if ((rc = wal_path(w, WAL_TMP_NAME, tmp)) != 0 ||
        (rc = wal_segment_path(w, number, path)) != 0 ||
        (rc = w->io->random(w->io->ctx, &head.salt, sizeof(head.salt))) != 0)
        return err_set_errno(e, rc, "cannot prepare a segment in %s", w->path);
    rc = wal_pool_take(w, &head, path, &fd);
    if (rc == 0 && fd < 0)
        rc = make_file(w, &head, tmp, path, &fd);
    if (rc != 0)
        return err_set_errno(e, rc, "cannot prepare %s (%" PRIu64 " bytes)", path,
                             head.segment_bytes);
    seg = wal_segment_new(&head);
    if (seg != NULL)
        seg->sparse = calloc(seg->sparse_cap, sizeof(*seg->sparse));
    rc = seg == NULL || seg->sparse == NULL ? -ENOMEM : wal_sync_names(w);
    if (rc != 0) {
        /* The name may or may not be durable; the same number is made again over it. */
        if (seg != NULL)
            wal_segment_free(w, seg);
        (void)w->io->close(w->io->ctx, fd);
        (void)w->io->unlink(w->io->ctx, path);
        return err_set_errno(e, rc, "cannot prepare %s", path);
    }
    seg->fd = fd;
    *out = seg;
    return 0;
}

uint64_t wal_spare_room(const struct wal_segment *seg)
{
    return seg->head.footer_offset - WAL_HEAD_BYTES - WAL_BLOCK_BYTES;
}

static int budget_check(struct wal *w, struct err *e)
{
    uint64_t bytes, bytes_max, free_min, free_bytes = 0;
    int rc;

    wal_lock(&w->lock);
    bytes = w->bytes;
    bytes_max = w->bytes_max;
    free_min = w->free_bytes_min;
    wal_unlock(&w->lock);
    if (bytes_max > 0 && (bytes + w->segment_bytes > bytes_max))
        return err_set(e, WH_EFULL,
                       "the log in %s has %" PRIu64 " of %" PRIu64
                       " bytes in use; it goes on when older segments are flushed and deleted",
                       w->path, bytes, bytes_max);
    if (free_min == 0)
        return 0;
    if ((rc = w->io->free_bytes(w->io->ctx, w->path, &free_bytes)) != 0)
        return err_set_errno(e, rc, "cannot ask for the free space of %s", w->path);
    if (free_bytes < w->segment_bytes || free_bytes - w->segment_bytes < free_min)
        return err_set(e, -ENOSPC,
                       "the file system of %s has %" PRIu64 " bytes left, %" PRIu64
                       " must stay free; the log goes on when there is space",
                       w->path, free_bytes, free_min);
    return 0;
}

/* Log which segments were completed. Not by the writer: standard error may block (a full pipe, a
 * journal on a slow disk), and everybody waits for the writer. */
static void tell_sealed(struct wal *w)
{
    for (;;) {
        uint64_t number = 0, first = 0, last = 0;
        wal_lock(&w->lock);
        for (size_t i = 0; i < w->seg_count && number == 0; i++) {
            const struct wal_segment *seg = w->segs[i];
            if (seg->head.number <= w->told || !atomic_load(&seg->sealed))
                continue;
            number = seg->head.number;
            first = seg->first_index;
            last = seg->last_index;
        }
        wal_unlock(&w->lock);
        if (number == 0)
            return;
        w->told = number;
        log_info("wal.sealed", "segment=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64, number, first,
                 last);
    }
}

int wal_prepare(struct wal *w, struct err *e)
{
    struct wal_segment *seg;
    size_t spare_count;
    int rc;

    CHECK_MAGIC(w, WAL_MAGIC);
    must(!w->read_only);
    tell_sealed(w);
    wal_segments_sweep(w);
    wal_pool_yield(w);
    wal_lock(&w->lock);
    spare_count = w->spare_count;
    wal_unlock(&w->lock);
    if (spare_count > 0)
        return 0;
    /* A waiting file is counted already. */
    if (w->pool_count == 0 && (rc = budget_check(w, e)) != 0)
        return rc;
    if ((rc = wal_segs_reserve(w)) != 0)
        return err_set_errno(e, rc, "cannot prepare a segment in %s", w->path);
    if ((rc = wal_segment_create(w, w->next_number, &seg, e)) != 0)
        return rc;
    w->next_number++;
    wal_lock(&w->lock);
    w->spare[w->spare_count++] = seg;
    w->bytes += seg->head.segment_bytes;
    atomic_store_explicit(&w->spare_free, wal_spare_room(seg), memory_order_relaxed);
    wal_unlock(&w->lock);
    return 0;
}

/* The oldest segment if it may go, marked as dying. The first group of the one behind must be
 * durable: it says where the log goes on, and until then only the footer here does. */
static struct wal_segment *trim_pick(struct wal *w, uint64_t index, uint64_t before_ns)
{
    struct wal_segment *seg = NULL;

    wal_lock(&w->lock);
    if (w->seg_count > 2 ||
        (w->seg_count == 2 && wal_durable_index(w) >= w->segs[1]->first_index)) {
        seg = w->segs[0];
        if (seg->refs > 0 || seg->last_index >= index || seg->time_max_ns >= before_ns)
            seg = NULL;
        else
            seg->dying = true;
    }
    wal_unlock(&w->lock);
    return seg;
}

/* Its file is gone, or renamed into the pool. Unmapped here, before anybody writes to it. */
static void trim_drop(struct wal *w, struct wal_segment *seg, bool pooled)
{
    wal_lock(&w->map_lock); /* a cursor that just left may still be unmapping it */
    wal_lock(&w->lock);
    must(w->segs[0] == seg);
    w->seg_count--;
    memmove(w->segs, w->segs + 1, w->seg_count * sizeof(struct wal_segment *));
    if (pooled)
        w->pool[w->pool_count++] = seg->head.number;
    else
        w->bytes -= seg->head.segment_bytes;
    wal_unlock(&w->lock);
    wal_segment_free(w, seg);
    wal_unlock(&w->map_lock);
}

/* A segment that is marked as dying leaves the log. */
static int trim_one(struct wal *w, struct wal_segment *seg, struct err *e)
{
    bool pooled = wal_pool_wants(w, seg->head.segment_bytes);
    char path[WAL_PATH_CAP];
    int rc = wal_segment_path(w, seg->head.number, path);

    if (rc == 0)
        rc = pooled ? wal_pool_put(w, path, seg->head.number)
                    : wal_delete(w, path, seg->head.segment_bytes);
    if (rc != 0 && rc != -ENOENT) {
        wal_lock(&w->lock);
        seg->dying = false;
        wal_unlock(&w->lock);
        return err_set_errno(e, rc, "cannot delete %s; it stays in the log", path);
    }
    log_info("wal.trimmed", "segment=%" PRIu64 " first=%" PRIu64 " last=%" PRIu64, seg->head.number,
             seg->first_index, seg->last_index);
    trim_drop(w, seg, pooled && rc == 0);
    return 0;
}

static int trim(struct wal *w, uint64_t index, uint64_t before_ns, bool for_reuse,
                uint64_t *deleted, struct err *e)
{
    struct wal_segment *seg;
    bool was_ready;
    int rc;

    CHECK_MAGIC(w, WAL_MAGIC);
    must(!w->read_only);
    was_ready = wal_next_ready(w);
    *deleted = 0;
    tell_sealed(w);
    wal_segments_sweep(w);
    /* A hole is how recovery knows a missing segment, and a crash may undo unlinks and renames in
     * any order: each must be durable before the next. */
    while ((rc = wal_sync_names(w)) == 0 && wal_next_ready(w) == was_ready &&
           *deleted < (for_reuse ? WAL_POOL_MAX : TRIM_MAX) &&
           (!for_reuse || w->pool_count < WAL_POOL_MAX) &&
           (seg = trim_pick(w, index, before_ns)) != NULL) {
        if ((rc = trim_one(w, seg, e)) != 0)
            return rc;
        ++*deleted;
    }
    return rc == 0 ? 0 : err_set_errno(e, rc, "cannot sync the folder %s", w->path);
}

int wal_trim(struct wal *w, uint64_t index, uint64_t before_ns, uint64_t *deleted, struct err *e)
{
    return trim(w, index, before_ns, false, deleted, e);
}

int wal_trim_for_reuse(struct wal *w, uint64_t index, uint64_t before_ns, uint64_t *deleted,
                       struct err *e)
{
    return trim(w, index, before_ns, true, deleted, e);
}

void wal_set_budget(struct wal *w, uint64_t bytes_max, uint64_t free_bytes_min)
{
    CHECK_MAGIC(w, WAL_MAGIC);
    wal_lock(&w->lock);
    w->bytes_max = bytes_max;
    w->free_bytes_min = free_bytes_min;
    wal_unlock(&w->lock);
}

uint64_t wal_capacity(struct wal *w)
{
    uint64_t bytes, most, free_min, free_bytes = 0;

    CHECK_MAGIC(w, WAL_MAGIC);
    wal_lock(&w->lock);
    bytes = w->bytes;
    most = w->bytes_max;
    free_min = w->free_bytes_min;
    wal_unlock(&w->lock);
    if (w->io->free_bytes(w->io->ctx, w->path, &free_bytes) != 0)
        return most;
    uint64_t by_disk = bytes + (free_bytes > free_min ? free_bytes - free_min : 0);
    return most == 0 || by_disk < most ? by_disk : most;
}

void wal_stats_get(struct wal *w, struct wal_stats *out)
{
    CHECK_MAGIC(w, WAL_MAGIC);
    wal_lock(&w->lock);
    *out = (struct wal_stats){.first_index = w->segs[0]->first_index,
                              .segments = w->seg_count + w->spare_count + w->pool_count,
                              .bytes = w->bytes,
                              .budget_bytes = w->bytes_max};
    if (w->segs[0]->dying && w->seg_count > 1)
        out->first_index = w->segs[1]->first_index;
    out->free_bytes = atomic_load_explicit(&w->active_free, memory_order_relaxed) +
                      atomic_load_explicit(&w->spare_free, memory_order_relaxed);
    wal_unlock(&w->lock);
    out->last_index = atomic_load_explicit(&w->appended_index, memory_order_relaxed);
    out->durable_index = wal_durable_index(w);
    out->commit_index = wal_commit_index(w);
}

bool wal_has_room(const struct wal *w, uint64_t n)
{
    uint64_t here = atomic_load_explicit(&w->active_free, memory_order_relaxed);
    uint64_t there = atomic_load_explicit(&w->spare_free, memory_order_relaxed);
    uint64_t head = WAL_GROUP_HEAD_BYTES + WAL_ENTRY_HEAD_BYTES;

    /* Entries do not span segments, and where n will be cut is not known here: what is left in the
     * active one counts only if it holds everything. */
    return n <= UINT64_MAX / 2 &&
           (wal_block_align(n + head) <= here || wal_block_align(n + head) <= there);
}
