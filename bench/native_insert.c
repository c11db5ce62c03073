/* SPDX-License-Identifier: Apache-2.0 */
/* native_insert FILE ROWS BLOCK_ROWS TCP_PORT HTTP_PORT DATABASE TABLE: what inserting alone costs.
 *
 * The records of FILE (NDJSON, repeated as often as needed) are made into native blocks before the
 * clock starts; then they are inserted over one connection, one INSERT a block, nothing else done.
 * The clock runs from the first to the last, so what ClickHouse does meanwhile counts.
 *
 * Says "ready" when the blocks are made, and begins when a line comes: ClickHouse may have been
 * started anew in between, as it is when a backlog drains.
 * Prints rows and seconds. What a backlog's drain is measured against. */
#include "base/limits.h"
#include "clickhouse/columns.h"
#include "clickhouse/http_client.h"
#include "clickhouse/native.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    TEXT_MAX = 64 << 20
};

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int fail(const char *what, const char *why)
{
    (void)fprintf(stderr, "native_insert: %s: %s\n", what, why);
    return 1;
}

/* All columns that the first record has: the records of this bench have the same ones. */
struct target {
    const struct schema_table *table;
    struct slice timezone;
    struct slice *names, *types;
    uint32_t *ordinals, count;
};

static int target_make(struct target *t, const struct schema_catalog *catalog,
                       const struct json_doc *first)
{
    uint64_t bits[64] = {0};
    struct ch_value_error ve;
    uint32_t n = t->table->column_count;
    if (n > 64 * 64 || ch_row_columns(t->table, first, bits, &ve) != 0)
        return -1;
    t->names = calloc(n, sizeof(*t->names));
    t->types = calloc(n, sizeof(*t->types));
    t->ordinals = calloc(n, sizeof(*t->ordinals));
    if (t->names == NULL || t->types == NULL || t->ordinals == NULL)
        return -1;
    for (uint32_t c = 0; c < n; c++)
        if (bits[c / 64] >> (c % 64) & 1) {
            t->ordinals[t->count] = c;
            t->names[t->count] = t->table->columns[c].name;
            t->types[t->count++] = t->table->columns[c].type->text;
        }
    t->timezone = schema_catalog_timezone(catalog);
    return 0;
}

/* A block of the next `rows` records; the text starts again at its end. NULL: one does not fit. */
static struct ch_block *fill(const struct target *t, struct json_reader *r, struct slice text,
                             uint64_t rows)
{
    struct ch_block *b = ch_block_new(t->table, t->ordinals, t->count, t->timezone);
    struct json_doc doc;
    struct ch_value_error ve;
    while (b != NULL && ch_block_rows(b) < rows) {
        int rc = json_reader_next(r, &doc);
        if (rc == WH_EEND)
            rc = json_reader_begin(r, text.ptr, text.len, JSON_LINES);
        else if (rc == 0 && !ch_block_try_add(b, &doc))
            rc = ch_block_add(b, &doc, &ve);
        if (rc != 0)
            return NULL;
    }
    return b;
}

static int run(const struct ch_options *o, const struct target *t, struct json_reader *r,
               struct slice text, uint64_t rows, uint64_t block_rows)
{
    uint64_t count = (rows + block_rows - 1) / block_rows;
    struct ch_block **blocks = calloc(count, sizeof(struct ch_block *));
    struct ch_native *c = ch_native_new(o);
    struct ch_error e = {0};
    if (c == NULL || blocks == NULL)
        return fail("start", "out of memory");
    for (uint64_t i = 0; i < count; i++) {
        uint64_t left = rows - i * block_rows;
        blocks[i] = fill(t, r, text, left < block_rows ? left : block_rows);
        if (blocks[i] == NULL)
            return fail("reading the records", "one does not fit the table");
    }
    printf("ready\n");
    (void)fflush(stdout);
    if (getchar() == EOF)
        return fail("standard input", "ended; a line is waited for");
    double start = now_s();
    if (ch_native_connect(c, NULL, &e) != CH_OK)
        return fail("connect", e.text);
    for (uint64_t i = 0; i < count; i++) {
        char token[64];
        (void)snprintf(token, sizeof(token), "native_insert/%" PRIu64, i);
        struct ch_insert insert = {.table = t->table->name,
                                   .columns = t->names,
                                   .types = t->types,
                                   .column_count = t->count,
                                   .token = token,
                                   .row_count = ch_block_rows(blocks[i]),
                                   .write_columns = ch_block_send,
                                   .ctx = blocks[i]};
        if (ch_native_insert(c, &insert, &e) != CH_OK)
            return fail("insert", e.text);
    }
    printf("{\"rows\": %" PRIu64 ", \"seconds\": %.4f}\n", rows, now_s() - start);
    for (uint64_t i = 0; i < count; i++)
        ch_block_free(blocks[i]);
    free(blocks);
    ch_native_free(c);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 8)
        return fail("usage", "FILE ROWS BLOCK_ROWS TCP_PORT HTTP_PORT DATABASE TABLE");
    struct ch_endpoint endpoint = {.host = "127.0.0.1",
                                   .port = (uint16_t)atoi(argv[4]),
                                   .http_port = (uint16_t)atoi(argv[5])};
    struct ch_options o = {.endpoints = &endpoint,
                           .endpoint_count = 1,
                           .database = argv[6],
                           .username = "default",
                           .password = "",
                           .compress_lz4 = true,
                           .connect_timeout_ms = 5000,
                           .io_timeout_ms = 60000};
    struct ch_http *http = ch_http_new(&o);
    struct schema_catalog *catalog = NULL;
    struct ch_error e = {0};
    FILE *f = fopen(argv[1], "rb");
    char *text = malloc(TEXT_MAX + LIMIT_JSON_PADDING);
    struct json_reader *r = json_reader_new(TEXT_MAX);
    struct target t = {0};
    struct json_doc doc;
    if (f == NULL || text == NULL || r == NULL || http == NULL)
        return fail(argv[1], "cannot be read, or no memory");
    size_t len = fread(text, 1, TEXT_MAX, f);
    (void)fclose(f);
    if (ch_discover(http, o.database, &catalog, &e) != CH_OK)
        return fail("schema", e.text);
    t.table = schema_catalog_find(catalog, slice_str(argv[7]));
    if (t.table == NULL)
        return fail(argv[7], "no such table");
    struct slice all = {text, len};
    if (json_reader_begin(r, text, len, JSON_LINES) != 0 || json_reader_next(r, &doc) != 0 ||
        target_make(&t, catalog, &doc) != 0 || json_reader_begin(r, text, len, JSON_LINES) != 0)
        return fail(argv[1], "its first record does not fit the table");
    return run(&o, &t, r, all, strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10));
}
