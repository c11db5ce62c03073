/* SPDX-License-Identifier: Apache-2.0 */
/* A column beside a value, as SQL (http-api §8.4), for servers with and without parameters.
 *
 * A value that the column cannot hold decides the comparison here: an integer beyond the type's
 * range, because a server wraps it around when it compares by order; a name that an enum lacks,
 * because a server refuses it in a list. Old servers compare a number with a number and not with a
 * text, so their literals are judged and made of the column's kind. */
#include "query/select_priv.h"

#include "access/scalar.h"
#include "schema/civil.h"
#include "schema/instant.h"

#include <stdio.h>

#define DECIMAL_DIGITS 38         /* of a Decimal128, the widest of old servers */
#define DATE_END_S     5662310400 /* 2149-06-06 ends: a Date's last day */
/* What a DateTime64 holds: 1900 to 2299, with nine digits to 2262-04-11T23:47:16. */
#define INSTANT_START_S -2208988800
#define INSTANT_END_S   10413792000
#define INSTANT_END_9_S 9223372036

static void put(const struct select_sql *w, const char *text)
{
    buf_put_str(&w->s->sql, text);
}

static void put_value(const struct select_sql *w, struct slice text)
{
    query_statement_put_value(w->s, w->style, text);
}

static void put_op(const struct select_sql *w, const struct schema_column *c, enum select_op op)
{
    static const char *const signs[] = {" = ", " != ", " > ",    " >= ",
                                        " < ", " <= ", " LIKE ", " NOT LIKE "};
    query_statement_put_name(w->s, c->name);
    put(w, signs[op]);
}

/* What the comparison comes to whatever the row says, NULL left aside. */
static void put_decided(const struct select_sql *w, const struct schema_column *c, bool is_true)
{
    if (!is_true) {
        put(w, "1 = 0");
        return;
    }
    query_statement_put_name(w->s, c->name);
    put(w, " IS NOT NULL");
}

/* The operand lies outside what the column holds: side -1 below it, 1 above. */
static void put_beyond(const struct select_sql *w, const struct schema_column *c, enum select_op op,
                       int side)
{
    bool greater = op == SELECT_GT || op == SELECT_GTE, less = op == SELECT_LT || op == SELECT_LTE;
    put_decided(w, c, op == SELECT_NEQ || (greater && side < 0) || (less && side > 0));
}

static bool is_integer(const struct ch_type *t)
{
    return t->kind <= CH_UINT256;
}

static bool is_instant(const struct ch_type *t)
{
    return t->kind == CH_DATETIME || t->kind == CH_DATETIME64;
}

static bool is_date(const struct ch_type *t)
{
    return t->kind == CH_DATE || t->kind == CH_DATE32;
}

/* 1.0 and 1e3 are integers to who wrote them as JSON numbers. False: no memory. */
static bool as_integer(const struct select_sql *w, struct select_operand *v)
{
    char text[ACCESS_NUMBER_CAP];
    size_t len;
    if (!v->is_number || access_integer_is_plain(v->text) ||
        !access_number_canonical(v->text, text, &len) || memchr(text, '.', len) != NULL)
        return true;
    v->text = arena_dup(w->arena, (struct slice){text, len});
    return v->text.ptr != NULL;
}

/* ---- with parameters ------------------------------------------------------------------------- */

static void put_instant(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    if (is_date(t))
        put(w, t->kind == CH_DATE ? "toDate(" : "toDate32(");
    put(w, "parseDateTime64BestEffort(");
    put_value(w, text);
    put(w, t->kind == CH_DATETIME64 && t->precision == 9 ? ", 9" : ", 8");
    if (t->timezone.len > 0) {
        put(w, ", ");
        query_put_literal(&w->s->sql, t->timezone);
    }
    put(w, is_date(t) ? "))" : ")");
}

