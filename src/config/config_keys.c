/* SPDX-License-Identifier: Apache-2.0 */
/* The table of keys. Everything else in this room, and the documentation tests, derive from it. */
#include "base/limits.h"
#include "base/magic.h"
#include "config/config_priv.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>

#define SECOND_MS 1000ull
#define MINUTE_MS (60 * SECOND_MS)
#define HOUR_MS   (60 * MINUTE_MS)
#define DAY_MS    (24 * HOUR_MS)
#define PIB       ((uint64_t)1 << 50) /* no single node stores more */

static const char *const choices_scheme[] = {"http", "https", NULL};
static const char *const choices_compression[] = {"none", "lz4", NULL};
const char *const config_choices_unknown[] = {"reject", "ignore", "hold", NULL};
const int config_values_unknown[] = {CONFIG_UNKNOWN_REJECT, CONFIG_UNKNOWN_IGNORE,
                                     CONFIG_UNKNOWN_HOLD};
const char *const config_choices_validation[] = {"shape", "strict", NULL};
static const char *const choices_content_type[] = {"lenient", "strict", NULL};
static const char *const choices_timestamp[] = {"canonical", "iso", NULL};
static const char *const choices_errors[] = {"classed", "legacy", NULL};
static const char *const choices_level[] = {"error", "warn", "info", "debug", NULL};
static const int values_level[] = {LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO,
                                   LOG_LEVEL_DEBUG};
static const char *const choices_format[] = {"auto", "journal", "text", "json", NULL};
static const int values_format[] = {LOG_FORMAT_AUTO, LOG_FORMAT_JOURNAL, LOG_FORMAT_TEXT,
                                    LOG_FORMAT_JSON};

static const char *check_path(struct slice *s)
{
    return s->len > 0 && s->ptr[0] == '/' ? NULL : "an absolute path";
}

static const char *check_path_or_none(struct slice *s)
{
    return s->len == 0 || s->ptr[0] == '/' ? NULL : "an absolute path, or empty for none";
}

static const char *check_url_path(struct slice *s)
{
    if (s->len < 2 || s->ptr[0] != '/')
        return "a path such as /metrics";
    for (size_t i = 0; i < s->len; i++)
        if (!isalnum((unsigned char)s->ptr[i]) && strchr("/._-", s->ptr[i]) == NULL)
            return "a path of letters, digits and / . _ -";
    return NULL;
}

static const char *check_database(struct slice *s)
{
    if (s->len == 0)
        return "the name of a database";
    return s->len <= LIMIT_NAME_BYTES ? NULL : "a shorter name";
}

static const char *check_listen(struct slice *s)
{
    char text[64];
    unsigned char bin[16];
    if (s->len > 2 && s->ptr[0] == '[' && s->ptr[s->len - 1] == ']')
        *s = (struct slice){s->ptr + 1, s->len - 2};
    if (s->len < sizeof(text)) {
        memcpy(text, s->ptr, s->len);
        text[s->len] = '\0';
        if (inet_pton(AF_INET, text, bin) == 1 || inet_pton(AF_INET6, text, bin) == 1)
            return NULL;
    }
    return "an IP address such as 127.0.0.1, ::1 or 0.0.0.0 (the port is server.port)";
}

const char *config_check_id_field(struct slice *s)
{
    if (s->len == 0)
        return "the name of a key";
    return s->len <= LIMIT_NAME_BYTES ? NULL : "a shorter name";
}

/* An Origin header is compared byte by byte, so a value that no browser sends is a mistake. */
static const char *check_origin(struct slice *s)
{
    static const char must_be[] = "\"*\" or an origin such as https://app.example.com, "
                                  "in small letters and without a path";
    if (slice_eq_str(*s, "*"))
        return NULL;
    size_t i = 0;
    while (i < s->len && islower((unsigned char)s->ptr[i]))
        i++;
    if (i == 0 || s->len - i < 4 || memcmp(s->ptr + i, "://", 3) != 0)
        return must_be;
    for (i += 3; i < s->len; i++) {
        unsigned char c = (unsigned char)s->ptr[i];
        if (!islower(c) && !isdigit(c) && strchr(".-:[]", c) == NULL)
            return must_be;
    }
    return NULL;
}

