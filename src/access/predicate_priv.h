/* SPDX-License-Identifier: Apache-2.0 */
/* A row filter in memory. */
#ifndef WH_ACCESS_PREDICATE_PRIV_H
#define WH_ACCESS_PREDICATE_PRIV_H

#include "access/predicate.h"
#include "schema/zone.h"

#define ACCESS_PREDICATE_MAGIC 0x50524544u

/* How values of a column are judged on events. */
enum access_family_of_column {
    ACCESS_COLUMN_INTEGER,
    ACCESS_COLUMN_FLOAT,
    ACCESS_COLUMN_DECIMAL,
    ACCESS_COLUMN_STRING,
    ACCESS_COLUMN_BOOL,
    ACCESS_COLUMN_DATETIME,
    ACCESS_COLUMN_OTHER,  /* equal text only */
    ACCESS_COLUMN_NEVER,  /* cannot be judged */
    ACCESS_COLUMN_UNKNOWN /* the table has no such column */
};

/* A value to compare with: normal text, or the number for floats. */
struct access_operand {
    bool usable;
    struct slice text;
    double number;
};

struct access_condition {
    struct slice column;
    enum access_compare op;
    enum access_family_of_column family;
    const struct ch_type *type; /* peeled; NULL without schema */
    struct zone *zone;          /* DATETIME: for text without one; NULL: not at hand */
    uint32_t count;
    struct slice *values; /* as claimed */
    struct access_operand *operands;
};

struct access_predicate {
    uint32_t magic;
    _Atomic uint32_t refs;
    struct arena arena;
    struct schema_catalog *catalog; /* NULL: none */
    bool impossible;                /* nothing passes */
    uint32_t count;
    struct access_condition *conditions;
    uint32_t value_count;
};

/* Fill c->family, c->zone and c->operands. False: no memory. */
bool access_condition_compile(struct arena *a, struct access_condition *c,
                              const struct schema_table *table, bool has_catalog,
                              struct slice server_zone);
/* Is text a plain integer within the type's range? */
bool access_integer_fits(const struct ch_type *t, struct slice text);

#endif
