/* SPDX-License-Identifier: Apache-2.0 */
#include "api/discovery.h"

#include "api/ping.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISCOVERY_MAGIC 0x44495343u
#define TASKS_MAX       64
#define BACKOFF_MIN_MS  2000 /* http-api §6 */
#define BACKOFF_MAX_MS  60000
#define NUDGE_MIN_MS    1000
#define ENGINE_START_NS (UINT64_C(20) * 1000000000) /* the embedded engine may take this long */
#define ENGINE_POLL_MS  200
#define PERSISTED_NAME  "schema" /* and ".database" */
#define CAUSE_CAP       512
#define NAME_CAP        (LIMIT_NAME_BYTES + 16)

struct discovery {
    uint32_t magic;
    struct store *store;
    struct ch_target *target; /* of the clients; discovery thread */
    struct ch_http *http;
    struct ping *ping;
    struct queue tasks;
    pthread_t thread;
    pthread_mutex_t lock; /* the four below */
    struct schema_catalog *catalog;
    struct ch_target *catalog_target; /* whose database the catalog is of */
    struct ch_target *next_target;    /* in force from the next question on */
    char cause[CAUSE_CAP];
    _Atomic uint64_t version;     /* written by the discovery thread */
    _Atomic uint64_t succeeded;   /* written by the discovery thread */
    _Atomic uint64_t interval_ms; /* written by a reload */
    _Atomic bool nudged;
    _Atomic bool retargeted; /* next_target is not target */
    _Atomic bool stopping;
    bool discovered;     /* from ClickHouse, not only from disk; discovery thread */
    bool announce;       /* log the next success; discovery thread */
    bool failing;        /* the last attempt failed; discovery thread */
    uint64_t backoff_ms; /* discovery thread */
    uint64_t next_ns;    /* monotonic time of the next refresh; discovery thread */
    uint64_t last_ns;    /* of the last attempt */
    uint64_t started_ns;
    bool embedded;
    struct metric *failures, *refreshes, *tables;
};

static const char *database_of(const struct ch_target *t)
{
    return ch_target_options(t)->database;
}

static void publish(struct discovery *d, struct schema_catalog *catalog)
{
    (void)pthread_mutex_lock(&d->lock);
    struct schema_catalog *old = d->catalog;
    d->catalog = catalog;
    ch_target_unref(d->catalog_target);
    d->catalog_target = ch_target_ref(d->target);
    d->cause[0] = '\0';
    (void)pthread_mutex_unlock(&d->lock);
    atomic_fetch_add_explicit(&d->version, 1, memory_order_release);
    schema_catalog_unref(old);
    metric_set(d->tables, schema_catalog_table_count(catalog));
}

struct schema_catalog *discovery_catalog(struct discovery *d)
{
    CHECK_MAGIC(d, DISCOVERY_MAGIC);
    (void)pthread_mutex_lock(&d->lock);
    struct schema_catalog *c = d->catalog == NULL ? NULL : schema_catalog_ref(d->catalog);
    (void)pthread_mutex_unlock(&d->lock);
    return c;
}

struct schema_catalog *discovery_catalog_of_target(struct discovery *d)
{
    CHECK_MAGIC(d, DISCOVERY_MAGIC);
    (void)pthread_mutex_lock(&d->lock);
    bool same = d->catalog != NULL &&
                strcmp(database_of(d->catalog_target), database_of(d->next_target)) == 0;
    struct schema_catalog *c = same ? schema_catalog_ref(d->catalog) : NULL;
    (void)pthread_mutex_unlock(&d->lock);
    return c;
}

uint64_t discovery_version(const struct discovery *d)
{
    return atomic_load_explicit(&d->version, memory_order_acquire);
}

bool discovery_pending_cause(struct discovery *d, char *text, size_t cap)
{
    (void)pthread_mutex_lock(&d->lock);
    bool pending = d->catalog == NULL;
    if (pending)
        (void)snprintf(text, cap, "%s", d->cause);
    (void)pthread_mutex_unlock(&d->lock);
    return pending;
}

/* Each database its own: a restart with another one must not serve this one's tables. */
static void persisted_name(const struct discovery *d, char *out, size_t cap)
{
    (void)snprintf(out, cap, PERSISTED_NAME ".%s", database_of(d->target));
}