/* 10.0.0.0/8, 192.0.2.7, fd00::/8 */
static const char *check_network(struct slice *s)
{
    static const char must_be[] =
        "an IP address or network such as 10.0.0.0/8, 192.0.2.7 or fd00::/8";
    char text[64];
    unsigned char bin[16];
    if (s->len == 0 || s->len >= sizeof(text))
        return must_be;
    memcpy(text, s->ptr, s->len);
    text[s->len] = '\0';
    char *slash = strchr(text, '/'), *end = NULL;
    unsigned long bits = 0;
    if (slash != NULL) {
        *slash = '\0';
        if (!isdigit((unsigned char)slash[1]))
            return must_be;
        bits = strtoul(slash + 1, &end, 10);
        if (*end != '\0')
            return must_be;
    }
    if (inet_pton(AF_INET, text, bin) == 1)
        return bits <= 32 ? NULL : must_be;
    return inet_pton(AF_INET6, text, bin) == 1 && bits <= 128 ? NULL : must_be;
}

/* Keys must come from whom they are said to come from: by TLS, or from this machine. */
static const char *check_jwks_url(struct slice *s)
{
    static const char *const begins[] = {
        "https://",      "http://127.0.0.1:", "http://127.0.0.1/", "http://[::1]:",
        "http://[::1]/", "http://localhost:", "http://localhost/"};
    for (size_t i = 0; i < s->len; i++)
        if ((unsigned char)s->ptr[i] <= 0x20 || s->ptr[i] == 0x7f || s->ptr[i] == '@')
            return "a URL without blanks and without a user name";
    if (s->len == 0)
        return NULL;
    for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++) {
        size_t n = strlen(begins[i]);
        if (s->len > n && memcmp(s->ptr, begins[i], n) == 0)
            return NULL;
    }
    return "an https:// URL (http:// is taken from this machine only)";
}

static const char *check_claim_path(struct slice *s)
{
    bool fine =
        s->len > 0 && s->len <= LIMIT_NAME_BYTES && s->ptr[0] != '.' && s->ptr[s->len - 1] != '.';
    for (size_t i = 1; fine && i < s->len; i++)
        fine = s->ptr[i] != '.' || s->ptr[i - 1] != '.';
    return fine ? NULL : "the name of a claim, or a path such as app_metadata.role";
}

/* An operator key travels in a header. */
static const char *check_operator_key(struct slice *s)
{
    for (size_t i = 0; i < s->len; i++)
        if ((unsigned char)s->ptr[i] <= 0x20 || (unsigned char)s->ptr[i] >= 0x7f)
            return "printable ASCII without blanks (it travels in a header)";
    return NULL;
}

/* clang-format off */
#define KEY(...)         CONFIG_ROW(struct config, __VA_ARGS__)
#define RANGE(lo, hi)    .min = (lo), .max = (hi)
#define LIST(member, lo, hi) .count_offset = offsetof(struct config, member), RANGE(lo, hi)

