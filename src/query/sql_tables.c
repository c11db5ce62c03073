/* SPDX-License-Identifier: Apache-2.0 */
/* Which tables a text of SQL reads, by its words. A name too many costs a hit of the cache, one too
 * few would serve old rows: whatever stands where a table belongs and is none that is known makes
 * the answer short-lived (pipes.md §5). Works on every server and for every branch of a template.
 */
#include "query/pipe.h"
#include "query/select_priv.h"
#include "query/sql_lex.h"

#define DEPTH_MAX 128

struct word {
    enum {
        END,
        NAME, /* a word, or a quoted name with its quotes */
        SIGN, /* one byte of anything else */
        OTHER /* a literal */
    } kind;
    struct slice text;
};

struct reading {
    struct slice sql;
    size_t at;
    struct sql_lex lex;
};

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* The next word that is no space and no comment. */
static struct word next_word(struct reading *r)
{
    while (r->at < r->sql.len) {
        size_t start = r->at;
        r->at += sql_lex_step(&r->lex, (struct slice){r->sql.ptr + start, r->sql.len - start});
        enum sql_place place = r->lex.place;
        while (r->lex.place != SQL_CODE && r->at < r->sql.len)
            r->at += sql_lex_step(&r->lex, (struct slice){r->sql.ptr + r->at, r->sql.len - r->at});
        struct slice text = {r->sql.ptr + start, r->at - start};
        char c = text.ptr[0];
        if (place == SQL_LINE || place == SQL_BLOCK || c == ' ' || (c >= '\t' && c <= '\r'))
            continue;
        if (place == SQL_NAME || place == SQL_DOUBLE || is_name_start(c))
            return (struct word){NAME, text};
        bool is_literal = place != SQL_CODE || (c >= '0' && c <= '9');
        return (struct word){is_literal ? OTHER : SIGN, text};
    }
    return (struct word){END, SLICE_LIT("")};
}

/* The name without its quotes; false: no memory. */
static struct slice plain(struct arena *a, struct slice text)
{
    char quote = text.ptr[0];
    if (quote != '`' && quote != '"')
        return text;
    char *out = arena_alloc(a, text.len + 1);
    size_t n = 0;
    for (size_t i = 1; out != NULL && i + 1 < text.len; i++) {
        if ((text.ptr[i] == '\\' || text.ptr[i] == quote) && i + 2 < text.len)
            i++;
        out[n++] = text.ptr[i];
    }
    return (struct slice){out, out != NULL ? n : 0};
}

static bool is_one_of(struct slice word, const char *const *list)
{
    for (; *list != NULL; list++)
        if (select_is(word, *list))
            return true;
    return false;
}

/* Is the name given to a subquery by "name AS (" anywhere? */
static bool is_given(struct slice sql, struct arena *a, struct slice name)
{
    struct reading r = {.sql = sql};
    struct word before[2] = {{END, SLICE_LIT("")}, {END, SLICE_LIT("")}};
    for (struct word w = next_word(&r); w.kind != END; w = next_word(&r)) {
        if (w.kind == SIGN && w.text.ptr[0] == '(' && before[1].kind == NAME &&
            select_is(before[1].text, "as") && before[0].kind == NAME &&
            slice_eq(plain(a, before[0].text), name))
            return true;
        before[0] = before[1];
        before[1] = w;
    }
    return false;
}

static bool is_sign(struct word w, char c)
{
    return w.kind == SIGN && w.text.ptr[0] == c;
}

/* What stands where a table belongs: name, database.name, name( … False: not resolved. */
static bool is_resolved(struct reading *r, struct arena *a, const struct schema_catalog *catalog,
                        struct slice database, struct word w)
{
    struct reading ahead = *r;
    struct slice name = plain(a, w.text);
    struct word next = next_word(&ahead);
    if (is_sign(next, '(') || name.ptr == NULL)
        return false; /* a table function */
    if (is_sign(next, '.')) {
        struct word second = next_word(&ahead);
        return second.kind == NAME && slice_eq(name, database) &&
               schema_catalog_find(catalog, plain(a, second.text)) != NULL;
    }
    return schema_catalog_find(catalog, name) != NULL || is_given(r->sql, a, name);
}

uint32_t query_sql_tables(struct slice sql, const struct schema_catalog *catalog,
                          struct slice database, struct query_statement *s)
{
    static const char *const ends[] = {"where",  "prewhere", "group", "order",    "limit",
                                       "having", "select",   "union", "settings", NULL};
    static const char *const starts[] = {"from", "join", NULL};
    static const char *const lookups[] = {"joinget", "joingetornull", "hascolumnintable", NULL};
    struct reading r = {.sql = sql};
    struct arena a;
    bool in_from[DEPTH_MAX] = {false}, expected = false, after_in = false;
    uint32_t depth = 0, unresolved = 0;
    arena_init(&a, 4 * KIB, 16 * MIB);
    for (struct word w = next_word(&r); w.kind != END; w = next_word(&r)) {
        if (is_sign(w, '(')) {
            depth++;
            unresolved += depth == DEPTH_MAX;
            if (depth < DEPTH_MAX)
                in_from[depth] = expected && in_from[depth - 1]; /* FROM (a JOIN b) */
            expected = after_in = false;
        } else if (is_sign(w, ')') && depth > 0) {
            depth--;
            expected = after_in = false;
        } else if (is_sign(w, ',')) {
            expected = depth < DEPTH_MAX && in_from[depth];
        } else if (w.kind == NAME && is_one_of(w.text, starts)) {
            expected = true;
            if (depth < DEPTH_MAX)
                in_from[depth] = true;
        } else if (w.kind == NAME && select_is(w.text, "in")) {
            after_in = true;
        } else if (w.kind == NAME && is_one_of(w.text, ends)) {
            expected = after_in = false;
            if (depth < DEPTH_MAX)
                in_from[depth] = false;
        } else if (w.kind == NAME) {
            struct slice name = plain(&a, w.text);
            if (schema_catalog_find(catalog, name) != NULL)
                query_statement_put_table(s, name);
            bool is_lookup = is_one_of(w.text, lookups) ||
                             (w.text.len > 4 && select_is((struct slice){w.text.ptr, 4}, "dict"));
            if ((expected || after_in) && !is_resolved(&r, &a, catalog, database, w))
                unresolved++;
            else if (is_lookup) { /* a dictionary, or a table by its name in a text */
                struct reading ahead = r;
                unresolved += is_sign(next_word(&ahead), '(');
            }
            expected = after_in = false;
        } else {
            unresolved += expected; /* a placeholder's value in the place of a table */
            expected = after_in = false;
        }
    }
    arena_fini(&a);
    s->tables_unknown = unresolved > 0 || !buf_ok(&s->tables);
    return unresolved;
}
