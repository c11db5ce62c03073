/* SPDX-License-Identifier: Apache-2.0 */
#include "dedupe/dedupe.h"

#include "base/le.h"
#include "base/log.h"
#include "base/magic.h"
#include "dedupe/index.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define DEDUPE_MAGIC 0x44454450u
#define KEY_BLOB     "dedupe.key"
#define BUSY_MS      100 /* between two looks at the log while ids come in */
#define IDLE_MS      1000
#define ID_BYTES_MAX 14                  /* of the table, at its emptiest */
#define IDS_BETWEEN  (UINT64_C(1) << 20) /* may come in before the index thread drops a bucket */

struct dedupe {
    uint32_t magic;
    struct dedupe_table *table;
    struct dedupe_index index; /* the index thread's, but for its atomics */
    struct queue wake;         /* no items: only its eventfd */
    pthread_t thread;
    bool started;
    _Atomic bool ready; /* written by the index thread */
    _Atomic bool stopping;
    _Atomic uint64_t bytes_max;  /* of the table; written by the index thread */
    _Atomic uint64_t bucket_max; /* ids after which a bucket is full; the same */
    pthread_mutex_t limits_lock;
    struct dedupe_limits limits; /* as last told */
};

/* ---- the secret ---- */

/* The control store was started anew: the files still have it. */
static bool key_from_files(const struct dedupe_options *o, struct dedupe_key *key)
{
    struct buf seqs;
    uint8_t log_id[WAL_LOG_ID_BYTES];
    struct err e = {0};
    bool found = false;
    wal_log_id(o->wal, log_id);
    buf_init(&seqs, SIZE_MAX);
    if (dedupe_bucket_list(o->io, o->path, &seqs, &e) == 0) {
        for (size_t i = seqs.len; i > 0 && !found; i -= sizeof(uint64_t)) {
            struct dedupe_bucket_head head;
            uint64_t seq = le64_get(seqs.ptr + i - sizeof(uint64_t));
            found = dedupe_bucket_peek(o->io, o->path, seq, &head) == 0 &&
                    memcmp(head.log_id, log_id, sizeof(log_id)) == 0;
            if (found)
                *key = head.key;
        }
    }
    buf_fini(&seqs);
    return found;
}

static int key_load(const struct dedupe_options *o, struct dedupe_key *key, struct err *e)
{
    struct buf blob;
    buf_init(&blob, SIZE_MAX);
    int rc = store_blob_get(o->store, KEY_BLOB, &blob, e);
    bool there = rc == 0 && blob.len == sizeof(key->bytes);
    if (there)
        memcpy(key->bytes, blob.ptr, sizeof(key->bytes));
    buf_fini(&blob);
    if (there || (rc != 0 && rc != WH_ENOTFOUND))
        return rc;
    *e = (struct err){0};
    if (!key_from_files(o, key)) {
        rc = io_random(key->bytes, sizeof(key->bytes));
        if (rc != 0)
            return err_set_errno(e, rc, "dedupe: making a secret");
    }
    return store_blob_put(o->store, KEY_BLOB,
                          (struct slice){(const char *)key->bytes, sizeof(key->bytes)}, e);
}

/* ---- the index thread ---- */

static void take_limits(struct dedupe *d)
{
    (void)pthread_mutex_lock(&d->limits_lock);
    d->index.options.limits = d->limits;
    (void)pthread_mutex_unlock(&d->limits_lock);
    uint64_t most = d->index.options.limits.max_ids;
    atomic_store(&d->bucket_max, dedupe_index_bucket_max(&d->index.options.limits));
    atomic_store(&d->bytes_max, (most + most / 8 + IDS_BETWEEN) * ID_BYTES_MAX);
}

static void announce(struct dedupe *d, uint64_t start_ns)
{
    atomic_store(&d->ready, true);
    log_info("dedupe.ready", "ids=%" PRIu64 " index=%" PRIu64 " took_ms=%" PRIu64,
             dedupe_table_count(d->table), d->index.applied,
             (io_monotonic_ns() - start_ns) / UINT64_C(1000000));
}

static void nap(struct dedupe *d)
{
    if (!queue_sleep(&d->wake))
        return;
    bool busy =
        d->index.waiting.len > 0 || dedupe_table_pending(d->table) > 0 || !atomic_load(&d->ready);
    struct pollfd p = {.fd = queue_fd(&d->wake), .events = POLLIN};
    if (!atomic_load(&d->stopping))
        (void)poll(&p, 1, busy && !d->index.stalled ? BUSY_MS : IDLE_MS);
    queue_wake_ack(&d->wake);
}

