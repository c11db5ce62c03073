/* SPDX-License-Identifier: Apache-2.0 */
/* The column encoder's blocks: the wire form of clickhouse-native §12, rows taken back, keys. */
#include "base/arena.h"
#include "tests/unit/columns_lib.h"

#include <errno.h>
#include <malloc.h>

/* ---- wire form */

struct vector {
    const char *type;
    const char *values[5]; /* NULL last */
    const char *hex;       /* prefix and data; spaces do not count */
};

static const struct vector vectors[] = {
    {"LowCardinality(String)",
     {"\"a\"", "\"b\"", "\"a\"", "\"\""},
     "0100000000000000 0006000000000000 0300000000000000 00 0161 0162 0400000000000000 01020100"},
    {"LowCardinality(Nullable(String))",
     {"\"a\"", "null", "\"\""},
     "0100000000000000 0006000000000000 0300000000000000 00 00 0161 0300000000000000 020001"},
    {"Array(LowCardinality(String))",
     {"[\"x\"]", "[]"},
     "0100000000000000 0100000000000000 0100000000000000 0006000000000000 0200000000000000 00 0178 "
     "0100000000000000 01"},
    {"Array(LowCardinality(String))", {"[]"}, "0100000000000000 0000000000000000"},
    {"Array(Array(UInt8))",
     {"[[1],[2,3]]", "[]"},
     "0200000000000000 0200000000000000 0100000000000000 0300000000000000 010203"},
    {"Map(String, UInt8)", {"{\"a\":1}", "{}"}, "0100000000000000 0100000000000000 0161 01"},
    {"Nullable(UInt16)", {"null", "258"}, "0100 0000 0201"},
    {"Tuple(UInt8, String)", {"[1,\"x\"]", "[2,\"y\"]"}, "0102 0178 0179"},
    {"Tuple()", {"[]", "[]"}, "0000"},
    {"UUID", {"\"61f0c404-5cb3-11e7-907b-a6006ad3dba0\""}, "e711b35c04c4f061 a0dbd36a00a67b90"},
    {"Decimal(9, 2)", {"-1.25"}, "83ffffff"},
    {"DateTime64(3)", {"1700000000123"}, "7b68e5cf8b010000"},
    {"IPv4", {"\"1.2.3.4\""}, "04030201"},
    {"IPv6", {"\"1.2.3.4\""}, "00000000000000000000ffff01020304"},
    {"FixedString(3)", {"\"a\""}, "610000"},
    {"Enum16('a' = -2, 'b' = 1000)", {"\"a\"", "1000"}, "feff e803"},
    {"Nested(a UInt8, b String)",
     {"[{\"a\":1,\"b\":\"x\"},{\"b\":\"y\"}]"},
     "0200000000000000 0100 0178 0179"},
    {"SimpleAggregateFunction(max, Nullable(UInt8))", {"null", "7"}, "0100 0007"},
};

static const char *without_spaces(const char *s, char *out)
{
    char *p = out;
    for (; *s != '\0'; s++)
        if (*s != ' ')
            *p++ = *s;
    *p = '\0';
    return out;
}

static void test_vector(const struct vector *v)
{
    char column[256], record[1024], got[4096], want[4096];
    struct fixture *f = malloc(sizeof(*f));
    struct buf out;
    buf_init(&out, SIZE_MAX);
    (void)snprintf(column, sizeof(column), "v %s", v->type);
    bool good = fixture_init(f, "UTC", (const char *const[]){column, NULL});
    for (int i = 0; good && i < 5 && v->values[i] != NULL; i++) {
        (void)snprintf(record, sizeof(record), "{\"v\":%s}", v->values[i]);
        good = fixture_add(f, record) == 0;
    }
    if (ok(good, "%s: rows are taken", v->type)) {
        good = ch_block_write(f->block, false, &out) == 0;
        size_t head = 1 + 1 + 1 + strlen(v->type); /* name, length and type text */
        if (strlen(v->type) >= 128)
            head++;
        is_str(hex_of(out.ptr + head, out.len - head, got, sizeof(got)),
               without_spaces(v->hex, want), v->type);
    }
    buf_fini(&out);
    fixture_fini(f);
    free(f);
}

