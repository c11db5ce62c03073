/* SPDX-License-Identifier: Apache-2.0 */
/* TabSeparated: one tab between fields, backslash escapes, \N for NULL. Arrays, maps and tuples
 * stand there as they are, with escapes only within their strings. */
#include "text/text_priv.h"

/* Up to the next tab or line feed that no backslash takes its meaning from. */
static struct slice raw_field(struct text_reader *r, bool *escaped)
{
    const char *from = r->p, *p = r->p;
    *escaped = false;
    while (p < r->limit && *p != '\t' && *p != '\n') {
        if (*p == '\\') {
            *escaped = true;
            p += p + 1 < r->limit;
        }
        p++;
    }
    r->p = p;
    return (struct slice){from, (size_t)(p - from)};
}

static bool has_escapes(enum ch_kind kind)
{
    return kind == CH_STRING || kind == CH_FIXED_STRING || kind == CH_ENUM8 || kind == CH_ENUM16 ||
           kind >= CH_JSON;
}

static int put_value(struct text_reader *r, const struct schema_column *col, bool *is_null)
{
    if (text_is_composite(col->peeled) &&
        !(r->limit - r->p >= 2 && r->p[0] == '\\' && r->p[1] == 'N'))
        return text_put_literal(r, col->type, &r->p, r->limit, 0);
    bool escaped;
    struct slice text = raw_field(r, &escaped);
    *is_null = slice_eq(text, SLICE_LIT("\\N"));
    if (*is_null) {
        buf_put_str(&r->out, "null");
        return 0;
    }
    if (escaped && !r->o.any_value && !has_escapes(col->peeled->kind))
        return text_refuse(r, 27,
                           "Cannot parse input: escapes have no place in a value of type %.*s",
                           SLICE_ARG(col->type->text));
    if (escaped) {
        buf_reset(&r->field);
        if (text_unescape(&r->field, text) != 0)
            return text_refuse(r, 25, "Cannot parse escape sequence");
        text = buf_slice(&r->field);
    }
    return text_put_scalar(r, col->peeled, text);
}

static int read_field(struct text_reader *r, uint32_t i)
{
    const struct schema_column *col = r->fields[i];
    bool ignored, is_null = false;
    if (col == NULL) {
        (void)raw_field(r, &ignored);
        return 0;
    }
    size_t mark = r->out.len;
    text_key(r, col);
    int rc = put_value(r, col, &is_null);
    if (rc == 0 && is_null && !col->nullable)
        text_put_default(r, col, mark); /* NULL where there can be none */
    return rc;
}

static bool at_row_end(const struct text_reader *r)
{
    return r->p == r->end || *r->p == '\n';
}

/* ClickHouse looks at the first line only: a file with CRLF would end every row in a stray CR. */
static int check_return(struct text_reader *r)
{
    if (r->rows + r->had_header == 1 && r->p < r->end && r->p > r->begin && r->p[-1] == '\r')
        return text_refuse(r, 117,
                           "You have carriage return (\\r, 0x0D, ASCII 13) at end of first row. "
                           "It's like your input data has DOS/Windows style line separators, that "
                           "are illegal in TabSeparated format. You must transform your file to "
                           "Unix format. But if you really need carriage return at end of string "
                           "value of last column, you need to escape it as \\r");
    return 0;
}

int text_tsv_row(struct text_reader *r)
{
    for (uint32_t i = 0; i < r->field_count; i++) {
        if (i > 0) {
            if (at_row_end(r))
                return text_refuse(r, 27,
                                   "Cannot parse input: the row has %u fields, %u are expected", i,
                                   r->field_count);
            if (*r->p != '\t')
                return text_refuse(r, 27, "Cannot parse input: expected '\\t' after field %u", i);
            r->p++;
        }
        int rc = read_field(r, i);
        if (rc != 0)
            return rc;
    }
    if (!at_row_end(r))
        return text_refuse(r, 27,
                           "Cannot parse input: expected the end of the line after %u fields",
                           r->field_count);
    int rc = check_return(r);
    r->p += r->p < r->end;
    return rc;
}

int text_tsv_name(struct text_reader *r, struct slice *name, bool *last)
{
    bool escaped;
    *name = raw_field(r, &escaped);
    if (escaped) {
        buf_reset(&r->field);
        if (text_unescape(&r->field, *name) != 0)
            return text_refuse(r, 25, "Cannot parse escape sequence");
        *name = buf_slice(&r->field);
    }
    *last = at_row_end(r);
    int rc = *last ? check_return(r) : 0;
    r->p += r->p < r->end;
    return rc;
}
