/* SPDX-License-Identifier: Apache-2.0 */
#include "api/auth_keys.h"

#include "base/limits.h"
#include "base/log.h"
#include "base/magic.h"
#include "base/metric.h"
#include "clickhouse/http_client.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define KEYS_MAGIC       0x4b455953u
#define FETCH_TIMEOUT_MS 10000
#define RETRY_MIN_NS     (UINT64_C(1) * 1000000000)
#define RETRY_MAX_NS     (UINT64_C(60) * 1000000000)
#define REFRESH_NS       (UINT64_C(3600) * 1000000000)
#define MISS_EVERY_NS    (UINT64_C(300) * 1000000000)
#define SECRET_BYTES_MIN 32 /* RFC 7518 §3.2, for HS256 */

struct auth_keys {
    uint32_t magic;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock; /* all but the atomics */
    pthread_cond_t wake;
    struct access_keys *keys;     /* in force; NULL: none were fetched yet */
    char *secret, *url, *ca_file; /* settings in force */
    uint64_t settings;            /* moves with url and ca_file: a fetch of others is not taken */
    uint64_t next_ns;             /* monotonic: when to fetch; UINT64_MAX: never */
    uint64_t retry_ns;            /* pause after the next failure */
    uint64_t missed_ns;           /* when a miss last led to a fetch; 0: never */
    bool failing;
    _Atomic uint64_t version;
    _Atomic uint64_t miss_after_ns; /* misses before are not worth the lock */
    _Atomic bool stopping, abandon; /* abandon: the transfer under way is of no use */
    struct metric *fetches, *failures, *count;
};

/* ---- keys in force ----------------------------------------------------------------------------
 */

/* Takes the reference; under the lock. */
static void publish(struct auth_keys *k, struct access_keys *keys)
{
    access_keys_unref(k->keys);
    k->keys = keys;
    metric_set(k->count, keys != NULL ? access_keys_count(keys) : 0);
    atomic_fetch_add_explicit(&k->version, 1, memory_order_release);
}

uint64_t auth_keys_version(const struct auth_keys *k)
{
    return atomic_load_explicit(&k->version, memory_order_acquire);
}

struct access_keys *auth_keys_current(struct auth_keys *k)
{
    CHECK_MAGIC(k, KEYS_MAGIC);
    (void)pthread_mutex_lock(&k->lock);
    struct access_keys *keys = k->keys != NULL ? access_keys_ref(k->keys) : NULL;
    (void)pthread_mutex_unlock(&k->lock);
    return keys;
}

void auth_keys_miss(struct auth_keys *k)
{
    uint64_t now = io_monotonic_ns();
    if (now < atomic_load_explicit(&k->miss_after_ns, memory_order_relaxed))
        return;
    (void)pthread_mutex_lock(&k->lock);
    if (k->url[0] != '\0' && (k->missed_ns == 0 || now - k->missed_ns >= MISS_EVERY_NS)) {
        k->missed_ns = now;
        k->next_ns = now;
        (void)pthread_cond_signal(&k->wake);
    }
    atomic_store_explicit(&k->miss_after_ns,
                          k->url[0] != '\0' ? k->missed_ns + MISS_EVERY_NS : UINT64_MAX,
                          memory_order_relaxed);
    (void)pthread_mutex_unlock(&k->lock);
}

/* ---- fetching ---------------------------------------------------------------------------------
 */

static int fetch(struct auth_keys *k, const char *url, const char *ca_file,
                 struct access_keys **out, uint32_t *skipped, struct err *e)
{
    struct buf body;
    struct ch_get get = {.url = url,
                         .ca_file = ca_file[0] != '\0' ? ca_file : NULL,
                         .timeout_ms = FETCH_TIMEOUT_MS,
                         .response_max = LIMIT_JWKS_BYTES,
                         .cancel = &k->abandon};
    buf_init(&body, LIMIT_JWKS_BYTES);
    int rc = ch_get(&get, &body, e);
    if (rc == 0) {
        struct json_reader *reader = json_reader_new(LIMIT_JWKS_BYTES);
        rc = reader != NULL ? access_keys_jwks(reader, buf_slice(&body), out, skipped, e)
                            : err_set(e, -ENOMEM, "out of memory");
        json_reader_free(reader);
    }
    buf_fini(&body);
    return rc;
}

