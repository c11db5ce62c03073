/* SPDX-License-Identifier: Apache-2.0 */
/* Coercion equals ClickHouse: the same JSON values through ClickHouse's own JSONEachRow reader into
 * one table and through the column encoder, as a native block, into another; then the tables are
 * compared cell by cell, byte by byte. A value must be refused by both or by none.
 *
 * usage: coercion_diff [SEED [CASES_PER_TYPE [TYPE…]]]
 *        coercion_diff --print [SEED [CASES_PER_TYPE [TYPE…]]]
 * --print: only print the cases, for coercion.py: per type a JSON line with title, columns and the
 * number of cases, then a line for each case.
 * environment: WH_CH26_HTTP, the HTTP port on loopback of a ClickHouse 26 server; without it every
 * test is skipped. The tables coercion_direct and coercion_native are made and dropped. Prints TAP:
 * one test per table, at the end the number of value cases. */
#include "base/limits.h"
#include "clickhouse/columns.h"
#include "schema/record.h"
#include "tests/e2e/coercion.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

#define SETTINGS                                                                       \
    " SETTINGS input_format_null_as_default=1, date_time_input_format='best_effort', " \
    "async_insert=0, input_format_parallel_parsing=0, max_insert_block_size=10000000"
#define DIRECT "INSERT INTO coercion_direct" SETTINGS " FORMAT JSONEachRow"
#define NATIVE "INSERT INTO coercion_native SETTINGS async_insert=0 FORMAT Native"
#define MAKE_SETTINGS \
    " SETTINGS allow_suspicious_low_cardinality_types=1, allow_experimental_bfloat16_type=1"

enum {
    CASES_DEFAULT = 400,
    COLUMNS_MAX = 8,
    SHOWN_MAX = 12,
    PADDING = 400
};

struct layout {
    const char *title;
    const char *names[COLUMNS_MAX]; /* NULL: one column v of type `title` */
    const char *types[COLUMNS_MAX];
};

