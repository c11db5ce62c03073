/* SPDX-License-Identifier: Apache-2.0 */
/* Files as a table of functions, so that a test can put a disk underneath that crashes, tears and
 * fails (tests/lib/fakedisk.h).
 *
 *   wal/, store/  ──►  struct io  ──►  io_posix()      the real file system
 *                                 └─►  fakedisk_io()   memory; a crash decides what was kept
 *
 * Every function answers 0 (open: a handle ≥ 0) or -errno. EINTR and short transfers are handled
 * here and nowhere else: a short write is continued, and any error is reported, never retried.
 * After a failed pwritev, fdatasync or fsync the content of the written range is unknown: the
 * kernel may show the new bytes and yet have forgotten that they are not on the disk.
 *
 * What a crash keeps: bytes covered by a later successful fdatasync/fsync of the file, names
 * covered by a later successful sync_dir of their folder. Everything else may be kept, lost or
 * torn, in any combination and order.
 *
 * Any thread; a handle may be used by several threads at a time, except close. */
#ifndef WH_IO_IO_H
#define WH_IO_IO_H

#include "base/err.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* io.open flags */
enum {
    IO_READ = 1,   /* read only */
    IO_WRITE = 2,  /* read and write */
    IO_CREATE = 4, /* make it when missing, mode 0600 */
    IO_EXCL = 8,   /* with IO_CREATE: -EEXIST when present */
    IO_TRUNC = 16  /* empty it */
};

/* Most pieces in one pwritev. */
#define IO_IOV_MAX 16

/* Mappings that the SIGBUS guard can watch at a time; map answers -ENFILE beyond. */
#define IO_GUARD_MAX 1024

/* One name of a folder. A value other than 0 ends the listing and is its result. */
typedef int (*io_list_fn)(void *arg, const char *name);

struct io {
    void *ctx; /* first argument of each function */

    int (*open)(void *ctx, const char *path, unsigned flags);
    int (*close)(void *ctx, int fd);
    /* Up to n bytes from offset; fewer only at the end of the file. */
    int (*pread)(void *ctx, int fd, void *p, size_t n, uint64_t offset, size_t *got);
    /* All pieces to offset (count ≤ IO_IOV_MAX), or an error with an unknown part written. */
    int (*pwritev)(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset);
    int (*fdatasync)(void *ctx, int fd); /* blocks: device */
    int (*fsync)(void *ctx, int fd);     /* blocks: device */
    /* Reserve blocks for [offset, offset + n) and grow the file to hold them. */
    int (*fallocate)(void *ctx, int fd, uint64_t offset, uint64_t n);
    int (*ftruncate)(void *ctx, int fd, uint64_t size);
    int (*size)(void *ctx, int fd, uint64_t *size);
    /* Forget cached pages that the kernel believes clean, so that the next read comes from the
     * device: after a failed sync of an earlier process the cache shows what the disk does not
     * have. Advice: a page that is mapped by somebody else stays. */
    int (*drop_cache)(void *ctx, int fd);
    /* Begin to read this part into the cache; does not wait for the device. Advice. */
    int (*will_read)(void *ctx, int fd, uint64_t offset, uint64_t n);
    /* Exclusive lock for as long as the handle is open; -EWOULDBLOCK when another process has it.
     */
    int (*lock)(void *ctx, int fd);

    int (*rename)(void *ctx, const char *from, const char *to); /* replaces to */
    int (*unlink)(void *ctx, const char *path);
    int (*mkdir)(void *ctx, const char *path); /* mode 0700 */
    int (*sync_dir)(void *ctx, const char *path);
    /* Every name in the folder except "." and "..", in no order. */
    int (*list)(void *ctx, const char *path, io_list_fn fn, void *arg);
    /* Bytes that this process may still allocate on the folder's file system. */
    int (*free_bytes)(void *ctx, const char *path, uint64_t *bytes);

    /* Map n bytes from the start of the file, shared, read only. A page that cannot be read (the
     * file was cut, or the device failed) reads as zeros instead of killing the process, and
     * *faults grows by one: compare it before and after. faults must live until unmap. */
    int (*map)(void *ctx, int fd, size_t n, _Atomic uint32_t *faults, const void **out);
    void (*unmap)(void *ctx, const void *p, size_t n);

    int (*random)(void *ctx, void *p, size_t n);

    /* Sleep, to leave the device to others: less than a second; a signal may end it early. */
    void (*pause)(void *ctx, uint64_t ns);
};

/* The real thing. Static; never fails. */
const struct io *io_posix(void);

#endif
