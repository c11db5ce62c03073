/* SPDX-License-Identifier: Apache-2.0 */
/* A file of ids with hostile bytes: head and chunks are refused, or lie inside the file. The first
 * eight bytes choose where in a file the rest is said to lie. */
#include "dedupe/bucket.h"

#include "base/le.h"
#include "base/magic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t sum;

static void walk(struct slice bytes, uint64_t seq, uint64_t offset)
{
    struct dedupe_chunk c;
    size_t length;

    while (dedupe_chunk_get(bytes, seq, offset, &c, &length) == 0) {
        must(length >= DEDUPE_CHUNK_HEAD_BYTES && length <= bytes.len);
        must(c.ids == (const uint8_t *)bytes.ptr + DEDUPE_CHUNK_HEAD_BYTES);
        must((size_t)c.count * DEDUPE_ID_BYTES == length - DEDUPE_CHUNK_HEAD_BYTES);
        for (size_t i = 0; i < (size_t)c.count * DEDUPE_ID_BYTES; i++)
            sum += c.ids[i];
        bytes.ptr += length;
        bytes.len -= length;
        offset += length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = {(const char *)data, size};
    struct dedupe_bucket_head head;

    if (dedupe_bucket_head_get(bytes, &head) == 0)
        walk((struct slice){bytes.ptr + DEDUPE_BUCKET_HEAD_BYTES, size - DEDUPE_BUCKET_HEAD_BYTES},
             head.seq, DEDUPE_BUCKET_HEAD_BYTES);
    if (size >= 8)
        walk((struct slice){bytes.ptr + 8, size - 8}, le32_get(data), le32_get(data + 4));
    return 0;
}
