/* SPDX-License-Identifier: Apache-2.0 */
/* Ids on disk: a file per stretch of time, appended to, deleted as a whole (doc/dedupe.md).
 *
 *   DIR/<seq, 16 hexadecimal digits>.ids = head | chunk | chunk | …
 *   chunk = head {count, through, first_ns, last_ns, checksums} | count × 16 bytes
 *
 * through: the ids of every log entry up to it are in this chunk and those before it, in this file
 * and older ones. A chunk that fails its checks ends the file: what a crash tore is not there.
 *
 * Not thread-safe; blocks: disk. */
#ifndef WH_DEDUPE_BUCKET_H
#define WH_DEDUPE_BUCKET_H

#include "base/buf.h"
#include "base/err.h"
#include "dedupe/id.h"
#include "io/io.h"

#define DEDUPE_BUCKET_VERSION 1
#define DEDUPE_CHUNK_IDS_MAX  65536
#define DEDUPE_PATH_CAP       4096
#define DEDUPE_LOG_ID_BYTES   16 /* WAL_LOG_ID_BYTES */

struct dedupe_bucket_head {
    uint64_t seq; /* grows from file to file without a gap */
    uint8_t log_id[DEDUPE_LOG_ID_BYTES];
    struct dedupe_key key;
};
struct dedupe_chunk {
    uint32_t count;
    uint64_t through;
    uint64_t first_ns, last_ns; /* wall clock of the entries; 0 without ids */
    const uint8_t *ids;         /* count × DEDUPE_ID_BYTES */
};

/* Formats. bytes: what is there; offset: where in the file. 0 and the chunk's length in *length, or
 * WH_ECORRUPT. */
#define DEDUPE_BUCKET_HEAD_BYTES 64
#define DEDUPE_CHUNK_HEAD_BYTES  48
int dedupe_bucket_head_get(struct slice bytes, struct dedupe_bucket_head *out) WH_MUST_CHECK;
int dedupe_chunk_get(struct slice bytes, uint64_t seq, uint64_t offset, struct dedupe_chunk *out,
                     size_t *length) WH_MUST_CHECK;

/* A file being written. */
struct dedupe_bucket {
    const struct io *io;
    int fd; /* -1: none */
    uint64_t seq, end;
};
void dedupe_bucket_path(const char *dir, uint64_t seq, char path[DEDUPE_PATH_CAP]);
/* Make it; durable, name and head, when 0. */
int dedupe_bucket_create(struct dedupe_bucket *b, const struct io *io, const char *dir,
                         const struct dedupe_bucket_head *head, struct err *e) WH_MUST_CHECK;
/* Go on behind the first `end` bytes; what follows them is cut off. */
int dedupe_bucket_reopen(struct dedupe_bucket *b, const struct io *io, const char *dir,
                         uint64_t seq, uint64_t end, struct err *e) WH_MUST_CHECK;
/* Up to DEDUPE_CHUNK_IDS_MAX ids; durable after dedupe_bucket_sync. */
int dedupe_bucket_append(struct dedupe_bucket *b, const struct dedupe_chunk *chunk,
                         struct err *e) WH_MUST_CHECK;
int dedupe_bucket_sync(struct dedupe_bucket *b, struct err *e) WH_MUST_CHECK;
void dedupe_bucket_close(struct dedupe_bucket *b);

/* Only the head. WH_ECORRUPT, -errno. */
int dedupe_bucket_peek(const struct io *io, const char *dir, uint64_t seq,
                       struct dedupe_bucket_head *out) WH_MUST_CHECK;
/* What reading a file found. */
struct dedupe_bucket_found {
    struct dedupe_bucket_head head;
    uint64_t through, first_ns, last_ns, ids;
    uint64_t good_bytes; /* 0: not even the head */
    bool whole;          /* nothing follows them */
};
/* Read it from its start; each(chunk) < 0 ends it. Its failure, -errno, or 0 also when the file is
 * damaged: *out says so. */
int dedupe_bucket_read(const struct io *io, const char *dir, uint64_t seq, struct buf *scratch,
                       int (*each)(void *ctx, const struct dedupe_chunk *c), void *ctx,
                       struct dedupe_bucket_found *out, struct err *e) WH_MUST_CHECK;
/* Sequence numbers of the files in DIR, ascending, as u64 in out. A missing DIR has none. */
int dedupe_bucket_list(const struct io *io, const char *dir, struct buf *out,
                       struct err *e) WH_MUST_CHECK;

#endif
