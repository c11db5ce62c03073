/* SPDX-License-Identifier: Apache-2.0 */
/* Files of trimmed segments wait here to become the next ones: their blocks are allocated and
 * written, so preparing is one page instead of a whole file of zeros.
 *
 *   seg-7 ──rename──► reuse-7 ──new head page, fsync──► reuse-7 ──rename──► seg-19
 *          sync_dir: trimmed                                     sync_dir: prepared
 *
 * Under its waiting name a file is not part of the log, and the next start deletes it. The new head
 * has a new number and a new salt: no checksum of the former life holds under them. */
#include "base/log.h"
#include "wal/wal_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int pool_path(const struct wal *w, uint64_t number, char *out)
{
    int n = snprintf(out, WAL_PATH_CAP, "%s/" WAL_POOL_FMT, w->path, number);

    return n > 0 && n < WAL_PATH_CAP ? 0 : -ENAMETOOLONG;
}

bool wal_pool_name(const char *name)
{
    char again[WAL_NAME_CAP];
    uint64_t number;

    return sscanf(name, "reuse-%20" SCNu64 ".tmp", &number) == 1 &&
           snprintf(again, sizeof(again), WAL_POOL_FMT, number) > 0 && strcmp(again, name) == 0;
}

bool wal_pool_wants(struct wal *w, uint64_t segment_bytes)
{
    bool wants;

    wal_lock(&w->lock);
    wants = w->pool_count < WAL_POOL_MAX && segment_bytes == w->segment_bytes &&
            (w->bytes_max == 0 || w->bytes <= w->bytes_max);
    wal_unlock(&w->lock);
    return wants;
}

int wal_pool_put(struct wal *w, const char *path, uint64_t number)
{
    char to[WAL_PATH_CAP];
    int rc = pool_path(w, number, to);

    if (rc != 0)
        return rc;
    rc = w->io->rename(w->io->ctx, path, to);
    w->dir_dirty = w->dir_dirty || rc == 0 || rc == -ENOENT;
    return rc;
}

/* The newest waiting file is no longer one; its bytes are not counted any more. */
static void pool_pop(struct wal *w)
{
    wal_lock(&w->lock);
    w->pool_count--;
    w->bytes -= w->segment_bytes;
    wal_unlock(&w->lock);
}

/* A file of another size was changed by somebody: -ESTALE. */
static int new_head(struct wal *w, struct wal_head *head, int fd)
{
    const struct io *io = w->io;
    char page[WAL_HEAD_BYTES];
    struct iovec iov = {.iov_base = page, .iov_len = sizeof(page)};
    uint64_t size = 0;
    int rc = io->size(io->ctx, fd, &size);

    if (rc != 0 || size != head->segment_bytes)
        return rc != 0 ? rc : -ESTALE;
    wal_head_put(page, head);
    if ((rc = io->pwritev(io->ctx, fd, &iov, 1, 0)) != 0)
        return rc;
    return io->fsync(io->ctx, fd);
}

static int reuse(struct wal *w, struct wal_head *head, const char *from, const char *path, int *fd)
{
    const struct io *io = w->io;
    int rc;

    *fd = io->open(io->ctx, from, IO_WRITE);
    if (*fd < 0)
        return *fd;
    rc = new_head(w, head, *fd);
    if (rc == 0 && (rc = io->rename(io->ctx, from, path)) == 0) {
        w->dir_dirty = true;
        return 0;
    }
    (void)io->close(io->ctx, *fd);
    (void)io->unlink(io->ctx, from); /* or at the next start */
    return rc;
}

int wal_pool_take(struct wal *w, struct wal_head *head, const char *path, int *fd)
{
    char from[WAL_PATH_CAP];
    int rc = 0;

    *fd = -1;
    while (w->pool_count > 0) {
        /* Written under a new number while the old name may still come back, it would be a
         * foreign file in the middle of the log. */
        if ((rc = wal_sync_names(w)) != 0)
            return rc;
        head->former = w->pool[w->pool_count - 1];
        if ((rc = pool_path(w, head->former, from)) != 0)
            return rc;
        rc = reuse(w, head, from, path, fd);
        pool_pop(w);
        if (rc == 0)
            return 0;
        *fd = -1;
        head->former = 0;
        if (rc != -ENOENT && rc != -ESTALE)
            return rc;
        log_warn("wal.reuse_vanished", "file=%s action=make-a-new-one", from);
    }
    return 0;
}

static bool over_limits(struct wal *w)
{
    uint64_t bytes, bytes_max, free_min, free_bytes;

    wal_lock(&w->lock);
    bytes = w->bytes;
    bytes_max = w->bytes_max;
    free_min = w->free_bytes_min;
    wal_unlock(&w->lock);
    if (bytes_max > 0 && bytes > bytes_max)
        return true;
    return free_min > 0 && w->io->free_bytes(w->io->ctx, w->path, &free_bytes) == 0 &&
           free_bytes < free_min;
}

void wal_pool_yield(struct wal *w)
{
    char path[WAL_PATH_CAP];

    while (w->pool_count > 0 && over_limits(w)) {
        int rc = pool_path(w, w->pool[w->pool_count - 1], path);

        if (rc == 0)
            rc = wal_delete(w, path, w->segment_bytes);
        if (rc != 0 && rc != -ENOENT) {
            log_warn("wal.reuse_delete", "cannot delete %s: %s", path, err_text(rc));
            return;
        }
        pool_pop(w);
    }
}
