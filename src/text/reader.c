/* SPDX-License-Identifier: Apache-2.0 */
#include "text/text_priv.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct text_reader *text_reader_new(void)
{
    struct text_reader *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->magic = TEXT_MAGIC;
    buf_init(&r->out, SIZE_MAX);
    buf_init(&r->field, SIZE_MAX);
    buf_init(&r->scratch, SIZE_MAX);
    buf_init(&r->value, SIZE_MAX);
    r->json = json_reader_new(LIMIT_TEXT_ROW_BYTES);
    if (r->json == NULL) {
        text_reader_free(r);
        return NULL;
    }
    return r;
}

void text_reader_free(struct text_reader *r)
{
    if (r == NULL)
        return;
    CHECK_MAGIC(r, TEXT_MAGIC);
    r->magic = 0;
    json_reader_free(r->json);
    buf_fini(&r->out);
    buf_fini(&r->field);
    buf_fini(&r->scratch);
    buf_fini(&r->value);
    free(r->fields);
    free(r);
}

/* ---- errors ------------------------------------------------------------------------------- */

/* Foreign bytes may have been cut within a character, or be no text at all. */
static void make_printable(char *text)
{
    const char *q = text;
    while ((*q >= 0x20 && *q < 0x7f) || *q == '\n')
        q++;
    if (*q == '\0') /* as always, but for what somebody sends: bad rows come by the million */
        return;
    char out[sizeof(((struct text_error *)0)->text)];
    const unsigned char *p = (const unsigned char *)text;
    size_t n = 0, left = strlen(text);
    while (left > 0 && n + 5 < sizeof(out)) {
        size_t len = *p >= 0x80 ? text_utf8_len(p, left) : (*p >= 0x20 && *p < 0x7f) || *p == '\n';
        if (len > 0)
            memcpy(out + n, p, len);
        n += len > 0 ? len : (size_t)snprintf(out + n, 5, "\\x%02x", *p);
        len += len == 0;
        p += len;
        left -= len;
    }
    out[n] = '\0';
    memcpy(text, out, n + 1);
}

int text_refuse(struct text_reader *r, int32_t code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    r->error.code = code;
    (void)vsnprintf(r->error.text, sizeof(r->error.text), fmt, ap);
    va_end(ap);
    make_printable(r->error.text);
    return WH_ESYNTAX;
}

const struct text_error *text_reader_error(const struct text_reader *r)
{
    return &r->error;
}

/* ---- fields ------------------------------------------------------------------------------- */

static bool fields_room(struct text_reader *r, uint32_t need)
{
    if (need <= r->field_cap)
        return true;
    uint32_t cap = need < 2 * r->field_cap ? 2 * r->field_cap : need;
    const struct schema_column **grown = realloc(r->fields, cap * sizeof(grown[0]));
    if (grown == NULL)
        return false;
    r->fields = grown;
    r->field_cap = cap;
    return true;
}

static bool is_own(const struct schema_column *c)
{
    return c->insertable && c->default_kind != SCHEMA_DEFAULT_EPHEMERAL;
}

static int fields_given(struct text_reader *r)
{
    const struct schema_table *t = r->table;
    uint32_t most = r->o.columns != NULL ? r->o.column_count : t->column_count;
    if (!fields_room(r, most))
        return -ENOMEM;
    r->field_count = 0;
    for (uint32_t i = 0; i < most; i++) {
        const struct schema_column *c = &t->columns[r->o.columns != NULL ? r->o.columns[i] : i];
        if (r->o.columns != NULL || is_own(c))
            r->fields[r->field_count++] = c;
    }
    return 0;
}

static bool is_listed(const struct text_reader *r, const struct schema_column *c)
{
    if (r->o.columns == NULL)
        return c->insertable;
    for (uint32_t i = 0; i < r->o.column_count; i++)
        if (r->o.columns[i] == c->ordinal)
            return true;
    return false;
}

/* The column that a header's name means, NULL when it means none. */
static const struct schema_column *column_named(const struct text_reader *r, struct slice name)
{
    const struct schema_table *t = r->table;
    const struct schema_column *c = schema_table_column(t, name);
    if (c != NULL && is_listed(r, c))
        return c;
    for (uint32_t i = 0; r->o.any_case && i < t->column_count; i++) {
        c = &t->columns[i];
        if (c->name.len == name.len && strncasecmp(c->name.ptr, name.ptr, name.len) == 0 &&
            is_listed(r, c))
            return c;
    }
    return NULL;
}

