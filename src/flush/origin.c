/* SPDX-License-Identifier: Apache-2.0 */
#include "flush/origin.h"

#include "base/le.h"
#include "base/limits.h"
#include "base/magic.h"

#include <string.h>

#define ORIGIN_VERSION  1
#define CONTROL_VERSION 1

enum { /* of an id: u64 index, u32 ordinal, u32 epoch */
    ID_INDEX = 0,
    ID_ORDINAL = 8,
    ID_EPOCH = 12,
    ID_LEN = 16
};
enum { /* u8 version, u8 kind, u8 shelf or same_table, u8 0, u32 count or ordinal */
    ORIGIN_AT_VERSION = 0,
    ORIGIN_KIND = 1,
    ORIGIN_SHELF = 2,
    ORIGIN_COUNT = 4,
    ORIGIN_IDS = 8,
    ORIGIN_JOB = 8,
    ORIGIN_NEXT = 16,
    ORIGIN_ROWS = 24,
    ORIGIN_LOG_LEN = 32
};
enum { /* u8 version, u8 kind, u8 shelf or state, u8 flags, u32 count or ordinal */
    CONTROL_AT_VERSION = 0,
    CONTROL_KIND = 1,
    CONTROL_SHELF = 2,
    CONTROL_FLAGS = 3,
    CONTROL_U32 = 4,
    EDIT_ID = 8,
    EDIT_WHO_LEN = 24, /* u16, then u16 0 */
    EDIT_RECORD_LEN = 28,
    EDIT_WHO = 32,
    PURGE_BEFORE = 8,
    PURGE_WHO_LEN = 16, /* u16 */
    PURGE_TABLE_LEN = 18,
    PURGE_IDS = 24, /* then who, table */
    JOB_FROM = 8,
    JOB_TO = 16,
    JOB_NEXT = 24,
    JOB_ROWS = 32,
    JOB_RATE = 40,
    JOB_STARTED = 48,
    JOB_CHANGED = 56,
    JOB_TABLE_LEN = 64, /* four u16 */
    JOB_INTO_LEN = 66,
    JOB_WHO_LEN = 68,
    JOB_REASON_LEN = 70,
    JOB_TEXTS = 72,
    END_JOB = 8,
    END_REASON = 16
};
enum {
    JOB_FLAG_HELD = 1,
    JOB_FLAG_IGNORE = 2
};

static void id_write(char *p, struct store_letter_id id)
{
    le64_put(p + ID_INDEX, id.index);
    le32_put(p + ID_ORDINAL, id.ordinal);
    le32_put(p + ID_EPOCH, id.epoch);
}

static struct store_letter_id id_at(struct slice ids, uint32_t i)
{
    const char *p = ids.ptr + (size_t)i * ID_LEN;
    return (struct store_letter_id){.index = le64_get(p + ID_INDEX),
                                    .ordinal = le32_get(p + ID_ORDINAL),
                                    .epoch = le32_get(p + ID_EPOCH)};
}

/* len zero bytes that begin like every payload here. */
static char *head_put(struct buf *out, size_t len, uint8_t version, uint8_t kind)
{
    char *p = buf_extend(out, len);
    if (p == NULL)
        return NULL;
    memset(p, 0, len);
    p[0] = (char)version;
    p[1] = (char)kind;
    return p;
}

/* ---- origin ---- */

void flush_origin_begin(struct buf *out, enum store_shelf shelf)
{
    must(out->len == 0);
    char *p = head_put(out, ORIGIN_IDS, ORIGIN_VERSION, FLUSH_FROM_SHELF);
    if (p != NULL)
        p[ORIGIN_SHELF] = (char)shelf;
}

void flush_origin_add(struct buf *out, struct store_letter_id id)
{
    char *p = buf_extend(out, ID_LEN);
    if (p != NULL)
        id_write(p, id);
}

void flush_origin_end(struct buf *out, uint32_t count)
{
    if (buf_ok(out))
        le32_put(out->ptr + ORIGIN_COUNT, count);
}

