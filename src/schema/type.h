/* SPDX-License-Identifier: Apache-2.0 */
/* ClickHouse data types: the text of system.columns.type as a tree (clickhouse-native §6). */
#ifndef WH_SCHEMA_TYPE_H
#define WH_SCHEMA_TYPE_H

#include "base/arena.h"
#include "base/err.h"
#include "base/slice.h"

enum ch_kind {
    CH_INT8,
    CH_INT16,
    CH_INT32,
    CH_INT64,
    CH_INT128,
    CH_INT256,
    CH_UINT8,
    CH_UINT16,
    CH_UINT32,
    CH_UINT64,
    CH_UINT128,
    CH_UINT256,
    CH_FLOAT32,
    CH_FLOAT64,
    CH_BFLOAT16,
    CH_BOOL,
    CH_STRING,
    CH_FIXED_STRING,
    CH_UUID,
    CH_IPV4,
    CH_IPV6,
    CH_DATE,
    CH_DATE32,
    CH_DATETIME,
    CH_DATETIME64,
    CH_TIME,
    CH_TIME64,
    CH_INTERVAL,
    CH_DECIMAL,
    CH_ENUM8,
    CH_ENUM16,
    CH_NULLABLE,
    CH_LOW_CARDINALITY,
    CH_ARRAY,
    CH_TUPLE,
    CH_MAP,
    CH_NESTED,
    CH_NOTHING,
    CH_SIMPLE_AGGREGATE,
    CH_AGGREGATE,
    CH_POINT,
    CH_RING,
    CH_LINE_STRING,
    CH_MULTI_LINE_STRING,
    CH_POLYGON,
    CH_MULTI_POLYGON,
    CH_JSON,
    CH_OBJECT,
    CH_VARIANT,
    CH_DYNAMIC,
    CH_UNKNOWN /* a name this version does not know: kept as text, never guessed */
};

struct ch_enum_item {
    struct slice name; /* unescaped */
    int16_t value;
};

struct ch_type {
    enum ch_kind kind;
    struct slice text;     /* this type's own text, exactly as the server spells it */
    uint32_t width;        /* bytes of a value on the wire; FixedString: n; 0 when it varies */
    uint8_t precision;     /* Decimal P; DateTime64, Time64 p */
    uint8_t scale;         /* Decimal S */
    struct slice timezone; /* DateTime('z'), DateTime64(p,'z'); len 0 when none */
    uint32_t child_count;  /* Nullable, LowCardinality, Array, SimpleAggregate: 1; Map: 2 (key,
                              value); Tuple, Nested, Variant: n */
    const struct ch_type **children;
    const struct slice *names; /* Tuple, Nested: element names, unescaped; NULL when unnamed */
    uint32_t enum_count;
    const struct ch_enum_item *enum_items; /* in declared order */
};

/* Parse a type text. The tree and copies of the text live in the arena. WH_ESYNTAX (with the place
 * in e), WH_ELIMIT (deeper than LIMIT_TYPE_DEPTH), -ENOMEM. A well-formed but unknown name gives
 * CH_UNKNOWN. Any thread; does not block. */
int ch_type_parse(struct arena *arena, struct slice text, const struct ch_type **out,
                  struct err *e) WH_MUST_CHECK;

/* The type under any nesting of Nullable and LowCardinality (and SimpleAggregateFunction's). */
const struct ch_type *ch_type_peel(const struct ch_type *t);
/* Nullable, also under LowCardinality. */
bool ch_type_is_nullable(const struct ch_type *t);
/* True when every part of t can be sent as a native column (clickhouse-native §6.1–6.2 and
 * LowCardinality); false: the table's rows travel as JSONEachRow over HTTP. */
bool ch_type_is_native(const struct ch_type *t);

#endif
