/* SPDX-License-Identifier: Apache-2.0 */
/* record_bench FILE [SECONDS]: reading plus record_check of web server access lines, one thread. */
#include "base/limits.h"
#include "schema/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
        {"ip", "IPv4"},
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

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    char *text = malloc(32 * MIB + LIMIT_JSON_PADDING);
    struct schema_catalog *catalog = access_log_catalog();
    struct json_reader *r = json_reader_new(32 * MIB);
    struct record_checker *checker = record_checker_new();
    if (f == NULL || text == NULL || catalog == NULL || r == NULL || checker == NULL) {
        (void)fprintf(stderr, "usage: record_bench FILE [SECONDS]\n");
        return 1;
    }
    size_t len = fread(text, 1, 32 * MIB, f);
    (void)fclose(f);
    double seconds = argc > 2 ? atof(argv[2]) : 1, best = 1e9;
    const struct schema_table *t = schema_catalog_table(catalog, 0);
    struct record_options options = {.stamp_received = true};
    struct record_result result;
    struct buf out;
    uint64_t good = 0, bad = 0;
    buf_init(&out, SIZE_MAX);
    for (double start = now_s(); now_s() - start < seconds;) {
        double from = now_s();
        struct json_doc doc;
        good = bad = 0;
        buf_reset(&out);
        if (json_reader_begin(r, text, len, JSON_LINES) != 0)
            return 1;
        for (int rc; (rc = json_reader_next(r, &doc)) != WH_EEND;) {
            if (rc == 0)
                rc = record_check(checker, t, SLICE_LIT("UTC"), &options, &doc, 1, &out, &result);
            good += rc == 0;
            bad += rc != 0;
        }
        double took = now_s() - from;
        best = took < best ? took : best;
    }
    printf("%.0f ns a record with reading, %.2f GB/s (best pass; %" PRIu64 " good, %" PRIu64
           " refused)\n",
           best / (double)(good + bad) * 1e9, (double)len / best / 1e9, good, bad);
    if (bad > 0)
        printf("last refusal: %s\n", result.message);
    buf_fini(&out);
    record_checker_free(checker);
    json_reader_free(r);
    schema_catalog_unref(catalog);
    free(text);
    return 0;
}
