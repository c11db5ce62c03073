/* SPDX-License-Identifier: Apache-2.0 */
/* columns_bench FILE [SECONDS]: web server access lines into native columns, one thread. Each pass
 * reads the records once into copies of their nodes, then times adding alone, as the flusher adds,
 * and ch_block_write. */
#include "base/limits.h"
#include "clickhouse/columns.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    TEXT_MAX = 32 << 20,
    RECORDS_MAX = 1 << 20
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct schema_catalog *access_log_catalog(void)
{
    static const char *const columns[][2] = {
        {"event_id", "String"},
        {"ts", "DateTime('UTC')"},
        {"ip", "String"},
        {"method", "LowCardinality(String)"},
        {"path", "String"},
        {"protocol", "LowCardinality(String)"},
        {"status", "UInt16"},
        {"bytes", "Nullable(UInt64)"},
        {"referrer", "Nullable(String)"},
        {"user_agent", "String"},
    };
    struct schema_builder *b = schema_builder_new();
    int rc = schema_builder_table(b, SLICE_LIT("access_log"), SLICE_LIT("MergeTree"), 0);
    for (size_t i = 0; rc == 0 && i < sizeof(columns) / sizeof(columns[0]); i++)
        rc = schema_builder_column(b, slice_str(columns[i][0]), slice_str(columns[i][1]),
                                   SLICE_LIT(""), SLICE_LIT(""));
    struct schema_catalog *c = schema_builder_finish(b, NULL);
    schema_builder_free(b);
    return c;
}

/* Copies of the nodes, so that only the encoder is timed. */
static uint32_t read_records(const char *text, size_t len, struct json_doc *docs)
{
    struct json_reader *r = json_reader_new(TEXT_MAX);
    struct json_doc doc;
    uint32_t n = 0;
    if (r == NULL || json_reader_begin(r, text, len, JSON_LINES) != 0)
        return 0;
    for (; n < RECORDS_MAX && json_reader_next(r, &doc) == 0; n++) {
        struct json_node *copy = malloc(doc.node_count * sizeof(*copy));
        if (copy == NULL)
            return 0;
        memcpy(copy, doc.nodes, doc.node_count * sizeof(*copy));
        docs[n] = (struct json_doc){doc.text, copy, doc.node_count};
    }
    json_reader_free(r);
    return n;
}

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    char *text = malloc(TEXT_MAX + LIMIT_JSON_PADDING);
    struct json_doc *docs = malloc(RECORDS_MAX * sizeof(*docs));
    struct schema_catalog *catalog = access_log_catalog();
    if (f == NULL || text == NULL || docs == NULL || catalog == NULL) {
        (void)fprintf(stderr, "usage: columns_bench FILE [SECONDS]\n");
        return 1;
    }
    size_t len = fread(text, 1, TEXT_MAX, f);
    (void)fclose(f);
    const struct schema_table *t = schema_catalog_table(catalog, 0);
    static const uint32_t all[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct ch_block *b = ch_block_new(t, all, t->column_count, SLICE_LIT("UTC"));
    uint32_t n = read_records(text, len, docs), bad = 0;
    double seconds = argc > 2 ? atof(argv[2]) : 1, add = 1e9, wrote = 1e9;
    struct ch_value_error e;
    struct buf out;
    buf_init(&out, SIZE_MAX);
    for (double end = now_s() + seconds; b != NULL && n > 0 && now_s() < end;) {
        ch_block_reset(b);
        buf_reset(&out);
        double start = now_s();
        for (uint32_t i = 0; i < n; i++)
            bad += !ch_block_try_add(b, &docs[i]) && ch_block_add(b, &docs[i], &e) != 0;
        double middle = now_s();
        bad += ch_block_write(b, true, &out) != 0;
        double stop = now_s();
        add = middle - start < add ? middle - start : add;
        wrote = stop - middle < wrote ? stop - middle : wrote;
    }
    printf("%" PRIu32 " rows, %zu bytes of JSON, %zu bytes of block, %" PRIu32 " refused: "
           "%.1f ns a row to add, %.1f to write\n",
           n, len, out.len, bad, add * 1e9 / n, wrote * 1e9 / n);
    return bad != 0;
}
