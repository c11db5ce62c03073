/* SPDX-License-Identifier: Apache-2.0 */
#include "dedupe/bucket.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "base/magic.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define BUCKET_MAGIC "WHDEDUPE"
#define CHUNK_MAGIC  0x4b4e4843u
#define NAME_SUFFIX  ".ids"
#define NAME_DIGITS  16

enum {
    B_MAGIC = 0,
    B_VERSION = 8, /* four zero bytes follow */
    B_SEQ = 16,
    B_LOG_ID = 24,
    B_KEY = 40, /* four zero bytes follow */
    B_CRC = 60  /* of all before it */
};
enum {
    C_MAGIC = 0,
    C_COUNT = 4,
    C_THROUGH = 8,
    C_FIRST = 16,
    C_LAST = 24,
    C_IDS_CRC = 32, /* eight zero bytes follow */
    C_CRC = 44      /* of seq, offset, and all before it */
};
_Static_assert(B_CRC + 4 == DEDUPE_BUCKET_HEAD_BYTES, "head");
_Static_assert(C_CRC + 4 == DEDUPE_CHUNK_HEAD_BYTES, "chunk head");

#define CHUNK_BYTES_MAX (DEDUPE_CHUNK_HEAD_BYTES + (size_t)DEDUPE_CHUNK_IDS_MAX * DEDUPE_ID_BYTES)
#define READ_BYTES      (2 * CHUNK_BYTES_MAX)

/* ---- formats ---- */

static void head_put(char p[DEDUPE_BUCKET_HEAD_BYTES], const struct dedupe_bucket_head *h)
{
    memset(p, 0, DEDUPE_BUCKET_HEAD_BYTES);
    memcpy(p + B_MAGIC, BUCKET_MAGIC, 8);
    le32_put(p + B_VERSION, DEDUPE_BUCKET_VERSION);
    le64_put(p + B_SEQ, h->seq);
    memcpy(p + B_LOG_ID, h->log_id, sizeof(h->log_id));
    memcpy(p + B_KEY, h->key.bytes, sizeof(h->key.bytes));
    le32_put(p + B_CRC, crc32c(0, p, B_CRC));
}

int dedupe_bucket_head_get(struct slice bytes, struct dedupe_bucket_head *out)
{
    const char *p = bytes.ptr;
    if (bytes.len < DEDUPE_BUCKET_HEAD_BYTES || memcmp(p + B_MAGIC, BUCKET_MAGIC, 8) != 0 ||
        le32_get(p + B_VERSION) != DEDUPE_BUCKET_VERSION ||
        le32_get(p + B_CRC) != crc32c(0, p, B_CRC))
        return WH_ECORRUPT;
    out->seq = le64_get(p + B_SEQ);
    memcpy(out->log_id, p + B_LOG_ID, sizeof(out->log_id));
    memcpy(out->key.bytes, p + B_KEY, sizeof(out->key.bytes));
    return 0;
}

/* Seeded with where it lies: a chunk that strayed in from elsewhere fails. */
static uint32_t chunk_crc(const char *p, uint64_t seq, uint64_t offset)
{
    char place[16];
    le64_put(place, seq);
    le64_put(place + 8, offset);
    return crc32c(crc32c(0, place, sizeof(place)), p, C_CRC);
}

static void chunk_head_put(char p[DEDUPE_CHUNK_HEAD_BYTES], const struct dedupe_chunk *c,
                           uint64_t seq, uint64_t offset)
{
    memset(p, 0, DEDUPE_CHUNK_HEAD_BYTES);
    le32_put(p + C_MAGIC, CHUNK_MAGIC);
    le32_put(p + C_COUNT, c->count);
    le64_put(p + C_THROUGH, c->through);
    le64_put(p + C_FIRST, c->first_ns);
    le64_put(p + C_LAST, c->last_ns);
    le32_put(p + C_IDS_CRC, crc32c(0, c->ids, (size_t)c->count * DEDUPE_ID_BYTES));
    le32_put(p + C_CRC, chunk_crc(p, seq, offset));
}

int dedupe_chunk_get(struct slice bytes, uint64_t seq, uint64_t offset, struct dedupe_chunk *out,
                     size_t *length)
{
    const char *p = bytes.ptr;
    if (bytes.len < DEDUPE_CHUNK_HEAD_BYTES || le32_get(p + C_MAGIC) != CHUNK_MAGIC ||
        le32_get(p + C_CRC) != chunk_crc(p, seq, offset))
        return WH_ECORRUPT;
    uint32_t count = le32_get(p + C_COUNT);
    size_t ids_bytes = (size_t)count * DEDUPE_ID_BYTES;
    if (count > DEDUPE_CHUNK_IDS_MAX || ids_bytes > bytes.len - DEDUPE_CHUNK_HEAD_BYTES ||
        le32_get(p + C_IDS_CRC) != crc32c(0, p + DEDUPE_CHUNK_HEAD_BYTES, ids_bytes))
        return WH_ECORRUPT;
    *out = (struct dedupe_chunk){.count = count,
                                 .through = le64_get(p + C_THROUGH),
                                 .first_ns = le64_get(p + C_FIRST),
                                 .last_ns = le64_get(p + C_LAST),
                                 .ids = (const uint8_t *)p + DEDUPE_CHUNK_HEAD_BYTES};
    *length = DEDUPE_CHUNK_HEAD_BYTES + ids_bytes;
    return 0;
}

