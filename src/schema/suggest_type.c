/* SPDX-License-Identifier: Apache-2.0 */
/* From what was seen to types, and to the statement. */
#include "schema/schema.h"
#include "schema/suggest_priv.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* Versions from which on a server has something, as major·100 + minor. */
enum {
    HAS_LOW_CARDINALITY = 1901,
    HAS_DATETIME64 = 2001,
    HAS_IP = 2001,
    HAS_WINDOW = 2104, /* non_replicated_deduplication_window */
    HAS_WIDE_INTS = 2106,
    HAS_DATE32 = 2109,
    HAS_BOOL = 2112,
    HAS_MAP = 2112, /* and types that may be put together freely */
    HAS_JSON = 2503 /* and Dynamic */
};

enum {
    NOTES_MAX = 32,
    ORDER_KEYS_MAX = 3,
    ORDER_DISTINCT_MAX = 100
};

#define STAMP_NAME "received_timestamp"

struct naming {
    struct suggest *s;
    uint32_t version;
    struct slice column; /* at hand, for notes */
};

static uint32_t version_number(struct slice v)
{
    uint32_t part[2] = {0, 0};
    size_t i = 0;
    for (int p = 0; p < 2; p++, i++)
        for (; i < v.len && v.ptr[i] >= '0' && v.ptr[i] <= '9' && part[p] < 10000; i++)
            part[p] = part[p] * 10 + (uint32_t)(v.ptr[i] - '0');
    return part[0] * 100 + part[1];
}

__attribute__((format(printf, 2, 3))) static void note(struct suggest *s, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    if (s->note_count == NOTES_MAX)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (s->note_count++ > 0)
        buf_put_u8(&s->notes, ',');
    size_t len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    buf_put_json_string(&s->notes, (struct slice){text, len});
}

/* The first bytes of a column's name, for notes. */
static int shown_len(struct slice name)
{
    return name.len < 80 ? (int)name.len : 80;
}

static void column_note(struct naming *n, const char *what)
{
    note(n->s, "%.*s: %s", shown_len(n->column), n->column.ptr, what);
}

/* ---- scalars */

static uint64_t scalars(const struct shape *sh)
{
    return sh->bools + sh->ints + sh->floats + sh->strings;
}

static const char *int_type(const struct naming *n, const struct shape *sh)
{
    static const char *const unsigned_types[] = {"Int64",   "UInt64",  "UInt128", "UInt128",
                                                 "UInt256", "UInt256", "String"};
    static const uint8_t signed_level[] = {0, 1, 1, 2, 2, 3, 3}; /* by positive: Int64 … String */
    static const char *const signed_types[] = {"Int64", "Int128", "Int256", "String"};
    const char *type;
    uint32_t level = signed_level[sh->positive];
    if (sh->negative == NEGATIVE_NONE)
        type = unsigned_types[sh->positive];
    else
        type = signed_types[level > sh->negative - 1u ? level : sh->negative - 1u];
    bool wide = type[0] != 'S' && strstr(type, "64") == NULL;
    return wide && n->version < HAS_WIDE_INTS ? "String" : type;
}

static void put_time_type(struct naming *n, const struct shape *sh, struct buf *out)
{
    uint32_t digits = sh->fraction_digits;
    if (sh->farthest || (sh->far && n->version < HAS_DATETIME64)) {
        buf_put_str(out, "String");
        return;
    }
    if (sh->zoneless)
        column_note(n, "times without a zone are read as UTC; name another zone in the type if "
                       "they are local");
    if ((digits == 0 && !sh->far) || n->version < HAS_DATETIME64) {
        buf_put_str(out, "DateTime('UTC')");
        if (digits > 0)
            column_note(n, "this server has no DateTime64: fractions of a second are cut");
        return;
    }
    uint32_t precision = digits <= 3 ? 3 : digits <= 6 || sh->farther ? 6 : 9;
    if (digits > precision)
        column_note(n, "fractions are cut to the precision of the type");
    buf_printf(out, "DateTime64(%" PRIu32 ", 'UTC')", precision);
}

