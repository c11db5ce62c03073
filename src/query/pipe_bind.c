/* SPDX-License-Identifier: Apache-2.0 */
/* A caller's values in a pipe's SQL (pipes.md §2–§4). */
#include "query/pipe_priv.h"
#include "query/select_priv.h"

#include "access/scalar.h"

#include <stdio.h>
#include <stdlib.h>

#define BINDER_MAGIC 0x50424e44u

/* What stands for a name. */
struct value {
    enum {
        ABSENT,
        TEXT, /* of the query string, or an inline default */
        JSON
    } kind;
    struct slice text;
    const struct json_doc *doc;
    const struct json_node *node;
};

struct query_binder {
    uint32_t magic;
    struct json_reader *reader;
    struct arena arena;
    struct buf words;   /* of the refusal */
    struct buf scratch; /* a value on its way into quotes or a comment */
    struct value values[LIMIT_PIPE_NAMES];
};

struct query_binder *query_binder_new(void)
{
    struct query_binder *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return NULL;
    b->magic = BINDER_MAGIC;
    b->reader = json_reader_new(LIMIT_QUERY_BODY_BYTES);
    arena_init(&b->arena, 16 * KIB, 16 * MIB);
    buf_init(&b->words, 16 * KIB);
    buf_init(&b->scratch, LIMIT_QUERY_SQL_BYTES);
    if (b->reader == NULL) {
        query_binder_free(b);
        return NULL;
    }
    return b;
}

void query_binder_free(struct query_binder *b)
{
    if (b == NULL)
        return;
    CHECK_MAGIC(b, BINDER_MAGIC);
    b->magic = 0;
    json_reader_free(b->reader);
    arena_fini(&b->arena);
    buf_fini(&b->words);
    buf_fini(&b->scratch);
    free(b);
}

/* One binding under way. */
struct binding {
    struct query_binder *b;
    const struct query_pipe *p;
    struct query_statement *s;
    struct query_refusal *no;
    enum query_result result; /* READY until something stands against it */
};

