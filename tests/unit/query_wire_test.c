/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to ClickHouse for a statement, what its failures mean, and which tables change
 * together. */
#include "base/limits.h"
#include "query/cache.h"
#include "query/depend.h"
#include "query/failure.h"
#include "query/wire.h"

#include <stdlib.h>

#include "tests/lib/tap.h"

static struct query_statement s;
static struct buf settings, sql, text;

static bool has(const struct buf *b, const char *what)
{
    return b->len > 0 && memmem(b->ptr, b->len, what, strlen(what)) != NULL;
}

static int wire(bool modern, enum query_wire w)
{
    struct query_terms terms = {.modern = modern};
    buf_reset(&settings);
    buf_reset(&sql);
    return query_wire_make(&s, &terms, w, 30000, &settings, &sql);
}

static void bind(struct slice value)
{
    uint32_t n;
    if (query_statement_bind(&s, value, &n) != 0)
        abort();
}

static void test_values(void)
{
    query_statement_reset(&s);
    buf_put_str(&s.sql,
                "SELECT `{p0:String}`, '{p0:String}', {p1:String} = {p0:String}, {p9:String}");
    bind((struct slice){"a\tb\\c\n'\0&=%", 11});
    bind(SLICE_LIT("second"));
    is_u64(wire(true, QUERY_WIRE_ROWS), 0, "made");
    ok(has(&settings, "&param_p0=a%5Ctb%5C%5Cc%5Cn%27%5C0%26%3D%25&param_p1=second&") &&
           sql.len == 0,
       "values: as TSV, then as URL");
    ok(has(&settings, "&wait_end_of_query=1") && has(&settings, "&date_time_output_format=iso") &&
           has(&settings, "&max_execution_time=30.000") &&
           memcmp(settings.ptr + settings.len - 11, "&readonly=2", 11) == 0,
       "settings of a query, readonly last");
    ok(wire(false, QUERY_WIRE_ROWS) == 0 && !has(&settings, "iso") &&
           !has(&settings, "named_tuples"),
       "an old server is not told what it does not know");

    char *large = malloc(100000);
    memset(large, 'x', 100000);
    large[0] = '\'';
    large[1] = '\\';
    query_statement_reset(&s);
    buf_put_str(&s.sql, "SELECT `a\\`{p0:String}`, 'x''{p0:String}', {p0:String}, {p1:String}");
    bind((struct slice){large, 100000});
    bind(SLICE_LIT("{p0:String}"));
    is_u64(wire(true, QUERY_WIRE_ROWS), 0, "made");
    ok(!has(&settings, "param_") && settings.len < 2000, "long values are not put into the URL");
    ok(sql.len > 100000 && sql.len < 101000 &&
           has(&sql, "SELECT `a\\`{p0:String}`, 'x''{p0:String}', '\\'\\\\xxx") &&
           has(&sql, "xxx', '{p0:String}'"),
       "but into the text, and only where a value stands");
    large[99999] = '\0';
    query_statement_reset(&s);
    for (int i = 0; i < 4; i++)
        buf_put(&s.sql, large, 99999);
    ok(wire(false, QUERY_WIRE_ROWS) == 0 && has(&settings, "&max_query_size=465532"),
       "a long text has its size allowed");
    free(large);

    query_statement_reset(&s);
    s.limits = (struct query_limits){.max_execution_ms = 1500,
                                     .max_rows_to_read = 7,
                                     .max_memory_bytes = 8,
                                     .max_result_rows = 9};
    s.is_prefer_column = true;
    ok(wire(true, QUERY_WIRE_CSV) == 0 && has(&settings, "&max_execution_time=1.500") &&
           has(&settings, "&max_rows_to_read=7&max_memory_usage=8&max_result_rows=9") &&
           has(&settings, "&prefer_column_name_to_alias=1") && !has(&settings, "wait_end"),
       "a role's limits hold in pieces, too");
    s.limits.max_execution_ms = 30000;
    ok(wire(true, QUERY_WIRE_LINES) == 0 && !has(&settings, "max_execution_time"),
       "the general one does not: its reader may be slow");
    ok(wire(false, QUERY_WIRE_LINES) == 0 && has(&settings, "wait_end_of_query=1") &&
           has(&settings, "max_execution_time=30.000"),
       "an old server has no marks for errors in the middle");
    s.limits.max_execution_ms = 1;
    ok(wire(false, QUERY_WIRE_ROWS) == 0 && has(&settings, "max_execution_time=1.000"),
       "and no parts of a second");
    s.writes = true;
    ok(wire(true, QUERY_WIRE_ROWS) == 0 && !has(&settings, "readonly"), "writing may write");
    s.writes = false;
    ok(wire(true, QUERY_WIRE_RAW_JSON) == 0 && !has(&settings, "readonly") &&
           has(&settings, "&default_format=JSON&"),
       "raw SQL may do anything");
}