static void succeeded(struct auth_keys *k, struct access_keys *keys, uint32_t skipped)
{
    uint32_t n = access_keys_count(keys);
    bool first = k->keys == NULL;
    if (n == 0)
        log_warn("auth.jwks",
                 "%s has no key that can be used (%" PRIu32 " skipped): no token is "
                 "good",
                 k->url, skipped);
    else if (first || k->failing)
        log_info("auth.jwks", "keys=%" PRIu32 " skipped=%" PRIu32 " from %s", n, skipped, k->url);
    k->failing = false;
    k->retry_ns = RETRY_MIN_NS;
    k->next_ns = io_monotonic_ns() + REFRESH_NS;
    publish(k, keys);
}

static void failed(struct auth_keys *k, const struct err *e)
{
    metric_add(k->failures, 1);
    if (!k->failing)
        log_warn("auth.jwks_failed", "%s; tried again with backoff, %s", e->text,
                 k->keys != NULL ? "the last known keys stay in use"
                                 : "requests with a token are answered 503 until then");
    k->failing = true;
    k->next_ns = io_monotonic_ns() + k->retry_ns;
    k->retry_ns = k->retry_ns * 2 < RETRY_MAX_NS ? k->retry_ns * 2 : RETRY_MAX_NS;
}

/* Under the lock, which is given up while the document comes. */
static void refresh(struct auth_keys *k)
{
    struct err e = {0};
    struct access_keys *keys = NULL;
    uint32_t skipped = 0;
    uint64_t settings = k->settings;
    char *url = slice_dup(slice_str(k->url)), *ca_file = slice_dup(slice_str(k->ca_file));
    k->next_ns = UINT64_MAX; /* a miss meanwhile moves it */
    atomic_store(&k->abandon, atomic_load(&k->stopping));
    (void)pthread_mutex_unlock(&k->lock);
    int rc = url != NULL && ca_file != NULL ? fetch(k, url, ca_file, &keys, &skipped, &e)
                                            : err_set(&e, -ENOMEM, "out of memory");
    free(url);
    free(ca_file);
    (void)pthread_mutex_lock(&k->lock);
    if (settings != k->settings || atomic_load(&k->stopping)) {
        access_keys_unref(keys); /* of an issuer that is not asked any more */
        return;
    }
    metric_add(k->fetches, 1);
    if (rc == 0)
        succeeded(k, keys, skipped);
    else
        failed(k, &e);
}

static void *thread_main(void *arg)
{
    struct auth_keys *k = arg;
    (void)pthread_setname_np(pthread_self(), "wh-keys");
    (void)pthread_mutex_lock(&k->lock);
    while (!atomic_load(&k->stopping)) {
        if (io_monotonic_ns() >= k->next_ns) {
            refresh(k);
        } else if (k->next_ns == UINT64_MAX) {
            (void)pthread_cond_wait(&k->wake, &k->lock);
        } else {
            struct timespec until = {.tv_sec = (time_t)(k->next_ns / 1000000000),
                                     .tv_nsec = (long)(k->next_ns % 1000000000)};
            (void)pthread_cond_timedwait(&k->wake, &k->lock, &until);
        }
    }
    (void)pthread_mutex_unlock(&k->lock);
    return NULL;
}

/* ---- settings ---------------------------------------------------------------------------------
 */

static bool replace(char **at, const char *with)
{
    char *copy = slice_dup(slice_str(with));
    if (copy == NULL)
        return false;
    if (*at != NULL) {
        explicit_bzero(*at, strlen(*at));
        free(*at);
    }
    *at = copy;
    return true;
}

static void warn_short(const struct config *c)
{
    size_t n = strlen(c->auth.jwt_secret);
    if (n > 0 && n < SECRET_BYTES_MIN && c->auth.jwks_url[0] == '\0')
        log_warn("auth.short_key",
                 "auth.jwt_secret has %zu bytes: one under %d can be guessed "
                 "from a token",
                 n, SECRET_BYTES_MIN);
    if (n > 0 && c->auth.jwks_url[0] != '\0')
        log_warn("auth.secret_unused", "auth.jwks_url is set, so auth.jwt_secret verifies nothing");
}

