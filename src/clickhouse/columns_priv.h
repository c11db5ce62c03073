/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the column encoder; see columns.h.
 *
 * A block holds a tree of columns per table column, all in one array in depth-first order:
 *
 *   Nullable(T)        data = null map, one byte a value        child T
 *   LowCardinality(T)  data = u32 dictionary places             child T, the dictionary
 *   Array(T), Map      data = u64 end offsets                   child T; key and value
 *   Tuple(…)           data = one byte a value when empty       its elements
 *   String             data = varint length and bytes, the wire form
 *   everything else    data = fixed-width values, the wire form
 *
 * A reader appends exactly one value to its column, or fails and may leave rubbish behind: the
 * row's columns are cut back to the marks taken before it. */
#ifndef WH_CLICKHOUSE_COLUMNS_PRIV_H
#define WH_CLICKHOUSE_COLUMNS_PRIV_H

#include "base/le.h"
#include "clickhouse/columns.h"

/* ClickHouse's numbers for refused values (clickhouse-native §10). */
enum ch_code {
    CHE_ESCAPE = 25,       /* CANNOT_PARSE_ESCAPE_SEQUENCE */
    CHE_QUOTED = 26,       /* CANNOT_PARSE_QUOTED_STRING */
    CHE_INPUT = 27,        /* CANNOT_PARSE_INPUT_ASSERTION_FAILED */
    CHE_DATE = 38,         /* CANNOT_PARSE_DATE */
    CHE_DATETIME = 41,     /* CANNOT_PARSE_DATETIME */
    CHE_RANGE = 69,        /* ARGUMENT_OUT_OF_BOUND */
    CHE_NUMBER = 72,       /* CANNOT_PARSE_NUMBER */
    CHE_DATA = 117,        /* INCORRECT_DATA */
    CHE_ARRAY = 130,       /* CANNOT_READ_ARRAY_FROM_TEXT */
    CHE_TOO_LARGE = 131,   /* TOO_LARGE_STRING_SIZE */
    CHE_ARRAY_SIZES = 190, /* SIZES_OF_ARRAYS_DONT_MATCH */
    CHE_UUID = 376,        /* CANNOT_PARSE_UUID */
    CHE_DECIMAL_OVERFLOW = 407,
    CHE_BOOL = 467,          /* CANNOT_PARSE_BOOL */
    CHE_MAP = 563,           /* CANNOT_READ_MAP_FROM_TEXT */
    CHE_TRAILING_DATA = 632, /* UNEXPECTED_DATA_AFTER_PARSED_VALUE */
    CHE_IPV4 = 675,
    CHE_IPV6 = 676,
    CHE_ENUM = 691, /* UNKNOWN_ELEMENT_OF_ENUM */

    /* Ours: the value was read but text is left over, as in 1.5 for an integer. What ClickHouse
     * calls that depends on what the value stands in. */
    CHE_TRAILING = 1000001
};

struct column;

/* Append value n of doc to c. 0, a CHE_… code, or -ENOMEM. */
typedef int column_read_fn(struct column *c, const struct json_doc *doc, const struct json_node *n);

/* Which bytes stand at a place in a dictionary: open addressing, linear probing, a power of two. */
struct dictionary {
    uint32_t *slots; /* place + 1; 0 empty */
    uint32_t mask;
    uint32_t count; /* entries */
    uint32_t last;  /* the entry found last: values often come in runs */
    uint32_t mark;  /* entries before the row being added */
    uint32_t cap;   /* entries that ends and hashes have room for */
    uint64_t *ends; /* where an entry's bytes end in the child's data */
    uint32_t *hashes;
};

struct column {
    /* What every value touches: one cache line. */
    column_read_fn *read;
    struct column *children; /* the first; each is child_span apart */
    struct buf data;
    size_t mark; /* data.len before the row being added */
    size_t most; /* data.len was at most so much when it was last made shorter */

    const struct ch_type *type; /* NULL for the Tuple inside a Nested */
    struct ch_block *block;
    uint32_t child_count;
    uint32_t span;   /* nodes of this column's tree, itself included */
    uint32_t width;  /* bytes of a value in data; 0 for String and filled Tuples */
    bool takes_null; /* null is a value here */
    bool is_signed;
    uint8_t scale;
    uint8_t precision;
    int16_t enum_null; /* what a null leaves, what an omitted column gets */
    int16_t enum_default;
    uint8_t enum_value_known[32]; /* Enum8: bit per value (as unsigned) */
    struct dictionary dict;       /* LowCardinality: values; Enum: names (slots only) */
    const struct zone *zone;      /* DateTime, DateTime64 */
    const struct slice *names;    /* Tuple elements; NULL when unnamed */
};

/* Keys up to this long are compared as two words; the text of a record is readable so far beyond
 * any key in it (LIMIT_JSON_PADDING). */
#define KEY_WORDS_BYTES 16

/* One column of the block. */
struct block_slot {
    const struct schema_column *column;
    struct column *root;
    uint64_t key[2], mask[2]; /* json_key when it is short, the bytes of it that count */
    size_t key_len;
    uint64_t seen;      /* number of the row that last had a value here */
    uint64_t checked;   /* ch_block_check: elements of that value, for columns of a Nested */
    uint32_t next_slot; /* the slot whose key usually comes next */
    int32_t nested;     /* first slot of the same flattened Nested, or -1 */
};