/* Keep the schema for a start without ClickHouse. A failure costs only that. */
static void persist(struct discovery *d, const struct schema_catalog *catalog)
{
    char name[NAME_CAP];
    struct buf text;
    struct err e = {0};
    persisted_name(d, name, sizeof(name));
    buf_init(&text, SIZE_MAX);
    schema_catalog_save(catalog, &text);
    int rc = buf_ok(&text) ? store_blob_put(d->store, name, buf_slice(&text), &e)
                           : err_set_errno(&e, -ENOMEM, "writing the schema out");
    if (rc != 0)
        log_warn("schema.persist_failed",
                 "%s; a restart while ClickHouse is down would not know this schema", e.text);
    buf_fini(&text);
}

static void load_persisted(struct discovery *d)
{
    char name[NAME_CAP];
    struct buf text;
    struct err e = {0};
    persisted_name(d, name, sizeof(name));
    buf_init(&text, SIZE_MAX);
    int rc = store_blob_get(d->store, name, &text, &e);
    struct schema_catalog *catalog = rc == 0 ? schema_catalog_load(buf_slice(&text), &e) : NULL;
    if (catalog != NULL) {
        publish(d, catalog);
        log_info("schema.loaded",
                 "tables=%" PRIu32 " from the previous run; ClickHouse is asked next",
                 schema_catalog_table_count(catalog));
    } else if (rc != WH_ENOTFOUND) {
        log_warn("schema.persist_failed", "%s; ingest waits for ClickHouse", e.text);
    }
    buf_fini(&text);
}

/* The interval with ±10 % jitter, so that many daemons do not ask at the same instant. */
static uint64_t jittered_ns(uint64_t ms)
{
    uint32_t r = 0;
    if (io_random(&r, sizeof(r)) != 0)
        r = 500; /* no jitter then */
    return (ms * 900 + ms * 200 * (r % 1000) / 1000) * 1000;
}

static bool catalogs_differ(const struct schema_catalog *a, const struct schema_catalog *b)
{
    uint32_t n = schema_catalog_table_count(a);
    if (n != schema_catalog_table_count(b) ||
        !slice_eq(schema_catalog_timezone(a), schema_catalog_timezone(b)) ||
        !slice_eq(schema_catalog_version(a), schema_catalog_version(b)))
        return true;
    for (uint32_t i = 0; i < n; i++) {
        const struct schema_table *t = schema_catalog_table(a, i), *u = schema_catalog_table(b, i);
        if (!slice_eq(t->name, u->name) || t->fingerprint != u->fingerprint ||
            t->dedup_window != u->dedup_window || !slice_eq(t->engine, u->engine))
            return true;
    }
    return false;
}

static void adopt(struct discovery *d, struct schema_catalog *fresh)
{
    struct schema_catalog *now = discovery_catalog(d);
    /* catalog_target is written by this thread only. */
    bool changed = now == NULL || catalogs_differ(now, fresh) ||
                   strcmp(database_of(d->catalog_target), database_of(d->target)) != 0;
    schema_catalog_unref(now);
    if (d->failing || d->announce)
        log_info("schema.discovered", "tables=%" PRIu32 " server_version=%.*s",
                 schema_catalog_table_count(fresh), SLICE_ARG(schema_catalog_version(fresh)));
    d->discovered = true;
    d->announce = false;
    d->failing = false;
    if (changed) {
        persist(d, fresh);
        publish(d, fresh);
    } else {
        schema_catalog_unref(fresh);
    }
}

/* What the operator can do about it, for the end of a log line. */
static const char *remedy(const struct ch_error *e)
{
    switch (e->code) {
    case 81: /* UNKNOWN_DATABASE */
        return "; check clickhouse.database";
    case 192: /* UNKNOWN_USER */
    case 193: /* WRONG_PASSWORD */
    case 194: /* REQUIRED_PASSWORD */
    case 516: /* AUTHENTICATION_FAILED */
        return "; check clickhouse.username and clickhouse.password";
    default:
        return "";
    }
}