const struct config_key config_key_table[] = {
    {KEY("data_dir", data_dir, CONFIG_TEXT, "/var/lib/wavehoused", "restart",
         "Folder of the log, the indexes and the identity of this node."),
     .check = check_path},

    {KEY("server.listen", server.listen, CONFIG_TEXTS, "127.0.0.1", "restart",
         "IP addresses to serve HTTP on."),
     LIST(server.listen_count, 1, 16), .check = check_listen},
    {KEY("server.port", server.port, CONFIG_NUMBER, "8080", "restart",
         "TCP port of the HTTP service."),
     RANGE(1, 65535)},
    {KEY("server.threads", server.threads, CONFIG_NUMBER, "cores - 1, at least 1", "restart",
         "Number of socket loops; 0 stands for the default."),
     .initial = "0", RANGE(1, 256), .zero_ok = true},
    {KEY("server.max_connections", server.max_connections, CONFIG_NUMBER, "20000", "reload",
         "Connections served at a time; further ones wait in the backlog."),
     RANGE(1, 1000000)},
    {KEY("server.max_body", server.max_body, CONFIG_SIZE, "16MiB", "reload",
         "Largest body of an ingest request, after decompression."),
     RANGE(KIB, LIMIT_INGEST_BODY_BYTES_HARD)},
    {KEY("server.idle_timeout", server.idle_timeout_ms, CONFIG_DURATION, "75s", "reload",
         "A connection without a request is closed after this time."),
     RANGE(10, HOUR_MS)},
    {KEY("server.header_timeout", server.header_timeout_ms, CONFIG_DURATION, "10s", "reload",
         "The head of a request must be complete within this time."),
     RANGE(10, HOUR_MS)},
    {KEY("server.body_timeout", server.body_timeout_ms, CONFIG_DURATION, "30s", "reload",
         "The body of a request must make progress within this time."),
     RANGE(10, HOUR_MS)},
    {KEY("server.shutdown_timeout", server.shutdown_timeout_ms, CONFIG_DURATION, "10s", "reload",
         "Longest drain at a stop: requests that came in are answered, then connections close."),
     RANGE(0, HOUR_MS)},
    {KEY("server.tls.cert", server.tls.cert, CONFIG_TEXT, "", "reload",
         "PEM file of the certificate and its issuers; with it the port speaks HTTPS."),
     .check = check_path_or_none},
    {KEY("server.tls.key", server.tls.key, CONFIG_TEXT, "", "reload",
         "PEM file of the certificate's private key."),
     .check = check_path_or_none},
    {KEY("server.tls.client_ca", server.tls.client_ca, CONFIG_TEXT, "", "reload",
         "PEM file of authorities; with it only clients with a certificate of theirs get in."),
     .check = check_path_or_none},
    {KEY("server.control_socket", server.control_socket, CONFIG_TEXT, CONFIG_CONTROL_SOCKET,
         "restart", "Unix socket whose users are the operator, without a token; \"\": none."),
     .check = check_path_or_none},

    {KEY("server.trusted_proxies", server.trusted_proxies, CONFIG_TEXTS, "", "reload",
         "Addresses and networks of proxies whose X-Forwarded-For tells who the client is."),
     LIST(server.trusted_proxy_count, 0, CONFIG_ITEMS_MAX), .check = check_network},
    {KEY("api.hide_unknown_tables", api.hide_unknown_tables, CONFIG_FLAG, "false", "reload",
         "Answer for a table that does not exist as for one that the caller may not use.")},

    {KEY("auth.jwt_secret", auth.jwt_secret, CONFIG_TEXT, "", "reload",
         "Secret that tokens with HS256, HS384 or HS512 are verified with; empty: no token is good."),
     .secret = true},
    {KEY("auth.jwks_url", auth.jwks_url, CONFIG_TEXT, "", "reload",
         "Where the public keys of the token issuer are; tokens are verified with these alone then."),
     .check = check_jwks_url},
    {KEY("auth.jwks_ca", auth.jwks_ca, CONFIG_TEXT, "", "reload",
         "File with the certificates (PEM) that the issuer's server is checked against; empty: the system's."),
     .check = check_path_or_none},
    {KEY("auth.role_claim", auth.role_claim, CONFIG_TEXT, "role", "reload",
         "Claim that names the role, as a path such as app_metadata.role."),
     .check = check_claim_path},
    {KEY("auth.require_exp", auth.require_exp, CONFIG_FLAG, "false", "reload",
         "A token without exp is not good.")},
    {KEY("auth.issuer", auth.issuer, CONFIG_TEXT, "", "reload",
         "What a token's iss must be; empty: anything.")},
    {KEY("auth.audience", auth.audience, CONFIG_TEXT, "", "reload",
         "What must be in a token's aud; empty: anything.")},
    {KEY("auth.allow_query_token", auth.allow_query_token, CONFIG_FLAG, "true", "reload",
         "Take a token from ?token= when no Authorization: Bearer is there.")},
    {KEY("auth.operator_key", auth.operator_key, CONFIG_TEXT, "", "reload",
         "Key that opens /v1/ops even without a policy, and acts as the admin role; empty: none."),
     .secret = true, .check = check_operator_key},
    {KEY("auth.operator_key_next", auth.operator_key_next, CONFIG_TEXT, "", "reload",
         "A second operator key, for the time in which keys are changed."),
     .secret = true, .check = check_operator_key},

    {KEY("cors.allowed_origins", cors.allowed_origins, CONFIG_TEXTS, "*", "reload",
         "Origins whose browser pages may call this service; * allows any."),
     LIST(cors.allowed_origin_count, 0, CONFIG_ITEMS_MAX), .check = check_origin},

    {KEY("clickhouse.addr", clickhouse.addr, CONFIG_ENDPOINTS, "127.0.0.1:9000", "reload",
         "ClickHouse servers as host:port of the native protocol, tried in this order."),
     LIST(clickhouse.addr_count, 1, 16)},
    {KEY("clickhouse.http_port", clickhouse.http_port, CONFIG_NUMBER, "8123", "reload",
         "HTTP port of the same servers, for schemas, queries, and inserts of types without a native "
         "encoder."),
     RANGE(1, 65535)},
    {KEY("clickhouse.http_scheme", clickhouse.http_scheme, CONFIG_CHOICE,
         "https with clickhouse.tls.enabled, else http", "reload",
         "Scheme of the HTTP port; it follows clickhouse.tls.enabled."),
     .initial = "http", .choices = choices_scheme},
    {KEY("clickhouse.database", clickhouse.database, CONFIG_TEXT, "default", "reload",
         "Database whose tables are served."),
     .check = check_database},
    {KEY("clickhouse.username", clickhouse.username, CONFIG_TEXT, "default", "reload",
         "User at ClickHouse.")},
    {KEY("clickhouse.password", clickhouse.password, CONFIG_TEXT, "", "reload",
         "Password of that user."),
     .secret = true},
    {KEY("clickhouse.query_timeout", clickhouse.query_timeout_ms, CONFIG_DURATION, "30s", "reload",
         "Longest wait for an answer of ClickHouse."),
     RANGE(10, HOUR_MS)},
    {KEY("clickhouse.compression", clickhouse.compression_lz4, CONFIG_CHOICE_FLAG, "lz4", "reload",
         "Compression of native blocks; none is used to a server on loopback."),
     .choices = choices_compression},
    {KEY("clickhouse.max_open_conns", clickhouse.max_open_conns, CONFIG_NUMBER, "10", "reload",
         "Native connections for inserts, at most."),
     RANGE(1, 1000)},
    {KEY("clickhouse.tls.enabled", clickhouse.tls.enabled, CONFIG_FLAG, "false", "reload",
         "Speak TLS to ClickHouse, on the native port and on the HTTP port.")},
    {KEY("clickhouse.tls.ca", clickhouse.tls.ca, CONFIG_TEXT, "", "reload",
         "PEM file of the authorities that ClickHouse's certificate is checked against; empty: the system's."),
     .check = check_path_or_none},
    {KEY("clickhouse.tls.insecure_skip_verify", clickhouse.tls.insecure_skip_verify, CONFIG_FLAG,
         "false", "reload", "Take any certificate, so that whoever is on the way can read and change all.")},
    {KEY("clickhouse.embedded", clickhouse.embedded, CONFIG_FLAG, "false", "restart",
         "Run a ClickHouse engine of our own as a child process.")},
    {KEY("clickhouse.embedded_library", clickhouse.embedded_library, CONFIG_TEXT,
         "/usr/lib/wavehoused/libchdb.so", "restart", "The library with that engine."),
     .check = check_path},

    {KEY("wal.segment_size", wal.segment_size, CONFIG_SIZE, "64MiB", "restart",
         "Size of one file of the log."),
     /* the largest entry (LIMIT_WAL_ENTRY_BYTES) must fit with room to spare */
     RANGE(8 * MIB, 4 * GIB)},
    {KEY("wal.max_bytes", wal.max_bytes, CONFIG_SIZE, "50GB, or 80 % of the file system if less",
         "reload", "Budget of the log on disk; at the limit new events are answered 503."),
     .initial = "0", RANGE(32 * MIB, PIB), .zero_ok = true},
    {KEY("wal.min_free", wal.min_free, CONFIG_SIZE, "1GiB", "reload",
         "New events are answered 503 below this much free space of the file system."),
     RANGE(0, PIB)},
    {KEY("wal.retain", wal.retain_ms, CONFIG_DURATION, "15m", "reload",
         "Events stay in the log at least this long after they reached ClickHouse."),
     RANGE(0, 365 * DAY_MS)},
    {KEY("wal.max_group", wal.max_group, CONFIG_SIZE, "1MiB", "restart",
         "Largest group of events that is made durable in one step."),
     RANGE(LIMIT_WAL_BLOCK, LIMIT_WAL_ENTRY_BYTES)},

    {KEY("flush.interval", flush.interval_ms, CONFIG_DURATION, "5s", "reload",
         "A table is flushed when its oldest waiting event is this old."),
     RANGE(10, HOUR_MS)},
    {KEY("flush.max_rows", flush.max_rows, CONFIG_NUMBER, "100000", "reload",
         "A table is flushed when this many rows wait; a busy one gathers up to four times as many."),
     RANGE(1, 10000000)},
    {KEY("flush.max_bytes", flush.max_bytes, CONFIG_SIZE, "32MiB", "reload",
         "A table is flushed when this much of its data waits; a busy one gathers up to four times as much."),
     RANGE(64 * KIB, GIB)},
    {KEY("flush.retry_min", flush.retry_min_ms, CONFIG_DURATION, "1s", "reload",
         "First pause after a failed flush; it doubles with each further failure."),
     RANGE(10, HOUR_MS)},
    {KEY("flush.retry_max", flush.retry_max_ms, CONFIG_DURATION, "30s", "reload",
         "Longest pause between two attempts."),
     RANGE(10, DAY_MS)},
    {KEY("flush.catch_up_rows_per_second", flush.catch_up_rows_per_second, CONFIG_NUMBER, "0",
         "reload", "Rows a second of what waited through an outage; 0: any number."),
     RANGE(0, LIMIT_RATE_MAX)},

    {KEY("schema.refresh_interval", schema_refresh_ms, CONFIG_DURATION, "60s", "reload",
         "Tables and columns are read from ClickHouse again after this time."),
     RANGE(100, DAY_MS)},

    {KEY("ingest.validation", ingest.validation_strict, CONFIG_CHOICE_FLAG, "shape", "reload",
         "Whether values are judged at once, as ClickHouse would."),
     .choices = config_choices_validation},
    {KEY("ingest.unknown_columns", ingest.unknown_columns, CONFIG_CHOICE_ENUM, "reject", "reload",
         "What happens to a record with a key that its table has no column for."),
     CONFIG_CHOICES_UNKNOWN},
    {KEY("ingest.held_max_bytes", ingest.held_max_bytes, CONFIG_SIZE, "a tenth of wal.max_bytes",
         "reload", "Budget of the records that wait for a column."),
     .initial = "0", RANGE(MIB, PIB), .zero_ok = true},
    {KEY("ingest.ack_timeout", ingest.ack_timeout_ms, CONFIG_DURATION, "30s", "reload",
         "Longest wait of a request with X-Ack: clickhouse, unless it says X-Ack-Timeout."),
     RANGE(10, 10 * MINUTE_MS)},
    {KEY("ingest.stamp_received_timestamp", ingest.stamp_received, CONFIG_FLAG, "true", "reload",
         "Fill a column received_timestamp with the instant of acceptance.")},
    {KEY("ingest.content_type", ingest.content_type_strict, CONFIG_CHOICE_FLAG, "lenient",
         "reload", "Whether a missing or foreign Content-Type is refused."),
     .choices = choices_content_type},
    {KEY("ingest.reject_trailing_data", ingest.reject_trailing_data, CONFIG_FLAG, "false",
         "reload", "Refuse a single-object body with bytes after the object.")},

    {KEY("doors.clickhouse", doors.clickhouse, CONFIG_FLAG, "true", "reload",
         "Take INSERTs as ClickHouse's own HTTP interface does.")},

    {KEY("limits.rows_per_second", limits.rows_per_second, CONFIG_NUMBER, "0", "reload",
         "Records that each table takes a second; 0: any number."),
     RANGE(0, LIMIT_RATE_MAX)},
    {KEY("limits.bytes_per_second", limits.bytes_per_second, CONFIG_SIZE, "0", "reload",
         "Body bytes that each table takes a second; 0: any number."),
     RANGE(0, LIMIT_RATE_MAX)},
    {KEY("limits.burst", limits.burst_ms, CONFIG_DURATION, "2s", "reload",
         "How much may come at once after a pause, as time at the full rate."),
     RANGE(10, HOUR_MS)},

    {KEY("dedupe.enabled", dedupe.table.enabled, CONFIG_FLAG, "false", "reload",
         "Answer a record whose id was stored before as a duplicate, and do not store it again.")},
    {KEY("dedupe.id_field", dedupe.table.id_field, CONFIG_TEXT, "event_id", "reload",
         "Key of the record whose value is its id."),
     .check = config_check_id_field},
    {KEY("dedupe.require_id", dedupe.table.require_id, CONFIG_FLAG, "false", "reload",
         "Refuse records without an id; otherwise they are stored, each time.")},
    {KEY("dedupe.retention", dedupe.retention_ms, CONFIG_DURATION, "24h", "reload",
         "An id is known for this time."),
     RANGE(SECOND_MS, 365 * DAY_MS)},
    {KEY("dedupe.max_ids", dedupe.max_ids, CONFIG_NUMBER, "50000000", "reload",
         "Most ids that are known at a time; beyond it the oldest are forgotten earlier."),
     RANGE(1000, 4000000000)},

    {KEY("dlq.enabled", dlq.enabled, CONFIG_FLAG, "true", "reload",
         "Keep rows that ClickHouse refuses as dead letters.")},
    {KEY("dlq.max_bytes", dlq.max_bytes, CONFIG_SIZE, "a tenth of wal.max_bytes", "reload",
         "Budget of the dead letters."),
     .initial = "0", RANGE(MIB, PIB), .zero_ok = true},

    {KEY("stream.keepalive_interval", stream.keepalive_ms, CONFIG_DURATION, "30s", "reload",
         "A stream that has nothing to say sends a comment at least this often."),
     RANGE(1000, HOUR_MS)},
    {KEY("stream.keepalive_buckets", stream.keepalive_buckets, CONFIG_NUMBER, "3", "reload",
         "The comments of a crowd are spread over so many parts of that time."),
     RANGE(1, 1000)},
    {KEY("stream.max_subscribers", stream.max_subscribers, CONFIG_NUMBER, "50000", "reload",
         "Streams open at a time; a further one is answered 503."),
     RANGE(0, 1000000)},
    {KEY("stream.close_on_token_expiry", stream.close_on_token_expiry, CONFIG_FLAG, "false", "reload",
         "End a stream when the token that it was opened with expires; clients open it anew.")},

    {KEY("policy.file_path", policy.file_path, CONFIG_TEXT, "", "reload",
         "A policy in JSON or YAML that is taken over when none is stored yet."),
     .check = check_path_or_none},
    {KEY("policy.strict", policy.strict, CONFIG_FLAG, "false", "reload",
         "Refuse a policy with members that mean nothing.")},
    {KEY("pipes.dir", pipes.dir, CONFIG_TEXT, "", "reload",
         "Each file *.sql in this folder becomes a pipe of its name, unless there is one."),
     .check = check_path_or_none},
    {KEY("pipes.strict", pipes.strict, CONFIG_FLAG, "false", "reload",
         "Refuse a pipe with members that mean nothing, or with placeholders in quotes.")},

    {KEY("query.default_max_rows", query.default_max_rows, CONFIG_NUMBER, "10000", "reload",
         "Most rows of a structured query, and its LIMIT when it names none."),
     RANGE(1, 1000000000), .zero_ok = true},
    {KEY("query.timestamp_bucket_seconds", query.timestamp_bucket_s, CONFIG_NUMBER, "60", "reload",
         "Bounds of time ranges are floored to a multiple of this; 0: they are not."),
     RANGE(0, 86400)},
    {KEY("query.timestamp_format", query.timestamp_iso, CONFIG_CHOICE_FLAG, "canonical", "reload",
         "Whether fractions of timestamps keep the zeros at their end (iso)."),
     .choices = choices_timestamp},
    {KEY("query.max_concurrent", query.max_concurrent, CONFIG_NUMBER, "16", "reload",
         "Statements on ClickHouse at a time; further ones wait."),
     RANGE(1, 1000)},
    {KEY("cache.l1_max_cost", cache.l1_max_cost, CONFIG_SIZE, "64MiB", "reload",
         "Memory of the query cache; 0 turns it off."),
     RANGE(0, 64 * GIB)},
    {KEY("errors.clickhouse_status", errors.clickhouse_legacy, CONFIG_CHOICE_FLAG, "classed",
         "reload", "Whether failures of ClickHouse have a status by their class, or all 500."),
     .choices = choices_errors},

    {KEY("prometheus.enabled", prometheus.enabled, CONFIG_FLAG, "true", "restart",
         "Serve metrics.")},
    {KEY("prometheus.path", prometheus.path, CONFIG_TEXT, "/metrics", "restart",
         "Path of the metrics."),
     .check = check_url_path},
    {KEY("prometheus.port", prometheus.port, CONFIG_NUMBER, "0", "restart",
         "Port of the metrics alone, at server.listen's addresses; 0: server.port."),
     RANGE(0, 65535)},

    {KEY("log.level", log_level, CONFIG_CHOICE_ENUM, "info", "reload",
         "Log lines less important than this are not written."),
     .choices = choices_level, .values = values_level},
    {KEY("log.format", log_format, CONFIG_CHOICE_ENUM, "auto", "reload",
         "Form of log lines; auto is journal under systemd and text elsewhere."),
     .choices = choices_format, .values = values_format},
};
/* clang-format on */

