/* SPDX-License-Identifier: Apache-2.0 */
#include "query/render.h"

#include "base/limits.h"
#include "schema/civil.h"
#include "schema/timestamp.h"
#include "schema/type.h"
#include "json/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define META_BYTES_MAX  (8 * MIB)
#define TYPES_BYTES_MAX (64 * MIB)
#define ZONES_MAX       16
#define KEY_CAP         32
#define ODD_BYTES       4096 /* of what is not the answer, for its exception */

enum state {
    AT_START, /* '{' is next */
    AT_KEY,   /* ',' or '"' or '}' */
    IN_KEY,
    AT_COLON,
    AT_VALUE,
    IN_META,
    IN_SKIPPED,
    AT_ROW, /* ',' or a row or ']' */
    IN_ROW,
    AT_END /* white space only */
};

enum column_kind {
    COLUMN_PLAIN,
    COLUMN_TIME,  /* DateTime or DateTime64 at the top */
    COLUMN_NESTED /* somewhere inside */
};

struct column {
    struct slice key; /* `"name":` */
    const struct ch_type *type;
    enum column_kind kind;
};

/* How far into a JSON value. */
struct scan {
    uint32_t depth;
    bool in_string, escaped, begun;
};

struct known_zone {
    struct slice name;
    struct zone *zone; /* NULL: there is none of that name here */
};

struct query_render {
    struct query_render_options options;
    char *server_zone;
    enum state state;
    struct scan scan;
    char key[KEY_CAP];
    size_t key_len;
    bool key_escaped;
    bool saw_data, opened, any;
    struct buf meta, row;
    struct arena types;
    struct column *columns;
    uint32_t column_count;
    struct known_zone zones[ZONES_MAX];
    uint32_t zone_count;
    struct buf odd;
};

struct query_render *query_render_new(const struct query_render_options *options)
{
    struct query_render *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->options = *options;
    r->server_zone = slice_dup(options->server_zone);
    if (r->server_zone == NULL) {
        free(r);
        return NULL;
    }
    r->options.server_zone = slice_str(r->server_zone);
    buf_init(&r->meta, META_BYTES_MAX);
    buf_init(&r->row, LIMIT_QUERY_RESULT_BYTES);
    buf_init(&r->odd, ODD_BYTES);
    arena_init(&r->types, 4096, TYPES_BYTES_MAX);
    return r;
}

void query_render_free(struct query_render *r)
{
    if (r == NULL)
        return;
    for (uint32_t i = 0; i < r->zone_count; i++)
        zone_free(r->zones[i].zone);
    arena_fini(&r->types);
    buf_fini(&r->meta);
    buf_fini(&r->row);
    buf_fini(&r->odd);
    free(r->server_zone);
    free(r);
}

