/* SPDX-License-Identifier: Apache-2.0 */
/* Type texts as servers print them. */
#include "base/limits.h"
#include "schema/type.h"
#include "tests/lib/tap.h"

#include <errno.h>

static struct arena arena;

static const struct ch_type *parse(const char *text)
{
    struct err e;
    const struct ch_type *t = NULL;
    int rc = ch_type_parse(&arena, slice_str(text), &t, &e);
    ok(rc == 0, "parses: %s", text);
    if (rc != 0)
        printf("# %s\n", e.text);
    return rc == 0 ? t : NULL;
}

static void is_simple(const char *text, enum ch_kind kind, uint32_t width, bool native)
{
    const struct ch_type *t = parse(text);
    ok(t != NULL && t->kind == kind && t->width == width, "  kind and width");
    ok(t != NULL && ch_type_is_native(t) == native, "  %s native", native ? "is" : "is not");
    ok(t != NULL && slice_eq_str(t->text, text), "  keeps its text");
}

static void test_simple(void)
{
    is_simple("Int8", CH_INT8, 1, true);
    is_simple("UInt256", CH_UINT256, 32, true);
    is_simple("BFloat16", CH_BFLOAT16, 2, true);
    is_simple("Bool", CH_BOOL, 1, true);
    is_simple("String", CH_STRING, 0, true);
    is_simple("FixedString(16)", CH_FIXED_STRING, 16, true);
    is_simple("UUID", CH_UUID, 16, true);
    is_simple("IPv6", CH_IPV6, 16, true);
    is_simple("Date32", CH_DATE32, 4, true);
    is_simple("Time", CH_TIME, 4, false);
    is_simple("Time64(6)", CH_TIME64, 8, false);
    is_simple("IntervalQuarter", CH_INTERVAL, 8, false);
    is_simple("Nothing", CH_NOTHING, 1, false);
    is_simple("Point", CH_POINT, 0, false);
    is_simple("MultiLineString", CH_MULTI_LINE_STRING, 0, false);
    is_simple("JSON", CH_JSON, 0, false);
    is_simple("JSON(max_dynamic_paths=16, a.b Int64, SKIP `x)`, SKIP REGEXP 'p(.*')", CH_JSON, 0,
              false);
    is_simple("Object('json')", CH_OBJECT, 0, false);
    is_simple("Object(Nullable('json'))", CH_OBJECT, 0, false);
    is_simple("Dynamic", CH_DYNAMIC, 0, false);
    is_simple("Dynamic(max_types=32)", CH_DYNAMIC, 0, false);
    is_simple("AggregateFunction(1, quantiles(0.5, 0.9), UInt64)", CH_AGGREGATE, 0, false);
    is_simple("QBit(Float32, 128)", CH_UNKNOWN, 0, false);
    is_simple("Geometry", CH_UNKNOWN, 0, false);
    is_simple("Int8(3)", CH_UNKNOWN, 0, false);
}

static void test_parameters(void)
{
    const struct ch_type *t = parse("DateTime");
    ok(t->timezone.len == 0, "no zone");
    t = parse("DateTime('Asia/Istanbul')");
    ok(slice_eq_str(t->timezone, "Asia/Istanbul") && t->width == 4, "zone");
    t = parse("DateTime64(9, 'UTC')");
    ok(t->precision == 9 && slice_eq_str(t->timezone, "UTC"), "precision and zone");
    t = parse("DateTime64(0)");
    ok(t->precision == 0 && t->timezone.len == 0, "precision 0");
    t = parse("Decimal(76, 20)");
    ok(t->precision == 76 && t->scale == 20 && t->width == 32, "P, S, width");
    t = parse("Decimal(9, 9)");
    ok(t->width == 4, "width 4");
    t = parse("Decimal128(5)");
    ok(t->precision == 38 && t->scale == 5 && t->width == 16, "alias");
    t = parse("Enum8('a,b' = -128, 'c\\'d)' = 0, '' = 127)");
    ok(t->enum_count == 3 && t->enum_items[0].value == -128 &&
           slice_eq_str(t->enum_items[0].name, "a,b") &&
           slice_eq_str(t->enum_items[1].name, "c'd)") && t->enum_items[2].name.len == 0,
       "items");
    t = parse("Enum16('x', 'y', 'z' = 1000, 'it''s')");
    ok(t->enum_count == 4 && t->enum_items[0].value == 1 && t->enum_items[1].value == 2 &&
           t->enum_items[3].value == 1001 && slice_eq_str(t->enum_items[3].name, "it's"),
       "numbers filled in");
}