/* Where an RFC 3339 instant lies beside what the column may hold; 0 for other texts. */
static int instant_side(const struct ch_type *t, struct slice text)
{
    int64_t seconds;
    uint32_t ns;
    if (!instant_parse_rfc3339(text, &seconds, &ns))
        return 0;
    bool is_nine = t->kind == CH_DATETIME64 && t->precision == 9;
    if (seconds < INSTANT_START_S)
        return -1;
    return seconds >= (is_nine ? INSTANT_END_9_S : INSTANT_END_S);
}

static void put_cast(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    put(w, "accurateCastOrNull(");
    put_value(w, text);
    put(w, ", ");
    query_put_literal(&w->s->sql, t->text);
    put(w, ")");
}

/* ---- as literals ----------------------------------------------------------------------------- */

static void put_literal(const struct select_sql *w, struct slice text)
{
    query_put_literal(&w->s->sql, text);
}

/* The item of the enum that text names, or whose number it is. */
static const struct ch_enum_item *enum_item(const struct ch_type *t, struct slice text)
{
    for (uint32_t i = 0; i < t->enum_count; i++)
        if (slice_eq(t->enum_items[i].name, text))
            return &t->enum_items[i];
    bool is_plain = access_integer_is_plain(text) && text.len < 7;
    for (uint32_t i = 0; is_plain && i < t->enum_count; i++) {
        char number[8];
        (void)snprintf(number, sizeof(number), "%d", t->enum_items[i].value);
        if (slice_eq_str(text, number))
            return &t->enum_items[i];
    }
    return NULL;
}

/* A number that the server compares exactly; what is none becomes a text, which it refuses. */
static void put_number(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    if (!query_is_number(text)) {
        put_literal(w, text);
        return;
    }
    if (t->kind == CH_FLOAT32)
        put(w, "toFloat32(");
    buf_put_slice(&w->s->sql, text);
    if (t->kind == CH_FLOAT32)
        put(w, ")");
}

/* How many digits of fraction a canonical number has, and of all. */
static size_t digits_of(struct slice number, size_t *fraction)
{
    const char *dot = memchr(number.ptr, '.', number.len);
    *fraction = dot != NULL ? (size_t)(number.ptr + number.len - dot - 1) : 0;
    return number.len - (dot != NULL) - (number.len > 0 && number.ptr[0] == '-');
}

/* With all its digits, where Decimal128 has room for them beside the column's. */
static void put_decimal(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    char canonical[ACCESS_NUMBER_CAP];
    size_t len, fraction;
    if (!access_number_canonical(text, canonical, &len)) {
        put_literal(w, text);
        return;
    }
    struct slice number = {canonical, len};
    size_t all = digits_of(number, &fraction);
    size_t scale = fraction > t->scale ? fraction : t->scale;
    if (all - fraction + scale > DECIMAL_DIGITS) {
        put_literal(w, text);
        return;
    }
    put(w, "toDecimal128(");
    put_literal(w, number);
    buf_printf(&w->s->sql, ", %zu)", scale);
}

/* An element of a list of decimals: cut is none, since the column has no such value. */
static bool put_decimal_item(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    char canonical[ACCESS_NUMBER_CAP];
    size_t len, fraction;
    if (access_number_canonical(text, canonical, &len)) {
        struct slice number = {canonical, len};
        size_t all = digits_of(number, &fraction);
        if (fraction > t->scale || all - fraction > (size_t)(t->precision - t->scale))
            return false;
        put_literal(w, number);
    } else {
        put_literal(w, text);
    }
    return true;
}

/* A FixedString compares with its fill. */
static void put_fixed(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    struct buf *out = &w->s->sql;
    put_literal(w, text);
    if (text.len >= t->width || !buf_ok(out))
        return;
    out->len--; /* the closing quote */
    for (size_t i = text.len; i < t->width; i++)
        buf_put_str(out, "\\0");
    buf_put_u8(out, '\'');
}