/* --- JSON, as a server writes it ----------------------------------------------------------- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* Behind the value that begins at p, or NULL when it does not end before end. */
static const char *value_end(const char *p, const char *end)
{
    uint32_t depth = 0;
    bool in_string = false;
    for (; p < end; p++) {
        char c = *p;
        if (in_string) {
            if (c == '\\')
                p++;
            else if (c == '"') {
                in_string = false;
                if (depth == 0)
                    return p + 1;
            }
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (c == ']' || c == '}') {
            if (depth == 0)
                return p; /* of what is around a number */
            if (--depth == 0)
                return p + 1;
        } else if (depth == 0 && (c == ',' || c == ':' || is_space(c))) {
            return p;
        }
    }
    return NULL;
}

/* Go on in a value that may be cut anywhere; true: *p is behind its end. A number ends before the
 * first byte that is none of it. */
static bool scan_on(struct scan *s, const char **p, const char *end)
{
    for (const char *at = *p; at < end; at++) {
        char c = *at;
        if (s->in_string) {
            if (s->escaped)
                s->escaped = false;
            else if (c == '\\')
                s->escaped = true;
            else if (c == '"') {
                s->in_string = false;
                if (s->depth == 0) {
                    *p = at + 1;
                    return true;
                }
            }
        } else if (c == '"') {
            s->in_string = true;
        } else if (c == '[' || c == '{') {
            s->depth++;
        } else if (c == ']' || c == '}') {
            if (s->depth == 0) {
                *p = at;
                return true;
            }
            if (--s->depth == 0) {
                *p = at + 1;
                return true;
            }
        } else if (c == ',' && s->depth == 0) {
            *p = at;
            return true;
        }
    }
    *p = end;
    return false;
}

/* --- columns ------------------------------------------------------------------------------- */

static bool is_time(const struct ch_type *t)
{
    return t->kind == CH_DATETIME || t->kind == CH_DATETIME64;
}

static bool has_time(const struct ch_type *t)
{
    switch (t->kind) {
    case CH_DATETIME:
    case CH_DATETIME64:
        return true;
    case CH_NULLABLE:
    case CH_LOW_CARDINALITY:
    case CH_SIMPLE_AGGREGATE:
    case CH_ARRAY:
    case CH_TUPLE:
    case CH_MAP:
    case CH_NESTED:
        for (uint32_t i = 0; i < t->child_count; i++)
            if (has_time(t->children[i]))
                return true;
        return false;
    default: /* what is inside of the others does not show in the type's text */
        return false;
    }
}

static int column_set(struct query_render *r, struct column *c, struct slice name,
                      struct slice type)
{
    char *key = arena_alloc(&r->types, name.len + 1);
    if (key == NULL)
        return -ENOMEM;
    memcpy(key, name.ptr, name.len);
    key[name.len] = ':';
    c->key = (struct slice){key, name.len + 1};
    struct slice raw = {type.ptr + 1, type.len - 2};
    char *text = arena_alloc(&r->types, raw.len + 1);
    if (text == NULL)
        return -ENOMEM;
    const struct ch_type *t = NULL;
    struct err e;
    if (ch_type_parse(&r->types, (struct slice){text, json_unescape(raw, text)}, &t, &e) != 0)
        return 0; /* a type of the future: its value is shown as the server writes it */
    c->type = ch_type_peel(t);
    c->kind = is_time(c->type) ? COLUMN_TIME : has_time(c->type) ? COLUMN_NESTED : COLUMN_PLAIN;
    return 0;
}

/* The next `"name": value` of an object; false at its end or when it is none. */
static bool next_member(const char **p, const char *end, struct slice *name, struct slice *value)
{
    const char *at = skip_space(*p, end);
    if (at < end && *at == ',')
        at = skip_space(at + 1, end);
    if (at == end || *at != '"')
        return false;
    const char *e = value_end(at, end);
    if (e == NULL)
        return false;
    *name = (struct slice){at, (size_t)(e - at)};
    at = skip_space(e, end);
    if (at == end || *at != ':')
        return false;
    at = skip_space(at + 1, end);
    e = value_end(at, end);
    if (e == NULL || e == at)
        return false;
    *value = (struct slice){at, (size_t)(e - at)};
    *p = e;
    return true;
}

static bool is_string(struct slice v)
{
    return v.len >= 2 && v.ptr[0] == '"' && v.ptr[v.len - 1] == '"';
}

/* meta: [{"name":"a","type":"UInt8"},…] */
static int take_meta(struct query_render *r)
{
    const char *p = r->meta.ptr, *end = p + r->meta.len;
    uint32_t cap = 0;
    p = skip_space(p, end);
    if (p == end || *p != '[')
        return WH_ESYNTAX;
    for (const char *q = p; q < end; q++)
        cap += *q == '{'; /* at least as many as columns */
    r->columns = arena_calloc(&r->types, cap + 1, sizeof(*r->columns));
    if (r->columns == NULL)
        return -ENOMEM;
    for (p = skip_space(p + 1, end); p < end && *p != ']'; p = skip_space(p, end)) {
        if (*p == ',')
            p = skip_space(p + 1, end);
        if (p == end || *p != '{' || r->column_count == cap)
            return WH_ESYNTAX;
        const char *close = value_end(p, end);
        if (close == NULL)
            return WH_ESYNTAX;
        const char *at = p + 1;
        struct slice name, value, column = {0}, type = {0};
        while (next_member(&at, close - 1, &name, &value)) {
            if (slice_eq_str(name, "\"name\""))
                column = value;
            else if (slice_eq_str(name, "\"type\""))
                type = value;
        }
        if (!is_string(column) || !is_string(type))
            return WH_ESYNTAX;
        int rc = column_set(r, &r->columns[r->column_count++], column, type);
        if (rc != 0)
            return rc;
        p = close;
    }
    return p < end ? 0 : WH_ESYNTAX;
}

/* --- timestamps ---------------------------------------------------------------------------- */

static const struct zone *zone_of(struct query_render *r, const struct ch_type *t)
{
    struct slice name = t->timezone.len > 0 ? t->timezone : r->options.server_zone;
    for (uint32_t i = 0; i < r->zone_count; i++)
        if (slice_eq(r->zones[i].name, name))
            return r->zones[i].zone;
    if (r->zone_count == ZONES_MAX)
        return NULL;
    struct known_zone *z = &r->zones[r->zone_count++];
    struct err e;
    z->name = name;
    if (zone_load(name, &z->zone, &e) != 0)
        z->zone = NULL;
    return z->zone;
}

/* "2026-06-21T08:00:00.120Z" without the zeros; anything else as it is. */
static void put_trimmed(struct buf *out, struct slice v)
{
    const char *dot =
        is_string(v) && v.len > 3 && v.ptr[v.len - 2] == 'Z' ? memchr(v.ptr, '.', v.len) : NULL;
    if (dot == NULL) {
        buf_put_slice(out, v);
        return;
    }
    const char *end = v.ptr + v.len - 2;
    while (end > dot && end[-1] == '0')
        end--;
    if (end == dot + 1)
        end = dot;
    buf_put(out, v.ptr, (size_t)(end - v.ptr));
    buf_put_str(out, "Z\"");
}

/* A wall clock's text of an old server, as an instant. */
static void put_from_local(struct query_render *r, const struct ch_type *t, struct slice v,
                           struct buf *out)
{
    char text[TIMESTAMP_CAP];
    size_t len = 0;
    struct timestamp_type type = {t->kind == CH_DATETIME64, t->precision};
    if (!is_string(v)) {
        buf_put_slice(out, v);
        return;
    }
    struct slice inner = {v.ptr + 1, v.len - 2};
    if (slice_eq_str(inner, "0000-00-00 00:00:00")) /* 18.16's spelling of 0 */
        buf_put_str(out, "\"1970-01-01T00:00:00Z\"");
    else if (timestamp_from_text(type, inner, zone_of(r, t), text, &len) == TIMESTAMP_REPLACED)
        buf_printf(out, "\"%.*s\"", (int)len, text);
    else
        buf_put_slice(out, v);
}

static void put_civil(struct buf *out, int64_t s)
{
    int32_t days = civil_day_of(s);
    int32_t left = (int32_t)(s - (int64_t)days * CIVIL_DAY_S);
    struct civil_date d = civil_from_days(days);
    buf_printf(out, "%04d-%02d-%02d %02d:%02d:%02d", d.year, d.month, d.day, left / 3600,
               left / 60 % 60, left % 60);
}

static bool digits(const char *p, int n, int64_t *out)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        *out = *out * 10 + (p[i] - '0');
    }
    return true;
}

