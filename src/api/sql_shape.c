/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sql_shape.h"

#include "query/pipe.h"
#include "query/sql_lex.h"

#include <ctype.h>
#include <strings.h>

enum token {
    TOKEN_END,
    TOKEN_WORD,  /* a bare name or keyword */
    TOKEN_OTHER, /* a quoted name, a text, a number, a sign */
};

struct walk {
    struct slice rest;
    struct sql_lex at;
    struct slice word; /* of the last token; len 0: it was quoted */
    int depth;         /* of brackets */
};

static bool is_word(struct slice s, const char *word)
{
    return s.len == strlen(word) && strncasecmp(s.ptr, word, s.len) == 0;
}

static void go_on(struct walk *w)
{
    size_t n = sql_lex_step(&w->at, w->rest);
    w->rest = (struct slice){w->rest.ptr + n, w->rest.len - n};
}

static bool is_part_of_word(const struct walk *w)
{
    unsigned char c = w->rest.len > 0 ? (unsigned char)*w->rest.ptr : ' ';
    return isalnum(c) || c == '_';
}

static bool in_comment(const struct walk *w)
{
    return w->at.place == SQL_LINE || w->at.place == SQL_BLOCK;
}

static enum token next(struct walk *w)
{
    while (w->rest.len > 0) {
        const char *begin = w->rest.ptr;
        bool word = is_part_of_word(w), inside = in_comment(w);
        go_on(w);
        if (inside || in_comment(w) || isspace((unsigned char)*begin))
            continue;
        w->word = (struct slice){begin, 0};
        if (w->at.place != SQL_CODE) {
            while (w->rest.len > 0 && w->at.place != SQL_CODE)
                go_on(w);
            return TOKEN_OTHER;
        }
        while (word && is_part_of_word(w))
            go_on(w);
        w->word.len = (size_t)(w->rest.ptr - begin);
        w->depth += *begin == '(' || *begin == '[' || *begin == '{';
        w->depth -= *begin == ')' || *begin == ']' || *begin == '}';
        return word && !isdigit((unsigned char)*begin) ? TOKEN_WORD : TOKEN_OTHER;
    }
    w->word.len = 0;
    return TOKEN_END;
}

/* Does nothing but SETTINGS or the end come here? A column or an alias may be called format. */
static bool ends_here(struct walk w)
{
    enum token t = next(&w);
    return t == TOKEN_END || is_word(w.word, ";") ||
           (t == TOKEN_WORD && is_word(w.word, "SETTINGS"));
}

struct sql_shape sql_shape_of(struct slice sql)
{
    struct sql_shape shape = {.reads = !query_sql_writes(sql)};
    struct walk w = {.rest = sql};
    enum token t = next(&w);
    if (t == TOKEN_WORD && is_word(w.word, "INSERT"))
        return shape;
    for (bool after_format = false; t != TOKEN_END; t = next(&w)) {
        bool top = t == TOKEN_WORD && w.depth == 0;
        if (after_format && top && ends_here(w))
            shape.format = w.word;
        after_format = top && is_word(w.word, "FORMAT");
    }
    return shape;
}