/* ---- writing ---- */

void dedupe_bucket_path(const char *dir, uint64_t seq, char path[DEDUPE_PATH_CAP])
{
    (void)snprintf(path, DEDUPE_PATH_CAP, "%s/%016" PRIx64 NAME_SUFFIX, dir, seq);
}

static int failed(struct dedupe_bucket *b, int rc, const char *what, const char *path,
                  struct err *e)
{
    dedupe_bucket_close(b);
    return err_set_errno(e, rc, "%s %s", what, path);
}

/* Durable: the log is trimmed in the belief that the files are there. */
static int folder_make(const struct io *io, const char *dir)
{
    char parent[DEDUPE_PATH_CAP];
    int rc = io->mkdir(io->ctx, dir);
    if (rc != 0)
        return rc == -EEXIST ? 0 : rc;
    (void)snprintf(parent, sizeof(parent), "%s", dir);
    char *slash = strrchr(parent, '/');
    if (slash == NULL || slash == parent)
        return 0;
    *slash = '\0';
    return io->sync_dir(io->ctx, parent);
}

int dedupe_bucket_create(struct dedupe_bucket *b, const struct io *io, const char *dir,
                         const struct dedupe_bucket_head *head, struct err *e)
{
    char path[DEDUPE_PATH_CAP], bytes[DEDUPE_BUCKET_HEAD_BYTES];
    *b = (struct dedupe_bucket){.io = io, .fd = -1, .seq = head->seq, .end = sizeof(bytes)};
    dedupe_bucket_path(dir, head->seq, path);
    int rc = folder_make(io, dir);
    if (rc != 0)
        return failed(b, rc, "making folder", dir, e);
    rc = b->fd = io->open(io->ctx, path, IO_WRITE | IO_CREATE | IO_TRUNC);
    if (rc < 0)
        return failed(b, rc, "making", path, e);
    head_put(bytes, head);
    struct iovec piece = {bytes, sizeof(bytes)};
    rc = io->pwritev(io->ctx, b->fd, &piece, 1, 0);
    if (rc == 0)
        rc = io->fdatasync(io->ctx, b->fd);
    if (rc == 0)
        rc = io->sync_dir(io->ctx, dir);
    return rc == 0 ? 0 : failed(b, rc, "writing", path, e);
}

int dedupe_bucket_reopen(struct dedupe_bucket *b, const struct io *io, const char *dir,
                         uint64_t seq, uint64_t end, struct err *e)
{
    char path[DEDUPE_PATH_CAP];
    *b = (struct dedupe_bucket){.io = io, .fd = -1, .seq = seq, .end = end};
    dedupe_bucket_path(dir, seq, path);
    int rc = b->fd = io->open(io->ctx, path, IO_WRITE);
    if (rc < 0)
        return failed(b, rc, "opening", path, e);
    rc = io->ftruncate(io->ctx, b->fd, end);
    if (rc == 0)
        rc = io->fdatasync(io->ctx, b->fd);
    return rc == 0 ? 0 : failed(b, rc, "cutting", path, e);
}

int dedupe_bucket_append(struct dedupe_bucket *b, const struct dedupe_chunk *chunk, struct err *e)
{
    char head[DEDUPE_CHUNK_HEAD_BYTES];
    size_t ids_bytes = (size_t)chunk->count * DEDUPE_ID_BYTES;
    must(b->fd >= 0 && chunk->count <= DEDUPE_CHUNK_IDS_MAX);
    chunk_head_put(head, chunk, b->seq, b->end);
    struct iovec pieces[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)chunk->ids, ids_bytes}};
    int rc = b->io->pwritev(b->io->ctx, b->fd, pieces, ids_bytes > 0 ? 2 : 1, b->end);
    if (rc != 0)
        return err_set_errno(e, rc, "writing ids");
    b->end += sizeof(head) + ids_bytes;
    return 0;
}

int dedupe_bucket_sync(struct dedupe_bucket *b, struct err *e)
{
    int rc = b->io->fdatasync(b->io->ctx, b->fd);
    return rc == 0 ? 0 : err_set_errno(e, rc, "syncing ids");
}

void dedupe_bucket_close(struct dedupe_bucket *b)
{
    if (b->fd >= 0)
        (void)b->io->close(b->io->ctx, b->fd); /* what counts was synced */
    b->fd = -1;
}

/* ---- reading ---- */

struct reading {
    const struct io *io;
    int fd;
    struct buf *scratch; /* the file's bytes from offset at - used */
    size_t used;         /* of them were looked at */
    uint64_t at;
    bool end; /* the file has no more */
};