static bool refuse(struct binding *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool refuse(struct binding *w, const char *fmt, ...)
{
    va_list ap;
    if (w->result != QUERY_READY)
        return false;
    va_start(ap, fmt);
    w->result = query_refusal_put(&w->b->words, w->no, 400, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool is_boolean(struct slice s, bool *is_true)
{
    *is_true = slice_eq_str(s, "true") || slice_eq_str(s, "1");
    return *is_true || slice_eq_str(s, "false") || slice_eq_str(s, "0");
}

static bool type_takes_text(enum pipe_type type, struct slice s)
{
    bool is_true;
    return type == PIPE_UNTYPED || type == PIPE_STRING ||
           (type == PIPE_NUMBER && query_is_number(s)) ||
           (type == PIPE_BOOLEAN && is_boolean(s, &is_true));
}

static const char *const type_names[] = {"", "string", "number", "boolean", "array"};

/* Arrays may hold anything but objects and empty arrays, and LIMIT_QUERY_VALUES of it in all. */
static const char *array_flaw(const struct json_doc *doc, const struct json_node *n)
{
    if (n->kind == JSON_OBJECT)
        return "unsupported parameter type object";
    if (n->kind != JSON_ARRAY)
        return NULL;
    if (n->count == 0)
        return "array parameter must not be empty";
    if (n->next - (size_t)(n - doc->nodes) > LIMIT_QUERY_VALUES + 1)
        return "array parameter has too many elements";
    const char *flaw = NULL;
    const struct json_node *item = n + 1;
    for (uint32_t i = 0; flaw == NULL && i < n->count; i++, item = &doc->nodes[item->next])
        flaw = array_flaw(doc, item);
    return flaw;
}

bool pipe_value_fits(const struct pipe_parameter *a, const struct json_doc *doc,
                     const struct json_node *n, const char **why)
{
    static _Thread_local char text[64];
    bool fits = true;
    if (n->kind == JSON_NULL)
        return true;
    if (n->kind == JSON_STRING) {
        struct slice raw = json_raw(doc, n); /* no escape is needed to spell numbers and words */
        fits = type_takes_text(a->type, raw);
    } else {
        static const enum pipe_type types[] = {[JSON_FALSE] = PIPE_BOOLEAN,
                                               [JSON_TRUE] = PIPE_BOOLEAN,
                                               [JSON_NUMBER] = PIPE_NUMBER,
                                               [JSON_ARRAY] = PIPE_ARRAY,
                                               [JSON_OBJECT] = PIPE_UNTYPED};
        fits = a->type == PIPE_UNTYPED || a->type == types[n->kind];
    }
    if (!fits) {
        (void)snprintf(text, sizeof(text), "expected %s, got %s", type_names[a->type],
                       json_kind_name(n->kind));
        *why = text;
        return false;
    }
    *why = array_flaw(doc, n);
    return *why == NULL;
}

/* ---- rendering ------------------------------------------------------------------------------- */

static bool unescaped(struct binding *w, const struct json_doc *doc, const struct json_node *n,
                      struct slice *out)
{
    *out = json_raw(doc, n);
    if ((n->flags & JSON_F_ESCAPED) == 0)
        return true;
    char *text = arena_alloc(&w->b->arena, out->len + 1);
    if (text == NULL) {
        w->result = QUERY_NO_MEMORY;
        return false;
    }
    *out = (struct slice){text, json_unescape(*out, text)};
    return true;
}

static void put_text(struct buf *out, struct slice s)
{
    buf_put_u8(out, '\'');
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\' || s.ptr[i] == '\'')
            buf_put_u8(out, (uint8_t)s.ptr[i]);
        buf_put_u8(out, (uint8_t)s.ptr[i]);
    }
    buf_put_u8(out, '\'');
}

/* is_bare: without quotes of its own, escaped later. */
static void put_string(struct buf *out, enum pipe_type type, struct slice s, bool is_bare)
{
    bool is_true;
    if (type == PIPE_BOOLEAN && is_boolean(s, &is_true))
        buf_put_u8(out, is_true ? '1' : '0');
    else if (is_bare || (type != PIPE_STRING && query_is_number(s)))
        buf_put_slice(out, s);
    else
        put_text(out, s);
}

static void put_number(struct buf *out, struct slice digits)
{
    char text[ACCESS_NUMBER_CAP];
    size_t len;
    if (access_number_canonical(digits, text, &len))
        buf_put(out, text, len);
    else
        buf_put_slice(out, digits);
}

static bool put_json(struct binding *w, struct buf *out, const struct json_doc *doc,
                     const struct json_node *n, enum pipe_type type, bool is_bare)
{
    struct slice text;
    const struct json_node *item;
    switch (n->kind) {
    case JSON_NULL:
        buf_put_str(out, "NULL");
        return true;
    case JSON_FALSE:
    case JSON_TRUE:
        buf_put_u8(out, n->kind == JSON_TRUE ? '1' : '0');
        return true;
    case JSON_NUMBER:
        put_number(out, json_raw(doc, n));
        return true;
    case JSON_STRING:
        if (!unescaped(w, doc, n, &text))
            return false;
        put_string(out, type, text, is_bare);
        return true;
    case JSON_ARRAY:
        buf_put_u8(out, '(');
        item = n + 1;
        for (uint32_t i = 0; i < n->count && buf_ok(out); i++, item = &doc->nodes[item->next]) {
            if (i > 0)
                buf_put_str(out, ", ");
            if (!put_json(w, out, doc, item, PIPE_UNTYPED, false))
                return false;
        }
        buf_put_u8(out, ')');
        return true;
    default:
        return false; /* refused before */
    }
}

/* Is the value one that the name may have? */
static bool check(struct binding *w, const struct pipe_name *name, const struct value *v)
{
    static const struct pipe_parameter untyped;
    const struct pipe_parameter *a = name->parameter != NULL ? name->parameter : &untyped;
    const char *why = NULL;
    if (v->kind == TEXT && !type_takes_text(a->type, v->text))
        return refuse(w, "parameter \"%.*s\": expected %s, got string", SELECT_ARG(name->name),
                      type_names[a->type]);
    if (v->kind == JSON && !pipe_value_fits(a, v->doc, v->node, &why))
        return refuse(w, "parameter \"%.*s\": %s", SELECT_ARG(name->name), why);
    return true;
}

/* As SQL, or, is_bare, as what stands between quotes. */
static bool put_value(struct binding *w, struct buf *out, enum pipe_type type,
                      const struct value *v, bool is_bare)
{
    if (v->kind == JSON)
        return put_json(w, out, v->doc, v->node, type, is_bare);
    if (v->kind == TEXT)
        put_string(out, type, v->text, is_bare);
    else
        buf_put_str(out, "NULL");
    return true;
}

static void put_in_quotes(struct buf *out, struct slice s, char quote)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] == '\\')
            buf_put_u8(out, '\\');
        else if (s.ptr[i] == quote)
            buf_put_u8(out, quote == '\'' ? '\'' : '\\');
        buf_put_u8(out, (uint8_t)s.ptr[i]);
    }
}

