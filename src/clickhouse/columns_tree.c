/* SPDX-License-Identifier: Apache-2.0 */
/* Trees of columns: made from a type, cut back, written in wire form (clickhouse-native §6). */
#include "base/le.h"
#include "clickhouse/columns_priv.h"

#include <errno.h>
#include <stdlib.h>

/* ---- shape */

/* A Nested that was not flattened is an Array of named Tuples: one node more than its type has. */
uint32_t column_tree_size(const struct ch_type *t)
{
    if (!ch_type_is_native(t))
        return 0;
    if (t->kind == CH_SIMPLE_AGGREGATE)
        return column_tree_size(t->children[0]);
    if (t->kind == CH_LOW_CARDINALITY)
        return 2;
    uint32_t n = t->kind == CH_NESTED ? 2 : 1;
    for (uint32_t i = 0; i < t->child_count; i++)
        n += column_tree_size(t->children[i]);
    return n;
}

/* ---- making */

struct scalar {
    column_read_fn *read;
    bool is_signed;
};

static const struct scalar scalars[] = {
    [CH_INT8] = {coerce_int, true},
    [CH_INT16] = {coerce_int, true},
    [CH_INT32] = {coerce_int, true},
    [CH_INT64] = {coerce_int, true},
    [CH_INT128] = {coerce_int_wide, true},
    [CH_INT256] = {coerce_int_wide, true},
    [CH_UINT8] = {coerce_int, false},
    [CH_UINT16] = {coerce_int, false},
    [CH_UINT32] = {coerce_int, false},
    [CH_UINT64] = {coerce_int, false},
    [CH_UINT128] = {coerce_int_wide, false},
    [CH_UINT256] = {coerce_int_wide, false},
    [CH_FLOAT32] = {coerce_float32, true},
    [CH_FLOAT64] = {coerce_float64, true},
    [CH_BFLOAT16] = {coerce_bfloat16, true},
    [CH_BOOL] = {coerce_bool, false},
    [CH_STRING] = {coerce_string, false},
    [CH_FIXED_STRING] = {coerce_fixed_string, false},
    [CH_UUID] = {coerce_uuid, false},
    [CH_IPV4] = {coerce_ipv4, false},
    [CH_IPV6] = {coerce_ipv6, false},
    [CH_DATE] = {coerce_date, false},
    [CH_DATE32] = {coerce_date, true},
    [CH_DATETIME] = {coerce_datetime, false},
    [CH_DATETIME64] = {coerce_datetime64, true},
    [CH_DECIMAL] = {coerce_decimal, true},
    [CH_ENUM8] = {coerce_enum, true},
    [CH_ENUM16] = {coerce_enum, true},
};

/* Names by hash, declared values by bit, and the two defaults: an omitted column gets the smallest
 * value; null gives 0, as ClickHouse stores it, unless 0 is not declared. */
static int build_enum(struct column *c)
{
    const struct ch_type *t = c->type;
    uint32_t size = 8;
    while (size < 2 * t->enum_count)
        size *= 2;
    c->dict.slots = calloc(size, sizeof(*c->dict.slots));
    if (c->dict.slots == NULL)
        return -ENOMEM;
    c->dict.mask = size - 1;
    bool zero = false;
    for (uint32_t e = 0; e < t->enum_count; e++) {
        const struct ch_enum_item *item = &t->enum_items[e];
        uint32_t i = dictionary_hash(item->name.ptr, item->name.len) & c->dict.mask;
        while (c->dict.slots[i] != 0)
            i = (i + 1) & c->dict.mask;
        c->dict.slots[i] = e + 1;
        if (c->width == 1)
            c->enum_value_known[(uint8_t)item->value >> 3] |=
                (uint8_t)(1 << ((uint8_t)item->value & 7));
        if (e == 0 || item->value < c->enum_default)
            c->enum_default = item->value;
        zero = zero || item->value == 0;
    }
    c->enum_null = zero ? 0 : c->enum_default;
    return 0;
}

