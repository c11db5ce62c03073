/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fakedisk.h"

#include "base/magic.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_CAP   96
#define NAMES_MAX  64
#define FDS_MAX    64
#define MAPPED_MAX 64

struct inode {
    char *view, *image; /* FAKEDISK_FILE_BYTES each, zero behind the size */
    uint64_t view_size, image_size;
    bool dir;
    struct inode *next; /* all inodes, until the disk is freed */
};

struct name {
    char path[NAME_CAP];
    struct inode *inode; /* NULL: free slot */
};

enum item_kind {
    ITEM_WRITE,
    ITEM_SIZE,
    ITEM_LINK,
    ITEM_UNLINK,
    ITEM_RENAME
};

struct item {
    enum item_kind kind;
    struct inode *inode; /* of a file item, or what is linked */
    uint64_t offset, n;  /* write; size in offset */
    char *data;
    char from[NAME_CAP], to[NAME_CAP];
    struct item *next;
};

struct fakedisk {
    struct io io;
    uint64_t rng;
    uint32_t sector_bytes;
    struct inode *inodes;
    struct name view[NAMES_MAX], image[NAMES_MAX];
    struct item *pending, **pending_end;
    struct inode *fds[FDS_MAX];
    uint64_t calls, stop_at;
    bool stopped;
    unsigned fail_kinds;
    uint64_t fail_in;
    int fail_code;
    bool fail_partial;
    uint64_t capacity;
};

