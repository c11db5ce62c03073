/* SPDX-License-Identifier: Apache-2.0 */
/* Recovery and cursors over hostile segments.
 *
 * The first byte says what the rest is: bit 0: patches on a good log instead of a raw second
 * segment; bit 1: checksums are made right again afterwards, so that the checks behind them are
 * reached; bit 2: read only. A patch is u16 offset in 8-byte units, u8 length, bytes.
 *
 * Must hold: no crash; a log that opens gives the same when opened again, and can be appended to.
 */
#include "tests/lib/fakedisk.h"

#include "base/crc32c.h"
#include "base/le.h"
#include "base/log.h"
#include "base/magic.h"
#include "wal/format.h"
#include "wal/wal.h"

#include <stddef.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SEG_BYTES (64 * KIB)
#define LAST      9u

static struct wal_options options = {.path = "w", .segment_size_bytes = SEG_BYTES};

static int add(struct wal *w, uint64_t index, uint64_t term)
{
    static const char text[9000];
    struct iovec part = {(void *)(uintptr_t)text, index % 4 == 0 ? sizeof(text) : index * 31};
    struct wal_entry en = {.type = index % 3 == 0 ? WAL_MEMBERSHIP : WAL_CONTROL,
                           .index = index,
                           .term = term,
                           .parts = &part,
                           .part_count = 1};

    return wal_append(w, &en);
}

static void template_make(struct fakedisk *d)
{
    struct wal *w;
    struct err e;

    must(wal_open(&w, fakedisk_io(d), &options, NULL, &e) == 0);
    must(wal_prepare(w, &e) == 0);
    for (uint64_t i = 1; i <= LAST; i++)
        must(add(w, i, 1) == 0 && (i % 3 != 0 || wal_sync(w, &e) == 0));
    wal_close(w);
}

static void patch(char *p, const uint8_t *data, size_t size)
{
    while (size >= 3) {
        size_t at = (size_t)le16_get(data) * 8 % SEG_BYTES, n = data[2];

        data += 3;
        size -= 3;
        n = n < size ? n : size;
        n = n < SEG_BYTES - at ? n : SEG_BYTES - at;
        memcpy(p + at, data, n);
        data += n;
        size -= n;
    }
}

static uint32_t placed(uint32_t seed, uint64_t offset, const char *p, size_t n)
{
    char b[8];

    le64_put(b, offset);
    return crc32c(crc32c(seed, b, sizeof(b)), p, n);
}

/* The entries of a DATA group: payload, entry head; returns the body CRC. */
static uint32_t repair_entries(char *p, uint32_t seed, uint64_t at, uint64_t end)
{
    uint32_t body = 0;

    while (at + WAL_ENTRY_HEAD_BYTES <= end) {
        uint64_t n = le32_get(p + at);

        if (n <= end - at - WAL_ENTRY_HEAD_BYTES)
            le32_put(p + at + 4, crc32c(0, p + at + WAL_ENTRY_HEAD_BYTES, (size_t)n));
        le32_put(p + at + 36, placed(seed, at, p + at, 36));
        body = crc32c(body, p + at, WAL_ENTRY_HEAD_BYTES);
        at += wal_entry_bytes(n);
    }
    return body;
}

static void repair(char *p)
{
    uint32_t seed = crc32c(0, p + 48, 8), prev = 0;

    seed = crc32c(seed, p + 40, 8);
    le32_put(p + 4092, crc32c(0, p, 4092));
    for (uint64_t at = WAL_HEAD_BYTES; at < SEG_BYTES; at += WAL_BLOCK_BYTES) {
        uint64_t n = le32_get(p + at + 40);

        if (le32_get(p + at) != 0x50524757u || n < WAL_GROUP_HEAD_BYTES || n > SEG_BYTES - at)
            continue;
        le32_put(p + at + 52, p[at + 4] == 0
                                  ? repair_entries(p, seed, at + WAL_GROUP_HEAD_BYTES, at + n)
                                  : crc32c(0, p + at + WAL_GROUP_HEAD_BYTES,
                                           (size_t)(n - WAL_GROUP_HEAD_BYTES)));
        le32_put(p + at + 48, prev);
        prev = placed(seed, at, p + at, 60);
        le32_put(p + at + 60, prev);
    }
}

static void read_all(struct wal *w)
{
    struct wal_cursor *c;
    struct wal_view v;
    struct err e;
    volatile char sum = 0;

    if (wal_cursor_open(&c, w, 0, &e) != 0)
        return;
    while (wal_cursor_next(c, &v, &e) == 0)
        for (size_t i = 0; i < v.payload.len + LIMIT_JSON_PADDING; i += 64)
            sum = (char)(sum + v.payload.ptr[i]);
    for (uint64_t i = 0; i < 12; i++)
        if (wal_cursor_seek(c, i, &e) == 0)
            (void)!wal_cursor_next(c, &v, &e); /* any answer will do */
    wal_cursor_close(c);
}

static void use_log(struct fakedisk *d)
{
    struct wal_recovery rep, again;
    struct wal *w;
    struct err e;
    int rc = wal_open(&w, fakedisk_io(d), &options, &rep, &e);

    if (rc != 0)
        return;
    if (!options.read_only)
        wal_commit(w, rep.last_index);
    read_all(w);
    fakedisk_stop_at(d, options.read_only ? 0 : 1);
    wal_close(w);
    fakedisk_restart(d, FAKEDISK_NONE);
    must(wal_open(&w, fakedisk_io(d), &options, &again, &e) == 0);
    must(again.last_index == rep.last_index && again.first_index == rep.first_index);
    if (!options.read_only && rep.last_index < UINT64_MAX / 2) {
        rc = add(w, rep.last_index + 1, UINT64_MAX);
        must(rc == 0 || rc == WH_EAGAIN || rc == WH_ELIMIT);
        must(wal_sync(w, &e) == 0);
    }
    wal_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fakedisk *d = fakedisk_new(3, 512);
    struct fakedisk_file f;
    uint8_t mode;

    if (size == 0) {
        fakedisk_free(d);
        return 0;
    }
    mode = data[0];
    data++;
    size--;
    log_configure((enum log_level)0, LOG_FORMAT_TEXT);
    options.read_only = false;
    template_make(d);
    must(fakedisk_file(
        d, mode & 1 ? "w/seg-00000000000000000001.wal" : "w/seg-00000000000000000002.wal", &f));
    if (mode & 1)
        patch(f.image, data, size);
    else
        memcpy(f.image, data, size < SEG_BYTES ? size : SEG_BYTES);
    if (mode & 2)
        repair(f.image);
    fakedisk_restart(d, FAKEDISK_NONE);
    options.read_only = (mode & 4) != 0;
    use_log(d);
    fakedisk_free(d);
    return 0;
}