void flush_origin_log(struct buf *out, const struct flush_origin *o)
{
    char *p = head_put(out, ORIGIN_LOG_LEN, ORIGIN_VERSION, FLUSH_FROM_LOG);
    if (p == NULL)
        return;
    p[ORIGIN_SHELF] = o->same_table;
    le32_put(p + ORIGIN_COUNT, o->next_ordinal);
    le64_put(p + ORIGIN_JOB, o->job);
    le64_put(p + ORIGIN_NEXT, o->next_index);
    le64_put(p + ORIGIN_ROWS, o->rows);
}

int flush_origin_get(struct slice bytes, struct flush_origin *o, struct err *e)
{
    const char *p = bytes.ptr;
    memset(o, 0, sizeof(*o));
    if (bytes.len < ORIGIN_IDS || p[ORIGIN_AT_VERSION] != ORIGIN_VERSION)
        return err_set(e, WH_ECORRUPT, "origin too short or of an unknown version");
    uint8_t which = (uint8_t)p[ORIGIN_SHELF];
    uint32_t u32 = le32_get(p + ORIGIN_COUNT);
    if (p[ORIGIN_KIND] == FLUSH_FROM_SHELF && which < STORE_SHELVES &&
        bytes.len == ORIGIN_IDS + (uint64_t)u32 * ID_LEN) {
        o->kind = FLUSH_FROM_SHELF;
        o->shelf = (enum store_shelf)which;
        o->count = u32;
        o->ids = (struct slice){p + ORIGIN_IDS, bytes.len - ORIGIN_IDS};
        return 0;
    }
    if (p[ORIGIN_KIND] == FLUSH_FROM_LOG && which <= 1 && bytes.len == ORIGIN_LOG_LEN) {
        o->kind = FLUSH_FROM_LOG;
        o->same_table = which == 1;
        o->next_ordinal = u32;
        o->job = le64_get(p + ORIGIN_JOB);
        o->next_index = le64_get(p + ORIGIN_NEXT);
        o->rows = le64_get(p + ORIGIN_ROWS);
        return 0;
    }
    return err_set(e, WH_ECORRUPT, "origin with impossible fields");
}

struct store_letter_id flush_origin_id(const struct flush_origin *o, uint32_t i)
{
    must(i < o->count);
    return id_at(o->ids, i);
}

/* ---- control ---- */

void flush_edit_put(struct buf *out, const struct flush_edit *c)
{
    must(c->who.len <= UINT16_MAX && c->record.len <= LIMIT_RECORD_BYTES);
    char *p = head_put(out, EDIT_WHO, CONTROL_VERSION, FLUSH_CONTROL_EDIT);
    if (p == NULL)
        return;
    p[CONTROL_SHELF] = (char)c->shelf;
    id_write(p + EDIT_ID, c->id);
    le16_put(p + EDIT_WHO_LEN, (uint16_t)c->who.len);
    le32_put(p + EDIT_RECORD_LEN, (uint32_t)c->record.len);
    buf_put_slice(out, c->who);
    buf_put_slice(out, c->record);
}

void flush_purge_put(struct buf *out, const struct flush_purge *c,
                     const struct store_letter_id *ids)
{
    must(c->who.len <= UINT16_MAX && c->table.len <= LIMIT_NAME_BYTES);
    char *p = head_put(out, PURGE_IDS, CONTROL_VERSION, FLUSH_CONTROL_PURGE);
    if (p == NULL)
        return;
    p[CONTROL_SHELF] = (char)c->shelf;
    le32_put(p + CONTROL_U32, c->count);
    le64_put(p + PURGE_BEFORE, c->before_ns);
    le16_put(p + PURGE_WHO_LEN, (uint16_t)c->who.len);
    le16_put(p + PURGE_TABLE_LEN, (uint16_t)c->table.len);
    for (uint32_t i = 0; i < c->count; i++)
        flush_origin_add(out, ids[i]);
    buf_put_slice(out, c->who);
    buf_put_slice(out, c->table);
}

