/* SPDX-License-Identifier: Apache-2.0 */
/* A pipe's SQL as parts: placeholders, tags and the text between (pipes.md §3). */
#include "query/pipe_priv.h"

#include "access/scalar.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

struct compiling {
    struct query_pipe *p;
    struct err *e;
    bool strict_quotes;
    int rc; /* the first failure */
    uint32_t part_cap, condition_count;
    size_t at;         /* being read */
    size_t text_start; /* of the text that is not a part yet */
    struct sql_lex lex;
    char last_word[8]; /* of code before `at`, in lower case; commas and placeholders left aside */
    uint32_t depth;
    struct frame {
        uint32_t offset;
        uint32_t test; /* part that jumps over the branch under way; UINT32_MAX: else */
        uint32_t jump; /* the last JUMP to the end, chained through their `to`; UINT32_MAX */
        bool has_else;
    } frames[LIMIT_PIPE_DEPTH];
};

void pipe_locate(struct slice sql, uint32_t offset, uint32_t *line, uint32_t *column)
{
    *line = *column = 1;
    for (uint32_t i = 0; i < offset && i < sql.len; i++) {
        ++*column;
        if (sql.ptr[i] == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

static bool fail(struct compiling *c, size_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(struct compiling *c, size_t offset, const char *fmt, ...)
{
    char text[512];
    uint32_t line, column;
    va_list ap;
    if (c->rc != 0)
        return false;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    pipe_locate(c->p->sql, (uint32_t)offset, &line, &column);
    c->rc = err_set(c->e, WH_EUNSUPPORTED, "pipe SQL, line %u, column %u: %s", line, column, text);
    return false;
}

static bool no_memory(struct compiling *c)
{
    if (c->rc == 0)
        c->rc = -ENOMEM;
    return false;
}

/* ---- growing --------------------------------------------------------------------------------- */

/* Twice the room in the arena; what was there is left behind. */
static bool grow(struct compiling *c)
{
    struct query_pipe *p = c->p;
    uint32_t more = c->part_cap == 0 ? 16 : c->part_cap * 2;
    struct pipe_part *parts = arena_calloc(&p->arena, more, sizeof(*parts));
    if (parts == NULL)
        return no_memory(c);
    if (p->part_count > 0)
        memcpy(parts, p->parts, p->part_count * sizeof(*parts));
    p->parts = parts;
    c->part_cap = more;
    return true;
}

static struct pipe_part *add_part(struct compiling *c, enum pipe_part_kind kind, size_t offset)
{
    struct query_pipe *p = c->p;
    if (p->part_count >= LIMIT_PIPE_PARTS) {
        (void)fail(c, offset, "more than %d placeholders and tags", LIMIT_PIPE_PARTS);
        return NULL;
    }
    if (p->part_count == c->part_cap && !grow(c))
        return NULL;
    struct pipe_part *part = &p->parts[p->part_count++];
    *part = (struct pipe_part){.kind = kind, .offset = (uint32_t)offset};
    return part;
}

/* The text before `end` becomes a part. */
static bool end_text(struct compiling *c, size_t end)
{
    if (end == c->text_start)
        return true;
    struct pipe_part *part = add_part(c, PIPE_TEXT, c->text_start);
    if (part == NULL)
        return false;
    part->text = (struct slice){c->p->sql.ptr + c->text_start, end - c->text_start};
    return true;
}

static bool name_of(struct compiling *c, size_t offset, struct slice name, uint32_t *out)
{
    *out = pipe_name_of(c->p, name);
    if (*out == LIMIT_PIPE_NAMES)
        return fail(c, offset, "more than %d names", LIMIT_PIPE_NAMES);
    c->p->names[*out].is_used = true;
    return true;
}

/* ---- words of a tag -------------------------------------------------------------------------- */

static bool is_name_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What lies between the braces of a tag: read from `at` to `end`. */
struct tag {
    struct compiling *c;
    size_t at, end;
    uint32_t depth; /* parentheses and nots */
};

static void skip_space(struct tag *t)
{
    while (t->at < t->end && is_space(t->c->p->sql.ptr[t->at]))
        t->at++;
}

static struct slice peek_word(struct tag *t)
{
    skip_space(t);
    size_t n = t->at;
    while (n < t->end && is_name_byte(t->c->p->sql.ptr[n]))
        n++;
    return (struct slice){t->c->p->sql.ptr + t->at, n - t->at};
}

static bool take_word(struct tag *t, const char *word)
{
    struct slice w = peek_word(t);
    if (!slice_eq_str(w, word))
        return false;
    t->at += w.len;
    return true;
}

static bool take_sign(struct tag *t, const char *sign)
{
    size_t n = strlen(sign);
    skip_space(t);
    if (t->end - t->at < n || memcmp(t->c->p->sql.ptr + t->at, sign, n) != 0)
        return false;
    t->at += n;
    return true;
}

/* 'it\'s' or "it's" → *out, unescaped, in the arena. */
static bool take_text(struct tag *t, struct slice *out)
{
    const char *sql = t->c->p->sql.ptr;
    skip_space(t);
    if (t->at >= t->end || (sql[t->at] != '\'' && sql[t->at] != '"'))
        return false;
    char quote = sql[t->at];
    size_t i = t->at + 1, n = 0;
    char *text = arena_alloc(&t->c->p->arena, t->end - t->at);
    if (text == NULL)
        return no_memory(t->c);
    for (; i < t->end && sql[i] != quote; i++) {
        if (sql[i] == '\\' && i + 1 < t->end)
            i++;
        text[n++] = sql[i];
    }
    if (i >= t->end)
        return fail(t->c, t->at, "a quoted text is not ended");
    t->at = i + 1;
    *out = (struct slice){text, n};
    return true;
}

static struct pipe_condition *condition(struct compiling *c, enum pipe_test test)
{
    if (c->condition_count++ == LIMIT_PIPE_PARTS) { /* they hang on each other */
        (void)fail(c, c->at, "more than %d conditions", LIMIT_PIPE_PARTS);
        return NULL;
    }
    struct pipe_condition *k = arena_calloc(&c->p->arena, 1, sizeof(*k));
    if (k == NULL)
        (void)no_memory(c);
    else
        k->test = test;
    return k;
}

static struct pipe_condition *read_or(struct tag *t);

/* A literal behind == or !=, into k. */
static bool read_literal(struct tag *t, struct pipe_condition *k)
{
    char number[ACCESS_NUMBER_CAP];
    size_t len;
    k->literal = PIPE_IS_TEXT;
    if (take_text(t, &k->text))
        return true;
    if (t->c->rc != 0)
        return false;
    skip_space(t);
    size_t start = t->at, n = t->at;
    const char *sql = t->c->p->sql.ptr;
    while (n < t->end && (is_name_byte(sql[n]) || sql[n] == '.' || sql[n] == '-' || sql[n] == '+'))
        n++;
    struct slice word = {sql + start, n - start};
    t->at = n;
    k->literal = PIPE_IS_BOOLEAN;
    if (slice_eq_str(word, "true") || slice_eq_str(word, "false")) {
        k->text = slice_str(word.len == 4 ? "1" : "0");
        return true;
    }
    k->literal = PIPE_IS_NULL;
    if (slice_eq_str(word, "null") || slice_eq_str(word, "none") || slice_eq_str(word, "None"))
        return true;
    k->literal = PIPE_IS_NUMBER;
    if (!access_number_canonical(word, number, &len))
        return fail(t->c, start, "expected a quoted text, a number, true, false or null");
    k->text = arena_dup(&t->c->p->arena, (struct slice){number, len});
    return k->text.ptr != NULL || no_memory(t->c);
}

static struct pipe_condition *read_name(struct tag *t)
{
    struct slice w = peek_word(t);
    struct pipe_condition *k = condition(t->c, PIPE_TRUE);
    size_t start = t->at;
    if (k == NULL)
        return NULL;
    if (w.len == 0) {
        (void)fail(t->c, t->at,
                   "expected a condition: defined(name), name, name == 'text', not, "
                   "and, or, parentheses");
        return NULL;
    }
    t->at += w.len;
    if (slice_eq_str(w, "true") || slice_eq_str(w, "false")) {
        k->test = PIPE_LITERAL;
        k->name = w.len == 4;
        return k;
    }
    if (slice_eq_str(w, "defined") && take_sign(t, "(")) {
        k->test = PIPE_DEFINED;
        w = peek_word(t);
        start = t->at;
        t->at += w.len;
        if (w.len == 0 || !take_sign(t, ")")) {
            (void)fail(t->c, t->at, "expected defined(name)");
            return NULL;
        }
    }
    if (!name_of(t->c, start, w, &k->name))
        return NULL;
    bool is_equal = k->test == PIPE_TRUE && take_sign(t, "==");
    bool is_other = k->test == PIPE_TRUE && !is_equal && take_sign(t, "!=");
    if (!is_equal && !is_other)
        return k;
    k->test = PIPE_EQUAL;
    if (!read_literal(t, k))
        return NULL;
    struct pipe_condition *negated = is_other ? condition(t->c, PIPE_NOT) : k;
    if (is_other && negated != NULL)
        negated->a = k;
    return negated;
}

static struct pipe_condition *read_not(struct tag *t)
{
    struct pipe_condition *k = NULL;
    if (t->depth >= LIMIT_PIPE_DEPTH) {
        (void)fail(t->c, t->at, "conditions are nested more than %d deep", LIMIT_PIPE_DEPTH);
        return NULL;
    }
    t->depth++;
    if (take_word(t, "not")) {
        k = condition(t->c, PIPE_NOT);
        if (k != NULL)
            k->a = read_not(t);
        if (k != NULL && k->a == NULL)
            k = NULL;
    } else if (take_sign(t, "(")) {
        k = read_or(t);
        if (k != NULL && !take_sign(t, ")")) {
            (void)fail(t->c, t->at, "expected )");
            k = NULL;
        }
    } else {
        k = read_name(t);
    }
    t->depth--;
    return k;
}

static struct pipe_condition *read_and(struct tag *t)
{
    struct pipe_condition *a = read_not(t);
    while (a != NULL && take_word(t, "and")) {
        struct pipe_condition *both = condition(t->c, PIPE_AND);
        if (both == NULL)
            return NULL;
        both->a = a;
        both->b = read_not(t);
        a = both->b != NULL ? both : NULL;
    }
    return a;
}

static struct pipe_condition *read_or(struct tag *t)
{
    struct pipe_condition *a = read_and(t);
    while (a != NULL && take_word(t, "or")) {
        struct pipe_condition *either = condition(t->c, PIPE_OR);
        if (either == NULL)
            return NULL;
        either->a = a;
        either->b = read_and(t);
        a = either->b != NULL ? either : NULL;
    }
    return a;
}

static bool at_end(struct tag *t)
{
    skip_space(t);
    return t->at == t->end ||
           fail(t->c, t->at, "unexpected \"%.*s\"",
                (int)(t->end - t->at < 40 ? t->end - t->at : 40), t->c->p->sql.ptr + t->at);
}

/* ---- tags ------------------------------------------------------------------------------------ */

/* if, elif and else: the part that leads into a new branch. k NULL: else. */
static bool open_branch(struct compiling *c, struct frame *f, size_t offset,
                        struct pipe_condition *k)
{
    struct pipe_part *part = add_part(c, PIPE_IF, offset);
    if (part == NULL)
        return false;
    part->condition = k;
    f->test = c->p->part_count - 1;
    return true;
}

/* The branch under way ends: after it, to the end of the chain; its test leads behind that. */
static bool close_branch(struct compiling *c, struct frame *f, size_t offset, bool is_last)
{
    if (!is_last) {
        struct pipe_part *jump = add_part(c, PIPE_JUMP, offset);
        if (jump == NULL)
            return false;
        jump->to = f->jump;
        f->jump = c->p->part_count - 1;
    }
    c->p->parts[f->test].to = c->p->part_count;
    return true;
}

static bool tag_if(struct compiling *c, struct tag *t, size_t offset)
{
    if (c->depth >= LIMIT_PIPE_DEPTH)
        return fail(c, offset, "ifs are nested more than %d deep", LIMIT_PIPE_DEPTH);
    struct pipe_condition *k = read_or(t);
    if (k == NULL || !at_end(t))
        return false;
    struct frame *f = &c->frames[c->depth];
    *f = (struct frame){.offset = (uint32_t)offset, .jump = UINT32_MAX};
    c->depth++;
    return open_branch(c, f, offset, k);
}

static bool tag_else(struct compiling *c, struct tag *t, size_t offset, bool is_elif)
{
    struct frame *f = c->depth > 0 ? &c->frames[c->depth - 1] : NULL;
    struct pipe_condition *k = NULL;
    if (f == NULL || f->has_else)
        return fail(c, offset, "%s without an if before it", is_elif ? "elif" : "else");
    if (is_elif && (k = read_or(t)) == NULL)
        return false;
    f->has_else = !is_elif;
    return at_end(t) && close_branch(c, f, offset, false) && open_branch(c, f, offset, k);
}

static bool tag_end(struct compiling *c, struct tag *t, size_t offset)
{
    if (c->depth == 0)
        return fail(c, offset, "end without an if before it");
    struct frame *f = &c->frames[--c->depth];
    if (!at_end(t) || !close_branch(c, f, offset, true))
        return false;
    for (uint32_t i = f->jump; i != UINT32_MAX;) {
        uint32_t before = c->p->parts[i].to;
        c->p->parts[i].to = c->p->part_count;
        i = before;
    }
    return true;
}

/* The end of a tag that began before `from`: where `close` stands, not inside quotes. 0: nowhere.
 */
static size_t find_close(struct slice sql, size_t from, const char *close)
{
    char quote = '\0';
    for (size_t i = from; i + 1 < sql.len; i++) {
        if (quote != '\0' && sql.ptr[i] == '\\')
            i++;
        else if (quote != '\0')
            quote = sql.ptr[i] == quote ? '\0' : quote;
        else if (sql.ptr[i] == '\'' || sql.ptr[i] == '"')
            quote = sql.ptr[i];
        else if (sql.ptr[i] == close[0] && sql.ptr[i + 1] == close[1])
            return i;
    }
    return 0;
}

/* {% word … %} at c->at. */
static bool read_tag(struct compiling *c)
{
    size_t offset = c->at, end = find_close(c->p->sql, c->at + 2, "%}");
    if (end == 0)
        return fail(c, offset, "a tag {%% is not ended by %%}");
    struct tag t = {.c = c, .at = offset + 2, .end = end};
    if (!end_text(c, offset))
        return false;
    c->at = c->text_start = end + 2;
    if (take_word(&t, "if"))
        return tag_if(c, &t, offset);
    if (take_word(&t, "elif"))
        return tag_else(c, &t, offset, true);
    if (take_word(&t, "else"))
        return tag_else(c, &t, offset, false);
    if (take_word(&t, "end") || take_word(&t, "endif"))
        return tag_end(c, &t, offset);
    struct slice word = peek_word(&t);
    return fail(c, offset, "unknown tag \"%.*s\": there are if, elif, else and end",
                (int)(word.len < 40 ? word.len : 40), word.ptr);
}

/* ---- placeholders ---------------------------------------------------------------------------- */

static const char *const places[] = {
    [SQL_TEXT] = "a quoted text",   [SQL_NAME] = "a quoted name",
    [SQL_DOUBLE] = "a quoted name", [SQL_LINE] = "a comment",
    [SQL_BLOCK] = "a comment",      [SQL_TYPOGRAPHIC] = "typographic quotes",
    [SQL_HEREDOC] = "a heredoc",
};

/* {{name}} or {{name:default}} at c->at. False: it is none, or c->rc. */
static bool read_place(struct compiling *c)
{
    struct slice sql = c->p->sql;
    size_t offset = c->at, i = offset + 2, colon = 0;
    while (i < sql.len && is_name_byte(sql.ptr[i]))
        i++;
    struct slice name = {sql.ptr + offset + 2, i - offset - 2}, text = SLICE_LIT("");
    if (name.len == 0)
        return false;
    if (i < sql.len && sql.ptr[i] == ':') {
        colon = ++i;
        while (i < sql.len && sql.ptr[i] != '}')
            i++;
        text = (struct slice){sql.ptr + colon, i - colon};
    }
    if (sql.len - i < 2 || sql.ptr[i] != '}' || sql.ptr[i + 1] != '}')
        return false;
    if (c->lex.place == SQL_TYPOGRAPHIC || c->lex.place == SQL_HEREDOC)
        return fail(c, offset, "a placeholder cannot be escaped in %s", places[c->lex.place]);
    if (c->strict_quotes && c->lex.place != SQL_CODE && c->lex.place != SQL_LINE &&
        c->lex.place != SQL_BLOCK)
        return fail(c, offset, "a placeholder stands in %s: write it bare, page = {{page}}",
                    places[c->lex.place]);
    if (offset > 0 && sql.ptr[offset - 1] == '$' && c->lex.place == SQL_CODE)
        return fail(c, offset, "a placeholder may not follow $");
    uint32_t number;
    if (!end_text(c, offset) || !name_of(c, offset, name, &number))
        return false;
    struct pipe_part *part = add_part(c, PIPE_PLACE, offset);
    if (part == NULL)
        return false;
    part->text = text;
    part->name = number;
    part->place = c->lex.place;
    part->wants_number = strcmp(c->last_word, "limit") == 0 || strcmp(c->last_word, "offset") == 0;
    c->at = c->text_start = i + 2;
    return true;
}

/* {{ error('words') }} at c->at. False: it is none, or c->rc. */
static bool read_error(struct compiling *c)
{
    size_t offset = c->at, end = find_close(c->p->sql, offset + 2, "}}");
    struct tag t = {.c = c, .at = offset + 2, .end = end};
    struct slice words;
    if (end == 0 || !take_word(&t, "error") || !take_sign(&t, "("))
        return false;
    if (!take_text(&t, &words) || !take_sign(&t, ")"))
        return fail(c, offset, "expected error('words')");
    if (!at_end(&t) || !end_text(c, offset))
        return false;
    struct pipe_part *part = add_part(c, PIPE_ERROR, offset);
    if (part == NULL)
        return false;
    part->text = words;
    c->at = c->text_start = end + 2;
    return true;
}

static bool note_odd(struct compiling *c)
{
    struct query_pipe *p = c->p;
    if (p->odd_count == PIPE_ODD_MAX)
        return true;
    if (p->odd == NULL)
        p->odd = arena_calloc(&p->arena, PIPE_ODD_MAX, sizeof(*p->odd));
    if (p->odd == NULL)
        return no_memory(c);
    p->odd[p->odd_count++] = (uint32_t)c->at;
    return true;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Remember the last word of code. */
static void note_word(struct compiling *c, size_t n)
{
    const char *w = c->p->sql.ptr + c->at;
    if (c->lex.place != SQL_CODE || is_space(w[0]) || w[0] == ',')
        return;
    memset(c->last_word, 0, sizeof(c->last_word));
    for (size_t i = 0; i < n && n < sizeof(c->last_word); i++)
        c->last_word[i] = (char)(w[i] >= 'A' && w[i] <= 'Z' ? w[i] + 32 : w[i]);
}

static bool compile(struct compiling *c)
{
    struct slice sql = c->p->sql;
    size_t percent = 0; /* where templates come from that begin with one, it says that they are */
    while (percent < sql.len && is_space(sql.ptr[percent]))
        percent++;
    if (percent < sql.len && sql.ptr[percent] == '%')
        c->at = c->text_start = percent + 1;
    while (c->at < sql.len) {
        const char *p = sql.ptr + c->at;
        size_t left = sql.len - c->at;
        if (left >= 2 && p[0] == '{' && p[1] == '{') {
            if (read_place(c) || (c->rc == 0 && c->lex.place == SQL_CODE && read_error(c)))
                continue;
            if (c->rc != 0 || (c->lex.place == SQL_CODE && !note_odd(c)))
                return false;
            c->at++; /* {{{x}} has a placeholder at its second brace */
            continue;
        }
        if (left >= 2 && p[0] == '{' && p[1] == '%' && c->lex.place == SQL_CODE) {
            if (!read_tag(c))
                return false;
            continue;
        }
        struct sql_lex before = c->lex;
        size_t n = sql_lex_step(&c->lex, (struct slice){p, left});
        if (before.place == SQL_CODE)
            note_word(c, n);
        c->at += n;
    }
    if (c->depth > 0)
        return fail(c, c->frames[c->depth - 1].offset, "an if is not ended by {%% end %%}");
    return end_text(c, sql.len);
}

int pipe_compile(struct query_pipe *p, bool strict_quotes, struct err *e)
{
    struct compiling c = {.p = p, .e = e, .strict_quotes = strict_quotes};
    (void)compile(&c);
    return c.rc;
}