struct ch_block {
    const struct schema_table *table;
    struct column *nodes; /* every column of every tree */
    uint32_t node_count;
    struct block_slot *slots;
    uint32_t slot_count;
    int32_t *slot_of_ordinal; /* -1: not in this block */
    uint64_t rows;
    uint64_t row_number; /* counts tries, so that `seen` never needs clearing */
    bool has_nested;
    bool nested_whole;  /* no column of a flattened Nested here that would bring another along */
    struct buf scratch; /* unescaped keys and enum names */
    struct zone_cache *zones;
};

/* ---- columns_tree.c: making, cutting back, writing */
uint32_t column_tree_size(const struct ch_type *t); /* nodes; 0 when t is not native */
/* Fill nodes[0…] for t; returns how many were used, or a negative code. */
int column_tree_build(struct ch_block *b, struct column *nodes, const struct ch_type *t);
void column_fini(struct column *c);
void column_clear(struct column *c); /* no values; LowCardinality keeps its default entries */
void column_rollback(struct column *c);
size_t column_bytes(const struct column *c);
void column_write_prefix(const struct column *c, struct buf *out);
int column_write_data(const struct column *c, struct ch_sink *sink) WH_MUST_CHECK;
/* The type's default, as for an omitted column. 0 or -ENOMEM. */
int column_put_default(struct column *c);
/* What null leaves in a column that has no NULL. 0 or -ENOMEM. */
int column_put_null(struct column *c);
/* Nth child: children have different spans. */
static inline struct column *column_next(struct column *child)
{
    return child + child->span;
}

/* ---- columns_dict.c */
int dictionary_init(struct column *lc);
uint32_t dictionary_hash(const char *p, size_t n);
/* Find or append: the last value of lc's child (bytes from `from`) becomes an entry or is cut off
 * again when it is known. Sets *place. 0 or -ENOMEM. */
int dictionary_intern(struct column *lc, size_t from, uint32_t *place);
void dictionary_rollback(struct column *lc);

/* ---- readers */
column_read_fn coerce_int, coerce_int_wide, coerce_float64, coerce_float32, coerce_bfloat16,
    coerce_bool, coerce_decimal;
column_read_fn coerce_string, coerce_fixed_string, coerce_enum, coerce_uuid, coerce_ipv4,
    coerce_ipv6;
column_read_fn coerce_date, coerce_datetime, coerce_datetime64;
column_read_fn coerce_nullable, coerce_low_cardinality, coerce_array, coerce_tuple, coerce_map;

/* Where the row being added begins. */
static inline void column_mark(struct column *c)
{
    c->mark = c->data.len;
    if (c->read == coerce_low_cardinality)
        c->dict.mark = c->dict.count;
}

/* One value of any kind: null is handled here. */
static inline int column_read(struct column *c, const struct json_doc *doc,
                              const struct json_node *n)
{
    if (__builtin_expect(n->kind == JSON_NULL, 0) && !c->takes_null)
        return column_put_null(c);
    return c->read(c, doc, n);
}

/* ---- shared by readers */

/* Keys and dictionary entries are mostly shorter than two words: no call for those. */
static inline bool bytes_equal(const char *a, const char *b, size_t n)
{
    if (n > 16)
        return memcmp(a, b, n) == 0;
    if (n >= 8)
        return ((le64_get(a) ^ le64_get(b)) | (le64_get(a + n - 8) ^ le64_get(b + n - 8))) == 0;
    if (n >= 4)
        return ((le32_get(a) ^ le32_get(b)) | (le32_get(a + n - 4) ^ le32_get(b + n - 4))) == 0;
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            return false;
    return true;
}

static inline bool text_equal(struct slice a, struct slice b)
{
    return a.len == b.len && bytes_equal(a.ptr, b.ptr, a.len);
}

/* Room for one value of n bytes at the end of c's data, counted already; NULL when memory ran out.
 */
static inline char *column_extend(struct column *c, size_t n)
{
    if (buf_reserve(&c->data, n) != 0)
        return NULL;
    char *p = c->data.ptr + c->data.len;
    c->data.len += n;
    return p;
}

static inline char *varint_put(char *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (char)(v | 0x80);
        v >>= 7;
    }
    *p++ = (char)v;
    return p;
}

/* Resolve escapes as ClickHouse does: a lone high surrogate is CHE_ESCAPE, a lone low one is
 * encoded as it stands. dst has room for raw.len bytes. */
int coerce_unescape(struct slice raw, char *dst, size_t *len);

/* An integer at *p: one optional sign, digits; wraps at 2^64. Stops at the first other byte, and no
 * digits at all are 0, both as ClickHouse does. 0 or CHE_NUMBER. */
int coerce_scan_int(const char **p, const char *end, bool is_signed, uint64_t *value);
/* "true" or "false" at *p, for a value that starts with t or f. */
int coerce_scan_bool(const char **p, const char *end, bool *value);

/* Seconds since 1970 of a local time as ClickHouse's date tables have it (columns_zone.c). */
struct civil {
    int32_t year;
    uint32_t month, day, hour, minute, second;
};
int64_t civil_days(int32_t year, uint32_t month, uint32_t day); /* since 1970-01-01 */
int zones_init(struct ch_block *b, struct slice server_timezone);
void zones_fini(struct ch_block *b);
/* The zone of that name, or the server's when name is empty; *out NULL is UTC. WH_ENOTFOUND. */
int zones_find(struct ch_block *b, struct slice name, const struct zone **out);
int64_t zones_local_to_utc(struct ch_block *b, const struct zone *z, const struct civil *t);
int32_t zones_offset(const struct zone *z, int64_t utc); /* seconds east */

#endif