static void refresh_failed(struct discovery *d, const struct ch_error *e, uint64_t now)
{
    bool engine_starts = d->embedded && !d->discovered && e->outcome == CH_UNAVAILABLE &&
                         now - d->started_ns < ENGINE_START_NS;
    metric_add(d->failures, 1);
    (void)pthread_mutex_lock(&d->lock);
    bool known = d->catalog != NULL;
    (void)snprintf(d->cause, sizeof(d->cause), "%.*s%s", CAUSE_CAP - 80, e->text, remedy(e));
    (void)pthread_mutex_unlock(&d->lock);
    if (engine_starts) {
        d->next_ns = now + ENGINE_POLL_MS * UINT64_C(1000000);
        return;
    }
    if (!d->failing)
        log_warn("schema.refresh_failed", "%s%s; retried with backoff, %s", e->text, remedy(e),
                 known ? "the last known schema stays in use" : "ingest needs a schema first");
    d->failing = true;
    d->next_ns = now + jittered_ns(d->backoff_ms);
    d->backoff_ms = d->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : d->backoff_ms * 2;
}

static enum ch_outcome refresh(struct discovery *d, struct ch_error *e)
{
    struct schema_catalog *fresh = NULL;
    enum ch_outcome outcome = ch_discover(d->http, database_of(d->target), &fresh, e);
    uint64_t now = io_monotonic_ns();
    d->last_ns = now;
    metric_add(d->refreshes, 1);
    if (outcome == CH_OK) {
        adopt(d, fresh);
        atomic_fetch_add(&d->succeeded, 1);
        d->backoff_ms = BACKOFF_MIN_MS;
        d->next_ns = now + jittered_ns(atomic_load(&d->interval_ms));
        return CH_OK;
    }
    refresh_failed(d, e, now);
    return outcome;
}

static int client_make(struct discovery *d, struct ch_target *target)
{
    struct ch_http *http = ch_http_new(ch_target_options(target));
    if (http == NULL)
        return -ENOMEM;
    ch_http_free(d->http);
    ch_target_unref(d->target); /* after the client that reads it */
    d->http = http;
    d->target = ch_target_ref(target);
    return 0;
}

/* A new client when a reload changed the target. Before anything is asked of ClickHouse. */
static void follow_target(struct discovery *d)
{
    if (!atomic_exchange(&d->retargeted, false))
        return;
    (void)pthread_mutex_lock(&d->lock);
    struct ch_target *next = ch_target_ref(d->next_target);
    (void)pthread_mutex_unlock(&d->lock);
    if (client_make(d, next) == 0) {
        d->announce = true;
        d->failing = false;
        d->backoff_ms = BACKOFF_MIN_MS;
        d->next_ns = 0;
    } else {
        atomic_store(&d->retargeted, true); /* out of memory: before the next question again */
    }
    ch_target_unref(next);
}

static void run_task(struct discovery *d, struct discovery_task *task)
{
    task->error = (struct ch_error){.outcome = CH_OK};
    follow_target(d);
    task->outcome = refresh(d, &task->error);
    queue_push(task->done, &task->link);
}

/* Milliseconds until something is due; 0 now. */
static int wait_ms(struct discovery *d)
{
    uint64_t now = io_monotonic_ns(), due = d->next_ns;
    if (atomic_load(&d->nudged) && !d->failing) { /* a nudge does not get round the backoff */
        uint64_t soonest = d->last_ns + NUDGE_MIN_MS * UINT64_C(1000000);
        due = soonest < due ? soonest : due;
    }
    if (due <= now)
        return 0;
    uint64_t ms = (due - now) / 1000000 + 1;
    return ms > 60000 ? 60000 : (int)ms;
}

static void *discovery_main(void *arg)
{
    struct discovery *d = arg;
    (void)pthread_setname_np(pthread_self(), "wh-discovery");
    while (!atomic_load(&d->stopping)) {
        struct queue_link *link;
        while ((link = queue_pop(&d->tasks)) != NULL)
            run_task(d, QUEUE_ITEM(link, struct discovery_task, link));
        follow_target(d);
        int ms = wait_ms(d);
        if (ms == 0) {
            struct ch_error e = {.outcome = CH_OK};
            atomic_store(&d->nudged, false);
            (void)refresh(d, &e);
            continue;
        }
        if (!queue_sleep(&d->tasks))
            continue;
        struct pollfd pfd = {.fd = queue_fd(&d->tasks), .events = POLLIN};
        (void)poll(&pfd, 1, ms);
        queue_wake_ack(&d->tasks);
    }
    return NULL;
}