static void test_guard(void)
{
    static const char body[] =
        "1,2\r\n\r\n__exception_\r\n__exception__\r\nzyx\r\n\r\n__exception__"
        "\r\nabcdefgh\r\nCode: 395. DB::Exception: boo";
    size_t clean =
        (size_t)((const char *)memmem(body, sizeof(body), "\r\n__exception__\r\nabc", 20) - body);
    uint32_t good = 0;
    for (size_t step = 1; step < sizeof(body); step++) {
        struct query_guard g;
        query_guard_init(&g, SLICE_LIT("abcdefgh"));
        buf_reset(&text);
        for (size_t i = 0; i < sizeof(body) - 1; i += step)
            query_guard_feed(&g,
                             (struct slice){body + i, sizeof(body) - 1 - i < step
                                                          ? sizeof(body) - 1 - i
                                                          : step},
                             &text);
        query_guard_finish(&g, &text);
        good += g.found && text.len == clean && memcmp(text.ptr, body, clean) == 0 &&
                query_code_in_text(buf_slice(&g.text)) == 395;
        query_guard_fini(&g);
    }
    is_u64(good, sizeof(body) - 1, "the mark is found in pieces of every length; data passes");
    uint32_t whole = 0;
    for (size_t len = 0; len < clean + 20; len++) {
        struct query_guard g;
        query_guard_init(&g, SLICE_LIT("abcdefgh"));
        buf_reset(&text);
        query_guard_feed(&g, (struct slice){body, len}, &text);
        query_guard_finish(&g, &text);
        whole += !g.found && text.len == len && memcmp(text.ptr, body, len) == 0;
        query_guard_fini(&g);
    }
    is_u64(whole, clean + 20, "half a mark at the end is data");
}

static void refusal(const char *from)
{
    buf_reset(&text);
    query_failure_text(&text, slice_str(from), &s);
}

static void test_failures(void)
{
    struct query_limits none = {0}, role = {.max_execution_ms = 1000, .max_memory_bytes = 1};
    ok(query_classify(62, &none, 30000) == QUERY_REJECTED &&
           query_classify(47, &none, 30000) == QUERY_REJECTED &&
           query_classify(396, &none, 30000) == QUERY_LIMIT_EXCEEDED &&
           query_classify(159, &none, 30000) == QUERY_UNAVAILABLE &&
           query_classify(159, &role, 30000) == QUERY_LIMIT_EXCEEDED &&
           query_classify(159, &role, 1000) == QUERY_UNAVAILABLE &&
           query_classify(241, &none, 30000) == QUERY_UNAVAILABLE &&
           query_classify(241, &role, 30000) == QUERY_LIMIT_EXCEEDED &&
           query_classify(497, &none, 30000) == QUERY_ACCESS_DENIED &&
           query_classify(516, &none, 30000) == QUERY_MISCONFIGURED &&
           query_classify(202, &none, 30000) == QUERY_UNAVAILABLE &&
           query_classify(252, &none, 30000) == QUERY_UNAVAILABLE &&
           query_classify(319, &none, 30000) == QUERY_UNAVAILABLE &&
           query_classify(3, &none, 30000) == QUERY_UNAVAILABLE &&
           query_classify(469, &none, 30000) == QUERY_REJECTED &&
           query_classify(1001, &none, 30000) == QUERY_UNKNOWN,
       "numbers and what they mean");
    query_statement_reset(&s);
    buf_put_str(&s.sql, "SELECT x FROM t WHERE (tenant = 'to\\'p') AND a = {p0:String}");
    bind(SLICE_LIT("secret-value"));
    refusal("Code: 53. DB::Exception: Cannot convert string 'secret-value' to type UInt8. "
            "(TYPE_MISMATCH) (version 26.7.2.1)\n");
    static const char redacted[] =
        "Code: 53. DB::Exception: Cannot convert string \xe2\x80\xa6 to type UInt8. "
        "(TYPE_MISMATCH)";
    is_mem(text.ptr, text.len, redacted, sizeof(redacted) - 1,
           "a bound value is taken out, and the version");
    refusal("Code: 1. near to\\'p or 'to\\'p' or 'to'p', secret-value, in scope SELECT x FROM t");
    ok(!has(&text, "to\\'p'") && !has(&text, "'to'p'") && !has(&text, "secret") &&
           !has(&text, "FROM t"),
       "a literal in every form, and the statement");
    static const char *const asides[] = {
        "Code: 215. Not under aggregate. In query SELECT x FROM t WHERE tenant = 1",
        "Code: 53. Bad types: while executing 'FUNCTION equals(tenant : 1)'",
        "Code: 158. Limit for rows: While executing MergeTreeSelect(pool: tenant)"};
    for (size_t i = 0; i < sizeof(asides) / sizeof(asides[0]); i++) {
        refusal(asides[i]);
        ok(text.len > 10 && !has(&text, "tenant"), "no part of the statement: %.20s", asides[i]);
    }
    query_statement_reset(&s);
    bind(SLICE_LIT("a"));
    refusal("Code: 1. Cannot parse 'a' as a date");
    static const char quoted[] = "Code: 1. Cannot parse \xe2\x80\xa6 as a date";
    is_mem(text.ptr, text.len, quoted, sizeof(quoted) - 1, "a short one where it stands in quotes");
    refusal("");
    ok(text.len > 0, "there is always a text");
}

