/* SPDX-License-Identifier: Apache-2.0 */
/* The query cache: who shares what, what makes it void, what it may take; from one thread, then
 * from many (run it under ThreadSanitizer, too). */
#include "base/limits.h"
#include "base/metric.h"
#include "io/clock.h"
#include "query/cache.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/tap.h"

#define S UINT64_C(1000000000)

static struct query_cache *cache;
static struct queue done;

static void make(struct query_statement *s, const char *sql, const char *value, const char *table)
{
    uint32_t n;
    query_statement_reset(s);
    buf_put_str(&s->sql, sql);
    if (value != NULL && query_statement_bind(s, slice_str(value), &n) != 0)
        abort();
    if (table != NULL)
        buf_put(&s->tables, table, strlen(table) + 1);
}

static struct query_answer *answer_of(const char *text, enum query_class class)
{
    struct buf b;
    buf_init(&b, SIZE_MAX);
    buf_put_str(&b, text);
    struct query_answer *a = query_answer_new(class, &b);
    buf_fini(&b);
    return a;
}

static enum query_cache_found look(const struct query_statement *s, struct query_terms terms,
                                   struct query_ask *ask, struct query_answer **hit,
                                   struct query_entry **e)
{
    ask->done = &done;
    return query_cache_find(cache, s, &terms, ask, hit, e);
}

static void finish(struct query_entry *e, const char *text, enum query_class class, uint64_t ttl)
{
    struct query_answer *a = answer_of(text, class);
    query_cache_finish(cache, e, a, ttl);
    query_answer_unref(a);
    query_entry_unref(cache, e);
}

/* What came back, in no order: how many, each with this text. */
static uint32_t take(const char *text)
{
    struct queue_link *link;
    uint32_t n = 0;
    while ((link = queue_pop(&done)) != NULL) {
        struct query_ask *ask = QUEUE_ITEM(link, struct query_ask, link);
        n += slice_eq_str(ask->answer->body, text);
        query_answer_unref(ask->answer);
        ask->answer = NULL;
    }
    return n;
}

/* Executes it if it is new; the text that answers it. */
static void fill(const struct query_statement *s, const char *text, uint64_t ttl)
{
    struct query_ask ask = {.done = NULL};
    struct query_answer *hit = NULL;
    struct query_entry *e = NULL;
    if (look(s, (struct query_terms){.cache_ttl_ms = -1}, &ask, &hit, &e) == QUERY_CACHE_NEW) {
        finish(e, text, QUERY_FINE, ttl);
        (void)take(text);
    } else {
        query_answer_unref(hit);
    }
}

static bool is_known(const struct query_statement *s, struct query_terms terms)
{
    struct query_ask ask = {.done = NULL};
    struct query_answer *hit = NULL;
    struct query_entry *e = NULL;
    enum query_cache_found f = look(s, terms, &ask, &hit, &e);
    if (f == QUERY_CACHE_HIT) {
        query_answer_unref(hit);
        return true;
    }
    if (f == QUERY_CACHE_NEW) {
        finish(e, "x", QUERY_UNKNOWN, 0);
        (void)take("x");
    }
    return false;
}

static const struct query_terms usual = {.cache_ttl_ms = -1};