/* k UInt32 = 7, s String = "hi": as in the Data packet of §12, behind its counts. */
static void test_block_form(void)
{
    struct fixture *f = malloc(sizeof(*f));
    struct buf out;
    char hex[512];
    buf_init(&out, SIZE_MAX);
    ok(fixture_init(f, "UTC", (const char *const[]){"k UInt32", "s String", NULL}), "a block");
    ok(ch_block_write(f->block, true, &out) == 0, "a block without rows is written");
    is_str(hex_of(out.ptr, out.len, hex, sizeof(hex)), "016b0655496e74333200017306537472696e6700",
           "no rows, no data");
    buf_reset(&out);
    is_u64(fixture_add(f, "{\"k\":7,\"s\":\"hi\"}"), 0, "a row");
    ok(ch_block_write(f->block, true, &out) == 0, "written");
    is_str(hex_of(out.ptr, out.len, hex, sizeof(hex)),
           "016b0655496e7433320007000000017306537472696e6700026869", "with custom bytes");
    buf_reset(&out);
    ok(ch_block_write(f->block, false, &out) == 0, "written");
    is_str(hex_of(out.ptr, out.len, hex, sizeof(hex)),
           "016b0655496e74333207000000017306537472696e67026869", "without");
    buf_fini(&out);
    fixture_fini(f);
    free(f);
}

/* ---- rows taken back */

static void test_refused_row(void)
{
    struct fixture *f = malloc(sizeof(*f));
    struct buf before, after;
    buf_init(&before, SIZE_MAX);
    buf_init(&after, SIZE_MAX);
    ok(fixture_init(f, "UTC",
                    (const char *const[]){"s String", "l LowCardinality(String)",
                                          "a Array(Array(String))", "m Map(String, Nullable(Int8))",
                                          "n Nullable(Float64)", "t Tuple(x UInt8, y String)",
                                          "z UInt8", NULL}),
       "a block of many kinds");
    const char *good = "{\"s\":\"one\",\"l\":\"x\",\"a\":[[\"p\"],[]],\"m\":{\"k\":null},\"n\":1.5,"
                       "\"t\":{\"x\":1,\"y\":\"q\"},\"z\":1}";
    const char *bad = "{\"s\":\"two\",\"l\":\"new\",\"a\":[[\"r\",\"s\"],[\"t\"]],\"m\":{\"k\":1,"
                      "\"j\":2},\"n\":null,\"t\":{\"x\":2,\"y\":\"w\"},\"z\":\"bad\"}";
    is_u64(fixture_add(f, good), 0, "a good row");
    uint64_t bytes = ch_block_bytes(f->block);
    ok(ch_block_write(f->block, false, &before) == 0, "written before");
    is_u64(fixture_add(f, bad), 27, "a row whose last value is bad");
    is_u64(ch_block_rows(f->block), 1, "no row more");
    is_u64(ch_block_bytes(f->block), bytes, "no byte more");
    ok(ch_block_write(f->block, false, &after) == 0, "written after");
    is_mem(after.ptr, after.len, before.ptr, before.len, "the same block");
    is_u64(fixture_add(f, "{\"l\":\"new\"}"), 0,
           "a dictionary entry that was taken back comes again");
    is_u64(fixture_add(f, good), 0, "and so does an old one");
    ch_block_reset(f->block);
    is_u64(ch_block_rows(f->block), 0, "reset");
    is_u64(fixture_add(f, good), 0, "a good row again");
    buf_reset(&after);
    ok(ch_block_write(f->block, false, &after) == 0, "written after reset");
    is_mem(after.ptr, after.len, before.ptr, before.len, "the same block again");
    buf_fini(&before);
    buf_fini(&after);
    fixture_fini(f);
    free(f);
}

