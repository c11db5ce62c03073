/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/rules.h"

#include "base/arena.h"
#include "base/limits.h"
#include "base/magic.h"

#include <errno.h>
#include <stdlib.h>

#define RULES_MAGIC        0x52554c45u
#define INTEGER_DIGITS_MAX 80 /* the longest of ClickHouse's integers, UInt256, has 78 */
#define EXPONENT_MAX       400
#define SHOWN_BYTES        60 /* of a value in an error text */
#define SCRATCH_BLOCK      (16 * KIB)
/* Unescaped keys and cast values of one record: each comes at most once more per cast. */
#define SCRATCH_BYTES_MAX (4 * LIMIT_RECORD_BYTES)

enum rule_kind {
    RULE_RENAME,
    RULE_DROP,
    RULE_DEFAULT,
    RULE_SET,
    RULE_CAST
};
enum cast_kind {
    CAST_STRING,
    CAST_INTEGER,
    CAST_NUMBER,
    CAST_BOOLEAN
};

struct rule {
    enum rule_kind kind;
    enum cast_kind cast;
    struct slice column, to; /* unescaped; to: of a rename */
    struct slice value;      /* JSON text, of default and set */
};

/* One member of the record being worked on. */
struct member {
    struct slice key;             /* unescaped */
    const struct json_node *node; /* the value as it came, or NULL: */
    struct slice text;            /* its JSON text, made by a rule */
    bool gone;
};

struct rules {
    uint32_t magic;
    uint32_t count;
    struct rule list[LIMIT_RULES];
    struct arena texts;   /* of the rules */
    struct arena scratch; /* of one record */
    struct buf from, to;  /* of one cast */
    struct member *members;
    uint32_t member_count, member_cap;
};

/* ---- reading rules ------------------------------------------------------------------------- */

static const char *const rule_names[] = {"rename", "drop", "default", "set", "cast"};
static const char *const cast_names[] = {"string", "integer", "number", "boolean"};
#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* The place of a name in a list, or -1. */
static int find_name(struct slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_str(name, names[i]))
            return (int)i;
    return -1;
}

/* The text of STRING node n, escapes resolved; ptr NULL when memory runs out. */
static struct slice text_of(struct arena *a, const struct json_doc *doc, const struct json_node *n)
{
    struct slice raw = json_raw(doc, n);
    char *p = arena_alloc(a, raw.len + 1);
    if (p == NULL)
        return (struct slice){NULL, 0};
    return (struct slice){p, json_unescape(raw, p)};
}

/* How many bytes of s an error text shows: whole characters. */
static int shown(struct slice s)
{
    size_t n = s.len;
    if (n > SHOWN_BYTES)
        for (n = SHOWN_BYTES; n > 0 && ((unsigned char)s.ptr[n] & 0xc0) == 0x80; n--)
            ;
    return (int)n;
}

struct parser {
    struct rules *r;
    const struct json_doc *doc;
    struct err *e;
    unsigned number; /* of the rule, from 1: for texts */
    const char *name;
};

/* A column's name from node n into *out. */
static int parse_column(const struct parser *p, const struct json_node *n, const char *what,
                        struct slice *out)
{
    if (n == NULL || n->kind != JSON_STRING || n->len == 0)
        return err_set(p->e, WH_ESYNTAX, "rule %u (%s): %s must be a column's name in quotes",
                       p->number, p->name, what);
    if (n->len > 6 * LIMIT_NAME_BYTES)
        return err_set(p->e, WH_ELIMIT, "rule %u (%s): %s is over %u bytes", p->number, p->name,
                       what, (unsigned)LIMIT_NAME_BYTES);
    *out = text_of(&p->r->texts, p->doc, n);
    return out->ptr != NULL ? 0 : err_set(p->e, -ENOMEM, "out of memory");
}

/* The members first and second of the object n, which must have both and no others. */
static int parse_pair(const struct parser *p, const struct json_node *n, const char *first,
                      const struct json_node **one, const char *second,
                      const struct json_node **two)
{
    const struct json_node *nodes = p->doc->nodes;
    *one = *two = NULL;
    if (n->kind != JSON_OBJECT)
        return err_set(p->e, WH_ESYNTAX, "rule %u: %s must be {\"%s\":…,\"%s\":…}", p->number,
                       p->name, first, second);
    for (uint32_t i = (uint32_t)(n - nodes) + 1; i < n->next; i = nodes[i + 1].next) {
        if (json_string_is(p->doc, &nodes[i], first))
            *one = &nodes[i + 1];
        else if (json_string_is(p->doc, &nodes[i], second))
            *two = &nodes[i + 1];
        else
            return err_set(p->e, WH_ESYNTAX,
                           "rule %u (%s): unknown member \"%.*s\"; known are %s and %s", p->number,
                           p->name, shown(json_raw(p->doc, &nodes[i])),
                           json_raw(p->doc, &nodes[i]).ptr, first, second);
    }
    if (*one == NULL || *two == NULL)
        return err_set(p->e, WH_ESYNTAX, "rule %u (%s): \"%s\" is missing", p->number, p->name,
                       *one == NULL ? first : second);
    return 0;
}