/* "2026-06-21T08:00:00.120Z" as ClickHouse shows it in the column's zone: "2026-06-21 04:00:00.120"
 */
static void put_as_local(struct query_render *r, const struct ch_type *t, struct slice v,
                         struct buf *out)
{
    int64_t y, mo, d, h, mi, s;
    const char *p = v.ptr + 1;
    const struct zone *zone;
    if (!is_string(v) || v.len < 22 || v.ptr[v.len - 2] != 'Z' || p[10] != 'T' ||
        !digits(p, 4, &y) || !digits(p + 5, 2, &mo) || !digits(p + 8, 2, &d) ||
        !digits(p + 11, 2, &h) || !digits(p + 14, 2, &mi) || !digits(p + 17, 2, &s) || mo < 1 ||
        mo > 12 || (zone = zone_of(r, t)) == NULL) {
        buf_put_slice(out, v);
        return;
    }
    struct civil_date date = {(int32_t)y, (uint8_t)mo, (uint8_t)d};
    int64_t utc = (int64_t)civil_to_days(date) * CIVIL_DAY_S + h * 3600 + mi * 60 + s;
    buf_put_u8(out, '"');
    put_civil(out, utc + zone_utc_offset(zone, utc));
    buf_put(out, p + 19, v.len - 3 - 19); /* the fraction */
    buf_put_u8(out, '"');
}