static const struct layout layouts[] = {
    {.title = "UInt8"},
    {.title = "UInt16"},
    {.title = "UInt32"},
    {.title = "UInt64"},
    {.title = "UInt128"},
    {.title = "UInt256"},
    {.title = "Int8"},
    {.title = "Int16"},
    {.title = "Int32"},
    {.title = "Int64"},
    {.title = "Int128"},
    {.title = "Int256"},
    {.title = "Float32"},
    {.title = "Float64"},
    {.title = "BFloat16"},
    {.title = "Bool"},
    {.title = "String"},
    {.title = "FixedString(5)"},
    {.title = "UUID"},
    {.title = "IPv4"},
    {.title = "IPv6"},
    {.title = "Date"},
    {.title = "Date32"},
    {.title = "DateTime"},
    {.title = "DateTime('UTC')"},
    {.title = "DateTime('America/New_York')"},
    {.title = "DateTime('Asia/Kolkata')"},
    {.title = "DateTime64(3)"},
    {.title = "DateTime64(0, 'UTC')"},
    {.title = "DateTime64(6, 'Europe/Berlin')"},
    {.title = "DateTime64(9, 'UTC')"},
    {.title = "DateTime64(3, 'America/New_York')"},
    {.title = "DateTime64(3, 'America/Sao_Paulo')"},
    {.title = "DateTime64(2, 'Pacific/Apia')"},
    {.title = "DateTime64(0, 'Australia/Lord_Howe')"},
    {.title = "DateTime64(3, 'Europe/Amsterdam')"},
    {.title = "Decimal(5, 2)"},
    {.title = "Decimal(9, 0)"},
    {.title = "Decimal(9, 9)"},
    {.title = "Decimal(18, 6)"},
    {.title = "Decimal(38, 10)"},
    {.title = "Decimal(76, 20)"},
    {.title = "Decimal(76, 76)"},
    {.title = "Enum8('a' = 1, 'b' = -2, '5' = 3, '' = 7)"},
    {.title = "Enum8('zero' = 0, 'min' = -128, 'max' = 127)"},
    {.title = "Enum16('x' = 1000, 'é\"' = -2000, 'c' = 0)"},
    {.title = "Nullable(Int32)"},
    {.title = "Nullable(String)"},
    {.title = "Nullable(Float64)"},
    {.title = "Nullable(DateTime('UTC'))"},
    {.title = "Nullable(Decimal(10, 3))"},
    {.title = "Nullable(Enum8('a' = 1, 'b' = 2))"},
    {.title = "Nullable(UUID)"},
    {.title = "LowCardinality(String)"},
    {.title = "LowCardinality(Nullable(String))"},
    {.title = "LowCardinality(FixedString(3))"},
    {.title = "LowCardinality(UInt16)"},
    {.title = "LowCardinality(Nullable(Int64))"},
    {.title = "LowCardinality(Date)"},
    {.title = "LowCardinality(Nullable(DateTime('UTC')))"},
    {.title = "Array(UInt8)"},
    {.title = "Array(String)"},
    {.title = "Array(Nullable(Int32))"},
    {.title = "Array(LowCardinality(String))"},
    {.title = "Array(LowCardinality(Nullable(String)))"},
    {.title = "Array(Array(Float64))"},
    {.title = "Array(Array(Array(UInt16)))"},
    {.title = "Array(Date)"},
    {.title = "Array(Bool)"},
    {.title = "Array(Enum8('a' = 0, 'b' = 1))"},
    {.title = "Tuple(UInt8, String)"},
    {.title = "Tuple(a UInt8, b Nullable(String), c Array(Int16))"},
    {.title = "Tuple(a Tuple(x Float64, y Float64), b LowCardinality(String))"},
    {.title = "Array(Tuple(k String, v Decimal(9, 2)))"},
    {.title = "Map(String, UInt64)"},
    {.title = "Map(String, String)"},
    {.title = "Map(UInt8, String)"},
    {.title = "Map(Date, Float64)"},
    {.title = "Map(UUID, UInt8)"},
    {.title = "Map(IPv4, UInt8)"},
    {.title = "Map(LowCardinality(String), Array(Nullable(UInt8)))"},
    {.title = "Map(String, Nullable(DateTime('UTC')))"},
    {.title = "Map(Enum8('a' = 0, 'b' = 1), Tuple(x UInt8))"},
    {.title = "SimpleAggregateFunction(sum, UInt64)"},
    {.title = "SimpleAggregateFunction(max, Nullable(DateTime('UTC')))"},
    {.title = "Nested",
     .names = {"n.a", "n.b", "n.c"},
     .types = {"Array(UInt8)", "Array(Nullable(String))", "Array(LowCardinality(String))"}},
    {.title = "several columns, some omitted",
     .names = {"a", "b c", "c\"d", "e", "f", "g"},
     .types = {"UInt8", "Nullable(String)", "String", "Enum8('y' = 5, 'x' = -1)",
               "LowCardinality(Nullable(String))", "Map(String, Array(Int8))"}},
};

/* ---- one table under test */

struct value_case {
    size_t off, len; /* of its record in the text, newline included */
    int ours;        /* 0 or the code */
    int theirs;
    bool mutated; /* not JSON: left out */
};

struct run {
    struct http http;
    struct json_reader *reader;
    struct gen gen;
    struct record_checker *checker;
    struct schema_catalog *catalog;
    const struct schema_table *table; /* id, then the columns */
    struct ch_block *block;
    struct buf text;
    struct value_case *cases;
    uint32_t case_count;
    uint64_t total, refused, code_differs;
    uint32_t shown;
};

static struct slice case_text(const struct run *r, const struct value_case *c)
{
    return (struct slice){r->text.ptr + c->off, c->len};
}

static void bail(const char *what, const char *detail)
{
    printf("Bail out! %s: %.300s\n", what, detail);
    exit(1);
}

static void must(struct run *r, const char *sql)
{
    if (http_query(&r->http, sql, SLICE_LIT("")) == 0)
        return;
    buf_put_u8(&r->http.body, 0);
    bail(sql, r->http.body.ptr);
}

static const char *layout_name(const struct layout *l, int i)
{
    return l->names[0] == NULL ? (i == 0 ? "v" : NULL) : l->names[i];
}

static const char *layout_type(const struct layout *l, int i)
{
    return l->names[0] == NULL ? l->title : l->types[i];
}

