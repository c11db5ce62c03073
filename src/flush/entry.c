/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/entry.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"

#include <string.h>

#define FLUSH_VERSION 1
/* Since version 2 an item has the sender. */
#define FLUSH_DEAD_VERSION 2
/* Version 2 of a plan says in which pieces its rows go; one without pieces is still version 1. */
#define FLUSH_PLAN_VERSION 2

/* The first eight bytes are alike in all: u8 version, u8 kind, u16 table_len, u32 (per type). */
enum {
    HEAD_VERSION = 0,
    HEAD_KIND = 1,
    HEAD_TABLE_LEN = 2,
    HEAD_U32 = 4,
    HEAD_LEN = 8
};
enum {
    PLAN_FIRST = 8,
    PLAN_LAST = 16,
    PLAN_BYTES = 24,
    PLAN_FINGERPRINT = 32,
    PLAN_TOKEN_LEN = 40,
    PLAN_TABLE = 42,
    PLAN_PIECE_ROWS = 42,
    PLAN_TABLE_2 = 46
};
enum {
    PROGRESS_PLAN = 8,
    PROGRESS_TABLE = 16
};
enum {
    DONE_PLAN = 8,
    DONE_FIRST = 16,
    DONE_LAST = 24,
    DONE_DEAD = 32,
    DONE_TABLE = 36
};
enum {
    DEAD_PLAN = 8,
    DEAD_FAILED_NS = 16,
    DEAD_TABLE = 24
};
enum {
    ITEM_INDEX = 0,
    ITEM_RECEIVED_NS = 8,
    ITEM_ORDINAL = 16,
    ITEM_ROW = 20,
    ITEM_CODE = 24,
    ITEM_TEXT_LEN = 28,
    ITEM_RECORD_LEN = 32,
    ITEM_LEN_1 = 36,
    ITEM_SENDER_LEN = 36,
    ITEM_LEN = 40
};

static char *head_put(struct buf *out, size_t fixed_len, uint8_t kind, struct slice table,
                      uint32_t u32)
{
    must(table.len > 0 && table.len <= LIMIT_NAME_BYTES);
    char *p = buf_extend(out, fixed_len);
    if (p == NULL)
        return NULL;
    memset(p, 0, fixed_len);
    p[HEAD_VERSION] = FLUSH_VERSION;
    p[HEAD_KIND] = (char)kind;
    le16_put(p + HEAD_TABLE_LEN, (uint16_t)table.len);
    le32_put(p + HEAD_U32, u32);
    return p;
}

void flush_plan_put(struct buf *out, const struct flush_plan *p)
{
    must(p->token.len <= UINT16_MAX && p->first > 0 && p->first <= p->last);
    bool pieces = p->piece_rows != 0;
    char *h = head_put(out, pieces ? PLAN_TABLE_2 : PLAN_TABLE, FLUSH_KIND_PLAN, p->table, p->rows);
    if (h == NULL)
        return;
    if (pieces) {
        h[HEAD_VERSION] = FLUSH_PLAN_VERSION;
        le32_put(h + PLAN_PIECE_ROWS, p->piece_rows);
    }
    le64_put(h + PLAN_FIRST, p->first);
    le64_put(h + PLAN_LAST, p->last);
    le64_put(h + PLAN_BYTES, p->bytes);
    le64_put(h + PLAN_FINGERPRINT, p->fingerprint);
    le16_put(h + PLAN_TOKEN_LEN, (uint16_t)p->token.len);
    buf_put_slice(out, p->table);
    buf_put_slice(out, p->token);
}

void flush_progress_put(struct buf *out, struct slice table, uint64_t plan_index,
                        const struct flush_rows *units, uint32_t unit_count)
{
    char *h = head_put(out, PROGRESS_TABLE, FLUSH_KIND_PROGRESS, table, unit_count);
    if (h == NULL)
        return;
    le64_put(h + PROGRESS_PLAN, plan_index);
    buf_put_slice(out, table);
    for (uint32_t i = 0; i < unit_count; i++)
        flush_rows_put(out, &units[i]);
}

void flush_done_put(struct buf *out, const struct flush_done *d)
{
    char *h = head_put(out, DONE_TABLE, 0, d->table, d->stored);
    if (h == NULL)
        return;
    le64_put(h + DONE_PLAN, d->plan_index);
    le64_put(h + DONE_FIRST, d->first);
    le64_put(h + DONE_LAST, d->last);
    le32_put(h + DONE_DEAD, d->dead);
    buf_put_slice(out, d->table);
}

