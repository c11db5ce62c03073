/* SPDX-License-Identifier: Apache-2.0 */
#include "schema/type.h"

#include "base/limits.h"

#include <errno.h>
#include <stdint.h>

/* What stands in the parentheses after a type's name. */
enum type_args {
    ARGS_NONE,
    ARGS_LENGTH,    /* FixedString(n) */
    ARGS_ZONE,      /* DateTime['(zone)'] */
    ARGS_TICKS,     /* DateTime64(p[, 'zone']) */
    ARGS_PRECISION, /* Time64(p) */
    ARGS_DECIMAL,   /* Decimal(P, S) */
    ARGS_SCALE,     /* Decimal32(S) … */
    ARGS_ENUM,      /* Enum8('a' = 1, …) */
    ARGS_ONE,       /* one type */
    ARGS_TWO,       /* two types */
    ARGS_LIST,      /* any number of types */
    ARGS_ELEMENTS,  /* types, all or none with a name */
    ARGS_FUNCTION,  /* SimpleAggregateFunction(f[(…)], T) */
    ARGS_OPAQUE,    /* not looked at beyond quotes and brackets; may be missing */
};

struct type_name {
    const char *name;
    enum ch_kind kind;
    uint8_t width;
    uint8_t precision; /* Decimal32 …: the P that the name implies */
    enum type_args args;
};