static void *index_main(void *arg)
{
    struct dedupe *d = arg;
    struct err e = {0};
    uint64_t start_ns = io_monotonic_ns();
    (void)pthread_setname_np(pthread_self(), "wh-index");
    take_limits(d);
    int rc = dedupe_index_load(&d->index, &e);
    if (rc != 0) {
        log_error("dedupe.unavailable",
                  "%s; records with ids are answered 503 until a restart can read the index (or, "
                  "with its folder deleted, the log)",
                  e.text);
        return NULL;
    }
    for (bool last = false; !last;) {
        last = atomic_load(&d->stopping);
        take_limits(d);
        while (dedupe_index_turn(&d->index, last) && !(atomic_load(&d->stopping) && !last)) {
        }
        if (d->index.caught_up && !atomic_load(&d->ready))
            announce(d, start_ns);
        if (!last)
            nap(d);
    }
    return NULL;
}

/* ---- start and stop ---- */

int dedupe_start(struct dedupe **out, const struct dedupe_options *options, struct err *e)
{
    struct dedupe *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return err_set(e, -ENOMEM, "dedupe: out of memory");
    d->magic = DEDUPE_MAGIC;
    d->limits = (struct dedupe_limits){options->retention_ns, options->max_ids};
    (void)pthread_mutex_init(&d->limits_lock, NULL);
    struct dedupe_index_options index = {.io = options->io,
                                         .path = options->path,
                                         .wal = options->wal,
                                         .commit = options->commit,
                                         .limits = d->limits,
                                         .now_ns = io_realtime_ns};
    int rc = key_load(options, &index.key, e);
    if (rc != 0)
        goto fail;
    rc = -ENOMEM;
    index.table = d->table = dedupe_table_new();
    if (d->table == NULL)
        goto fail;
    rc = queue_init(&d->wake, 1);
    if (rc != 0)
        goto fail;
    rc = dedupe_index_init(&d->index, &index, e);
    if (rc == 0)
        rc = -pthread_create(&d->thread, NULL, index_main, d);
    if (rc != 0)
        goto fail_thread;
    d->started = true;
    *out = d;
    return 0;
fail_thread:
    queue_fini(&d->wake);
fail:
    dedupe_table_free(d->table);
    free(d);
    return e->code != 0 ? rc : err_set_errno(e, rc, "starting the dedup index");
}

void dedupe_stop(struct dedupe *d)
{
    CHECK_MAGIC(d, DEDUPE_MAGIC);
    if (!d->started)
        return;
    atomic_store(&d->stopping, true);
    queue_wake(&d->wake);
    (void)pthread_join(d->thread, NULL);
    d->started = false;
    dedupe_index_close(&d->index);
}

void dedupe_free(struct dedupe *d)
{
    if (d == NULL)
        return;
    CHECK_MAGIC(d, DEDUPE_MAGIC);
    must(!d->started);
    queue_fini(&d->wake);
    dedupe_table_free(d->table);
    (void)pthread_mutex_destroy(&d->limits_lock);
    d->magic = 0;
    free(d);
}

void dedupe_reload(struct dedupe *d, uint64_t retention_ns, uint64_t max_ids)
{
    CHECK_MAGIC(d, DEDUPE_MAGIC);
    (void)pthread_mutex_lock(&d->limits_lock);
    d->limits = (struct dedupe_limits){retention_ns, max_ids};
    (void)pthread_mutex_unlock(&d->limits_lock);
    queue_wake(&d->wake);
}

/* ---- the loops ---- */

bool dedupe_ready(const struct dedupe *d)
{
    return atomic_load_explicit(&d->ready, memory_order_acquire);
}

const struct dedupe_key *dedupe_key(const struct dedupe *d)
{
    return &d->index.options.key;
}

void dedupe_prefetch(const struct dedupe *d, const struct dedupe_id *id)
{
    dedupe_table_prefetch(d->table, id);
}

bool dedupe_known(const struct dedupe *d, const struct dedupe_id *id)
{
    return dedupe_table_has(d->table, id);
}

enum dedupe_verdict dedupe_reserve(struct dedupe *d, const struct dedupe_id *id)
{
    if (dedupe_table_bytes(d->table) > atomic_load_explicit(&d->bytes_max, memory_order_relaxed))
        return DEDUPE_NO_ROOM;
    return dedupe_table_reserve(d->table, id);
}

void dedupe_settle(struct dedupe *d, const void *ids, uint32_t count, bool committed,
                   uint64_t log_index)
{
    CHECK_MAGIC(d, DEDUPE_MAGIC);
    uint64_t seen = atomic_load(&d->index.settled);
    while (committed && seen < log_index &&
           !atomic_compare_exchange_weak(&d->index.settled, &seen, log_index)) {
    }
    (void)dedupe_table_settle(d->table, ids, count, committed, &d->index.current);
    /* A bucket is forgotten as a whole, so it must not go on growing while the index sleeps. */
    if (committed && dedupe_table_bucket_count(d->table, atomic_load(&d->index.current)) >
                         atomic_load_explicit(&d->bucket_max, memory_order_relaxed))
        queue_wake_sleeper(&d->wake);
}

bool dedupe_wait(struct dedupe *d, struct dedupe_wait *w)
{
    return dedupe_table_wait(d->table, w);
}

bool dedupe_unwait(struct dedupe *d, struct dedupe_wait *w)
{
    return dedupe_table_unwait(d->table, w);
}
