/* SPDX-License-Identifier: Apache-2.0 */
/* A disk in memory that crashes, tears, fills up and fails.
 *
 *   view       what the running system shows: the page cache and the folder as it is
 *   image      what the platter has
 *   pending    every write, size change and name change since, in order
 *
 * A sync of a file applies its own pending items to the image; a sync of a folder applies name
 * changes. A crash decides for each pending item whether it reached the image: all of it, nothing,
 * or some of its sectors, the others old or garbage. A failed sync forgets the file's pending items
 * without writing them, and the view goes on showing the new bytes: what Linux does.
 *
 * Deterministic: the same seed and the same calls give the same result. One thread at a time,
 * except that mapped memory may be read by others. Files up to FAKEDISK_FILE_BYTES. */
#ifndef WH_TESTS_FAKEDISK_H
#define WH_TESTS_FAKEDISK_H

#include "io/io.h"

#include <stdbool.h>
#include <stdint.h>

#define FAKEDISK_FILE_BYTES ((uint64_t)128 << 10)

enum fakedisk_crash {
    FAKEDISK_NONE,   /* nothing pending reached the image */
    FAKEDISK_ALL,    /* everything did */
    FAKEDISK_PREFIX, /* everything up to a random item, that one in part */
    FAKEDISK_RANDOM, /* each item by itself: kept, lost, torn */
    FAKEDISK_KILL    /* only the process died: the view stays, pending stays pending */
};

enum fakedisk_call {
    FAKEDISK_WRITE = 1,
    FAKEDISK_SYNC = 2, /* fdatasync, fsync */
    FAKEDISK_SYNC_DIR = 4,
    FAKEDISK_NAME = 8,   /* create, rename, unlink, mkdir */
    FAKEDISK_SPACE = 16, /* fallocate, ftruncate */
    FAKEDISK_READ = 32,
    FAKEDISK_CHANGES = 31 /* all that can alter the disk */
};

struct fakedisk;

struct fakedisk *fakedisk_new(uint64_t seed, uint32_t sector_bytes);
void fakedisk_free(struct fakedisk *d);
const struct io *fakedisk_io(struct fakedisk *d);

/* Calls so far of the kinds that change something; the unit of the next two. */
uint64_t fakedisk_calls(const struct fakedisk *d);
/* Power fails at the nth call from now (1 is the next): what it writes becomes pending, and it and
 * all later calls answer -EIO until fakedisk_restart. 0: never. */
void fakedisk_stop_at(struct fakedisk *d, uint64_t n);
bool fakedisk_stopped(const struct fakedisk *d);
/* After a crash or the end of a process: handles are gone, calls work again. */
void fakedisk_restart(struct fakedisk *d, enum fakedisk_crash how);

/* The nth call from now of one of these kinds fails with code; a failing write is done in part, a
 * failing sync forgets what was pending; one that is partial wrote some of it first. Once. */
void fakedisk_fail(struct fakedisk *d, unsigned kinds, uint64_t n, int code, bool partial);
/* Bytes for file contents; -ENOSPC beyond. UINT64_MAX at first. */
void fakedisk_set_capacity(struct fakedisk *d, uint64_t bytes);

/* Direct access to a file's bytes, both view and image (for damage). NULL when there is none. */
struct fakedisk_file {
    char *view, *image;
    uint64_t size;
};
bool fakedisk_file(struct fakedisk *d, const char *path, struct fakedisk_file *out);
/* Put a file there, durable. */
void fakedisk_put(struct fakedisk *d, const char *path, const void *p, uint64_t n);
/* Remove it, durably. */
void fakedisk_remove(struct fakedisk *d, const char *path);
/* The next random number of the disk's own stream. */
uint64_t fakedisk_random(struct fakedisk *d);

#endif