/* The next field of the header, whatever it means. */
static int field_named(struct text_reader *r, struct slice name)
{
    const struct schema_column *c = column_named(r, name);
    if (r->field_count >= LIMIT_TABLE_COLUMNS)
        return text_refuse(r, 117, "The header has more than %d fields", LIMIT_TABLE_COLUMNS);
    if (c == NULL && !r->o.skip_unknown)
        return text_refuse(r, 117,
                           "Unknown field found in format header: '%.*s' at position %u\n"
                           "Set the 'input_format_skip_unknown_fields' parameter explicitly to "
                           "ignore and proceed",
                           name.len < 256 ? (int)name.len : 256, name.ptr, r->field_count);
    for (uint32_t i = 0; c != NULL && i < r->field_count; i++)
        if (r->fields[i] == c)
            return text_refuse(r, 117, "Duplicate field found while parsing format header: %.*s",
                               name.len < 256 ? (int)name.len : 256, name.ptr);
    if (!fields_room(r, r->field_count + 1))
        return -ENOMEM;
    r->fields[r->field_count++] = c;
    return 0;
}

static int next_name(struct text_reader *r, struct slice *name, bool *last)
{
    return r->o.format == TEXT_CSV ? text_csv_name(r, name, last) : text_tsv_name(r, name, last);
}

/* Is the first row a header: nothing but names of columns, or all of them with others? */
static bool spells_names(struct text_reader *r)
{
    const char *from = r->p;
    uint32_t fields = 0, known = 0;
    bool last = false, readable = true;
    while (readable && !last && fields < LIMIT_TABLE_COLUMNS) {
        struct slice name;
        readable = next_name(r, &name, &last) == 0;
        fields++;
        known += readable && column_named(r, name) != NULL;
    }
    r->p = from;
    r->error.code = 0;
    return readable && (known == fields || (r->o.skip_unknown && known >= r->field_count));
}

/* Resolve the escapes of a JSON string into r->field. */
static struct slice json_string(struct text_reader *r, const struct json_doc *doc,
                                const struct json_node *n)
{
    struct slice raw = json_raw(doc, n);
    if ((n->flags & JSON_F_ESCAPED) == 0)
        return raw;
    buf_reset(&r->field);
    char *at = buf_extend(&r->field, raw.len);
    return at == NULL ? raw : (struct slice){at, json_unescape(raw, at)};
}

