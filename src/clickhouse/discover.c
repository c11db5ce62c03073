/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and columns of a database, from system.tables and system.columns (clickhouse-native §13).
 *
 * Everything is asked for as RowBinary: strings with a length in front, the same on both server
 * generations, and no escaping to undo. */
#include "base/limits.h"
#include "clickhouse/http_client.h"
#include "clickhouse/native_priv.h"

#include <stdio.h>
#include <stdlib.h>

#define ANSWER_BYTES_MAX  (256 * MIB) /* LIMIT_TABLES wide tables */
#define WINDOW_PLAIN      "non_replicated_deduplication_window"
#define WINDOW_REPLICATED "replicated_deduplication_window"

struct discovery {
    struct ch_http *http;
    const char *database;
    struct ch_error *e;
    struct buf sql, server, settings, tables, columns;
    struct column_row *rows; /* sorted by table, in table order */
    size_t row_count;
    int64_t plain_window, replicated_window; /* the server's defaults; −1 not known */
};

struct column_row {
    struct slice table, name, type, default_kind, default_expression;
    size_t place; /* in the answer */
};

bool ch_take_string(struct slice *in, struct slice *out)
{
    uint64_t n = 0;
    for (unsigned int shift = 0; in->len > 0 && shift < 35; shift += 7) {
        uint8_t byte = (uint8_t)*in->ptr;
        in->ptr++;
        in->len--;
        n |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (n > in->len)
                return false;
            *out = (struct slice){in->ptr, (size_t)n};
            in->ptr += n;
            in->len -= n;
            return true;
        }
    }
    return false;
}

static bool take_strings(struct slice *in, struct slice **fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (!ch_take_string(in, fields[i]))
            return false;
    return true;
}

static void put_literal(struct buf *b, const char *s)
{
    buf_put_u8(b, '\'');
    for (; *s != '\0'; s++) {
        if (*s == '\\' || *s == '\'')
            buf_put_u8(b, '\\');
        buf_put_u8(b, (uint8_t)*s);
    }
    buf_put_u8(b, '\'');
}

/* select … [where database = '…'] more FORMAT RowBinary */
static enum ch_outcome ask(struct discovery *d, const char *select, bool of_database,
                           const char *more, struct buf *out)
{
    buf_reset(&d->sql);
    buf_put_str(&d->sql, select);
    if (of_database) {
        buf_put_str(&d->sql, " WHERE database = ");
        put_literal(&d->sql, d->database);
    }
    buf_put_str(&d->sql, more);
    buf_put_str(&d->sql, " FORMAT RowBinary");
    if (!buf_ok(&d->sql))
        return ch_fail(d->e, CH_UNAVAILABLE, 0, "out of memory");
    struct ch_http_request q = {.sql = buf_slice(&d->sql), .response_max = ANSWER_BYTES_MAX};
    buf_reset(out);
    return ch_http_query(d->http, &q, out, d->e);
}

static enum ch_outcome fail_answer(struct discovery *d, const char *what)
{
    return ch_fail(d->e, CH_BUG, 0, "discovery: the answer about %s is not what was asked for",
                   what);
}

static int by_table_then_place(const void *a, const void *b)
{
    const struct column_row *x = a, *y = b;
    int order = slice_compare(x->table, y->table);
    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

/* A database that does not exist is an error of this first question already (the URL names it), not
 * an empty catalog that would replace a good one. */
static enum ch_outcome ask_server(struct discovery *d, struct slice *version,
                                  struct slice *timezone)
{
    enum ch_outcome o = ask(d, "SELECT version(), timezone()", false, "", &d->server);
    if (o != CH_OK)
        return o;
    struct slice rest = buf_slice(&d->server);
    struct slice *fields[] = {version, timezone};
    return take_strings(&rest, fields, 2) ? CH_OK : fail_answer(d, "the server");
}

static enum ch_outcome ask_windows(struct discovery *d)
{
    enum ch_outcome o =
        ask(d, "SELECT name, value FROM system.merge_tree_settings", false,
            " WHERE name IN ('" WINDOW_PLAIN "', '" WINDOW_REPLICATED "')", &d->settings);
    if (o != CH_OK) /* 18.16 has no such table, a restricted user no right to it */
        return d->e->code == 60 || d->e->code == 497 ? CH_OK : o;
    d->plain_window = 0; /* a server with the table but without the setting has no such thing */
    struct slice rest = buf_slice(&d->settings), name, value;
    struct slice *fields[] = {&name, &value};
    while (take_strings(&rest, fields, 2)) {
        char number[24] = "";
        memcpy(number, value.ptr, value.len < sizeof(number) - 1 ? value.len : sizeof(number) - 1);
        int64_t *window =
            slice_eq_str(name, WINDOW_PLAIN) ? &d->plain_window : &d->replicated_window;
        *window = strtoll(number, NULL, 10);
    }
    return CH_OK;
}

static enum ch_outcome ask_columns(struct discovery *d, bool has_position)
{
    enum ch_outcome o =
        ask(d, "SELECT table, name, type, default_kind, default_expression FROM system.columns",
            true, has_position ? " ORDER BY table, position" : "", &d->columns);
    if (o != CH_OK)
        return o;
    struct slice rest = buf_slice(&d->columns);
    size_t cap = 0;
    while (rest.len > 0) {
        struct column_row r = {.place = d->row_count};
        struct slice *fields[] = {&r.table, &r.name, &r.type, &r.default_kind,
                                  &r.default_expression};
        if (!take_strings(&rest, fields, 5))
            return fail_answer(d, "columns");
        if (d->row_count == cap) {
            cap = cap == 0 ? 256 : cap * 2;
            struct column_row *p = realloc(d->rows, cap * sizeof(*p));
            if (p == NULL)
                return ch_fail(d->e, CH_UNAVAILABLE, 0, "out of memory");
            d->rows = p;
        }
        d->rows[d->row_count++] = r;
    }
    if (d->row_count > 0)
        qsort(d->rows, d->row_count, sizeof(*d->rows), by_table_then_place);
    return CH_OK;
}

static bool starts_with(struct slice s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.ptr, prefix, n) == 0;
}

