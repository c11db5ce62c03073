/* SPDX-License-Identifier: Apache-2.0 */
/* Row filters on events. Both sides are brought into one normal form of the column, or withheld. */
#include "access/member.h"
#include "access/predicate_priv.h"
#include "access/scalar.h"
#include "base/magic.h"
#include "schema/timestamp.h"

#include <math.h>
#include <stdlib.h>

/* Longest normal form that is not a string: numbers and instants. */
#define NORMAL_CAP ACCESS_NUMBER_CAP
_Static_assert(NORMAL_CAP > TIMESTAMP_CAP, "one buffer for both");

static enum access_family_of_column family_of(const struct ch_type *t)
{
    switch (t->kind) {
    case CH_FLOAT32:
    case CH_FLOAT64:
        return ACCESS_COLUMN_FLOAT;
    case CH_DECIMAL:
        return ACCESS_COLUMN_DECIMAL;
    case CH_STRING:
    case CH_FIXED_STRING:
        return ACCESS_COLUMN_STRING;
    case CH_BOOL:
        return ACCESS_COLUMN_BOOL;
    case CH_DATETIME:
    case CH_DATETIME64:
        return ACCESS_COLUMN_DATETIME;
    case CH_DATE:
    case CH_DATE32:
    case CH_UUID:
    case CH_IPV4:
    case CH_IPV6:
    case CH_ENUM8:
    case CH_ENUM16:
        return ACCESS_COLUMN_OTHER;
    default:
        return t->kind <= CH_UINT256 ? ACCESS_COLUMN_INTEGER : ACCESS_COLUMN_NEVER;
    }
}

bool access_integer_fits(const struct ch_type *t, struct slice text)
{
    return access_integer_is_plain(text) && access_integer_side(t, text) == 0;
}

/* ---- normal forms: false when text has none that can be judged ---------------------------------
 */

/* text: a canonical number. Rounded once to the column's width. */
static bool normal_float(const struct ch_type *t, struct slice text, double *out)
{
    char number[NORMAL_CAP + 1];
    size_t len;
    if (!access_number_canonical(text, number, &len))
        return false;
    number[len] = '\0';
    *out = t->kind == CH_FLOAT32 ? (double)strtof(number, NULL) : strtod(number, NULL);
    return isfinite(*out);
}

/* Cut to the scale, as ClickHouse does with both sides. */
static bool normal_decimal(const struct ch_type *t, struct slice text, char out[NORMAL_CAP],
                           struct slice *normal)
{
    size_t len;
    if (!access_number_canonical(text, out, &len))
        return false;
    const char *dot = memchr(out, '.', len);
    size_t sign = out[0] == '-', whole = (dot != NULL ? (size_t)(dot - out) : len) - sign;
    size_t fraction = dot != NULL ? len - sign - whole - 1 : 0;
    if (whole == 1 && out[sign] == '0')
        whole = 0;
    if (whole + t->scale > t->precision)
        return false;
    if (fraction > t->scale) {
        char again[NORMAL_CAP];
        len -= fraction - t->scale;
        len -= out[len - 1] == '.';
        memcpy(again, out, len);
        if (!access_number_canonical((struct slice){again, len}, out, &len)) /* zeros, sign */
            return false;
    }
    *normal = (struct slice){out, len};
    return true;
}

static bool starts_between(struct slice s, const char *min, const char *max)
{
    size_t n = strlen(min);
    return s.len >= n && memcmp(s.ptr, min, n) >= 0 && memcmp(s.ptr, max, n) <= 0;
}

/* An instant without its "Z" orders as bytes. Out of the column's range is not judged: what
 * ClickHouse stores then is its own business. */
static bool normal_instant(const struct ch_type *t, char *text, size_t len, struct slice *normal)
{
    *normal = (struct slice){text, len - 1};
    if (t->kind == CH_DATETIME)
        return starts_between(*normal, "1970-01-01T00:00:00", "2106-02-07T06:28:15");
    return starts_between(*normal, "1900-01-01T00:00:00",
                          t->precision >= 7 ? "2262-04-11T23:47:15" : "2299-12-31T23:59:59");
}

static bool give_instant(const struct ch_type *t, enum timestamp_result r, struct slice text,
                         char out[NORMAL_CAP], size_t len, struct slice *normal)
{
    if (r == TIMESTAMP_ALREADY && text.len <= NORMAL_CAP) {
        memcpy(out, text.ptr, text.len);
        len = text.len;
    }
    return (r == TIMESTAMP_REPLACED || (r == TIMESTAMP_ALREADY && text.len <= NORMAL_CAP)) &&
           normal_instant(t, out, len, normal);
}

/* The operand keeps its whole fraction, because SQL compares with all of it. */
static bool operand_instant(const struct access_condition *c, struct slice text,
                            char out[NORMAL_CAP], struct slice *normal)
{
    static const struct timestamp_type finest = {true, 9};
    size_t len = 0;
    enum timestamp_result r = timestamp_from_text(finest, text, c->zone, out, &len);
    if (!give_instant(c->type, r, text, out, len, normal))
        return false;
    const char *dot = memchr(normal->ptr, '.', normal->len);
    size_t fraction = dot != NULL ? (size_t)(normal->ptr + normal->len - dot) - 1 : 0;
    return fraction <= (c->type->kind == CH_DATETIME64 ? c->type->precision : 0u);
}