static void put_string_type(struct naming *n, const struct shape *sh, struct buf *out)
{
    if ((sh->forms & FORM_DATE) != 0 && !sh->far_date)
        buf_put_str(out, "Date");
    else if ((sh->forms & FORM_DATE) != 0)
        buf_put_str(out, n->version >= HAS_DATE32 && !sh->farthest ? "Date32" : "String");
    else if ((sh->forms & FORM_TIME) != 0)
        put_time_type(n, sh, out);
    else if ((sh->forms & FORM_UUID) != 0)
        buf_put_str(out, "UUID");
    else if ((sh->forms & FORM_IPV4) != 0 && n->version >= HAS_IP)
        buf_put_str(out, "IPv4");
    else if ((sh->forms & FORM_IPV6) != 0 && n->version >= HAS_IP)
        buf_put_str(out, "IPv6");
    else
        buf_put_str(out, "String");
}

static bool is_bool(const struct shape *sh)
{
    return sh->bools > 0 && sh->ints == sh->bits && sh->floats + sh->strings == 0;
}

/* Values of one family: not text among numbers. */
static bool is_uniform(const struct shape *sh)
{
    bool numbers = sh->ints + sh->floats > 0;
    return is_bool(sh) || (sh->bools > 0) + (sh->strings > 0) + numbers <= 1;
}

static void put_scalar_type(struct naming *n, const struct shape *sh, struct buf *out)
{
    if (is_bool(sh))
        buf_put_str(out, n->version >= HAS_BOOL ? "Bool" : "String");
    else if (!is_uniform(sh) || scalars(sh) == 0)
        buf_put_str(out, "String");
    else if (sh->strings > 0)
        put_string_type(n, sh, out);
    else
        buf_put_str(out, sh->floats > 0 ? "Float64" : int_type(n, sh));
}

/* ---- composites */

static void put_inner_type(struct naming *n, const struct shape *sh, struct buf *out);

static bool is_mixed(const struct shape *sh)
{
    return (scalars(sh) > 0) + (sh->arrays > 0) + (sh->objects > 0) > 1;
}

/* What an old server has inside arrays and tuples: the simplest types, whose defaults can be
 * written down, everything else as text. */
static void put_old_inner(struct naming *n, const struct shape *sh, struct buf *out)
{
    bool numbers = sh->arrays + sh->objects + sh->strings + sh->bools == 0 && scalars(sh) > 0;
    if (sh->nulls > 0)
        buf_put_str(out, "Nullable(");
    if (numbers)
        put_scalar_type(n, sh, out);
    else
        buf_put_str(out, "String");
    if (sh->nulls > 0)
        buf_put_u8(out, ')');
}

static void put_array_type(struct naming *n, const struct shape *sh, struct buf *out)
{
    buf_put_str(out, "Array(");
    if (sh->element == NULL || sh->deep)
        buf_put_str(out, "String");
    else if (n->version < HAS_MAP)
        put_old_inner(n, sh->element, out);
    else
        put_inner_type(n, sh->element, out);
    buf_put_u8(out, ')');
}

static void put_tuple_type(struct naming *n, const struct shape *sh, struct buf *out)
{
    bool first = true;
    buf_put_str(out, "Tuple(");
    for (uint32_t i = 0; i < sh->member_count; i++) {
        const struct member *m = &sh->members[i];
        if (m->name.len == 0)
            continue;
        if (!first)
            buf_put_str(out, ", ");
        first = false;
        schema_put_quoted(out, m->name, '`');
        buf_put_u8(out, ' ');
        struct shape inner = *m->shape;
        inner.nulls += m->seen < sh->objects;
        if (n->version < HAS_MAP)
            put_old_inner(n, &inner, out);
        else
            put_inner_type(n, &inner, out);
    }
    if (first) /* an old server has no empty one */
        buf_put_str(out, "`_` UInt8");
    buf_put_u8(out, ')');
}

