/* SPDX-License-Identifier: Apache-2.0 */
#include "io/clock.h"
#include "io/io.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>

static int count_name(void *arg, const char *name)
{
    (void)name;
    ++*(int *)arg;
    return 0;
}

int main(void)
{
    const struct io *io = io_posix();
    char *dir = tmpdir_make();
    char path[256], other[256], got[32768], big[16384] = "x";
    char text[] = "abcdefgh";
    struct iovec iov[4] = {{text, 0}, {text, 3}, {text, 0}, {text + 3, 5}};
    struct rlimit limit;
    uint64_t size = 0, t0 = io_monotonic_ns(), a = 0, b = 0;
    size_t n;
    int fd, fd2, names = 0;

    (void)snprintf(path, sizeof(path), "%s/a", dir);
    (void)snprintf(other, sizeof(other), "%s/b", dir);
    ok(io->open(io->ctx, path, IO_READ) == -ENOENT, "open: -errno");
    fd = io->open(io->ctx, path, IO_WRITE | IO_CREATE | IO_EXCL);
    ok(fd >= 0 && io->open(io->ctx, path, IO_WRITE | IO_CREATE | IO_EXCL) == -EEXIST, "create");
    ok(io->pwritev(io->ctx, fd, iov, 4, 5) == 0, "pieces, empty ones among them");
    ok(io->pread(io->ctx, fd, got, sizeof(got), 5, &n) == 0, "read to the end of the file");
    is_mem(got, n, "abcdefgh", 8, "as written");
    ok(io->size(io->ctx, fd, &size) == 0 && size == 13, "size");
    ok(io->fallocate(io->ctx, fd, 0, 8192) == 0 && io->size(io->ctx, fd, &size) == 0 &&
           size == 8192,
       "fallocate grows the file");
    ok(io->fsync(io->ctx, fd) == 0 && io->fdatasync(io->ctx, fd) == 0 &&
           io->drop_cache(io->ctx, fd) == 0 && io->will_read(io->ctx, fd, 0, 4096) == 0,
       "sync");
    fd2 = io->open(io->ctx, path, IO_WRITE);
    ok(io->lock(io->ctx, fd) == 0 && io->lock(io->ctx, fd2) == -EWOULDBLOCK, "lock");
    ok(io->close(io->ctx, fd2) == 0, "close");
    ok(io->rename(io->ctx, path, other) == 0 && io->sync_dir(io->ctx, dir) == 0 &&
           io->list(io->ctx, dir, count_name, &names) == 0 && names == 1,
       "rename, sync_dir, list");
    ok(io->free_bytes(io->ctx, dir, &size) == 0 && size > 0, "free space");

    /* The kernel takes a part, then refuses the rest: a short write is continued, the error told.
     */
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 10000;
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    iov[0] = (struct iovec){big, sizeof(big)};
    ok(io->pwritev(io->ctx, fd, iov, 1, 0) == -EFBIG, "a short write is not taken for a whole one");
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    ok(io->size(io->ctx, fd, &size) == 0 && size == 10000, "a part was written");

    ok(io->close(io->ctx, fd) == 0 && io->unlink(io->ctx, other) == 0, "unlink");
    ok(io_monotonic_ns() >= t0 && io_realtime_ns() > 1700000000000000000u, "clocks");
    ok(io_random(&a, sizeof(a)) == 0 && io_random(&b, sizeof(b)) == 0 && a != b, "random");
    tmpdir_remove(dir);
    return tap_done();
}
