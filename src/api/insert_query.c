/* SPDX-License-Identifier: Apache-2.0 */
#include "api/insert_query.h"

#include "base/limits.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#define CODE_SYNTAX          62
#define CODE_NOT_IMPLEMENTED 48
#define SETTINGS_MAX         64

enum token_kind {
    TOKEN_END,    /* of the text */
    TOKEN_CUT,    /* a quote or comment that does not end within it */
    TOKEN_WORD,   /* also numbers */
    TOKEN_NAME,   /* in backticks or double quotes */
    TOKEN_STRING, /* in single quotes */
    TOKEN_MARK    /* any other single character */
};

struct parser {
    struct slice text;
    struct arena *arena;
    struct insert_query *q;
    size_t at;         /* behind the token at hand */
    size_t from;       /* its first byte */
    struct slice word; /* its text; of a quoted one without quotes, escapes resolved */
    enum token_kind kind;
    bool failed; /* no memory */
};

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (unsigned char)c >= 0x80;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Past white space and comments; false: a comment does not end. */
static bool skip_space(struct parser *p)
{
    const char *t = p->text.ptr;
    size_t n = p->text.len;
    for (;;) {
        while (p->at < n && is_space(t[p->at]))
            p->at++;
        if (p->at + 1 >= n)
            return true;
        if (t[p->at] == '-' && t[p->at + 1] == '-') {
            const char *lf = memchr(t + p->at, '\n', n - p->at);
            p->at = lf != NULL ? (size_t)(lf - t) : n;
        } else if (t[p->at] == '/' && t[p->at + 1] == '*') {
            const char *end = memmem(t + p->at + 2, n - p->at - 2, "*/", 2);
            if (end == NULL)
                return false;
            p->at = (size_t)(end - t) + 2;
        } else {
            return true;
        }
    }
}

/* What is between the quotes; false: it does not end, or no memory. */
static bool take_quoted(struct parser *p, char quote)
{
    const char *t = p->text.ptr;
    size_t end = p->at + 1, n = 0;
    while (end < p->text.len && (t[end] != quote || (end + 1 < p->text.len && t[end + 1] == quote)))
        end += t[end] == '\\' || t[end] == quote ? 2 : 1;
    if (end >= p->text.len)
        return false;
    char *out = arena_alloc(p->arena, end - p->at);
    if (out == NULL) {
        p->failed = true;
        return false;
    }
    for (size_t i = p->at + 1; i < end; i++) {
        if (t[i] == '\\' || t[i] == quote)
            i++;
        out[n++] = t[i];
    }
    p->word = (struct slice){out, n};
    p->at = end + 1;
    return true;
}

static void next(struct parser *p)
{
    if (!skip_space(p)) {
        p->from = p->at;
        p->kind = TOKEN_CUT;
        return;
    }
    p->from = p->at;
    p->word = (struct slice){p->text.ptr + p->at, 0};
    if (p->at == p->text.len) {
        p->kind = TOKEN_END;
        return;
    }
    char c = p->text.ptr[p->at];
    if (c == '`' || c == '"' || c == '\'') {
        p->kind = !take_quoted(p, c) ? TOKEN_CUT : c == '\'' ? TOKEN_STRING : TOKEN_NAME;
        return;
    }
    p->kind = is_word_char(c) ? TOKEN_WORD : TOKEN_MARK;
    do
        p->at++;
    while (p->kind == TOKEN_WORD && p->at < p->text.len && is_word_char(p->text.ptr[p->at]));
    p->word.len = p->at - p->from;
}

static bool is_word(const struct parser *p, const char *word)
{
    return p->kind == TOKEN_WORD && p->word.len == strlen(word) &&
           strncasecmp(p->word.ptr, word, p->word.len) == 0;
}

static bool is_mark(const struct parser *p, char c)
{
    return p->kind == TOKEN_MARK && p->word.ptr[0] == c;
}

__attribute__((format(printf, 3, 4))) static int refuse(struct parser *p, int32_t code,
                                                        const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    p->q->code = code;
    (void)vsnprintf(p->q->error, sizeof(p->q->error), fmt, ap);
    va_end(ap);
    return WH_ESYNTAX;
}