/* Every object has the same keys, and they can be names. */
static bool is_record(const struct shape *sh)
{
    for (uint32_t i = 0; i < sh->member_count; i++)
        if (sh->members[i].seen < sh->objects)
            return false;
    return !sh->keys_odd && !sh->deep && sh->member_count > 0;
}

/* What all members have in common, when they are scalars of one family. */
static bool merge_members(const struct shape *sh, struct shape *all)
{
    *all = (struct shape){.forms = FORM_ALL};
    for (uint32_t i = 0; i < sh->member_count; i++) {
        const struct shape *m = sh->members[i].shape;
        if (m->arrays + m->objects > 0)
            return false;
        all->nulls += m->nulls;
        all->bools += m->bools;
        all->ints += m->ints;
        all->floats += m->floats;
        all->strings += m->strings;
        all->bits += m->bits;
        all->positive = m->positive > all->positive ? m->positive : all->positive;
        all->negative = m->negative > all->negative ? m->negative : all->negative;
        if (m->strings > 0)
            all->forms &= m->forms;
        if (m->fraction_digits > all->fraction_digits)
            all->fraction_digits = m->fraction_digits;
        all->zoneless = all->zoneless || m->zoneless;
        all->far = all->far || m->far;
        all->farther = all->farther || m->farther;
        all->farthest = all->farthest || m->farthest;
        all->far_date = all->far_date || m->far_date;
    }
    return sh->member_count > 0 && sh->member_count < LIMIT_SUGGEST_MEMBERS && is_uniform(all);
}

static void put_object_type(struct naming *n, const struct shape *sh, bool as_tuple,
                            struct buf *out)
{
    struct shape all;
    if (as_tuple && is_record(sh)) {
        put_tuple_type(n, sh, out);
        if (n->version >= HAS_JSON)
            column_note(n, "a key that the Tuple does not name would be dropped in silence; the "
                           "type JSON keeps every key");
    } else if (n->version < HAS_MAP) {
        put_tuple_type(n, sh, out);
        column_note(n, "this server has no type for objects with changing keys: keys that the "
                       "Tuple does not name are dropped in silence");
    } else if (as_tuple && merge_members(sh, &all)) {
        buf_put_str(out, "Map(String, ");
        put_inner_type(n, &all, out);
        buf_put_u8(out, ')');
    } else if (n->version >= HAS_JSON && as_tuple && !sh->keys_repeated) {
        buf_put_str(out, "JSON");
    } else {
        buf_put_str(out, "Map(String, String)");
        column_note(n, "values of the Map are kept as text");
    }
}

static void put_inner_type(struct naming *n, const struct shape *sh, struct buf *out)
{
    if (is_mixed(sh) || (sh->deep && sh->objects > 0)) {
        buf_put_str(out, sh->nulls > 0 ? "Nullable(String)" : "String");
        return;
    }
    if (sh->arrays > 0) {
        put_array_type(n, sh, out);
        return;
    }
    if (sh->objects > 0) {
        put_object_type(n, sh, true, out);
        return;
    }
    if (sh->nulls > 0)
        buf_put_str(out, "Nullable(");
    put_scalar_type(n, sh, out);
    if (sh->nulls > 0)
        buf_put_u8(out, ')');
}

/* ---- columns */

static bool is_few(const struct suggested *c)
{
    uint64_t values = c->shape.strings;
    return values > 0 && c->distinct.count < SUGGEST_DISTINCT_MAX &&
           (uint64_t)c->distinct.count * 10 <= values;
}

