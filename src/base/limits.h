/* SPDX-License-Identifier: Apache-2.0 */
/* Every fixed limit of the daemon, each with where it comes from. */
#ifndef WH_BASE_LIMITS_H
#define WH_BASE_LIMITS_H

#include <stdint.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* HTTP (architecture §4). */
#define LIMIT_HTTP_HEAD_BYTES   (16 * KIB)
#define LIMIT_HTTP_FIELDS       64
#define LIMIT_HTTP_TARGET_BYTES (8 * KIB)

/* Bodies (http-api §1). server.max_body, 16 MiB unless set, goes up to the hard limit, which keeps
 * 32-bit JSON offsets far away. */
#define LIMIT_INGEST_BODY_BYTES_HARD (256 * MIB)
#define LIMIT_OPS_BODY_BYTES         (1 * MIB)
#define LIMIT_NDJSON_LINE_BYTES      (10 * MIB)
/* One row of CSV, TSV, Values or JSONEachRow: as long as a line of NDJSON. */
#define LIMIT_TEXT_ROW_BYTES (10 * MIB)
#define LIMIT_BATCH_RESULTS  10000 /* entries in `results`, http-api §7.7 */
/* A request's outcome is one answer, its records one run of instants under the lock of the log's
 * order (16 bytes and a few ns each): so many keep that lock for some milliseconds. Ordinary
 * records reach server.max_body first. */
#define LIMIT_REQUEST_RECORDS 1000000

/* JSON (http-api §1). */
#define LIMIT_JSON_DEPTH 1024

/* simdjson reads whole vectors: this many readable bytes must follow any text given to it. */
#define LIMIT_JSON_PADDING 64

/* Log (architecture §5). */
#define LIMIT_WAL_ENTRY_BYTES (4 * MIB)  /* a request over this is split over several entries */
#define LIMIT_RECORD_BYTES    (16 * MIB) /* one record: the default body limit */
/* One entry: one record of the largest kind and its head. */
#define LIMIT_WAL_PAYLOAD_BYTES (17 * MIB)
#define LIMIT_WAL_BLOCK         4096

/* Rules for dead letters in one request (schema/rules.h): more is a migration, not a repair. */
#define LIMIT_RULES 64

/* ClickHouse: a table with more columns than this is refused (ClickHouse itself warns at 1000). */
#define LIMIT_TABLE_COLUMNS 4096
#define LIMIT_TABLES        20000
#define LIMIT_TYPE_DEPTH    64
#define LIMIT_NAME_BYTES    1024

/* Rows shown in the answer to a dry run: what one client may make a loop hold and send. */
#define LIMIT_DRY_RUN_BYTES (16 * MIB)

/* Strict validation: tables whose checking blocks a socket loop keeps. A block is a few hundred
 * bytes a column; a daemon that feeds more tables at once makes some of them anew. */
#define LIMIT_VERDICT_TABLES 64

/* A sample for POST /v1/schema/suggest; its body has LIMIT_OPS_BODY_BYTES at most. What is beyond
 * is left out and said so; the memory is a bound for hostile samples, a usual one takes a few MiB.
 */
#define LIMIT_SUGGEST_RECORDS 10000
#define LIMIT_SUGGEST_COLUMNS 1024
#define LIMIT_SUGGEST_MEMBERS 64 /* keys of an object that is to be a Tuple */
#define LIMIT_SUGGEST_MEMORY  (64 * MIB)

/* Highest rate of a limit, rows or bytes a second: beyond any machine, and far from the edge of the
 * arithmetic in src/api/limits.c. */
#define LIMIT_RATE_MAX 1000000000000ull
/* Tables and roles whose rates are kept apart: all tables that may be known, and as many roles as
 * may have settings. */
#define LIMIT_LIMITED_NAMES (LIMIT_TABLES + 4096)

/* Entries whose senders wait for them to be in ClickHouse (X-Ack: clickhouse), over all loops. Each
 * holds a request open: more than half of the connections that a daemon serves by default. */
#define LIMIT_FLUSH_WATCHES 12000

/* Deduplication (http-api §7.5). Longer ids are hashed in two steps; a longer Idempotency-Key is
 * refused, for it is more likely a mistake than a key. */
#define LIMIT_DEDUPE_TEXT_BYTES     1024
#define LIMIT_IDEMPOTENCY_KEY_BYTES 1024

/* A certificate with its issuers, a key, a bundle of authorities: a system's whole bundle has 220
 * KiB.
 */
#define LIMIT_TLS_FILE_BYTES (1 * MIB)

/* Tables in an /openapi.json: a schema each, a few KiB; nobody generates a client from more. */
#define LIMIT_OPENAPI_TABLES 500

/* Access control (access-control.md §2). A token comes in a header or the target, so the head's
 * limit bounds it; a JWKS document and a policy come from outside and have the limit of ops bodies.
 */