void flush_job_put(struct buf *out, const struct flush_job_spec *j)
{
    must(j->table.len <= LIMIT_NAME_BYTES && j->into.len <= LIMIT_NAME_BYTES &&
         j->who.len <= UINT16_MAX && j->reason.len <= UINT16_MAX);
    char *p = head_put(out, JOB_TEXTS, CONTROL_VERSION, FLUSH_CONTROL_JOB);
    if (p == NULL)
        return;
    p[CONTROL_SHELF] = (char)j->state;
    p[CONTROL_FLAGS] =
        (char)((j->held ? JOB_FLAG_HELD : 0) | (j->ignore_unknown ? JOB_FLAG_IGNORE : 0));
    le32_put(p + CONTROL_U32, j->next_ordinal);
    le64_put(p + JOB_FROM, j->from);
    le64_put(p + JOB_TO, j->to);
    le64_put(p + JOB_NEXT, j->next_index);
    le64_put(p + JOB_ROWS, j->rows);
    le64_put(p + JOB_RATE, j->rows_per_second);
    le64_put(p + JOB_STARTED, j->started_ns);
    le64_put(p + JOB_CHANGED, j->changed_ns);
    le16_put(p + JOB_TABLE_LEN, (uint16_t)j->table.len);
    le16_put(p + JOB_INTO_LEN, (uint16_t)j->into.len);
    le16_put(p + JOB_WHO_LEN, (uint16_t)j->who.len);
    le16_put(p + JOB_REASON_LEN, (uint16_t)j->reason.len);
    buf_put_slice(out, j->table);
    buf_put_slice(out, j->into);
    buf_put_slice(out, j->who);
    buf_put_slice(out, j->reason);
}

void flush_job_end_put(struct buf *out, const struct flush_job_end *c)
{
    char *p = head_put(out, END_REASON, CONTROL_VERSION, FLUSH_CONTROL_JOB_END);
    if (p == NULL)
        return;
    p[CONTROL_SHELF] = (char)c->state;
    le32_put(p + CONTROL_U32, (uint32_t)c->reason.len);
    le64_put(p + END_JOB, c->job);
    buf_put_slice(out, c->reason);
}

bool flush_control_kind(struct slice payload, enum flush_control_kind *kind)
{
    if (payload.len < 8 || payload.ptr[CONTROL_AT_VERSION] != CONTROL_VERSION)
        return false;
    uint8_t k = (uint8_t)payload.ptr[CONTROL_KIND];
    *kind = (enum flush_control_kind)k;
    return k >= FLUSH_CONTROL_EDIT && k <= FLUSH_CONTROL_JOB_END;
}

static int control_check(struct slice p, enum flush_control_kind want, size_t len, struct err *e)
{
    enum flush_control_kind kind;
    if (!flush_control_kind(p, &kind) || kind != want || p.len < len)
        return err_set(e, WH_ECORRUPT, "control entry too short or of another kind");
    return 0;
}

static int impossible(struct err *e)
{
    return err_set(e, WH_ECORRUPT, "control entry with impossible fields");
}

int flush_edit_get(struct slice payload, struct flush_edit *c, struct err *e)
{
    const char *p = payload.ptr;
    int rc = control_check(payload, FLUSH_CONTROL_EDIT, EDIT_WHO, e);
    if (rc != 0)
        return rc;
    c->shelf = (enum store_shelf)(uint8_t)p[CONTROL_SHELF];
    c->id = id_at((struct slice){p + EDIT_ID, ID_LEN}, 0);
    c->who = (struct slice){p + EDIT_WHO, le16_get(p + EDIT_WHO_LEN)};
    c->record = (struct slice){c->who.ptr + c->who.len, le32_get(p + EDIT_RECORD_LEN)};
    if ((uint8_t)p[CONTROL_SHELF] >= STORE_SHELVES ||
        payload.len != EDIT_WHO + c->who.len + c->record.len)
        return impossible(e);
    return 0;
}

