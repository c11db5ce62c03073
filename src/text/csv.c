/* SPDX-License-Identifier: Apache-2.0 */
/* CSV as ClickHouse reads it: RFC 4180 quotes, blanks around fields dropped, \N for NULL, an empty
 * field for DEFAULT, one field per element of a tuple. */
#include "text/text_priv.h"

static void skip_blanks(struct text_reader *r)
{
    while (r->p < r->limit && text_is_blank(*r->p) && *r->p != r->o.delimiter)
        r->p++;
}

static bool at_row_end(const struct text_reader *r)
{
    return r->p == r->end || *r->p == '\n' || *r->p == '\r';
}

static bool at_delimiter(const struct text_reader *r)
{
    return r->p < r->end && *r->p == r->o.delimiter;
}

static int take_row_end(struct text_reader *r)
{
    if (r->p == r->end)
        return 0;
    if (*r->p == '\r' && (r->p + 1 == r->end || r->p[1] != '\n'))
        return text_refuse(r, 117,
                           "Cannot parse CSV format: found \\r (CR) not followed by \\n (LF). "
                           "Line must end by \\n (LF) or \\r\\n (CR LF)");
    r->p += *r->p == '\r' ? 2 : 1;
    return 0;
}

/* The text behind an opening quote at r->p; r->p moves behind the closing one. */
static int quoted(struct text_reader *r, struct slice *text)
{
    const char *run = r->p + 1;
    buf_reset(&r->field);
    for (bool copied = false;; copied = true) {
        const char *quote = run < r->limit ? memchr(run, '"', (size_t)(r->limit - run)) : NULL;
        if (quote == NULL) {
            r->p = r->limit;
            return text_refuse(r, 27, "Cannot parse CSV: the quote is not closed");
        }
        bool doubled = quote + 1 < r->limit && quote[1] == '"';
        if (!doubled && !copied) {
            *text = (struct slice){run, (size_t)(quote - run)};
            r->p = quote + 1;
            return 0;
        }
        buf_put(&r->field, run, (size_t)(quote - run) + doubled);
        if (!doubled) {
            *text = buf_slice(&r->field);
            r->p = quote + 1;
            return 0;
        }
        run = quote + 2;
    }
}

/* Up to the next delimiter or the end of the line, without blanks at its end. */
static struct slice unquoted(struct text_reader *r)
{
    const char *from = r->p, *p = r->p;
    char delimiter = r->o.delimiter;
    while (p < r->limit && *p != delimiter && *p != '\n' && *p != '\r')
        p++;
    r->p = p;
    while (p > from && text_is_blank(p[-1]))
        p--;
    return (struct slice){from, (size_t)(p - from)};
}

static int put_value(struct text_reader *r, const struct ch_type *type);

/* A tuple's elements stand in fields of their own, unless the whole is quoted. */
static int put_tuple(struct text_reader *r, const struct ch_type *peeled)
{
    buf_put_u8(&r->out, peeled->names != NULL ? '{' : '[');
    for (uint32_t i = 0; i < peeled->child_count; i++) {
        if (i > 0) {
            skip_blanks(r);
            if (!at_delimiter(r))
                return text_refuse(r, 27,
                                   "Cannot parse input: the tuple has %u elements, one field "
                                   "for each; there are %u",
                                   peeled->child_count, i);
            r->p++;
            skip_blanks(r);
        }
        text_put_element(&r->out, peeled, i);
        int rc = put_value(r, peeled->children[i]);
        if (rc != 0)
            return rc;
    }
    buf_put_u8(&r->out, peeled->names != NULL ? '}' : ']');
    return 0;
}

/* A Point is a tuple of two floats without names. */
static int put_point(struct text_reader *r)
{
    static const struct ch_type coordinate = {.kind = CH_FLOAT64,
                                              .text = {"Float64", 7},
                                              .width = 8};
    static const struct ch_type *const children[] = {&coordinate, &coordinate};
    static const struct ch_type point = {.kind = CH_TUPLE,
                                         .child_count = 2,
                                         .children = (const struct ch_type **)&children};
    return put_tuple(r, &point);
}