static const struct type_name type_names[] = {
    {"Int8", CH_INT8, 1, 0, ARGS_NONE},
    {"Int16", CH_INT16, 2, 0, ARGS_NONE},
    {"Int32", CH_INT32, 4, 0, ARGS_NONE},
    {"Int64", CH_INT64, 8, 0, ARGS_NONE},
    {"Int128", CH_INT128, 16, 0, ARGS_NONE},
    {"Int256", CH_INT256, 32, 0, ARGS_NONE},
    {"UInt8", CH_UINT8, 1, 0, ARGS_NONE},
    {"UInt16", CH_UINT16, 2, 0, ARGS_NONE},
    {"UInt32", CH_UINT32, 4, 0, ARGS_NONE},
    {"UInt64", CH_UINT64, 8, 0, ARGS_NONE},
    {"UInt128", CH_UINT128, 16, 0, ARGS_NONE},
    {"UInt256", CH_UINT256, 32, 0, ARGS_NONE},
    {"Float32", CH_FLOAT32, 4, 0, ARGS_NONE},
    {"Float64", CH_FLOAT64, 8, 0, ARGS_NONE},
    {"BFloat16", CH_BFLOAT16, 2, 0, ARGS_NONE},
    {"Bool", CH_BOOL, 1, 0, ARGS_NONE},
    {"String", CH_STRING, 0, 0, ARGS_NONE},
    {"FixedString", CH_FIXED_STRING, 0, 0, ARGS_LENGTH},
    {"UUID", CH_UUID, 16, 0, ARGS_NONE},
    {"IPv4", CH_IPV4, 4, 0, ARGS_NONE},
    {"IPv6", CH_IPV6, 16, 0, ARGS_NONE},
    {"Date", CH_DATE, 2, 0, ARGS_NONE},
    {"Date32", CH_DATE32, 4, 0, ARGS_NONE},
    {"DateTime", CH_DATETIME, 4, 0, ARGS_ZONE},
    {"DateTime64", CH_DATETIME64, 8, 3, ARGS_TICKS},
    {"Time", CH_TIME, 4, 0, ARGS_NONE},
    {"Time64", CH_TIME64, 8, 3, ARGS_PRECISION},
    {"IntervalNanosecond", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalMicrosecond", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalMillisecond", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalSecond", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalMinute", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalHour", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalDay", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalWeek", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalMonth", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalQuarter", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"IntervalYear", CH_INTERVAL, 8, 0, ARGS_NONE},
    {"Decimal", CH_DECIMAL, 0, 0, ARGS_DECIMAL},
    {"Decimal32", CH_DECIMAL, 4, 9, ARGS_SCALE},
    {"Decimal64", CH_DECIMAL, 8, 18, ARGS_SCALE},
    {"Decimal128", CH_DECIMAL, 16, 38, ARGS_SCALE},
    {"Decimal256", CH_DECIMAL, 32, 76, ARGS_SCALE},
    {"Enum8", CH_ENUM8, 1, 0, ARGS_ENUM},
    {"Enum16", CH_ENUM16, 2, 0, ARGS_ENUM},
    {"Nullable", CH_NULLABLE, 0, 0, ARGS_ONE},
    {"LowCardinality", CH_LOW_CARDINALITY, 0, 0, ARGS_ONE},
    {"Array", CH_ARRAY, 0, 0, ARGS_ONE},
    {"Tuple", CH_TUPLE, 0, 0, ARGS_ELEMENTS},
    {"Map", CH_MAP, 0, 0, ARGS_TWO},
    {"Nested", CH_NESTED, 0, 0, ARGS_ELEMENTS},
    {"Nothing", CH_NOTHING, 1, 0, ARGS_NONE},
    {"SimpleAggregateFunction", CH_SIMPLE_AGGREGATE, 0, 0, ARGS_FUNCTION},
    {"AggregateFunction", CH_AGGREGATE, 0, 0, ARGS_OPAQUE},
    {"Point", CH_POINT, 0, 0, ARGS_NONE},
    {"Ring", CH_RING, 0, 0, ARGS_NONE},
    {"LineString", CH_LINE_STRING, 0, 0, ARGS_NONE},
    {"MultiLineString", CH_MULTI_LINE_STRING, 0, 0, ARGS_NONE},
    {"Polygon", CH_POLYGON, 0, 0, ARGS_NONE},
    {"MultiPolygon", CH_MULTI_POLYGON, 0, 0, ARGS_NONE},
    {"JSON", CH_JSON, 0, 0, ARGS_OPAQUE},
    {"Object", CH_OBJECT, 0, 0, ARGS_OPAQUE},
    {"Variant", CH_VARIANT, 0, 0, ARGS_LIST},
    {"Dynamic", CH_DYNAMIC, 0, 0, ARGS_OPAQUE},
};

struct parser {
    struct arena *arena;
    const char *start;
    const char *p;
    const char *end;
    unsigned depth;
    struct err *e;
};

static int fail(struct parser *ps, const char *what)
{
    return err_set(ps->e, WH_ESYNTAX, "type \"%.*s\": %s at byte %zu",
                   (int)(ps->end - ps->start > 200 ? 200 : ps->end - ps->start), ps->start, what,
                   (size_t)(ps->p - ps->start));
}

static int no_memory(struct parser *ps)
{
    return err_set(ps->e, -ENOMEM, "out of memory for a type of %zu bytes",
                   (size_t)(ps->end - ps->start));
}

static void skip_space(struct parser *ps)
{
    while (ps->p < ps->end && (*ps->p == ' ' || *ps->p == '\n' || *ps->p == '\t' || *ps->p == '\r'))
        ps->p++;
}

static bool take(struct parser *ps, char c)
{
    skip_space(ps);
    if (ps->p == ps->end || *ps->p != c)
        return false;
    ps->p++;
    return true;
}

static int expect(struct parser *ps, char c)
{
    if (take(ps, c))
        return 0;
    char what[] = "expected ' '";
    what[10] = c;
    return fail(ps, what);
}

static bool is_word(char c)
{
    /* Bytes ≥ 0x80 as well: an unknown name in any alphabet is still one name. */
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           (c & 0x80) != 0;
}

static struct slice take_word(struct parser *ps)
{
    skip_space(ps);
    const char *from = ps->p;
    while (ps->p < ps->end && is_word(*ps->p))
        ps->p++;
    return (struct slice){from, (size_t)(ps->p - from)};
}

static int take_number(struct parser *ps, int64_t min, int64_t max, int64_t *out)
{
    skip_space(ps);
    bool negative = ps->p < ps->end && *ps->p == '-';
    if (negative)
        ps->p++;
    const char *from = ps->p;
    int64_t v = 0;
    while (ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9' && v < ((int64_t)1 << 40))
        v = v * 10 + (*ps->p++ - '0');
    if (ps->p == from)
        return fail(ps, "expected a number");
    v = negative ? -v : v;
    if (v < min || v > max)
        return fail(ps, "number out of range");
    *out = v;
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One escape sequence after its backslash (ClickHouse's writer uses \b \f \n \r \t \0 \' \\ and
 * \x). */
static char take_escape(struct parser *ps)
{
    char c = *ps->p++;
    switch (c) {
    case 'a':
        return '\a';
    case 'b':
        return '\b';
    case 'e':
        return '\x1b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'v':
        return '\v';
    case '0':
        return '\0';
    case 'x':
        if (hex_value(ps->p[0]) >= 0 && hex_value(ps->p[1]) >= 0) {
            int v = hex_value(ps->p[0]) * 16 + hex_value(ps->p[1]);
            ps->p += 2;
            return (char)v;
        }
        return c;
    default:
        return c;
    }
}

/* The closing quote of the literal that ps->p is inside of; NULL when there is none. */
static const char *find_quote(const struct parser *ps, char q)
{
    for (const char *p = ps->p; p < ps->end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == q && p + 1 < ps->end && p[1] == q)
            p++;
        else if (*p == q)
            return p;
    }
    return NULL;
}

/* A literal in quotes of kind q; a backslash escapes, a doubled quote is one. */
static int take_quoted(struct parser *ps, char q, struct slice *out)
{
    int rc = expect(ps, q);
    if (rc != 0)
        return rc;
    const char *close = find_quote(ps, q);
    if (close == NULL)
        return fail(ps, "unterminated quote");
    char *dst = arena_alloc(ps->arena, (size_t)(close - ps->p) + 1);
    if (dst == NULL)
        return no_memory(ps);
    size_t n = 0;
    while (ps->p < close) {
        char c = *ps->p++;
        if (c == '\\')
            c = take_escape(ps);
        else if (c == q)
            ps->p++;
        dst[n++] = c;
    }
    dst[n] = '\0';
    ps->p = close + 1;
    *out = (struct slice){dst, n};
    return 0;
}

/* Step over everything up to the bracket that closes the current one. */
static int skip_balanced(struct parser *ps)
{
    unsigned depth = 1;
    while (ps->p < ps->end) {
        char c = *ps->p++;
        if (c == '\'' || c == '`' || c == '"') {
            while (ps->p < ps->end && *ps->p != c)
                ps->p += *ps->p == '\\' && ps->p + 1 < ps->end ? 2 : 1;
            if (ps->p == ps->end)
                return fail(ps, "unterminated quote");
            ps->p++;
        } else if (c == '(') {
            depth++;
        } else if (c == ')' && --depth == 0) {
            return 0;
        }
    }
    return fail(ps, "expected ')'");
}

static int parse_type(struct parser *ps, const struct ch_type **out);

/* Room for one more item in an array inside the arena; doubles, the old copy is left behind. */
static void *list_grow(struct arena *arena, void *items, uint32_t count, size_t size)
{
    if (count != 0 && (count & (count - 1)) != 0)
        return items;
    void *grown = arena_alloc(arena, (count == 0 ? 1 : (size_t)count * 2) * size);
    if (grown != NULL && count != 0)
        memcpy(grown, items, count * size);
    return grown;
}

static int parse_children(struct parser *ps, struct ch_type *t, uint32_t min, uint32_t max)
{
    const struct ch_type **children = NULL;
    if (min == 0 && take(ps, ')'))
        return 0;
    for (;;) {
        children = list_grow(ps->arena, children, t->child_count, sizeof(children[0]));
        if (children == NULL)
            return no_memory(ps);
        t->children = children;
        int rc = parse_type(ps, &children[t->child_count]);
        if (rc != 0)
            return rc;
        t->child_count++;
        if (!take(ps, ','))
            break;
        if (t->child_count == max)
            return fail(ps, "too many arguments");
    }
    if (t->child_count < min)
        return fail(ps, "too few arguments");
    return expect(ps, ')');
}

/* The name of a Tuple or Nested element; ->ptr stays NULL when the element has none. */
static int take_element_name(struct parser *ps, struct slice *name)
{
    *name = (struct slice){NULL, 0};
    skip_space(ps);
    if (ps->p < ps->end && (*ps->p == '`' || *ps->p == '"'))
        return take_quoted(ps, *ps->p, name);
    const char *back = ps->p;
    struct slice word = take_word(ps);
    skip_space(ps);
    if (word.len != 0 && ps->p < ps->end && is_word(*ps->p)) {
        *name = arena_dup(ps->arena, word);
        return name->ptr != NULL ? 0 : no_memory(ps);
    }
    ps->p = back;
    return 0;
}

static int parse_elements(struct parser *ps, struct ch_type *t)
{
    const struct ch_type **children = NULL;
    struct slice *names = NULL;
    if (take(ps, ')'))
        return t->kind == CH_TUPLE ? 0 : fail(ps, "no elements");
    bool named = false;
    do {
        children = list_grow(ps->arena, children, t->child_count, sizeof(children[0]));
        names = list_grow(ps->arena, names, t->child_count, sizeof(names[0]));
        if (children == NULL || names == NULL)
            return no_memory(ps);
        t->children = children;
        int rc = take_element_name(ps, &names[t->child_count]);
        if (rc != 0)
            return rc;
        bool has_name = names[t->child_count].ptr != NULL;
        if (t->child_count == 0)
            named = has_name;
        if (has_name != named || (t->kind == CH_NESTED && !named))
            return fail(ps, "element without a name");
        rc = parse_type(ps, &children[t->child_count]);
        if (rc != 0)
            return rc;
        t->child_count++;
    } while (take(ps, ','));
    t->names = named ? names : NULL;
    return expect(ps, ')');
}

static int parse_enum(struct parser *ps, struct ch_type *t)
{
    struct ch_enum_item *items = NULL;
    int64_t min = t->kind == CH_ENUM8 ? INT8_MIN : INT16_MIN;
    int64_t max = t->kind == CH_ENUM8 ? INT8_MAX : INT16_MAX;
    int64_t value = 0;
    do {
        items = list_grow(ps->arena, items, t->enum_count, sizeof(items[0]));
        if (items == NULL)
            return no_memory(ps);
        struct ch_enum_item *item = &items[t->enum_count];
        skip_space(ps);
        int rc = take_quoted(ps, '\'', &item->name);
        if (rc != 0)
            return rc;
        value++; /* without a number: one more than the item before; the first is 1 */
        if (take(ps, '=')) {
            rc = take_number(ps, min, max, &value);
            if (rc != 0)
                return rc;
        } else if (value > max) {
            return fail(ps, "number out of range");
        }
        item->value = (int16_t)value;
        t->enum_count++;
    } while (take(ps, ','));
    t->enum_items = items;
    return expect(ps, ')');
}

static int parse_decimal(struct parser *ps, struct ch_type *t)
{
    int64_t v = 0;
    if (t->precision == 0) { /* Decimal(P[, S]) */
        if (take_number(ps, 1, 76, &v) != 0)
            return WH_ESYNTAX;
        t->precision = (uint8_t)v;
        t->width = v <= 9 ? 4 : v <= 18 ? 8 : v <= 38 ? 16 : 32;
        v = 0;
        if (take(ps, ',') && take_number(ps, 0, t->precision, &v) != 0)
            return WH_ESYNTAX;
    } else if (take_number(ps, 0, t->precision, &v) != 0) {
        return WH_ESYNTAX;
    }
    t->scale = (uint8_t)v;
    return expect(ps, ')');
}

static int parse_time(struct parser *ps, struct ch_type *t, enum type_args args)
{
    if (args != ARGS_ZONE) {
        int64_t v = 0;
        if (take_number(ps, 0, 9, &v) != 0)
            return WH_ESYNTAX;
        t->precision = (uint8_t)v;
    }
    if (args == ARGS_ZONE || (args == ARGS_TICKS && take(ps, ','))) {
        int rc = take_quoted(ps, '\'', &t->timezone);
        if (rc != 0)
            return rc;
    }
    return expect(ps, ')');
}

/* SimpleAggregateFunction(f[(parameters)], T) */
static int parse_function(struct parser *ps, struct ch_type *t)
{
    if (take_word(ps).len == 0)
        return fail(ps, "expected a function name");
    if (take(ps, '(')) {
        int rc = skip_balanced(ps);
        if (rc != 0)
            return rc;
    }
    int rc = expect(ps, ',');
    if (rc == 0)
        rc = parse_children(ps, t, 1, 1);
    if (rc == 0)
        t->width = t->children[0]->width;
    return rc;
}

static int parse_args(struct parser *ps, struct ch_type *t, enum type_args args)
{
    int64_t v = 0;
    switch (args) {
    case ARGS_LENGTH:
        if (take_number(ps, 1, 0xffffff, &v) != 0) /* MAX_FIXEDSTRING_SIZE */
            return WH_ESYNTAX;
        t->width = (uint32_t)v;
        return expect(ps, ')');
    case ARGS_ZONE:
    case ARGS_TICKS:
    case ARGS_PRECISION:
        return parse_time(ps, t, args);
    case ARGS_DECIMAL:
    case ARGS_SCALE:
        return parse_decimal(ps, t);
    case ARGS_ENUM:
        return parse_enum(ps, t);
    case ARGS_ONE:
        return parse_children(ps, t, 1, 1);
    case ARGS_TWO:
        return parse_children(ps, t, 2, 2);
    case ARGS_LIST:
        return parse_children(ps, t, 0, UINT32_MAX);
    case ARGS_ELEMENTS:
        return parse_elements(ps, t);
    case ARGS_FUNCTION:
        return parse_function(ps, t);
    case ARGS_OPAQUE:
        return skip_balanced(ps);
    case ARGS_NONE:
        /* This version knows the name only without arguments: do not guess what they mean. */
        t->kind = CH_UNKNOWN;
        t->width = 0;
        return skip_balanced(ps);
    }
    return fail(ps, "internal: argument kind");
}

static bool args_optional(enum type_args args)
{
    return args == ARGS_NONE || args == ARGS_OPAQUE || args == ARGS_ZONE || args == ARGS_TICKS ||
           args == ARGS_PRECISION;
}

static const struct type_name *find_name(struct slice name)
{
    for (size_t i = 0; i < sizeof(type_names) / sizeof(type_names[0]); i++)
        if (slice_eq_str(name, type_names[i].name))
            return &type_names[i];
    return NULL;
}

static int parse_type(struct parser *ps, const struct ch_type **out)
{
    if (ps->depth == LIMIT_TYPE_DEPTH)
        return err_set(ps->e, WH_ELIMIT, "type is nested deeper than %d", LIMIT_TYPE_DEPTH);
    struct ch_type *t = arena_calloc(ps->arena, 1, sizeof(*t));
    if (t == NULL)
        return no_memory(ps);
    struct slice name = take_word(ps);
    if (name.len == 0)
        return fail(ps, "expected a type name");
    const struct type_name *known = find_name(name);
    enum type_args args = ARGS_OPAQUE;
    t->kind = CH_UNKNOWN;
    if (known != NULL) {
        t->kind = known->kind;
        t->width = known->width;
        t->precision = known->precision;
        args = known->args;
    }
    if (take(ps, '(')) {
        ps->depth++;
        int rc = parse_args(ps, t, args);
        ps->depth--;
        if (rc != 0)
            return rc;
    } else if (!args_optional(args)) {
        return fail(ps, "expected '('");
    } else {
        ps->p = name.ptr + name.len; /* without the space that take() stepped over */
    }
    t->text = (struct slice){name.ptr, (size_t)(ps->p - name.ptr)};
    *out = t;
    return 0;
}

int ch_type_parse(struct arena *arena, struct slice text, const struct ch_type **out, struct err *e)
{
    struct slice copy = arena_dup(arena, text);
    struct parser ps = {.arena = arena, .e = e};
    if (copy.ptr == NULL)
        return no_memory(&ps);
    ps.start = ps.p = copy.ptr;
    ps.end = copy.ptr + copy.len;
    int rc = parse_type(&ps, out);
    if (rc != 0)
        return rc;
    skip_space(&ps);
    if (ps.p != ps.end)
        return fail(&ps, "unexpected text");
    return 0;
}

static bool is_wrapper(enum ch_kind kind)
{
    return kind == CH_NULLABLE || kind == CH_LOW_CARDINALITY || kind == CH_SIMPLE_AGGREGATE;
}

const struct ch_type *ch_type_peel(const struct ch_type *t)
{
    while (is_wrapper(t->kind))
        t = t->children[0];
    return t;
}

bool ch_type_is_nullable(const struct ch_type *t)
{
    for (; is_wrapper(t->kind); t = t->children[0])
        if (t->kind == CH_NULLABLE)
            return true;
    return false;
}

bool ch_type_is_native(const struct ch_type *t)
{
    switch (t->kind) {
    case CH_NULLABLE:
    case CH_LOW_CARDINALITY:
    case CH_ARRAY:
    case CH_TUPLE:
    case CH_MAP:
    case CH_NESTED:
    case CH_SIMPLE_AGGREGATE:
        for (uint32_t i = 0; i < t->child_count; i++)
            if (!ch_type_is_native(t->children[i]))
                return false;
        return true;
    case CH_TIME:
    case CH_TIME64:
    case CH_INTERVAL:
        return false;
    default:
        return t->kind <= CH_ENUM16;
    }
}