#define LIMIT_TOKEN_BYTES LIMIT_HTTP_HEAD_BYTES
#define LIMIT_JWKS_BYTES  (1 * MIB)
#define LIMIT_JWKS_KEYS   64 /* issuers publish a handful */
/* Signatures tried for one token, which anybody can send; only one without kid has several keys
 * that fit. Up to milliseconds each, on a socket loop. */
#define LIMIT_JWKS_TRIES   8
#define LIMIT_TOKENS       4096 /* verified ones that a thread remembers: at 1 KiB each, 4 MiB */
#define LIMIT_POLICY_BYTES (1 * MIB)
#define LIMIT_TEMPLATES    16   /* claims named in one policy value */
#define LIMIT_CLAIM_VALUES 1000 /* elements of an array claim in _in */
#define LIMIT_PREDICATES   1024 /* compiled row filters that a thread keeps */

/* Queries (http-api §1, §8). An answer that is held, as ClickHouse sends it and as it is rendered.
 */
#define LIMIT_QUERY_RESULT_BYTES (64 * MIB)
/* Statements that wait for one of query.max_concurrent places: at ten a second each waits for two
 * minutes, which is longer than anybody does. */
#define LIMIT_QUERIES_WAITING 1000
/* Requests of one loop that wait for their min_offset=: the planner, which inserts must not wait
 * for, is asked ten times a second for each. */
#define LIMIT_OFFSET_WAITERS 1000
/* One statement of /v1/ops/query (http-api §1). */
#define LIMIT_SQL_BODY_BYTES (16 * MIB)
/* Documents of the control store (src/control). One is as large as a request may be; all of them
 * are held in memory, and copied with each change. A pipe's name is part of a URL and of a key. */
#define LIMIT_CONTROL_BYTES     (1 * MIB + 64 * KIB) /* a body, written anew with its name */
#define LIMIT_CONTROL_BYTES_ALL (16 * MIB)
#define LIMIT_PIPES             1000
/* Changes that wait for the planner, their documents: while it cannot go on, requests pile up. */
#define LIMIT_CONTROL_WAITING (32 * MIB)
#define LIMIT_PIPE_NAME_BYTES 256
#define LIMIT_PIPE_PARAMETERS 256 /* far more than any statement is called with */

/* Queries (http-api §8). A body is 1 MiB; names and types repeat in its statement, which has to
 * stay below what a server takes (max_query_size is raised for it by the runner). Lists are
 * searched by each other, so they are short: more than a thousand terms is no question of a person.
 */
#define LIMIT_QUERY_BODY_BYTES (1 * MIB)
#define LIMIT_QUERY_SQL_BYTES  (8 * MIB)
#define LIMIT_QUERY_TERMS      1000  /* filters, aggregations, group_by, order_by: each */
#define LIMIT_QUERY_VALUES     20000 /* bound ones, elements of `in` among them */
/* An answer that is held, as ClickHouse sends it and as it is rendered (http-api §1). */
#define LIMIT_QUERY_RESULT_BYTES (64 * MIB)
/* Statements that wait for one of query.max_concurrent places: at ten a second each waits for two
 * minutes, which is longer than anybody does. */
#define LIMIT_QUERIES_WAITING 1000
/* Requests of one loop that wait for their min_offset=: the planner, which inserts must not wait
 * for, is asked ten times a second for each. */
#define LIMIT_OFFSET_WAITERS 1000
/* One statement of /v1/ops/query (http-api §1). */
#define LIMIT_SQL_BODY_BYTES (16 * MIB)

/* Documents of the control store (src/control). One is as large as a request may be; all of them
 * are held in memory, and copied with each change. */
#define LIMIT_CONTROL_BYTES     (1 * MIB + 64 * KIB) /* a body, written anew with its name */
#define LIMIT_CONTROL_BYTES_ALL (16 * MIB)
#define LIMIT_PIPES             1000
/* Changes that wait for the planner, their documents: while it cannot go on, requests pile up. */
#define LIMIT_CONTROL_WAITING (32 * MIB)

/* Pipes (pipes.md): far beyond what people write; the SQL's placeholders and tags, names in it and
 * declared, ifs in ifs, roles that may run it. A cache_ttl of more than a year is a mistake. */
#define LIMIT_PIPE_PARTS      4096
#define LIMIT_PIPE_NAMES      512
#define LIMIT_PIPE_DEPTH      32
#define LIMIT_PIPE_ROLES      1024
#define LIMIT_PIPE_SQL_BYTES  (256 * KIB)
#define LIMIT_PIPE_TTL_S      (366 * 86400)
#define LIMIT_PIPE_NAME_BYTES 256 /* it is part of a URL and of a key */

#endif