static void put_plain_column(struct naming *n, struct suggested *c, struct buf *out)
{
    struct buf type;
    buf_init(&type, SIZE_MAX);
    if (c->widened > 0)
        buf_put_str(&type, "String");
    else
        put_scalar_type(n, &c->shape, &type);
    struct slice t = buf_slice(&type);
    bool low = n->version >= HAS_LOW_CARDINALITY && slice_eq_str(t, "String") && is_few(c) &&
               c->shape.strings == scalars(&c->shape);
    if (c->shape.strings == 0 && scalars(&c->shape) > 0 && slice_eq_str(t, "String"))
        column_note(n, "no other type of this server takes these values");
    if (scalars(&c->shape) == 0)
        column_note(n, "only null in the sample: the type is a guess");
    buf_put_str(out, low ? "LowCardinality(" : "");
    buf_put_str(out, c->nullable ? "Nullable(" : "");
    buf_put_slice(out, t);
    buf_put_str(out, c->nullable ? ")" : "");
    buf_put_str(out, low ? ")" : "");
    if (!buf_ok(&type))
        out->failed = true;
    buf_fini(&type);
}

/* Nothing when no type takes the values. */
static void put_column_type(struct naming *n, struct suggested *c, struct buf *out)
{
    const struct shape *sh = &c->shape;
    bool array = sh->arrays > 0 && !is_mixed(sh) && !c->unequal;
    bool object = sh->objects > 0 && !is_mixed(sh);
    if (sh->arrays + sh->objects == 0 && c->widened < 2) {
        put_plain_column(n, c, out);
    } else if (array && c->widened == 0) {
        put_array_type(n, sh, out);
    } else if (array && c->widened == 1) {
        buf_put_str(out, "Array(String)");
    } else if (object && c->widened < 2) {
        put_object_type(n, sh, c->widened == 0, out);
    } else if (n->version >= HAS_JSON && !c->empty_object) { /* Dynamic cannot read {} */
        buf_put_str(out, "Dynamic");
        if (c->unequal)
            column_note(n, "to ClickHouse, arrays whose names share what is before the dot are one "
                           "Nested and have equal lengths; these have not");
    } else {
        column_note(n, "left out: no type of this server takes these values");
    }
}

/* What a composite column has where the record says nothing. */
static void put_default(struct naming *n, const struct suggested *c, struct slice type,
                        struct buf *out)
{
    if (type.len > 6 && memcmp(type.ptr, "Array(", 6) == 0) {
        buf_put_str(out, "[]");
        return;
    }
    if (n->version >= HAS_MAP) {
        buf_put_str(out, "defaultValueOfTypeName(");
        schema_put_quoted(out, type, '\'');
        buf_put_u8(out, ')');
        return;
    }
    buf_put_str(out, "CAST(tuple(");
    bool first = true;
    for (uint32_t i = 0; i < c->shape.member_count; i++) {
        const struct member *m = &c->shape.members[i];
        const struct shape *sh = m->shape;
        if (m->name.len == 0)
            continue;
        bool number = scalars(sh) > 0 && sh->arrays + sh->objects + sh->strings + sh->bools == 0;
        if (!first)
            buf_put_str(out, ", ");
        first = false;
        if (sh->nulls > 0 || m->seen < c->shape.objects)
            buf_put_str(out, "NULL");
        else
            buf_put_str(out, number && (sh->floats > 0 || *int_type(n, sh) != 'S') ? "0" : "''");
    }
    buf_put_str(out, first ? "0" : "");
    buf_put_str(out, ") AS ");
    buf_put_slice(out, type);
    buf_put_u8(out, ')');
}

static int name_column(struct naming *n, struct suggested *c)
{
    struct buf type, expr;
    buf_init(&type, SIZE_MAX);
    buf_init(&expr, SIZE_MAX);
    bool gaps = c->shape.nulls > 0 || c->seen < n->s->records;
    bool composite = c->shape.arrays + c->shape.objects > 0 || c->widened > 1;
    n->column = c->name;
    c->named = c->widened;
    c->nullable = gaps && !composite;
    put_column_type(n, c, &type);
    if (gaps && composite && type.len > 0)
        put_default(n, c, buf_slice(&type), &expr);
    c->type = type.len > 0 ? arena_dup(&n->s->arena, buf_slice(&type)) : (struct slice){NULL, 0};
    c->default_expr =
        expr.len > 0 ? arena_dup(&n->s->arena, buf_slice(&expr)) : (struct slice){NULL, 0};
    bool good = buf_ok(&type) && buf_ok(&expr) && (type.len == 0 || c->type.ptr != NULL) &&
                (expr.len == 0 || c->default_expr.ptr != NULL);
    buf_fini(&type);
    buf_fini(&expr);
    return good ? 0 : -ENOMEM;
}