static bool event_instant(const struct access_condition *c, bool number, struct slice text,
                          char out[NORMAL_CAP], struct slice *normal)
{
    struct timestamp_type t = {c->type->kind == CH_DATETIME64,
                               c->type->kind == CH_DATETIME64 ? c->type->precision : 0};
    size_t len = 0;
    if (number && !(access_integer_is_plain(text) && text.ptr[0] != '-'))
        return false;
    enum timestamp_result r = number ? timestamp_from_digits(t, text, out, &len)
                                     : timestamp_from_text(t, text, c->zone, out, &len);
    return give_instant(c->type, r, text, out, len, normal);
}

/* YYYY-MM-DD within what both date types hold. */
static bool is_date(const struct ch_type *t, struct slice s)
{
    if (s.len != 10 || s.ptr[4] != '-' || s.ptr[7] != '-')
        return false;
    for (size_t i = 0; i < 10; i++)
        if (i != 4 && i != 7 && (s.ptr[i] < '0' || s.ptr[i] > '9'))
            return false;
    return t->kind == CH_DATE ? starts_between(s, "1970-01-01", "2148-12-31")
                              : starts_between(s, "1900-01-01", "2298-12-31");
}

static bool is_judged_as_text(const struct ch_type *t, struct slice s)
{
    if (t == NULL)
        return true; /* no schema: equal text is all that there is */
    if (t->kind == CH_DATE || t->kind == CH_DATE32)
        return is_date(t, s);
    if (t->kind != CH_ENUM8 && t->kind != CH_ENUM16)
        return true;
    for (uint32_t i = 0; i < t->enum_count; i++)
        if (slice_eq(t->enum_items[i].name, s))
            return true;
    return false;
}

/* FixedString is filled up with zero bytes, and compared as if the other side were too. */
static struct slice without_fill(const struct ch_type *t, struct slice s)
{
    while (t->kind == CH_FIXED_STRING && s.len > 0 && s.ptr[s.len - 1] == '\0')
        s.len--;
    return s;
}

static bool normal_bool(struct slice text, struct slice *normal)
{
    bool yes = slice_eq_str(text, "true") || slice_eq_str(text, "1");
    *normal = slice_str(yes ? "1" : "0");
    return yes || slice_eq_str(text, "false") || slice_eq_str(text, "0");
}

/* ---- compiling ------------------------------------------------------------------------------- */

static bool compile_operand(struct arena *a, const struct access_condition *c, struct slice text,
                            struct access_operand *o)
{
    char normal[NORMAL_CAP];
    o->text = text;
    switch (c->family) {
    case ACCESS_COLUMN_INTEGER:
        o->usable = access_integer_fits(c->type, text);
        return true;
    case ACCESS_COLUMN_FLOAT:
        o->usable = normal_float(c->type, text, &o->number);
        return true;
    case ACCESS_COLUMN_STRING:
        o->text = without_fill(c->type, text);
        /* What does not fit the column is not compared alike by every server version. */
        o->usable = c->type->kind == CH_STRING || text.len <= c->type->width;
        return true;
    case ACCESS_COLUMN_BOOL:
        o->usable = normal_bool(text, &o->text);
        return true;
    case ACCESS_COLUMN_OTHER:
        o->usable = is_judged_as_text(c->type, text);
        return true;
    case ACCESS_COLUMN_DECIMAL:
        o->usable = normal_decimal(c->type, text, normal, &o->text);
        break;
    case ACCESS_COLUMN_DATETIME:
        o->usable = operand_instant(c, text, normal, &o->text);
        break;
    default:
        return true;
    }
    if (o->usable) /* it lies in our buffer */
        o->text = arena_dup(a, o->text);
    return !o->usable || o->text.ptr != NULL;
}

bool access_condition_compile(struct arena *a, struct access_condition *c,
                              const struct schema_table *table, bool has_catalog,
                              struct slice server_zone)
{
    const struct schema_column *col = table != NULL ? schema_table_column(table, c->column) : NULL;
    c->family = has_catalog ? ACCESS_COLUMN_UNKNOWN : ACCESS_COLUMN_OTHER;
    if (col != NULL) {
        c->type = col->peeled;
        c->family = family_of(c->type);
    }
    if (c->family == ACCESS_COLUMN_DATETIME) {
        struct slice name = c->type->timezone.len > 0 ? c->type->timezone : server_zone;
        /* Without the zone, text that needs it is withheld. */
        if (zone_load(name, &c->zone, NULL) != 0)
            c->zone = NULL;
    }
    c->operands = arena_calloc(a, c->count + 1, sizeof(*c->operands));
    if (c->operands == NULL)
        return false;
    for (uint32_t i = 0; i < c->count; i++)
        if (!compile_operand(a, c, c->values[i], &c->operands[i]))
            return false;
    return true;
}