/* Column names in backquotes, JSON keys for quotes in them left to buf_put_json_string. */
static void make_tables(struct run *r, const struct layout *l)
{
    static const char *const tables[] = {"coercion_direct", "coercion_native"};
    for (int t = 0; t < 2; t++) {
        struct buf sql;
        char drop[64];
        buf_init(&sql, SIZE_MAX);
        (void)snprintf(drop, sizeof(drop), "DROP TABLE IF EXISTS %s", tables[t]);
        must(r, drop);
        buf_printf(&sql, "CREATE TABLE %s (id UInt32", tables[t]);
        for (int i = 0; i < COLUMNS_MAX && layout_name(l, i) != NULL; i++)
            buf_printf(&sql, ", `%s` %s", layout_name(l, i), layout_type(l, i));
        buf_put_str(&sql, ") ENGINE = Memory" MAKE_SETTINGS);
        buf_put_u8(&sql, 0);
        must(r, sql.ptr);
        buf_fini(&sql);
    }
}

static void make_schema(struct run *r, const struct layout *l, struct slice timezone)
{
    struct schema_builder *b = schema_builder_new();
    const struct slice none = SLICE_LIT("");
    struct err e;
    schema_builder_server(b, SLICE_LIT("26.7"), timezone);
    int rc = schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("Memory"), 0);
    if (rc == 0)
        rc = schema_builder_column(b, SLICE_LIT("id"), SLICE_LIT("UInt32"), none, none);
    for (int i = 0; rc == 0 && i < COLUMNS_MAX && layout_name(l, i) != NULL; i++)
        rc = schema_builder_column(b, slice_str(layout_name(l, i)), slice_str(layout_type(l, i)),
                                   none, none);
    if (rc != 0)
        bail("schema", l->title);
    r->catalog = schema_builder_finish(b, &e);
    schema_builder_free(b);
    r->table = r->catalog == NULL ? NULL : schema_catalog_find(r->catalog, SLICE_LIT("t"));
    if (r->table == NULL)
        bail("no table for", l->title);
    uint32_t ordinals[COLUMNS_MAX + 1];
    for (uint32_t i = 0; i < r->table->column_count; i++)
        ordinals[i] = i;
    r->block = ch_block_new(r->table, ordinals, r->table->column_count, timezone);
    if (r->block == NULL)
        bail("no block for", l->title);
}

/* ---- cases */

static void put_record(struct run *r, uint32_t number)
{
    buf_printf(&r->text, "{\"id\":%u", number + 1);
    bool only = r->table->column_count == 2;
    for (uint32_t i = 1; i < r->table->column_count; i++) {
        const struct schema_column *c = &r->table->columns[i];
        if (!only && gen_below(&r->gen, 5) == 0)
            continue;
        buf_put_u8(&r->text, ',');
        buf_put_json_string(&r->text, c->name);
        buf_put_u8(&r->text, ':');
        /* With several columns each is mostly good, or hardly any row would be. */
        gen_value(&r->gen, c->type, only ? number : 100000, &r->text);
    }
    buf_put_str(&r->text, "}\n");
}

static void put_records(struct run *r, uint32_t count)
{
    buf_reset(&r->text);
    r->cases = calloc(count, sizeof(*r->cases));
    r->case_count = count;
    for (uint32_t i = 0; i < count; i++) {
        r->cases[i].off = r->text.len;
        put_record(r, i);
        r->cases[i].len = r->text.len - r->cases[i].off;
    }
    if (buf_reserve(&r->text, LIMIT_JSON_PADDING) != 0)
        bail("memory", "");
}

/* text: LIMIT_JSON_PADDING bytes may be read behind it. The code, or -1 when it is no JSON. */
static int encode(struct run *r, struct slice text)
{
    struct json_doc doc;
    struct ch_value_error e = {.code = 0};
    if (json_reader_begin(r->reader, text.ptr, text.len, JSON_LINES) != 0 ||
        json_reader_next(r->reader, &doc) != 0)
        return -1;
    uint64_t bytes = ch_block_bytes(r->block), rows = ch_block_rows(r->block);
    int rc = ch_block_add(r->block, &doc, &e);
    if (rc == 0)
        return 0;
    if (rc != WH_ESYNTAX || ch_block_bytes(r->block) != bytes || ch_block_rows(r->block) != rows)
        bail("a refused row changed the block", e.text);
    return e.code;
}

static void make_cases(struct run *r, uint32_t count)
{
    put_records(r, count);
    for (uint32_t i = 0; i < count; i++) {
        r->cases[i].ours = encode(r, case_text(r, &r->cases[i]));
        r->cases[i].mutated = r->cases[i].ours < 0;
        r->total += !r->cases[i].mutated;
        r->refused += r->cases[i].ours > 0;
    }
}