/* Under the lock. What cannot be copied leaves no key in force, rather than an old one. */
static int settle(struct auth_keys *k, const struct config *c)
{
    bool by_url = c->auth.jwks_url[0] != '\0';
    struct access_keys *keys = NULL;
    bool fine = replace(&k->secret, c->auth.jwt_secret) && replace(&k->url, c->auth.jwks_url) &&
                replace(&k->ca_file, c->auth.jwks_ca);
    if (!by_url || !fine)
        keys = access_keys_secret(by_url ? (struct slice){NULL, 0} : slice_str(c->auth.jwt_secret));
    fine = fine && (by_url || keys != NULL);
    k->settings++;
    k->failing = false;
    k->retry_ns = RETRY_MIN_NS;
    k->missed_ns = 0;
    k->next_ns = by_url && fine ? 0 : UINT64_MAX;
    atomic_store(&k->miss_after_ns, 0);
    atomic_store(&k->abandon, true);
    publish(k, keys);
    (void)pthread_cond_signal(&k->wake);
    return fine ? 0 : -ENOMEM;
}

void auth_keys_reload(struct auth_keys *k, const struct config *c)
{
    CHECK_MAGIC(k, KEYS_MAGIC);
    (void)pthread_mutex_lock(&k->lock);
    bool same = strcmp(k->secret, c->auth.jwt_secret) == 0 &&
                strcmp(k->url, c->auth.jwks_url) == 0 && strcmp(k->ca_file, c->auth.jwks_ca) == 0;
    int rc = same ? 0 : settle(k, c);
    (void)pthread_mutex_unlock(&k->lock);
    if (rc != 0)
        log_error("config.refused", "out of memory while the keys of tokens were taken up: no "
                                    "token is good until the next reload");
    if (!same)
        warn_short(c);
}

/* ---- life -------------------------------------------------------------------------------------
 */

int auth_keys_start(struct auth_keys **out, const struct config *config, struct err *e)
{
    pthread_condattr_t attr;
    struct auth_keys *k = calloc(1, sizeof(*k));
    *out = NULL;
    if (k == NULL)
        return err_set(e, -ENOMEM, "out of memory");
    k->magic = KEYS_MAGIC;
    k->fetches = metric_new(METRIC_COUNTER, "wavehouse_auth_jwks_fetches_total",
                            "Fetches of the document at auth.jwks_url.", NULL);
    k->failures = metric_new(METRIC_COUNTER, "wavehouse_auth_jwks_failures_total",
                             "Fetches of the document at auth.jwks_url that failed.", NULL);
    k->count = metric_new(METRIC_GAUGE, "wavehouse_auth_keys",
                          "Keys that tokens are verified with.", NULL);
    (void)pthread_mutex_init(&k->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&k->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    int rc = settle(k, config);
    if (rc == 0)
        rc = -pthread_create(&k->thread, NULL, thread_main, k);
    if (rc != 0) {
        auth_keys_free(k);
        return err_set_errno(e, rc, "starting the thread that fetches keys");
    }
    k->running = true;
    warn_short(config);
    *out = k;
    return 0;
}

void auth_keys_stop(struct auth_keys *k)
{
    if (k == NULL || !k->running)
        return;
    CHECK_MAGIC(k, KEYS_MAGIC);
    (void)pthread_mutex_lock(&k->lock);
    atomic_store(&k->stopping, true);
    atomic_store(&k->abandon, true);
    (void)pthread_cond_signal(&k->wake);
    (void)pthread_mutex_unlock(&k->lock);
    (void)pthread_join(k->thread, NULL);
    k->running = false;
}

void auth_keys_free(struct auth_keys *k)
{
    if (k == NULL)
        return;
    CHECK_MAGIC(k, KEYS_MAGIC);
    must(!k->running);
    access_keys_unref(k->keys);
    if (k->secret != NULL)
        explicit_bzero(k->secret, strlen(k->secret));
    free(k->secret);
    free(k->url);
    free(k->ca_file);
    (void)pthread_cond_destroy(&k->wake);
    (void)pthread_mutex_destroy(&k->lock);
    k->magic = 0;
    free(k);
}
