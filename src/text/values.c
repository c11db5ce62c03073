/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of INSERT … VALUES: ('text', 12, NULL, DEFAULT, [1,2]), … ; literals only. */
#include "text/text_priv.h"

#include <strings.h>

static void skip_space(struct text_reader *r)
{
    while (r->p < r->limit && text_is_space(*r->p))
        r->p++;
}

static int expected(struct text_reader *r, int32_t code, const char *what)
{
    size_t n = (size_t)(r->limit - r->p) < 20 ? (size_t)(r->limit - r->p) : 20;
    if (n == 0)
        return text_refuse(r, code, "Cannot parse input: expected %s before the end", what);
    return text_refuse(r, code, "Cannot parse input: expected %s before: '%.*s'", what, (int)n,
                       r->p);
}

/* A keyword that no longer word continues. */
static bool take_word(struct text_reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->limit - r->p) < n || strncasecmp(r->p, word, n) != 0)
        return false;
    if (r->p + n < r->limit) {
        char next = r->p[n];
        if (next == '_' || next == '(' || (next >= '0' && next <= '9') ||
            ((next | 0x20) >= 'a' && (next | 0x20) <= 'z'))
            return false;
    }
    r->p += n;
    return true;
}

static int read_value(struct text_reader *r, const struct schema_column *col)
{
    skip_space(r);
    if (take_word(r, "DEFAULT")) {
        text_put_default(r, col, r->out.len);
        return 0;
    }
    if (take_word(r, "NULL")) {
        if (col->nullable) {
            text_key(r, col);
            buf_put_str(&r->out, "null");
        } else {
            text_put_default(r, col, r->out.len);
        }
        return 0;
    }
    text_key(r, col);
    int rc = text_put_literal(r, col->type, &r->p, r->limit, 0);
    if (rc != 0)
        return rc;
    skip_space(r);
    if (r->p < r->limit && *r->p != ',' && *r->p != ')')
        return text_refuse(r, 62,
                           "Syntax error: an expression begins at '%.*s'; only literals are read "
                           "here, expressions are not evaluated",
                           r->limit - r->p < 20 ? (int)(r->limit - r->p) : 20, r->p);
    return 0;
}

int text_values_row(struct text_reader *r)
{
    skip_space(r);
    if (r->rows > 0 && r->p < r->limit && *r->p == ',') {
        r->p++;
        skip_space(r);
    }
    if (r->p < r->limit && *r->p == ';') {
        r->p++;
        skip_space(r);
        if (r->p < r->limit)
            return text_refuse(r, 62,
                               "Syntax error: only one statement is read, there is more "
                               "behind ';'");
    }
    if (r->p == r->end)
        return WH_EEND;
    r->rows++;
    if (r->p == r->limit || *r->p != '(')
        return expected(r, 27, "'('");
    r->p++;
    for (uint32_t i = 0; i < r->field_count; i++) {
        if (i > 0) {
            if (r->p == r->limit || *r->p != ',')
                return expected(r, 62, "','");
            r->p++;
        }
        int rc = read_value(r, r->fields[i]);
        if (rc != 0)
            return rc;
    }
    skip_space(r);
    if (r->p == r->limit || *r->p != ')')
        return expected(r, 62, "')'");
    r->p++;
    return 0;
}