/* The token at hand is not what must stand here. At the end of the text more may come. */
static int expected(struct parser *p, const char *what)
{
    if (p->failed)
        return -ENOMEM;
    if (p->kind == TOKEN_END || p->kind == TOKEN_CUT) {
        (void)refuse(p, CODE_SYNTAX,
                     "Syntax error: failed at position %zu (end of query). Expected %s",
                     p->from + 1, what);
        return WH_EEND;
    }
    size_t n = p->text.len - p->from;
    return refuse(p, CODE_SYNTAX, "Syntax error: failed at position %zu (%.*s): %.*s. Expected %s",
                  p->from + 1, p->at - p->from < 64 ? (int)(p->at - p->from) : 64,
                  p->text.ptr + p->from, n < 64 ? (int)n : 64, p->text.ptr + p->from, what);
}

static int take_name(struct parser *p, struct slice *out, const char *what)
{
    if (p->kind == TOKEN_WORD && (p->word.ptr[0] < '0' || p->word.ptr[0] > '9'))
        *out = arena_dup(p->arena, p->word);
    else if (p->kind == TOKEN_NAME && p->word.len > 0)
        *out = p->word;
    else
        return expected(p, what);
    if (out->ptr == NULL)
        return -ENOMEM;
    next(p);
    return 0;
}

/* a column's name, which may have dots: n.a, `n.a`, n.`a` */
static int take_column(struct parser *p, struct slice *out)
{
    int rc = take_name(p, out, "a column's name");
    while (rc == 0 && is_mark(p, '.')) {
        struct slice rest;
        next(p);
        rc = take_name(p, &rest, "a column's name");
        if (rc != 0)
            break;
        char *joined = arena_alloc(p->arena, out->len + 1 + rest.len);
        if (joined == NULL)
            return -ENOMEM;
        memcpy(joined, out->ptr, out->len);
        joined[out->len] = '.';
        memcpy(joined + out->len + 1, rest.ptr, rest.len);
        *out = (struct slice){joined, out->len + 1 + rest.len};
    }
    return rc;
}

/* Names up to `)`, which is taken. */
static int take_columns(struct parser *p)
{
    struct insert_query *q = p->q;
    uint32_t cap = 0;
    for (;;) {
        if (q->column_count == cap) {
            if (cap >= LIMIT_TABLE_COLUMNS)
                return refuse(p, CODE_SYNTAX, "Syntax error: more than %d columns in the list",
                              LIMIT_TABLE_COLUMNS);
            cap = cap == 0 ? 16 : cap * 2;
            struct slice *grown = arena_calloc(p->arena, cap, sizeof(*grown));
            if (grown == NULL)
                return -ENOMEM;
            if (q->column_count > 0)
                memcpy(grown, q->columns, q->column_count * sizeof(*grown));
            q->columns = grown;
        }
        int rc = take_column(p, &q->columns[q->column_count]);
        if (rc != 0)
            return rc;
        q->column_count++;
        if (is_mark(p, ')'))
            break;
        if (!is_mark(p, ','))
            return expected(p, "',' or ')'");
        next(p);
    }
    next(p);
    return 0;
}

/* Behind `(`. */
static int take_list(struct parser *p)
{
    int rc;
    if (!is_mark(p, '*')) {
        p->q->listed = true;
        return take_columns(p);
    }
    next(p);
    if (is_word(p, "EXCEPT")) {
        p->q->except = true;
        next(p);
        if (is_mark(p, '(')) {
            next(p);
            rc = take_columns(p);
        } else {
            p->q->columns = arena_calloc(p->arena, 1, sizeof(struct slice));
            if (p->q->columns == NULL)
                return -ENOMEM;
            p->q->column_count = 1;
            rc = take_column(p, &p->q->columns[0]);
        }
        if (rc != 0)
            return rc;
    }
    if (!is_mark(p, ')'))
        return expected(p, "')'");
    next(p);
    return 0;
}