static void test_sharing(struct query_statement *s)
{
    struct query_ask asks[50] = {{.done = NULL}};
    struct query_answer *hit = NULL;
    struct query_entry *e = NULL, *other = NULL;
    make(s, "SELECT 1", "a", "t");
    ok(look(s, usual, &asks[0], &hit, &e) == QUERY_CACHE_NEW, "the first is executed");
    uint32_t joined = 0;
    for (int i = 1; i < 50; i++)
        joined += look(s, usual, &asks[i], &hit, &other) == QUERY_CACHE_JOINED;
    is_u64(joined, 49, "49 of the same wait for it");
    finish(e, "[1]", QUERY_FINE, 10 * S);
    is_u64(take("[1]"), 50, "all 50 are answered");
    ok(look(s, usual, &asks[0], &hit, &e) == QUERY_CACHE_HIT && slice_eq_str(hit->body, "[1]"),
       "the next is a hit");
    query_answer_unref(hit);

    make(s, "SELECT 1", "b", "t");
    ok(!is_known(s, usual), "another value is another answer");
    make(s, "SELECT 1", NULL, "t");
    ok(!is_known(s, usual), "no value, too");
    make(s, "SELECT 1", "a", "t");
    s->limits.max_result_rows = 5;
    ok(!is_known(s, usual), "another role's limits, too");
    s->limits.max_result_rows = 0;
    struct query_terms iso = usual;
    iso.rendering = QUERY_ROWS_ISO;
    ok(!is_known(s, iso), "another rendering, too");
    iso = usual;
    iso.server_zone = SLICE_LIT("UTC");
    ok(!is_known(s, iso), "another zone, too");
    ok(is_known(s, usual), "and the same still is the same");

    /* Values that only look alike when they are joined. */
    uint32_t n;
    make(s, "SELECT 2", "ab", "t");
    (void)!query_statement_bind(s, SLICE_LIT("c"), &n);
    fill(s, "[ab,c]", 10 * S);
    make(s, "SELECT 2", "a", "t");
    (void)!query_statement_bind(s, SLICE_LIT("bc"), &n);
    ok(!is_known(s, usual), "values are told apart by their bounds");
}

static void test_versions(struct query_statement *s)
{
    struct query_ask a1 = {.done = NULL}, a2 = {.done = NULL};
    struct query_answer *hit = NULL;
    struct query_entry *e1 = NULL, *e2 = NULL;
    make(s, "SELECT v", NULL, "clicks");
    fill(s, "[1]", 10 * S);
    ok(is_known(s, usual), "known");
    query_cache_bump(cache, query_cache_slot(SLICE_LIT("views_of_something")));
    ok(is_known(s, usual), "another table does not matter");
    query_cache_bump(cache, query_cache_slot(SLICE_LIT("clicks")));
    ok(!is_known(s, usual), "an insert makes it void");
    fill(s, "[2]", 10 * S);
    query_cache_bump_all(cache);
    ok(!is_known(s, usual), "and so does a change of anything");

    ok(look(s, usual, &a1, &hit, &e1) == QUERY_CACHE_NEW, "executed");
    query_cache_bump(cache, query_cache_slot(SLICE_LIT("clicks")));
    ok(look(s, usual, &a2, &hit, &e2) == QUERY_CACHE_NEW,
       "who asks after an insert does not join what was sent before it");
    finish(e1, "[old]", QUERY_FINE, 10 * S);
    is_u64(take("[old]"), 1, "who asked before gets what was asked then");
    finish(e2, "[new]", QUERY_FINE, 10 * S);
    is_u64(take("[new]"), 1, "who asked after gets the new");
    ok(look(s, usual, &a1, &hit, &e1) == QUERY_CACHE_HIT && slice_eq_str(hit->body, "[new]"),
       "and the new is what is kept");
    query_answer_unref(hit);

    make(s, "SELECT moved", NULL, "clicks");
    ok(look(s, usual, &a1, &hit, &e1) == QUERY_CACHE_NEW, "executed");
    query_cache_bump(cache, query_cache_slot(SLICE_LIT("clicks")));
    finish(e1, "[m]", QUERY_FINE, 10 * S);
    is_u64(take("[m]"), 1, "an answer whose table has changed meanwhile is given");
    ok(!is_known(s, usual), "and not kept");

    make(s, "SELECT j", NULL, "a");
    buf_put(&s->tables, "b", 2);
    fill(s, "[ab]", 10 * S);
    ok(is_known(s, usual), "of two tables");
    query_cache_bump(cache, query_cache_slot(SLICE_LIT("b")));
    ok(!is_known(s, usual), "either makes it void");
}

