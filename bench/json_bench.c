/* SPDX-License-Identifier: Apache-2.0 */
/* json_bench FILE [SECONDS]: speed of the JSON reader on a file of lines, one thread. */
#include "base/limits.h"
#include "json/json.h"

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

static char *load(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    char *text = malloc(32 * MIB + LIMIT_JSON_PADDING);
    if (f == NULL || text == NULL) {
        perror(path);
        exit(1);
    }
    *len = fread(text, 1, 32 * MIB, f);
    (void)fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: json_bench FILE [SECONDS]\n");
        return 1;
    }
    size_t len;
    char *text = load(argv[1], &len);
    double seconds = argc > 2 ? atof(argv[2]) : 1, best = 0;
    uint64_t records = 0;
    struct json_reader *r = json_reader_new(32 * MIB);
    if (r == NULL)
        return 1;
    for (double start = now_s(); now_s() - start < seconds;) {
        double from = now_s();
        struct json_doc doc;
        records = 0;
        if (json_reader_begin(r, text, len, JSON_LINES) != 0)
            return 1;
        for (int rc; (rc = json_reader_next(r, &doc)) != WH_EEND;)
            records += rc == 0;
        double rate = (double)len / (now_s() - from);
        best = rate > best ? rate : best;
    }
    printf("%.2f GB/s, %.0f ns a record (best pass; %" PRIu64 " records of %zu bytes)\n",
           best / 1e9, (double)len / best / (double)records * 1e9, records,
           len / (size_t)(records == 0 ? 1 : records));
    json_reader_free(r);
    free(text);
    return 0;
}