static bool is_quoted_tuple(const struct text_reader *r, const struct ch_type *peeled)
{
    if (r->end - r->p < 2 || r->p[0] != '"' || r->p[1] != '(')
        return false;
    return ch_type_peel(peeled->children[0])->kind != CH_STRING;
}

static int put_value(struct text_reader *r, const struct ch_type *type)
{
    const struct ch_type *peeled = ch_type_peel(type);
    struct slice text;
    if (peeled->kind == CH_POINT && r->p < r->limit && *r->p != '"')
        return put_point(r);
    if (peeled->kind == CH_TUPLE && peeled->child_count > 0 && !is_quoted_tuple(r, peeled) &&
        !(r->end - r->p >= 2 && memcmp(r->p, "\\N", 2) == 0))
        return put_tuple(r, peeled);
    if (r->p < r->limit && *r->p == '"') {
        int rc = quoted(r, &text);
        if (rc != 0)
            return rc;
        if (peeled->kind == CH_BOOL)
            return text_refuse(r, 467, "Cannot parse boolean value here: it must not be quoted");
    } else {
        text = unquoted(r);
        if (slice_eq(text, SLICE_LIT("\\N"))) {
            buf_put_str(&r->out, "null");
            return 0;
        }
    }
    return text_is_composite(peeled) ? text_put_literal_text(r, type, text)
                                     : text_put_scalar(r, peeled, text);
}

/* A field that goes nowhere. */
static int pass_field(struct text_reader *r)
{
    struct slice text;
    if (r->p < r->limit && *r->p == '"')
        return quoted(r, &text);
    (void)unquoted(r);
    return 0;
}

static int read_field(struct text_reader *r, uint32_t i)
{
    const struct schema_column *col = r->fields[i];
    skip_blanks(r);
    bool last = i + 1 == r->field_count;
    if (at_delimiter(r) || (last && at_row_end(r))) {
        if (col != NULL)
            text_put_default(r, col, r->out.len);
        return 0;
    }
    if (at_row_end(r))
        return text_refuse(r, 27, "Cannot parse input: the row has %u fields, %u are expected", i,
                           r->field_count);
    if (col == NULL)
        return pass_field(r);
    size_t mark = r->out.len;
    text_key(r, col);
    size_t value = r->out.len;
    int rc = put_value(r, col->type);
    /* NULL where there can be none: the DEFAULT. */
    if (rc == 0 && !col->nullable && r->out.len - value == 4 &&
        memcmp(r->out.ptr + value, "null", 4) == 0)
        text_put_default(r, col, mark);
    return rc;
}

int text_csv_row(struct text_reader *r)
{
    for (uint32_t i = 0; i < r->field_count; i++) {
        if (i > 0) {
            skip_blanks(r);
            if (!at_delimiter(r)) {
                if (at_row_end(r))
                    return text_refuse(r, 27,
                                       "Cannot parse input: the row has %u fields, %u are expected",
                                       i, r->field_count);
                return text_refuse(r, 27,
                                   "Cannot parse input: expected '%c' or the end of the line "
                                   "after field %u",
                                   r->o.delimiter, i);
            }
            r->p++;
        }
        int rc = read_field(r, i);
        if (rc != 0)
            return rc;
    }
    skip_blanks(r);
    if (at_delimiter(r)) { /* one more at the end of a line is let pass */
        r->p++;
        skip_blanks(r);
    }
    if (!at_row_end(r))
        return text_refuse(r, 117, "Expected end of line: the row has more than %u fields",
                           r->field_count);
    return take_row_end(r);
}

int text_csv_name(struct text_reader *r, struct slice *name, bool *last)
{
    skip_blanks(r);
    int rc = 0;
    if (r->p < r->limit && *r->p == '"')
        rc = quoted(r, name);
    else
        *name = unquoted(r);
    if (rc != 0)
        return rc;
    skip_blanks(r);
    *last = !at_delimiter(r);
    if (!*last) {
        r->p++;
        return 0;
    }
    if (!at_row_end(r))
        return text_refuse(r, 27,
                           "Cannot parse input: expected '%c' or the end of the line in the "
                           "header",
                           r->o.delimiter);
    return take_row_end(r);
}
