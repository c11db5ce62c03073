/* SPDX-License-Identifier: Apache-2.0 */
#include "base/magic.h"
#include "wal/wal_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

void wal_lock(pthread_mutex_t *m)
{
    must(pthread_mutex_lock(m) == 0);
}

void wal_unlock(pthread_mutex_t *m)
{
    must(pthread_mutex_unlock(m) == 0);
}

int wal_path(const struct wal *w, const char *name, char *out)
{
    int n = snprintf(out, WAL_PATH_CAP, "%s/%s", w->path, name);

    return n > 0 && n < WAL_PATH_CAP ? 0 : -ENAMETOOLONG;
}

int wal_segment_path(const struct wal *w, uint64_t number, char *out)
{
    int n = snprintf(out, WAL_PATH_CAP, "%s/" WAL_NAME_FMT, w->path, number);

    return n > 0 && n < WAL_PATH_CAP ? 0 : -ENAMETOOLONG;
}

struct wal_segment *wal_segment_new(const struct wal_head *head)
{
    struct wal_segment *seg = calloc(1, sizeof(*seg));

    if (seg == NULL)
        return NULL;
    seg->head = *head;
    seg->fd = -1;
    seg->sparse_cap = (uint32_t)(head->segment_bytes / WAL_SPARSE_STEP + 1);
    return seg;
}

static void segment_unmap(struct wal *w, struct wal_segment *seg)
{
    if (seg->map == NULL)
        return;
    w->io->unmap(w->io->ctx, seg->map, (size_t)seg->head.segment_bytes);
    seg->map = NULL;
    seg->foot_checked = false;
    seg->foot_valid = false;
}

void wal_segment_free(struct wal *w, struct wal_segment *seg)
{
    if (seg == NULL)
        return;
    must(seg->refs == 0);
    segment_unmap(w, seg);
    if (seg->fd >= 0)
        (void)w->io->close(w->io->ctx, seg->fd); /* what had to be durable was synced */
    free(seg->sparse);
    free(seg);
}

void wal_segment_sparse(struct wal_segment *seg, struct wal_active *act, uint64_t offset,
                        uint64_t index)
{
    uint32_t n = atomic_load_explicit(&seg->sparse_count, memory_order_relaxed);

    if (offset < act->sparse_next || n == seg->sparse_cap)
        return;
    seg->sparse[n] = (struct wal_sparse){index, offset};
    atomic_store_explicit(&seg->sparse_count, n + 1, memory_order_release);
    act->sparse_next = wal_align(offset + 1, WAL_SPARSE_STEP);
}

int wal_segs_reserve(struct wal *w)
{
    size_t cap = w->seg_cap < 16 ? 16 : w->seg_cap * 2;
    struct wal_segment **segs;

    wal_lock(&w->lock);
    if (w->seg_count + WAL_SPARE_MAX < w->seg_cap) {
        wal_unlock(&w->lock);
        return 0;
    }
    segs = realloc(w->segs, cap * sizeof(struct wal_segment *));
    if (segs != NULL) {
        w->segs = segs;
        w->seg_cap = cap;
    }
    wal_unlock(&w->lock);
    return segs != NULL ? 0 : -ENOMEM;
}

