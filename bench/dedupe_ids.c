/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory and time a known id costs: ids straight into the dedup room, then its restart.
 *
 *   dedupe_ids DIR COUNT     DIR is empty and on a disk; one JSON object a line on standard output
 *
 * Each id is hashed, reserved and settled as a socket loop does it, a thousand at a time, and
 * written to the index files as the index thread does it. */
#include "dedupe/index.h"

#include "base/log.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define BATCH         1000
#define BUCKETS       16
#define REPORTS       10
#define NS_PER_SECOND 1e9

static struct dedupe_key key = {{1, 2, 3}};
static struct wal *w;
static char ids_path[4096], wal_path[4096];

static void die(const char *what, const struct err *e)
{
    fprintf(stderr, "dedupe_ids: %s: %s\n", what, e->text);
    exit(1);
}

static uint64_t rss_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f != NULL)
        (void)fclose(f);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static double cpu_seconds(void)
{
    struct rusage u;
    (void)getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void next_bucket(struct dedupe_bucket *b, struct dedupe_table *t, uint8_t number)
{
    struct err e = {0};
    struct dedupe_bucket_head head = {.seq = (uint64_t)number + 1, .key = key};
    wal_log_id(w, head.log_id);
    dedupe_bucket_close(b);
    dedupe_table_open_bucket(t, number);
    if (dedupe_bucket_create(b, io_posix(), ids_path, &head, &e) != 0)
        die("file", &e);
}

struct spent {
    uint64_t table_ns, file_ns, slowest_ns;
};

/* n ids from the first on: new ones, as a request brings them. */
static void feed(struct dedupe_table *t, struct dedupe_bucket *b, const _Atomic uint8_t *bucket,
                 uint64_t first, uint32_t n, struct spent *s)
{
    static uint8_t ids[BATCH * DEDUPE_ID_BYTES];
    struct err e = {0};
    uint64_t began = io_monotonic_ns(), wall = io_realtime_ns();
    for (uint32_t i = 0; i < n; i++) {
        char text[40];
        struct dedupe_id id;
        int len = snprintf(text, sizeof(text), "event-%020" PRIu64, first + i);
        dedupe_id_of_text(&key, SLICE_LIT("access_log"), (struct slice){text, (size_t)len}, &id);
        memcpy(ids + (size_t)i * DEDUPE_ID_BYTES, id.bytes, sizeof(id.bytes));
        dedupe_table_prefetch(t, &id);
        uint64_t before = io_monotonic_ns();
        if (dedupe_table_reserve(t, &id) != DEDUPE_NEW)
            die("an id is not new", &e);
        uint64_t took = io_monotonic_ns() - before;
        s->slowest_ns = took > s->slowest_ns ? took : s->slowest_ns;
    }
    (void)dedupe_table_settle(t, ids, n, true, bucket);
    uint64_t settled = io_monotonic_ns();
    struct dedupe_chunk c = {n, 1, wall, wall, ids};
    if (dedupe_bucket_append(b, &c, &e) != 0)
        die("file", &e);
    s->table_ns += settled - began;
    s->file_ns += io_monotonic_ns() - settled;
}

static void report(const struct dedupe_table *t, uint64_t ids, uint64_t idle_bytes,
                   const struct spent *s)
{
    printf("{\"ids\":%" PRIu64 ",\"rss_bytes_per_id\":%.2f,\"table_bytes_per_id\":%.2f,"
           "\"ids_per_second\":%.0f,\"cpu_ns_per_id\":%.0f,\"slowest_us\":%.0f}\n",
           ids, (double)(rss_bytes() - idle_bytes) / (double)ids,
           (double)dedupe_table_bytes(t) / (double)ids,
           (double)ids / ((double)(s->table_ns + s->file_ns) / NS_PER_SECOND),
           cpu_seconds() * NS_PER_SECOND / (double)ids, (double)s->slowest_ns / 1000);
    (void)fflush(stdout);
}

static void restart(uint64_t count, uint64_t digest)
{
    struct err e = {0};
    static struct dedupe_index x;
    struct dedupe_index_options o = {.io = io_posix(),
                                     .path = ids_path,
                                     .wal = w,
                                     .table = dedupe_table_new(),
                                     .key = key,
                                     .limits = {UINT64_C(86400) * 1000000000, count + 1},
                                     .now_ns = io_realtime_ns};
    uint64_t began = io_monotonic_ns();
    double cpu = cpu_seconds();
    if (dedupe_index_init(&x, &o, &e) != 0 || dedupe_index_load(&x, &e) != 0)
        die("restart", &e);
    double seconds = (double)(io_monotonic_ns() - began) / NS_PER_SECOND;
    printf("{\"restart_ids\":%" PRIu64 ",\"restart_seconds\":%.2f,\"restart_cpu_seconds\":%.2f,"
           "\"equal\":%s}\n",
           dedupe_table_count(o.table), seconds, cpu_seconds() - cpu,
           dedupe_table_digest(o.table) == digest ? "true" : "false");
    dedupe_index_close(&x);
    dedupe_table_free(o.table);
}

int main(int argc, char **argv)
{
    struct err e = {0};
    uint64_t count = argc == 3 ? strtoull(argv[2], NULL, 10) : 0;
    if (count < REPORTS * BATCH) {
        fprintf(stderr, "usage: dedupe_ids DIR COUNT (at least %d)\n", REPORTS * BATCH);
        return 2;
    }
    log_configure(LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
    (void)snprintf(wal_path, sizeof(wal_path), "%s/wal", argv[1]);
    (void)snprintf(ids_path, sizeof(ids_path), "%s/ids", argv[1]);
    struct wal_options wo = {.path = wal_path, .bytes_max = UINT64_MAX};
    if (wal_open(&w, io_posix(), &wo, NULL, &e) != 0 || wal_prepare(w, &e) != 0)
        die("log", &e);
    struct wal_entry noop = {.type = WAL_NOOP, .index = 1, .term = 1};
    if (wal_append(w, &noop) != 0 || wal_sync(w, &e) != 0)
        die("log", &e);
    wal_commit(w, 1);

    struct dedupe_table *t = dedupe_table_new();
    struct dedupe_bucket file = {.fd = -1};
    _Atomic uint8_t bucket = 0;
    struct spent s = {0};
    uint64_t idle = rss_bytes(), next_report = count / REPORTS, rotate = 0;
    uint8_t number = 0;
    for (uint64_t at = 0; at < count;) {
        if (at >= rotate) {
            atomic_store(&bucket, number);
            next_bucket(&file, t, number++);
            rotate += count / BUCKETS + 1;
        }
        uint32_t n = count - at < BATCH ? (uint32_t)(count - at) : BATCH;
        feed(t, &file, &bucket, at, n, &s);
        at += n;
        if (at >= next_report) {
            report(t, at, idle, &s);
            next_report += count / REPORTS;
        }
    }
    if (dedupe_bucket_sync(&file, &e) != 0)
        die("file", &e);
    dedupe_bucket_close(&file);
    uint64_t digest = dedupe_table_digest(t);
    dedupe_table_free(t);
    restart(count, digest);
    wal_close(w);
    return 0;
}