/* Whatever might end a comment becomes a space. */
static void put_in_comment(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        buf_put_u8(out, c < ' ' || c == '*' || c == '/' ? ' ' : c);
    }
}

static bool put_place(struct binding *w, const struct pipe_part *part, enum pipe_type type,
                      const struct value *v)
{
    struct buf *sql = &w->s->sql, *scratch = &w->b->scratch;
    bool is_quoted =
        part->place == SQL_TEXT || part->place == SQL_NAME || part->place == SQL_DOUBLE;
    buf_reset(scratch);
    if (!put_value(w, scratch, type, v, is_quoted))
        return false;
    struct slice text = buf_slice(scratch);
    if (!buf_ok(scratch))
        sql->failed = true; /* too long */
    else if (is_quoted)
        put_in_quotes(sql, text,
                      part->place == SQL_TEXT   ? '\''
                      : part->place == SQL_NAME ? '`'
                                                : '"');
    else if (part->place != SQL_CODE)
        put_in_comment(sql, text);
    else {
        if (text.len > 0 && text.ptr[0] == '-' && sql->len > 0 && sql->ptr[sql->len - 1] == '-')
            buf_put_u8(sql, ' '); /* two would begin a comment */
        buf_put_slice(sql, text);
    }
    return true;
}

/* ---- what stands for a placeholder ----------------------------------------------------------- */

static struct value default_of(const struct binding *w, uint32_t name)
{
    const struct pipe_parameter *a = w->p->names[name].parameter;
    struct value v = {.kind = ABSENT};
    if (a != NULL && a->value != NULL)
        v = (struct value){.kind = JSON, .doc = &w->p->doc, .node = a->value};
    return v;
}

static bool put_argument(struct binding *w, const struct pipe_part *part)
{
    const struct pipe_name *name = &w->p->names[part->name];
    struct value v = w->b->values[part->name];
    enum pipe_type type = name->parameter != NULL ? name->parameter->type : PIPE_UNTYPED;
    if (v.kind == ABSENT)
        v = default_of(w, part->name);
    if (v.kind == ABSENT && part->text.len > 0) {
        v = (struct value){.kind = TEXT, .text = part->text};
        return put_place(w, part, PIPE_UNTYPED, &v);
    }
    if (v.kind == ABSENT && name->parameter == NULL)
        return refuse(w, "missing required parameter: %.*s", SELECT_ARG(name->name));
    return check(w, name, &v) && put_place(w, part, type, &v);
}

/* ---- conditions ------------------------------------------------------------------------------ */

/* The text of a scalar; false: it is none. */
static bool text_of(struct binding *w, const struct value *v, struct slice *out)
{
    if (v->kind == TEXT) {
        *out = v->text;
        return true;
    }
    if (v->kind == ABSENT)
        return false;
    if (v->node->kind == JSON_TRUE || v->node->kind == JSON_FALSE || v->node->kind == JSON_NUMBER) {
        *out = json_raw(v->doc, v->node);
        return true;
    }
    return v->node->kind == JSON_STRING && unescaped(w, v->doc, v->node, out);
}