/* --- values -------------------------------------------------------------------------------- */

static int put_inside(struct query_render *r, const struct ch_type *t, struct slice v,
                      struct buf *out);

/* The type of member i of a composite; is_key: of a Map's key. */
static const struct ch_type *member_type(const struct ch_type *t, uint32_t i, bool is_key)
{
    switch (t->kind) {
    case CH_ARRAY:
        return t->children[0];
    case CH_MAP:
        return t->children[is_key ? 0 : 1];
    case CH_TUPLE:
    case CH_NESTED:
        return i < t->child_count ? t->children[i] : NULL;
    default:
        return NULL;
    }
}

/* An array or object, member by member. A Nested is an array of tuples. */
static int put_members(struct query_render *r, const struct ch_type *t, struct slice v, bool rows,
                       struct buf *out)
{
    const char *p = v.ptr + 1, *end = v.ptr + v.len - 1;
    bool object = v.ptr[0] == '{';
    buf_put_u8(out, (uint8_t)v.ptr[0]);
    for (uint32_t i = 0;; i++) {
        p = skip_space(p, end);
        if (p < end && *p == ',' && i > 0) {
            buf_put_u8(out, ',');
            p = skip_space(p + 1, end);
        }
        if (p == end)
            break;
        struct slice name, value;
        if (object) {
            if (!next_member(&p, end, &name, &value))
                return WH_ESYNTAX;
            const struct ch_type *key = t->kind == CH_MAP ? member_type(t, i, true) : NULL;
            int rc = put_inside(r, key, name, out);
            if (rc != 0)
                return rc;
            buf_put_u8(out, ':');
        } else {
            const char *e = value_end(p, end);
            e = e != NULL ? e : end; /* a number is the last */
            if (e == p)
                return WH_ESYNTAX;
            value = (struct slice){p, (size_t)(e - p)};
            p = e;
        }
        int rc = rows && value.len > 1 && (value.ptr[0] == '[' || value.ptr[0] == '{')
                     ? put_members(r, t, value, false, out)
                     : put_inside(r, rows ? NULL : member_type(t, i, false), value, out);
        if (rc != 0)
            return rc;
    }
    buf_put_u8(out, object ? '}' : ']');
    return 0;
}

static int put_inside(struct query_render *r, const struct ch_type *t, struct slice v,
                      struct buf *out)
{
    t = t != NULL ? ch_type_peel(t) : NULL;
    bool composite = v.len > 1 && (v.ptr[0] == '[' || v.ptr[0] == '{');
    if (t != NULL && is_time(t))
        put_as_local(r, t, v, out);
    else if (t != NULL && composite && has_time(t))
        return put_members(r, t, v, t->kind == CH_NESTED, out);
    else
        buf_put_slice(out, v);
    return 0;
}