void flush_dead_put_head(struct buf *out, const struct flush_dead *d)
{
    must(out->len == 0);
    char *h = head_put(out, DEAD_TABLE, (uint8_t)d->fate, d->table, 0);
    if (h == NULL)
        return;
    h[HEAD_VERSION] = FLUSH_DEAD_VERSION;
    le64_put(h + DEAD_PLAN, d->plan_index);
    le64_put(h + DEAD_FAILED_NS, d->failed_at_ns);
    buf_put_slice(out, d->table);
}

void flush_dead_put_item(struct buf *out, const struct flush_dead_item *i)
{
    size_t text_len = i->text.len < FLUSH_DEAD_TEXT_MAX ? i->text.len : FLUSH_DEAD_TEXT_MAX;
    size_t sender_len =
        i->sender.len < FLUSH_DEAD_SENDER_MAX ? i->sender.len : FLUSH_DEAD_SENDER_MAX;
    char *h = buf_extend(out, ITEM_LEN);
    if (h == NULL)
        return;
    le64_put(h + ITEM_INDEX, i->index);
    le64_put(h + ITEM_RECEIVED_NS, i->received_ns);
    le32_put(h + ITEM_ORDINAL, i->ordinal);
    le32_put(h + ITEM_ROW, i->row);
    le32_put(h + ITEM_CODE, (uint32_t)i->code);
    le32_put(h + ITEM_TEXT_LEN, (uint32_t)text_len);
    le32_put(h + ITEM_RECORD_LEN, (uint32_t)i->record.len);
    le32_put(h + ITEM_SENDER_LEN, (uint32_t)sender_len);
    buf_put(out, i->text.ptr, text_len);
    buf_put(out, i->sender.ptr, sender_len);
    buf_put_slice(out, i->record);
}

void flush_dead_set_count(struct buf *out, uint32_t count)
{
    if (buf_ok(out))
        le32_put(out->ptr + HEAD_U32, count);
}

/* Check what all payloads share, and find the table name at fixed_len. */
static int head_get_version(struct slice p, size_t fixed_len, uint8_t version_max, uint8_t kind_max,
                            struct slice *table, struct err *e)
{
    if (p.len < fixed_len)
        return err_set(e, WH_ECORRUPT, "flush entry of %zu bytes is too short", p.len);
    uint8_t version = (uint8_t)p.ptr[HEAD_VERSION];
    if (version == 0 || version > version_max || (uint8_t)p.ptr[HEAD_KIND] > kind_max)
        return err_set(e, WH_ECORRUPT, "flush entry of unknown version %d kind %d",
                       p.ptr[HEAD_VERSION], p.ptr[HEAD_KIND]);
    *table = (struct slice){p.ptr + fixed_len, le16_get(p.ptr + HEAD_TABLE_LEN)};
    if (table->len == 0 || table->len > LIMIT_NAME_BYTES || table->len > p.len - fixed_len)
        return err_set(e, WH_ECORRUPT, "flush entry with a table name of %zu bytes", table->len);
    return 0;
}

static int head_get(struct slice p, size_t fixed_len, uint8_t kind_max, struct slice *table,
                    struct err *e)
{
    return head_get_version(p, fixed_len, FLUSH_VERSION, kind_max, table, e);
}

int flush_plan_kind(struct slice payload, enum flush_plan_kind *kind, struct err *e)
{
    struct slice table;
    int rc = head_get_version(payload, PROGRESS_TABLE, FLUSH_PLAN_VERSION, FLUSH_KIND_PROGRESS,
                              &table, e);
    if (rc == 0)
        *kind = (enum flush_plan_kind)payload.ptr[HEAD_KIND];
    return rc;
}

int flush_plan_get(struct slice payload, struct flush_plan *p, struct err *e)
{
    bool pieces = payload.len > 0 && payload.ptr[HEAD_VERSION] == FLUSH_PLAN_VERSION;
    size_t fixed_len = pieces ? PLAN_TABLE_2 : PLAN_TABLE;
    int rc =
        head_get_version(payload, fixed_len, FLUSH_PLAN_VERSION, FLUSH_KIND_PLAN, &p->table, e);
    if (rc != 0)
        return rc;
    const char *h = payload.ptr;
    p->piece_rows = pieces ? le32_get(h + PLAN_PIECE_ROWS) : 0;
    p->rows = le32_get(h + HEAD_U32);
    p->first = le64_get(h + PLAN_FIRST);
    p->last = le64_get(h + PLAN_LAST);
    p->bytes = le64_get(h + PLAN_BYTES);
    p->fingerprint = le64_get(h + PLAN_FINGERPRINT);
    p->token = (struct slice){p->table.ptr + p->table.len, le16_get(h + PLAN_TOKEN_LEN)};
    if (payload.len != fixed_len + p->table.len + p->token.len || p->first == 0 ||
        p->first > p->last || p->rows == 0 || p->rows > FLUSH_PLAN_ROWS_MAX ||
        (pieces && p->piece_rows == 0) ||
        flush_piece_count(p->rows, p->piece_rows) > FLUSH_PIECES_MAX)
        return err_set(e, WH_ECORRUPT, "flush plan with impossible fields");
    return 0;
}

