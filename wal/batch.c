/* SPDX-License-Identifier: Apache-2.0 */
#include "wal/batch.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"
#include "wal/format.h"

#include <errno.h>

enum {
    B_VERSION = 0,
    B_FLAGS = 1,
    B_TABLE_LEN = 2,
    B_SENDER_LEN = 4, /* two zero bytes follow */
    B_COUNT = 8,
    B_TEXT_LEN = 12,
    B_NAMES = 16
};

enum {
    I_RECEIVED = 0,
    I_OFF = 8,
    I_LEN = 12,
    I_BYTES = 16
};

#define FLAGS_KNOWN (WAL_BATCH_IDS | WAL_BATCH_HELD | WAL_BATCH_QUIET | WAL_BATCH_ORIGIN)
#define ORIGIN_HEAD 4u

void wal_batch_init(struct wal_batch_builder *b)
{
    buf_init(&b->head, B_NAMES + 2 * (size_t)UINT16_MAX + 8);
    buf_init(&b->items, LIMIT_WAL_PAYLOAD_BYTES);
    buf_init(&b->ids, LIMIT_WAL_PAYLOAD_BYTES);
    buf_init(&b->origin, LIMIT_WAL_PAYLOAD_BYTES);
    buf_init(&b->text, LIMIT_WAL_PAYLOAD_BYTES);
    b->count = 0;
    b->flags = 0;
}

void wal_batch_fini(struct wal_batch_builder *b)
{
    buf_fini(&b->head);
    buf_fini(&b->items);
    buf_fini(&b->ids);
    buf_fini(&b->origin);
    buf_fini(&b->text);
}

void wal_batch_reset(struct wal_batch_builder *b)
{
    buf_reset(&b->head);
    buf_reset(&b->items);
    buf_reset(&b->ids);
    buf_reset(&b->origin);
    buf_reset(&b->text);
    b->count = 0;
    b->flags = 0;
}

/* A buf does not say whether its maximum or the memory ended it; the maximum is what happens. */
static int buf_result(const struct buf *b)
{
    return buf_ok(b) ? 0 : WH_ELIMIT;
}

int wal_batch_add(struct wal_batch_builder *b, uint64_t received_ns, size_t text_off)
{
    size_t text_len;
    int rc;

    must(text_off <= b->text.len);
    text_len = b->text.len - text_off;
    buf_put_u8(&b->text, '\n');
    buf_put_le64(&b->items, received_ns);
    buf_put_le32(&b->items, (uint32_t)text_off);
    buf_put_le32(&b->items, (uint32_t)text_len);
    if ((rc = buf_result(&b->text)) != 0 || (rc = buf_result(&b->items)) != 0)
        return rc;
    b->count++;
    return 0;
}

/* Ids for the records up to and without number `count` that have none. */
static int ids_pad(struct wal_batch_builder *b, uint32_t count)
{
    size_t want = (size_t)count * WAL_BATCH_ID_BYTES;

    if (b->ids.len < want) {
        size_t n = want - b->ids.len;
        char *p = buf_extend(&b->ids, n);

        if (p != NULL)
            memset(p, 0, n);
    }
    return buf_result(&b->ids);
}

int wal_batch_id(struct wal_batch_builder *b, const uint8_t id[WAL_BATCH_ID_BYTES])
{
    int rc;

    must(b->count > 0);
    must(b->ids.len < (size_t)b->count * WAL_BATCH_ID_BYTES);
    if ((rc = ids_pad(b, b->count - 1)) != 0)
        return rc;
    buf_put(&b->ids, id, WAL_BATCH_ID_BYTES);
    return buf_result(&b->ids);
}

void wal_batch_origin(struct wal_batch_builder *b, struct slice bytes)
{
    buf_reset(&b->origin);
    buf_put_le32(&b->origin, (uint32_t)bytes.len);
    buf_put_slice(&b->origin, bytes);
}

void wal_batch_shift(struct wal_batch_builder *b, uint64_t shift)
{
    for (uint32_t i = 0; i < b->count; i++) {
        char *item = b->items.ptr + (size_t)i * I_BYTES;

        le64_put(item + I_RECEIVED, le64_get(item + I_RECEIVED) + shift);
    }
}

struct wal_batch_record wal_batch_added(const struct wal_batch_builder *b, uint32_t i)
{
    must(i < b->count);
    const char *item = b->items.ptr + (size_t)i * I_BYTES;

    return (
        struct wal_batch_record){le64_get(item + I_RECEIVED),
                                 {b->text.ptr + le32_get(item + I_OFF), le32_get(item + I_LEN)}};
}

void wal_batch_restamp(struct wal_batch_builder *b, uint64_t first_ns)
{
    for (uint32_t i = 0; i < b->count; i++)
        le64_put(b->items.ptr + (size_t)i * I_BYTES + I_RECEIVED, first_ns + i);
}

uint64_t wal_batch_first_ns(const struct wal_batch_builder *b)
{
    must(b->count > 0);
    return le64_get(b->items.ptr + I_RECEIVED);
}