static void row(struct buf *b, const char *name, const char *engine, const char *create)
{
    const char *all[] = {name, engine, create};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(all[i]);
        for (size_t v = n;; v >>= 7) {
            buf_put_u8(b, (uint8_t)(v > 127 ? (v & 127) | 128 : v));
            if (v <= 127)
                break;
        }
        buf_put(b, all[i], n);
    }
}

static bool reaches(const struct query_depend *d, const char *from, const char *to)
{
    uint32_t n;
    const uint16_t *slots = query_depend_slots(d, slice_str(from), &n);
    for (uint32_t i = 0; i < n; i++)
        if (slots[i] == query_cache_slot(slice_str(to)))
            return true;
    return false;
}

static void test_dependencies(void)
{
    struct query_depend *d = NULL;
    struct buf b;
    buf_init(&b, SIZE_MAX);
    row(&b, "clicks", "MergeTree", "2026-01-01 00:00:00");
    row(&b, "od d`ly", "ReplicatedMergeTree", "");
    row(&b, "daily", "SummingMergeTree", "");
    row(&b, "lone", "MergeTree", "");
    row(&b, "to_daily", "MaterializedView",
        "CREATE MATERIALIZED VIEW db.to_daily TO db.daily (`n` UInt64) AS SELECT n FROM db.clicks");
    row(&b, "over", "View", "CREATE VIEW db.over (`n` UInt8) AS SELECT n FROM db.daily");
    row(&b, "overover", "View", "CREATE VIEW db.overover AS SELECT n FROM (SELECT * FROM `over`)");
    row(&b, "quoted", "View", "CREATE VIEW db.quoted AS SELECT n FROM db.`od d\\`ly`");
    row(&b, "buffered", "Buffer",
        "CREATE TABLE db.buffered (n UInt8) ENGINE = Buffer('db', 'lone', 1)");
    row(&b, "foreign", "View", "CREATE VIEW db.foreign AS SELECT n FROM other.clicks");
    row(&b, "on_foreign", "View", "CREATE VIEW db.on_foreign AS SELECT n FROM db.foreign");
    row(&b, "far", "View", "CREATE VIEW db.far AS SELECT * FROM remote('h', db, clicks)");
    row(&b, "dict", "View", "CREATE VIEW db.dict AS SELECT dictGetString('d', 'a', n) FROM clicks");
    row(&b, "spread", "Distributed",
        "CREATE TABLE db.spread (n UInt8) ENGINE = Distributed(c, db, lone)");
    row(&b, "db", "", "");
    row(&b, "other", "", "");
    is_u64(query_depend_new(buf_slice(&b), SLICE_LIT("db"), &d), 0, "read");
    ok(reaches(d, "clicks", "daily") && reaches(d, "clicks", "to_daily"),
       "an insert changes the target of its materialized view");
    ok(reaches(d, "clicks", "over") && reaches(d, "clicks", "overover"),
       "and views over that, and views over views");
    ok(reaches(d, "daily", "overover"), "as does an insert into the target");
    ok(!reaches(d, "clicks", "lone") && !reaches(d, "clicks", "quoted"), "and nothing else");
    ok(reaches(d, "od d`ly", "quoted"), "a quoted name is found");
    ok(reaches(d, "buffered", "lone") && reaches(d, "lone", "buffered"), "a Buffer and its table");
    ok(!query_depend_unsure(d, SLICE_LIT("clicks")) &&
           !query_depend_unsure(d, SLICE_LIT("overover")) &&
           !query_depend_unsure(d, SLICE_LIT("daily")),
       "all of these can be watched");
    ok(query_depend_unsure(d, SLICE_LIT("foreign")) &&
           query_depend_unsure(d, SLICE_LIT("on_foreign")),
       "another database cannot");
    ok(query_depend_unsure(d, SLICE_LIT("far")) && query_depend_unsure(d, SLICE_LIT("dict")) &&
           query_depend_unsure(d, SLICE_LIT("spread")) && query_depend_unsure(d, SLICE_LIT("nope")),
       "nor can other servers, dictionaries, and what is not known");
    query_depend_free(d);
    uint32_t refused = 0;
    for (size_t n = 1; n < b.len; n++) {
        struct query_depend *cut = NULL;
        int rc = query_depend_new((struct slice){b.ptr, n}, SLICE_LIT("db"), &cut);
        refused += rc == WH_ESYNTAX || rc == 0;
        query_depend_free(cut);
    }
    is_u64(refused, b.len - 1, "cut at any byte it is refused, or read up to a row's end");
    ok(query_depend_unsure(NULL, SLICE_LIT("clicks")), "before anything is known, nothing is sure");
    buf_fini(&b);
}

int main(void)
{
    query_statement_init(&s);
    buf_init(&settings, MIB);
    buf_init(&sql, 16 * MIB);
    buf_init(&text, MIB);
    test_values();
    test_guard();
    test_failures();
    test_dependencies();
    query_statement_fini(&s);
    buf_fini(&settings);
    buf_fini(&sql);
    buf_fini(&text);
    return tap_done();
}
