/* SPDX-License-Identifier: Apache-2.0 */
/* What each room is given of the settings, at the start and at each reload. */
#include "daemon/daemon_priv.h"

#include "access/operator.h"
#include "base/limits.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define ENDPOINTS_MAX      16
#define CONNECT_TIMEOUT_MS 3000
#define WAL_DEFAULT_BYTES  (50 * UINT64_C(1000000000)) /* wal.max_bytes */

const struct config *daemon_config(void *ctx)
{
    struct daemon *d = ctx;
    (void)pthread_mutex_lock(&d->config_lock);
    const struct config *c = config_ref(d->config);
    (void)pthread_mutex_unlock(&d->config_lock);
    return c;
}

uint64_t daemon_wal_budget(const struct config *c)
{
    struct statvfs fs;
    if (c->wal.max_bytes != 0)
        return c->wal.max_bytes;
    if (statvfs(c->data_dir, &fs) != 0)
        return WAL_DEFAULT_BYTES;
    uint64_t most = (uint64_t)fs.f_blocks * fs.f_frsize / 10 * 8;
    return most < WAL_DEFAULT_BYTES ? most : WAL_DEFAULT_BYTES;
}

struct schema_catalog *daemon_target_catalog(void *ctx)
{
    return discovery_catalog_of_target(((struct daemon *)ctx)->discovery);
}

static uint64_t refreshes(void *ctx)
{
    return discovery_refreshes(((struct daemon *)ctx)->discovery);
}

void daemon_request_refresh(void *ctx)
{
    discovery_nudge(((struct daemon *)ctx)->discovery);
}

struct ch_target *daemon_target_make(const struct daemon *d, const struct config *c,
                                     struct ch_tls *tls)
{
    struct ch_endpoint endpoints[ENDPOINTS_MAX];
    /* The engine listens where it was told to at its start, whatever the file says by now. */
    const struct config *at = c->clickhouse.embedded ? d->start_config : c;
    uint32_t n = at->clickhouse.addr_count;
    n = n < ENDPOINTS_MAX ? n : ENDPOINTS_MAX;
    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(endpoints[i].host, sizeof(endpoints[i].host), "%s",
                       at->clickhouse.addr[i].host);
        endpoints[i].port = at->clickhouse.addr[i].port;
        endpoints[i].http_port = at->clickhouse.http_port;
    }
    struct ch_options options = {
        .endpoints = endpoints,
        .endpoint_count = n,
        .database = c->clickhouse.database,
        .username = c->clickhouse.username,
        .password = c->clickhouse.password,
        .tls = tls,
        .compress_lz4 = c->clickhouse.compression_lz4,
        .connect_timeout_ms = CONNECT_TIMEOUT_MS,
        .io_timeout_ms = c->clickhouse.query_timeout_ms,
    };
    return ch_target_new(&options);
}

bool daemon_endpoints_differ(const struct config *a, const struct config *b)
{
    bool differ = a->clickhouse.addr_count != b->clickhouse.addr_count ||
                  a->clickhouse.http_port != b->clickhouse.http_port;
    for (uint32_t i = 0; !differ && i < a->clickhouse.addr_count; i++)
        differ = a->clickhouse.addr[i].port != b->clickhouse.addr[i].port ||
                 strcmp(a->clickhouse.addr[i].host, b->clickhouse.addr[i].host) != 0;
    return differ;
}

bool daemon_targets_differ(const struct config *a, const struct config *b)
{
    return daemon_endpoints_differ(a, b) ||
           strcmp(a->clickhouse.database, b->clickhouse.database) != 0 ||
           strcmp(a->clickhouse.username, b->clickhouse.username) != 0 ||
           strcmp(a->clickhouse.password, b->clickhouse.password) != 0 ||
           a->clickhouse.compression_lz4 != b->clickhouse.compression_lz4 ||
           a->clickhouse.query_timeout_ms != b->clickhouse.query_timeout_ms;
}

uint64_t daemon_held_budget(const struct daemon *d, const struct config *c)
{
    /* A quarter of the store's largest size at most, as dead letters take up to a half. */
    uint64_t most = store_bytes_max(d->store) / 4;
    uint64_t bytes =
        c->ingest.held_max_bytes != 0 ? c->ingest.held_max_bytes : daemon_wal_budget(c) / 10;
    return bytes < most ? bytes : most;
}

static bool hold_unknown(void *ctx, struct slice table)
{
    const struct config *c = daemon_config(ctx);
    bool hold = config_table_find(c, table)->unknown_columns == CONFIG_UNKNOWN_HOLD;
    config_unref(c);
    return hold;
}

static bool keep_dead(void *ctx, struct slice table)
{
    const struct config *c = daemon_config(ctx);
    bool keep = config_table_find(c, table)->dlq_enabled;
    config_unref(c);
    return keep;
}

static void inserted(void *ctx, struct slice table)
{
    query_runner_bump(((struct daemon *)ctx)->query, table);
}

void daemon_query_options(struct daemon *d, const struct config *c, struct query_runner_options *o)
{
    *o = (struct query_runner_options){
        .clickhouse = d->target,
        .timeout_ms = c->clickhouse.query_timeout_ms,
        .cache_bytes = c->cache.l1_max_cost,
        .max_concurrent = c->query.max_concurrent,
        .refreshes = refreshes,
        .request_refresh = daemon_request_refresh,
        .ctx = d,
    };
}

void daemon_flush_options(struct daemon *d, const struct config *c, struct flush_options *o)
{
    *o = (struct flush_options){
        .wal = d->wal,
        .commit = d->commit,
        .store = d->store,
        .clickhouse = d->target,
        .cluster = d->log_id,
        .max_open_conns = c->clickhouse.max_open_conns,
        .interval_ms = c->flush.interval_ms,
        .max_rows = c->flush.max_rows,
        .max_bytes = c->flush.max_bytes,
        .retry_min_ms = c->flush.retry_min_ms,
        .retry_max_ms = c->flush.retry_max_ms,
        .catch_up_rows_per_s = c->flush.catch_up_rows_per_second,
        .retain_ms = c->wal.retain_ms,
        .dlq_max_bytes = c->dlq.max_bytes != 0 ? c->dlq.max_bytes : daemon_wal_budget(c) / 10,
        .catalog = daemon_target_catalog,
        .request_refresh = daemon_request_refresh,
        .refreshes = refreshes,
        .dlq = keep_dead,
        .hold = hold_unknown,
        .inserted = inserted,
        .ctx = d,
        .fold = control_fold(d->control),
    };
}

static void warn_key(const char *name, const char *key)
{
    size_t n = strlen(key);
    if (n > 0 && n < ACCESS_OPERATOR_KEY_BYTES_MIN)
        log_warn("auth.short_key", "%s has %zu bytes: make it %d or more", name, n,
                 ACCESS_OPERATOR_KEY_BYTES_MIN);
}

void daemon_warn_keys(const struct config *c)
{
    warn_key("auth.operator_key", c->auth.operator_key);
    warn_key("auth.operator_key_next", c->auth.operator_key_next);
}

void daemon_warn_clickhouse(const struct config *c)
{
    if (c->clickhouse.tls.enabled && c->clickhouse.tls.insecure_skip_verify)
        log_warn("clickhouse.unverified",
                 "clickhouse.tls.insecure_skip_verify: nobody checks that it is ClickHouse that "
                 "answers; password and events may be read on the way");
}