static int put_value(struct query_render *r, const struct column *c, struct slice v,
                     struct buf *out)
{
    if (c->kind == COLUMN_TIME && r->options.utc && r->options.keep_zeros)
        buf_put_slice(out, v);
    else if (c->kind == COLUMN_TIME && r->options.utc)
        put_trimmed(out, v);
    else if (c->kind == COLUMN_TIME)
        put_from_local(r, c->type, v, out);
    else if (c->kind == COLUMN_NESTED && r->options.utc)
        return put_inside(r, c->type, v, out);
    else
        buf_put_slice(out, v);
    return 0;
}

/* [1, "a"] → {"x":1,"y":"a"} */
static int put_row(struct query_render *r, struct slice row, struct buf *out)
{
    const char *p = row.ptr + 1, *end = row.ptr + row.len - 1;
    if (r->options.shape != QUERY_RENDER_LINES && r->any)
        buf_put_u8(out, ',');
    r->any = true;
    if (r->options.shape == QUERY_RENDER_COPY) {
        buf_put_slice(out, row);
        return 0;
    }
    if (row.ptr[0] != '[')
        return WH_ESYNTAX;
    buf_put_u8(out, '{');
    for (uint32_t i = 0; i < r->column_count; i++) {
        p = skip_space(p, end);
        if (i > 0) {
            if (p == end || *p != ',')
                return WH_ESYNTAX;
            p = skip_space(p + 1, end);
            buf_put_u8(out, ',');
        }
        const char *e = value_end(p, end);
        e = e != NULL ? e : end; /* a number is the last */
        if (e == p)
            return WH_ESYNTAX;
        buf_put_slice(out, r->columns[i].key);
        int rc = put_value(r, &r->columns[i], (struct slice){p, (size_t)(e - p)}, out);
        if (rc != 0)
            return rc;
        p = e;
    }
    if (skip_space(p, end) != end)
        return WH_ESYNTAX;
    buf_put_u8(out, '}');
    if (r->options.shape == QUERY_RENDER_LINES)
        buf_put_u8(out, '\n');
    return 0;
}

/* --- the whole answer ---------------------------------------------------------------------- */

/* What is not the answer is remembered: an exception may be in it. */
static int odd(struct query_render *r, const char *p, const char *end)
{
    size_t room = r->odd.max - r->odd.len, n = (size_t)(end - p);
    buf_put(&r->odd, p, n < room ? n : room);
    return WH_ESYNTAX;
}

static bool key_is(const struct query_render *r, const char *name)
{
    return slice_eq_str((struct slice){r->key, r->key_len}, name);
}

static int begin_value(struct query_render *r, const char **p)
{
    r->scan = (struct scan){0};
    if (key_is(r, "meta")) {
        r->state = IN_META;
    } else if (key_is(r, "data")) {
        if (**p != '[' || (r->columns == NULL && r->options.shape != QUERY_RENDER_COPY))
            return WH_ESYNTAX;
        (*p)++;
        r->state = AT_ROW;
        r->saw_data = true;
    } else {
        r->state = IN_SKIPPED;
    }
    return 0;
}

/* A row's bytes up to end or the end of the input; whole ones are not copied. */
static int on_row(struct query_render *r, const char **p, const char *end, struct buf *out)
{
    const char *begin = *p;
    bool whole = scan_on(&r->scan, p, end);
    struct slice row = {begin, (size_t)(*p - begin)};
    if (!whole || r->row.len > 0) {
        buf_put_slice(&r->row, row);
        if (!buf_ok(&r->row))
            return WH_EFULL;
        row = buf_slice(&r->row);
    }
    if (!whole)
        return 0;
    r->state = AT_ROW;
    int rc = row.len >= 2 ? put_row(r, row, out) : WH_ESYNTAX;
    buf_reset(&r->row);
    return rc;
}

