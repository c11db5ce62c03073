/* SPDX-License-Identifier: Apache-2.0 */
/* The catalog as text: what is kept over a restart, and what the ops route prints.
 *
 *   {"format":1,"version":"24.8.1","timezone":"UTC","tables":[
 *    {"name":"t","engine":"MergeTree","dedup_window":0,"columns":[["id","UInt64","",""],…]},…]} */
#include "base/limits.h"
#include "schema/schema.h"
#include "schema/schema_priv.h"
#include "json/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define SAVE_FORMAT 1

/* ---- writing ------------------------------------------------------------------------------- */

static void save_column(const struct schema_column *col, struct buf *out)
{
    buf_put_u8(out, '[');
    buf_put_json_string(out, col->name);
    buf_put_u8(out, ',');
    buf_put_json_string(out, col->type->text);
    buf_put_u8(out, ',');
    buf_put_json_string(out, slice_str(schema_default_name(col->default_kind)));
    buf_put_u8(out, ',');
    buf_put_json_string(out, col->default_expression);
    buf_put_u8(out, ']');
}

static void save_table(const struct schema_table *t, struct buf *out)
{
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, t->name);
    buf_put_str(out, ",\"engine\":");
    buf_put_json_string(out, t->engine);
    buf_printf(out, ",\"dedup_window\":%" PRId64 ",\"columns\":[", t->dedup_window);
    for (uint32_t i = 0; i < t->column_count; i++) {
        if (i != 0)
            buf_put_u8(out, ',');
        save_column(&t->columns[i], out);
    }
    buf_put_str(out, "]}");
}

void schema_catalog_save(const struct schema_catalog *c, struct buf *out)
{
    buf_printf(out, "{\"format\":%d,\"version\":", SAVE_FORMAT);
    buf_put_json_string(out, schema_catalog_version(c));
    buf_put_str(out, ",\"timezone\":");
    buf_put_json_string(out, schema_catalog_timezone(c));
    buf_put_str(out, ",\"tables\":[");
    for (uint32_t i = 0; i < c->table_count; i++) {
        buf_put_str(out, i == 0 ? "\n" : ",\n");
        save_table(&c->tables[i], out);
    }
    buf_put_str(out, "]}\n");
}

static void column_json(const struct schema_column *col, struct buf *out)
{
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, col->name);
    buf_put_str(out, ",\"type\":");
    buf_put_json_string(out, col->type->text);
    buf_printf(out, ",\"is_nullable\":%s,\"has_default\":%s,\"position\":%" PRIu32,
               col->nullable ? "true" : "false",
               col->default_kind != SCHEMA_DEFAULT_NONE ? "true" : "false", col->ordinal + 1);
    if (col->default_kind != SCHEMA_DEFAULT_NONE) {
        buf_put_str(out, ",\"default_kind\":");
        buf_put_json_string(out, slice_str(schema_default_name(col->default_kind)));
        buf_put_str(out, ",\"default_expression\":");
        buf_put_json_string(out, col->default_expression);
    }
    buf_put_u8(out, '}');
}

void schema_table_json(const struct schema_table *t, struct buf *out)
{
    buf_put_str(out, "{\"name\":");
    buf_put_json_string(out, t->name);
    buf_put_str(out, ",\"columns\":[");
    for (uint32_t i = 0; i < t->column_count; i++) {
        if (i != 0)
            buf_put_u8(out, ',');
        column_json(&t->columns[i], out);
    }
    buf_put_str(out, "]}");
}

void schema_catalog_json(const struct schema_catalog *c, struct buf *out)
{
    buf_put_u8(out, '[');
    for (uint32_t i = 0; i < c->table_count; i++) {
        if (i != 0)
            buf_put_u8(out, ',');
        schema_table_json(&c->tables[i], out);
    }
    buf_put_u8(out, ']');
}

/* ---- reading ------------------------------------------------------------------------------- */

struct loader {
    struct schema_builder *b;
    const struct json_doc *doc;
    char *scratch; /* unescaped texts; at least as long as the whole text */
    size_t used;
};

/* The value of a member of object obj; NULL when missing or not of that kind. */
static const struct json_node *member(const struct loader *l, const struct json_node *obj,
                                      const char *key, enum json_kind kind)
{
    const struct json_node *nodes = l->doc->nodes;
    uint32_t i = (uint32_t)(obj - nodes) + 1;
    for (; i < obj->next; i = nodes[i + 1].next)
        if (slice_eq_str(json_raw(l->doc, &nodes[i]), key))
            return nodes[i + 1].kind == kind ? &nodes[i + 1] : NULL;
    return NULL;
}

