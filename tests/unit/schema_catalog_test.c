/* SPDX-License-Identifier: Apache-2.0 */
/* Builder, catalog, look-ups, persisted form, ops JSON. */
#include "base/limits.h"
#include "base/log.h"
#include "schema/schema.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

static struct schema_builder *b;

static void table(const char *name)
{
    if (schema_builder_table(b, slice_str(name), SLICE_LIT("MergeTree"), 100) != 0)
        ok(false, "table %s", name);
}

static void column(const char *name, const char *type, const char *kind, const char *expression)
{
    if (schema_builder_column(b, slice_str(name), slice_str(type), slice_str(kind),
                              slice_str(expression)) != 0)
        ok(false, "column %s", name);
}

static struct schema_catalog *example(void)
{
    schema_builder_server(b, SLICE_LIT("24.8.1"), SLICE_LIT("Europe/Berlin"));
    table("visits");
    column("id", "UInt64", "", "");
    column("name", "LowCardinality(Nullable(String))", "", "");
    column("at", "DateTime", "DEFAULT", "now()");
    column("day", "Date", "MATERIALIZED", "toDate(at)");
    column("up", "String", "ALIAS", "upper(name)");
    column("raw", "String", "EPHEMERAL", "''");
    column("we\"ird\n", "Array(UInt8)", "", "");
    column("received_timestamp", "Nullable(DateTime64(9, 'UTC'))", "", "");
    table("broken");
    column("id", "UInt64", "", "");
    column("x", "Array(", "", "");
    column("y", "UInt64", "", "");
    table("a");
    column("j", "JSON", "", "");
    column("received_timestamp", "DateTime", "DEFAULT", "now()");
    struct err e;
    return schema_builder_finish(b, &e);
}

static void test_columns(const struct schema_catalog *c)
{
    is_u64(schema_catalog_table_count(c), 2, "a table with a bad type is left out");
    ok(slice_eq_str(schema_catalog_table(c, 0)->name, "a"), "in name order");
    ok(schema_catalog_find(c, SLICE_LIT("broken")) == NULL, "left out");
    ok(schema_catalog_find(c, SLICE_LIT("")) == NULL, "no such name");
    ok(slice_eq_str(schema_catalog_timezone(c), "Europe/Berlin"), "time zone");
    ok(slice_eq_str(schema_catalog_version(c), "24.8.1"), "version");

    const struct schema_table *t = schema_catalog_find(c, SLICE_LIT("visits"));
    ok(t != NULL && t->column_count == 8 && t->required_count == 2, "columns");
    ok(t->dedup_window == 100 && slice_eq_str(t->engine, "MergeTree"), "engine");
    ok(t->native && !schema_catalog_table(c, 0)->native, "native");
    is_u64(t->received_timestamp, 7, "column to stamp");
    ok(schema_catalog_table(c, 0)->received_timestamp == -1, "one with a default is not stamped");
    static const struct {
        const char *name;
        bool nullable, insertable, required;
    } want[] = {{"id", false, true, true},        {"name", true, true, false},
                {"at", false, true, false},       {"day", false, false, false},
                {"up", false, false, false},      {"raw", false, true, false},
                {"we\"ird\n", false, true, true}, {"received_timestamp", true, true, false}};
    for (uint32_t i = 0; i < 8; i++) {
        const struct schema_column *col = schema_table_column(t, slice_str(want[i].name));
        ok(col == &t->columns[i] && col->ordinal == i && col->nullable == want[i].nullable &&
               col->insertable == want[i].insertable && col->required == want[i].required,
           "column %" PRIu32, i);
    }
    ok(schema_table_column(t, SLICE_LIT("ID")) == NULL, "names are case-sensitive");
    ok(slice_eq_str(t->columns[6].json_key, "we\\\"ird\\n"), "JSON key");
    ok(t->columns[1].peeled->kind == CH_STRING, "peeled");
}

static void test_json(const struct schema_catalog *c)
{
    struct buf out;
    buf_init(&out, SIZE_MAX);
    schema_table_json(schema_catalog_find(c, SLICE_LIT("a")), &out);
    const char *want = "{\"name\":\"a\",\"columns\":[{\"name\":\"j\",\"type\":\"JSON\","
                       "\"is_nullable\":false,\"has_default\":false,\"position\":1},"
                       "{\"name\":\"received_timestamp\",\"type\":\"DateTime\","
                       "\"is_nullable\":false,\"has_default\":true,\"position\":2,"
                       "\"default_kind\":\"DEFAULT\",\"default_expression\":\"now()\"}]}";
    is_mem(out.ptr, out.len, want, strlen(want), "table");
    buf_reset(&out);
    schema_catalog_json(c, &out);
    ok(out.ptr[0] == '[' && out.ptr[out.len - 1] == ']', "array of tables");
    buf_fini(&out);
}

