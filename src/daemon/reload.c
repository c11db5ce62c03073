/* SPDX-License-Identifier: Apache-2.0 */
/* New settings while the daemon runs: SIGHUP, or POST /v1/ops/settings/reload. */
#include "daemon/daemon_priv.h"

#include <errno.h>
#include <string.h>

/* A line each; what was only noticed is news, what needs the operator is a warning. */
static void log_lines(const char *id, const struct buf *text, const char *warn_about)
{
    const char *p = text->ptr, *end = text->len > 0 ? p + text->len : p;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf != NULL ? (size_t)(lf - p) : (size_t)(end - p);
        if (warn_about == NULL || memmem(p, n, warn_about, strlen(warn_about)) != NULL)
            log_warn(id, "%.*s", (int)n, p);
        else
            log_info(id, "%.*s", (int)n, p);
        p += n + 1;
    }
}

/* Hand the new settings to everybody who works by them. adopted: one reference, taken; target: the
 * same, or NULL when that did not change; tls: the same, NULL: none. */
static void adopt(struct daemon *d, const struct config *adopted, struct ch_target *target,
                  struct http_tls_material *tls)
{
    (void)pthread_mutex_lock(&d->config_lock);
    const struct config *old = d->config;
    struct http_tls_material *old_tls = d->tls;
    d->config = adopted;
    d->tls = tls;
    (void)pthread_mutex_unlock(&d->config_lock);
    http_tls_material_unref(old_tls);
    if (adopted->clickhouse.embedded && daemon_endpoints_differ(adopted, d->start_config))
        log_warn("config.changed", "clickhouse.addr, clickhouse.http_port: the embedded engine "
                                   "keeps its ports (restart needed)");
    config_unref(old);
    auth_keys_reload(d->api.keys, adopted); /* first: loops take both up in one step */
    atomic_fetch_add(&d->api.config_version, 1);
    daemon_warn_keys(adopted);
    daemon_warn_clickhouse(adopted);
    if (target != NULL) {
        ch_target_unref(d->target);
        d->target = target;
        /* First of all, so that nobody who works with the new target sees the tables of the old
         * one's database as its own (discovery_catalog_of_target). */
        discovery_set_target(d->discovery, target);
    }
    struct query_runner_options qo;
    daemon_query_options(d, adopted, &qo);
    query_runner_reload(d->query, &qo);
    struct flush_options fo;
    daemon_flush_options(d, adopted, &fo);
    flush_reload(d->flush, &fo);
    dedupe_reload(d->dedupe, adopted->dedupe.retention_ms * DAEMON_NS_PER_MS,
                  adopted->dedupe.max_ids);
    atomic_store(&d->api.held_bytes_max, daemon_held_budget(d, adopted));
    discovery_set_interval(d->discovery, adopted->schema_refresh_ms);
    wal_set_budget(d->wal, daemon_wal_budget(adopted), adopted->wal.min_free);
    log_configure(adopted->log_level, adopted->log_format);
}

/* A new target when ClickHouse is another, or to be asked in another way; else *out is NULL. */
static int reload_target(struct daemon *d, const struct config *next, struct ch_target **out,
                         struct err *e)
{
    struct ch_tls *tls;
    *out = NULL;
    int rc = tls_files_clickhouse(next, &tls, e);
    if (rc != 0)
        return rc;
    if (daemon_targets_differ(d->config, next) ||
        !ch_tls_same(tls, ch_target_options(d->target)->tls)) {
        *out = daemon_target_make(d, next, tls);
        rc = *out != NULL ? 0 : err_set(e, -ENOMEM, "out of memory");
    }
    ch_tls_unref(tls);
    return rc;
}

/* Read what the settings name, and see that it can be used. Not 0: findings say why not. */
static int reload_seeds(struct daemon *d, const struct config *next, struct seeds **out,
                        struct buf *findings)
{
    *out = NULL;
    if (seeds_done(d->seeds))
        return seeds_read(out, next, &d->seeds_back, findings);
    buf_put_str(findings,
                "policy.file_path, pipes.dir: what the last start or reload read there is "
                "still on its way to the store; try again later\n");
    return WH_EAGAIN;
}

static void plant(struct daemon *d, struct seeds *seeds)
{
    struct err e = {0};
    seeds_free(d->seeds);
    d->seeds = seeds;
    if (seeds != NULL && seeds_plant(seeds, d->control, DAEMON_SEEDS_WAIT_MS, &e) != 0)
        log_error("control.seed_refused", "%s", e.text);
}

/* What needs the operator, line by line, for whoever asked for the reload. */
static void report(struct api_reload *task, bool adopted, const struct buf *text)
{
    const char *p = text->ptr, *end = text->len > 0 ? p + text->len : p;
    task->adopted = adopted;
    while (p < end) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t n = lf != NULL ? (size_t)(lf - p) : (size_t)(end - p);
        if (!adopted || memmem(p, n, "(restart needed)", 16) != NULL) {
            buf_put(&task->findings, p, n);
            buf_put_u8(&task->findings, '\n');
        }
        p += n + 1;
    }
}

void daemon_reload(struct daemon *d, struct api_reload *task)
{
    struct buf text;
    buf_init(&text, SIZE_MAX);
    notify_send("RELOADING=1");
    const struct config *next = config_load(d->options, &text), *adopted = NULL;
    struct ch_target *target = NULL;
    struct seeds *seeds = NULL;
    if (next != NULL && reload_seeds(d, next, &seeds, &text) == 0) {
        buf_reset(&text);
        adopted = config_adopt(d->config, next, &text);
    }
    struct err e;
    if (adopted != NULL && reload_target(d, adopted, &target, &e) != 0) {
        buf_reset(&text);
        buf_put_str(&text, e.text);
        config_unref(adopted);
        adopted = NULL;
    }
    struct http_tls_material *tls = NULL;
    if (adopted != NULL && tls_files_reload(adopted, d->tls, &tls, &e) != 0) {
        buf_reset(&text);
        buf_put_str(&text, e.text);
        config_unref(adopted);
        ch_target_unref(target);
        adopted = NULL;
    }
    if (adopted == NULL) {
        log_lines("config.refused", &text, NULL);
        log_warn("config.refused", "the settings in force stay");
    } else {
        bool waits = text.len > 0 && memmem(text.ptr, text.len, "(restart needed)", 16) != NULL;
        log_lines("config.changed", &text, "(restart needed)");
        adopt(d, adopted, target, tls);
        plant(d, seeds);
        seeds = NULL;
        log_info("config.reloaded", "the new settings are in force%s",
                 waits ? ", except those that need a restart" : "");
    }
    if (task != NULL)
        report(task, adopted != NULL, &text);
    seeds_free(seeds);
    config_unref(next);
    notify_send("READY=1");
    buf_fini(&text);
}

int daemon_request_reload(void *ctx, struct api_reload *task)
{
    struct daemon *d = ctx;
    (void)pthread_mutex_lock(&d->config_lock);
    bool taken = !d->stopping;
    if (taken)
        queue_push(&d->reloads, &task->link);
    (void)pthread_mutex_unlock(&d->config_lock);
    return taken ? 0 : WH_ESTOPPED;
}

void daemon_take_reloads(struct daemon *d, bool stopping)
{
    struct queue_link *link;
    while ((link = queue_pop(&d->reloads)) != NULL) {
        struct api_reload *task = QUEUE_ITEM(link, struct api_reload, link);
        task->result = stopping ? WH_ESTOPPED : 0;
        if (!stopping)
            daemon_reload(d, task);
        queue_push(task->done, &task->link);
    }
}