static int parse_value(const struct parser *p, const struct json_node *n, struct slice *out)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    json_put_minified(&text, p->doc, n);
    *out = arena_dup(&p->r->texts, buf_slice(&text));
    bool good = buf_ok(&text) && out->ptr != NULL;
    buf_fini(&text);
    return good ? 0 : err_set(p->e, -ENOMEM, "out of memory");
}

static int parse_cast(const struct parser *p, const struct json_node *n, struct rule *rule)
{
    int to = -1;
    if (n->kind == JSON_STRING)
        to = find_name(json_raw(p->doc, n), cast_names, COUNT_OF(cast_names));
    if (to < 0)
        return err_set(p->e, WH_ESYNTAX,
                       "rule %u (cast): \"to\" must be \"string\", \"integer\", \"number\" or "
                       "\"boolean\"",
                       p->number);
    rule->cast = (enum cast_kind)to;
    return 0;
}

static int parse_body(const struct parser *p, const struct json_node *n, struct rule *rule)
{
    const struct json_node *one = n, *two = NULL;
    int rc = 0;
    switch (rule->kind) {
    case RULE_DROP:
        return parse_column(p, n, "drop", &rule->column);
    case RULE_RENAME:
        if ((rc = parse_pair(p, n, "from", &one, "to", &two)) != 0 ||
            (rc = parse_column(p, one, "\"from\"", &rule->column)) != 0)
            return rc;
        return parse_column(p, two, "\"to\"", &rule->to);
    case RULE_CAST:
        if ((rc = parse_pair(p, n, "column", &one, "to", &two)) != 0 ||
            (rc = parse_column(p, one, "\"column\"", &rule->column)) != 0)
            return rc;
        return parse_cast(p, two, rule);
    case RULE_DEFAULT:
    case RULE_SET:
        break;
    }
    if ((rc = parse_pair(p, n, "column", &one, "value", &two)) != 0 ||
        (rc = parse_column(p, one, "\"column\"", &rule->column)) != 0)
        return rc;
    return parse_value(p, two, &rule->value);
}

static int parse_rule(struct parser *p, const struct json_node *n, struct rule *rule)
{
    if (n->kind != JSON_OBJECT || n->count != 1)
        return err_set(p->e, WH_ESYNTAX,
                       "rule %u must be an object with one member, such as {\"drop\":\"column\"}",
                       p->number);
    struct slice name = json_raw(p->doc, n + 1);
    int kind = find_name(name, rule_names, COUNT_OF(rule_names));
    if (kind < 0)
        return err_set(p->e, WH_ESYNTAX,
                       "rule %u: unknown rule \"%.*s\"; known are rename, drop, default, set and "
                       "cast",
                       p->number, shown(name), name.ptr);
    rule->kind = (enum rule_kind)kind;
    p->name = rule_names[kind];
    return parse_body(p, n + 2, rule);
}