static int build_scalar(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    if (t->kind > CH_ENUM16 || scalars[t->kind].read == NULL)
        return WH_EUNSUPPORTED;
    c->read = scalars[t->kind].read;
    c->is_signed = scalars[t->kind].is_signed;
    c->width = t->width;
    c->precision = t->precision;
    c->scale = t->scale;
    if (t->kind == CH_DATETIME || t->kind == CH_DATETIME64)
        return zones_find(b, t->timezone, &c->zone);
    if (t->kind == CH_ENUM8 || t->kind == CH_ENUM16)
        return build_enum(c);
    return 0;
}

static int build_children(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    struct column *next = c + 1;
    c->children = next;
    c->child_count = t->child_count;
    for (uint32_t i = 0; i < t->child_count; i++) {
        int used = column_tree_build(b, next, t->children[i]);
        if (used < 0)
            return used;
        next += used;
    }
    c->span = (uint32_t)(next - c);
    return 0;
}

static int build_tuple(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    c->read = coerce_tuple;
    c->names = t->names;
    c->width = t->child_count == 0; /* an empty one is a byte a row */
    return build_children(b, c, t);
}

static int build_nested(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    struct column *tuple = c + 1;
    tuple->block = b;
    c->read = coerce_array;
    c->width = 8;
    c->children = tuple;
    c->child_count = 1;
    int rc = build_tuple(b, tuple, t);
    c->span = tuple->span + 1;
    return rc;
}

static int build_low_cardinality(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    const struct ch_type *value = t->children[0];
    c->read = coerce_low_cardinality;
    c->takes_null = value->kind == CH_NULLABLE;
    c->width = 4;
    if (c->takes_null)
        value = value->children[0];
    c->children = c + 1;
    c->child_count = 1;
    c->span = 2;
    int used = column_tree_build(b, c + 1, value);
    if (used < 0)
        return used;
    return used == 1 ? dictionary_init(c) : WH_EUNSUPPORTED;
}

static int build_composite(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    switch (t->kind) {
    case CH_NULLABLE:
        c->read = coerce_nullable;
        c->takes_null = true;
        c->width = 1;
        return build_children(b, c, t);
    case CH_ARRAY:
        c->read = coerce_array;
        c->width = 8;
        return build_children(b, c, t);
    case CH_MAP:
        c->read = coerce_map;
        c->width = 8;
        return build_children(b, c, t);
    case CH_TUPLE:
        return build_tuple(b, c, t);
    case CH_NESTED:
        return build_nested(b, c, t);
    case CH_LOW_CARDINALITY:
        return build_low_cardinality(b, c, t);
    default:
        return build_scalar(b, c, t);
    }
}

int column_tree_build(struct ch_block *b, struct column *c, const struct ch_type *t)
{
    while (t->kind == CH_SIMPLE_AGGREGATE)
        t = t->children[0];
    c->type = t;
    c->block = b;
    c->span = 1;
    int rc = build_composite(b, c, t);
    return rc != 0 ? rc : (int)c->span;
}

void column_fini(struct column *c)
{
    buf_fini(&c->data);
    free(c->dict.slots);
    free(c->dict.ends);
    free(c->dict.hashes);
}

/* ---- cutting back */

static inline bool is_low_cardinality(const struct column *c)
{
    return c->read == coerce_low_cardinality;
}

static void note_most(struct column *c)
{
    c->most = c->data.len > c->most ? c->data.len : c->most;
}

void column_clear(struct column *c)
{
    note_most(c);
    buf_reset(&c->data);
    c->mark = 0;
}

void column_rollback(struct column *c)
{
    note_most(c);
    c->data.len = c->mark;
    c->data.failed = false;
    if (is_low_cardinality(c))
        dictionary_rollback(c);
}

size_t column_bytes(const struct column *c)
{
    return c->data.len;
}

/* ---- defaults */

#define DATE32_DEFAULT (-25567) /* 1900-01-01: DataTypeDate32::getDefault */

static int put_zeros(struct column *c, size_t n)
{
    char *p = column_extend(c, n);
    if (p == NULL)
        return -ENOMEM;
    memset(p, 0, n);
    return 0;
}

static int put_empty(struct column *c, bool null);