/* ---- ClickHouse's side */

/* Blank lines follow: with little text behind a number ClickHouse reads it by another, laxer
 * routine. */
static int insert_direct(struct run *r, struct buf *body)
{
    for (int i = 0; i < PADDING; i++)
        buf_put_u8(body, '\n');
    return http_query(&r->http, DIRECT, buf_slice(body));
}

static void insert_refused(struct run *r)
{
    struct buf body;
    buf_init(&body, SIZE_MAX);
    for (uint32_t i = 0; i < r->case_count; i++) {
        struct value_case *c = &r->cases[i];
        if (c->ours <= 0)
            continue;
        buf_reset(&body);
        buf_put_slice(&body, case_text(r, c));
        c->theirs = insert_direct(r, &body);
        if (c->theirs < 0)
            bail("no answer from ClickHouse", "");
    }
    buf_fini(&body);
}

/* Which row a message is about, from 1; 0 when it does not say. */
static uint32_t row_of_message(struct run *r)
{
    buf_put_u8(&r->http.body, 0);
    const char *at = strstr(r->http.body.ptr, "(at row ");
    return at == NULL ? 0 : (uint32_t)strtoul(at + 8, NULL, 10);
}

/* All rows we take, in one request; a row that ClickHouse refuses is left out of the next try. */
static void insert_accepted(struct run *r)
{
    struct buf body;
    buf_init(&body, SIZE_MAX);
    for (;;) {
        buf_reset(&body);
        for (uint32_t i = 0; i < r->case_count; i++)
            if (r->cases[i].ours == 0 && r->cases[i].theirs == 0)
                buf_put_slice(&body, case_text(r, &r->cases[i]));
        int code = body.len == 0 ? 0 : insert_direct(r, &body);
        if (code == 0)
            break;
        uint32_t row = code < 0 ? 0 : row_of_message(r);
        if (row == 0)
            bail("direct insert", r->http.body.ptr);
        for (uint32_t i = 0; i < r->case_count; i++)
            if (r->cases[i].ours == 0 && r->cases[i].theirs == 0 && --row == 0) {
                r->cases[i].theirs = code;
                break;
            }
    }
    buf_fini(&body);
}

static bool insert_native(struct run *r)
{
    struct buf body;
    uint64_t rows = ch_block_rows(r->block);
    buf_init(&body, SIZE_MAX);
    for (uint64_t v = r->table->column_count; v > 0; v = 0)
        buf_put_u8(&body, (uint8_t)v);
    for (uint64_t v = rows; v > 0; v >>= 7)
        buf_put_u8(&body, (uint8_t)(v < 0x80 ? v : v | 0x80));
    int rc = rows == 0 ? 0 : ch_block_write(r->block, false, &body);
    if (rc == 0 && rows > 0)
        rc = http_query(&r->http, NATIVE, buf_slice(&body));
    buf_fini(&body);
    if (rc != 0) {
        buf_put_u8(&r->http.body, 0);
        printf("# native insert: %d %.300s\n", rc, r->http.body.ptr);
    }
    return rc == 0;
}

/* ---- comparing */

static void show(struct run *r, const struct value_case *c, const char *what)
{
    if (r->shown++ >= SHOWN_MAX)
        return;
    struct slice s = case_text(r, c);
    printf("# %s: ours %d theirs %d: %.*s", what, c->ours, c->theirs,
           (int)(s.len > 300 ? 300 : s.len), s.ptr);
    if (s.len > 300)
        printf("\n");
}

static uint32_t compare_refusals(struct run *r)
{
    uint32_t wrong = 0;
    for (uint32_t i = 0; i < r->case_count; i++) {
        const struct value_case *c = &r->cases[i];
        if (c->mutated)
            continue;
        if ((c->ours == 0) != (c->theirs == 0)) {
            show(r, c, "refusal differs");
            wrong++;
        } else if (c->ours != c->theirs) {
            r->code_differs++;
            if (getenv("WH_SHOW_CODES") != NULL)
                show(r, c, "code differs");
        }
    }
    return wrong;
}