/* `name = N` in the SETTINGS of an engine's full text; −1 when it is not there. */
static int64_t window_in_engine(struct slice full, const char *name)
{
    static const char marker[] = " SETTINGS ";
    const char *settings = memmem(full.ptr, full.len, marker, sizeof(marker) - 1);
    if (settings == NULL)
        return -1;
    struct slice rest = {settings, full.len - (size_t)(settings - full.ptr)};
    size_t n = strlen(name);
    for (const char *p; (p = memmem(rest.ptr, rest.len, name, n)) != NULL;) {
        rest.len -= (size_t)(p + n - rest.ptr);
        rest.ptr = p + n;
        /* The one name is the tail of the other. */
        if (p[-1] != ' ' || !starts_with(rest, " = "))
            continue;
        char number[24] = "";
        size_t len = rest.len - 3 < sizeof(number) - 1 ? rest.len - 3 : sizeof(number) - 1;
        memcpy(number, rest.ptr + 3, len);
        return strtoll(number, NULL, 10);
    }
    return -1;
}

static int64_t dedup_window(const struct discovery *d, struct slice engine, struct slice full)
{
    bool merge_tree = engine.len >= 9 && memcmp(engine.ptr + engine.len - 9, "MergeTree", 9) == 0;
    if (!merge_tree) /* what is behind a Distributed table or a view is not ours to see */
        return -1;
    bool replicated = starts_with(engine, "Replicated") || starts_with(engine, "Shared");
    int64_t own = window_in_engine(full, replicated ? WINDOW_REPLICATED : WINDOW_PLAIN);
    return own >= 0 ? own : replicated ? d->replicated_window : d->plain_window;
}

static int add_table(struct schema_builder *b, const struct discovery *d, size_t *next,
                     struct slice name, struct slice engine, struct slice full)
{
    const struct column_row key = {.table = name};
    while (*next < d->row_count) {
        struct column_row at = d->rows[*next];
        at.place = 0;
        if (by_table_then_place(&at, &key) >= 0)
            break;
        (*next)++;
    }
    if (*next == d->row_count || !slice_eq(d->rows[*next].table, name))
        return 0; /* dropped between the two questions */
    int rc = schema_builder_table(b, name, engine, dedup_window(d, engine, full));
    for (; rc == 0 && *next < d->row_count && slice_eq(d->rows[*next].table, name); (*next)++) {
        const struct column_row *r = &d->rows[*next];
        rc = schema_builder_column(b, r->name, r->type, r->default_kind, r->default_expression);
    }
    return rc;
}

static enum ch_outcome build(struct discovery *d, struct schema_builder *b)
{
    size_t next = 0;
    struct slice rest = buf_slice(&d->tables);
    while (rest.len > 0) {
        struct slice name, engine, full;
        struct slice *fields[] = {&name, &engine, &full};
        if (!take_strings(&rest, fields, 3))
            return fail_answer(d, "tables");
        /* The hidden half of a materialized view is written through the view's source only. */
        if (starts_with(name, ".inner.") || starts_with(name, ".inner_id."))
            continue;
        int rc = add_table(b, d, &next, name, engine, full);
        if (rc != 0)
            return ch_fail(d->e, CH_UNAVAILABLE, 0, "discovery: table %.*s: %s", SLICE_ARG(name),
                           err_text(rc));
    }
    return CH_OK;
}

static enum ch_outcome discover(struct discovery *d, struct schema_builder *b,
                                struct schema_catalog **out)
{
    struct slice version, timezone;
    enum ch_outcome o = ask_server(d, &version, &timezone);
    if (o == CH_OK)
        o = ask_windows(d);
    if (o == CH_OK)
        o = ask(d, "SELECT name, engine, engine_full FROM system.tables", true, " ORDER BY name",
                &d->tables);
    if (o == CH_OK) {
        /* Before version 21 there is no such column, and the answer is in table order anyway. */
        bool has_position =
            version.len > 2 && version.ptr[2] == '.' &&
            (version.ptr[0] > '2' || (version.ptr[0] == '2' && version.ptr[1] >= '1'));
        o = ask_columns(d, has_position);
    }
    if (o != CH_OK)
        return o;
    schema_builder_server(b, version, timezone);
    o = build(d, b);
    if (o != CH_OK)
        return o;
    struct err err;
    *out = schema_builder_finish(b, &err);
    return *out != NULL ? CH_OK : ch_fail(d->e, CH_UNAVAILABLE, 0, "discovery: %s", err.text);
}

enum ch_outcome ch_discover(struct ch_http *c, const char *database, struct schema_catalog **out,
                            struct ch_error *e)
{
    struct discovery d = {
        .http = c, .database = database, .e = e, .plain_window = 0, .replicated_window = -1};
    struct buf *bufs[] = {&d.sql, &d.server, &d.settings, &d.tables, &d.columns};
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        buf_init(bufs[i], ANSWER_BYTES_MAX);
    struct schema_builder *b = schema_builder_new();
    *out = NULL;
    enum ch_outcome o =
        b != NULL ? discover(&d, b, out) : ch_fail(e, CH_UNAVAILABLE, 0, "out of memory");
    schema_builder_free(b);
    for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
        buf_fini(bufs[i]);
    free(d.rows);
    return o;
}