/* "YYYY-MM-DD" as days since 1970. */
static bool read_day(struct slice text, int32_t *days)
{
    uint32_t part[3] = {0}, at = 0;
    if (text.len != 10 || text.ptr[4] != '-' || text.ptr[7] != '-')
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (i == 4 || i == 7)
            at++;
        else if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        else
            part[at] = part[at] * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    struct civil_date d = {(int32_t)part[0], (uint8_t)part[1], (uint8_t)part[2]};
    if (d.month < 1 || d.month > 12 || d.day < 1 || d.day > civil_month_days(d.year, d.month))
        return false;
    *days = civil_to_days(d);
    return true;
}

/* 9 or 10 digits are Unix seconds (http-api §7.4); old servers take some of them for a date. */
static bool read_seconds(struct slice text, int64_t *seconds)
{
    *seconds = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        *seconds = *seconds * 10 + (text.ptr[i] - '0');
        if (i == 10)
            return false;
    }
    return text.len >= 9;
}

/* Old servers count DateTime and Date in whole seconds and days and wrap around beyond them: an
 * RFC 3339 instant is read here, anything else is left to their best-effort reader. */
static void put_old_instant(const struct select_sql *w, const struct schema_column *c,
                            enum select_op op, struct slice text)
{
    const struct ch_type *t = c->peeled;
    int64_t seconds, end = is_date(t) ? DATE_END_S : (int64_t)1 << 32;
    uint32_t ns = 0;
    int32_t days;
    if (is_date(t) && read_day(text, &days)) {
        if (days < 0 || days > UINT16_MAX) {
            put_beyond(w, c, op, days < 0 ? -1 : 1);
            return;
        }
        put_op(w, c, op);
        put(w, "toDate(");
        put_literal(w, text);
        put(w, ")");
        return;
    }
    if (!read_seconds(text, &seconds) && !instant_parse_rfc3339(text, &seconds, &ns)) {
        put_op(w, c, op);
        put(w, is_date(t) ? "toDate(parseDateTimeBestEffort(" : "parseDateTimeBestEffort(");
        put_literal(w, text);
        if (t->timezone.len > 0) {
            put(w, ", ");
            put_literal(w, t->timezone);
        }
        put(w, is_date(t) ? "))" : ")");
        return;
    }
    if (seconds < 0 || seconds >= end) {
        put_beyond(w, c, op, seconds < 0 ? -1 : 1);
        return;
    }
    if (ns > 0 && !is_date(t)) { /* between two seconds */
        if (op == SELECT_EQ || op == SELECT_NEQ) {
            put_decided(w, c, op == SELECT_NEQ);
            return;
        }
        op = op == SELECT_GTE ? SELECT_GT : op == SELECT_LT ? SELECT_LTE : op;
    }
    put_op(w, c, op);
    buf_printf(&w->s->sql, is_date(t) ? "toDate(toDateTime(%lld))" : "toDateTime(%lld)",
               (long long)seconds);
}

static void put_old_operand(const struct select_sql *w, const struct ch_type *t, struct slice text)
{
    const struct ch_enum_item *item;
    switch (t->kind) {
    case CH_FLOAT32:
    case CH_FLOAT64:
        put_number(w, t, text);
        break;
    case CH_DECIMAL:
        put_decimal(w, t, text);
        break;
    case CH_FIXED_STRING:
        put_fixed(w, t, text);
        break;
    case CH_ENUM8:
    case CH_ENUM16:
        item = enum_item(t, text);
        put_literal(w, item != NULL ? item->name : text);
        break;
    default:
        if (is_integer(t) && access_integer_is_plain(text))
            buf_put_slice(&w->s->sql, text);
        else
            put_literal(w, text);
    }
}

/* ---- both ------------------------------------------------------------------------------------ */

static bool is_enum(const struct ch_type *t)
{
    return t->kind == CH_ENUM8 || t->kind == CH_ENUM16;
}