static void test_save(const struct schema_catalog *c)
{
    struct buf one, two;
    struct err e;
    buf_init(&one, SIZE_MAX);
    buf_init(&two, SIZE_MAX);
    schema_catalog_save(c, &one);
    struct schema_catalog *again = schema_catalog_load(buf_slice(&one), &e);
    ok(again != NULL, "loads");
    if (again != NULL) {
        test_columns(again);
        is_u64(schema_catalog_find(again, SLICE_LIT("visits"))->fingerprint,
               schema_catalog_find(c, SLICE_LIT("visits"))->fingerprint, "same fingerprint");
        schema_catalog_save(again, &two);
        is_mem(two.ptr, two.len, one.ptr, one.len, "saves the same text");
        schema_catalog_unref(again);
    }
    for (size_t cut = 0; cut + 2 < one.len; cut += 7)
        if (schema_catalog_load((struct slice){one.ptr, cut}, &e) != NULL || e.text[0] == '\0')
            ok(false, "cut at %zu is refused", cut);
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"format\":2,\"tables\":[]}",
        "{\"format\":1,\"tables\":[1]}",
        "{\"format\":1,\"tables\":[{\"name\":\"a\"}]}",
        "{\"format\":1,\"tables\":[{\"name\":\"a\",\"columns\":[[]]}]}",
        "{\"format\":1,\"tables\":[]} x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        ok(schema_catalog_load(slice_str(bad[i]), &e) == NULL, "refused: %s", bad[i]);
    buf_fini(&one);
    buf_fini(&two);
}

static uint64_t fingerprint_of(const char *name, const char *type, const char *kind)
{
    table("t");
    column(name, type, kind, "1");
    struct schema_catalog *c = schema_builder_finish(b, NULL);
    uint64_t h = schema_catalog_table(c, 0)->fingerprint;
    schema_catalog_unref(c);
    return h;
}

static void test_fingerprint(void)
{
    uint64_t h = fingerprint_of("a", "UInt8", "");
    ok(h == fingerprint_of("a", "UInt8", ""), "stable");
    ok(h != fingerprint_of("b", "UInt8", ""), "name");
    ok(h != fingerprint_of("a", "UInt16", ""), "type");
    ok(h != fingerprint_of("a", "UInt8", "DEFAULT"), "default kind");
    is_u64(h, 0xb9e4f90f839ea13cu, "the value in existing logs");
}

static void test_limits(void)
{
    struct err e;
    struct schema_catalog *c = schema_builder_finish(b, &e);
    ok(c != NULL && schema_catalog_table_count(c) == 0, "empty catalog");
    struct buf out;
    buf_init(&out, SIZE_MAX);
    schema_catalog_json(c, &out);
    is_mem(out.ptr, out.len, "[]", 2, "empty array");
    buf_fini(&out);
    schema_catalog_unref(c);

    table("wide");
    char name[32];
    for (int i = 0; i < LIMIT_TABLE_COLUMNS; i++) {
        (void)snprintf(name, sizeof(name), "column%d", i);
        column(name, "UInt8", "", "");
    }
    table("wider");
    for (int i = 0; i <= LIMIT_TABLE_COLUMNS; i++) {
        (void)snprintf(name, sizeof(name), "column%d", i);
        column(name, "UInt8", "", "");
    }
    table("odd");
    column("x", "UInt8", "GUESSED", "");
    static char long_name[LIMIT_NAME_BYTES + 2];
    memset(long_name, 'n', LIMIT_NAME_BYTES + 1);
    table(long_name);
    column("x", "UInt8", "", "");
    table("twice");
    column("x", "UInt8", "", "");
    table("twice");
    column("x", "UInt8", "", "");
    c = schema_builder_finish(b, &e);
    is_u64(schema_catalog_table_count(c), 2, "tables over a limit are left out");
    const struct schema_table *t = schema_catalog_find(c, SLICE_LIT("wide"));
    bool all = t != NULL;
    for (uint32_t i = 0; all && i < t->column_count; i++)
        all = schema_table_column(t, t->columns[i].name) == &t->columns[i];
    ok(all, "every column of a wide table is found");
    struct schema_catalog *second = schema_catalog_ref(c);
    schema_catalog_unref(c);
    is_u64(schema_catalog_table_count(second), 2, "alive by the second reference");
    schema_catalog_unref(second);
    schema_catalog_unref(NULL);

    int rc = 0;
    for (int i = 0; i <= LIMIT_TABLES && rc == 0; i++) {
        (void)snprintf(name, sizeof(name), "t%d", i);
        rc = schema_builder_table(b, slice_str(name), SLICE_LIT("E"), 0);
    }
    ok(rc == WH_ELIMIT && schema_builder_finish(b, &e) == NULL && e.code == WH_ELIMIT,
       "too many tables");
}

int main(void)
{
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    b = schema_builder_new();
    struct schema_catalog *c = example();
    test_columns(c);
    test_json(c);
    test_save(c);
    test_fingerprint();
    test_limits();
    schema_catalog_unref(c);
    schema_builder_free(b);
    schema_builder_free(NULL);
    return tap_done();
}