static void discovery_free(struct discovery *d)
{
    ping_stop(d->ping);
    ch_http_free(d->http);
    ch_target_unref(d->target);
    ch_target_unref(d->catalog_target);
    ch_target_unref(d->next_target);
    queue_fini(&d->tasks);
    schema_catalog_unref(d->catalog);
    (void)pthread_mutex_destroy(&d->lock);
    d->magic = 0;
    free(d);
}

int discovery_start(struct discovery **out, struct store *store,
                    const struct discovery_options *options, struct err *e)
{
    struct discovery *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set_errno(e, -ENOMEM, "starting schema discovery");
    d->magic = DISCOVERY_MAGIC;
    d->store = store;
    d->backoff_ms = BACKOFF_MIN_MS;
    d->started_ns = io_monotonic_ns();
    d->embedded = options->embedded;
    atomic_store(&d->interval_ms, options->refresh_interval_ms);
    (void)pthread_mutex_init(&d->lock, NULL);
    (void)snprintf(d->cause, sizeof(d->cause), "not tried yet");
    d->failures = metric_new(METRIC_COUNTER, "wavehouse_schema_refresh_failures_total",
                             "Schema discoveries that failed.", NULL);
    d->refreshes = metric_new(METRIC_COUNTER, "wavehouse_schema_refreshes_total",
                              "Schema discoveries tried.", NULL);
    d->tables = metric_new(METRIC_GAUGE, "wavehouse_schema_tables", "Tables known.", NULL);
    int rc = queue_init(&d->tasks, TASKS_MAX);
    if (rc == 0)
        rc = client_make(d, options->clickhouse);
    if (rc == 0)
        rc = ping_start(&d->ping, options->clickhouse, e);
    if (rc == 0) {
        d->next_target = ch_target_ref(d->target);
        d->announce = true;
        load_persisted(d);
        rc = -pthread_create(&d->thread, NULL, discovery_main, d);
    }
    if (rc != 0) {
        discovery_free(d);
        return err_set_errno(e, rc, "starting schema discovery");
    }
    *out = d;
    return 0;
}

void discovery_tasks_drop(struct queue *tasks)
{
    struct queue_link *link;
    while ((link = queue_pop(tasks)) != NULL) {
        struct discovery_task *task = QUEUE_ITEM(link, struct discovery_task, link);
        task->outcome = CH_UNAVAILABLE;
        queue_push(task->done, &task->link);
    }
}

void discovery_stop(struct discovery *d)
{
    CHECK_MAGIC(d, DISCOVERY_MAGIC);
    atomic_store(&d->stopping, true);
    queue_wake(&d->tasks);
    (void)pthread_join(d->thread, NULL);
    discovery_tasks_drop(&d->tasks);
    discovery_free(d);
}

void discovery_set_target(struct discovery *d, struct ch_target *target)
{
    CHECK_MAGIC(d, DISCOVERY_MAGIC);
    ping_set_target(d->ping, target);
    (void)pthread_mutex_lock(&d->lock);
    struct ch_target *old = d->next_target;
    d->next_target = ch_target_ref(target);
    (void)pthread_mutex_unlock(&d->lock);
    ch_target_unref(old);
    if (old != target && !atomic_exchange(&d->retargeted, true))
        queue_wake(&d->tasks);
}

void discovery_set_interval(struct discovery *d, uint64_t refresh_interval_ms)
{
    if (atomic_exchange(&d->interval_ms, refresh_interval_ms) != refresh_interval_ms)
        discovery_nudge(d); /* the wait under way was measured with the old one */
}

void discovery_nudge(struct discovery *d)
{
    if (!atomic_exchange(&d->nudged, true))
        queue_wake(&d->tasks);
}

uint64_t discovery_refreshes(const struct discovery *d)
{
    return atomic_load(&d->succeeded);
}

int discovery_ask(struct discovery *d, struct discovery_task *task)
{
    CHECK_MAGIC(d, DISCOVERY_MAGIC);
    return task->kind == DISCOVERY_PING ? ping_ask(d->ping, task)
                                        : queue_try_push(&d->tasks, &task->link);
}
