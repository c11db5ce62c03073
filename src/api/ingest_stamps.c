/* SPDX-License-Identifier: Apache-2.0 */
/* received_timestamp of records that have been written, when their acceptance instants move: much
 * cheaper than to read a long body again, for it happens under the lock of the order. */
#include "api/ingest.h"

#include "base/le.h"
#include "base/magic.h"
#include "schema/timestamp.h"

#include <errno.h>

/* One record with another stamp behind the others in *to. */
static int rewrite(struct wal_batch_builder *to, struct timestamp_type type,
                   struct wal_batch_record record, size_t stamp_off, uint64_t shift)
{
    char stamp[TIMESTAMP_CAP];
    size_t len, text_off = to->text.len;
    struct slice text = record.text;
    if (stamp_off > 0 &&
        timestamp_from_ns(type, record.received_ns + shift, stamp, &len) == TIMESTAMP_REPLACED) {
        const char *end = memchr(text.ptr + stamp_off, '"', text.len - stamp_off);
        must(end != NULL);
        buf_put(&to->text, text.ptr, stamp_off);
        buf_put(&to->text, stamp, len);
        text = (struct slice){end, (size_t)(text.ptr + text.len - end)};
    }
    buf_put_slice(&to->text, text);
    return wal_batch_add(to, record.received_ns, text_off);
}

static void swap(struct buf *a, struct buf *b)
{
    struct buf was = *a;
    *a = *b;
    *b = was;
}

int ingest_stamps_move(struct api_loop *a, struct ingest_op *op, const struct schema_table *t,
                       uint64_t shift)
{
    struct wal_batch_builder *to = ingest_turns_scratch(a);
    const struct ch_type *column = t->columns[t->received_timestamp].peeled;
    struct timestamp_type type = {.is_64 = column->kind == CH_DATETIME64,
                                  .precision = column->precision};
    for (struct ingest_part *part = op->parts; part != NULL; part = part->next) {
        struct wal_batch_builder *from = &part->batch;
        must(part->stamps.len == from->count * sizeof(uint32_t));
        wal_batch_reset(to);
        if (buf_reserve(&to->text, from->text.len + from->count) != 0)
            return -ENOMEM;
        for (uint32_t i = 0; i < from->count; i++) {
            uint32_t at = le32_get(part->stamps.ptr + i * sizeof(uint32_t));
            int rc = rewrite(to, type, wal_batch_added(from, i), at, shift);
            if (rc != 0)
                return rc;
        }
        swap(&from->text, &to->text);
        swap(&from->items, &to->items);
    }
    return 0;
}