static struct slice text_of(struct loader *l, const struct json_node *n)
{
    struct slice s = {l->scratch + l->used, 0};
    if (n != NULL && n->kind == JSON_STRING)
        s.len = json_unescape(json_raw(l->doc, n), l->scratch + l->used);
    l->used += s.len;
    return s;
}

static int64_t integer_of(const struct loader *l, const struct json_node *n, int64_t fallback)
{
    if (n == NULL || (n->flags & JSON_F_INTEGER) == 0 || n->len > 18)
        return fallback;
    char digits[24] = "";
    memcpy(digits, l->doc->text + n->off, n->len);
    return strtoll(digits, NULL, 10);
}

static int load_table(struct loader *l, const struct json_node *table)
{
    const struct json_node *nodes = l->doc->nodes;
    if (table->kind != JSON_OBJECT)
        return WH_ESYNTAX;
    const struct json_node *name = member(l, table, "name", JSON_STRING);
    const struct json_node *columns = member(l, table, "columns", JSON_ARRAY);
    if (name == NULL || columns == NULL)
        return WH_ESYNTAX;
    l->used = 0;
    struct slice name_text = text_of(l, name);
    int rc =
        schema_builder_table(l->b, name_text, text_of(l, member(l, table, "engine", JSON_STRING)),
                             integer_of(l, member(l, table, "dedup_window", JSON_NUMBER), -1));
    for (uint32_t i = (uint32_t)(columns - nodes) + 1; rc == 0 && i < columns->next;
         i = nodes[i].next) {
        if (nodes[i].kind != JSON_ARRAY || nodes[i].count != 4 || nodes[i].next != i + 5)
            return WH_ESYNTAX;
        l->used = 0;
        struct slice part[4];
        for (uint32_t k = 0; k < 4; k++)
            part[k] = text_of(l, &nodes[i + 1 + k]);
        rc = schema_builder_column(l->b, part[0], part[1], part[2], part[3]);
    }
    return rc;
}

static int load_all(struct loader *l)
{
    const struct json_node *nodes = l->doc->nodes;
    if (nodes[0].kind != JSON_OBJECT)
        return WH_ESYNTAX;
    const struct json_node *tables = member(l, &nodes[0], "tables", JSON_ARRAY);
    if (integer_of(l, member(l, &nodes[0], "format", JSON_NUMBER), 0) != SAVE_FORMAT)
        return WH_EUNSUPPORTED;
    if (tables == NULL)
        return WH_ESYNTAX;
    l->used = 0;
    struct slice version = text_of(l, member(l, &nodes[0], "version", JSON_STRING));
    schema_builder_server(l->b, version, text_of(l, member(l, &nodes[0], "timezone", JSON_STRING)));
    int rc = 0;
    for (uint32_t i = (uint32_t)(tables - nodes) + 1; rc == 0 && i < tables->next;
         i = nodes[i].next)
        rc = load_table(l, &nodes[i]);
    return rc;
}

struct schema_catalog *schema_catalog_load(struct slice text, struct err *e)
{
    struct schema_catalog *c = NULL;
    if (text.len > LIMIT_INGEST_BODY_BYTES_HARD) {
        (void)err_set(e, WH_ELIMIT, "saved schema is too large: %zu bytes", text.len);
        return NULL;
    }
    struct loader l = {.b = schema_builder_new(), .scratch = malloc(text.len + 1)};
    struct json_reader *r = json_reader_new(text.len);
    char *padded = calloc(1, text.len + LIMIT_JSON_PADDING);
    struct json_doc doc;
    int rc = -ENOMEM;
    if (l.b == NULL || l.scratch == NULL || r == NULL || padded == NULL)
        goto out;
    if (text.len > 0)
        memcpy(padded, text.ptr, text.len);
    rc = json_reader_begin(r, padded, text.len, JSON_ONE);
    if (rc == 0)
        rc = json_reader_next(r, &doc);
    l.doc = &doc;
    if (rc == 0)
        rc = json_reader_trailing(r) ? WH_ESYNTAX : load_all(&l);
    if (rc == 0) {
        c = schema_builder_finish(l.b, e);
        goto free;
    }
out:
    (void)err_set(e, rc == WH_EEND ? WH_ESYNTAX : rc,
                  "saved schema cannot be used (%s); it is made anew once ClickHouse answers",
                  rc == WH_EUNSUPPORTED ? "written by another version" : err_text(rc));
free:
    free(padded);
    json_reader_free(r);
    schema_builder_free(l.b);
    free(l.scratch);
    return c;
}

void schema_put_quoted(struct buf *out, struct slice name, char quote)
{
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == quote || name.ptr[i] == '\\')
            buf_put_u8(out, '\\');
        buf_put_u8(out, (uint8_t)name.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}