static struct slice unread(const struct reading *r)
{
    if (r->scratch->len == r->used)
        return (struct slice){"", 0};
    return (struct slice){r->scratch->ptr + r->used, r->scratch->len - r->used};
}

/* Have n bytes from offset r->at + skip on, or what is left of the file. What is there moves only
 * when more is read: chunks may be small and many. */
static int have(struct reading *r, size_t skip, size_t n)
{
    struct buf *b = r->scratch;
    r->used += skip;
    r->at += skip;
    if (b->len - r->used >= n || r->end)
        return 0;
    if (r->used > 0)
        memmove(b->ptr, b->ptr + r->used, b->len - r->used);
    b->len -= r->used;
    r->used = 0;
    size_t got = 0, want = READ_BYTES;
    if (buf_reserve(b, want) != 0)
        return -ENOMEM;
    int rc = r->io->pread(r->io->ctx, r->fd, b->ptr + b->len, want, r->at + b->len, &got);
    if (rc != 0)
        return rc;
    b->len += got;
    r->end = got < want;
    return 0;
}

static int read_chunks(struct reading *r, int (*each)(void *ctx, const struct dedupe_chunk *c),
                       void *ctx, struct dedupe_bucket_found *out)
{
    size_t length = DEDUPE_BUCKET_HEAD_BYTES;
    struct dedupe_chunk c;
    for (;;) {
        int rc = have(r, length, CHUNK_BYTES_MAX);
        if (rc != 0)
            return rc;
        out->good_bytes = r->at;
        out->whole = unread(r).len == 0;
        if (out->whole || dedupe_chunk_get(unread(r), out->head.seq, r->at, &c, &length) != 0)
            return 0;
        rc = each(ctx, &c);
        if (rc < 0)
            return rc;
        out->through = c.through;
        out->ids += c.count;
        if (c.count > 0 && (out->first_ns == 0 || c.first_ns < out->first_ns))
            out->first_ns = c.first_ns;
        if (c.count > 0 && c.last_ns > out->last_ns)
            out->last_ns = c.last_ns;
    }
}

int dedupe_bucket_read(const struct io *io, const char *dir, uint64_t seq, struct buf *scratch,
                       int (*each)(void *ctx, const struct dedupe_chunk *c), void *ctx,
                       struct dedupe_bucket_found *out, struct err *e)
{
    char path[DEDUPE_PATH_CAP];
    struct reading r = {.io = io, .scratch = scratch};
    *out = (struct dedupe_bucket_found){0};
    buf_reset(scratch);
    dedupe_bucket_path(dir, seq, path);
    int rc = r.fd = io->open(io->ctx, path, IO_READ);
    if (rc < 0)
        return err_set_errno(e, rc, "opening %s", path);
    rc = have(&r, 0, CHUNK_BYTES_MAX);
    if (rc == 0 && dedupe_bucket_head_get(buf_slice(scratch), &out->head) == 0 &&
        out->head.seq == seq)
        rc = read_chunks(&r, each, ctx, out);
    (void)io->close(io->ctx, r.fd); /* only read */
    return rc == 0 ? 0 : err_set_errno(e, rc, "reading %s", path);
}

int dedupe_bucket_peek(const struct io *io, const char *dir, uint64_t seq,
                       struct dedupe_bucket_head *out)
{
    char path[DEDUPE_PATH_CAP], bytes[DEDUPE_BUCKET_HEAD_BYTES];
    size_t got = 0;
    dedupe_bucket_path(dir, seq, path);
    int fd = io->open(io->ctx, path, IO_READ);
    if (fd < 0)
        return fd;
    int rc = io->pread(io->ctx, fd, bytes, sizeof(bytes), 0, &got);
    (void)io->close(io->ctx, fd); /* only read */
    return rc == 0 ? dedupe_bucket_head_get((struct slice){bytes, got}, out) : rc;
}

struct listing {
    struct buf *out;
};

static int list_name(void *arg, const char *name)
{
    struct listing *l = arg;
    char canonical[NAME_DIGITS + sizeof(NAME_SUFFIX)];
    char *end;
    if (strlen(name) != sizeof(canonical) - 1)
        return 0;
    uint64_t seq = strtoull(name, &end, 16);
    (void)snprintf(canonical, sizeof(canonical), "%016" PRIx64 NAME_SUFFIX, seq);
    if (strcmp(name, canonical) == 0)
        buf_put_le64(l->out, seq);
    return 0;
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = le64_get(a), y = le64_get(b);
    return x < y ? -1 : x > y;
}

int dedupe_bucket_list(const struct io *io, const char *dir, struct buf *out, struct err *e)
{
    struct listing l = {.out = out};
    buf_reset(out);
    int rc = io->list(io->ctx, dir, list_name, &l);
    if (rc == -ENOENT)
        return 0;
    if (rc != 0)
        return err_set_errno(e, rc, "reading folder %s", dir);
    if (!buf_ok(out))
        return err_set(e, -ENOMEM, "reading folder %s: out of memory", dir);
    if (out->len > 0)
        qsort(out->ptr, out->len / sizeof(uint64_t), sizeof(uint64_t), by_number);
    return 0;
}
