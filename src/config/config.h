/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration: YAML files, environment and flags into one immutable snapshot (spec:
 * configuration).
 *
 *   defaults ─► FILE ─► conf.d/x.yaml beside it, in name order ─► WH_… variables ─► --set flags
 *
 * A later source overrides an earlier one key by key. Everything is checked strictly: an unknown or
 * repeated key, a wrong type, a bad unit, a value out of range are findings; every finding of all
 * sources is listed at once as "file:line:column: message", with the nearest known key. One table
 * (config_keys.c) drives parsing, printing, comparison and the documentation tests; libyaml is used
 * in config_yaml.c only.
 *
 * A snapshot never changes and is counted: config_ref and config_unref may be called by any thread,
 * everything else of it may be read by any thread that holds a reference. */
#ifndef WH_CONFIG_CONFIG_H
#define WH_CONFIG_CONFIG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"

#include <stdbool.h>
#include <stdint.h>

/* server.control_socket unless set: the folder that the unit makes. */
#define CONFIG_CONTROL_SOCKET "/run/wavehoused/wavehoused.sock"

struct config_endpoint {
    char host[256]; /* name or address, IPv6 without brackets */
    uint16_t port;
};

enum config_unknown_columns {
    CONFIG_UNKNOWN_REJECT,
    CONFIG_UNKNOWN_IGNORE,
    CONFIG_UNKNOWN_HOLD
};

/* Rates of one table or role. */
struct config_rates {
    uint64_t rows_per_second, bytes_per_second; /* 0: any number */
    uint64_t burst_ms;
};

/* How repeated records of a table are told. */
struct config_dedupe {
    bool enabled;
    bool require_id;      /* a record without id is refused */
    const char *id_field; /* whose value is the record's id */
};

/* Settings of one table. A field that the configuration does not give for this table has the value
 * of the key it inherits, so a reader asks for the table and looks nowhere else. To add a setting:
 * a field here and a row in config_map.c (and the manual and the sample, as for any key). */
struct config_table {
    struct slice name;
    struct config_rates limits;                  /* limits.tables.NAME.… */
    enum config_unknown_columns unknown_columns; /* ingest.tables.NAME.unknown_columns */
    bool validation_strict;                      /* ingest.tables.NAME.validation: strict */
    struct config_dedupe dedupe;                 /* dedupe.tables.NAME.… */
    bool dlq_enabled;                            /* dlq.tables.NAME.enabled */
};

/* The same for one role. */
struct config_role {
    struct slice name;
    struct config_rates limits; /* limits.roles.NAME.… */
};

struct config {
    const char *data_dir;
    struct {
        const char *const *listen; /* IP addresses, IPv6 without brackets */
        uint32_t listen_count;     /* 1 … 16 */
        uint16_t port;
        uint32_t threads; /* 0: cores − 1, at least 1 (resolved by config_load) */
        uint32_t max_connections;
        uint64_t max_body; /* bytes */
        uint64_t idle_timeout_ms, header_timeout_ms, body_timeout_ms, shutdown_timeout_ms;
        struct {
            const char *cert, *key, *client_ca; /* paths of PEM files; "": none */
        } tls;
        const char *control_socket;         /* path; "": none */
        const char *const *trusted_proxies; /* "10.0.0.0/8", "::1" */
        uint32_t trusted_proxy_count;
    } server;
    struct {
        bool hide_unknown_tables;
    } api;
    struct {
        const char *jwt_secret;         /* never logged or printed; "": none */
        const char *jwks_url, *jwks_ca; /* "": none; the system's */
        const char *role_claim;
        bool require_exp, allow_query_token;
        const char *issuer, *audience;                /* "": any */
        const char *operator_key, *operator_key_next; /* never logged or printed; "": none */
    } auth;
    struct {
        const char *const *allowed_origins;
        uint32_t allowed_origin_count;
    } cors;
    struct {
        const struct config_endpoint *addr; /* fail-over in this order */
        uint32_t addr_count;                /* 1 … 16 */
        uint16_t http_port;
        const char *http_scheme; /* "https" with tls.enabled, else "http" */
        const char *database, *username;
        const char *password; /* never logged or printed */
        uint64_t query_timeout_ms;
        bool compression_lz4;
        uint32_t max_open_conns;
        struct {
            bool enabled, insecure_skip_verify;
            const char *ca; /* path of a PEM file; "": the system's */
        } tls;
        bool embedded;
        const char *embedded_library;
    } clickhouse;
    struct {
        uint64_t segment_size, max_bytes /* 0: the default rule */, min_free, retain_ms, max_group;
    } wal;
    struct {
        uint64_t interval_ms, max_rows, max_bytes, retry_min_ms, retry_max_ms;
        uint64_t catch_up_rows_per_second; /* 0: any number */
    } flush;
    uint64_t schema_refresh_ms;
    struct {
        bool validation_strict; /* ingest.validation: strict */
        enum config_unknown_columns unknown_columns;
        uint64_t held_max_bytes; /* 0: the default rule */
        uint64_t ack_timeout_ms; /* ingest.ack_timeout */
        bool stamp_received;
        bool content_type_strict;
        bool reject_trailing_data;
    } ingest;
    struct {
        bool clickhouse;
    } doors;
    struct config_rates limits; /* of each table */
    struct {
        struct config_dedupe table; /* of each table */
        uint64_t retention_ms, max_ids;
    } dedupe;
    struct {
        bool enabled;
        uint64_t max_bytes; /* 0: a tenth of wal.max_bytes */
    } dlq;
    struct {
        uint64_t keepalive_ms, keepalive_buckets, max_subscribers;
        bool close_on_token_expiry;
    } stream;
    struct {
        const char *file_path; /* empty: no file seeds the control store */
        bool strict;
    } policy;
    struct {
        const char *dir; /* empty: none */
        bool strict;
    } pipes;
    struct {
        uint64_t default_max_rows, timestamp_bucket_s;
        bool timestamp_iso;      /* query.timestamp_format: iso */
        uint32_t max_concurrent; /* statements on ClickHouse at a time */
    } query;
    struct {
        uint64_t l1_max_cost; /* bytes */
    } cache;
    struct {
        bool clickhouse_legacy; /* errors.clickhouse_status: legacy */
    } errors;
    struct {
        bool enabled;
        const char *path;
        uint16_t port; /* 0: server.port */
    } prometheus;
    enum log_level log_level;
    enum log_format log_format;
    bool insecure_open;                /* --insecure-open: serve without access control */
    const struct config_table *tables; /* sorted by name; read through config_table_find */
    const struct config_role *roles;
    uint32_t table_count, role_count;
    struct config_table table_rest; /* every table that is not listed */
    struct config_role role_rest;
};

