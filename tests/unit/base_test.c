/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/crc32c.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/queue.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void test_crc32c(void)
{
    is_u64(crc32c(0, "123456789", 9), 0xe3069283, "RFC 3720 check value");
    unsigned char data[8192];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (unsigned char)(i * 131 + (i >> 5));
    bool same = true;
    for (size_t cut = 0; cut <= sizeof(data); cut += 97)
        same = same && crc32c(crc32c(0, data, cut), data + cut, sizeof(data) - cut) ==
                           crc32c(0, data, sizeof(data));
    ok(same, "a CRC in two pieces equals the CRC of the whole, at every cut");
    unsigned char zeros[32] = {0};
    is_u64(crc32c(0, zeros, 32), 0x8a9136aa, "RFC 3720 B.4: 32 zero bytes");
}

static void test_buf(void)
{
    struct buf b;
    buf_init(&b, 1000);
    buf_printf(&b, "%d-%s", 42, "x");
    is_mem(b.ptr, b.len, "42-x", 4, "printf appends");
    for (int i = 0; i < 300; i++)
        buf_put(&b, "abcd", 4);
    ok(!buf_ok(&b) && b.len <= 1000, "the maximum holds and the failure is sticky");
    buf_reset(&b);
    ok(buf_ok(&b) && b.len == 0, "reset clears the failure");
    buf_put_json_string(&b, (struct slice){"a\"\\\n\x01\xff\xc3\xa9", 8});
    is_mem(b.ptr, b.len, "\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\"",
           strlen("\"a\\\"\\\\\\n\\u0001\xef\xbf\xbd\xc3\xa9\""),
           "JSON string: escapes, and U+FFFD for bytes that are not UTF-8");
    buf_fini(&b);

    buf_init_huge(&b);
    uint32_t wrong = 0, n = 3 * BUF_HUGE_BYTES;
    for (uint32_t i = 0; i < n / 4; i++)
        buf_put_le32(&b, i);
    for (uint32_t i = 0; i < n / 4; i++)
        wrong += memcmp(b.ptr + 4 * (size_t)i, &i, 4) != 0;
    ok(buf_ok(&b) && b.len == n && wrong == 0, "a huge one keeps its content while it grows");
    ok(((uintptr_t)b.ptr & (BUF_HUGE_BYTES - 1)) == 0 && b.cap % BUF_HUGE_BYTES == 0,
       "and is whole huge pages");
    const char *place = b.ptr;
    ok(buf_reserve(&b, (60U << 20) - b.len) == 0 && b.ptr == place,
       "it does not move below 64 MiB");
    ok(buf_reserve(&b, 100U << 20) == 0 && b.ptr != place && b.len == n &&
           memcmp(b.ptr + n - 4, &(uint32_t){n / 4 - 1}, 4) == 0,
       "and takes its content along beyond");
    for (uint32_t part = 1; part <= 2; part++) {
        size_t keep = n / 2 / part; /* more than a huge page, and less */
        b.len = keep;
        char *last = buf_extend(&b, 10 * BUF_HUGE_BYTES) + 10 * BUF_HUGE_BYTES - 1;
        *last = 1;
        b.len = keep;
        buf_trim(&b);
        uint32_t word = (uint32_t)(keep / 4 - 1);
        ok(b.len == keep && memcmp(b.ptr + keep - 4, &word, 4) == 0 && *last == 0,
           "trimmed, the pages behind its content are given back");
    }
    b.len = n;
    ok(buf_reserve(&b, SIZE_MAX / 2) == -ENOMEM && !buf_ok(&b) && b.len == n,
       "what the address space has no room for is refused, and nothing is lost");
    buf_reset(&b);
    ok(buf_reserve(&b, (size_t)1 << 47) == -ENOMEM && b.cap >= n, "and what the kernel refuses");
    buf_reset(&b);
    buf_put(&b, "abc", 3);
    buf_trim(&b);
    is_mem(b.ptr, b.len, "abc", 3, "trimmed, the content stays");
    ok(b.cap < 1000, "and the rest is given back");
    buf_reset(&b);
    buf_trim(&b);
    ok(b.cap == 0 && buf_ok(&b), "all of it when nothing is left");
    buf_fini(&b);
}