#define KEY_COUNT (uint32_t)(sizeof(config_key_table) / sizeof(config_key_table[0]))
_Static_assert(sizeof(config_key_table) / sizeof(config_key_table[0]) <= CONFIG_KEYS_MAX,
               "raise CONFIG_KEYS_MAX");

/* Specified keys and sections that this version has no code for. Accepting one silently could
 * leave a service open that its owner believes to be closed. */
static const char *const later_names[] = {
    "cluster",
};
#define LATER_COUNT (uint32_t)(sizeof(later_names) / sizeof(later_names[0]))

uint32_t config_key_count(void)
{
    return KEY_COUNT;
}

static struct config_key_info infos[CONFIG_KEYS_MAX];

static void fill_infos(void)
{
    for (uint32_t i = 0; i < KEY_COUNT; i++)
        infos[i] = config_key_table[i].info;
}

const struct config_key_info *config_keys(uint32_t *count)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    must(pthread_once(&once, fill_infos) == 0);
    *count = KEY_COUNT;
    return infos;
}

/* name is `above` or lies below it */
static bool is_within(struct slice name, const char *above)
{
    size_t len = strlen(above);
    return name.len >= len && memcmp(name.ptr, above, len) == 0 &&
           (name.len == len || name.ptr[len] == '.');
}