/* The settings of a table or role; never NULL, valid as long as c. Two comparisons when none are
 * listed, else a binary search: once a request, not once a record. */
const struct config_table *config_table_find(const struct config *c, struct slice name);
const struct config_role *config_role_find(const struct config *c, struct slice name);
/* May any table have dead letters? */
bool config_dlq_any(const struct config *c);

struct config_options {
    const char *file;        /* NULL: built-in defaults, environment and flags only */
    const char *const *sets; /* "server.port=9000" from the command line */
    uint32_t set_count;
    bool insecure_open;
};

/* A snapshot with one reference, or NULL and every finding in `findings`, one a line (cut after
 * CONFIG_FINDINGS_MAX). Blocks: reads files, the x_file twins of secrets included. Start and reload
 * only; not to be run by two threads at once with a changing environment (getenv(3)). */
const struct config *config_load(const struct config_options *options, struct buf *findings);
#define CONFIG_FINDINGS_MAX 100

/* One more reference; c. */
const struct config *config_ref(const struct config *c);
/* One reference less; the last frees. NULL is fine. */
void config_unref(const struct config *c);

/* The effective settings as YAML, each line with its origin as a comment; of a secret only "(set)",
 * in a comment, so that the output is itself a valid file. */
void config_print(const struct config *c, struct buf *out);

/* What a change from `now` to `next` means, one line per changed key:
 * "server.port: 8080 -> 9000 (restart needed)". No text: nothing changed. Secrets are only named.
 */
void config_compare(const struct config *now, const struct config *next, struct buf *notes);
/* For SIGHUP: a new snapshot (one reference) with the reload keys of `next` and the restart keys of
 * `now`, which keep running until a restart; notes as config_compare. Both arguments stay the
 * caller's. NULL: out of memory. */
const struct config *config_adopt(const struct config *now, const struct config *next,
                                  struct buf *notes);

/* True when every server.listen address is on loopback (127.0.0.0/8, ::1, and the former mapped
 * into IPv6). Without access control the daemon serves nothing else unless insecure_open is set. */
bool config_listen_is_loopback(const struct config *c);
/* Have the metrics a port of their own? */
bool config_metrics_apart(const struct config *c);

/* Every key of this version, in the order of --print-config; static. */
struct config_key_info {
    const char *name;         /* "server.port" */
    const char *default_text; /* as in the manual: "8080", "cores - 1, at least 1" */
    const char *apply;        /* "reload" or "restart" */
    const char *meaning;      /* one sentence */
};
const struct config_key_info *config_keys(uint32_t *count);
/* Member i of the maps, with NAME for a table's or role's name: "limits.tables.NAME.burst". Its
 * default_text is the value, or the key that it inherits. False past the end. */
bool config_member(uint32_t i, struct config_key_info *out);

#endif
