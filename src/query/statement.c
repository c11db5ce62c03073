/* SPDX-License-Identifier: Apache-2.0 */
#include "query/statement.h"

#include "base/limits.h"

#include <errno.h>

void query_statement_init(struct query_statement *s)
{
    *s = (struct query_statement){0};
    buf_init(&s->sql, LIMIT_QUERY_SQL_BYTES);
    buf_init(&s->values, LIMIT_QUERY_SQL_BYTES);
    buf_init(&s->value_ends, LIMIT_QUERY_VALUES * sizeof(uint32_t));
    buf_init(&s->tables, LIMIT_QUERY_SQL_BYTES);
}

void query_statement_reset(struct query_statement *s)
{
    buf_reset(&s->sql);
    buf_reset(&s->values);
    buf_reset(&s->value_ends);
    buf_reset(&s->tables);
    s->tables_unknown = s->writes = s->reads_only = s->is_prefer_column = false;
    s->limits = (struct query_limits){0};
}

void query_statement_fini(struct query_statement *s)
{
    buf_fini(&s->sql);
    buf_fini(&s->values);
    buf_fini(&s->value_ends);
    buf_fini(&s->tables);
}

bool query_statement_ok(const struct query_statement *s)
{
    return buf_ok(&s->sql) && buf_ok(&s->values) && buf_ok(&s->value_ends) && buf_ok(&s->tables);
}

int query_statement_bind(struct query_statement *s, struct slice value, uint32_t *number)
{
    *number = query_statement_value_count(s);
    buf_put_slice(&s->values, value);
    buf_put_le32(&s->value_ends, (uint32_t)s->values.len);
    return buf_ok(&s->values) && buf_ok(&s->value_ends) ? 0 : -ENOMEM;
}

uint32_t query_statement_value_count(const struct query_statement *s)
{
    return (uint32_t)(s->value_ends.len / sizeof(uint32_t));
}

static uint32_t end_of(const struct query_statement *s, uint32_t i)
{
    uint32_t end;
    memcpy(&end, s->value_ends.ptr + i * sizeof(end), sizeof(end));
    return end;
}

struct slice query_statement_value(const struct query_statement *s, uint32_t i)
{
    uint32_t start = i > 0 ? end_of(s, i - 1) : 0;
    return (struct slice){s->values.ptr + start, end_of(s, i) - start};
}

void query_statement_put_value(struct query_statement *s, enum query_style style,
                               struct slice value)
{
    uint32_t number;
    if (style == QUERY_LITERALS)
        query_put_literal(&s->sql, value);
    else if (query_statement_bind(s, value, &number) == 0)
        buf_printf(&s->sql, "{p%u:String}", number);
}

/* Some lexers end at a NUL byte: it is spelt. */
static void put_quoted(struct buf *out, struct slice text, char quote)
{
    buf_put_u8(out, (uint8_t)quote);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == quote || text.ptr[i] == '\\')
            buf_put_u8(out, '\\');
        if (text.ptr[i] == '\0')
            buf_put_str(out, "\\0");
        else
            buf_put_u8(out, (uint8_t)text.ptr[i]);
    }
    buf_put_u8(out, (uint8_t)quote);
}

void query_put_literal(struct buf *out, struct slice text)
{
    put_quoted(out, text, '\'');
}

void query_statement_put_name(struct query_statement *s, struct slice name)
{
    put_quoted(&s->sql, name, '`');
}

void query_statement_put_table(struct query_statement *s, struct slice name)
{
    buf_put_slice(&s->tables, name);
    buf_put_u8(&s->tables, 0);
}

/* The number at *p, which moves behind it and one separator. */
static uint32_t part_of(struct slice *p)
{
    uint32_t n = 0;
    while (p->len > 0 && *p->ptr >= '0' && *p->ptr <= '9' && n < 100000) {
        n = n * 10 + (uint32_t)(*p->ptr - '0');
        *p = (struct slice){p->ptr + 1, p->len - 1};
    }
    if (p->len > 0)
        *p = (struct slice){p->ptr + 1, p->len - 1};
    return n;
}

enum query_style query_style_of(struct slice server_version)
{
    uint32_t year = part_of(&server_version), release = part_of(&server_version);
    return year > 21 || (year == 21 && release >= 4) ? QUERY_PARAMETERS : QUERY_LITERALS;
}

bool query_is_number(struct slice s)
{
    size_t i = s.len > 0 && s.ptr[0] == '-', start = i;
#define DIGITS()                                                 \
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) \
    continue
    DIGITS();
    if (i == start || (s.ptr[start] == '0' && i > start + 1))
        return false;
    if (i < s.len && s.ptr[i] == '.') {
        start = ++i;
        DIGITS();
        if (i == start)
            return false;
    }
    if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
        i++;
        i += i < s.len && (s.ptr[i] == '+' || s.ptr[i] == '-');
        start = i;
        DIGITS();
        if (i == start)
            return false;
    }
#undef DIGITS
    return i == s.len && s.len > 0;
}