int rules_parse(struct rules **out, const struct json_doc *doc, const struct json_node *list,
                struct err *e)
{
    if (list->kind != JSON_ARRAY)
        return err_set(e, WH_ESYNTAX,
                       "rules must be an array, such as [{\"drop\":\"column\"}], not %s",
                       json_kind_name(list->kind));
    if (list->count > LIMIT_RULES)
        return err_set(e, WH_ELIMIT, "more than %u rules: apply them in several steps",
                       (unsigned)LIMIT_RULES);
    struct rules *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    r->magic = RULES_MAGIC;
    arena_init(&r->texts, SCRATCH_BLOCK, SCRATCH_BYTES_MAX);
    arena_init(&r->scratch, SCRATCH_BLOCK, SCRATCH_BYTES_MAX);
    buf_init(&r->from, SIZE_MAX);
    buf_init(&r->to, SIZE_MAX);
    struct parser p = {.r = r, .doc = doc, .e = e};
    int rc = 0;
    for (const struct json_node *n = list + 1; rc == 0 && r->count < list->count;
         n = &doc->nodes[n->next]) {
        p.number = r->count + 1;
        rc = parse_rule(&p, n, &r->list[r->count]);
        r->count++;
    }
    if (rc != 0) {
        rules_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void rules_free(struct rules *r)
{
    if (r == NULL)
        return;
    CHECK_MAGIC(r, RULES_MAGIC);
    arena_fini(&r->texts);
    arena_fini(&r->scratch);
    buf_fini(&r->from);
    buf_fini(&r->to);
    free(r->members);
    r->magic = 0;
    free(r);
}

uint32_t rules_count(const struct rules *r)
{
    CHECK_MAGIC(r, RULES_MAGIC);
    return r->count;
}

/* ---- casts: from the text of a value to the JSON text of another ----------------------------- */

/* Decimal text taken apart: [-] whole [. fraction] [e exponent]. */
struct decimal {
    bool negative;
    struct slice whole, fraction; /* digits only; whole without leading zeros */
    struct slice exponent;        /* with its sign; len 0: none */
};

static struct slice digits_at(const char *p, const char *end)
{
    const char *q = p;
    while (q < end && *q >= '0' && *q <= '9')
        q++;
    return (struct slice){p, (size_t)(q - p)};
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.ptr[0]) != NULL && s.ptr[0] != '\0')
        s = (struct slice){s.ptr + 1, s.len - 1};
    while (s.len > 0 && strchr(" \t\r\n", s.ptr[s.len - 1]) != NULL && s.ptr[s.len - 1] != '\0')
        s.len--;
    return s;
}

static bool decimal_parse(struct slice s, struct decimal *d)
{
    const char *p = s.ptr, *end = s.ptr + s.len;
    *d = (struct decimal){0};
    if (p < end && (*p == '+' || *p == '-'))
        d->negative = *p++ == '-';
    d->whole = digits_at(p, end);
    p += d->whole.len;
    if (p < end && *p == '.') {
        d->fraction = digits_at(p + 1, end);
        p += 1 + d->fraction.len;
    }
    if (d->whole.len + d->fraction.len == 0)
        return false;
    while (d->whole.len > 0 && d->whole.ptr[0] == '0')
        d->whole = (struct slice){d->whole.ptr + 1, d->whole.len - 1};
    if (p < end && (*p == 'e' || *p == 'E')) {
        const char *mark = ++p;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        size_t digits = digits_at(p, end).len;
        if (digits == 0)
            return false;
        p += digits;
        d->exponent = (struct slice){mark, (size_t)(p - mark)};
    }
    return p == end;
}

/* As a JSON number: the digits as they are, the spelling as JSON wants it. */
static bool number_put(const struct decimal *d, struct buf *out)
{
    if (d->negative)
        buf_put_u8(out, '-');
    if (d->whole.len == 0)
        buf_put_u8(out, '0');
    buf_put_slice(out, d->whole);
    if (d->fraction.len > 0) {
        buf_put_u8(out, '.');
        buf_put_slice(out, d->fraction);
    }
    if (d->exponent.len > 0) {
        buf_put_u8(out, 'e');
        buf_put_slice(out, d->exponent);
    }
    return true;
}

static bool exponent_get(struct slice s, long *out)
{
    bool negative = s.len > 0 && s.ptr[0] == '-';
    long v = 0;
    for (size_t i = s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+'); i < s.len; i++) {
        v = v * 10 + (s.ptr[i] - '0');
        if (v > EXPONENT_MAX)
            return false;
    }
    *out = negative ? -v : v;
    return true;
}

/* The digit at place i of whole and fraction read as one run; zeros behind it. */
static char digit_of(const struct decimal *d, size_t i)
{
    if (i < d->whole.len)
        return d->whole.ptr[i];
    i -= d->whole.len;
    return i < d->fraction.len ? d->fraction.ptr[i] : '0';
}

/* As a JSON integer, if the value is one. */
static bool integer_put(const struct decimal *d, struct buf *out)
{
    long exponent = 0;
    if (!exponent_get(d->exponent, &exponent))
        return false;
    long point = (long)d->whole.len + exponent; /* digits before it belong to the integer */
    size_t before = point > 0 ? (size_t)point : 0, skip = 0;
    for (size_t i = before; i < d->whole.len + d->fraction.len; i++)
        if (digit_of(d, i) != '0')
            return false;
    while (skip < before && digit_of(d, skip) == '0')
        skip++;
    if (before - skip > INTEGER_DIGITS_MAX)
        return false;
    if (before == skip) {
        buf_put_u8(out, '0');
        return true;
    }
    if (d->negative)
        buf_put_u8(out, '-');
    for (size_t i = skip; i < before; i++)
        buf_put_u8(out, (uint8_t)digit_of(d, i));
    return true;
}

