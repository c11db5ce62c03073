/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of suggest: what was seen at each place of a sample. */
#ifndef WH_SCHEMA_SUGGEST_PRIV_H
#define WH_SCHEMA_SUGGEST_PRIV_H

#include "base/arena.h"
#include "base/limits.h"
#include "schema/suggest.h"

enum {
    SUGGEST_EXAMPLES = 3,
    SUGGEST_EXAMPLE_BYTES = 64,
    SUGGEST_DISTINCT_MAX = 1000, /* different values that are told apart */
    SUGGEST_DEPTH_MAX = 8        /* arrays and objects inside each other; deeper is text */
};

/* Forms that every string so far has. */
enum {
    FORM_TIME = 1, /* http-api §7.4, a date alone, too */
    FORM_DATE = 2,
    FORM_UUID = 4,
    FORM_IPV4 = 8,
    FORM_IPV6 = 16, /* or an IPv4 address */
    FORM_ALL = 31
};

/* How large integers are, as places in a list of limits. */
enum {
    POSITIVE_INT64,
    POSITIVE_UINT64,
    POSITIVE_INT128,
    POSITIVE_UINT128,
    POSITIVE_INT256,
    POSITIVE_UINT256,
    POSITIVE_BEYOND
};
enum {
    NEGATIVE_NONE,
    NEGATIVE_INT64,
    NEGATIVE_INT128,
    NEGATIVE_INT256,
    NEGATIVE_BEYOND
};

struct shape;

/* A key of an object. */
struct member {
    struct slice name;
    struct shape *shape;
    uint64_t seen; /* objects that have it */
    uint64_t last; /* number of the last such object */
};

/* Hashes of the different values, open addressing. */
struct distinct {
    uint64_t *slots;
    uint32_t mask, count;
};

/* The values at one place: of a column, of an array's elements, of an object's key. */
struct shape {
    uint64_t nulls, bools, ints, floats, strings, arrays, objects;
    uint64_t bits;              /* integers that are 0 or 1 */
    uint8_t positive, negative; /* of the largest and smallest integer */
    uint8_t forms;              /* of strings */
    uint8_t fraction_digits;    /* of times */
    bool zoneless;              /* a time without a zone */
    bool far;                   /* a time that DateTime does not hold */
    bool farther;               /* that DateTime64(9) does not hold either */
    bool farthest;              /* that nothing holds */
    bool far_date;              /* a date that Date does not hold */
    bool deep;                  /* arrays and objects inside were not looked at */
    struct shape *element;      /* of arrays; NULL: all were empty */
    struct member *members;     /* of objects, in the order met */
    uint32_t member_count, member_cap;
    bool keys_odd;      /* too many, repeated, empty, or with escapes: no names for a Tuple */
    bool keys_repeated; /* within one object */
};

struct suggested {
    struct slice name;
    struct shape shape;
    uint64_t seen;     /* records that have it */
    uint64_t last;     /* number of the last such record */
    uint32_t last_len; /* of its array, for columns of a Nested */
    uint32_t leader;   /* first column of the same Nested, from 1; 0 none */
    bool empty_object; /* somewhere in a value */
    bool unequal;      /* an array whose siblings by name differ in length: no Array */
    uint32_t widened;  /* how often its type was too narrow */
    uint32_t named;    /* of these, known to suggest_finish */
    struct distinct distinct;
    struct slice examples[SUGGEST_EXAMPLES];
    uint32_t example_count;
    struct slice type, default_expr; /* suggest_finish */
    bool nullable;
};

struct suggest {
    struct arena arena;
    struct suggested *columns;
    uint32_t column_count, column_cap;
    uint32_t *index; /* of columns by name: place + 1; open addressing */
    uint32_t index_mask;
    uint64_t records;
    uint64_t keys_left_out; /* beyond the limit of columns, or no names for a column */
    bool cut;               /* there were more records */
    const struct suggest_options *options;
    bool any_nested;   /* a column has a leader */
    bool empty_object; /* in the value at hand */
    bool stamp_added;  /* the last of columns is received_timestamp */
    struct buf sql, notes;
    uint32_t note_count;
};

/* suggest_type.c */
int suggest_name_types(struct suggest *s);

#endif
