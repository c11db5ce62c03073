/* SPDX-License-Identifier: Apache-2.0 */
/* A table "t" with a column of every type that the encoder knows, for fuzz targets. */
#ifndef WH_TESTS_FUZZ_EVERY_TYPE_H
#define WH_TESTS_FUZZ_EVERY_TYPE_H

#include "schema/schema.h"

static const char *const columns[][2] = {
    {"i8", "Int8"},
    {"i16", "Int16"},
    {"i32", "Int32"},
    {"i64", "Int64"},
    {"i128", "Int128"},
    {"i256", "Int256"},
    {"u8", "UInt8"},
    {"u16", "UInt16"},
    {"u64", "UInt64"},
    {"u256", "UInt256"},
    {"f32", "Float32"},
    {"f64", "Float64"},
    {"bf", "BFloat16"},
    {"b", "Bool"},
    {"s", "String"},
    {"fs", "FixedString(3)"},
    {"uuid", "UUID"},
    {"ip4", "IPv4"},
    {"ip6", "IPv6"},
    {"d", "Date"},
    {"d32", "Date32"},
    {"dt", "DateTime('UTC')"},
    {"dtz", "DateTime('America/New_York')"},
    {"dt64", "DateTime64(9, 'UTC')"},
    {"dt64z", "DateTime64(3, 'Australia/Lord_Howe')"},
    {"dec5", "Decimal(5, 2)"},
    {"dec18", "Decimal(18, 6)"},
    {"dec38", "Decimal(38, 38)"},
    {"dec76", "Decimal(76, 20)"},
    {"e8", "Enum8('a' = 1, 'b' = -2, '' = 7)"},
    {"e16", "Enum16('a' = 1000, 'z' = 0)"},
    {"ns", "Nullable(String)"},
    {"nd", "Nullable(DateTime('UTC'))"},
    {"ls", "LowCardinality(String)"},
    {"lns", "LowCardinality(Nullable(String))"},
    {"lu", "LowCardinality(UInt16)"},
    {"a", "Array(UInt8)"},
    {"as", "Array(Array(Nullable(String)))"},
    {"al", "Array(LowCardinality(Nullable(String)))"},
    {"t", "Tuple(x UInt8, y Nullable(String), z Array(Int16))"},
    {"tu", "Tuple(UInt8, String)"},
    {"t0", "Tuple()"},
    {"m", "Map(String, UInt64)"},
    {"md", "Map(Date, Array(String))"},
    {"ml", "Map(LowCardinality(String), Tuple(a Float64))"},
    {"n.a", "Array(UInt8)"},
    {"n.b", "Array(String)"},
    {"saf", "SimpleAggregateFunction(sum, UInt64)"},
    {"nest", "Nested(p UInt8, q String)"},
};

enum {
    COLUMN_COUNT = sizeof(columns) / sizeof(columns[0])
};

static struct schema_catalog *make_catalog(void)
{
    struct schema_builder *b = schema_builder_new();
    const struct slice none = SLICE_LIT("");
    int rc = schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("Memory"), 0);
    for (int i = 0; rc == 0 && i < COLUMN_COUNT; i++)
        rc = schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]), none,
                                   none);
    struct schema_catalog *c = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    return c;
}

#endif