/* ---- matching -------------------------------------------------------------------------------- */

/* The event's value in normal form. */
struct value {
    struct slice text;
    double number;
    char room[NORMAL_CAP];
};

/* text: of a string without escapes, or of a number or word. */
static bool normal_value(const struct access_condition *c, uint8_t kind, struct slice text,
                         struct value *v)
{
    bool number = kind == JSON_NUMBER, word = kind == JSON_TRUE || kind == JSON_FALSE;
    v->text = text;
    switch (c->family) {
    case ACCESS_COLUMN_INTEGER:
        return !word && access_integer_fits(c->type, text);
    case ACCESS_COLUMN_FLOAT:
        return !word && normal_float(c->type, text, &v->number);
    case ACCESS_COLUMN_DECIMAL:
        return !word && normal_decimal(c->type, text, v->room, &v->text);
    case ACCESS_COLUMN_STRING:
        v->text = without_fill(c->type, text);
        return true;
    case ACCESS_COLUMN_BOOL:
        return (word || number) && normal_bool(text, &v->text);
    case ACCESS_COLUMN_DATETIME:
        return !word && event_instant(c, number, text, v->room, &v->text);
    case ACCESS_COLUMN_OTHER:
        return kind == JSON_STRING && is_judged_as_text(c->type, text);
    default:
        return false;
    }
}

static int compare(const struct access_condition *c, const struct value *v,
                   const struct access_operand *o)
{
    if (c->family == ACCESS_COLUMN_FLOAT)
        return (v->number > o->number) - (v->number < o->number);
    if (c->family == ACCESS_COLUMN_INTEGER || c->family == ACCESS_COLUMN_DECIMAL)
        return access_number_compare(v->text, o->text);
    return slice_compare(v->text, o->text);
}

static bool holds(enum access_compare op, int order)
{
    switch (op) {
    case ACCESS_NEQ:
        return order != 0;
    case ACCESS_GT:
        return order > 0;
    case ACCESS_LT:
        return order < 0;
    default:
        return order == 0;
    }
}

static bool is_judged(const struct access_condition *c)
{
    bool ordered = c->op == ACCESS_GT || c->op == ACCESS_LT;
    if (c->family == ACCESS_COLUMN_NEVER)
        return false;
    if (c->family == ACCESS_COLUMN_OTHER)
        return !ordered && c->op != ACCESS_NEQ;
    return c->family != ACCESS_COLUMN_BOOL || !ordered;
}

static enum access_match match_value(const struct access_condition *c, const struct value *v)
{
    enum access_match result = ACCESS_OPERAND; /* until one of the operands could be used */
    /* To the query an integer that cannot be read is NULL; of another list it may fail as a whole,
     * and show nothing. */
    for (uint32_t i = 0; i < c->count && c->family != ACCESS_COLUMN_INTEGER; i++)
        if (!c->operands[i].usable)
            return ACCESS_OPERAND;
    for (uint32_t i = 0; i < c->count; i++) {
        if (!c->operands[i].usable)
            continue; /* of a list of integers: the others may still match */
        if (holds(c->op, compare(c, v, &c->operands[i])))
            return ACCESS_MATCH;
        result = ACCESS_MISMATCH;
    }
    return result;
}

static enum access_match match_condition(const struct access_condition *c,
                                         const struct json_doc *doc, struct buf *scratch)
{
    struct value v;
    if (c->family == ACCESS_COLUMN_UNKNOWN)
        return ACCESS_NO_COLUMN;
    if (!is_judged(c))
        return ACCESS_UNPROVABLE;
    const struct json_node *n = access_member(doc, doc->nodes, c->column);
    if (n == NULL)
        return ACCESS_ABSENT;
    if (n->kind == JSON_NULL)
        return ACCESS_NULL;
    if (n->kind == JSON_ARRAY || n->kind == JSON_OBJECT)
        return ACCESS_UNREADABLE;
    struct slice text = json_raw(doc, n);
    if ((n->flags & JSON_F_ESCAPED) != 0) {
        buf_reset(scratch);
        char *p = buf_extend(scratch, text.len);
        if (p == NULL)
            return ACCESS_UNREADABLE;
        text = (struct slice){p, json_unescape(text, p)};
    }
    return normal_value(c, n->kind, text, &v) ? match_value(c, &v) : ACCESS_UNREADABLE;
}

enum access_match access_predicate_match(const struct access_predicate *p,
                                         const struct json_doc *doc, struct buf *scratch)
{
    CHECK_MAGIC(p, ACCESS_PREDICATE_MAGIC);
    if (p->impossible)
        return ACCESS_NO_CLAIM;
    for (uint32_t i = 0; i < p->count; i++) {
        enum access_match m = match_condition(&p->conditions[i], doc, scratch);
        if (m != ACCESS_MATCH)
            return m;
    }
    return ACCESS_MATCH;
}

const char *access_match_name(enum access_match m)
{
    static const char *const names[] = {"match", "mismatch",   "no_claim",   "no_column", "absent",
                                        "null",  "unprovable", "unreadable", "operand"};
    return names[m];
}