/* some known name lies below `name` */
static bool is_section(struct slice name)
{
    for (uint32_t i = 0; i < KEY_COUNT + LATER_COUNT; i++) {
        const char *k = i < KEY_COUNT ? config_key_table[i].info.name : later_names[i - KEY_COUNT];
        if (strlen(k) > name.len && memcmp(k, name.ptr, name.len) == 0 && k[name.len] == '.')
            return true;
    }
    return false;
}

enum config_lookup config_key_find(struct slice name, uint32_t *index, bool *twin)
{
    static const char suffix[] = "_file";
    struct slice stem = name;
    bool has_suffix =
        name.len > sizeof(suffix) - 1 &&
        memcmp(name.ptr + name.len - (sizeof(suffix) - 1), suffix, sizeof(suffix) - 1) == 0;
    if (has_suffix)
        stem.len -= sizeof(suffix) - 1;
    for (uint32_t i = 0; i < KEY_COUNT; i++) {
        const struct config_key *k = &config_key_table[i];
        bool is_twin = has_suffix && k->secret && slice_eq_str(stem, k->info.name);
        if (is_twin || slice_eq_str(name, k->info.name)) {
            *index = i;
            *twin = is_twin;
            return CONFIG_KEY;
        }
    }
    struct config_place place;
    if (config_map_find(name, &place))
        return CONFIG_MEMBER;
    for (uint32_t i = 0; i < LATER_COUNT; i++)
        if (is_within(name, later_names[i]))
            return CONFIG_LATER;
    return is_section(name) || config_map_is_section(name) ? CONFIG_SECTION : CONFIG_UNKNOWN;
}

