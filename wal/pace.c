/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping's work on whole files, in pieces: one is made durable, then the disk is left to the
 * others for three times as long as it took, 50 ms at most.
 *
 * A sync waits for whatever the device has been given before. Where that is 64 MiB of zeros at
 * once, or the discard of a deleted segment (mount option discard), every sync of the active
 * segment takes 30 to 70 ms longer; behind a piece it is 1 to 3 ms. */
#include "base/log.h"
#include "io/clock.h"
#include "wal/wal_priv.h"

#include <errno.h>

#define ZERO_BYTES   (WAL_PIECE_BYTES_MAX / IO_IOV_MAX)
#define PAUSE_TIMES  3
#define PAUSE_NS_MAX UINT64_C(50000000) /* how soon a change of the situation is seen */

void wal_set_hurry(struct wal *w, bool hurry)
{
    atomic_store(&w->hurry, hurry);
}

bool wal_next_ready(const struct wal *w)
{
    return atomic_load_explicit(&w->spare_free, memory_order_relaxed) > 0;
}

static bool hurry(const struct wal *w)
{
    return atomic_load_explicit(&w->hurry, memory_order_relaxed);
}

static uint64_t active_free(const struct wal *w)
{
    return atomic_load_explicit(&w->active_free, memory_order_relaxed);
}

/* The writer would rather have slow syncs than wait for the next segment: it has to be whole when
 * the active one has taken three quarters of what it had room for when this began (the last of its
 * room is not for events). Where little was left, or there is no active one yet, at once. */
static bool late(const struct wal *w, uint64_t free_before, uint64_t done, uint64_t size)
{
    uint64_t free = active_free(w), used = free < free_before ? free_before - free : 0;

    return free_before < size / 4 ||
           (double)done / (double)size < (double)used / ((double)free_before * 3 / 4);
}

static void leave_disk(const struct wal *w, uint64_t since_ns)
{
    uint64_t ns = (io_monotonic_ns() - since_ns) * PAUSE_TIMES;

    w->io->pause(w->io->ctx, ns < PAUSE_NS_MAX ? ns : PAUSE_NS_MAX);
}

static int write_zeros(const struct io *io, int fd, uint64_t offset, uint64_t n)
{
    static const char zeros[ZERO_BYTES];
    struct iovec iov[IO_IOV_MAX];
    int count = 0;

    for (; n > 0; n -= iov[count++].iov_len)
        iov[count] = (struct iovec){.iov_base = (void *)(uintptr_t)zeros,
                                    .iov_len = (size_t)(n < ZERO_BYTES ? n : ZERO_BYTES)};
    return io->pwritev(io->ctx, fd, iov, count, offset);
}

/* Zeros to the end: an allocated but unwritten extent would cost a journal commit at each first
 * write, in the middle of wal_sync. */
int wal_fill(const struct wal *w, int fd, const char *head_page, uint64_t size)
{
    const struct io *io = w->io;
    struct iovec head = {.iov_base = (void *)(uintptr_t)head_page, .iov_len = WAL_HEAD_BYTES};
    uint64_t free_before = active_free(w), n;
    int rc = io->pwritev(io->ctx, fd, &head, 1, 0);

    for (uint64_t at = WAL_HEAD_BYTES; rc == 0 && at < size; at += n) {
        uint64_t since_ns = io_monotonic_ns();

        n = size - at < w->piece_bytes ? size - at : w->piece_bytes;
        rc = write_zeros(io, fd, at, n);
        if (rc != 0 || at + n == size)
            break;
        rc = io->fdatasync(io->ctx, fd);
        if (rc == 0 && !hurry(w) && !late(w, free_before, at + n, size))
            leave_disk(w, since_ns);
    }
    return rc;
}

/* Give back the blocks of a file without a name. What is left over goes with the handle. */
static void cut(const struct wal *w, int fd, uint64_t size)
{
    const struct io *io = w->io;

    while (size > w->piece_bytes && !hurry(w) && wal_next_ready(w)) {
        uint64_t since_ns = io_monotonic_ns();

        size -= w->piece_bytes;
        if (io->ftruncate(io->ctx, fd, size) != 0 || io->fsync(io->ctx, fd) != 0)
            break;
        leave_disk(w, since_ns);
    }
}

int wal_delete(struct wal *w, const char *path, uint64_t size)
{
    const struct io *io = w->io;
    int fd = size > w->piece_bytes ? io->open(io->ctx, path, IO_WRITE) : -1;
    int rc = io->unlink(io->ctx, path);

    w->dir_dirty = w->dir_dirty || rc == 0 || rc == -ENOENT;
    if (fd < 0)
        return rc;
    /* A name that came back after a crash must not belong to a file that was cut. */
    if (rc == 0) {
        int sync_rc = wal_sync_names(w);

        if (sync_rc == 0)
            cut(w, fd, size);
        else
            log_warn("wal.sync_dir", "cannot sync the folder %s: %s; it is tried again", w->path,
                     err_text(sync_rc));
    }
    (void)io->close(io->ctx, fd); /* nothing of it is kept */
    return rc;
}
