/* SPDX-License-Identifier: Apache-2.0 */
#include "io/clock.h"
#include "io/guard.h"
#include "io/io.h"

#include "base/magic.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ctx is unused everywhere: the kernel is the state. */

static int posix_open(void *ctx, const char *path, unsigned flags)
{
    int how = O_CLOEXEC | ((flags & IO_WRITE) ? O_RDWR : O_RDONLY);
    int fd;

    (void)ctx;
    how |= (flags & IO_CREATE) ? O_CREAT : 0;
    how |= (flags & IO_EXCL) ? O_EXCL : 0;
    how |= (flags & IO_TRUNC) ? O_TRUNC : 0;
    do
        fd = open(path, how, 0600);
    while (fd < 0 && errno == EINTR);
    return fd >= 0 ? fd : -errno;
}

static int posix_close(void *ctx, int fd)
{
    (void)ctx;
    /* On Linux the descriptor is gone also after EINTR; closing again could hit a stranger. */
    return close(fd) == 0 || errno == EINTR ? 0 : -errno;
}

static int posix_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset, size_t *got)
{
    char *at = p;

    (void)ctx;
    *got = 0;
    while (*got < n) {
        ssize_t r = pread(fd, at + *got, n - *got, (off_t)(offset + *got));

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return 0;
}

/* Drop the first n bytes of the list; returns the first piece with bytes left. */
static int iov_advance(struct iovec *iov, int count, size_t n)
{
    int i = 0;

    while (i < count && n >= iov[i].iov_len)
        n -= iov[i++].iov_len;
    if (i < count) {
        iov[i].iov_base = (char *)iov[i].iov_base + n;
        iov[i].iov_len -= n;
    }
    return i;
}

static int posix_pwritev(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    struct iovec left[IO_IOV_MAX];
    int at = 0;

    (void)ctx;
    must(count >= 0 && count <= IO_IOV_MAX);
    memcpy(left, iov, sizeof(*iov) * (size_t)count);
    at = iov_advance(left, count, 0);
    while (at < count) {
        ssize_t r = pwritev(fd, left + at, count - at, (off_t)offset);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -errno;
        if (r == 0)
            return -EIO; /* no progress and no reason given */
        offset += (uint64_t)r;
        at += iov_advance(left + at, count - at, (size_t)r);
    }
    return 0;
}

/* A sync interrupted by a signal has not failed: the pages are still dirty. */
static int posix_fdatasync(void *ctx, int fd)
{
    int r;

    (void)ctx;
    do
        r = fdatasync(fd);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : -errno;
}

static int posix_fsync(void *ctx, int fd)
{
    int r;

    (void)ctx;
    do
        r = fsync(fd);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : -errno;
}

static int posix_fallocate_(void *ctx, int fd, uint64_t offset, uint64_t n)
{
    int r;

    (void)ctx;
    /* The raw call: libc's posix_fallocate writes a byte per block where the file system cannot. */
    do
        r = fallocate(fd, 0, (off_t)offset, (off_t)n);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : -errno;
}

static int posix_ftruncate(void *ctx, int fd, uint64_t size)
{
    int r;

    (void)ctx;
    do
        r = ftruncate(fd, (off_t)size);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : -errno;
}

static int posix_size(void *ctx, int fd, uint64_t *size)
{
    struct stat st;

    (void)ctx;
    if (fstat(fd, &st) != 0)
        return -errno;
    *size = (uint64_t)st.st_size;
    return 0;
}

static int posix_drop_cache(void *ctx, int fd)
{
    (void)ctx;
    return -posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static int posix_will_read(void *ctx, int fd, uint64_t offset, uint64_t n)
{
    (void)ctx;
    return -posix_fadvise(fd, (off_t)offset, (off_t)n, POSIX_FADV_WILLNEED);
}

static int posix_lock(void *ctx, int fd)
{
    int r;

    (void)ctx;
    do
        r = flock(fd, LOCK_EX | LOCK_NB);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : -errno;
}

static int posix_rename(void *ctx, const char *from, const char *to)
{
    (void)ctx;
    return rename(from, to) == 0 ? 0 : -errno;
}

static int posix_unlink(void *ctx, const char *path)
{
    (void)ctx;
    return unlink(path) == 0 ? 0 : -errno;
}

static int posix_mkdir(void *ctx, const char *path)
{
    (void)ctx;
    return mkdir(path, 0700) == 0 ? 0 : -errno;
}

static int posix_sync_dir(void *ctx, const char *path)
{
    int fd, rc;

    do
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    rc = posix_fsync(ctx, fd);
    (void)posix_close(ctx, fd); /* nothing was written through it */
    return rc;
}

static int posix_list(void *ctx, const char *path, io_list_fn fn, void *arg)
{
    DIR *dir = opendir(path);
    struct dirent *de;
    int rc = 0;

    (void)ctx;
    if (dir == NULL)
        return -errno;
    for (errno = 0; rc == 0 && (de = readdir(dir)) != NULL; errno = 0)
        if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
            rc = fn(arg, de->d_name);
    if (rc == 0 && errno != 0)
        rc = -errno;
    (void)closedir(dir);
    return rc;
}

static int posix_free_bytes(void *ctx, const char *path, uint64_t *bytes)
{
    struct statvfs st;
    int r;

    (void)ctx;
    do
        r = statvfs(path, &st);
    while (r != 0 && errno == EINTR);
    if (r != 0)
        return -errno;
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

static int posix_map(void *ctx, int fd, size_t n, _Atomic uint32_t *faults, const void **out)
{
    void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    int rc;

    (void)ctx;
    if (p == MAP_FAILED)
        return -errno;
    rc = io_guard_add(p, n, faults);
    if (rc != 0) {
        (void)munmap(p, n);
        return rc;
    }
    *out = p;
    return 0;
}

static void posix_unmap(void *ctx, const void *p, size_t n)
{
    union {
        const void *in;
        void *out;
    } cast = {.in = p};

    (void)ctx;
    io_guard_remove(p);
    must(munmap(cast.out, n) == 0);
}

static int posix_random(void *ctx, void *p, size_t n)
{
    (void)ctx;
    return io_random(p, n);
}

static void posix_pause(void *ctx, uint64_t ns)
{
    (void)ctx;
    must(ns < UINT64_C(1000000000));
    (void)nanosleep(&(struct timespec){.tv_nsec = (long)ns}, NULL);
}

const struct io *io_posix(void)
{
    static const struct io io = {
        .open = posix_open,
        .close = posix_close,
        .pread = posix_pread,
        .pwritev = posix_pwritev,
        .fdatasync = posix_fdatasync,
        .fsync = posix_fsync,
        .fallocate = posix_fallocate_,
        .ftruncate = posix_ftruncate,
        .size = posix_size,
        .drop_cache = posix_drop_cache,
        .will_read = posix_will_read,
        .lock = posix_lock,
        .rename = posix_rename,
        .unlink = posix_unlink,
        .mkdir = posix_mkdir,
        .sync_dir = posix_sync_dir,
        .list = posix_list,
        .free_bytes = posix_free_bytes,
        .map = posix_map,
        .unmap = posix_unmap,
        .random = posix_random,
        .pause = posix_pause,
    };
    return &io;
}
