/* SPDX-License-Identifier: Apache-2.0 */
/* Columns that held rows lack, when whoever sends the rows makes names up. */
#include "replay/priv.h"
#include "tests/lib/tap.h"

#include <stdlib.h>

#define MANY 1000 /* as many names as are kept */

static struct schema_catalog *catalog;
static struct replay_held held = {.table = (char *)(uintptr_t) "t", .table_len = 1};

/* {"id":1,"prefix0":1,…} with count made-up keys, then the last one. */
static void note(const char *prefix, uint32_t count, const char *last)
{
    struct json_reader *reader = json_reader_new(LIMIT_RECORD_BYTES);
    struct json_doc doc;
    struct buf text;
    buf_init(&text, SIZE_MAX);
    buf_put_str(&text, "{\"id\":1");
    for (uint32_t i = 0; i < count; i++)
        buf_printf(&text, ",\"%s%u\":1", prefix, i);
    if (last != NULL)
        buf_printf(&text, ",\"%s\":1", last);
    buf_put_u8(&text, '}');
    size_t len = text.len;
    (void)!buf_extend(&text, LIMIT_JSON_PADDING);
    if (json_reader_begin(reader, text.ptr, len, JSON_ONE) != 0 ||
        json_reader_next(reader, &doc) != 0)
        abort();
    replay_drift_note(&held, schema_catalog_find(catalog, SLICE_LIT("t")), &doc, 7);
    buf_fini(&text);
    json_reader_free(reader);
}

static uint64_t seen(const char *name)
{
    for (uint32_t i = 0; i < held.column_count; i++)
        if (slice_eq_str((struct slice){held.columns[i].name, held.columns[i].name_len}, name))
            return held.columns[i].count;
    return 0;
}

static void test_made_up(void)
{
    note("x", 3, "real");
    ok(seen("x0") == 1 && seen("real") == 1 && seen("id") == 0, "keys that are no columns");
    note("x", 2 * MANY, "far");
    is_u64(held.column_count, MANY, "so many names are kept, and no more");
    is_u64(seen("x0"), 2, "known ones are counted on");
    note("real", 0, "real");
    is_u64(seen("real"), 2, "also when no name is taken any more");
    note("y", 0, "late");
    is_u64(seen("late"), 0, "names that rows on the shelf have are not given up for others");

    replay_drift_zero(&held); /* those rows were purged */
    note("y", 0, "late");
    is_u64(seen("late"), 1, "names that no row has any more make room");
    is_u64(held.column_count, MANY, "and their number stays");
    ok(held.said > 0 && held.said < MANY / 10, "the log does not get a line for each");
}

/* replay.lock is held meanwhile, and a socket loop may wait for it. */
static void test_a_million_keys(void)
{
    replay_drift_zero(&held);
    note("real", 0, "real");
    note("z", MANY, "real");
    is_u64(seen("real"), 1, "a record's keys are looked at up to as many as are kept");
}

int main(void)
{
    struct schema_builder *b = schema_builder_new();
    struct slice none = {0};
    struct err e = {0};
    schema_builder_server(b, SLICE_LIT("26.7.3.1"), SLICE_LIT("UTC"));
    (void)!schema_builder_table(b, SLICE_LIT("t"), SLICE_LIT("MergeTree"), 1000);
    (void)!schema_builder_column(b, SLICE_LIT("id"), SLICE_LIT("UInt32"), none, none);
    catalog = schema_builder_finish(b, &e);
    schema_builder_free(b);
    test_made_up();
    test_a_million_keys();
    replay_drift_fini(&held);
    schema_catalog_unref(catalog);
    return tap_done();
}