static void put_comparison(struct run *r, struct buf *sql)
{
    buf_put_str(sql, "SELECT if(d.id = 0, n.id, d.id)");
    for (int side = 0; side < 2; side++)
        for (uint32_t i = 1; i < r->table->column_count; i++)
            buf_printf(sql, ", formatRowNoNewline('JSONCompactEachRow', %c.`%.*s`)", "dn"[side],
                       SLICE_ARG(r->table->columns[i].name));
    buf_put_str(sql, " FROM coercion_direct d FULL JOIN coercion_native n ON d.id = n.id"
                     " WHERE d.id = 0 OR n.id = 0");
    for (uint32_t i = 1; i < r->table->column_count; i++)
        buf_printf(sql, " OR formatRow('RowBinary', d.`%.*s`) != formatRow('RowBinary', n.`%.*s`)",
                   SLICE_ARG(r->table->columns[i].name), SLICE_ARG(r->table->columns[i].name));
    buf_put_str(sql, " ORDER BY 1 FORMAT TSV");
    buf_put_u8(sql, 0);
}

static uint32_t compare_cells(struct run *r)
{
    struct buf sql;
    uint32_t wrong = 0;
    buf_init(&sql, SIZE_MAX);
    put_comparison(r, &sql);
    int rc = http_query(&r->http, sql.ptr, SLICE_LIT(""));
    buf_fini(&sql);
    buf_put_u8(&r->http.body, 0);
    if (rc != 0) {
        printf("# comparison: %d %.300s\n", rc, r->http.body.ptr);
        return 1;
    }
    for (char *line = r->http.body.ptr, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        uint32_t id = (uint32_t)strtoul(line, NULL, 10);
        *end = '\0';
        if (id == 0 || id > r->case_count ||
            (r->cases[id - 1].ours == 0) != (r->cases[id - 1].theirs == 0))
            continue; /* told already */
        show(r, &r->cases[id - 1], "cell differs");
        if (r->shown <= SHOWN_MAX)
            printf("#   direct, native: %.300s\n", line);
        wrong++;
    }
    return wrong;
}

/* ---- the canonical form */

static bool has_times(const struct schema_table *t)
{
    for (uint32_t i = 0; i < t->column_count; i++)
        if (t->columns[i].peeled->kind == CH_DATETIME ||
            t->columns[i].peeled->kind == CH_DATETIME64)
            return true;
    return false;
}

/* Into out, with room for the reader behind it; false when the record has no canonical form. The
 * canonical form is exact where ClickHouse's table of days is not, as on the day that Amsterdam
 * gave up its 20 minutes; and it takes fractions of any length. */
static bool canonical(struct run *r, const struct value_case *c, struct slice timezone,
                      struct buf *out)
{
    static const struct record_options options = {.ignore_unknown = true};
    struct json_doc doc;
    struct record_result result;
    struct slice text = case_text(r, c);
    buf_reset(out);
    if (memmem(text.ptr, text.len, "1937-07-01", 10) != NULL)
        return false;
    return json_reader_begin(r->reader, text.ptr, text.len, JSON_LINES) == 0 &&
           json_reader_next(r->reader, &doc) == 0 &&
           record_check(r->checker, r->table, timezone, &options, &doc, 0, out, &result) == 0 &&
           buf_reserve(out, LIMIT_JSON_PADDING) == 0;
}

static void test_canonical(struct run *r, const struct layout *l, struct slice timezone)
{
    struct buf out;
    uint32_t wrong = 0, count = 0, laxer = 0;
    buf_init(&out, SIZE_MAX);
    must(r, "TRUNCATE TABLE coercion_native");
    ch_block_reset(r->block);
    for (uint32_t i = 0; i < r->case_count; i++) {
        struct value_case *c = &r->cases[i];
        if (c->mutated || !canonical(r, c, timezone, &out))
            continue;
        c->ours = encode(r, buf_slice(&out));
        count++;
        if (c->ours != 0 && c->theirs == 0) {
            show(r, c, "the canonical form is refused");
            wrong++;
        }
        laxer += c->ours == 0 && c->theirs != 0;
    }
    /* Rows without a canonical form are not in this table: they do not count as different. */
    bool native = insert_native(r);
    must(r, "ALTER TABLE coercion_direct DELETE WHERE id NOT IN (SELECT id FROM coercion_native)"
            " SETTINGS mutations_sync = 2");
    uint32_t cells = native ? compare_cells(r) : 0;
    ok(native && wrong == 0 && cells == 0,
       "%s: %u values in canonical form, %u of them taken that ClickHouse refuses", l->title, count,
       laxer);
    buf_fini(&out);
}