/* Enough refused rows with new dictionary entries to make the table grow in between. */
static void test_dictionary_growth(void)
{
    struct fixture *f = malloc(sizeof(*f));
    char record[256], got[64];
    bool good = true;
    ok(fixture_init(f, "UTC", (const char *const[]){"l LowCardinality(String)", "z UInt8", NULL}),
       "a block");
    for (int i = 0; i < 70000; i++) {
        (void)snprintf(record, sizeof(record), "{\"l\":\"value %d\",\"z\":%s}", i,
                       i % 3 == 0 ? "[]" : "1");
        good = good && fixture_add(f, record) == (i % 3 == 0 ? 27 : 0);
    }
    ok(good, "70000 rows, each third one refused");
    struct buf out;
    buf_init(&out, SIZE_MAX);
    ok(ch_block_write(f->block, false, &out) == 0, "written");
    size_t head = 2 + 1 + strlen("LowCardinality(String)") + 8;
    is_str(hex_of(out.ptr + head, 16, got, sizeof(got)), "01060000000000004bb6000000000000",
           "two-byte places, 46666 entries and the default");
    buf_fini(&out);
    fixture_fini(f);
    free(f);
}

/* A block that has been filled once takes as much again without more memory. */
static void test_steady_state(void)
{
    struct fixture *f = malloc(sizeof(*f));
    size_t used[3];
    char record[256];
    bool good = fixture_init(f, "UTC",
                             (const char *const[]){"s String", "l LowCardinality(String)",
                                                   "a Array(Nullable(UInt16))", NULL});
    for (int pass = 0; pass < 3; pass++) {
        ch_block_reset(f->block);
        for (int i = 0; i < 5000; i++) {
            (void)snprintf(record, sizeof(record),
                           "{\"s\":\"row\\t%d\",\"l\":\"v%d\",\"\\u0061\":[%d,null]}", i, i % 700,
                           i);
            good = good && fixture_add(f, record) == 0;
        }
        used[pass] = mallinfo2().uordblks;
    }
    ok(good, "three times 5000 rows");
    is_u64(used[1], used[0], "no more memory the second time");
    is_u64(used[2], used[0], "nor the third");
    fixture_fini(f);
    free(f);
}

/* ---- keys */

static void test_keys(void)
{
    struct fixture *f = malloc(sizeof(*f));
    struct ch_value_error e;
    struct json_doc doc;
    ok(fixture_init(f, "UTC",
                    (const char *const[]){"a UInt8", "b String", "c\"d UInt8",
                                          "e Enum8('x' = 3, 'y' = -4)", NULL}),
       "a block");
    is_u64(fixture_add(f, "{\"b\":\"x\",\"a\":1}"), 0, "keys in another order");
    is_u64(fixture_add(f, "{\"c\\\"d\":1,\"\\u0062\":\"x\"}"), 0, "keys with escapes");
    is_u64(fixture_add(f, "{}"), 0, "no keys");
    is_u64(fixture_add(f, "{\"a\":1,\"a\":2}"), 117, "a repeated key");
    is_u64(fixture_add(f, "{\"a\":1,\"\\u0061\":2}"), 117, "a repeated key in disguise");
    is_u64(fixture_add(f, "{\"A\":1}"), 117, "an unknown key");
    is_u64(ch_block_rows(f->block), 3, "three rows");
    ok(fixture_parse(f, "{\"a\":300,\"b\":\"\\ud83d\"}", &doc) == 0, "parsed");
    ok(ch_block_add(f->block, &doc, &e) == WH_ESYNTAX && e.code == 25, "refused");
    is_str(e.column, "b", "the error names the column");
    is_str(e.text, "cannot read \"\\ud83d\" as String: a surrogate of a \\u escape stands alone",
           "and the value");
    struct buf out;
    char hex[64];
    buf_init(&out, SIZE_MAX);
    ok(ch_block_write(f->block, false, &out) == 0, "written");
    is_str(hex_of(out.ptr + out.len - 3, 3, hex, sizeof(hex)), "fcfcfc",
           "an omitted Enum is its least value");
    buf_fini(&out);
    fixture_fini(f);
    free(f);
}