bool select_put_comparison(const struct select_sql *w, const struct schema_column *c,
                           enum select_op op, struct select_operand v)
{
    const struct ch_type *t = c->peeled;
    if (op == SELECT_LIKE || op == SELECT_NOT_LIKE) {
        put_op(w, c, op);
        put_value(w, v.text);
        return true;
    }
    if (is_integer(t)) {
        if (!as_integer(w, &v))
            return false;
        int side = access_integer_is_plain(v.text) ? access_integer_side(t, v.text) : 0;
        if (side != 0) {
            put_beyond(w, c, op, side);
            return true;
        }
    }
    bool is_equality = op == SELECT_EQ || op == SELECT_NEQ;
    if (is_enum(t) && is_equality && !enum_item(t, v.text)) {
        put_decided(w, c, op == SELECT_NEQ);
        return true;
    }
    if (w->style == QUERY_LITERALS && (is_date(t) || t->kind == CH_DATETIME)) {
        put_old_instant(w, c, op, v.text);
        return true;
    }
    int side = is_instant(t) ? instant_side(t, v.text) : 0;
    if (side != 0) {
        put_beyond(w, c, op, side);
        return true;
    }
    put_op(w, c, op);
    if (w->style == QUERY_LITERALS)
        put_old_operand(w, t, v.text);
    else if (is_instant(t) || is_date(t))
        put_instant(w, t, v.text);
    else
        put_value(w, v.text);
    return true;
}

/* One element of an IN list. False, and nothing written: the column never has that value. */
static bool put_item(const struct select_sql *w, const struct schema_column *c, struct slice text)
{
    const struct ch_type *t = c->peeled;
    if (is_enum(t)) {
        const struct ch_enum_item *item = enum_item(t, text);
        if (item == NULL)
            return false;
        text = item->name;
    }
    if (is_integer(t) && access_integer_is_plain(text) && access_integer_side(t, text) != 0)
        return false;
    if (w->style == QUERY_PARAMETERS) {
        if (is_date(t))
            put_instant(w, t, text);
        else if (t->kind == CH_STRING)
            put_value(w, text);
        else
            put_cast(w, t, text);
        return true;
    }
    bool is_float = t->kind == CH_FLOAT32 || t->kind == CH_FLOAT64;
    if ((t->kind == CH_FIXED_STRING && text.len > t->width) ||
        (is_integer(t) && !access_integer_is_plain(text)) || (is_float && !query_is_number(text)))
        return false;
    if (t->kind == CH_DECIMAL)
        return put_decimal_item(w, t, text);
    put_old_operand(w, t, text);
    return true;
}

/* ClickHouse refuses DateTime IN (DateTime64 …), cuts the digits that a DateTime64 column does not
 * have, and old servers need each instant judged: one comparison for each. */
static bool put_any_of(const struct select_sql *w, const struct schema_column *c,
                       const struct select_operand *list, uint32_t count)
{
    put(w, "(");
    for (uint32_t i = 0; i < count; i++) {
        put(w, i > 0 ? " OR " : "");
        if (!select_put_comparison(w, c, SELECT_EQ, list[i]))
            return false;
    }
    put(w, ")");
    return true;
}

bool select_put_in(const struct select_sql *w, const struct schema_column *c,
                   const struct select_operand *list, uint32_t count)
{
    const struct ch_type *t = c->peeled;
    if (is_instant(t) || (is_date(t) && w->style == QUERY_LITERALS))
        return put_any_of(w, c, list, count);
    size_t start = w->s->sql.len;
    uint32_t written = 0;
    query_statement_put_name(w->s, c->name);
    put(w, " IN (");
    for (uint32_t i = 0; i < count; i++) {
        struct select_operand v = list[i];
        size_t before = w->s->sql.len;
        if (is_integer(t) && !as_integer(w, &v))
            return false;
        put(w, written > 0 ? ", " : "");
        if (put_item(w, c, v.text))
            written++;
        else
            w->s->sql.len = before;
    }
    if (written > 0) {
        put(w, ")");
        return true;
    }
    w->s->sql.len = start;
    put_decided(w, c, false);
    return true;
}