/* ---- received_timestamp */

static bool has_stamp(const struct suggest *s)
{
    for (uint32_t i = 0; i < s->column_count; i++)
        if (slice_eq_str(s->columns[i].name, STAMP_NAME))
            return true;
    return false;
}

static struct slice literal(const char *s)
{
    return slice_str(s);
}

static int add_stamp(struct naming *n)
{
    struct suggest *s = n->s;
    bool fine = n->version >= HAS_DATETIME64;
    if (has_stamp(s) || s->column_count == LIMIT_SUGGEST_COLUMNS)
        return 0;
    if (s->column_count == s->column_cap) {
        struct suggested *more = arena_calloc(&s->arena, (size_t)s->column_cap + 1, sizeof(*more));
        if (more == NULL)
            return -ENOMEM;
        if (s->column_count > 0)
            memcpy(more, s->columns, s->column_count * sizeof(*more));
        s->columns = more;
        s->column_cap++;
    }
    s->stamp_added = true;
    s->columns[s->column_count++] = (struct suggested){
        .name = literal(STAMP_NAME),
        .type = literal(fine ? "DateTime64(3, 'UTC')" : "DateTime('UTC')"),
        .default_expr = literal(s->options->stamped ? ""
                                : fine              ? "now64(3)"
                                                    : "now()"),
    };
    return 0;
}

/* ---- the statement */

static bool may_lead(const struct suggested *c)
{
    static const char *const types[] = {"LowCardinality(String)", "String", "Bool", "Int64",
                                        "UInt64"};
    if (c->distinct.count < 2 || c->distinct.count > ORDER_DISTINCT_MAX ||
        (uint64_t)c->distinct.count * 10 > c->seen)
        return false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (slice_eq_str(c->type, types[i]))
            return true;
    return false;
}

static bool is_time(const struct suggested *c)
{
    return c->type.len >= 4 && memcmp(c->type.ptr, "Date", 4) == 0;
}

/* Up to ORDER_KEYS_MAX columns with few values, the fewest first, then a time. */
static uint32_t order_keys(const struct suggest *s, uint32_t keys[ORDER_KEYS_MAX + 1])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->column_count; i++) {
        uint32_t count = s->columns[i].distinct.count, at = n;
        if (!may_lead(&s->columns[i]))
            continue;
        while (at > 0 && s->columns[keys[at - 1]].distinct.count > count)
            at--;
        if (at == ORDER_KEYS_MAX)
            continue;
        uint32_t moved = n < ORDER_KEYS_MAX ? n - at : n - at - 1;
        memmove(&keys[at + 1], &keys[at], moved * sizeof(*keys));
        keys[at] = i;
        n += n < ORDER_KEYS_MAX;
    }
    for (uint32_t i = 0; i < s->column_count; i++)
        if (is_time(&s->columns[i])) {
            keys[n++] = i;
            break;
        }
    return n;
}

static void put_order(struct suggest *s, struct buf *out)
{
    uint32_t keys[ORDER_KEYS_MAX + 1], n = order_keys(s, keys);
    if (n == 0) {
        buf_put_str(out, " ORDER BY tuple()");
        note(s, "ORDER BY: nothing in the sample sorts well; choose what queries filter by");
        return;
    }
    buf_put_str(out, " ORDER BY (");
    for (uint32_t i = 0; i < n; i++) {
        buf_put_str(out, i > 0 ? ", " : "");
        schema_put_quoted(out, s->columns[keys[i]].name, '`');
    }
    buf_put_u8(out, ')');
    note(s, "ORDER BY is a guess: columns with few different values, then a time; put first what "
            "queries filter by most. It cannot be changed later.");
}

