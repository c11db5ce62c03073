/* SPDX-License-Identifier: Apache-2.0 */
#include "control/entry.h"

#include "base/le.h"
#include "base/limits.h"
#include "json/json.h"

#define ENTRY_VERSION 1
#define VALUE_VERSION 1
#define KIND_BASE     16 /* kind in the payload: this and enum control_kind */
#define FLAG_SEED     1
#define ACTION_REMOVE 0
#define ACTION_PUT    1

enum {
    AT_VERSION = 0,
    AT_KIND = 1,
    AT_ACTION = 2,
    AT_FLAGS = 3,
    AT_NAME_LEN = 4,
    AT_WHO_LEN = 6,
    AT_TEXT_LEN = 8,
    AT_ZERO = 12
};
_Static_assert(AT_ZERO + 4 == CONTROL_HEAD_BYTES, "head");

/* In the store: u8 version, u8 0, u16 who_len, u32 epoch, u64 index, u64 time, who, text. */
enum {
    VALUE_AT_VERSION = 0,
    VALUE_WHO_LEN = 2,
    VALUE_EPOCH = 4,
    VALUE_INDEX = 8,
    VALUE_TIME = 16,
    VALUE_HEAD = 24
};

void control_change_head(char out[CONTROL_HEAD_BYTES], const struct control_change *c)
{
    memset(out, 0, CONTROL_HEAD_BYTES);
    out[AT_VERSION] = ENTRY_VERSION;
    out[AT_KIND] = (char)(KIND_BASE + (int)c->kind);
    out[AT_ACTION] = c->remove ? ACTION_REMOVE : ACTION_PUT;
    out[AT_FLAGS] = c->seed ? FLAG_SEED : 0;
    le16_put(out + AT_NAME_LEN, (uint16_t)c->name.len);
    le16_put(out + AT_WHO_LEN, (uint16_t)c->who.len);
    le32_put(out + AT_TEXT_LEN, c->remove ? 0 : (uint32_t)c->text.len);
}

bool control_claims(struct slice payload)
{
    if (payload.len < CONTROL_HEAD_BYTES || payload.ptr[AT_VERSION] != ENTRY_VERSION)
        return false;
    int kind = (uint8_t)payload.ptr[AT_KIND] - KIND_BASE;
    return kind == CONTROL_POLICY || kind == CONTROL_PIPE;
}

int control_change_get(struct slice payload, struct control_change *c, struct err *e)
{
    const char *p = payload.ptr;
    if (!control_claims(payload))
        return err_set(e, WH_ECORRUPT, "control entry too short or of another kind");
    uint8_t action = (uint8_t)p[AT_ACTION], flags = (uint8_t)p[AT_FLAGS];
    c->kind = (enum control_kind)((uint8_t)p[AT_KIND] - KIND_BASE);
    c->remove = action == ACTION_REMOVE;
    c->seed = (flags & FLAG_SEED) != 0;
    size_t at = CONTROL_HEAD_BYTES;
    c->name = (struct slice){p + at, le16_get(p + AT_NAME_LEN)};
    at += c->name.len;
    c->who = (struct slice){p + at, le16_get(p + AT_WHO_LEN)};
    at += c->who.len;
    c->text = (struct slice){p + at, le32_get(p + AT_TEXT_LEN)};
    bool fits = payload.len - CONTROL_HEAD_BYTES == c->name.len + c->who.len + c->text.len;
    bool sound = action <= ACTION_PUT && (flags & ~FLAG_SEED) == 0 && le32_get(p + AT_ZERO) == 0 &&
                 c->name.len <= LIMIT_PIPE_NAME_BYTES &&
                 (c->kind == CONTROL_PIPE) == (c->name.len > 0) && c->who.len <= CONTROL_WHO_MAX &&
                 c->text.len <= LIMIT_CONTROL_BYTES && (!c->remove || c->text.len == 0);
    return fits && sound ? 0 : err_set(e, WH_ECORRUPT, "control entry with impossible fields");
}

/* It is shown in JSON, where it must come back as it is. */
static bool is_utf8(struct slice s)
{
    struct buf json;
    char back[6 * LIMIT_PIPE_NAME_BYTES + 1];
    buf_init(&json, sizeof(back) + 1);
    buf_put_json_string(&json, s);
    size_t n =
        buf_ok(&json) ? json_unescape((struct slice){json.ptr + 1, json.len - 2}, back) : SIZE_MAX;
    buf_fini(&json);
    return slice_eq(s, (struct slice){back, n});
}

int control_pipe_name(struct slice name, struct err *e)
{
    if (name.len == 0)
        return err_set(e, WH_EUNSUPPORTED, "pipe name is required");
    if (name.len > LIMIT_PIPE_NAME_BYTES)
        return err_set(e, WH_ELIMIT, "pipe name is over %d bytes", LIMIT_PIPE_NAME_BYTES);
    return is_utf8(name) ? 0 : err_set(e, WH_EUNSUPPORTED, "pipe name is not UTF-8");
}

void control_value_put(struct buf *out, const struct control_document *d)
{
    char head[VALUE_HEAD] = {0};
    head[VALUE_AT_VERSION] = VALUE_VERSION;
    le16_put(head + VALUE_WHO_LEN, (uint16_t)d->who.len);
    le32_put(head + VALUE_EPOCH, d->epoch);
    le64_put(head + VALUE_INDEX, d->index);
    le64_put(head + VALUE_TIME, d->time_ns);
    buf_put(out, head, sizeof(head));
    buf_put_slice(out, d->who);
    buf_put_slice(out, d->text);
}

int control_value_get(struct slice value, struct control_document *d, struct err *e)
{
    const char *p = value.ptr;
    if (value.len < VALUE_HEAD || value.len - VALUE_HEAD < le16_get(p + VALUE_WHO_LEN))
        return err_set(e, WH_ECORRUPT, "control document too short");
    if (p[VALUE_AT_VERSION] != VALUE_VERSION)
        return err_set(e, WH_EUNSUPPORTED, "control document of version %d, known is %d",
                       (uint8_t)p[VALUE_AT_VERSION], VALUE_VERSION);
    d->epoch = le32_get(p + VALUE_EPOCH);
    d->index = le64_get(p + VALUE_INDEX);
    d->time_ns = le64_get(p + VALUE_TIME);
    d->who = (struct slice){p + VALUE_HEAD, le16_get(p + VALUE_WHO_LEN)};
    d->text = (struct slice){p + VALUE_HEAD + d->who.len, value.len - VALUE_HEAD - d->who.len};
    return 0;
}
