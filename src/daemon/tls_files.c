/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/tls_files.h"

#include "base/limits.h"
#include "base/log.h"
#include "io/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WARN_DAYS 14
#define NS_PER_S  INT64_C(1000000000)

/* The whole file into text, which stays empty for an empty path. */
static int read_file(const char *path, const char *key, struct buf *text, struct err *e)
{
    if (*path == '\0')
        return 0;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return err_set_errno(e, -errno, "%s (%s)", path, key);
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof(part), f)) > 0 && text->len <= LIMIT_TLS_FILE_BYTES)
        buf_put(text, part, n);
    int rc = ferror(f) ? -EIO : 0;
    (void)fclose(f);
    if (rc != 0)
        return err_set_errno(e, rc, "%s (%s)", path, key);
    if (text->len > LIMIT_TLS_FILE_BYTES)
        return err_set(e, WH_ELIMIT, "%s (%s): over %d bytes, that is no certificate", path, key,
                       (int)LIMIT_TLS_FILE_BYTES);
    return buf_ok(text) ? 0 : err_set_errno(e, -ENOMEM, "%s", path);
}

static void say_end(const struct http_tls_material *m, const char *path)
{
    char ends[24];
    int64_t days;
    http_tls_material_end(m, (int64_t)(io_realtime_ns() / (uint64_t)NS_PER_S), ends, &days);
    if (days < WARN_DAYS)
        log_warn("tls.certificate",
                 "file=%s ends=\"%s\" days_left=%" PRId64
                 ": renew it, then reload (systemctl reload wavehoused)",
                 path, ends, days);
    else
        log_info("tls.certificate", "file=%s ends=\"%s\" days_left=%" PRId64, path, ends, days);
}

int tls_files_load(const struct config *c, struct http_tls_material **out, struct err *e)
{
    struct buf cert, key, ca;
    *out = NULL;
    if (*c->server.tls.cert == '\0')
        return 0;
    buf_init(&cert, SIZE_MAX);
    buf_init(&key, SIZE_MAX);
    buf_init(&ca, SIZE_MAX);
    int rc = read_file(c->server.tls.cert, "server.tls", &cert, e);
    if (rc == 0)
        rc = read_file(c->server.tls.key, "server.tls", &key, e);
    if (rc == 0)
        rc = read_file(c->server.tls.client_ca, "server.tls", &ca, e);
    if (rc == 0) {
        struct http_tls_pem cert_pem = {buf_slice(&cert), c->server.tls.cert},
                            key_pem = {buf_slice(&key), c->server.tls.key},
                            ca_pem = {buf_slice(&ca), c->server.tls.client_ca};
        if (*c->server.tls.client_ca != '\0' && ca.len == 0)
            rc =
                err_set(e, WH_ESYNTAX, "%s (server.tls.client_ca): empty", c->server.tls.client_ca);
        else
            rc = http_tls_material_new(out, &cert_pem, &key_pem, &ca_pem, e);
    }
    if (key.ptr != NULL)
        explicit_bzero(key.ptr, key.cap);
    buf_fini(&cert);
    buf_fini(&key);
    buf_fini(&ca);
    if (rc == 0)
        say_end(*out, c->server.tls.cert);
    return rc;
}

int tls_files_reload(const struct config *c, struct http_tls_material *now,
                     struct http_tls_material **out, struct err *e)
{
    *out = NULL;
    if ((now == NULL) != (*c->server.tls.cert == '\0')) {
        log_warn("config.changed", "server.tls.cert: whether the port speaks HTTPS is decided at "
                                   "the start (restart needed)");
        *out = now != NULL ? http_tls_material_ref(now) : NULL;
        return 0;
    }
    int rc = tls_files_load(c, out, e);
    if (rc == 0 && *out != NULL && http_tls_material_same(now, *out)) {
        http_tls_material_unref(*out);
        *out = http_tls_material_ref(now);
    }
    return rc;
}

int tls_files_clickhouse(const struct config *c, struct ch_tls **out, struct err *e)
{
    bool system = *c->clickhouse.tls.ca == '\0', skip = c->clickhouse.tls.insecure_skip_verify;
    const char *path = system ? CH_TLS_SYSTEM_CA : c->clickhouse.tls.ca;
    struct buf ca;
    int rc = 0;
    *out = NULL;
    if (!c->clickhouse.tls.enabled)
        return 0;
    buf_init(&ca, SIZE_MAX);
    if (!system || !skip) /* the system's store is not missed where nobody looks into it */
        rc = read_file(path,
                       system ? "the system's authorities; clickhouse.tls.ca names others"
                              : "clickhouse.tls.ca",
                       &ca, e);
    if (rc == 0 && ca.len == 0 && !(system && skip))
        rc = err_set(e, WH_ESYNTAX, "%s (clickhouse.tls.ca): empty", path);
    if (rc == 0) {
        struct ch_tls_options o = {.ca = buf_slice(&ca),
                                   .ca_name = path,
                                   .ca_is_system = system,
                                   .insecure_skip_verify = skip};
        rc = ch_tls_new(out, &o, e);
    }
    buf_fini(&ca);
    return rc;
}