static uint64_t row_bits(struct fixture *f, const char *record)
{
    struct json_doc doc;
    struct ch_value_error e;
    uint64_t bits = 0;
    if (fixture_parse(f, record, &doc) != 0)
        return UINT64_MAX;
    return ch_row_columns(f->table, &doc, &bits, &e) == 0 ? bits : UINT64_MAX - (uint64_t)e.code;
}

static void test_row_columns(void)
{
    struct fixture *f = malloc(sizeof(*f));
    ok(fixture_init(f, "UTC",
                    (const char *const[]){"a UInt8 DEFAULT 7", "b Nullable(UInt8) DEFAULT 8",
                                          "c UInt8", "n.x Array(UInt8)", "n.y Array(UInt8)", NULL}),
       "a block");
    is_u64(row_bits(f, "{}"), 0, "no columns");
    is_u64(row_bits(f, "{\"c\":1,\"a\":2}"), 5, "those with a value");
    is_u64(row_bits(f, "{\"a\":null,\"b\":null,\"c\":null}"), 6,
           "null asks for the DEFAULT unless NULL is a value");
    is_u64(row_bits(f, "{\"n.x\":[1]}"), 0x18, "a Nested travels as a whole");
    is_u64(row_bits(f, "{\"d\":1}"), UINT64_MAX - 117, "unknown");
    is_u64(fixture_add(f, "{\"n.x\":[1,2],\"n.y\":[3]}"), 190, "unequal arrays of a Nested");
    is_u64(fixture_add(f, "{\"n.x\":[1,2]}"), 190, "one of them omitted");
    is_u64(fixture_add(f, "{\"n.x\":[1,2],\"n.y\":[3,4]}"), 0, "equal ones");
    fixture_fini(f);
    free(f);
}