static void test_ends(struct query_statement *s)
{
    struct query_ask a1 = {.done = NULL}, a2 = {.done = NULL};
    struct query_answer *hit = NULL;
    struct query_entry *e = NULL, *again = NULL;
    make(s, "SELECT e", NULL, "t");
    ok(look(s, usual, &a1, &hit, &e) == QUERY_CACHE_NEW, "executed");
    finish(e, "no", QUERY_REJECTED, 10 * S);
    is_u64(take("no"), 1, "an error is answered");
    ok(!is_known(s, usual), "and not kept");

    fill(s, "[1]", 20 * 1000000);
    ok(is_known(s, usual), "kept for 20 ms");
    uint64_t until = io_monotonic_ns() + 25 * 1000000;
    while (io_monotonic_ns() < until)
        ;
    ok(!is_known(s, usual), "and not longer");
    fill(s, "[1]", 0);
    ok(!is_known(s, usual), "a time of 0 keeps nothing");

    ok(look(s, usual, &a1, &hit, &e) == QUERY_CACHE_NEW &&
           look(s, usual, &a2, &hit, &again) == QUERY_CACHE_JOINED,
       "two wait");
    ok(query_cache_cancel(cache, &a1) && !atomic_load(&e->cancelled),
       "one leaves, it goes on for the other");
    ok(query_cache_cancel(cache, &a2) && atomic_load(&e->cancelled), "the last leaves, it ends");
    ok(!query_cache_cancel(cache, &a2), "twice is nothing");
    ok(look(s, usual, &a1, &hit, &again) == QUERY_CACHE_NEW && again != e,
       "who comes then starts anew");
    finish(e, "gone", QUERY_STOPPED, 0);
    is_u64(take("gone"), 0, "nobody is answered by what was cancelled");
    finish(again, "[2]", QUERY_FINE, 10 * S);
    is_u64(take("[2]"), 1, "the new one is");
    ok(!query_cache_cancel(cache, &a1), "what has been answered cannot be cancelled");

    struct query_terms fresh = usual;
    fresh.fresh = true;
    ok(is_known(s, usual), "known");
    ok(look(s, fresh, &a1, &hit, &e) == QUERY_CACHE_NEW, "fresh is executed all the same");
    finish(e, "[3]", QUERY_FINE, 10 * S);
    is_u64(take("[3]"), 1, "answered");
    ok(look(s, usual, &a1, &hit, &e) == QUERY_CACHE_HIT && slice_eq_str(hit->body, "[3]"),
       "and kept for the others");
    query_answer_unref(hit);

    s->writes = true;
    ok(look(s, usual, &a1, &hit, &e) == QUERY_CACHE_NEW &&
           look(s, usual, &a2, &hit, &again) == QUERY_CACHE_NEW,
       "writing is never shared");
    finish(e, "[]", QUERY_FINE, 10 * S);
    finish(again, "[]", QUERY_FINE, 10 * S);
    is_u64(take("[]"), 2, "both are answered");
    s->writes = false;
    struct query_terms raw = {.rendering = QUERY_RAW_DATA, .cache_ttl_ms = -1};
    ok(look(s, raw, &a1, &hit, &e) == QUERY_CACHE_NEW, "nor is raw SQL");
    finish(e, "[]", QUERY_FINE, 10 * S);
    is_u64(take("[]"), 1, "answered");
    ok(!is_known(s, raw), "nor kept");
}

static void test_room(struct query_statement *s)
{
    struct metric *bytes =
        metric_new(METRIC_GAUGE, "wavehouse_cache_bytes", "Memory of the query cache.", NULL);
    char sql[64], *text = malloc(20000);
    memset(text, 'x', 19999);
    text[19999] = '\0';
    query_cache_resize(cache, 256 * KIB);
    for (int i = 0; i < 100; i++) {
        (void)snprintf(sql, sizeof(sql), "SELECT %d", i);
        make(s, sql, NULL, "t");
        fill(s, text, 10 * S);
    }
    ok(metric_get(bytes) > 0 && (uint64_t)metric_get(bytes) <= 256 * KIB,
       "100 answers of 20 kB are kept in 256 KiB (%lld)", (long long)metric_get(bytes));
    make(s, "SELECT 99", NULL, "t");
    ok(is_known(s, usual), "the last is there");
    make(s, "SELECT 0", NULL, "t");
    ok(!is_known(s, usual), "the first is not");
    query_cache_resize(cache, 64 * KIB);
    ok((uint64_t)metric_get(bytes) <= 64 * KIB, "less room takes effect at once");
    make(s, "SELECT large", NULL, "t");
    fill(s, text, 10 * S);
    ok(!is_known(s, usual), "an answer over a quarter of it is not kept");
    query_cache_resize(cache, 0);
    is_u64(metric_get(bytes), 0, "0 keeps nothing");
    make(s, "SELECT small", NULL, "t");
    fill(s, "[]", 10 * S);
    ok(!is_known(s, usual), "at all");
    query_cache_resize(cache, 64 * MIB);
    fill(s, "[]", 10 * S);
    query_cache_bump(cache, query_cache_slot(SLICE_LIT("t")));
    for (int i = 0; i < 64; i++)
        query_cache_sweep(cache);
    is_u64(metric_get(bytes), 0, "what is void is swept out");
    free(text);
}