static void test_composite(void)
{
    const struct ch_type *t = parse("Map(LowCardinality(String), Array(Nullable(Decimal(18, 4))))");
    ok(t->kind == CH_MAP && t->child_count == 2 && ch_type_is_native(t), "map");
    ok(slice_eq_str(t->children[1]->text, "Array(Nullable(Decimal(18, 4)))"), "child text");
    t = parse("Tuple(a UInt8, `b c` Array(String), \"d\" Tuple(UInt8, String))");
    ok(t->child_count == 3 && slice_eq_str(t->names[0], "a") && slice_eq_str(t->names[1], "b c") &&
           slice_eq_str(t->names[2], "d"),
       "element names");
    ok(t->children[2]->names == NULL && t->children[2]->child_count == 2, "unnamed elements");
    t = parse("Tuple(`we``ird\\`` UInt8)");
    ok(slice_eq_str(t->names[0], "we`ird`"), "quoted backtick");
    t = parse("Tuple()");
    ok(t->child_count == 0, "empty tuple");
    t = parse("Nested(id UInt32, tags Nested(k String, v Dynamic))");
    ok(t->kind == CH_NESTED && t->child_count == 2 && !ch_type_is_native(t), "nested");
    t = parse("Variant(Array(String), UInt64)");
    ok(t->kind == CH_VARIANT && t->child_count == 2, "variant");
    t = parse("SimpleAggregateFunction(groupArrayArray(10), Array(String))");
    ok(t->child_count == 1 && ch_type_is_native(t) && ch_type_peel(t)->kind == CH_ARRAY, "simple");
    t = parse("SimpleAggregateFunction(anyLast, Nullable(UInt64))");
    ok(ch_type_is_nullable(t) && ch_type_peel(t)->kind == CH_UINT64, "nullable within");
    t = parse("LowCardinality(Nullable(FixedString(3)))");
    ok(ch_type_is_nullable(t) && ch_type_peel(t)->kind == CH_FIXED_STRING, "peel");
    t = parse("Array(Nullable(String))");
    ok(!ch_type_is_nullable(t) && ch_type_peel(t) == t, "an array is not nullable");
    t = parse("Array(JSON)");
    ok(!ch_type_is_native(t), "one foreign part is enough");
}

static void test_refused(void)
{
    static const char *const bad[] = {
        "",
        "(",
        "Array",
        "Array()",
        "Array(String",
        "Array(,)",
        "Map(String)",
        "Map(a,b,c)",
        "FixedString(0)",
        "FixedString(-1)",
        "Decimal()",
        "Decimal(77)",
        "Decimal(3, 4)",
        "DateTime64(10)",
        "DateTime('UTC)",
        "Enum8()",
        "Enum8('a'=)",
        "Enum8('a'=128)",
        "Nested()",
        "Nested(String)",
        "String)",
        "String x y",
        "Tuple(a Int8, B)",
        "Unknown('",
        "Nullable(Int8))",
        "Enum8('a' = 99999999999999999999)",
        "DateTime64(3, UTC)",
        "Tuple(`a Int8)",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct err e = {.code = 0};
        const struct ch_type *t = NULL;
        int rc = ch_type_parse(&arena, slice_str(bad[i]), &t, &e);
        ok(rc == WH_ESYNTAX && e.code == rc && e.text[0] != '\0', "refused: %s", bad[i]);
    }
    char deep[LIMIT_TYPE_DEPTH * 8 + 64] = "";
    for (int levels = LIMIT_TYPE_DEPTH - 1; levels <= LIMIT_TYPE_DEPTH; levels++) {
        deep[0] = '\0';
        for (int i = 0; i < levels; i++)
            (void)strcat(deep, "Array(");
        (void)strcat(deep, "Int8");
        for (int i = 0; i < levels; i++)
            (void)strcat(deep, ")");
        const struct ch_type *t = NULL;
        int rc = ch_type_parse(&arena, slice_str(deep), &t, NULL);
        ok(rc == (levels < LIMIT_TYPE_DEPTH ? 0 : WH_ELIMIT), "depth %d", levels + 1);
    }
    struct arena small;
    arena_init(&small, 64, 256);
    const struct ch_type *t = NULL;
    ok(ch_type_parse(&small, SLICE_LIT("Tuple(a Int8, b Int8, c Int8)"), &t, NULL) == -ENOMEM,
       "a full arena is out of memory");
    arena_fini(&small);
}

int main(void)
{
    arena_init(&arena, 65536, SIZE_MAX);
    test_simple();
    test_parameters();
    test_composite();
    test_refused();
    arena_fini(&arena);
    return tap_done();
}