static bool is_word(struct slice s, const char *lower)
{
    if (s.len != strlen(lower))
        return false;
    for (size_t i = 0; i < s.len; i++)
        if ((s.ptr[i] | 0x20) != lower[i])
            return false;
    return true;
}

static bool boolean_put(struct slice text, struct buf *out)
{
    struct decimal d;
    bool yes = is_word(text, "true");
    if (!yes && !is_word(text, "false")) {
        size_t at = out->len;
        if (!decimal_parse(text, &d) || !integer_put(&d, out))
            return false;
        struct slice digits = {out->ptr + at, out->len - at};
        bool no = slice_eq_str(digits, "0");
        yes = slice_eq_str(digits, "1");
        out->len = at;
        if (!yes && !no)
            return false;
    }
    buf_put_str(out, yes ? "true" : "false");
    return true;
}

/* The value of m, which has a kind and a text, as JSON of the wanted kind. text: a string without
 * quotes and escapes, anything else as JSON. False: it has no such value. */
static bool cast_put(enum cast_kind to, uint8_t kind, struct slice text, struct buf *out)
{
    if (to == CAST_STRING) {
        buf_put_json_string(out, text);
        return true;
    }
    if (kind >= JSON_ARRAY)
        return false;
    if (to == CAST_BOOLEAN)
        return boolean_put(trim(text), out);
    if (kind == JSON_TRUE || kind == JSON_FALSE) {
        buf_put_u8(out, kind == JSON_TRUE ? '1' : '0');
        return true;
    }
    struct decimal d;
    if (!decimal_parse(trim(text), &d))
        return false;
    return to == CAST_INTEGER ? integer_put(&d, out) : number_put(&d, out);
}

/* ---- applying ------------------------------------------------------------------------------- */

static struct member *find(const struct rules *r, struct slice key)
{
    for (uint32_t i = 0; i < r->member_count; i++)
        if (!r->members[i].gone && slice_eq(r->members[i].key, key))
            return &r->members[i];
    return NULL;
}