static bool is_null(const struct value *v)
{
    return v->kind == ABSENT || (v->kind == JSON && v->node->kind == JSON_NULL);
}

static bool is_equal(struct binding *w, const struct pipe_condition *k, const struct value *v)
{
    char number[ACCESS_NUMBER_CAP];
    size_t len;
    struct slice text;
    bool is_true;
    if (k->literal == PIPE_IS_NULL)
        return is_null(v);
    if (!text_of(w, v, &text))
        return false;
    if (k->literal == PIPE_IS_TEXT)
        return slice_eq(text, k->text);
    if (k->literal == PIPE_IS_BOOLEAN)
        return is_boolean(text, &is_true) && is_true == (k->text.ptr[0] == '1');
    return access_number_canonical(text, number, &len) &&
           slice_eq((struct slice){number, len}, k->text);
}

static bool is_truth(struct binding *w, const struct value *v)
{
    struct slice text;
    if (v->kind == JSON && v->node->kind == JSON_ARRAY)
        return v->node->count > 0;
    return text_of(w, v, &text) && text.len > 0 && !slice_eq_str(text, "0") &&
           !slice_eq_str(text, "false");
}

/* How deep they are nested is limited when they are read. */
static bool holds(struct binding *w, const struct pipe_condition *k)
{
    struct value v;
    switch (k->test) {
    case PIPE_OR:
        return holds(w, k->a) || holds(w, k->b);
    case PIPE_AND:
        return holds(w, k->a) && holds(w, k->b);
    case PIPE_NOT:
        return !holds(w, k->a);
    case PIPE_LITERAL:
        return k->name != 0;
    case PIPE_DEFINED:
        return !is_null(&w->b->values[k->name]);
    default:
        v = w->b->values[k->name];
        if (v.kind == ABSENT)
            v = default_of(w, k->name);
        return k->test == PIPE_EQUAL ? is_equal(w, k, &v) : is_truth(w, &v);
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool write_parts(struct binding *w)
{
    const struct query_pipe *p = w->p;
    for (uint32_t i = 0; i < p->part_count;) {
        const struct pipe_part *part = &p->parts[i++];
        switch (part->kind) {
        case PIPE_TEXT:
            buf_put_slice(&w->s->sql, part->text);
            break;
        case PIPE_PLACE:
            if (!put_argument(w, part))
                return false;
            break;
        case PIPE_ERROR:
            return refuse(w, "%.*s", (int)part->text.len, part->text.ptr);
        case PIPE_IF:
            if (part->condition != NULL && !holds(w, part->condition))
                i = part->to;
            break;
        case PIPE_JUMP:
            i = part->to;
            break;
        }
        if (!query_statement_ok(w->s))
            return refuse(w, "the statement is too long");
    }
    return w->result == QUERY_READY;
}

static uint32_t known_name(const struct query_pipe *p, struct slice name)
{
    uint32_t i = 0;
    while (i < p->name_count && !slice_eq(p->names[i].name, name))
        i++;
    return i;
}

static bool take_query(struct binding *w, const struct query_argument *arguments, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = known_name(w->p, arguments[i].name);
        if (number == w->p->name_count || slice_eq_str(arguments[i].name, "token") ||
            w->b->values[number].kind != ABSENT)
            continue;
        w->b->values[number] = (struct value){.kind = TEXT, .text = arguments[i].value};
    }
    return true;
}

/* The document's nodes stay until the reader's next text. */
static bool take_body(struct binding *w, struct slice body, struct json_doc *doc)
{
    struct json_reader *reader = w->b->reader;
    if (body.len == 0 || json_reader_begin(reader, body.ptr, body.len, JSON_ONE) != 0 ||
        json_reader_next(reader, doc) != 0 || json_reader_trailing(reader) ||
        doc->nodes[0].kind != JSON_OBJECT)
        return true; /* what is none is ignored (pipes.md §2) */
    const struct json_node *key = doc->nodes + 1;
    for (uint32_t i = 0; i < doc->nodes[0].count; i++) {
        const struct json_node *value = key + 1;
        struct slice name;
        if (!unescaped(w, doc, key, &name))
            return false;
        uint32_t number = known_name(w->p, name);
        if (number < w->p->name_count)
            w->b->values[number] = (struct value){.kind = JSON, .doc = doc, .node = value};
        key = &doc->nodes[value->next];
    }
    return true;
}

static bool check_required(struct binding *w)
{
    for (uint32_t i = 0; i < w->p->name_count; i++) {
        const struct pipe_parameter *a = w->p->names[i].parameter;
        if (a != NULL && a->required && w->b->values[i].kind == ABSENT)
            return refuse(w, "missing required parameter: %.*s", SELECT_ARG(a->name));
    }
    return true;
}

static struct binding begin(struct query_binder *b, const struct query_pipe *p,
                            struct query_statement *s, struct query_refusal *no)
{
    CHECK_MAGIC(b, BINDER_MAGIC);
    CHECK_MAGIC(p, QUERY_PIPE_MAGIC);
    query_statement_reset(s);
    arena_reset(&b->arena);
    for (uint32_t i = 0; i < p->name_count; i++)
        b->values[i].kind = ABSENT;
    return (struct binding){.b = b, .p = p, .s = s, .no = no, .result = QUERY_READY};
}

enum query_result query_pipe_bind(struct query_binder *b, const struct query_pipe *p,
                                  const struct query_argument *arguments, uint32_t count,
                                  struct slice body, struct query_statement *s,
                                  struct query_refusal *no)
{
    struct json_doc doc;
    struct binding w = begin(b, p, s, no);
    if (take_query(&w, arguments, count) && take_body(&w, body, &doc) && check_required(&w) &&
        write_parts(&w))
        s->writes = query_sql_writes(buf_slice(&s->sql));
    return w.result;
}

/* ---- the leading verb ------------------------------------------------------------------------ */

static bool is_writing_verb(struct slice word)
{
    static const char *const verbs[] = {"insert",   "update",   "delete", "alter",    "create",
                                        "drop",     "truncate", "rename", "exchange", "replace",
                                        "optimize", "attach",   "detach", "grant",    "revoke",
                                        "kill",     "set",      "use",    "system"};
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (select_is(word, verbs[i]))
            return true;
    return false;
}

bool query_sql_writes(struct slice sql)
{
    struct sql_lex lex = {.place = SQL_CODE};
    uint32_t depth = 0;
    bool is_with = false, is_alias = false;
    for (size_t at = 0, n; at < sql.len; at += n) {
        struct slice rest = {sql.ptr + at, sql.len - at};
        bool was_code = lex.place == SQL_CODE;
        n = sql_lex_step(&lex, rest);
        struct slice word = {rest.ptr, n};
        char c = rest.ptr[0];
        if (!was_code || c == ' ' || (c >= '\t' && c <= '\r'))
            continue;
        if (lex.place == SQL_LINE || lex.place == SQL_BLOCK)
            continue;
        if (c == '(')
            depth++;
        else if (c == ')' && depth > 0)
            depth--;
        if (!is_with && c == '(')
            continue;
        bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!is_with) {
            if (!select_is(word, "with"))
                return is_word && is_writing_verb(word);
            is_with = true;
            depth = 0;
            continue;
        }
        size_t next = at + n;
        while (next < sql.len && (sql.ptr[next] == ' ' || sql.ptr[next] == '\n'))
            next++;
        bool is_call = next < sql.len && sql.ptr[next] == '(';
        if (depth == 0 && is_word && !is_alias && !is_call) {
            if (select_is(word, "select"))
                return false;
            if (is_writing_verb(word))
                return true;
        }
        is_alias = is_word && select_is(word, "as");
    }
    return false;
}
