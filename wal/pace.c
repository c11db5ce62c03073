/* SPDX-License-Identifier: Apache-2.0 */
/* Housekeeping's work on whole files, in pieces: one is made durable, then the disk is left to the
 * others for three times as long as it took.
 *
 * A sync waits for whatever the device has been given before. Where that is 64 MiB of zeros at
 * once, or the discard of a deleted segment (mount option discard), every sync of the active
 * segment takes 30 to 70 ms longer; behind a piece it is 1 to 3 ms. */
#include "io/clock.h"
#include "wal/wal_priv.h"

#define PIECE_BYTES  (2 * MIB)
#define PAUSE_TIMES  3
#define PAUSE_NS_MAX UINT64_C(50000000) /* how soon a change of the situation is seen */

void wal_hurry(struct wal *w)
{
    atomic_store(&w->hurry, true);
}

static bool stopping(const struct wal *w)
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

static void leave_disk(uint64_t since_ns)
{
    uint64_t ns = (io_monotonic_ns() - since_ns) * PAUSE_TIMES;

    io_sleep(ns < PAUSE_NS_MAX ? ns : PAUSE_NS_MAX);
}

int wal_fill(const struct wal *w, int fd, const char *head_page, uint64_t size)
{
    static const char zeros[PIECE_BYTES];
    const struct io *io = w->io;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)head_page, .iov_len = WAL_HEAD_BYTES};
    uint64_t free_before = active_free(w);
    int rc = io->pwritev(io->ctx, fd, &iov, 1, 0);

    for (uint64_t at = WAL_HEAD_BYTES; rc == 0 && at < size; at += iov.iov_len) {
        uint64_t since_ns = io_monotonic_ns(), left = size - at;

        iov.iov_base = (void *)(uintptr_t)zeros;
        iov.iov_len = (size_t)(left < PIECE_BYTES ? left : PIECE_BYTES);
        rc = io->pwritev(io->ctx, fd, &iov, 1, at);
        left -= iov.iov_len;
        if (rc != 0 || left == 0)
            break;
        rc = io->fdatasync(io->ctx, fd);
        if (rc == 0 && !stopping(w) && !late(w, free_before, size - left, size))
            leave_disk(since_ns);
    }
    return rc;
}

int wal_delete(const struct wal *w, const char *path, uint64_t size)
{
    const struct io *io = w->io;
    int fd = size > PIECE_BYTES ? io->open(io->ctx, path, IO_WRITE) : -1;
    int rc = io->unlink(io->ctx, path);

    if (fd < 0)
        return rc;
    /* The name is gone, whatever becomes of this; what is left over goes with the handle. */
    while (rc == 0 && size > PIECE_BYTES) {
        uint64_t since_ns = io_monotonic_ns();

        if (stopping(w) || (atomic_load_explicit(&w->spare_free, memory_order_relaxed) == 0 &&
                            active_free(w) < w->segment_bytes / 2))
            break; /* the next segment is to be made */
        size -= PIECE_BYTES;
        if (io->ftruncate(io->ctx, fd, size) != 0 || io->fsync(io->ctx, fd) != 0)
            break;
        leave_disk(since_ns);
    }
    (void)io->close(io->ctx, fd); /* nothing of it is kept */
    return rc;
}
