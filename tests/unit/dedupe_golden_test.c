/* SPDX-License-Identifier: Apache-2.0 */
/* The files of ids, version 1: what was written once is read for ever, and written again byte for
 * byte. UPDATE_GOLDEN=1 writes the file anew, for a new version. */
#include "dedupe/bucket.h"
#include "tests/lib/tap.h"
#include "tests/lib/tmpdir.h"

#include <stdlib.h>

#define SEQ UINT64_C(0x1234)

static uint32_t chunks, ids;
static bool right;

static void id_make(uint32_t n, uint8_t id[DEDUPE_ID_BYTES])
{
    for (uint32_t i = 0; i < DEDUPE_ID_BYTES; i++)
        id[i] = (uint8_t)(n * 31 + i * 7 + 1);
}

static int on_chunk(void *ctx, const struct dedupe_chunk *c)
{
    (void)ctx;
    right = right && c->through == 100 + chunks * 10 && c->count == (chunks == 1 ? 0 : 5);
    right = right && c->first_ns == (c->count > 0 ? 1800000000000000000u + chunks : 0) &&
            c->last_ns == (c->count > 0 ? 1800000000000000009u + chunks : 0);
    for (uint32_t i = 0; i < c->count; i++) {
        uint8_t want[DEDUPE_ID_BYTES];
        id_make(ids++, want);
        right = right && memcmp(c->ids + i * DEDUPE_ID_BYTES, want, sizeof(want)) == 0;
    }
    chunks++;
    return 0;
}

static struct dedupe_bucket_head head_make(void)
{
    struct dedupe_bucket_head h = {.seq = SEQ};
    for (uint8_t i = 0; i < 16; i++) {
        h.log_id[i] = (uint8_t)(0xa0 + i);
        h.key.bytes[i] = (uint8_t)(0x50 + i);
    }
    return h;
}

static bool write_file(const char *dir)
{
    struct dedupe_bucket_head head = head_make();
    struct dedupe_bucket b;
    struct err e = {0};
    uint8_t bytes[5 * DEDUPE_ID_BYTES];
    uint32_t n = 0;
    bool fine = dedupe_bucket_create(&b, io_posix(), dir, &head, &e) == 0;
    for (uint32_t c = 0; c < 3 && fine; c++) {
        uint32_t count = c == 1 ? 0 : 5;
        for (uint32_t i = 0; i < count; i++)
            id_make(n++, bytes + i * DEDUPE_ID_BYTES);
        struct dedupe_chunk chunk = {count, 100 + c * 10, 0, 0, bytes};
        if (count > 0) {
            chunk.first_ns = 1800000000000000000u + c;
            chunk.last_ns = 1800000000000000009u + c;
        }
        fine = dedupe_bucket_append(&b, &chunk, &e) == 0;
    }
    fine = fine && dedupe_bucket_sync(&b, &e) == 0;
    dedupe_bucket_close(&b);
    return fine;
}

static size_t read_whole(const char *dir, char *out, size_t cap)
{
    char path[DEDUPE_PATH_CAP];
    dedupe_bucket_path(dir, SEQ, path);
    FILE *f = fopen(path, "rb");
    size_t n = f != NULL ? fread(out, 1, cap, f) : 0;
    if (f != NULL)
        (void)fclose(f);
    return n;
}

int main(void)
{
    static char golden[4096], written[4096];
    char dir[DEDUPE_PATH_CAP - 64], *tmp = tmpdir_make();
    const char *srcdir = getenv("srcdir");
    struct dedupe_bucket_found found;
    struct buf scratch;
    struct err e = {0};
    (void)snprintf(dir, sizeof(dir), "%s/tests/golden/dedupe-v1", srcdir != NULL ? srcdir : ".");
    if (getenv("UPDATE_GOLDEN") != NULL)
        ok(write_file(dir), "golden file written");
    buf_init(&scratch, SIZE_MAX);
    right = true;
    int rc = dedupe_bucket_read(io_posix(), dir, SEQ, &scratch, on_chunk, NULL, &found, &e);
    struct dedupe_bucket_head want = head_make();
    ok(rc == 0 && found.whole && memcmp(&found.head, &want, sizeof(want)) == 0,
       "the golden file is read to its end %s", e.text);
    ok(right && chunks == 3 && ids == 10, "with what was written");
    ok(found.through == 120 && found.ids == 10 && found.first_ns == 1800000000000000000u &&
           found.last_ns == 1800000000000000011u,
       "and its sums");
    buf_fini(&scratch);
    ok(write_file(tmp), "the same is written");
    size_t n = read_whole(dir, golden, sizeof(golden));
    is_mem(written, read_whole(tmp, written, sizeof(written)), golden, n, "byte for byte");
    tmpdir_remove(tmp);
    return tap_done();
}