/* ---- many threads: nobody gets an answer that is older than a bump that came before the question
 */

#define THREADS 4
#define ROUNDS  4000

static _Atomic uint64_t written; /* rows in the table that the answers count */
static struct queue jobs;
static _Atomic bool over;

static void *executor(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        struct queue_link *link = queue_pop(&jobs);
        if (link == NULL)
            continue;
        struct query_job *job = QUEUE_ITEM(link, struct query_job, link);
        struct query_entry *e = QUEUE_ITEM(job, struct query_entry, job);
        char text[32];
        (void)snprintf(text, sizeof(text), "%llu", (unsigned long long)atomic_load(&written));
        finish(e, text, QUERY_FINE, 10 * S);
    }
    return NULL;
}

static void *writer(void *arg)
{
    (void)arg;
    while (!atomic_load(&over)) {
        atomic_fetch_add(&written, 1);
        query_cache_bump(cache, query_cache_slot(SLICE_LIT("count")));
        for (volatile int i = 0; i < 2000; i++)
            ;
    }
    return NULL;
}

static void *reader(void *arg)
{
    uint64_t *bad = arg;
    struct queue mine;
    struct query_statement s;
    query_statement_init(&s);
    make(&s, "SELECT count()", NULL, "count");
    if (queue_init(&mine, SIZE_MAX) != 0)
        abort();
    for (int i = 0; i < ROUNDS; i++) {
        struct query_ask ask = {.done = &mine};
        struct query_answer *a = NULL;
        struct query_entry *e = NULL;
        struct queue_link *link;
        /* The last is not bumped yet, perhaps; all before it are. */
        uint64_t at_least = atomic_load(&written);
        at_least -= at_least > 0;
        enum query_cache_found f = query_cache_find(cache, &s, &usual, &ask, &a, &e);
        if (f == QUERY_CACHE_NEW)
            queue_push(&jobs, &e->job.link);
        if (f != QUERY_CACHE_HIT) {
            if (i % 7 == 0 && query_cache_cancel(cache, &ask))
                continue;
            while ((link = queue_pop(&mine)) == NULL)
                ;
            a = ask.answer;
        }
        char text[32] = "";
        memcpy(text, a->body.ptr, a->body.len < 31 ? a->body.len : 31);
        *bad += strtoull(text, NULL, 10) < at_least;
        query_answer_unref(a);
    }
    queue_fini(&mine);
    query_statement_fini(&s);
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[THREADS], ex, wr;
    uint64_t bad[THREADS] = {0}, sum = 0;
    int rc = queue_init(&jobs, SIZE_MAX);
    rc |= pthread_create(&ex, NULL, executor, NULL) | pthread_create(&wr, NULL, writer, NULL);
    for (int i = 0; i < THREADS; i++)
        rc |= pthread_create(&threads[i], NULL, reader, &bad[i]);
    if (rc != 0)
        abort();
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], NULL);
        sum += bad[i];
    }
    atomic_store(&over, true);
    (void)pthread_join(ex, NULL);
    (void)pthread_join(wr, NULL);
    struct queue_link *link;
    while ((link = queue_pop(&jobs)) != NULL)
        finish(QUEUE_ITEM(QUEUE_ITEM(link, struct query_job, link), struct query_entry, job), "x",
               QUERY_STOPPED, 0);
    queue_fini(&jobs);
    is_u64(sum, 0, "no answer is older than an insert before the question, with four readers");
}

int main(void)
{
    struct query_statement s;
    cache = query_cache_new(64 * MIB);
    if (cache == NULL || queue_init(&done, SIZE_MAX) != 0)
        return 1;
    query_statement_init(&s);
    test_sharing(&s);
    test_versions(&s);
    test_ends(&s);
    test_room(&s);
    test_threads();
    query_statement_fini(&s);
    queue_fini(&done);
    query_cache_free(cache);
    return tap_done();
}
