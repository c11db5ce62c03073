/* SPDX-License-Identifier: Apache-2.0 */
/* The files that server.tls and clickhouse.tls name, read and checked at start and at each reload,
 * so that a renewed certificate is taken up by `systemctl reload`. Main thread. */
#ifndef WH_DAEMON_TLS_FILES_H
#define WH_DAEMON_TLS_FILES_H

#include "clickhouse/tls_client.h"
#include "config/config.h"
#include "http/tls.h"

/* One reference in *out, or NULL when no certificate is configured. Warns of one that ends within
 * 14 days. On failure e names file and cause. */
int tls_files_load(const struct config *c, struct http_tls_material **out,
                   struct err *e) WH_MUST_CHECK;
/* The same for a reload: now when nothing in the files has changed (another reference). Whether the
 * port speaks TLS at all is decided at the start. */
int tls_files_reload(const struct config *c, struct http_tls_material *now,
                     struct http_tls_material **out, struct err *e) WH_MUST_CHECK;

/* Whom to believe towards ClickHouse: one reference in *out, or NULL without
 * clickhouse.tls.enabled. Without clickhouse.tls.ca the system's authorities. On failure e names
 * file and cause. */
int tls_files_clickhouse(const struct config *c, struct ch_tls **out, struct err *e) WH_MUST_CHECK;

#endif