bool config_key_any_name(uint32_t i, char *out)
{
    if (i < KEY_COUNT) {
        (void)snprintf(out, CONFIG_NAME_BYTES_MAX, "%s", config_key_table[i].info.name);
        return true;
    }
    i -= KEY_COUNT;
    if (i < LATER_COUNT) {
        (void)snprintf(out, CONFIG_NAME_BYTES_MAX, "%s", later_names[i]);
        return true;
    }
    i -= LATER_COUNT;
    for (uint32_t k = 0; k < KEY_COUNT; k++) {
        if (config_key_table[k].secret && i-- == 0) {
            (void)snprintf(out, CONFIG_NAME_BYTES_MAX, "%s_file", config_key_table[k].info.name);
            return true;
        }
    }
    return false;
}

static uint32_t min3(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t m = a < b ? a : b;
    return m < c ? m : c;
}

uint32_t config_distance(struct slice a, struct slice b)
{
    /* three rows of the usual table; names beyond the bound are not near anything */
    uint32_t rows[3][CONFIG_NAME_BYTES_MAX + 1];
    if (a.len > CONFIG_NAME_BYTES_MAX || b.len > CONFIG_NAME_BYTES_MAX)
        return UINT32_MAX;
    for (uint32_t j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (uint32_t i = 1; i <= a.len; i++) {
        uint32_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (uint32_t j = 1; j <= b.len; j++) {
            uint32_t differs = a.ptr[i - 1] != b.ptr[j - 1];
            row[j] = min3(above[j] + 1, row[j - 1] + 1, above[j - 1] + differs);
            if (i > 1 && j > 1 && a.ptr[i - 1] == b.ptr[j - 2] && a.ptr[i - 2] == b.ptr[j - 1] &&
                above2[j - 2] + 1 < row[j])
                row[j] = above2[j - 2] + 1;
        }
    }
    return rows[a.len % 3][b.len];
}

static struct slice last_part(struct slice name)
{
    for (size_t i = name.len; i > 0; i--)
        if (name.ptr[i - 1] == '.')
            return (struct slice){name.ptr + i, name.len - i};
    return name;
}

void config_key_nearest(struct slice name, char *out)
{
    char candidate[CONFIG_NAME_BYTES_MAX];
    uint32_t best = (uint32_t)(name.len / 4 + 2); /* further away is no typo */
    if (config_map_nearest(name, out))
        return;
    out[0] = '\0';
    for (uint32_t i = 0; config_key_any_name(i, candidate); i++) {
        struct slice c = slice_str(candidate), last = last_part(c);
        uint32_t d = config_distance(name, c);
        /* the right key in the wrong place counts as one mistake */
        if (d > 1 && last_part(name).len > 2 && slice_eq(last_part(name), last))
            d = 1;
        /* a word at the top may also be meant as a section */
        if (last.len < c.len && memchr(name.ptr, '.', name.len) == NULL) {
            struct slice section = {c.ptr, c.len - last.len - 1};
            uint32_t to_section = config_distance(name, section);
            if (to_section < d && to_section < best) {
                d = to_section;
                c = section;
            }
        }
        if (d < best) {
            best = d;
            memcpy(out, c.ptr, c.len);
            out[c.len] = '\0';
        }
    }
}

void config_key_env_name(struct slice name, char *out, size_t cap)
{
    must(cap >= 4);
    size_t n = (size_t)snprintf(out, cap, "WH_");
    for (size_t i = 0; i < name.len && n + 1 < cap; i++)
        out[n++] = name.ptr[i] == '.' ? '_' : (char)toupper((unsigned char)name.ptr[i]);
    out[n] = '\0';
}