static void test_arena(void)
{
    struct arena a;
    arena_init(&a, 256, 4096);
    char *p = arena_alloc(&a, 10), *q = arena_alloc(&a, 1000);
    ok(p != NULL && q != NULL && ((uintptr_t)p & 15) == 0, "small and large blocks, aligned");
    ok(arena_alloc(&a, 4000) == NULL, "the maximum is answered with NULL");
    arena_reset(&a);
    ok(arena_alloc(&a, 4000) != NULL, "reset gives the space back");
    ok(arena_calloc(&a, SIZE_MAX / 2, 4) == NULL, "an overflowing product is refused");
    arena_fini(&a);
}

struct item {
    struct queue_link link;
    unsigned producer, number;
};
static struct queue shared;
#define ITEMS     50000
#define PRODUCERS 3

static void *produce(void *arg)
{
    for (unsigned i = 0; i < ITEMS;) {
        struct item *it = malloc(sizeof(*it));
        it->producer = (unsigned)(uintptr_t)arg;
        it->number = i;
        if (queue_try_push(&shared, &it->link) == 0)
            i++;
        else
            free(it);
    }
    return NULL;
}

static void test_queue(void)
{
    ok(queue_init(&shared, 1000) == 0, "queue made");
    pthread_t t[PRODUCERS];
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        ok(pthread_create(&t[i], NULL, produce, (void *)i) == 0, "producer started");
    unsigned next[PRODUCERS] = {0}, total = 0;
    bool ordered = true;
    while (total < PRODUCERS * ITEMS) {
        struct queue_link *link = queue_pop(&shared);
        if (link == NULL) {
            if (queue_sleep(&shared)) {
                struct pollfd p = {.fd = queue_fd(&shared), .events = POLLIN};
                if (poll(&p, 1, 10000) != 1)
                    break;
                queue_wake_ack(&shared);
            }
            continue;
        }
        struct item *it = QUEUE_ITEM(link, struct item, link);
        ordered = ordered && it->number == next[it->producer]++;
        free(it);
        total++;
    }
    is_u64(total, PRODUCERS * ITEMS, "nothing lost, no wake-up missed");
    ok(ordered, "each producer's items arrive in order");
    for (int i = 0; i < PRODUCERS; i++)
        (void)pthread_join(t[i], NULL);
    is_u64(queue_count(&shared), 0, "empty at the end");
    queue_fini(&shared);
}

static void test_metric(void)
{
    struct metric *c = metric_new(METRIC_COUNTER, "t_total", "A counter.", "table=\"%s\"", "x");
    metric_add(c, 3);
    ok(metric_new(METRIC_COUNTER, "t_total", "A counter.", "table=\"%s\"", "x") == c,
       "the same series is the same object");
    struct metric *h = metric_new(METRIC_SECONDS, "t_seconds", "A histogram.", NULL);
    metric_observe(h, 1500000);
    metric_observe(h, 900);
    struct buf b;
    buf_init(&b, SIZE_MAX);
    metric_write_all(&b);
    buf_put_u8(&b, 0);
    ok(strstr(b.ptr, "t_total{table=\"x\"} 3\n") != NULL, "counter text");
    ok(strstr(b.ptr, "t_seconds_bucket{le=\"1e-06\"} 1\n") != NULL, "900 ns is within 1 µs");
    ok(strstr(b.ptr, "t_seconds_bucket{le=\"0.002048\"} 2\n") != NULL, "1.5 ms is within 2.048 ms");
    ok(strstr(b.ptr, "t_seconds_count 2\n") != NULL, "count");
    is_u64(metric_quantile(h, 0.99), 2048000, "quantile is the bucket's bound");
    buf_fini(&b);
}

/* A column's name, say, that somebody made up. */
static void test_log(void)
{
    char line[256] = "";
    int ends[2], before = dup(STDERR_FILENO);
    if (before < 0 || pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0)
        abort();
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_JOURNAL);
    log_info("test.line", "a\nb\x1b[31mc\xc2\x9b"
                          "31m\x7f\xc3\xa9\xc2\xa0");
    log_configure(LOG_LEVEL_INFO, LOG_FORMAT_AUTO);
    ssize_t n = read(ends[0], line, sizeof(line) - 1);
    (void)dup2(before, STDERR_FILENO);
    (void)close(before);
    (void)close(ends[0]);
    (void)close(ends[1]);
    const char *want = "<6>test.line a b [31mc  31m \xc3\xa9\xc2\xa0\n";
    is_mem(line, n > 0 ? (size_t)n : 0, want, strlen(want),
           "a log line holds nothing that a terminal obeys");
}

int main(void)
{
    test_crc32c();
    test_buf();
    test_arena();
    test_queue();
    test_metric();
    test_log();
    return tap_done();
}
