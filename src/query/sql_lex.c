/* SPDX-License-Identifier: Apache-2.0 */
#include "query/sql_lex.h"

static bool starts(struct slice p, const char *text)
{
    size_t n = strlen(text);
    return p.len >= n && memcmp(p.ptr, text, n) == 0;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The opening $tag$ of a heredoc; 0: none. */
static size_t heredoc(struct slice p)
{
    size_t n = 1;
    while (n < p.len && is_word(p.ptr[n]))
        n++;
    return n < p.len && p.ptr[n] == '$' ? n + 1 : 0;
}

static size_t enter(struct sql_lex *x, enum sql_place place, size_t n)
{
    x->place = place;
    return n;
}

/* A name or number, whole: a $ inside of one begins nothing. */
static size_t word(struct slice p)
{
    size_t n = 1;
    while (n < p.len && (is_word(p.ptr[n]) || p.ptr[n] == '$'))
        n++;
    return n;
}

static size_t step_in_code(struct sql_lex *x, struct slice p)
{
    size_t n;
    if (is_word(p.ptr[0]))
        return word(p);
    switch (p.ptr[0]) {
    case '\'':
        return enter(x, SQL_TEXT, 1);
    case '`':
        return enter(x, SQL_NAME, 1);
    case '"':
        return enter(x, SQL_DOUBLE, 1);
    case '$':
        n = heredoc(p);
        if (n == 0)
            return 1;
        x->end = (struct slice){p.ptr, n};
        return enter(x, SQL_HEREDOC, n);
    case '#':
        return starts(p, "# ") || starts(p, "#!") ? enter(x, SQL_LINE, 2) : 1;
    case '-':
        return starts(p, "--") ? enter(x, SQL_LINE, 2) : 1;
    case '/':
        return starts(p, "/*") ? enter(x, SQL_BLOCK, 2) : 1;
    case '\xe2':
        if (starts(p, "\xe2\x80\x98"))
            x->end = SLICE_LIT("\xe2\x80\x99");
        else if (starts(p, "\xe2\x80\x9c"))
            x->end = SLICE_LIT("\xe2\x80\x9d");
        else
            return 1;
        return enter(x, SQL_TYPOGRAPHIC, 3);
    default:
        return 1;
    }
}

static size_t step_in_quotes(struct sql_lex *x, struct slice p, char quote)
{
    if (p.ptr[0] == '\\' && p.len > 1)
        return 2;
    if (p.ptr[0] != quote)
        return 1;
    if (p.len > 1 && p.ptr[1] == quote)
        return 2;
    return enter(x, SQL_CODE, 1);
}

size_t sql_lex_step(struct sql_lex *x, struct slice p)
{
    switch (x->place) {
    case SQL_CODE:
        return step_in_code(x, p);
    case SQL_TEXT:
        return step_in_quotes(x, p, '\'');
    case SQL_NAME:
        return step_in_quotes(x, p, '`');
    case SQL_DOUBLE:
        return step_in_quotes(x, p, '"');
    case SQL_LINE:
        if (p.ptr[0] == '\n')
            x->place = SQL_CODE;
        return 1;
    case SQL_BLOCK:
        return starts(p, "*/") ? enter(x, SQL_CODE, 2) : 1;
    case SQL_TYPOGRAPHIC:
    case SQL_HEREDOC:
        if (p.len >= x->end.len && memcmp(p.ptr, x->end.ptr, x->end.len) == 0)
            return enter(x, SQL_CODE, x->end.len);
        return 1;
    }
    return 1;
}