/* A row of names or types: each(…) for every field. */
static int read_header(struct text_reader *r, int (*each)(struct text_reader *, struct slice))
{
    if (r->o.format == TEXT_JSON_COMPACT) {
        struct json_doc doc;
        while (r->p < r->limit && text_is_space(*r->p))
            r->p++;
        if (r->p == r->end)
            return text_refuse(r, 27, "Cannot parse JSON: the header is missing");
        int rc = text_json_array(r, &doc);
        for (uint32_t k = 1; rc == 0 && k < doc.nodes[0].next; k = doc.nodes[k].next)
            rc = doc.nodes[k].kind == JSON_STRING
                     ? each(r, json_string(r, &doc, &doc.nodes[k]))
                     : text_refuse(r, 117, "Cannot parse JSON: the header must hold strings");
        return rc;
    }
    for (bool last = false; !last;) {
        struct slice name;
        int rc = next_name(r, &name, &last);
        if (rc == 0)
            rc = each(r, name);
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* Types in a header: r->types_seen counts them. */
static int type_named(struct text_reader *r, struct slice text)
{
    uint32_t i = r->types_seen++;
    if (i >= r->field_count)
        return text_refuse(r, 117, "The header has more types than names");
    const struct schema_column *c = r->fields[i];
    if (c == NULL || slice_eq(text, c->type->text))
        return 0;
    return text_refuse(r, 117, "Type of '%.*s' must be %.*s, not %.*s", (int)c->name.len,
                       c->name.ptr, (int)c->type->text.len, c->type->text.ptr,
                       text.len < 256 ? (int)text.len : 256, text.ptr);
}

static int read_headers(struct text_reader *r)
{
    if (r->o.header == TEXT_HEADER_NONE || (r->o.header == TEXT_HEADER_SNIFF && !spells_names(r)))
        return 0;
    r->had_header = true;
    r->field_count = 0;
    int rc = read_header(r, field_named);
    if (rc == 0 && r->o.header == TEXT_HEADER_NAMES_AND_TYPES) {
        r->types_seen = 0;
        r->limit = r->end;
        rc = read_header(r, type_named);
        if (rc == 0 && r->types_seen < r->field_count)
            return text_refuse(r, 117, "The header has fewer types than names");
    }
    return rc;
}

/* ---- rows --------------------------------------------------------------------------------- */

static void row_begin(struct text_reader *r)
{
    r->begin = r->p;
    r->limit =
        (uint64_t)(r->end - r->p) > LIMIT_TEXT_ROW_BYTES ? r->p + LIMIT_TEXT_ROW_BYTES : r->end;
    buf_reset(&r->out);
}

int text_reader_begin(struct text_reader *r, const struct schema_table *t,
                      const struct text_options *o, struct slice body)
{
    CHECK_MAGIC(r, TEXT_MAGIC);
    r->table = t;
    r->o = *o;
    if (r->o.delimiter == 0)
        r->o.delimiter = ',';
    r->p = body.ptr;
    r->end = body.ptr + body.len;
    r->rows = 0;
    r->had_header = r->over = r->in_brackets = false;
    r->first = true;
    r->error.code = 0;
    r->error.text[0] = '\0';
    if (body.len >= 3 && memcmp(r->p, "\xef\xbb\xbf", 3) == 0)
        r->p += 3; /* a byte order mark */
    row_begin(r);
    int rc = fields_given(r);
    return rc != 0 || r->p == r->end ? rc : read_headers(r);
}

void text_key(struct text_reader *r, const struct schema_column *col)
{
    buf_put_str(&r->out, r->out.len > 1 ? ",\"" : "\"");
    buf_put_slice(&r->out, col->json_key);
    buf_put_str(&r->out, "\":");
}

/* The key is left out. But a Date32 that is left out of an INSERT is 1900-01-01, and one that a
 * format has no value for is 1970-01-01, as null is in JSON. */
void text_put_default(struct text_reader *r, const struct schema_column *col, size_t mark)
{
    r->out.len = mark;
    if (col->peeled->kind != CH_DATE32 || col->nullable || col->default_kind != SCHEMA_DEFAULT_NONE)
        return;
    text_key(r, col);
    buf_put_str(&r->out, "null");
}

static bool has_lines(const struct text_reader *r)
{
    return r->o.format == TEXT_CSV || r->o.format == TEXT_TSV;
}

/* Where the next row begins after a bad one. */
static void resync(struct text_reader *r)
{
    if (!has_lines(r)) {
        r->over = true;
        return;
    }
    /* A refusal may come behind the row's end, which is then not looked for again. */
    if (r->p > r->begin && r->p[-1] == '\n')
        return;
    const char *lf = r->p < r->end ? memchr(r->p, '\n', (size_t)(r->end - r->p)) : NULL;
    r->p = lf != NULL ? lf + 1 : r->end;
}

static int read_row(struct text_reader *r, struct slice *json)
{
    switch (r->o.format) {
    case TEXT_CSV:
        r->rows++;
        return text_csv_row(r);
    case TEXT_TSV:
        r->rows++;
        return text_tsv_row(r);
    case TEXT_VALUES:
        return text_values_row(r);
    case TEXT_JSON_COMPACT:
    case TEXT_JSON_OBJECTS:
        break;
    }
    return text_json_row(r, json);
}

int text_reader_next(struct text_reader *r, struct slice *json)
{
    CHECK_MAGIC(r, TEXT_MAGIC);
    if (r->over || (r->p == r->end && (has_lines(r) || r->first)))
        return WH_EEND;
    row_begin(r);
    buf_put_u8(&r->out, '{');
    *json = (struct slice){NULL, 0};
    int rc = read_row(r, json);
    if (rc == WH_EEND)
        return rc;
    bool cut = r->limit < r->end && r->p >= r->limit;
    if (cut)
        rc = text_refuse(r, 117, "A row is longer than %llu bytes",
                         (unsigned long long)LIMIT_TEXT_ROW_BYTES);
    if (rc != 0) {
        resync(r);
        return rc;
    }
    if (json->ptr != NULL)
        return 0;
    static const char padding[LIMIT_JSON_PADDING];
    buf_put_u8(&r->out, '}');
    *json = buf_slice(&r->out);
    buf_put(&r->out, padding, sizeof(padding));
    json->ptr = r->out.ptr;
    return buf_ok(&r->out) && buf_ok(&r->field) && buf_ok(&r->scratch) ? 0 : -ENOMEM;
}

uint64_t text_reader_rows(const struct text_reader *r)
{
    return r->rows;
}

bool text_reader_had_header(const struct text_reader *r)
{
    return r->had_header;
}