static int take_settings(struct parser *p)
{
    struct insert_query *q = p->q;
    q->settings = arena_calloc(p->arena, SETTINGS_MAX, sizeof(q->settings[0]));
    if (q->settings == NULL)
        return -ENOMEM;
    for (;;) {
        if (q->setting_count == SETTINGS_MAX)
            return refuse(p, CODE_SYNTAX, "Syntax error: more than %d settings", SETTINGS_MAX);
        struct insert_setting *s = &q->settings[q->setting_count];
        int rc = take_name(p, &s->name, "a setting's name");
        if (rc != 0)
            return rc;
        if (!is_mark(p, '='))
            return expected(p, "'='");
        next(p);
        size_t from = p->from;
        if (p->kind == TOKEN_STRING) {
            s->value = p->word;
            next(p);
        } else if (p->kind == TOKEN_WORD || is_mark(p, '-')) {
            /* 1, -1, 0.5, 1e3, true */
            if (is_mark(p, '-'))
                next(p);
            size_t end = p->at;
            next(p);
            while (p->from == end && (is_mark(p, '.') || p->kind == TOKEN_WORD)) {
                end = p->at;
                next(p);
            }
            s->value = arena_dup(p->arena, (struct slice){p->text.ptr + from, end - from});
            if (s->value.ptr == NULL)
                return -ENOMEM;
        } else {
            return expected(p, "a value");
        }
        q->setting_count++;
        if (!is_mark(p, ','))
            return 0;
        next(p);
    }
}

/* The data stands behind the format's name: after the first line break, or after the blanks. */
static int find_data(struct parser *p)
{
    const char *t = p->text.ptr;
    size_t at = p->q->data;
    if (at < p->text.len && t[at] == ';')
        return refuse(p, CODE_SYNTAX,
                      "You have excessive ';' symbol before data for INSERT: there is no ';' "
                      "behind the format's name, and data begins on the next line");
    while (at < p->text.len && (t[at] == ' ' || t[at] == '\t' || t[at] == '\f'))
        at++;
    at += at < p->text.len && t[at] == '\r';
    at += at < p->text.len && t[at] == '\n';
    p->q->data = at;
    return 0;
}

static int take_format(struct parser *p)
{
    if (is_word(p, "VALUES")) {
        p->q->format = SLICE_LIT("Values");
        p->q->data = p->at;
        return 0;
    }
    if (is_word(p, "FORMAT")) {
        next(p);
        if (p->kind != TOKEN_WORD)
            return expected(p, "a format's name");
        p->q->format = arena_dup(p->arena, p->word);
        p->q->data = p->at;
        return p->q->format.ptr != NULL ? find_data(p) : -ENOMEM;
    }
    if (is_word(p, "SELECT") || is_word(p, "WITH") || is_word(p, "FROM") || is_word(p, "WATCH"))
        return refuse(p, CODE_NOT_IMPLEMENTED,
                      "INSERT … %.*s is not served here: only data that is sent with the request "
                      "is stored; ask ClickHouse itself",
                      SLICE_ARG(p->word));
    return expected(p, "FORMAT, VALUES, SETTINGS or a list of columns");
}

int insert_query_parse(struct slice text, struct arena *arena, struct insert_query *q)
{
    *q = (struct insert_query){.code = CODE_SYNTAX};
    struct parser p = {.text = text, .arena = arena, .q = q};
    next(&p);
    if (p.kind == TOKEN_END)
        return expected(&p, "INSERT");
    if (!is_word(&p, "INSERT")) {
        if (p.kind == TOKEN_WORD && p.at < text.len)
            return refuse(&p, CODE_NOT_IMPLEMENTED,
                          "Only INSERT is served here, not %.*s: send other statements to "
                          "ClickHouse itself",
                          p.word.len < 32 ? (int)p.word.len : 32, p.word.ptr);
        return expected(&p, "INSERT");
    }
    next(&p);
    if (!is_word(&p, "INTO"))
        return expected(&p, "INTO");
    next(&p);
    if (is_word(&p, "TABLE"))
        next(&p);
    if (is_word(&p, "FUNCTION"))
        return refuse(&p, CODE_NOT_IMPLEMENTED,
                      "INSERT INTO FUNCTION is not served here: name a table");
    int rc = take_name(&p, &q->table, "a table's name");
    if (rc == 0 && is_mark(&p, '.')) {
        next(&p);
        q->database = q->table;
        rc = take_name(&p, &q->table, "a table's name");
    }
    if (rc == 0 && is_mark(&p, '(')) {
        next(&p);
        rc = take_list(&p);
    }
    if (rc == 0 && is_word(&p, "SETTINGS")) {
        next(&p);
        rc = take_settings(&p);
    }
    return rc != 0 ? rc : take_format(&p);
}