static int put_empty_children(struct column *c, bool null)
{
    struct column *child = c->children;
    for (uint32_t i = 0; i < c->child_count; i++, child = column_next(child)) {
        int rc = put_empty(child, null);
        if (rc != 0)
            return rc;
    }
    return 0;
}

static int put_empty(struct column *c, bool null)
{
    if (c->read == coerce_nullable) {
        char *map = column_extend(c, 1);
        if (map == NULL)
            return -ENOMEM;
        *map = 1;
        return put_empty(c->children, true);
    }
    if (c->read == coerce_tuple) {
        int rc = c->width != 0 ? put_zeros(c, 1) : 0;
        return rc != 0 ? rc : put_empty_children(c, null);
    }
    if (c->read == coerce_array || c->read == coerce_map) {
        uint64_t end = c->data.len == 0 ? 0 : le64_get(c->data.ptr + c->data.len - 8);
        buf_put_le64(&c->data, end);
        return c->data.failed ? -ENOMEM : 0;
    }
    if (c->read == coerce_enum) {
        int16_t v = null ? c->enum_null : c->enum_default;
        buf_put(&c->data, &v, c->width);
        return c->data.failed ? -ENOMEM : 0;
    }
    if (c->read == coerce_date && c->width == 4 && !null) {
        buf_put_le32(&c->data, (uint32_t)DATE32_DEFAULT);
        return c->data.failed ? -ENOMEM : 0;
    }
    return put_zeros(c, c->width != 0 ? c->width : 1); /* String: length 0 */
}

int column_put_default(struct column *c)
{
    return put_empty(c, false);
}

int column_put_null(struct column *c)
{
    return put_empty(c, true);
}

/* ---- writing */

void column_write_prefix(const struct column *c, struct buf *out)
{
    if (is_low_cardinality(c)) {
        buf_put_le64(out, 1);
        return;
    }
    const struct column *child = c->children;
    for (uint32_t i = 0; i < c->child_count; i++, child += child->span)
        column_write_prefix(child, out);
}

/* The places are kept as u32 and go out in the fewest bytes: one, two or four. */
static int write_places(const struct column *c, uint32_t width_log2, struct ch_sink *sink)
{
    char chunk[8192];
    const char *src = c->data.ptr;
    if (width_log2 == 2)
        return ch_sink_put(sink, src, c->data.len);
    uint64_t left = c->data.len / 4, room = sizeof(chunk) >> width_log2;
    int rc = 0;
    while (left > 0 && rc == 0) {
        uint64_t n = left < room ? left : room;
        for (uint64_t i = 0; i < n; i++) {
            uint32_t place = le32_get(src + 4 * i);
            if (width_log2 == 0)
                chunk[i] = (char)place;
            else
                le16_put(chunk + 2 * i, (uint16_t)place);
        }
        rc = ch_sink_put(sink, chunk, n << width_log2);
        src += 4 * n;
        left -= n;
    }
    return rc;
}

static int write_low_cardinality(const struct column *c, struct ch_sink *sink)
{
    enum {
        HAS_KEYS = 0x200,
        NEED_UPDATE = 0x400
    };
    if (c->data.len == 0)
        return 0;
    uint32_t width_log2 = c->dict.count <= 0x100 ? 0 : c->dict.count <= 0x10000 ? 1 : 2;
    buf_put_le64(sink->out, HAS_KEYS | NEED_UPDATE | width_log2);
    buf_put_le64(sink->out, c->dict.count);
    int rc = column_write_data(c->children, sink);
    if (rc != 0)
        return rc;
    buf_put_le64(sink->out, c->data.len / 4);
    return write_places(c, width_log2, sink);
}

int column_write_data(const struct column *c, struct ch_sink *sink)
{
    if (is_low_cardinality(c))
        return write_low_cardinality(c, sink);
    int rc = c->data.len == 0 ? 0 : ch_sink_put(sink, c->data.ptr, c->data.len);
    const struct column *child = c->children;
    for (uint32_t i = 0; rc == 0 && i < c->child_count; i++, child += child->span)
        rc = column_write_data(child, sink);
    return rc;
}