int flush_progress_get(struct slice payload, struct flush_progress *p, struct err *e)
{
    int rc = head_get(payload, PROGRESS_TABLE, FLUSH_KIND_PROGRESS, &p->table, e);
    if (rc != 0)
        return rc;
    p->unit_count = le32_get(payload.ptr + HEAD_U32);
    p->plan_index = le64_get(payload.ptr + PROGRESS_PLAN);
    p->units =
        (struct slice){p->table.ptr + p->table.len, payload.len - PROGRESS_TABLE - p->table.len};
    if (payload.ptr[HEAD_KIND] != FLUSH_KIND_PROGRESS || p->unit_count > p->units.len)
        return err_set(e, WH_ECORRUPT, "flush progress with impossible fields");
    return 0;
}

int flush_done_get(struct slice payload, struct flush_done *d, struct err *e)
{
    int rc = head_get(payload, DONE_TABLE, 0, &d->table, e);
    if (rc != 0)
        return rc;
    d->stored = le32_get(payload.ptr + HEAD_U32);
    d->plan_index = le64_get(payload.ptr + DONE_PLAN);
    d->first = le64_get(payload.ptr + DONE_FIRST);
    d->last = le64_get(payload.ptr + DONE_LAST);
    d->dead = le32_get(payload.ptr + DONE_DEAD);
    if (payload.len != DONE_TABLE + d->table.len || d->first == 0 || d->first > d->last)
        return err_set(e, WH_ECORRUPT, "flush done with impossible fields");
    return 0;
}

int flush_dead_get(struct slice payload, struct flush_dead *d, struct err *e)
{
    int rc =
        head_get_version(payload, DEAD_TABLE, FLUSH_DEAD_VERSION, FLUSH_FATE_HELD, &d->table, e);
    if (rc != 0)
        return rc;
    d->version = (uint8_t)payload.ptr[HEAD_VERSION];
    d->fate = (enum flush_fate)(uint8_t)payload.ptr[HEAD_KIND];
    d->count = le32_get(payload.ptr + HEAD_U32);
    d->plan_index = le64_get(payload.ptr + DEAD_PLAN);
    d->failed_at_ns = le64_get(payload.ptr + DEAD_FAILED_NS);
    d->items = (struct slice){d->table.ptr + d->table.len, payload.len - DEAD_TABLE - d->table.len};
    if (d->count > d->items.len / ITEM_LEN_1)
        return err_set(e, WH_ECORRUPT, "dead letter entry with impossible fields");
    return 0;
}

int flush_dead_next(struct flush_dead *d, struct flush_dead_item *i, struct err *e)
{
    struct slice *at = &d->items;
    size_t head = d->version == 1 ? ITEM_LEN_1 : ITEM_LEN;
    if (at->len == 0)
        return WH_EEND;
    if (at->len < head)
        return err_set(e, WH_ECORRUPT, "dead letter entry ends in the middle");
    const char *h = at->ptr;
    size_t text_len = le32_get(h + ITEM_TEXT_LEN), record_len = le32_get(h + ITEM_RECORD_LEN);
    size_t sender_len = d->version == 1 ? 0 : le32_get(h + ITEM_SENDER_LEN);
    size_t left = at->len - head;
    if (text_len > left || sender_len > left - text_len ||
        record_len > left - text_len - sender_len || sender_len > UINT16_MAX)
        return err_set(e, WH_ECORRUPT, "dead letter entry ends in the middle");
    i->index = le64_get(h + ITEM_INDEX);
    i->received_ns = le64_get(h + ITEM_RECEIVED_NS);
    i->ordinal = le32_get(h + ITEM_ORDINAL);
    i->row = le32_get(h + ITEM_ROW);
    i->code = (int32_t)le32_get(h + ITEM_CODE);
    i->text = (struct slice){h + head, text_len};
    i->sender = (struct slice){i->text.ptr + text_len, sender_len};
    i->record = (struct slice){i->sender.ptr + sender_len, record_len};
    if (i->row >= FLUSH_PLAN_ROWS_MAX)
        return err_set(e, WH_ECORRUPT, "dead letter of row %u", i->row);
    at->ptr += head + text_len + sender_len + record_len;
    at->len -= head + text_len + sender_len + record_len;
    return 0;
}