static void free_layout(struct run *r)
{
    ch_block_free(r->block);
    schema_catalog_unref(r->catalog);
    free(r->cases);
}

static void test_layout(struct run *r, const struct layout *l, uint32_t count,
                        struct slice timezone)
{
    uint64_t before = r->total, refused = r->refused;
    r->shown = 0;
    make_tables(r, l);
    make_schema(r, l, timezone);
    make_cases(r, count);
    insert_accepted(r);
    insert_refused(r);
    bool native = insert_native(r);
    uint32_t refusals = compare_refusals(r), cells = native ? compare_cells(r) : 0;
    ok(native && refusals == 0 && cells == 0, "%s: %" PRIu64 " values, %" PRIu64 " of them refused",
       l->title, r->total - before, r->refused - refused);
    if (refusals + cells > 0)
        printf("# %u refusals and %u cells differ\n", refusals, cells);
    if (has_times(r->table))
        test_canonical(r, l, timezone);
    free_layout(r);
}

static bool chosen(const struct layout *l, int argc, char **argv)
{
    for (int i = 3; i < argc; i++)
        if (strcmp(argv[i], l->title) == 0)
            return true;
    return argc <= 3;
}

static void print_layout(struct run *r, const struct layout *l, uint32_t count)
{
    struct buf head;
    buf_init(&head, SIZE_MAX);
    make_schema(r, l, SLICE_LIT("UTC"));
    put_records(r, count);
    buf_put_str(&head, "{\"title\":");
    buf_put_json_string(&head, slice_str(l->title));
    buf_printf(&head, ",\"count\":%u,\"columns\":{", count);
    for (int i = 0; i < COLUMNS_MAX && layout_name(l, i) != NULL; i++) {
        buf_put_str(&head, i == 0 ? "" : ",");
        buf_put_json_string(&head, slice_str(layout_name(l, i)));
        buf_put_u8(&head, ':');
        buf_put_json_string(&head, slice_str(layout_type(l, i)));
    }
    buf_put_str(&head, "}}\n");
    (void)fwrite(head.ptr, 1, head.len, stdout);
    (void)fwrite(r->text.ptr, 1, r->text.len, stdout);
    buf_fini(&head);
    free_layout(r);
}

static int print_cases(int argc, char **argv)
{
    struct run r = {.gen = {argc > 1 ? strtoull(argv[1], NULL, 10) : 1}};
    uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : CASES_DEFAULT;
    buf_init(&r.text, SIZE_MAX);
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (chosen(&layouts[i], argc, argv))
            print_layout(&r, &layouts[i], count);
    buf_fini(&r.text);
    return fflush(stdout) != 0 || ferror(stdout) != 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--print") == 0)
        return print_cases(argc - 1, argv + 1);
    const char *port = getenv("WH_CH26_HTTP");
    if (port == NULL || *port == '\0')
        return skip_all("WH_CH26_HTTP is not set: no ClickHouse 26 server to compare with");
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint32_t count = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : CASES_DEFAULT;
    struct run r = {.gen = {seed}, .reader = json_reader_new(1 << 20)};
    r.checker = record_checker_new();
    http_init(&r.http, atoi(port));
    buf_init(&r.text, SIZE_MAX);
    must(&r, "SELECT timezone() FORMAT TSVRaw");
    char zone[64];
    int n = snprintf(zone, sizeof(zone), "%.*s", (int)r.http.body.len, r.http.body.ptr);
    struct slice timezone = {zone, (size_t)n - 1};
    printf("# seed %" PRIu64 ", %u values a type, server time zone %.*s\n", seed, count,
           SLICE_ARG(timezone));
    for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
        if (chosen(&layouts[i], argc, argv))
            test_layout(&r, &layouts[i], count, timezone);
    must(&r, "DROP TABLE IF EXISTS coercion_direct");
    must(&r, "DROP TABLE IF EXISTS coercion_native");
    printf("# %" PRIu64 " value cases compared, %" PRIu64 " refused by both, %" PRIu64
           " of these with another code\n",
           r.total, r.refused, r.code_differs);
    buf_fini(&r.text);
    json_reader_free(r.reader);
    record_checker_free(r.checker);
    http_fini(&r.http);
    return tap_done();
}