/* Position of the last segment with first_index ≤ index. lock is held; seg_count > 0. */
static size_t segment_find(const struct wal *w, uint64_t index)
{
    size_t low = 0, high = w->seg_count;

    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;

        if (w->segs[mid]->first_index <= index)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* map_lock is held. */
static int segment_map(struct wal *w, struct wal_segment *seg, struct err *e)
{
    const struct io *io = w->io;
    char path[WAL_PATH_CAP];
    const void *p;
    int rc, fd;

    if (seg->map != NULL)
        return 0;
    if ((rc = wal_segment_path(w, seg->head.number, path)) != 0)
        return err_set_errno(e, rc, "%s", w->path);
    if ((fd = io->open(io->ctx, path, IO_READ)) < 0)
        return err_set_errno(e, fd, "cannot open %s to read it", path);
    rc = io->map(io->ctx, fd, (size_t)seg->head.segment_bytes, &seg->faults, &p);
    (void)io->close(io->ctx, fd); /* only read */
    if (rc != 0)
        return err_set_errno(e, rc, "cannot map %s", path);
    seg->map = p;
    return 0;
}

/* The footer is read once per mapping, before any cursor uses it; a damaged one only costs speed.
 * map_lock is held. */
static void segment_foot(struct wal_segment *seg)
{
    struct wal_group g;

    if (seg->foot_checked || seg->sparse != NULL || !atomic_load(&seg->sealed))
        return;
    seg->foot_checked = true;
    seg->foot_valid = wal_scan_footer(seg->map, &seg->head, &g, &seg->foot, NULL) == 0;
}

int wal_segment_pin(struct wal *w, uint64_t index, struct wal_segment **out, struct err *e)
{
    struct wal_segment *seg = NULL;
    int rc;

    wal_lock(&w->map_lock);
    wal_lock(&w->lock);
    seg = w->segs[segment_find(w, index)];
    if (index < seg->first_index || seg->dying)
        seg = NULL;
    else
        seg->refs++;
    wal_unlock(&w->lock);
    if (seg == NULL) {
        wal_unlock(&w->map_lock);
        return err_set(e, WH_ENOTFOUND, "%s: index %" PRIu64 " is no longer in the log", w->path,
                       index);
    }
    rc = segment_map(w, seg, e);
    if (rc == 0)
        segment_foot(seg);
    wal_unlock(&w->map_lock);
    if (rc != 0) {
        wal_segment_unpin(w, seg);
        return rc;
    }
    *out = seg;
    return 0;
}

uint64_t wal_segment_at_time(struct wal *w, uint64_t time_ns)
{
    uint64_t index = 0;

    wal_lock(&w->lock);
    for (size_t i = 0; i < w->seg_count; i++) {
        const struct wal_segment *seg = w->segs[i];

        if (seg->dying)
            continue;
        index = seg->first_index;
        if (!atomic_load_explicit(&seg->sealed, memory_order_acquire) ||
            seg->time_max_ns >= time_ns)
            break;
    }
    wal_unlock(&w->lock);
    return index;
}

uint64_t wal_time_max(struct wal *w)
{
    uint64_t time_ns = w->act.time_max_ns;

    CHECK_MAGIC(w, WAL_MAGIC);
    wal_lock(&w->lock);
    for (size_t i = 0; i < w->seg_count; i++)
        if (atomic_load_explicit(&w->segs[i]->sealed, memory_order_acquire) &&
            w->segs[i]->time_max_ns > time_ns)
            time_ns = w->segs[i]->time_max_ns;
    wal_unlock(&w->lock);
    return time_ns;
}

void wal_segment_unpin(struct wal *w, struct wal_segment *seg)
{
    struct wal_sparse *sparse = NULL;

    wal_lock(&w->map_lock);
    wal_lock(&w->lock);
    must(seg->refs > 0);
    if (--seg->refs == 0) {
        if (atomic_load(&seg->sealed)) {
            sparse = seg->sparse;
            seg->sparse = NULL;
            atomic_store(&seg->sparse_count, 0);
        }
        /* A segment being deleted is freed by housekeeping, which waits for map_lock. */
        wal_unlock(&w->lock);
        segment_unmap(w, seg);
    } else {
        wal_unlock(&w->lock);
    }
    wal_unlock(&w->map_lock);
    free(sparse);
}

void wal_segments_sweep(struct wal *w)
{
    wal_lock(&w->lock);
    for (size_t i = 0; i < w->seg_count; i++) {
        struct wal_segment *seg = w->segs[i];

        if (seg->sparse == NULL || seg->refs > 0 || !atomic_load(&seg->sealed))
            continue;
        free(seg->sparse);
        seg->sparse = NULL;
        atomic_store(&seg->sparse_count, 0);
    }
    wal_unlock(&w->lock);
}