int wal_batch_finish(struct wal_batch_builder *b, struct slice table, struct slice sender)
{
    static const char zeros[8];
    int rc;

    if ((rc = buf_result(&b->text)) != 0 || (rc = buf_result(&b->items)) != 0 ||
        (rc = buf_result(&b->origin)) != 0 || (b->ids.len > 0 && (rc = ids_pad(b, b->count)) != 0))
        return rc;
    if (table.len > UINT16_MAX || sender.len > UINT16_MAX)
        return WH_ELIMIT;
    must(b->items.len == (size_t)b->count * I_BYTES);
    b->flags &= (uint8_t) ~(WAL_BATCH_IDS | WAL_BATCH_ORIGIN);
    b->flags |= b->ids.len > 0 ? WAL_BATCH_IDS : 0;
    b->flags |= b->origin.len > 0 ? WAL_BATCH_ORIGIN : 0;
    buf_reset(&b->head);
    buf_put_u8(&b->head, WAL_BATCH_VERSION);
    buf_put_u8(&b->head, b->flags);
    buf_put_u8(&b->head, (uint8_t)(table.len & 0xff));
    buf_put_u8(&b->head, (uint8_t)(table.len >> 8));
    buf_put_u8(&b->head, (uint8_t)(sender.len & 0xff));
    buf_put_u8(&b->head, (uint8_t)(sender.len >> 8));
    buf_put(&b->head, zeros, 2);
    buf_put_le32(&b->head, b->count);
    buf_put_le32(&b->head, (uint32_t)b->text.len);
    buf_put_slice(&b->head, table);
    buf_put_slice(&b->head, sender);
    buf_put(&b->head, zeros, (size_t)wal_align(b->head.len, 8) - b->head.len);
    if (!buf_ok(&b->head))
        return -ENOMEM;
    if (b->head.len + b->items.len + b->ids.len + b->origin.len + b->text.len >
        LIMIT_WAL_PAYLOAD_BYTES)
        return WH_ELIMIT;
    return 0;
}

int wal_batch_parts(const struct wal_batch_builder *b, struct iovec parts[WAL_BATCH_PARTS])
{
    const struct buf *const pieces[] = {&b->head, &b->items, &b->ids, &b->origin, &b->text};
    int n = 0;

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
        if (pieces[i]->len > 0)
            parts[n++] = (struct iovec){pieces[i]->ptr, pieces[i]->len};
    return n;
}

bool wal_batch_head(struct slice payload, struct slice *table, uint32_t *count, uint8_t *flags)
{
    size_t table_len;

    if (payload.len < B_NAMES || payload.ptr[B_VERSION] != WAL_BATCH_VERSION)
        return false;
    table_len = le16_get(payload.ptr + B_TABLE_LEN);
    if (table_len > payload.len - B_NAMES)
        return false;
    *table = (struct slice){payload.ptr + B_NAMES, table_len};
    *count = le32_get(payload.ptr + B_COUNT);
    *flags = (uint8_t)payload.ptr[B_FLAGS];
    return true;
}

/* Each record lies in the text, behind the one before it, and is ended by LF. */
static int items_check(const struct wal_batch *b, struct err *e)
{
    uint64_t end = 0;

    for (uint32_t i = 0; i < b->count; i++) {
        const char *item = b->items + (size_t)i * I_BYTES;
        uint64_t off = le32_get(item + I_OFF), len = le32_get(item + I_LEN);

        if (off < end || off + len >= b->text.len || b->text.ptr[off + len] != '\n')
            return err_set(e, WH_ECORRUPT, "batch: record %u is not inside the text", i);
        end = off + len + 1;
    }
    return 0;
}

int wal_batch_parse(struct slice payload, struct wal_batch *out, struct err *e)
{
    const char *p = payload.ptr;
    uint64_t at, sender_len, text_len;

    if (!wal_batch_head(payload, &out->table, &out->count, &out->flags))
        return err_set(e, WH_ECORRUPT, "batch: head too short or unknown version");
    sender_len = le16_get(p + B_SENDER_LEN);
    text_len = le32_get(p + B_TEXT_LEN);
    if ((out->flags & ~FLAGS_KNOWN) != 0)
        return err_set(e, WH_ECORRUPT, "batch: unknown flags %u", out->flags);
    at = wal_align(B_NAMES + out->table.len + sender_len, 8);
    out->items = p + at;
    at += (uint64_t)out->count * I_BYTES;
    out->ids = NULL;
    if ((out->flags & WAL_BATCH_IDS) != 0) {
        out->ids = p + at;
        at += (uint64_t)out->count * WAL_BATCH_ID_BYTES;
    }
    out->origin = (struct slice){NULL, 0};
    if ((out->flags & WAL_BATCH_ORIGIN) != 0) {
        if (at > payload.len || payload.len - at < ORIGIN_HEAD)
            return err_set(e, WH_ECORRUPT, "batch: lengths do not add up");
        out->origin = (struct slice){p + at + ORIGIN_HEAD, le32_get(p + at)};
        at += ORIGIN_HEAD + out->origin.len;
    }
    if (at + text_len != payload.len)
        return err_set(e, WH_ECORRUPT, "batch: lengths do not add up");
    out->sender = (struct slice){p + B_NAMES + out->table.len, (size_t)sender_len};
    out->text = (struct slice){p + at, (size_t)text_len};
    return items_check(out, e);
}

struct wal_batch_record wal_batch_get(const struct wal_batch *b, uint32_t i)
{
    const char *item = b->items + (size_t)i * I_BYTES;

    must(i < b->count);
    return (
        struct wal_batch_record){le64_get(item + I_RECEIVED),
                                 {b->text.ptr + le32_get(item + I_OFF), le32_get(item + I_LEN)}};
}