uint64_t fakedisk_random(struct fakedisk *d)
{
    uint64_t z = (d->rng += 0x9e3779b97f4a7c15u); /* splitmix64 */

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* --- names ---------------------------------------------------------------------------------- */

static struct name *name_find(struct name *names, const char *path)
{
    for (size_t i = 0; i < NAMES_MAX; i++)
        if (names[i].inode != NULL && strcmp(names[i].path, path) == 0)
            return &names[i];
    return NULL;
}

static void name_unlink(struct name *names, const char *path)
{
    struct name *n = name_find(names, path);

    if (n != NULL)
        n->inode = NULL;
}

static void name_link(struct name *names, const char *path, struct inode *inode)
{
    name_unlink(names, path);
    for (size_t i = 0; i < NAMES_MAX; i++)
        if (names[i].inode == NULL) {
            (void)snprintf(names[i].path, NAME_CAP, "%s", path);
            names[i].inode = inode;
            return;
        }
    must(false && "fake disk: too many names");
}

/* A rename whose source never reached the image still carries its inode. */
static void item_apply_name(struct name *names, const struct item *it)
{
    if (it->kind == ITEM_LINK) {
        name_link(names, it->to, it->inode);
    } else if (it->kind == ITEM_UNLINK) {
        name_unlink(names, it->to);
    } else {
        name_unlink(names, it->from);
        name_link(names, it->to, it->inode);
    }
}

/* --- pending items -------------------------------------------------------------------------- */

static struct item *item_add(struct fakedisk *d, enum item_kind kind, struct inode *inode)
{
    struct item *it = calloc(1, sizeof(*it));

    must(it != NULL);
    it->kind = kind;
    it->inode = inode;
    *d->pending_end = it;
    d->pending_end = &it->next;
    return it;
}

static bool item_is_name(const struct item *it)
{
    return it->kind >= ITEM_LINK;
}

static void image_write(struct inode *inode, const char *p, uint64_t n, uint64_t offset)
{
    memcpy(inode->image + offset, p, (size_t)n);
    if (offset + n > inode->image_size)
        inode->image_size = offset + n;
}

static void item_apply(struct fakedisk *d, const struct item *it)
{
    if (item_is_name(it)) {
        item_apply_name(d->image, it);
    } else if (it->kind == ITEM_SIZE) {
        if (it->offset < it->inode->image_size)
            memset(it->inode->image + it->offset, 0, (size_t)(it->inode->image_size - it->offset));
        it->inode->image_size = it->offset;
    } else {
        image_write(it->inode, it->data, it->n, it->offset);
    }
}

/* Each sector by itself: new, old, or (rarely) garbage. Names and sizes: done or not. */
static void item_apply_torn(struct fakedisk *d, const struct item *it)
{
    bool garbage_used = false;

    if (it->kind != ITEM_WRITE) {
        if (fakedisk_random(d) & 1)
            item_apply(d, it);
        return;
    }
    for (uint64_t at = 0; at < it->n; at += d->sector_bytes) {
        uint64_t n = it->n - at < d->sector_bytes ? it->n - at : d->sector_bytes;
        uint64_t dice = fakedisk_random(d) % 16;

        if (dice < 8) {
            image_write(it->inode, it->data + at, n, it->offset + at);
        } else if (dice == 8 && !garbage_used) {
            garbage_used = true;
            for (uint64_t i = 0; i < n; i++)
                it->data[at + i] = (char)fakedisk_random(d);
            image_write(it->inode, it->data + at, n, it->offset + at);
        }
    }
}

static void item_free(struct item *it)
{
    free(it->data);
    free(it);
}

/* Take the items of inode (or, with NULL, the name changes) out of the list, applying them or not.
 */
static void settle(struct fakedisk *d, const struct inode *inode, bool apply, bool torn)
{
    struct item **at = &d->pending;

    while (*at != NULL) {
        struct item *it = *at;

        if (inode != NULL ? item_is_name(it) || it->inode != inode : !item_is_name(it)) {
            at = &it->next;
            continue;
        }
        if (apply)
            item_apply(d, it);
        else if (torn)
            item_apply_torn(d, it);
        *at = it->next;
        item_free(it);
    }
    d->pending_end = at;
}

static bool has_pending(const struct fakedisk *d, const struct inode *inode)
{
    for (const struct item *it = d->pending; it != NULL; it = it->next)
        if (!item_is_name(it) && it->inode == inode)
            return true;
    return false;
}

/* --- faults --------------------------------------------------------------------------------- */

enum verdict {
    GO,
    STOP,
    FAIL
};

/* What happens to this call. STOP: it is the one at which power fails. */
static enum verdict call_enter(struct fakedisk *d, unsigned kind)
{
    if (d->fail_in > 0 && (d->fail_kinds & kind) != 0 && --d->fail_in == 0)
        return FAIL;
    if ((kind & FAKEDISK_CHANGES) == 0)
        return GO;
    d->calls++;
    if (d->stop_at > 0 && --d->stop_at == 0) {
        d->stopped = true;
        return STOP;
    }
    return GO;
}

#define DISK(ctx) ((struct fakedisk *)(ctx))

static struct inode *fd_inode(struct fakedisk *d, int fd)
{
    must(fd >= 0 && fd < FDS_MAX && d->fds[fd] != NULL);
    return d->fds[fd];
}

static uint64_t bytes_used(const struct fakedisk *d)
{
    uint64_t n = 0;

    for (size_t i = 0; i < NAMES_MAX; i++)
        if (d->view[i].inode != NULL)
            n += d->view[i].inode->view_size;
    return n;
}

/* --- the table ------------------------------------------------------------------------------ */

static struct inode *inode_new(struct fakedisk *d)
{
    struct inode *inode = calloc(1, sizeof(*inode));

    must(inode != NULL);
    inode->view = calloc(1, FAKEDISK_FILE_BYTES);
    inode->image = calloc(1, FAKEDISK_FILE_BYTES);
    must(inode->view != NULL && inode->image != NULL);
    inode->next = d->inodes;
    d->inodes = inode;
    return inode;
}

static int fake_truncate(struct fakedisk *d, struct inode *inode, uint64_t size)
{
    if (size > FAKEDISK_FILE_BYTES)
        return -EFBIG;
    if (size > inode->view_size && bytes_used(d) + size - inode->view_size > d->capacity)
        return -ENOSPC;
    if (size < inode->view_size)
        memset(inode->view + size, 0, (size_t)(inode->view_size - size));
    inode->view_size = size;
    item_add(d, ITEM_SIZE, inode)->offset = size;
    return 0;
}

static int fake_open(void *ctx, const char *path, unsigned flags)
{
    struct fakedisk *d = DISK(ctx);
    struct name *n = name_find(d->view, path);
    int fd = 0;

    if (d->stopped)
        return -EIO;
    if (n == NULL && (flags & IO_CREATE) == 0)
        return -ENOENT;
    if (n != NULL && (flags & IO_EXCL) != 0)
        return -EEXIST;
    while (fd < FDS_MAX && d->fds[fd] != NULL)
        fd++;
    must(fd < FDS_MAX);
    if (n == NULL) {
        enum verdict v = call_enter(d, FAKEDISK_NAME);
        struct inode *inode;

        if (v == FAIL)
            return d->fail_code;
        inode = inode_new(d);
        name_link(d->view, path, inode);
        (void)snprintf(item_add(d, ITEM_LINK, inode)->to, NAME_CAP, "%s", path);
        if (v == STOP)
            return -EIO;
        d->fds[fd] = inode;
        return fd;
    }
    if ((flags & IO_TRUNC) != 0 && n->inode->view_size > 0)
        (void)fake_truncate(d, n->inode, 0); /* shrinking cannot fail */
    d->fds[fd] = n->inode;
    return fd;
}

static int fake_close(void *ctx, int fd)
{
    struct fakedisk *d = DISK(ctx);

    must(fd >= 0 && fd < FDS_MAX);
    d->fds[fd] = NULL; /* already so after a restart */
    return 0;
}

static int fake_pread(void *ctx, int fd, void *p, size_t n, uint64_t offset, size_t *got)
{
    struct fakedisk *d = DISK(ctx);
    struct inode *inode = fd_inode(d, fd);

    if (d->stopped)
        return -EIO;
    if (call_enter(d, FAKEDISK_READ) == FAIL)
        return d->fail_code;
    *got = 0;
    if (offset < inode->view_size)
        *got = n < inode->view_size - offset ? n : (size_t)(inode->view_size - offset);
    memcpy(p, inode->view + offset, *got);
    return 0;
}

static int fake_pwritev(void *ctx, int fd, const struct iovec *iov, int count, uint64_t offset)
{
    struct fakedisk *d = DISK(ctx);
    struct inode *inode = fd_inode(d, fd);
    uint64_t n = 0, done = 0;
    enum verdict v;
    struct item *it;

    if (d->stopped)
        return -EIO;
    v = call_enter(d, FAKEDISK_WRITE);
    for (int i = 0; i < count; i++)
        n += iov[i].iov_len;
    must(offset + n <= FAKEDISK_FILE_BYTES);
    if (offset + n > inode->view_size &&
        bytes_used(d) + offset + n - inode->view_size > d->capacity)
        return -ENOSPC;
    it = item_add(d, ITEM_WRITE, inode);
    it->data = malloc((size_t)n + 1);
    must(it->data != NULL);
    for (int i = 0; i < count; i++) {
        memcpy(it->data + done, iov[i].iov_base, iov[i].iov_len);
        done += iov[i].iov_len;
    }
    if (v == FAIL)
        n = d->fail_partial ? n / 2 : 0;
    it->offset = offset;
    it->n = n;
    memcpy(inode->view + offset, it->data, (size_t)n);
    if (offset + n > inode->view_size)
        inode->view_size = offset + n;
    return v == GO ? 0 : v == STOP ? -EIO : d->fail_code;
}

static int fake_sync(void *ctx, int fd)
{
    struct fakedisk *d = DISK(ctx);
    struct inode *inode = fd_inode(d, fd);
    enum verdict v;

    if (d->stopped)
        return -EIO;
    v = call_enter(d, FAKEDISK_SYNC);
    if (v == STOP)
        return -EIO; /* what was on its way is decided by the crash */
    settle(d, inode, v == GO, v == FAIL && d->fail_partial);
    return v == GO ? 0 : d->fail_code;
}

static int fake_fallocate(void *ctx, int fd, uint64_t offset, uint64_t n)
{
    struct fakedisk *d = DISK(ctx);
    struct inode *inode = fd_inode(d, fd);
    enum verdict v;
    int rc = 0;

    if (d->stopped)
        return -EIO;
    v = call_enter(d, FAKEDISK_SPACE);
    if (v == FAIL)
        return d->fail_code;
    if (offset + n > inode->view_size)
        rc = fake_truncate(d, inode, offset + n);
    return v == STOP ? -EIO : rc;
}

static int fake_ftruncate(void *ctx, int fd, uint64_t size)
{
    struct fakedisk *d = DISK(ctx);
    enum verdict v;
    int rc;

    if (d->stopped)
        return -EIO;
    v = call_enter(d, FAKEDISK_SPACE);
    if (v == FAIL)
        return d->fail_code;
    rc = fake_truncate(d, fd_inode(d, fd), size);
    return v == STOP ? -EIO : rc;
}

static int fake_size(void *ctx, int fd, uint64_t *size)
{
    struct fakedisk *d = DISK(ctx);

    if (d->stopped)
        return -EIO;
    *size = fd_inode(d, fd)->view_size;
    return 0;
}

static int fake_will_read(void *ctx, int fd, uint64_t offset, uint64_t n)
{
    (void)ctx;
    (void)fd;
    (void)offset;
    (void)n;
    return 0;
}

static int fake_drop_cache(void *ctx, int fd)
{
    struct fakedisk *d = DISK(ctx);
    struct inode *inode = fd_inode(d, fd);

    if (d->stopped)
        return -EIO;
    if (!has_pending(d, inode)) {
        memcpy(inode->view, inode->image, FAKEDISK_FILE_BYTES);
        inode->view_size = inode->image_size;
    }
    return 0;
}

static int fake_lock(void *ctx, int fd)
{
    (void)fd_inode(DISK(ctx), fd);
    return DISK(ctx)->stopped ? -EIO : 0;
}

static int fake_rename(void *ctx, const char *from, const char *to)
{
    struct fakedisk *d = DISK(ctx);
    struct name *n = name_find(d->view, from);
    struct item *it;
    enum verdict v;

    if (d->stopped)
        return -EIO;
    if (n == NULL)
        return -ENOENT;
    v = call_enter(d, FAKEDISK_NAME);
    if (v == FAIL)
        return d->fail_code;
    it = item_add(d, ITEM_RENAME, n->inode);
    (void)snprintf(it->from, NAME_CAP, "%s", from);
    (void)snprintf(it->to, NAME_CAP, "%s", to);
    item_apply_name(d->view, it);
    return v == STOP ? -EIO : 0;
}

static int fake_unlink(void *ctx, const char *path)
{
    struct fakedisk *d = DISK(ctx);
    enum verdict v;

    if (d->stopped)
        return -EIO;
    if (name_find(d->view, path) == NULL)
        return -ENOENT;
    v = call_enter(d, FAKEDISK_NAME);
    if (v == FAIL)
        return d->fail_code;
    name_unlink(d->view, path);
    (void)snprintf(item_add(d, ITEM_UNLINK, NULL)->to, NAME_CAP, "%s", path);
    return v == STOP ? -EIO : 0;
}

static int fake_mkdir(void *ctx, const char *path)
{
    struct fakedisk *d = DISK(ctx);
    enum verdict v;
    struct inode *inode;

    if (d->stopped)
        return -EIO;
    if (name_find(d->view, path) != NULL)
        return -EEXIST;
    v = call_enter(d, FAKEDISK_NAME);
    if (v == FAIL)
        return d->fail_code;
    inode = inode_new(d);
    inode->dir = true;
    name_link(d->view, path, inode);
    (void)snprintf(item_add(d, ITEM_LINK, inode)->to, NAME_CAP, "%s", path);
    return v == STOP ? -EIO : 0;
}

static int fake_sync_dir(void *ctx, const char *path)
{
    struct fakedisk *d = DISK(ctx);
    enum verdict v;

    (void)path; /* tests use one folder: all name changes settle together */
    if (d->stopped)
        return -EIO;
    v = call_enter(d, FAKEDISK_SYNC_DIR);
    if (v == STOP)
        return -EIO;
    if (v == FAIL)
        return d->fail_code;
    settle(d, NULL, true, false);
    return 0;
}

static int fake_list(void *ctx, const char *path, io_list_fn fn, void *arg)
{
    struct fakedisk *d = DISK(ctx);
    size_t len = strlen(path);
    int rc = 0;

    if (d->stopped)
        return -EIO;
    if (name_find(d->view, path) == NULL)
        return -ENOENT;
    for (size_t i = 0; i < NAMES_MAX && rc == 0; i++)
        if (d->view[i].inode != NULL && strncmp(d->view[i].path, path, len) == 0 &&
            d->view[i].path[len] == '/')
            rc = fn(arg, d->view[i].path + len + 1);
    return rc;
}

static int fake_free_bytes(void *ctx, const char *path, uint64_t *bytes)
{
    struct fakedisk *d = DISK(ctx);
    uint64_t used = bytes_used(d);

    (void)path;
    if (d->stopped)
        return -EIO;
    *bytes = d->capacity > used ? d->capacity - used : 0;
    return 0;
}

static int fake_map(void *ctx, int fd, size_t n, _Atomic uint32_t *faults, const void **out)
{
    struct fakedisk *d = DISK(ctx);
    struct inode *inode = fd_inode(d, fd);

    if (d->stopped)
        return -EIO;
    if (n > FAKEDISK_FILE_BYTES)
        return -ENOMEM;
    if (call_enter(d, FAKEDISK_READ) == FAIL || n > inode->view_size)
        atomic_fetch_add(faults, 1); /* as if a page had faulted at once */
    *out = inode->view;
    return 0;
}

static void fake_unmap(void *ctx, const void *p, size_t n)
{
    (void)ctx;
    (void)p;
    (void)n;
}

static int fake_io_random(void *ctx, void *p, size_t n)
{
    char *at = p;

    for (size_t i = 0; i < n; i++)
        at[i] = (char)fakedisk_random(DISK(ctx));
    return 0;
}

static void fake_pause(void *ctx, uint64_t ns)
{
    (void)ctx;
    (void)ns;
}

/* --- outside -------------------------------------------------------------------------------- */

struct fakedisk *fakedisk_new(uint64_t seed, uint32_t sector_bytes)
{
    struct fakedisk *d = calloc(1, sizeof(*d));

    must(d != NULL);
    d->rng = seed;
    d->sector_bytes = sector_bytes;
    d->pending_end = &d->pending;
    d->capacity = UINT64_MAX;
    d->io = (struct io){.ctx = d,
                        .open = fake_open,
                        .close = fake_close,
                        .pread = fake_pread,
                        .pwritev = fake_pwritev,
                        .fdatasync = fake_sync,
                        .fsync = fake_sync,
                        .fallocate = fake_fallocate,
                        .ftruncate = fake_ftruncate,
                        .size = fake_size,
                        .drop_cache = fake_drop_cache,
                        .will_read = fake_will_read,
                        .lock = fake_lock,
                        .rename = fake_rename,
                        .unlink = fake_unlink,
                        .mkdir = fake_mkdir,
                        .sync_dir = fake_sync_dir,
                        .list = fake_list,
                        .free_bytes = fake_free_bytes,
                        .map = fake_map,
                        .unmap = fake_unmap,
                        .random = fake_io_random,
                        .pause = fake_pause};
    return d;
}

static void pending_clear(struct fakedisk *d)
{
    while (d->pending != NULL) {
        struct item *it = d->pending;

        d->pending = it->next;
        item_free(it);
    }
    d->pending_end = &d->pending;
}

void fakedisk_free(struct fakedisk *d)
{
    pending_clear(d);
    while (d->inodes != NULL) {
        struct inode *inode = d->inodes;

        d->inodes = inode->next;
        free(inode->view);
        free(inode->image);
        free(inode);
    }
    free(d);
}

const struct io *fakedisk_io(struct fakedisk *d)
{
    return &d->io;
}

uint64_t fakedisk_calls(const struct fakedisk *d)
{
    return d->calls;
}

void fakedisk_stop_at(struct fakedisk *d, uint64_t n)
{
    d->stop_at = n;
}

bool fakedisk_stopped(const struct fakedisk *d)
{
    return d->stopped;
}

void fakedisk_fail(struct fakedisk *d, unsigned kinds, uint64_t n, int code, bool partial)
{
    d->fail_kinds = kinds;
    d->fail_in = n;
    d->fail_code = code;
    d->fail_partial = partial;
}

void fakedisk_set_capacity(struct fakedisk *d, uint64_t bytes)
{
    d->capacity = bytes;
}

static void crash_items(struct fakedisk *d, enum fakedisk_crash how)
{
    uint64_t count = 0, cut, i = 0;

    for (const struct item *it = d->pending; it != NULL; it = it->next)
        count++;
    cut = count > 0 ? fakedisk_random(d) % count : 0;
    for (const struct item *it = d->pending; it != NULL; it = it->next, i++) {
        if (how == FAKEDISK_ALL || (how == FAKEDISK_PREFIX && i < cut))
            item_apply(d, it);
        else if (how == FAKEDISK_PREFIX && i == cut)
            item_apply_torn(d, it);
        else if (how == FAKEDISK_RANDOM && fakedisk_random(d) % 3 == 0)
            item_apply(d, it);
        else if (how == FAKEDISK_RANDOM && fakedisk_random(d) % 2 == 0)
            item_apply_torn(d, it);
    }
}

void fakedisk_restart(struct fakedisk *d, enum fakedisk_crash how)
{
    d->stopped = false;
    d->stop_at = 0;
    d->fail_in = 0;
    memset(d->fds, 0, sizeof(d->fds));
    if (how == FAKEDISK_KILL)
        return;
    crash_items(d, how);
    pending_clear(d);
    memcpy(d->view, d->image, sizeof(d->view));
    for (struct inode *inode = d->inodes; inode != NULL; inode = inode->next) {
        uint64_t n = inode->view_size > inode->image_size ? inode->view_size : inode->image_size;

        memcpy(inode->view, inode->image, (size_t)n);
        inode->view_size = inode->image_size;
    }
}

bool fakedisk_file(struct fakedisk *d, const char *path, struct fakedisk_file *out)
{
    struct name *n = name_find(d->view, path);

    if (n == NULL)
        return false;
    *out = (struct fakedisk_file){n->inode->view, n->inode->image, n->inode->view_size};
    return true;
}

void fakedisk_put(struct fakedisk *d, const char *path, const void *p, uint64_t n)
{
    struct inode *inode = inode_new(d);

    must(n <= FAKEDISK_FILE_BYTES);
    if (n > 0) {
        memcpy(inode->view, p, (size_t)n);
        memcpy(inode->image, p, (size_t)n);
    }
    inode->view_size = inode->image_size = n;
    name_link(d->view, path, inode);
    name_link(d->image, path, inode);
}

void fakedisk_remove(struct fakedisk *d, const char *path)
{
    name_unlink(d->view, path);
    name_unlink(d->image, path);
}