static void put_statement(struct naming *n)
{
    struct suggest *s = n->s;
    struct buf *out = &s->sql;
    bool first = true;
    buf_put_str(out, "CREATE TABLE ");
    schema_put_quoted(out, s->options->table, '`');
    buf_put_str(out, " (");
    for (uint32_t i = 0; i < s->column_count; i++) {
        const struct suggested *c = &s->columns[i];
        if (c->type.len == 0)
            continue;
        buf_put_str(out, first ? "" : ", ");
        first = false;
        schema_put_quoted(out, c->name, '`');
        buf_put_u8(out, ' ');
        buf_put_slice(out, c->type);
        if (c->default_expr.len > 0) {
            buf_put_str(out, " DEFAULT ");
            buf_put_slice(out, c->default_expr);
        }
    }
    buf_put_str(out, ") ENGINE = MergeTree");
    put_order(s, out);
    if (n->version >= HAS_WINDOW)
        buf_put_str(out, " SETTINGS non_replicated_deduplication_window = 1000");
    else
        note(s, "this server keeps no deduplication window: a repeated insert may store rows "
                "twice");
}

int suggest_name_types(struct suggest *s)
{
    struct naming n = {.s = s, .version = version_number(s->options->server_version)};
    buf_reset(&s->sql);
    buf_reset(&s->notes);
    s->note_count = 0;
    if (s->stamp_added)
        s->column_count--;
    s->stamp_added = false;
    for (uint32_t i = 0; i < s->column_count; i++) {
        int rc = name_column(&n, &s->columns[i]);
        if (rc != 0)
            return rc;
    }
    int rc = add_stamp(&n);
    if (rc != 0)
        return rc;
    put_statement(&n);
    if (s->stamp_added)
        note(s, STAMP_NAME "%s",
             s->options->stamped ? ": filled by wavehoused with the instant of "
                                   "acceptance"
                                 : ": filled by ClickHouse");
    if (s->cut)
        note(s, "only the first %d records were looked at", LIMIT_SUGGEST_RECORDS);
    if (s->keys_left_out > 0)
        note(s, "%" PRIu64 " keys are left out: more than %d columns, or names that no column has",
             s->keys_left_out, LIMIT_SUGGEST_COLUMNS);
    return buf_ok(&s->sql) && buf_ok(&s->notes) ? 0 : -ENOMEM;
}

void suggest_write(const struct suggest *s, struct buf *out)
{
    bool first = true;
    buf_put_str(out, "{\"sql\":");
    buf_put_json_string(out, buf_slice(&s->sql));
    buf_put_str(out, ",\"columns\":[");
    for (uint32_t i = 0; i < s->column_count; i++) {
        const struct suggested *c = &s->columns[i];
        if (c->type.len == 0)
            continue;
        buf_put_str(out, first ? "{\"name\":" : ",{\"name\":");
        first = false;
        buf_put_json_string(out, c->name);
        buf_put_str(out, ",\"type\":");
        buf_put_json_string(out, c->type);
        buf_printf(out, ",\"nullable\":%s,\"seen\":%" PRIu64, c->nullable ? "true" : "false",
                   c->seen);
        if (c->default_expr.len > 0) {
            buf_put_str(out, ",\"default\":");
            buf_put_json_string(out, c->default_expr);
        }
        for (uint32_t e = 0; e < c->example_count; e++) {
            buf_put_str(out, e == 0 ? ",\"examples\":[" : ",");
            buf_put_slice(out, c->examples[e]);
        }
        buf_put_str(out, c->example_count > 0 ? "]}" : "}");
    }
    buf_put_str(out, "],\"notes\":[");
    buf_put_slice(out, buf_slice(&s->notes));
    buf_put_u8(out, ']');
}
