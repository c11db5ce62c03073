/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration: YAML files, environment and flags into one immutable snapshot (spec: configuration).
 *
 * config_load reads the file, conf.d beside it, WH_… variables and --set flags, in this order, checks
 * everything strictly (unknown key, repeated key, wrong type, bad unit → "file:line: message", with the
 * nearest known key) and returns a counted snapshot or a text with every finding. libyaml is used in
 * config_yaml.c only. */
#ifndef WH_CONFIG_CONFIG_H
#define WH_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

struct config_endpoint {
    char host[256];
    uint16_t port;
};

struct config {
    const char *data_dir;
    struct {
        const char *const *listen;
        uint32_t listen_count;
        uint16_t port;
        uint32_t threads; /* 0: cores − 1, at least 1 (resolved by config_load) */
        uint32_t max_connections;
        uint64_t max_body; /* bytes */
        uint64_t idle_timeout_ms, header_timeout_ms, body_timeout_ms, shutdown_timeout_ms;
    } server;
    struct {
        const char *const *allowed_origins;
        uint32_t allowed_origin_count;
    } cors;
    struct {
        const struct config_endpoint *addr;
        uint32_t addr_count;
        uint16_t http_port;
        const char *http_scheme, *database, *username, *password;
        uint64_t query_timeout_ms;
        bool compression_lz4;
        uint32_t max_open_conns;
        bool embedded;
        const char *embedded_library;
    } clickhouse;
    struct {
        uint64_t segment_size, max_bytes /* 0: the default rule */, min_free, retain_ms, max_group;
    } wal;
    struct {
        uint64_t interval_ms, max_rows, max_bytes, retry_min_ms, retry_max_ms;
    } flush;
    uint64_t schema_refresh_ms;
    struct {
        bool unknown_ignore;    /* ingest.unknown_columns: ignore */
        bool stamp_received;
        bool content_type_strict;
        bool reject_trailing_data;
    } ingest;
    struct {
        bool enabled;
        uint64_t max_bytes; /* 0: a tenth of wal.max_bytes */
    } dlq;
    struct {
        bool enabled;
        const char *path;
        uint16_t port; /* 0: the same listener */
    } prometheus;
    enum log_level log_level;
    enum log_format log_format;
    bool insecure_open; /* --insecure-open: serve beyond loopback without access control */
};

struct config_options {
    const char *file;          /* NULL: built-in defaults, environment and flags only */
    const char *const *sets;   /* "server.port=9000" from the command line */
    uint32_t set_count;
    bool insecure_open;
};

/* A snapshot with one reference, or NULL and every finding in `findings`, one a line. */
const struct config *config_load(const struct config_options *options, struct buf *findings);
const struct config *config_ref(const struct config *c);
void config_unref(const struct config *c);

/* The effective settings as YAML, each line with its origin as a comment; secrets as "(set)". */
void config_print(const struct config *c, struct buf *out);
/* For SIGHUP: 0 when `next` can be adopted; keys that changed but need a restart are named in `notes`. */
void config_compare(const struct config *now, const struct config *next, struct buf *notes);

/* Every known key, for documentation tests: name, default text, "reload" or "restart". */
struct config_key_info {
    const char *name, *default_text, *apply, *meaning;
};
const struct config_key_info *config_keys(uint32_t *count);

#endif
