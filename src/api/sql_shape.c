/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sql_shape.h"

#include <ctype.h>
#include <strings.h>

enum token {
    TOKEN_END,
    TOKEN_WORD,  /* a bare name or keyword */
    TOKEN_OTHER, /* a quoted name, a text, a number, a sign */
    TOKEN_SEMICOLON
};

static bool is_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end) {
        if (isspace((unsigned char)*p)) {
            p++;
        } else if (end - p >= 2 && ((p[0] == '-' && p[1] == '-') || (p[0] == '#' && p[1] == '!'))) {
            const char *lf = memchr(p, '\n', (size_t)(end - p));
            p = lf != NULL ? lf + 1 : end;
        } else if (end - p >= 2 && p[0] == '/' && p[1] == '*') {
            const char *close = memmem(p + 2, (size_t)(end - p) - 2, "*/", 2);
            p = close != NULL ? close + 2 : end;
        } else {
            break;
        }
    }
    return p;
}

static const char *skip_quoted(const char *p, const char *end)
{
    char quote = *p;
    for (p++; p < end; p++) {
        if (*p == '\\') {
            p++;
        } else if (*p == quote) {
            if (p + 1 < end && p[1] == quote)
                p++;
            else
                return p + 1;
        }
    }
    return end;
}

static enum token next(struct slice *rest, struct slice *word, int *depth)
{
    const char *end = rest->ptr + rest->len, *p = skip_blank(rest->ptr, end), *begin = p;
    enum token t = TOKEN_OTHER;
    if (rest->len == 0 || p == end) {
        *rest = (struct slice){end, 0};
        return TOKEN_END;
    }
    unsigned char c = (unsigned char)*p;
    if (isalpha(c) || c == '_' || c >= 0x80) {
        while (p < end && (isalnum((unsigned char)*p) || *p == '_' || (unsigned char)*p >= 0x80))
            p++;
        t = TOKEN_WORD;
    } else if (c == '\'' || c == '"' || c == '`') {
        p = skip_quoted(p, end);
    } else if (isdigit(c)) {
        while (p < end && (isalnum((unsigned char)*p) || *p == '_' || *p == '.'))
            p++;
    } else {
        *depth += c == '(' || c == '[' || c == '{';
        *depth -= c == ')' || c == ']' || c == '}';
        t = c == ';' ? TOKEN_SEMICOLON : TOKEN_OTHER;
        p++;
    }
    *word = (struct slice){begin, (size_t)(p - begin)};
    *rest = (struct slice){p, (size_t)(end - p)};
    return t;
}

static bool is_reading(struct slice verb)
{
    static const char *const verbs[] = {"SELECT", "WITH",    "SHOW",  "DESCRIBE", "DESC",
                                        "EXISTS", "EXPLAIN", "CHECK", "VALUES",   "FROM"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (is_word(verb, verbs[i]))
            return true;
    return false;
}

/* Does nothing but SETTINGS or the end come here? A column or an alias may be called format. */
static bool ends_here(struct slice rest)
{
    struct slice word;
    int depth = 0;
    enum token t = next(&rest, &word, &depth);
    return t == TOKEN_END || t == TOKEN_SEMICOLON || (t == TOKEN_WORD && is_word(word, "SETTINGS"));
}

struct sql_shape sql_shape_of(struct slice sql)
{
    struct sql_shape shape = {0};
    struct slice rest = sql, word = {NULL, 0};
    int depth = 0;
    enum token t = next(&rest, &word, &depth);
    while (t == TOKEN_OTHER && (*word.ptr == '(')) /* (SELECT …) */
        t = next(&rest, &word, &depth);
    shape.reads = t == TOKEN_WORD && is_reading(word);
    if (t == TOKEN_WORD && is_word(word, "INSERT"))
        return shape;
    bool after_format = false;
    while (t != TOKEN_END) {
        if (after_format && t == TOKEN_WORD && depth == 0 && ends_here(rest))
            shape.format = word;
        after_format = t == TOKEN_WORD && depth == 0 && is_word(word, "FORMAT");
        t = next(&rest, &word, &depth);
    }
    return shape;
}
