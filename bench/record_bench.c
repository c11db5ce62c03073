/* SPDX-License-Identifier: Apache-2.0 */
/* record_bench FILE [SECONDS]: reading plus record_check of web server access lines, one thread;
 * then the same with the strict verdict on every value. */
#include "base/limits.h"
#include "clickhouse/verdict.h"
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

struct bench {
    struct schema_catalog *catalog;
    struct json_reader *reader;
    struct record_checker *checker;
    struct ch_verdict *verdict; /* NULL: shape only */
    struct buf out;
    uint64_t good, bad;
    char refusal[2048];
};

static void one_record(struct bench *b, const struct schema_table *t, const struct json_doc *doc)
{
    struct record_options options = {.stamp_received = true};
    struct record_result result;
    struct ch_value_error e;
    size_t off = b->out.len;
    int rc = record_check(b->checker, t, SLICE_LIT("UTC"), &options, doc, 1, &b->out, &result);
    if (rc != 0) {
        memcpy(b->refusal, result.message, sizeof(b->refusal));
    } else if (b->verdict != NULL && buf_reserve(&b->out, LIMIT_JSON_PADDING) == 0) {
        struct slice canonical = {b->out.ptr + off, b->out.len - off};
        rc = ch_verdict_check(b->verdict, b->catalog, t, doc, canonical, &e);
        if (rc != 0)
            memcpy(b->refusal, e.text, sizeof(e.text));
    }
    b->good += rc == 0;
    b->bad += rc != 0;
}

/* Seconds of the best pass. */
static double passes(struct bench *b, const char *text, size_t len, double seconds)
{
    const struct schema_table *t = schema_catalog_table(b->catalog, 0);
    double best = 1e9;
    for (double start = now_s(); now_s() - start < seconds;) {
        double from = now_s();
        struct json_doc doc;
        b->good = b->bad = 0;
        buf_reset(&b->out);
        if (json_reader_begin(b->reader, text, len, JSON_LINES) != 0)
            exit(1);
        for (int rc; (rc = json_reader_next(b->reader, &doc)) != WH_EEND;) {
            if (rc == 0)
                one_record(b, t, &doc);
            else
                b->bad++;
        }
        double took = now_s() - from;
        best = took < best ? took : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    char *text = malloc(32 * MIB + LIMIT_JSON_PADDING);
    struct bench b = {.catalog = access_log_catalog(),
                      .reader = json_reader_new(32 * MIB),
                      .checker = record_checker_new()};
    struct ch_verdict *verdict = ch_verdict_new();
    if (f == NULL || text == NULL || b.catalog == NULL || b.reader == NULL || b.checker == NULL ||
        verdict == NULL) {
        (void)fprintf(stderr, "usage: record_bench FILE [SECONDS]\n");
        return 1;
    }
    size_t len = fread(text, 1, 32 * MIB, f);
    (void)fclose(f);
    double seconds = argc > 2 ? atof(argv[2]) : 1;
    buf_init(&b.out, SIZE_MAX);
    for (int strict = 0; strict < 2; strict++) {
        b.verdict = strict ? verdict : NULL;
        double best = passes(&b, text, len, seconds);
        printf("%s: %.0f ns a record with reading, %.2f GB/s (best pass; %" PRIu64 " good, %" PRIu64
               " refused)\n",
               strict ? "strict" : "shape", best / (double)(b.good + b.bad) * 1e9,
               (double)len / best / 1e9, b.good, b.bad);
    }
    if (b.bad > 0)
        printf("last refusal: %s\n", b.refusal);
    buf_fini(&b.out);
    ch_verdict_free(verdict);
    record_checker_free(b.checker);
    json_reader_free(b.reader);
    schema_catalog_unref(b.catalog);
    free(text);
    return 0;
}
