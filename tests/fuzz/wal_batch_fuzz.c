/* SPDX-License-Identifier: Apache-2.0 */
/* A batch payload of hostile bytes: each view that the parser hands out lies inside the payload. */
#include "wal/batch.h"

#include "base/magic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct slice s, const char *p, size_t n)
{
    must(s.len == 0 || (s.ptr >= p && s.len <= n && (size_t)(s.ptr - p) <= n - s.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice payload = {(const char *)data, size};
    struct wal_batch b;
    struct err e;

    if (wal_batch_parse(payload, &b, &e) != 0)
        return 0;
    inside(b.table, payload.ptr, size);
    inside(b.sender, payload.ptr, size);
    inside(b.text, payload.ptr, size);
    inside(b.origin, payload.ptr, size);
    if (b.ids != NULL)
        inside((struct slice){b.ids, (size_t)b.count * WAL_BATCH_ID_BYTES}, payload.ptr, size);
    for (uint32_t i = 0; i < b.count; i++) {
        struct wal_batch_record r = wal_batch_get(&b, i);

        inside(r.text, b.text.ptr, b.text.len);
        must(r.text.ptr[r.text.len] == '\n');
    }
    return 0;
}