static int step(struct query_render *r, const char **p, const char *end, struct buf *out)
{
    const char *begin = *p;
    if (r->state != IN_KEY && r->state != IN_META && r->state != IN_SKIPPED && r->state != IN_ROW) {
        *p = skip_space(*p, end);
        if (*p == end)
            return 0;
    }
    char c = **p;
    switch (r->state) {
    case AT_START:
        if (c != '{')
            return WH_ESYNTAX;
        r->state = AT_KEY;
        (*p)++;
        return 0;
    case AT_KEY:
        if (c == '}')
            r->state = AT_END;
        else if (c == '"')
            r->state = IN_KEY;
        else if (c != ',')
            return WH_ESYNTAX;
        r->key_len = 0;
        (*p)++;
        return 0;
    case IN_KEY: /* ClickHouse's own words: meta, data, rows, …; none is escaped or long */
        for (; *p < end && **p != '"'; (*p)++) {
            if (r->key_len == KEY_CAP || **p == '\\')
                return WH_ESYNTAX;
            r->key[r->key_len++] = **p;
        }
        if (*p < end) {
            r->state = AT_COLON;
            (*p)++;
        }
        return 0;
    case AT_COLON:
        if (c != ':')
            return WH_ESYNTAX;
        r->state = AT_VALUE;
        (*p)++;
        return 0;
    case AT_VALUE:
        return begin_value(r, p);
    case IN_META: {
        bool whole = scan_on(&r->scan, p, end);
        buf_put(&r->meta, begin, (size_t)(*p - begin));
        if (!buf_ok(&r->meta))
            return WH_EFULL;
        if (!whole)
            return 0;
        r->state = AT_KEY;
        return take_meta(r);
    }
    case IN_SKIPPED:
        if (scan_on(&r->scan, p, end))
            r->state = AT_KEY;
        return 0;
    case AT_ROW:
        if (c == ']') {
            r->state = AT_KEY;
            (*p)++;
        } else if (c == ',') {
            (*p)++;
        } else if (c == '[' || c == '{') {
            r->scan = (struct scan){0};
            r->state = IN_ROW;
        } else {
            return WH_ESYNTAX;
        }
        return 0;
    case IN_ROW:
        return on_row(r, p, end, out);
    case AT_END:
        return WH_ESYNTAX;
    }
    return WH_ESYNTAX;
}

static void open_array(struct query_render *r, struct buf *out)
{
    if (!r->opened && r->options.shape != QUERY_RENDER_LINES)
        buf_put_u8(out, '[');
    r->opened = true;
}

int query_render_feed(struct query_render *r, struct slice bytes, struct buf *out)
{
    const char *p = bytes.ptr, *end = p + bytes.len;
    open_array(r, out);
    while (p < end) {
        const char *at = p;
        int rc = step(r, &p, end, out);
        if (rc == WH_ESYNTAX)
            return odd(r, at, end);
        if (rc != 0)
            return rc;
    }
    return buf_ok(out) ? 0 : out->len >= out->max / 2 ? WH_EFULL : -ENOMEM;
}

int query_render_finish(struct query_render *r, struct buf *out)
{
    bool nothing = r->state == AT_START && r->options.shape == QUERY_RENDER_COPY;
    if (!nothing && (r->state != AT_END || !r->saw_data))
        return WH_ESYNTAX;
    open_array(r, out);
    if (r->options.shape != QUERY_RENDER_LINES)
        buf_put_u8(out, ']');
    return buf_ok(out) ? 0 : WH_EFULL;
}

struct slice query_render_exception(const struct query_render *r)
{
    /* Also within a row or key that was cut by it. */
    const struct buf *where[] = {&r->odd, &r->row};
    for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++) {
        const char *at =
            where[i]->len > 0 ? memmem(where[i]->ptr, where[i]->len, "Code: ", 6) : NULL;
        if (at != NULL)
            return (struct slice){at, where[i]->len - (size_t)(at - where[i]->ptr)};
    }
    return (struct slice){NULL, 0};
}