static struct member *add(struct rules *r, struct slice key)
{
    if (r->member_count == r->member_cap) {
        uint32_t cap = r->member_cap > 0 ? 2 * r->member_cap : 64;
        struct member *grown = realloc(r->members, cap * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        r->members = grown;
        r->member_cap = cap;
    }
    struct member *m = &r->members[r->member_count++];
    *m = (struct member){.key = key};
    return m;
}

/* Take doc apart. */
static int load(struct rules *r, const struct json_doc *doc, struct err *e)
{
    const struct json_node *nodes = doc->nodes;
    if (nodes[0].kind != JSON_OBJECT)
        return err_set(e, WH_ESYNTAX, "record must be a JSON object");
    if (nodes[0].count > LIMIT_TABLE_COLUMNS)
        return err_set(e, WH_ELIMIT, "the record has more than %u members",
                       (unsigned)LIMIT_TABLE_COLUMNS);
    arena_reset(&r->scratch);
    r->member_count = 0;
    for (uint32_t i = 1; i < nodes[0].next; i = nodes[i + 1].next) {
        struct slice key = json_raw(doc, &nodes[i]);
        if ((nodes[i].flags & JSON_F_ESCAPED) != 0)
            key = text_of(&r->scratch, doc, &nodes[i]);
        struct member *m = find(r, key);
        if (m != NULL)
            m->gone = true;
        m = key.ptr != NULL ? add(r, key) : NULL;
        if (m == NULL)
            return err_set(e, -ENOMEM, "out of memory");
        m->node = &nodes[i + 1];
    }
    return 0;
}

/* Is the member's value null, also when a rule has put it there? */
static bool is_null(const struct member *m)
{
    return m->node != NULL ? m->node->kind == JSON_NULL : slice_eq_str(m->text, "null");
}

static uint8_t kind_of_text(struct slice text)
{
    switch (text.ptr[0]) {
    case '"':
        return JSON_STRING;
    case '{':
        return JSON_OBJECT;
    case '[':
        return JSON_ARRAY;
    case 't':
        return JSON_TRUE;
    case 'f':
        return JSON_FALSE;
    case 'n':
        return JSON_NULL;
    default:
        return JSON_NUMBER;
    }
}

static bool has_line_break(struct slice s)
{
    return memchr(s.ptr, '\n', s.len) != NULL || memchr(s.ptr, '\r', s.len) != NULL;
}

/* Append the value's JSON text. White space inside stays, because ClickHouse may store it as text,
 * unless there is a line break: a record is one line. */
static void put_value(const struct json_doc *doc, const struct member *m, struct buf *out)
{
    if (m->node == NULL)
        buf_put_slice(out, m->text);
    else if (m->node->kind >= JSON_ARRAY && !has_line_break(json_raw(doc, m->node)))
        buf_put_slice(out, json_raw(doc, m->node));
    else
        json_put_minified(out, doc, m->node);
}

/* The value of m as cast_put wants it, in r->from; ptr NULL: out of memory. */
static struct slice plain_text(struct rules *r, const struct json_doc *doc, const struct member *m,
                               uint8_t *kind)
{
    buf_reset(&r->from);
    put_value(doc, m, &r->from);
    struct slice json = buf_slice(&r->from);
    if (!buf_ok(&r->from))
        return (struct slice){NULL, 0};
    *kind = kind_of_text(json);
    if (*kind != JSON_STRING)
        return json;
    char *inside = r->from.ptr + 1;
    return (struct slice){inside, json_unescape((struct slice){inside, json.len - 2}, inside)};
}

static int cast(struct rules *r, const struct json_doc *doc, const struct rule *rule, unsigned n,
                struct member *m, struct err *e)
{
    uint8_t kind = JSON_NULL;
    struct slice text = plain_text(r, doc, m, &kind);
    if (text.ptr == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    if (kind == JSON_STRING && rule->cast == CAST_STRING)
        return 0; /* it is one already, in its own spelling */
    buf_reset(&r->to);
    if (!cast_put(rule->cast, kind, text, &r->to))
        return err_set(e, WH_ESYNTAX, "rule %u (cast): column \"%.*s\": \"%.*s\" is no %s", n,
                       shown(rule->column), rule->column.ptr, shown(text), text.ptr,
                       cast_names[rule->cast]);
    m->node = NULL;
    m->text = arena_dup(&r->scratch, buf_slice(&r->to));
    return buf_ok(&r->to) && m->text.ptr != NULL
               ? 0
               : err_set(e, WH_ELIMIT, "the record is too large for these rules");
}

static int apply_one(struct rules *r, const struct json_doc *doc, const struct rule *rule,
                     unsigned n, struct err *e)
{
    struct member *m = find(r, rule->column), *there;
    switch (rule->kind) {
    case RULE_DROP:
        if (m != NULL)
            m->gone = true;
        return 0;
    case RULE_RENAME:
        if (m == NULL || slice_eq(rule->column, rule->to))
            return 0;
        there = find(r, rule->to);
        if (there != NULL && !is_null(there))
            return err_set(e, WH_ESYNTAX,
                           "rule %u (rename): the record has \"%.*s\" and \"%.*s\"; drop one of "
                           "them first",
                           n, shown(rule->column), rule->column.ptr, shown(rule->to), rule->to.ptr);
        if (there != NULL)
            there->gone = true;
        m->key = rule->to;
        return 0;
    case RULE_CAST:
        return m == NULL || is_null(m) ? 0 : cast(r, doc, rule, n, m, e);
    case RULE_DEFAULT:
        if (m != NULL && !is_null(m))
            return 0;
        break;
    case RULE_SET:
        break;
    }
    if (m == NULL)
        m = add(r, rule->column);
    if (m == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    m->node = NULL;
    m->text = rule->value;
    return 0;
}

static int store(const struct rules *r, const struct json_doc *doc, struct buf *out, struct err *e)
{
    size_t start = out->len;
    char separator = '{';
    for (uint32_t i = 0; i < r->member_count; i++) {
        const struct member *m = &r->members[i];
        if (m->gone)
            continue;
        buf_put_u8(out, (uint8_t)separator);
        separator = ',';
        buf_put_json_string(out, m->key);
        buf_put_u8(out, ':');
        put_value(doc, m, out);
    }
    if (separator == '{')
        buf_put_u8(out, '{');
    buf_put_u8(out, '}');
    if (!buf_ok(out))
        return err_set(e, -ENOMEM, "out of memory");
    if (out->len - start > LIMIT_RECORD_BYTES) {
        out->len = start;
        return err_set(e, WH_ELIMIT, "the record would have more than %u bytes",
                       (unsigned)LIMIT_RECORD_BYTES);
    }
    return 0;
}

int rules_apply(struct rules *r, const struct json_doc *doc, struct buf *out, struct err *e)
{
    CHECK_MAGIC(r, RULES_MAGIC);
    int rc = load(r, doc, e);
    for (uint32_t i = 0; rc == 0 && i < r->count; i++)
        rc = apply_one(r, doc, &r->list[i], i + 1, e);
    return rc == 0 ? store(r, doc, out, e) : rc;
}