int flush_purge_get(struct slice payload, struct flush_purge *c, struct err *e)
{
    const char *p = payload.ptr;
    int rc = control_check(payload, FLUSH_CONTROL_PURGE, PURGE_IDS, e);
    if (rc != 0)
        return rc;
    c->shelf = (enum store_shelf)(uint8_t)p[CONTROL_SHELF];
    c->count = le32_get(p + CONTROL_U32);
    c->before_ns = le64_get(p + PURGE_BEFORE);
    size_t who_len = le16_get(p + PURGE_WHO_LEN), table_len = le16_get(p + PURGE_TABLE_LEN);
    uint64_t ids_len = (uint64_t)c->count * ID_LEN;
    if ((uint8_t)p[CONTROL_SHELF] >= STORE_SHELVES || table_len > LIMIT_NAME_BYTES ||
        payload.len != PURGE_IDS + ids_len + who_len + table_len)
        return impossible(e);
    c->ids = (struct slice){p + PURGE_IDS, (size_t)ids_len};
    c->who = (struct slice){c->ids.ptr + ids_len, who_len};
    c->table = (struct slice){c->who.ptr + who_len, table_len};
    return 0;
}

struct store_letter_id flush_purge_id(const struct flush_purge *c, uint32_t i)
{
    must(i < c->count);
    return id_at(c->ids, i);
}

int flush_job_get(struct slice payload, struct flush_job_spec *j, struct err *e)
{
    const char *p = payload.ptr;
    int rc = control_check(payload, FLUSH_CONTROL_JOB, JOB_TEXTS, e);
    if (rc != 0)
        return rc;
    uint8_t state = (uint8_t)p[CONTROL_SHELF], flags = (uint8_t)p[CONTROL_FLAGS];
    j->state = (enum flush_job_state)state;
    j->held = (flags & JOB_FLAG_HELD) != 0;
    j->ignore_unknown = (flags & JOB_FLAG_IGNORE) != 0;
    j->next_ordinal = le32_get(p + CONTROL_U32);
    j->from = le64_get(p + JOB_FROM);
    j->to = le64_get(p + JOB_TO);
    j->next_index = le64_get(p + JOB_NEXT);
    j->rows = le64_get(p + JOB_ROWS);
    j->rows_per_second = le64_get(p + JOB_RATE);
    j->started_ns = le64_get(p + JOB_STARTED);
    j->changed_ns = le64_get(p + JOB_CHANGED);
    j->table = (struct slice){p + JOB_TEXTS, le16_get(p + JOB_TABLE_LEN)};
    j->into = (struct slice){j->table.ptr + j->table.len, le16_get(p + JOB_INTO_LEN)};
    j->who = (struct slice){j->into.ptr + j->into.len, le16_get(p + JOB_WHO_LEN)};
    j->reason = (struct slice){j->who.ptr + j->who.len, le16_get(p + JOB_REASON_LEN)};
    bool names = j->table.len > 0 && j->table.len <= LIMIT_NAME_BYTES && j->into.len > 0 &&
                 j->into.len <= LIMIT_NAME_BYTES;
    if (state > FLUSH_JOB_FAILED || !names || j->from == 0 ||
        payload.len != JOB_TEXTS + j->table.len + j->into.len + j->who.len + j->reason.len)
        return impossible(e);
    return 0;
}

int flush_job_end_get(struct slice payload, struct flush_job_end *c, struct err *e)
{
    const char *p = payload.ptr;
    int rc = control_check(payload, FLUSH_CONTROL_JOB_END, END_REASON, e);
    if (rc != 0)
        return rc;
    uint8_t state = (uint8_t)p[CONTROL_SHELF];
    c->state = (enum flush_job_state)state;
    c->job = le64_get(p + END_JOB);
    c->reason = (struct slice){p + END_REASON, le32_get(p + CONTROL_U32)};
    if (state > FLUSH_JOB_FAILED || state == FLUSH_JOB_RUNNING || c->reason.len > UINT16_MAX ||
        payload.len != END_REASON + c->reason.len)
        return impossible(e);
    return 0;
}