/* A block without a: what its group of rows leaves to ClickHouse's DEFAULT. */
static void test_null_for_default(void)
{
    struct fixture *f = malloc(sizeof(*f));
    static const uint32_t only_b[] = {1};
    ok(fixture_init(f, "UTC",
                    (const char *const[]){"a UInt8 DEFAULT 7", "b Nullable(UInt8) DEFAULT 8",
                                          "c UInt8", NULL}),
       "a table with DEFAULTs");
    ch_block_free(f->block);
    f->block = ch_block_new(f->table, only_b, 1, SLICE_LIT("UTC"));
    is_u64(fixture_add(f, "{\"a\":null,\"b\":1}"), 0,
           "a null that asks for the DEFAULT is no value");
    is_u64(fixture_add(f, "{\"b\":null,\"a\":null}"), 0, "in any place");
    is_u64(fixture_add(f, "{\"c\":null,\"b\":1}"), 117, "a column without DEFAULT is not left out");
    is_u64(ch_block_rows(f->block), 2, "two rows");
    fixture_fini(f);
    free(f);
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* A record of mostly all keys of the table below: left out, moved, repeated and unknown ones, good
 * and bad values. */
static void random_record(uint64_t *seed, char *out, size_t cap)
{
    static const char *const keys[] = {"a", "b", "c", "l", "n.x", "n.y", "s", "z"};
    static const char *const values[][4] = {
        {"1", "\"7\"", "null", "\"x\""},         {"5", "6", "null", "[1]"},
        {"\"v\"", "null", "null", "17"},         {"\"p\"", "\"q\"", "\"\"", "null"},
        {"[1,2]", "[3,4]", "[]", "[5]"},         {"[1,2]", "[3,4]", "[]", "[\"x\"]"},
        {"\"t\"", "\"\\u0041\"", "null", "1.5"}, {"1", "2", "3", "4"}};
    size_t at = (size_t)snprintf(out, cap, "{");
    uint32_t shift = next_random(seed) % 8 == 0 ? (uint32_t)next_random(seed) % 7 : 0;
    uint32_t lucky = (uint32_t)next_random(seed) % 2;
    for (uint32_t i = 0; i < 7; i++) {
        uint32_t k = (i + shift) % 7;
        if (lucky == 0 && next_random(seed) % 16 == 0)
            k = (uint32_t)next_random(seed) % 8;
        uint32_t v = lucky != 0 ? 0 : (uint32_t)next_random(seed) % 64 % 7 % 4;
        if (lucky == 0 && next_random(seed) % 32 == 0)
            continue;
        at += (size_t)snprintf(out + at, cap - at, "%s\"%s\":%s", at > 1 ? "," : "", keys[k],
                               values[k][v]);
    }
    (void)snprintf(out + at, cap - at, "}");
}

/* ch_block_try_add does what ch_row_columns and ch_block_add do for a record of the block's
 * columns, and nothing for any other. */
static void test_try_add(void)
{
    enum {
        RECORDS = 20000
    };
    static const char *const columns[] = {"a UInt8",
                                          "b UInt8 DEFAULT 9",
                                          "c Nullable(String) DEFAULT 'x'",
                                          "l LowCardinality(String)",
                                          "n.x Array(UInt8)",
                                          "n.y Array(UInt8)",
                                          "s String",
                                          NULL};
    static const uint32_t all[] = {0, 1, 2, 3, 4, 5, 6}, part[] = {0, 4};
    struct fixture *f = malloc(sizeof(*f));
    ok(fixture_init(f, "UTC", columns), "a table");
    struct ch_block *fused = ch_block_new(f->table, all, 7, SLICE_LIT("UTC"));
    uint64_t seed = 88172645463325252u;
    uint32_t taken = 0, other = 0, wrong = 0;
    for (uint32_t i = 0; i < RECORDS; i++) {
        char record[512];
        struct json_doc doc;
        struct ch_value_error e;
        uint64_t bits = 0;
        random_record(&seed, record, sizeof(record));
        bool want = fixture_parse(f, record, &doc) == 0 &&
                    ch_row_columns(f->table, &doc, &bits, &e) == 0 && bits == 0x7f &&
                    doc.nodes[0].count == 7 && ch_block_add(f->block, &doc, &e) == 0;
        taken += want;
        other += !want;
        if (ch_block_try_add(fused, &doc) != want && wrong++ < 3)
            printf("# record %u: %s\n", i, record);
    }
    ok(wrong == 0 && taken > RECORDS / 4 && other > RECORDS / 8,
       "the same records are taken, %u of %u", taken, RECORDS);
    struct buf one, two;
    buf_init(&one, SIZE_MAX);
    buf_init(&two, SIZE_MAX);
    ok(ch_block_write(f->block, true, &one) == 0 && ch_block_write(fused, true, &two) == 0 &&
           one.len == two.len && memcmp(one.ptr, two.ptr, one.len) == 0,
       "the blocks are equal");
    buf_fini(&one);
    buf_fini(&two);
    ch_block_free(fused);

    struct json_doc doc;
    fused = ch_block_new(f->table, part, 2, SLICE_LIT("UTC"));
    ok(fixture_parse(f, "{\"a\":1,\"n.x\":[1]}", &doc) == 0 && !ch_block_try_add(fused, &doc) &&
           ch_block_rows(fused) == 0,
       "a block with half a Nested is nobody's");
    ch_block_free(fused);
    fixture_fini(f);
    free(f);
}

static void test_new_failures(void)
{
    struct fixture *f = malloc(sizeof(*f));
    ok(!fixture_init(f, "Nowhere/Land", (const char *const[]){"a DateTime", NULL}),
       "an unknown server time zone");
    fixture_fini(f);
    ok(!fixture_init(f, "UTC", (const char *const[]){"a DateTime('Nowhere/Land')", NULL}),
       "an unknown column time zone");
    fixture_fini(f);
    ok(!fixture_init(f, "UTC", (const char *const[]){"a JSON", NULL}), "a type that is not native");
    fixture_fini(f);
    free(f);
}

int main(void)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        test_vector(&vectors[i]);
    test_block_form();
    test_refused_row();
    test_dictionary_growth();
    test_steady_state();
    test_keys();
    test_row_columns();
    test_null_for_default();
    test_try_add();
    test_new_failures();
    return tap_done();
}
